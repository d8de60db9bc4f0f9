//! INVITEs of ours (RFC 3261 §13.2).

use crate::agent::{Agent, Due};
use crate::api::{
    AccountId, Cause, End, Event, Failure, ForkId, Header, InviteId, InviteOptions, Line, Target,
};
use crate::identity::{from_of, identity_headers, is_signature, of_line};
use crate::invite::{Fork, Invite, Phase};
use crate::limits::{MAX_CONFIRMED_FORKS, MAX_FORKS, MAX_INVITES, MAX_RINGING};
use crate::net::Path;
use crate::registrar::ringing::Wanted;
use crate::registration::domain_uri;
use crate::requests::{Draft, MAX_FORWARDS, Purpose};
use crate::responses::{failure_of, told};
use crate::trunks::is_of_line;
use signaling_sip::dialog::Dialog;
use signaling_sip::message::{
    HeaderName, Message, Method, NameAddr, Replaces, SipUri, Uri, WriteFault, Writer, addr_spec,
};
use signaling_sip::time::Instant;
use std::net::SocketAddr;

impl Agent {
    #[expect(clippy::too_many_arguments, reason = "the fields of one command")]
    pub(crate) fn place_invite(
        &mut self,
        invite: InviteId,
        account: AccountId,
        target: &Target,
        from_display: &str,
        headers: Vec<Header>,
        sdp: Vec<u8>,
        options: InviteOptions,
        now: Instant,
    ) {
        if self.s.invites.contains_key(&invite) {
            return;
        }
        let refuse = |agent: &mut Agent, cause, reason: String| {
            let failure = Failure {
                cause,
                reason,
                ..Failure::default()
            };
            agent.event(Event::Ended {
                invite,
                end: End::Failed(failure),
            });
        };
        if self.s.invites.len() >= MAX_INVITES {
            return refuse(self, Cause::Overloaded, "too many calls".into());
        }
        if let Some(users) = options.line.as_ref().and_then(|line| self.phones_of(line)) {
            let wanted = Wanted {
                from_display: from_display.into(),
                headers,
                sdp,
                options,
            };
            return self.call_phones(invite, &users, target, wanted, now);
        }
        let account = match &options.line {
            None if is_of_line(account) => None,
            None => Some(account),
            Some(Line::Trunk(name)) => self.s.trunks.account(name),
            // Called already.
            Some(Line::Phone(_)) => None,
        };
        let entry = account.and_then(|id| Some((id, self.s.accounts.get(&id)?)));
        let Some((account, entry)) = entry.filter(|(_, a)| a.is_live()) else {
            let what = options.line.as_ref().map_or("account", |_| "line");
            return refuse(self, Cause::BadRequest, format!("no such {what}"));
        };
        let (spec, contact_user) = (entry.spec.clone(), entry.contact_user.clone());
        let tag = self.s.dice.hex(8);
        let display = if from_display.is_empty() {
            &spec.display
        } else {
            from_display
        };
        let (trusted, attempt_ms) = self
            .trunk_of(account)
            .map_or((false, 0), |trunk| (trunk.trusted, trunk.attempt_ms));
        let attempt_ms = match options.attempt_ms {
            0 => attempt_ms,
            asked => asked,
        };
        let caller = &options.identity;
        let written = target_uri(&spec, target).and_then(|uri| {
            let headers = match options.line {
                Some(_) => of_line(headers, caller, trusted),
                None => headers,
            };
            let mut from = from_of(&spec, display, caller)?;
            from.extend_from_slice(format!(";tag={tag}").as_bytes());
            let to = addr_spec("", &uri)?;
            let signed = options.line.is_some();
            let asserted = |user: &str| Ok(domain_uri(&spec, Some(user.as_bytes()))?.to_bytes());
            let headers = [
                checked_headers(headers, signed)?,
                identity_headers(asserted, display, caller, trusted)?,
                option_headers(&options)?,
            ]
            .concat();
            Ok((uri, from, to, headers))
        });
        let (uri, from, to, headers) = match written {
            Ok(written) => written,
            Err(fault) => return refuse(self, Cause::BadRequest, fault.to_string()),
        };
        let (ways, routes) = self.ways_of_call(account, now);
        let draft = Draft {
            method: Method::Invite,
            uri,
            routes,
            from,
            to,
            call_id: self.s.dice.hex(16).into_bytes(),
            cseq: 1,
            contact: Some((contact_user.clone(), Vec::new())),
            headers,
            content_type: None,
            sdp,
        };
        let late = draft.sdp.is_empty();
        let mut entry = Invite::new(account, false, tag.clone(), contact_user, late);
        entry.last_sdp.clone_from(&draft.sdp);
        entry.redirects.told = options.tell_redirects;
        entry.attempt_ms = attempt_ms;
        self.add_invite(invite, entry);
        self.s
            .schedule
            .set(Due::Patience(invite), Some(now + MAX_RINGING));
        let purpose = Purpose::Invite(invite);
        let number = self.request_by(purpose, account, draft, ways, attempt_ms, now);
        if self.s.requests.contains_key(&number)
            && let Some(entry) = self.s.invites.get_mut(&invite)
        {
            entry.request = Some(number);
        }
    }

    pub(crate) fn on_invite_sent(&mut self, invite: InviteId, branch: &str) {
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            entry.transaction = Some(branch.to_string());
        }
    }

    pub(crate) fn is_hung_up(&self, invite: InviteId) -> bool {
        self.s
            .invites
            .get(&invite)
            .is_none_or(|i| i.hung_up || i.phase != Phase::Calling)
    }

    pub(crate) fn on_provisional(
        &mut self,
        invite: InviteId,
        ring: u32,
        response: &Message<'_>,
        head: &[u8],
        source: SocketAddr,
        now: Instant,
    ) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        if entry.hung_up {
            return self.send_cancel(invite, now);
        }
        if response.status() == 100 || entry.phase != Phase::Calling {
            return;
        }
        let Some(fork) = self.fork_of(invite, ring, response, head, false) else {
            return;
        };
        // As long as somebody says that it rings, it may (RFC 3261 §16.7, timer C).
        self.s
            .schedule
            .set(Due::Patience(invite), Some(now + MAX_RINGING));
        if !self.take_reliable(invite, fork, response, now) {
            return;
        }
        if response.status() == 199 {
            self.forget_early(invite, fork, now);
        }
        let (status, reason, sdp, source, raw) = told(response, source);
        self.event(Event::Progress {
            invite,
            fork,
            status,
            reason,
            sdp,
            source,
            raw,
        });
    }

    /// The fork of a response's To tag, made where it is new.
    pub(crate) fn fork_of(
        &mut self,
        invite: InviteId,
        ring: u32,
        response: &Message<'_>,
        head: &[u8],
        confirmed: bool,
    ) -> Option<ForkId> {
        let flow = self.flow_of_fork(invite, ring, response);
        let entry = self.s.invites.get_mut(&invite)?;
        let tag = response.to().ok()?.tag().unwrap_or_default();
        let is_it = |f: &&mut Fork| f.dialog.remote_tag == tag && f.ring == ring;
        if let Some(fork) = entry.forks.iter_mut().find(is_it) {
            fork.flow = flow;
            return Some(fork.id);
        }
        let most = if confirmed {
            MAX_CONFIRMED_FORKS
        } else {
            MAX_FORKS
        };
        if entry.forks.len() >= most {
            return None;
        }
        let dialog = Dialog::from_response(&Message::parse(head).ok()?, response).ok()?;
        let id = ForkId(entry.next_fork);
        entry.next_fork = entry.next_fork.saturating_add(1);
        let mut fork = Fork::new(id, dialog);
        (fork.ring, fork.flow) = (ring, flow);
        entry.forks.push(fork);
        Some(id)
    }

    pub(crate) fn on_invite_final(
        &mut self,
        invite: InviteId,
        ring: u32,
        response: &Message<'_>,
        head: &[u8],
        source: SocketAddr,
        now: Instant,
    ) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        entry.request = None;
        if response.status() >= 300 {
            let end = if entry.hung_up {
                End::ByUs {
                    raw: failure_of(response).raw,
                }
            } else {
                End::Failed(Failure {
                    contacts: match entry.redirects.told {
                        true => crate::redirect::contacts(response),
                        false => Vec::new(),
                    },
                    ..failure_of(response)
                })
            };
            let calling = entry.phase == Phase::Calling;
            if let End::Failed(failure) = &end
                && self.may_try_elsewhere(invite, failure)
                && self.call_next_target(invite, now)
            {
                return;
            }
            if calling {
                self.end(invite, end, now);
            }
            return;
        }
        let calling = entry.phase == Phase::Calling;
        let Some(id) = self.fork_of(invite, ring, response, head, true) else {
            if calling {
                self.end(invite, End::Failed(failure_of(response)), now);
            }
            return;
        };
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let (hung_up, late) = (entry.hung_up, entry.late);
        let Some(fork) = entry.fork(id) else { return };
        if let Some((number, path, bytes)) = &fork.ack {
            // The 2xx again: its ACK was lost.
            if response.cseq().is_ok_and(|(n, _)| n == *number) {
                let (path, bytes) = (*path, bytes.clone());
                self.transmit(path, bytes);
            }
            return;
        }
        if entry.ack_due && entry.main == Some(id) {
            return;
        }
        let Some(fork) = entry.fork(id) else { return };
        fork.ack_for = response.cseq().map_or(0, |(number, _)| number);
        if fork.dialog.confirm(response).is_err() && calling {
            return self.end(invite, End::Failed(failure_of(response)), now);
        }
        if calling && !hung_up {
            entry.phase = Phase::Talking;
            entry.main = Some(id);
            entry.ack_due = late;
            let early = entry.fork(id).and_then(|f| f.early_sdp.take());
            self.s.schedule.set(Due::Patience(invite), None);
            self.settle_early_offers(invite, Some(id), now);
            let (status, reason, sdp, source, raw) = told(response, source);
            // Without a description of its own it stands for the one that a reliable response brought. One that differs
            // from that should not be there (RFC 3261 §13.2.1), but is what its sender means.
            let sdp = sdp.or(early.filter(|_| !late));
            if let Some(entry) = self.s.invites.get_mut(&invite) {
                entry.their_sdp = sdp.clone().unwrap_or_default();
            }
            self.on_session_response(invite, response, now);
            self.event(Event::Answered {
                invite,
                fork: id,
                status,
                reason,
                sdp,
                late,
                source,
                raw,
            });
            if !late {
                self.send_ack(invite, id, Vec::new(), now);
            }
            return;
        }
        // Our CANCEL crossed it, or another fork was faster: acknowledged and ended (RFC 3261 §13.2.2.4, §9.1).
        if calling {
            entry.main = Some(id);
        }
        self.send_ack(invite, id, Vec::new(), now);
        self.send_bye(invite, id, now);
    }

    pub(crate) fn on_invite_failed(&mut self, invite: InviteId, failure: Failure, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        entry.request = None;
        if entry.phase == Phase::Calling {
            let hung_up = entry.hung_up;
            if !hung_up && self.call_next_target(invite, now) {
                return;
            }
            let end = if hung_up {
                End::ByUs { raw: String::new() }
            } else {
                End::Failed(failure)
            };
            self.end(invite, end, now);
        }
    }

    pub(crate) fn acknowledge(
        &mut self,
        invite: InviteId,
        fork: ForkId,
        sdp: Vec<u8>,
        now: Instant,
    ) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        if entry.main == Some(fork) && std::mem::take(&mut entry.ack_due) {
            entry.last_sdp.clone_from(&sdp);
            self.send_ack(invite, fork, sdp, now);
        }
    }

    pub(crate) fn send_ack(&mut self, invite: InviteId, fork: ForkId, sdp: Vec<u8>, now: Instant) {
        let Some((mut draft, next_hop)) = self.dialog_draft(invite, fork, Method::Ack) else {
            return;
        };
        let Some(account) = self.s.invites.get(&invite).map(|i| i.account) else {
            return;
        };
        draft.sdp = sdp;
        self.request(
            Purpose::Ack { invite, fork },
            account,
            draft,
            &next_hop,
            now,
        );
    }

    pub(crate) fn remember_ack(
        &mut self,
        invite: InviteId,
        fork: ForkId,
        path: Path,
        bytes: Vec<u8>,
    ) {
        if let Some(fork) = self.s.invites.get_mut(&invite).and_then(|i| i.fork(fork)) {
            let number = Message::parse(&bytes)
                .ok()
                .and_then(|m| m.cseq().ok())
                .map_or(0, |(n, _)| n);
            fork.ack = Some((number, path, bytes));
        }
    }

    /// The peer's Contact or Route leads where we may not send: there is no way to go on.
    pub(crate) fn on_ack_unsendable(&mut self, invite: InviteId, failure: Failure, now: Instant) {
        let Some(entry) = self.s.invites.get(&invite) else {
            return;
        };
        let hung_up = entry.hung_up;
        self.end(
            invite,
            if hung_up {
                End::ByUs { raw: String::new() }
            } else {
                End::Failed(failure)
            },
            now,
        );
    }
}

pub(crate) fn target_uri(
    spec: &crate::api::AccountSpec,
    target: &Target,
) -> Result<Vec<u8>, WriteFault> {
    let (mut uri, params) = match target {
        Target::User { user, params } => {
            if user.is_empty() || user.chars().any(char::is_control) {
                return Err(WriteFault::Control("callee".into()));
            }
            (Uri::Sip(domain_uri(spec, Some(user.as_bytes()))?), params)
        }
        Target::Uri { uri, params } => (Uri::parse(uri.as_bytes())?, params),
    };
    for (name, value) in params {
        let text = format!("{name}{}", value.as_deref().unwrap_or_default());
        if text.chars().any(char::is_control) {
            return Err(WriteFault::Control(format!("parameter {name:?}")));
        }
    }
    match &mut uri {
        Uri::Sip(sip) => {
            // Headers of a URI do not go into a Request-URI (RFC 3261 §19.1.1, table 1).
            sip.headers = None;
            sip.params.retain(|(name, _)| name != b"method");
            add_params(sip, params)?;
        }
        Uri::Tel(_) => {}
        Uri::Other(_) => return Err(WriteFault::Uri),
    }
    Ok(uri.to_bytes())
}

fn add_params(uri: &mut SipUri, params: &[(String, Option<String>)]) -> Result<(), WriteFault> {
    for (name, value) in params {
        if name.is_empty() {
            return Err(WriteFault::Param(name.clone()));
        }
        let name = name.to_ascii_lowercase().into_bytes();
        uri.params.retain(|(n, _)| *n != name);
        uri.params
            .push((name, value.as_ref().map(|v| v.clone().into_bytes())));
    }
    Ok(())
}

/// Replaces must be understood, or two phones would ring for one call (RFC 3891 §6.1).
pub(crate) fn option_headers(
    options: &InviteOptions,
) -> Result<Vec<(String, Vec<u8>)>, WriteFault> {
    let mut headers = Vec::new();
    if let Some(hops) = options.max_forwards {
        headers.push((MAX_FORWARDS.into(), hops.to_string().into_bytes()));
    }
    if let Some(replaces) = &options.replaces {
        let replaces = Replaces::parse(replaces.as_bytes())
            .map_err(|_| WriteFault::Param("Replaces".into()))?;
        headers.push(("Require".into(), b"replaces".to_vec()));
        headers.push(("Replaces".into(), replaces.to_bytes()));
    }
    if let Some(referred_by) = &options.referred_by {
        NameAddr::parse(referred_by.as_bytes())?;
        headers.push(("Referred-By".into(), referred_by.clone().into_bytes()));
    }
    Ok(headers)
}

/// Headers that we write ourselves, beyond those with an id.
const OURS: [&str; 6] = [
    "User-Agent",
    "Server",
    "Content-Disposition",
    "Session-Expires",
    "Min-SE",
    "RAck",
];

/// `signed`: an Identity may be passed on (RFC 8224), which nobody but a line brings.
pub(crate) fn checked_headers(
    headers: Vec<Header>,
    signed: bool,
) -> Result<Vec<(String, Vec<u8>)>, WriteFault> {
    let mut checked = Vec::new();
    for header in headers {
        let id = HeaderName::from_bytes(header.name.as_bytes());
        let free = matches!(
            id,
            HeaderName::Other | HeaderName::Subject | HeaderName::Reason
        );
        let forged = !signed && is_signature(header.name.as_bytes());
        if !free
            || forged
            || OURS
                .iter()
                .any(|name| name.eq_ignore_ascii_case(&header.name))
        {
            return Err(WriteFault::Name(header.name));
        }
        // The writer is the judge of what is a header.
        let mut scratch = Vec::new();
        let mut writer = Writer::response(&mut scratch, 200, "");
        writer.text(&header.name, &header.value);
        writer.end("", b"")?;
        checked.push((header.name, header.value.into_bytes()));
    }
    Ok(checked)
}
