//! Calls to a phone: all its contacts ring at once, as one INVITE of ours with several requests. The first 2xx wins;
//! the best refusal counts when all have refused (RFC 3261 §16.7).

use super::location::Binding;
use crate::agent::{Agent, Due};
use crate::api::{
    Cause, End, Event, Failure, ForkId, Header, InviteId, InviteOptions, Line, Target,
};
use crate::identity::{identity_headers, of_line};
use crate::invite::{Invite, Phase};
use crate::limits::MAX_RINGING;
use crate::net::{Path, Transport, unmapped};
use crate::outbound::{checked_headers, option_headers};
use crate::redirect::contacts;
use crate::requests::{Draft, Phase as RequestPhase, Purpose};
use crate::responses::failure_of;
use serde::{Deserialize, Serialize};
use signaling_sip::message::{Host, Message, Method, NameAddr, SipUri, Uri, WriteFault, addr_spec};
use signaling_sip::time::Instant;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// A call of ours to all contacts of a phone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ringing {
    user: String,
    /// What all requests have in common.
    draft: Draft,
    rings: Vec<Ring>,
    /// What a contact that says nothing may take; 0: as long as its transaction does.
    #[serde(default)]
    attempt_ms: u32,
    /// Of those that refused.
    best: Option<Failure>,
}

/// One of its contacts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ring {
    id: u32,
    way: Way,
    /// Other flows of the same phone, tried when this one fails (RFC 5626 §7).
    others: VecDeque<Way>,
    request: Option<u64>,
    transaction: Option<String>,
    /// Not wanted any more: CANCEL as soon as it may be sent.
    stopped: bool,
    cancelled: bool,
    over: bool,
}

/// How one contact is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Way {
    contact: Vec<u8>,
    uri: Vec<u8>,
    routes: Vec<Vec<u8>>,
    flow: Option<Path>,
    /// Where a phone registered from: without a flow its requests go there, or where the operator allows SIP to go by
    /// name. Its Contact alone could be the PBX next to us, which believes our address. `None`: the operator's own trunk.
    #[serde(default)]
    home: Option<IpAddr>,
}

/// What a call to a line was told to say.
pub(crate) struct Wanted {
    pub from_display: String,
    pub headers: Vec<Header>,
    pub sdp: Vec<u8>,
    pub options: InviteOptions,
}

impl Agent {
    /// The phones that a line stands for; `None`: it is no phone's.
    pub(crate) fn phones_of(&self, line: &Line) -> Option<Vec<String>> {
        match line {
            Line::Phone(user) => Some(vec![user.clone()]),
            Line::Trunk(name) if self.is_accepting(name) => {
                let users = self.s.registrar.trunks.get(name);
                Some(users.into_iter().flatten().cloned().collect())
            }
            Line::Trunk(_) => None,
        }
    }

    pub(crate) fn call_phones(
        &mut self,
        invite: InviteId,
        users: &[String],
        target: &Target,
        wanted: Wanted,
        now: Instant,
    ) {
        let fail = |agent: &mut Agent, failure: Failure| {
            let end = End::Failed(failure);
            agent.event(Event::Ended { invite, end });
        };
        let away = || Failure {
            status: 480,
            reason: "Temporarily Unavailable".into(),
            cause: Cause::Unreachable,
            ..Failure::default()
        };
        let Some(user) = users.first().cloned() else {
            return fail(self, away());
        };
        let Some(phone) = self.s.registrar.phones.get(&user) else {
            return fail(self, away());
        };
        let (account, is_trunk) = (phone.account, phone.spec.trunk.is_some());
        let asked = match target {
            Target::User { user, .. } if is_trunk => Some(user.as_bytes().to_vec()),
            Target::Uri { uri, .. } if is_trunk => {
                Uri::parse(uri.as_bytes()).ok().and_then(|u| u.user())
            }
            Target::User { .. } | Target::Uri { .. } => None,
        };
        let phones = users
            .iter()
            .filter_map(|user| self.s.registrar.phones.get(user));
        let bindings: Vec<&Binding> = phones
            .flat_map(|phone| phone.bindings.iter().rev())
            .filter(|binding| binding.until > now)
            .collect();
        let mut rings = rings_of(&bindings, asked.as_deref());
        if is_trunk {
            rings = in_turn(rings);
        }
        if rings.is_empty() {
            return fail(self, away());
        }
        let attempt_ms = match (wanted.options.attempt_ms, &wanted.options.line) {
            (0, Some(Line::Trunk(name))) => {
                let mut trunks = self.s.lines.trunks.iter();
                let spec = trunks.find(|spec| spec.name == *name);
                spec.map_or(0, |spec| spec.attempt_ms)
            }
            (asked, _) => asked,
        };
        let tag = self.s.dice.hex(8);
        let late = wanted.sdp.is_empty();
        let callee = asked.unwrap_or_else(|| user.clone().into_bytes());
        let draft = match self.draft_of_ringing(wanted, &callee, &tag) {
            Ok(draft) => draft,
            Err(fault) => {
                let failure = Failure {
                    cause: Cause::BadRequest,
                    reason: fault.to_string(),
                    ..Failure::default()
                };
                return fail(self, failure);
            }
        };
        let contact_user = draft.contact.clone().map(|(user, _)| user);
        let contact_user = contact_user.unwrap_or_default();
        let mut entry = Invite::new(account, false, tag.clone(), contact_user, late);
        entry.last_sdp.clone_from(&draft.sdp);
        let ids: Vec<u32> = rings.iter().map(|ring| ring.id).collect();
        entry.ringing = Some(Box::new(Ringing {
            user,
            draft,
            rings,
            attempt_ms,
            best: None,
        }));
        self.s.invites.insert(invite, entry);
        self.s.tags.insert(tag, invite);
        self.s
            .schedule
            .set(Due::Patience(invite), Some(now + MAX_RINGING));
        for id in ids {
            self.start_ring(invite, id, now);
        }
    }

    fn draft_of_ringing(
        &mut self,
        wanted: Wanted,
        callee: &[u8],
        tag: &str,
    ) -> Result<Draft, WriteFault> {
        let Wanted {
            from_display,
            headers,
            sdp,
            options,
        } = wanted;
        let realm = Host::parse(self.s.lines.registrar.realm.as_bytes())?;
        let identity = &options.identity;
        let caller = match identity.from_user.as_str() {
            "" | "anonymous" => b"sip:anonymous@anonymous.invalid".to_vec(),
            user => address(user.as_bytes(), &realm)?,
        };
        let mut from = addr_spec(&from_display, &caller)?;
        from.extend_from_slice(format!(";tag={tag}").as_bytes());
        let line = options.line.as_ref();
        let mut trunks = self.s.lines.trunks.iter();
        let trusted =
            trunks.any(|t| t.trusted && line.is_some_and(|l| *l == Line::Trunk(t.name.clone())));
        let asserted = |user: &str| address(user.as_bytes(), &realm);
        let headers = [
            checked_headers(of_line(headers, identity, trusted), true)?,
            identity_headers(asserted, &from_display, identity, trusted)?,
            option_headers(&options)?,
        ]
        .concat();
        let contact = (self.s.dice.hex(8), Vec::new());
        Ok(Draft {
            method: Method::Invite,
            uri: Vec::new(),
            routes: Vec::new(),
            from,
            to: addr_spec("", &address(callee, &realm)?)?,
            call_id: self.s.dice.hex(16).into_bytes(),
            cseq: 1,
            contact: Some(contact),
            headers,
            content_type: None,
            sdp,
        })
    }

    fn ring(&mut self, invite: InviteId, id: u32) -> Option<&mut Ring> {
        let ringing = self.s.invites.get_mut(&invite)?.ringing.as_mut()?;
        ringing.rings.iter_mut().find(|ring| ring.id == id)
    }

    fn start_ring(&mut self, invite: InviteId, id: u32, now: Instant) {
        let Some(entry) = self.s.invites.get(&invite) else {
            return;
        };
        let (account, phase) = (entry.account, entry.phase);
        let ringing = entry.ringing.as_ref();
        let ring = ringing.and_then(|r| Some((r, r.rings.iter().find(|ring| ring.id == id)?)));
        let Some((ringing, ring)) = ring.filter(|(_, r)| phase == Phase::Calling && !r.over) else {
            return;
        };
        let mut draft = ringing.draft.clone();
        draft.uri.clone_from(&ring.way.uri);
        draft.routes.clone_from(&ring.way.routes);
        let first = ring.way.routes.first();
        let next_hop = first
            .and_then(|route| NameAddr::parse(route).ok())
            .map_or_else(|| ring.way.uri.clone(), |route| route.uri.to_vec());
        let attempt_ms = ringing.attempt_ms;
        let purpose = Purpose::Ring(invite, id);
        let number = self.request_by(purpose, account, draft, vec![next_hop], attempt_ms, now);
        if self.s.requests.contains_key(&number)
            && let Some(ring) = self.ring(invite, id)
        {
            ring.request = Some(number);
        }
    }

    pub(crate) fn on_ring_sent(&mut self, invite: InviteId, id: u32, branch: &str) {
        if let Some(ring) = self.ring(invite, id) {
            ring.transaction = Some(branch.to_string());
        }
    }

    /// What its requests go over.
    pub(crate) fn flow_of_ring(&self, invite: InviteId, id: u32) -> Option<Path> {
        let ringing = self.s.invites.get(&invite)?.ringing.as_ref()?;
        ringing.rings.iter().find(|ring| ring.id == id)?.way.flow
    }

    /// Where alone a ring may lead, beside what the operator allows.
    pub(crate) fn home_of_ring(&self, invite: InviteId, id: u32) -> Option<IpAddr> {
        let ringing = self.s.invites.get(&invite)?.ringing.as_ref()?;
        ringing.rings.iter().find(|ring| ring.id == id)?.way.home
    }

    /// What requests inside a dialog go over that a contact's answer made: behind a NAT nothing but the flow leads
    /// there, and elsewhere its Contact is to be believed.
    pub(crate) fn flow_of_fork(
        &self,
        invite: InviteId,
        id: u32,
        response: &Message<'_>,
    ) -> Option<Path> {
        let ringing = self.s.invites.get(&invite)?.ringing.as_ref()?;
        let way = &ringing.rings.iter().find(|ring| ring.id == id)?.way;
        let flow = way.flow?;
        let place = |uri: &[u8]| {
            let uri = Uri::parse(uri).ok()?;
            let uri = uri.sip()?.clone();
            match uri.host {
                Host::Ip(ip) => Some((unmapped(ip), uri.port.unwrap_or(5060))),
                Host::Name(_) => None,
            }
        };
        let source = (unmapped(flow.remote().ip()), flow.remote().port());
        let is_natted = place(&way.contact).is_none_or(|(ip, _)| ip != source.0);
        let Some(Ok(contact)) = response.contact() else {
            return Some(flow);
        };
        let there = place(contact.uri);
        let leads_there = match flow {
            Path::Stream { .. } => there.is_some_and(|(ip, _)| ip == source.0),
            Path::Datagram { .. } => there == Some(source),
        };
        (is_natted || leads_there).then_some(flow)
    }

    /// Whether nobody waits for its answer any more.
    pub(crate) fn is_ring_stopped(&self, invite: InviteId, id: u32) -> bool {
        let entry = self.s.invites.get(&invite);
        let Some(ringing) = entry.and_then(|i| i.ringing.as_ref()) else {
            return true;
        };
        let mut rings = ringing.rings.iter();
        rings.any(|ring| ring.id == id && ring.stopped)
    }

    pub(crate) fn on_ring_provisional(
        &mut self,
        invite: InviteId,
        id: u32,
        response: &Message<'_>,
        head: &[u8],
        source: SocketAddr,
        now: Instant,
    ) {
        if self.is_ring_stopped(invite, id) {
            return self.cancel_ring(invite, id, now);
        }
        self.on_provisional(invite, id, response, head, source, now);
    }

    pub(crate) fn on_ring_final(
        &mut self,
        invite: InviteId,
        id: u32,
        response: &Message<'_>,
        head: &[u8],
        source: SocketAddr,
        now: Instant,
    ) {
        if response.status() >= 300 {
            let failure = Failure {
                // Nobody follows them here: the calls decide where a phone may send its callers.
                contacts: contacts(response),
                ..failure_of(response)
            };
            return self.ring_over(invite, id, failure, now);
        }
        let won = self
            .s
            .invites
            .get(&invite)
            .is_some_and(|i| i.phase == Phase::Calling && !i.hung_up);
        if let Some(ring) = self.ring(invite, id) {
            ring.request = None;
            ring.over = true;
        }
        self.on_invite_final(invite, id, response, head, source, now);
        if won {
            self.stop_rings(invite, now);
        }
    }

    /// Refused, or nobody answered.
    pub(crate) fn ring_over(&mut self, invite: InviteId, id: u32, failure: Failure, now: Instant) {
        let Some(ring) = self.ring(invite, id) else {
            return;
        };
        ring.request = None;
        let contact = ring.way.contact.clone();
        // Another flow may lead to the same phone where this one led nowhere.
        let nowhere = matches!(failure.status, 0 | 408 | 430 | 503);
        let next = ring.others.pop_front().filter(|_| nowhere && !ring.stopped);
        let goes_on = next.is_some();
        if let Some(way) = next {
            ring.way = way;
            ring.transaction = None;
        } else {
            ring.over = true;
        }
        self.forget_rings_forks(invite, id, now);
        if failure.status == 430 {
            self.forget_flow(invite, &contact);
        }
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let (phase, hung_up) = (entry.phase, entry.hung_up);
        if phase != Phase::Calling {
            return;
        }
        if goes_on && !hung_up {
            return self.start_ring(invite, id, now);
        }
        let Some(ringing) = entry.ringing.as_mut() else {
            return;
        };
        let speaks_for_all = failure.status >= 600;
        if ringing
            .best
            .as_ref()
            .is_none_or(|best| rank(&failure) < rank(best))
        {
            ringing.best = Some(failure);
        }
        let all_over = ringing.rings.iter().all(|ring| ring.over);
        if !all_over && !speaks_for_all {
            return;
        }
        let best = ringing.best.clone().unwrap_or_default();
        let end = if hung_up {
            End::ByUs {
                raw: best.raw.clone(),
            }
        } else {
            End::Failed(best)
        };
        if speaks_for_all {
            self.stop_rings(invite, now);
        }
        self.end(invite, end, now);
    }

    /// The phone behind it is not reached by this flow any more (RFC 5626 §5.3.1).
    fn forget_flow(&mut self, invite: InviteId, contact: &[u8]) {
        let entry = self.s.invites.get(&invite);
        let Some(user) = entry.and_then(|i| Some(i.ringing.as_ref()?.user.clone())) else {
            return;
        };
        self.change_bindings(
            &user,
            |bindings| bindings.retain(|b| b.uri != contact || b.path.is_empty()),
            "its flow failed",
        );
    }

    fn forget_rings_forks(&mut self, invite: InviteId, id: u32, now: Instant) {
        let entry = self.s.invites.get(&invite);
        let forks: Vec<ForkId> = entry
            .into_iter()
            .flat_map(|entry| entry.forks.iter().filter(|f| Some(f.id) != entry.main))
            .filter(|fork| fork.ring == id && fork.ack.is_none())
            .map(|fork| fork.id)
            .collect();
        for fork in forks {
            self.forget_early(invite, fork, now);
        }
    }

    /// Nobody is to ring any more but who answered. False if there was nothing to wait for.
    pub(crate) fn stop_rings(&mut self, invite: InviteId, now: Instant) -> bool {
        let entry = self.s.invites.get_mut(&invite);
        let Some(ringing) = entry.and_then(|i| i.ringing.as_mut()) else {
            return false;
        };
        let mut waiting = Vec::new();
        for ring in ringing.rings.iter_mut().filter(|ring| !ring.over) {
            ring.stopped = true;
            waiting.push((ring.id, ring.request));
        }
        let mut waits = false;
        for (id, request) in waiting {
            let is_sent = request
                .and_then(|r| self.s.requests.get(&r))
                .is_some_and(|r| matches!(r.phase, RequestPhase::Sent { .. }));
            if is_sent {
                waits = true;
                self.cancel_ring(invite, id, now);
                continue;
            }
            if let Some(request) = request {
                self.drop_request(request);
            }
            if let Some(ring) = self.ring(invite, id) {
                ring.over = true;
            }
        }
        waits
    }

    pub(crate) fn cancel_rings(&mut self, invite: InviteId, now: Instant) {
        let entry = self.s.invites.get(&invite);
        let ringing = entry.and_then(|i| i.ringing.as_ref());
        let rings = ringing.into_iter().flat_map(|r| &r.rings);
        let ids: Vec<u32> = rings
            .filter(|r| r.stopped && !r.over)
            .map(|r| r.id)
            .collect();
        for id in ids {
            self.cancel_ring(invite, id, now);
        }
    }

    fn cancel_ring(&mut self, invite: InviteId, id: u32, now: Instant) {
        let Some(ring) = self.ring(invite, id) else {
            return;
        };
        let branch = ring.transaction.clone().filter(|_| !ring.cancelled);
        if let Some(branch) = branch
            && self.cancel_transaction(invite, &branch, now)
            && let Some(ring) = self.ring(invite, id)
        {
            ring.cancelled = true;
        }
    }

    /// Requests and branches of its contacts, which are not waited for any more.
    pub(crate) fn forget_rings(&mut self, invite: InviteId) {
        let entry = self.s.invites.get_mut(&invite);
        let ringing = entry.and_then(|i| i.ringing.as_mut());
        let mut gone = Vec::new();
        for ring in ringing.into_iter().flat_map(|r| &mut r.rings) {
            ring.over = true;
            gone.push((ring.request.take(), ring.transaction.clone()));
        }
        for (request, branch) in gone {
            if let Some(request) = request {
                self.abandon(request);
            }
            if let Some(branch) = branch {
                self.s.schedule.set(Due::Client(branch.clone()), None);
                self.s.client.remove(&branch);
            }
        }
    }
}

impl Ringing {
    pub fn branches(&self) -> impl Iterator<Item = &String> {
        self.rings.iter().filter_map(|r| r.transaction.as_ref())
    }
}

/// A ring for each phone: flows of one instance are ways to the same one, the newest first.
fn rings_of(bindings: &[&Binding], asked: Option<&[u8]>) -> Vec<Ring> {
    let mut rings: Vec<(Option<&[u8]>, Ring)> = Vec::new();
    for binding in bindings {
        let Some(way) = way_of(binding, asked) else {
            continue;
        };
        let instance = binding
            .instance
            .as_deref()
            .filter(|_| binding.reg_id.is_some());
        let same = rings
            .iter_mut()
            .find(|(other, _)| instance.is_some() && *other == instance);
        if let Some((_, ring)) = same {
            ring.others.push_back(way);
            continue;
        }
        // From 1: 0 is what belongs to no ring.
        let id = u32::try_from(rings.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let ring = Ring {
            id,
            way,
            others: VecDeque::new(),
            request: None,
            transaction: None,
            stopped: false,
            cancelled: false,
            over: false,
        };
        rings.push((instance, ring));
    }
    rings.into_iter().map(|(_, ring)| ring).collect()
}

/// A PBX's contacts are ways to the same PBX: one after the other.
fn in_turn(rings: Vec<Ring>) -> Vec<Ring> {
    let mut rings = rings.into_iter();
    let Some(mut first) = rings.next() else {
        return Vec::new();
    };
    for ring in rings {
        first.others.push_back(ring.way);
        first.others.extend(ring.others);
    }
    vec![first]
}

fn way_of(binding: &Binding, asked: Option<&[u8]>) -> Option<Way> {
    let Ok(Uri::Sip(mut uri)) = Uri::parse(&binding.uri) else {
        return None;
    };
    // Neither may stand in a Request-URI (RFC 3261 §19.1.1, table 1).
    uri.headers = None;
    uri.params.retain(|(name, _)| name != b"method");
    if let Some(user) = asked {
        uri.user = Some(user.to_vec());
        uri.password = None;
    }
    Some(Way {
        contact: binding.uri.clone(),
        uri: uri.to_bytes(),
        routes: binding.path.clone(),
        // What asks for TLS gets nothing less (RFC 3261 §26.2.2).
        flow: binding
            .flow
            .filter(|flow| !uri.secure || flow.transport() == Transport::Tls),
        home: asked
            .is_none()
            .then(|| unmapped(binding.source.remote().ip())),
    })
}

/// Which refusal tells more (RFC 3261 §16.7, 6.): 6xx before all, then the lowest class; within 4xx what the caller
/// can do something about, and a phone that is busy before one that is away. No answer at all tells least.
fn rank(failure: &Failure) -> (u16, u16) {
    match failure.status {
        0 => (9, 0),
        600.. => (0, 0),
        // It says nothing about the callee.
        503 => (6, 0),
        status @ (401 | 407 | 415 | 420 | 484) => (status / 100, 0),
        486 => (4, 1),
        408 | 430 => (4, 3),
        status => (status / 100, 2),
    }
}

fn address(user: &[u8], host: &Host) -> Result<Vec<u8>, WriteFault> {
    if user.iter().any(u8::is_ascii_control) {
        return Err(WriteFault::Control("user".into()));
    }
    let uri = SipUri::new(Some(user), host.clone(), None);
    Ok(Uri::Sip(uri).to_bytes())
}
