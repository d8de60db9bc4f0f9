//! Our requests: written, sent to one address after the other, authorized, and their transactions.

use crate::agent::{Agent, Due};
use crate::api::{AccountId, Cause, Failure, ForkId, InviteId, ReferId};
use crate::finding::Lookup;
use crate::invite::Phase as InvitePhase;
use crate::limits::{MAX_DATAGRAM, MAX_QUEUED_PER_STREAM, MAX_REQUESTS};
use crate::lines::TrunkSpec;
use crate::net::{Hop, Listener, Path, StreamId, Transport, listener_for};
use crate::registration::next_hop;
use crate::reliable::ReliableProvisional;
use crate::tls::{TlsOpen, host_of};
use crate::validate::SUPPORTED;
use serde::{Deserialize, Serialize};
use signaling_sip::digest::Proof;
use signaling_sip::message::{Method, NameAddr, WriteFault, Writer};
use signaling_sip::time::Instant;
use signaling_sip::transaction::{ClientInvite, ClientNonInvite, Turn};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

/// An INVITE whose connection broke while it rang.
const AFTER_FLOW_LOST: Duration = Duration::from_secs(32);

pub(crate) const ALLOW: &str =
    "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, REFER, NOTIFY, INFO";

/// Whom a request is for, and so who hears of its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Also with expires 0.
    Register(AccountId),
    Invite(InviteId),
    /// An INVITE to one of several contacts.
    Ring(InviteId, u32),
    Cancel(InviteId),
    Reinvite(InviteId),
    Bye(InviteId, ForkId),
    Prack(InviteId, ForkId),
    /// An UPDATE that keeps the session alive.
    Refresh(InviteId),
    /// The ACK of a 2xx: no transaction, repeated with the 2xx.
    Ack {
        invite: InviteId,
        fork: ForkId,
    },
    Refer(InviteId, ReferId),
    Notify(InviteId, ReferId),
    Info(InviteId),
    /// An OPTIONS that asks whether a server of a trunk is there. Without an address it has yet to be looked up.
    Probe {
        account: AccountId,
        server: Vec<u8>,
        to: Option<Hop>,
    },
}

/// In a draft's headers where it is not the usual 70.
pub(crate) const MAX_FORWARDS: &str = "Max-Forwards";

/// A request but for what depends on where it goes: Via, Contact, Authorization.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Draft {
    pub method: Method,
    pub uri: Vec<u8>,
    pub routes: Vec<Vec<u8>>,
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    pub call_id: Vec<u8>,
    pub cseq: u32,
    /// User part and parameters behind the `>` of our Contact.
    pub contact: Option<(String, Vec<u8>)>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// What the body is, where it is not SDP.
    #[serde(default)]
    pub content_type: Option<String>,
    pub sdp: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub purpose: Purpose,
    pub account: AccountId,
    pub draft: Draft,
    pub hops: VecDeque<Hop>,
    pub hop: Option<Hop>,
    /// The URI that the addresses were found by …
    #[serde(default)]
    pub way: Vec<u8>,
    /// … and those that are tried when none of them serves.
    #[serde(default)]
    pub ways: VecDeque<Vec<u8>>,
    /// How long one address may say nothing; 0: as long as its transaction lasts.
    #[serde(default)]
    pub attempt_ms: u32,
    /// A provisional response came: it was passed on to somebody.
    #[serde(default)]
    pub provisional: bool,
    /// The host of the URI that it is sent to, as certificates are to show it.
    #[serde(default)]
    pub host: String,
    pub phase: Phase,
    /// What it goes over, and nothing else.
    #[serde(default)]
    pub flow: Option<Path>,
    /// Realms that were answered with a nonce given in this very exchange, and the nonce.
    pub answered: Vec<(bool, Vec<u8>, Vec<u8>)>,
    pub rounds: u8,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Phase {
    Looking(Box<Lookup>),
    Connecting(StreamId),
    Sent { branch: String },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClientTransaction {
    pub machine: Machine,
    pub path: Path,
    pub request: u64,
    pub purpose: Purpose,
    /// The head of an INVITE: what its ACK, its CANCEL and its dialogs are made from.
    pub head: Vec<u8>,
    /// Its INVITE went on to another server meanwhile; a call that it still makes is ended.
    #[serde(default)]
    pub abandoned: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Machine {
    Invite(ClientInvite),
    Other(ClientNonInvite),
}

impl ClientTransaction {
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.machine {
            Machine::Invite(tx) => tx.next_timeout(),
            Machine::Other(tx) => tx.next_timeout(),
        }
    }

    pub fn is_terminated(&self) -> bool {
        match &self.machine {
            Machine::Invite(tx) => tx.is_terminated(),
            Machine::Other(tx) => tx.is_terminated(),
        }
    }

    pub fn repeats(&self) -> &[u8] {
        match &self.machine {
            Machine::Invite(tx) => tx.repeats(),
            Machine::Other(tx) => tx.repeats(),
        }
    }
}

impl Agent {
    /// Sends a request towards `next_hop`; the number it is known by until it is answered.
    pub(crate) fn request(
        &mut self,
        purpose: Purpose,
        account: AccountId,
        draft: Draft,
        next_hop: &[u8],
        now: Instant,
    ) -> u64 {
        self.request_by(purpose, account, draft, vec![next_hop.to_vec()], 0, now)
    }

    /// The same by the first of `ways` that answers, each given `attempt_ms` for each of its addresses (RFC 3263
    /// §4.3).
    pub(crate) fn request_by(
        &mut self,
        purpose: Purpose,
        account: AccountId,
        draft: Draft,
        ways: Vec<Vec<u8>>,
        attempt_ms: u32,
        now: Instant,
    ) -> u64 {
        let full = self.s.requests.len() >= MAX_REQUESTS;
        let number = self.add_request(purpose, account, draft, ways.into(), attempt_ms);
        let flow = self.s.requests.get(&number).and_then(|r| r.flow);
        if full {
            self.fail(number, Cause::Overloaded, "too many requests", now);
        } else if let Some(flow) = flow {
            self.begin_attempt(number, now);
            self.send_over_flow(number, flow, now);
        } else {
            let failure = Failure {
                cause: Cause::Unreachable,
                reason: "no server to send to".into(),
                ..Failure::default()
            };
            self.fail_with(number, failure, now);
        }
        number
    }

    fn add_request(
        &mut self,
        purpose: Purpose,
        account: AccountId,
        draft: Draft,
        ways: VecDeque<Vec<u8>>,
        attempt_ms: u32,
    ) -> u64 {
        let number = self.draw();
        let flow = self.flow_for(&purpose).filter(|flow| self.is_open(*flow));
        let phase = Phase::Sent {
            branch: String::new(),
        };
        let request = Request {
            purpose,
            account,
            draft,
            hops: VecDeque::new(),
            hop: None,
            way: Vec::new(),
            // What the flow does not reach, nothing does.
            ways: match flow {
                Some(_) => VecDeque::new(),
                None => ways,
            },
            attempt_ms,
            provisional: false,
            host: String::new(),
            phase,
            flow,
            answered: Vec::new(),
            rounds: 0,
        };
        self.s.requests.insert(number, request);
        number
    }

    /// The same to one address.
    pub(crate) fn request_to(
        &mut self,
        purpose: Purpose,
        account: AccountId,
        draft: Draft,
        hop: Hop,
        attempt_ms: u32,
        now: Instant,
    ) {
        let way = match &purpose {
            Purpose::Probe { server, .. } => server.clone(),
            _ => Vec::new(),
        };
        let number = self.add_request(purpose, account, draft, VecDeque::new(), attempt_ms);
        let host = host_of(&way);
        if let Some(entry) = self.s.requests.get_mut(&number) {
            // What a certificate must hold, where it goes by TLS.
            entry.host = host.unwrap_or_default();
            entry.way = way;
            entry.hops.push_back(hop);
        }
        let failure = Failure {
            cause: Cause::Unreachable,
            reason: "the address cannot be reached".into(),
            ..Failure::default()
        };
        self.try_next_hop(number, failure, now);
    }

    /// The flow that a request is bound to, where its peer is reached by one (RFC 5626 §5.3).
    fn flow_for(&self, purpose: &Purpose) -> Option<Path> {
        let main = |invite: &InviteId| Some((*invite, self.s.invites.get(invite)?.main?));
        let (invite, fork) = match purpose {
            Purpose::Ring(invite, ring) => return self.flow_of_ring(*invite, *ring),
            Purpose::Bye(invite, fork)
            | Purpose::Prack(invite, fork)
            | Purpose::Ack { invite, fork } => (*invite, *fork),
            Purpose::Reinvite(invite)
            | Purpose::Refresh(invite)
            | Purpose::Refer(invite, _)
            | Purpose::Notify(invite, _)
            | Purpose::Info(invite) => main(invite)?,
            Purpose::Register(_)
            | Purpose::Invite(_)
            | Purpose::Cancel(_)
            | Purpose::Probe { .. } => return None,
        };
        let entry = self.s.invites.get(&invite)?;
        let fork = entry.forks.iter().find(|f| f.id == fork)?;
        fork.flow.filter(|_| fork.dialog.routes.is_empty())
    }

    fn is_open(&self, flow: Path) -> bool {
        match flow {
            Path::Datagram { .. } => true,
            Path::Stream { stream, .. } => self.s.streams.get(&stream).is_some_and(|s| s.up),
        }
    }

    /// Whatever its length over UDP: nothing else leads to a phone behind a NAT.
    fn send_over_flow(&mut self, request: u64, flow: Path, now: Instant) {
        let Path::Datagram { local, .. } = flow else {
            if let Path::Stream { stream, .. } = flow {
                self.send_over_stream(request, stream, now);
            }
            return;
        };
        let mut own = self.config.listeners.iter();
        let listener = own.find(|l| l.transport == Transport::Udp && l.bound == local);
        let Some(listener) = listener.cloned() else {
            return self.fail(request, Cause::Unreachable, "its listener is gone", now);
        };
        let branch = self.s.dice.branch();
        match self.compose(request, &branch, &listener) {
            Ok(bytes) => self.launch(request, branch, bytes, flow, now),
            Err(fault) => self.fail(request, Cause::BadRequest, &fault.to_string(), now),
        }
    }

    pub(crate) fn fail(&mut self, request: u64, cause: Cause, reason: &str, now: Instant) {
        let failure = Failure {
            cause,
            reason: reason.into(),
            ..Failure::default()
        };
        self.fail_with(request, failure, now);
    }

    /// This way leads nowhere: the next one, or the end of it.
    pub(crate) fn fail_with(&mut self, request: u64, failure: Failure, now: Instant) {
        let for_all = matches!(failure.cause, Cause::BadRequest | Cause::Overloaded);
        let given_up = self.is_given_up(request);
        let Some(entry) = self.s.requests.get_mut(&request) else {
            return;
        };
        if !for_all
            && !given_up
            && let Some(way) = entry.ways.pop_front()
        {
            entry.way.clone_from(&way);
            entry.hop = None;
            self.begin_attempt(request, now);
            return self.resolve(request, &way, now);
        }
        if let Some(purpose) = self.drop_request(request) {
            self.on_failure(&purpose, failure, now);
        }
    }

    /// The INVITE of a call that is hung up meanwhile: nobody else is to be rung for it.
    fn is_given_up(&self, request: u64) -> bool {
        let purpose = self.s.requests.get(&request).map(|r| &r.purpose);
        matches!(purpose, Some(Purpose::Invite(invite)) if self.is_hung_up(*invite))
    }

    pub(crate) fn drop_request(&mut self, request: u64) -> Option<Purpose> {
        self.s.schedule.set(Due::Request(request), None);
        self.s.schedule.set(Due::Attempt(request), None);
        let entry = self.s.requests.remove(&request)?;
        Some(entry.purpose)
    }

    /// Forgets a request and stops repeating it.
    pub(crate) fn abandon(&mut self, request: u64) {
        if let Some(Request {
            phase: Phase::Sent { branch },
            ..
        }) = self.s.requests.get(&request)
        {
            let branch = branch.clone();
            self.s.schedule.set(Due::Client(branch.clone()), None);
            self.s.client.remove(&branch);
        }
        self.drop_request(request);
    }

    pub(crate) fn try_next_hop(&mut self, request: u64, mut failure: Failure, now: Instant) {
        loop {
            let given_up = self.is_given_up(request);
            let Some(entry) = self.s.requests.get_mut(&request) else {
                return;
            };
            let Some(hop) = entry.hops.pop_front().filter(|_| !given_up) else {
                return self.fail_with(request, failure, now);
            };
            // TCP and UDP of one server are one attempt.
            let other = entry.hop.is_some_and(|before| before.remote != hop.remote);
            entry.hop = Some(hop);
            if other || !self.s.schedule.has(&Due::Attempt(request)) {
                self.begin_attempt(request, now);
            }
            let Some(listener) = self.listener_of_request(request, hop.transport, hop.remote.ip())
            else {
                if hop.transport == Transport::Tls {
                    failure.reason = "sip.listen has no tls: address to go out by".into();
                }
                continue;
            };
            if hop.transport != Transport::Udp {
                let tls = (hop.transport == Transport::Tls)
                    .then(|| self.tls_of(request, hop.remote.ip()));
                let opened = self.stream_to(listener.bound.ip(), hop.remote, tls, now);
                let Some((stream, up)) = opened else {
                    continue;
                };
                if up {
                    return self.send_over_stream(request, stream, now);
                }
                let Some(entry) = self.s.streams.get_mut(&stream) else {
                    continue;
                };
                if entry.waiting.len() >= MAX_QUEUED_PER_STREAM {
                    continue;
                }
                entry.waiting.push_back(request);
                if let Some(entry) = self.s.requests.get_mut(&request) {
                    entry.phase = Phase::Connecting(stream);
                }
                return;
            }
            let branch = self.s.dice.branch();
            let bytes = match self.compose(request, &branch, &listener) {
                Ok(bytes) => bytes,
                Err(fault) => {
                    return self.fail(request, Cause::BadRequest, &fault.to_string(), now);
                }
            };
            let tcp = Hop {
                transport: Transport::Tcp,
                ..hop
            };
            // Where TCP was tried in vain a moment ago, another call need not wait for it.
            let has_tcp = self
                .listener_of_request(request, Transport::Tcp, hop.remote.ip())
                .is_some()
                && !self.s.resting.rests(&tcp, now);
            if bytes.len() > MAX_DATAGRAM && !hop.whatever_length && has_tcp {
                let Some(entry) = self.s.requests.get_mut(&request) else {
                    return;
                };
                entry.hops.push_front(Hop {
                    whatever_length: true,
                    ..hop
                });
                entry.hops.push_front(tcp);
                continue;
            }
            let path = Path::Datagram {
                local: listener.bound,
                remote: hop.remote,
            };
            return self.launch(request, branch, bytes, path, now);
        }
    }

    pub(crate) fn listener(&self, transport: Transport, remote: IpAddr) -> Option<Listener> {
        listener_for(
            &self.config.listeners,
            &self.config.interfaces,
            transport,
            remote,
            "",
        )
    }

    /// The one that its trunk leaves by, if that names one.
    fn listener_of_request(
        &self,
        request: u64,
        transport: Transport,
        remote: IpAddr,
    ) -> Option<Listener> {
        let name = self.trunk_of_request(request).map(|trunk| &trunk.listener);
        listener_for(
            &self.config.listeners,
            &self.config.interfaces,
            transport,
            remote,
            name.map_or("", String::as_str),
        )
    }

    fn trunk_of_request(&self, request: u64) -> Option<&TrunkSpec> {
        self.trunk_of(self.s.requests.get(&request)?.account)
    }

    /// Whether the request is for a `sips:` URI, so that it goes by TLS whatever names its next hop (RFC 3261
    /// §26.2.2).
    pub(crate) fn is_sips(&self, request: u64) -> bool {
        let entry = self.s.requests.get(&request);
        entry.is_some_and(|entry| is_secure(&entry.draft.uri))
    }

    /// Whom a connection for this request must lead to.
    ///
    /// Inside a dialog, Contact and Record-Route mostly are bare addresses, which no certificate holds: at an address
    /// of the account's own servers it is those that must be there, under their name.
    fn tls_of(&self, request: u64, remote: IpAddr) -> TlsOpen {
        let Some(entry) = self.s.requests.get(&request) else {
            return TlsOpen::default();
        };
        let trunk = self.trunk_of(entry.account);
        let given = trunk.and_then(|trunk| Some(&trunk.tls.as_ref()?.server_name));
        let by_address = entry.host.parse() == Ok(remote);
        let own = self
            .s
            .accounts
            .get(&entry.account)
            .filter(|account| by_address && account.peers.contains(&remote))
            .and_then(|account| {
                let at = |hops: &[Hop]| hops.iter().any(|hop| hop.remote.ip() == remote);
                let mut found = account.found.iter();
                match found.find(|(_, hops)| at(hops)) {
                    Some((server, _)) => host_of(server),
                    None => host_of(&next_hop(&account.spec)),
                }
            });
        let server_name = match given.filter(|name| !name.is_empty()) {
            Some(given) => given.to_ascii_lowercase(),
            None => own.unwrap_or_else(|| entry.host.clone()),
        };
        TlsOpen {
            profile: trunk.map(|trunk| trunk.name.clone()).unwrap_or_default(),
            server_name,
        }
    }

    pub(crate) fn send_over_stream(&mut self, request: u64, stream: StreamId, now: Instant) {
        let Some((remote, secure)) = self.s.streams.get(&stream).map(|s| (s.remote, s.secure))
        else {
            return;
        };
        let path = Path::Stream {
            stream,
            remote,
            secure,
        };
        let Some(listener) = self.listener_of_request(request, path.transport(), remote.ip())
        else {
            return self.on_hop_failed(request, "no listener for it", now);
        };
        let branch = self.s.dice.branch();
        match self.compose(request, &branch, &listener) {
            Ok(bytes) => self.launch(request, branch, bytes, path, now),
            Err(fault) => self.fail(request, Cause::BadRequest, &fault.to_string(), now),
        }
    }

    fn launch(&mut self, request: u64, branch: String, bytes: Vec<u8>, path: Path, now: Instant) {
        let Some(entry) = self.s.requests.get_mut(&request) else {
            return;
        };
        let purpose = entry.purpose.clone();
        self.transmit(path, bytes.clone());
        if let Purpose::Ack { invite, fork } = purpose {
            self.drop_request(request);
            self.remember_ack(invite, fork, path, bytes);
            return;
        }
        entry_sent(&mut self.s.requests, request, &branch);
        let reliable = path.is_reliable();
        let is_invite = matches!(
            purpose,
            Purpose::Invite(_) | Purpose::Ring(..) | Purpose::Reinvite(_)
        );
        let (machine, head) = if is_invite {
            let end = bytes
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
                .map_or(bytes.len(), |at| at + 4);
            let head = bytes.get(..end).unwrap_or(&bytes).to_vec();
            (
                Machine::Invite(ClientInvite::start(bytes, reliable, now)),
                head,
            )
        } else {
            (
                Machine::Other(ClientNonInvite::start(bytes, reliable, now)),
                Vec::new(),
            )
        };
        match purpose {
            Purpose::Invite(invite) => self.on_invite_sent(invite, &branch),
            Purpose::Ring(invite, ring) => self.on_ring_sent(invite, ring, &branch),
            _ => {}
        }
        let tx = ClientTransaction {
            machine,
            path,
            request,
            purpose,
            head,
            abandoned: false,
        };
        self.s
            .schedule
            .set(Due::Client(branch.clone()), tx.next_timeout());
        self.s.client.insert(branch, tx);
    }

    fn compose(
        &mut self,
        request: u64,
        branch: &str,
        listener: &Listener,
    ) -> Result<Vec<u8>, WriteFault> {
        let Some(entry) = self.s.requests.get(&request) else {
            return Ok(Vec::new());
        };
        let draft = &entry.draft;
        let mut credentials: Vec<(&'static str, Vec<u8>)> = Vec::new();
        let away = self.is_away(&entry.purpose) || self.is_strange(request);
        // Nobody is asked to let an OPTIONS in: any answer is a sign of life.
        let away = away || matches!(entry.purpose, Purpose::Probe { .. });
        if let Some(account) = self.s.accounts.get_mut(&entry.account)
            && draft.method != Method::Ack
            && !away
        {
            let spec = &account.spec;
            let proof = Proof {
                username: if spec.auth_name.is_empty() {
                    &spec.login
                } else {
                    &spec.auth_name
                },
                password: &spec.password,
                method: draft.method.as_bytes(),
                uri: &draft.uri,
                body: &draft.sdp,
            };
            let registers = draft.method == Method::Register;
            for (_, session) in account.digest.iter_mut().filter(|(r, _)| *r == registers) {
                credentials.push((session.header_name(), session.authorize(proof)?));
            }
        }
        let Some(entry) = self.s.requests.get(&request) else {
            return Ok(Vec::new());
        };
        let draft = &entry.draft;
        let public = listener.public();
        let mut out = Vec::with_capacity(1024 + draft.sdp.len());
        let mut writer = Writer::request(&mut out, &draft.method, &draft.uri);
        let transport = listener.transport.name();
        writer.text(
            "Via",
            &format!("SIP/2.0/{transport} {public};branch={branch};rport"),
        );
        for route in &draft.routes {
            writer.header("Route", route);
        }
        if !draft.headers.iter().any(|(name, _)| name == MAX_FORWARDS) {
            writer.text(MAX_FORWARDS, "70");
        }
        writer
            .header("From", &draft.from)
            .header("To", &draft.to)
            .header("Call-ID", &draft.call_id);
        let method = String::from_utf8_lossy(draft.method.as_bytes());
        writer.text("CSeq", &format!("{} {method}", draft.cseq));
        if let Some((user, params)) = &draft.contact {
            let secure =
                is_secure(&draft.uri) || draft.routes.first().is_some_and(|r| routes_securely(r));
            let mut value = contact_uri(user, listener, secure);
            value.extend_from_slice(params);
            writer.header("Contact", &value);
        }
        for (name, value) in &credentials {
            writer.header(name, value);
        }
        for (name, value) in &draft.headers {
            writer.header(name, value);
        }
        if matches!(draft.method, Method::Invite | Method::Update) {
            // No Accept: SDP is what its absence means (RFC 3261 §20.1), and a datagram has little room.
            writer
                .text("Allow", ALLOW)
                .text("Supported", &self.supported(entry.account, draft));
            for (name, value) in self.session_request(&entry.purpose) {
                writer.text(name, &value);
            }
        }
        if !self.config.user_agent.is_empty() {
            writer.text("User-Agent", &self.config.user_agent);
        }
        let content_type = draft.content_type.as_deref();
        writer.end(content_type.unwrap_or("application/sdp"), &draft.sdp)?;
        Ok(out)
    }

    /// Without an offer of ours a reliable response would bring theirs, and its PRACK would have to bring an answer
    /// that nobody has yet: such an INVITE waits for the 2xx.
    fn supported(&self, account: AccountId, draft: &Draft) -> String {
        let reliably = self.reliable_provisional(account) != ReliableProvisional::Off;
        let has_offer = draft.method != Method::Invite || !draft.sdp.is_empty();
        let tags = SUPPORTED.iter().copied();
        tags.filter(|tag| *tag != "100rel" || reliably && has_offer)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The same to the same address, as a request of its own.
    pub(crate) fn send_again(&mut self, request: u64, now: Instant) {
        let Some(entry) = self.s.requests.get_mut(&request) else {
            return;
        };
        if let Some(hop) = entry.hop {
            entry.hops.push_front(hop);
        }
        let (purpose, cseq) = (entry.purpose.clone(), entry.draft.cseq);
        let flow = entry.flow;
        let cseq = self.cseq_of_retry(&purpose, cseq);
        if let Some(entry) = self.s.requests.get_mut(&request) {
            entry.draft.cseq = cseq;
        }
        if let Some(flow) = flow {
            return if self.is_open(flow) {
                self.send_over_flow(request, flow, now);
            } else {
                self.on_hop_failed(request, "its connection is gone", now);
            };
        }
        self.try_next_hop(request, Failure::default(), now);
    }

    pub(crate) fn on_hop_failed(&mut self, request: u64, why: &str, now: Instant) {
        let failure = Failure {
            cause: Cause::Unreachable,
            reason: why.into(),
            ..Failure::default()
        };
        self.let_rest_as_dead(request, now);
        self.try_next_hop(request, failure, now);
    }

    pub(crate) fn on_client_timeout(&mut self, branch: &str, now: Instant) {
        let Some(tx) = self.s.client.get_mut(branch) else {
            return;
        };
        let turn = match &mut tx.machine {
            Machine::Invite(machine) => machine.on_timeout(now),
            Machine::Other(machine) => machine.on_timeout(now),
        };
        self.after_client_turn(branch, turn, now);
    }

    /// The stream that a request went over is gone: no answer can come (RFC 3261 §17.1.4).
    pub(crate) fn on_flow_lost(&mut self, branch: &str, now: Instant) {
        let Some(tx) = self.s.client.get_mut(branch) else {
            return;
        };
        let waits = match &mut tx.machine {
            Machine::Invite(machine) => {
                // A callee may be ringing behind a proxy that closed an idle connection: wait on.
                let waits = machine.is_calling();
                if waits {
                    machine.terminate();
                }
                waits
            }
            Machine::Other(machine) => {
                let waits = machine.is_waiting();
                machine.terminate();
                waits
            }
        };
        if let (false, false, Purpose::Invite(invite)) = (waits, tx.abandoned, &tx.purpose) {
            // The answer may still come over a connection of the peer's making, but not for ever.
            let (invite, soon) = (*invite, now + AFTER_FLOW_LOST);
            if self
                .s
                .invites
                .get(&invite)
                .is_some_and(|i| i.phase == InvitePhase::Calling)
            {
                self.s.schedule.set(Due::Patience(invite), Some(soon));
            }
        }
        let turn = Turn {
            timed_out: waits,
            ..Turn::default()
        };
        self.after_client_turn(branch, turn, now);
    }

    pub(crate) fn after_client_turn(&mut self, branch: &str, turn: Turn, now: Instant) {
        let Some(tx) = self.s.client.get(branch) else {
            return;
        };
        let (path, request, purpose) = (tx.path, tx.request, tx.purpose.clone());
        let abandoned = tx.abandoned;
        self.s
            .schedule
            .set(Due::Client(branch.to_string()), tx.next_timeout());
        if turn.send {
            let bytes = tx.repeats().to_vec();
            self.transmit(path, bytes);
        }
        let terminated = self
            .s
            .client
            .get(branch)
            .is_some_and(ClientTransaction::is_terminated);
        if terminated {
            self.s.schedule.set(Due::Client(branch.to_string()), None);
            self.s.client.remove(branch);
        }
        if turn.timed_out && !abandoned {
            let failure = Failure {
                cause: Cause::Timeout,
                status: 0,
                reason: "no answer".into(),
                ..Failure::default()
            };
            if matches!(purpose, Purpose::Cancel(_)) {
                self.on_failure(&purpose, failure, now);
            } else {
                self.let_rest_as_dead(request, now);
                self.try_next_hop(request, failure, now);
            }
        }
        if terminated && let Purpose::Invite(invite) | Purpose::Ring(invite, _) = purpose {
            self.forget_invite_if_over(invite);
        }
    }
}

fn entry_sent(requests: &mut std::collections::BTreeMap<u64, Request>, request: u64, branch: &str) {
    if let Some(entry) = requests.get_mut(&request) {
        entry.provisional = false;
        entry.phase = Phase::Sent {
            branch: branch.to_string(),
        };
    }
}

/// `<sip:user@address>`, with the transport where it is not UDP; `secure`: as `sips:`, which where there is no TLS
/// would lead nowhere (RFC 3261 §8.1.1.8).
///
/// `transport=tls` is deprecated (RFC 3261 §26.2.2) and what every peer understands.
pub(crate) fn contact_uri(user: &str, listener: &Listener, secure: bool) -> Vec<u8> {
    let (scheme, transport) = match (listener.transport, secure) {
        (Transport::Udp, _) => ("sip", ""),
        (Transport::Tcp, _) => ("sip", ";transport=tcp"),
        (Transport::Tls, false) => ("sip", ";transport=tls"),
        (Transport::Tls, true) => ("sips", ""),
    };
    format!("<{scheme}:{user}@{}{transport}>", listener.public()).into_bytes()
}

pub(crate) fn is_secure(uri: &[u8]) -> bool {
    uri.get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

/// Of a Route's or Record-Route's value.
pub(crate) fn routes_securely(route: &[u8]) -> bool {
    NameAddr::parse(route).is_ok_and(|route| is_secure(route.uri))
}
