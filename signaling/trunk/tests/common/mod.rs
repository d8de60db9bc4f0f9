//! A gateway on a desk: an agent, a PBX that says what the test says, and virtual time.

// Each test binary uses a part of it.
#![allow(dead_code)]

pub mod phones;
pub mod transfer;
pub mod trunks;

use signaling_sip::message::{HeaderName, Message};
use signaling_sip::time::Instant;
use signaling_trunk::agent::{Agent, Config, Input, Output};
use signaling_trunk::allowed::Entry;
use signaling_trunk::api::{AccountId, AccountSpec, Command, Event, Header, InviteId, Target};
use signaling_trunk::net::{Listener, Transport};
use std::net::SocketAddr;
use std::time::Duration;

pub const US: &str = "192.0.2.10:5060";
pub const PBX: &str = "192.0.2.1:5060";
pub const STRANGER: &str = "192.0.2.66:5060";
pub const CALL: InviteId = InviteId(2);

/// What every test's gateway is told, unless it changes something.
pub fn config() -> Config {
    let listeners = [Transport::Udp, Transport::Tcp].map(|transport| Listener {
        transport,
        bound: US.parse().unwrap(),
        announce: None,
        name: String::new(),
    });
    Config {
        listeners: listeners.to_vec(),
        interfaces: vec![("192.0.2.10".parse().unwrap(), 24)],
        allowed: vec![Entry::parse("192.0.2.0/24").unwrap()],
        user_agent: "Trunkgate".into(),
        ..Config::default()
    }
}

pub struct Desk {
    pub agent: Agent,
    pub config: Config,
    pub now: Instant,
    /// Sent datagrams, stream bytes included.
    pub sent: Vec<(SocketAddr, Vec<u8>)>,
    pub events: Vec<Event>,
    pub others: Vec<Output>,
    /// Written down and restored before every step, if true.
    pub snapshots: bool,
}

impl Desk {
    pub fn new() -> Desk {
        Desk::with(config())
    }

    pub fn with(config: Config) -> Desk {
        Desk {
            agent: Agent::new(config.clone(), [3; 32]),
            config,
            now: Instant(0),
            sent: Vec::new(),
            events: Vec::new(),
            others: Vec::new(),
            snapshots: false,
        }
    }
    /// With an account that registered at the PBX.
    pub fn registered() -> Desk {
        Desk::registered_with(config())
    }

    pub fn registered_with(config: Config) -> Desk {
        let mut desk = Desk::with(config);
        desk.command(Command::OpenAccount {
            account: AccountId(1),
            spec: spec(PBX),
        });
        let register = desk.taken();
        desk.answer(
            &register,
            "401 Unauthorized",
            "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n",
            "",
        );
        let register = desk.taken();
        assert!(text(&register).contains("\r\nAuthorization: Digest username=\"me\""));
        let contact = text(&register)
            .lines()
            .find(|l| l.starts_with("Contact: "))
            .unwrap()
            .to_string();
        desk.answer(&register, "200 OK", &format!("{contact}\r\n"), "");
        assert!(matches!(
            desk.events.pop(),
            Some(Event::Registered { expires_s: 60, .. })
        ));
        desk
    }

    pub fn step(&mut self, input: Input<'_>) {
        self.maybe_restore();
        self.agent.handle(input, self.now);
        self.drain();
    }

    fn maybe_restore(&mut self) {
        if self.snapshots {
            let snapshot = self.agent.snapshot();
            self.agent = Agent::restore(self.config.clone(), &snapshot).unwrap();
        }
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Datagram {
                    local,
                    remote,
                    bytes,
                } => {
                    assert_eq!(local, US.parse().unwrap());
                    self.sent.push((remote, bytes));
                }
                Output::StreamData { bytes, .. } => self.sent.push((PBX.parse().unwrap(), bytes)),
                Output::Event(event) => self.events.push(event),
                other => self.others.push(other),
            }
        }
    }

    pub fn command(&mut self, command: Command) {
        self.step(Input::Command(command));
    }

    pub fn receive(&mut self, from: &str, bytes: &[u8]) {
        self.step(Input::Datagram {
            local: US.parse().unwrap(),
            remote: from.parse().unwrap(),
            bytes,
        });
    }

    pub fn wait(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some(at) = self.agent.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.maybe_restore();
            self.agent.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// The one message sent since.
    pub fn taken(&mut self) -> Vec<u8> {
        assert_eq!(
            self.sent.len(),
            1,
            "{:?}",
            self.sent.iter().map(|(_, b)| text(b)).collect::<Vec<_>>()
        );
        self.sent.remove(0).1
    }

    pub fn methods(&self) -> Vec<String> {
        self.sent
            .iter()
            .map(|(_, b)| text(b).split(' ').next().unwrap().to_string())
            .collect()
    }

    /// The PBX answers a request of ours.
    pub fn answer(&mut self, request: &[u8], status: &str, headers: &str, body: &str) {
        self.answer_as("b1", request, status, headers, body);
    }

    pub fn answer_as(
        &mut self,
        tag: &str,
        request: &[u8],
        status: &str,
        headers: &str,
        body: &str,
    ) {
        let message = Message::parse(request).unwrap();
        let mut out = format!("SIP/2.0 {status}\r\n");
        for (id, _, value) in message.fields() {
            let value = String::from_utf8_lossy(value);
            match id {
                HeaderName::To
                    if message.to().unwrap().tag().is_none() && !status.starts_with("100") =>
                {
                    out += &format!("To: {value};tag={tag}\r\n");
                }
                HeaderName::Via
                | HeaderName::From
                | HeaderName::To
                | HeaderName::CallId
                | HeaderName::CSeq => {
                    out += &format!("{}: {value}\r\n", id.as_str());
                }
                _ => {}
            }
        }
        out += headers;
        if !body.is_empty() {
            out += "Content-Type: application/sdp\r\n";
        }
        out += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        self.receive(PBX, out.as_bytes());
    }

    pub fn call(&mut self) -> Vec<u8> {
        self.command(invite(b"v=0 offer"));
        self.taken()
    }

    /// An outgoing call that was answered; the INVITE and the ACK.
    pub fn established(&mut self) -> (Vec<u8>, Vec<u8>) {
        let invite = self.call();
        self.answer(
            &invite,
            "200 OK",
            "Contact: <sip:bob@192.0.2.1>\r\n",
            "v=0 answer",
        );
        let ack = self.taken();
        (invite, ack)
    }

    /// Written down and restored before each step from now on.
    pub fn restored_at_each_step(mut self) -> Desk {
        self.snapshots = true;
        self
    }

    /// All messages sent since, without those that only keep the registration alive.
    pub fn all(&mut self) -> Vec<Vec<u8>> {
        let sent = self.sent.drain(..).map(|(_, bytes)| bytes);
        sent.filter(|b| b.len() > 4 && !b.starts_with(b"REGISTER "))
            .collect()
    }

    /// A request of the PBX in the dialog of an INVITE of ours;
    pub fn callee_request(
        &self,
        method: &str,
        invite: &[u8],
        tag: &str,
        cseq: u32,
        headers: &str,
        body: &str,
    ) -> Vec<u8> {
        let message = Message::parse(invite).unwrap();
        let field = |id| text(message.value(id).unwrap());
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        format!(
            "{method} sip:{}@{US} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{method}{tag}{cseq};rport\r\n\
             From: {};tag={tag}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:bob@192.0.2.1>\r\nMax-Forwards: 70\r\n{headers}{kind}Content-Length: {}\r\n\r\n{body}",
            self.contact_user(invite),
            field(HeaderName::To),
            field(HeaderName::From),
            field(HeaderName::CallId),
            body.len()
        )
        .into_bytes()
    }

    pub fn contact_user(&self, register_or_invite: &[u8]) -> String {
        let message = Message::parse(register_or_invite).unwrap();
        let uri = String::from_utf8_lossy(message.contact().unwrap().unwrap().uri).into_owned();
        uri.strip_prefix("sip:")
            .unwrap()
            .split('@')
            .next()
            .unwrap()
            .to_string()
    }

    /// A request of the PBX to a user of ours.
    pub fn inbound(
        &self,
        method: &str,
        user: &str,
        branch: &str,
        cseq: u32,
        to_tag: &str,
        body: &str,
    ) -> Vec<u8> {
        let tag = if to_tag.is_empty() {
            String::new()
        } else {
            format!(";tag={to_tag}")
        };
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        format!(
            "{method} sip:{user}@{US} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch};rport\r\n\
             From: \"Bob\" <sip:bob@pbx.test>;tag=bt\r\nTo: <sip:me@pbx.test>{tag}\r\nCall-ID: in1\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:bob@192.0.2.1>\r\nMax-Forwards: 70\r\nX-Trace: 7\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// The same with header lines of its own.
    #[expect(clippy::too_many_arguments, reason = "the parts of a request")]
    pub fn inbound_with(
        &self,
        method: &str,
        user: &str,
        branch: &str,
        cseq: u32,
        to_tag: &str,
        headers: &str,
        body: &str,
    ) -> Vec<u8> {
        let plain = text(&self.inbound(method, user, branch, cseq, to_tag, body));
        plain.replacen("X-Trace: 7\r\n", headers, 1).into_bytes()
    }

    /// A request of the PBX inside the dialog that a request of ours made or is in. `more`: header lines.
    pub fn inside(&self, ours: &[u8], method: &str, cseq: u32, more: &str, body: &str) -> Vec<u8> {
        let ours = Message::parse(ours).unwrap();
        let line = |id| text(ours.value(id).unwrap());
        let (from, to, id) = (
            line(HeaderName::To),
            line(HeaderName::From),
            line(HeaderName::CallId),
        );
        let tag = if from.contains(";tag=") {
            ""
        } else {
            ";tag=b1"
        };
        format!(
            "{method} sip:x@{US} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{method}{cseq};rport\r\nFrom: {from}{tag}\r\n\
             To: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:bob@192.0.2.1>\r\nMax-Forwards: 70\r\n\
             {more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// An INVITE of the PBX, rung through; the contact user and our number for it.
    pub fn ringing(&mut self) -> (String, InviteId) {
        self.ringing_with("X-Trace: 7\r\n", "v=0 offer")
    }

    pub fn ringing_with(&mut self, headers: &str, sdp: &str) -> (String, InviteId) {
        let invite = self.call();
        let user = self.contact_user(&invite);
        self.answer(&invite, "486 Busy", "", "");
        self.sent.clear();
        self.events.clear();
        let message = self.inbound_with("INVITE", &user, "in", 1, "", headers, sdp);
        self.receive(PBX, &message);
        let Some(Event::Incoming { invite, .. }) = self.events.last() else {
            panic!("{:?}", self.events)
        };
        (user, *invite)
    }

    /// An incoming call that was accepted and acknowledged: contact user, number, our tag.
    pub fn accepted(&mut self) -> (String, InviteId, String) {
        let (user, invite) = self.ringing();
        self.sent.clear();
        self.command(Command::Accept {
            invite,
            sdp: b"v=0 answer".to_vec(),
        });
        let ok = self.taken();
        let tag =
            String::from_utf8_lossy(Message::parse(&ok).unwrap().to().unwrap().tag().unwrap())
                .into_owned();
        (user, invite, tag)
    }
}

/// A header of a message as text; empty where there is none.
pub fn header(bytes: &[u8], name: &str) -> String {
    let message = Message::parse(bytes).unwrap();
    let value = message
        .fields()
        .find(|(_, n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, _, value)| value);
    text(value.unwrap_or_default())
}

pub fn to_tag(bytes: &[u8]) -> String {
    let message = Message::parse(bytes).unwrap();
    text(message.to().unwrap().tag().unwrap_or_default())
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn status(bytes: &[u8]) -> u16 {
    Message::parse(bytes).unwrap().status()
}

pub fn spec(proxy: &str) -> AccountSpec {
    AccountSpec {
        login: "me".into(),
        auth_name: String::new(),
        password: "secret".into(),
        domain: "pbx.test".into(),
        proxy: proxy.into(),
        port: 0,
        register: true,
        display: "Me \"M\"".into(),
        contact_params: vec![("q".into(), Some("0.5".into()))],
    }
}

pub fn invite(sdp: &[u8]) -> Command {
    Command::Invite {
        invite: CALL,
        account: AccountId(1),
        target: Target::User {
            user: "+49 30#1".into(),
            params: vec![("user".into(), Some("phone".into()))],
        },
        from_display: String::new(),
        headers: vec![Header {
            name: "X-Call".into(),
            value: "a b".into(),
        }],
        options: Default::default(),
        sdp: sdp.to_vec(),
    }
}
