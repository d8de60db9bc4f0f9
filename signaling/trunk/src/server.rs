//! Requests of theirs: their transactions, and the writing of responses.

use crate::agent::{Agent, Due};
use crate::api::InviteId;
use crate::guard::policy;
use crate::limits::MAX_SERVER_TRANSACTIONS;
use crate::loops::merge_key;
use crate::net::{Listener, Path, Transport};
use crate::requests::{contact_uri, is_secure, routes_securely};
use crate::validate::{Refusal, check};
use serde::{Deserialize, Serialize};
use signaling_sip::message::{HeaderName, Message, Method, Via, Writer, split_list, unfold};
use signaling_sip::time::Instant;
use signaling_sip::transaction::{ServerInvite, ServerNonInvite, Turn};
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ServerTransaction {
    machine: Machine,
    /// Where responses go.
    path: Path,
    /// Where the request came from.
    pub source: SocketAddr,
    /// Its head, from which responses are written; empty once the last one is.
    head: Vec<u8>,
    pub invite: Option<InviteId>,
    /// Of a first INVITE, by which one that came another way is known.
    #[serde(default)]
    merge: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Machine {
    Invite(ServerInvite),
    Other(ServerNonInvite),
}

impl ServerTransaction {
    pub fn is_proceeding(&self) -> bool {
        matches!(&self.machine, Machine::Invite(machine) if machine.is_proceeding())
    }

    fn next_timeout(&self) -> Option<Instant> {
        match &self.machine {
            Machine::Invite(machine) => machine.next_timeout(),
            Machine::Other(machine) => machine.next_timeout(),
        }
    }
}

pub(crate) type Headers = Vec<(&'static str, Vec<u8>)>;

impl Agent {
    pub(crate) fn on_request(&mut self, message: &Message<'_>, path: Path, now: Instant) {
        self.note_alias(message, path);
        let method = message.method();
        let key = key_of(
            message,
            if method == Method::Ack {
                b"INVITE"
            } else {
                message.method_text()
            },
        );
        if let Some(key) = &key
            && let Some(tx) = self.s.server.get_mut(key)
        {
            return match (&mut tx.machine, method == Method::Ack) {
                (Machine::Invite(machine), true) => {
                    machine.on_ack(now);
                    let next = machine.next_timeout();
                    self.s.schedule.set(Due::Server(key.clone()), next);
                    // A 2xx's ACK has a branch of its own, but not with every peer.
                    self.on_ack(message, now);
                }
                (Machine::Invite(machine), false) => {
                    let turn = machine.on_repeated_invite();
                    self.after_server_turn(key, turn);
                }
                (Machine::Other(machine), _) => {
                    let turn = machine.on_repeated_request();
                    self.after_server_turn(key, turn);
                }
            };
        }
        let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
        if in_dialog && self.dialog_of(message).is_some() {
            self.is_in_call(path);
        } else {
            self.charge(message, path, now);
        }
        let checked = check(message);
        if method == Method::Ack {
            if checked.is_ok() {
                self.on_ack(message, now);
            }
            return;
        }
        if let Err(refusal) = checked {
            return self.refuse(message, path, &refusal);
        }
        let Some(key) = key else { return };
        if let Some(refusal) = self.goes_in_circles(message, &key) {
            return self.refuse(message, path, &refusal);
        }
        if method == Method::Cancel {
            let invite_key = key_of(message, b"INVITE").unwrap_or_default();
            return self.on_cancel(message, &invite_key, path, now);
        }
        match method {
            _ if in_dialog => self.on_dialog_request(message, &method, key, path, now),
            Method::Invite => self.on_new_invite(message, key, path, now),
            Method::Register => self.on_register(message, key, path, now),
            Method::Options => {
                self.reply(message, path, 200, "OK", None, Refusal::capabilities(), b"")
            }
            _ => {
                if let Some(refusal) = policy::refusal_of(message) {
                    self.refuse(message, path, &refusal);
                }
            }
        }
    }

    /// False at the limit: nothing is remembered.
    pub(crate) fn open_server(
        &mut self,
        key: &str,
        message: &Message<'_>,
        path: Path,
        is_invite: bool,
        invite: Option<InviteId>,
    ) -> bool {
        if self.s.server.len() >= MAX_SERVER_TRANSACTIONS {
            return false;
        }
        let reliable = path.is_reliable();
        let machine = if is_invite {
            Machine::Invite(ServerInvite::start(reliable))
        } else {
            Machine::Other(ServerNonInvite::start(reliable))
        };
        let head_len = message.raw().len() - message.body().len();
        let head = message.raw().get(..head_len).unwrap_or_default().to_vec();
        let source = path.remote();
        let path = answer_path(message, path);
        let is_first = is_invite && message.to().is_ok_and(|to| to.tag().is_none());
        let merge = merge_key(message).filter(|_| is_first);
        if let Some(merge) = merge.clone() {
            self.s.merged.insert(merge, key.to_string());
        }
        self.s.server.insert(
            key.to_string(),
            ServerTransaction {
                machine,
                path,
                source,
                head,
                invite,
                merge: merge.clone(),
            },
        );
        true
    }

    pub(crate) fn server_cseq(&self, key: &str) -> u32 {
        let head = self
            .s
            .server
            .get(key)
            .map(|tx| tx.head.as_slice())
            .unwrap_or_default();
        Message::parse(head)
            .ok()
            .and_then(|m| m.cseq().ok())
            .map_or(0, |(number, _)| number)
    }

    /// A response within a transaction; where it went and its bytes.
    pub(crate) fn respond(
        &mut self,
        key: &str,
        status: u16,
        reason: &str,
        headers: Headers,
        sdp: &[u8],
        now: Instant,
    ) -> Option<(Path, Vec<u8>)> {
        let tx = self.s.server.get(key)?;
        let tx_invite = tx.invite;
        let invite = tx.invite.and_then(|i| self.s.invites.get(&i));
        let tag = invite.map(|i| i.tag.clone());
        let contact_user = invite.map(|i| i.contact_user.clone());
        let (path, head) = (tx.path, tx.head.clone());
        let message = Message::parse(&head).ok()?;
        let mut headers = headers;
        let method = message.method();
        let makes_dialog = matches!(
            method,
            Method::Invite | Method::Update | Method::Refer | Method::Subscribe
        ) && (101..300).contains(&status);
        if let (true, Some(user)) = (makes_dialog, contact_user)
            && let Some(listener) = self.listener_of(path)
        {
            let first = message.list(HeaderName::RecordRoute).next();
            let secure = is_secure(message.uri_text()) || first.is_some_and(routes_securely);
            headers.push(("Contact", contact_uri(&user, &listener, secure)));
            headers.push(("Allow", crate::requests::ALLOW.into()));
            headers.push(("Supported", crate::validate::SUPPORTED.join(", ").into()));
        }
        let begins_session = makes_dialog && status >= 200 && method != Method::Refer;
        if let (true, Some(invite)) = (begins_session, tx_invite) {
            headers.extend(self.session_answer(invite, &message, now));
        }
        let bytes = self.write_response(
            &message,
            path,
            status,
            reason,
            tag.as_deref(),
            &headers,
            sdp,
        )?;
        let tx = self.s.server.get_mut(key)?;
        let goes_out = match &mut tx.machine {
            Machine::Invite(machine) => machine.respond(status, bytes.clone(), now),
            Machine::Other(machine) => machine.respond(status, bytes.clone(), now),
        };
        if !goes_out {
            return None;
        }
        if status >= 200 {
            tx.head = Vec::new();
        }
        let next = tx.next_timeout();
        self.s.schedule.set(Due::Server(key.to_string()), next);
        self.transmit(path, bytes.clone());
        Some((path, bytes))
    }

    pub(crate) fn refuse(&mut self, message: &Message<'_>, path: Path, refusal: &Refusal) {
        self.reply(
            message,
            path,
            refusal.status,
            &refusal.reason,
            None,
            refusal.headers.clone(),
            b"",
        );
    }

    /// A response that nobody remembers (RFC 3261 §8.2.7).
    #[expect(clippy::too_many_arguments, reason = "the parts of a response")]
    pub(crate) fn reply(
        &mut self,
        message: &Message<'_>,
        path: Path,
        status: u16,
        reason: &str,
        tag: Option<&str>,
        headers: Headers,
        sdp: &[u8],
    ) {
        if let Some((to, bytes)) =
            self.write_reply(message, path, status, reason, tag, &headers, sdp)
        {
            self.answer_outside(message, path, to, bytes, Duration::ZERO, self.now);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a response")]
    pub(crate) fn write_reply(
        &mut self,
        message: &Message<'_>,
        path: Path,
        status: u16,
        reason: &str,
        tag: Option<&str>,
        headers: &Headers2,
        sdp: &[u8],
    ) -> Option<(Path, Vec<u8>)> {
        let to = answer_path(message, path);
        let bytes = self.write_response(message, path, status, reason, tag, headers, sdp)?;
        Some((to, bytes))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a response")]
    fn write_response(
        &self,
        message: &Message<'_>,
        path: Path,
        status: u16,
        reason: &str,
        tag: Option<&str>,
        headers: &Headers2,
        sdp: &[u8],
    ) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(512 + sdp.len());
        let mut writer = Writer::response(&mut out, status, reason);
        let mut first = true;
        for field in message.values(HeaderName::Via) {
            for via in split_list(field) {
                if std::mem::take(&mut first) {
                    writer.copied("Via", &stamped(via, path.remote()));
                } else {
                    writer.copied("Via", via);
                }
            }
        }
        if (101..300).contains(&status) {
            for route in message.values(HeaderName::RecordRoute) {
                writer.copied("Record-Route", route);
            }
        }
        if let Some(from) = message.value(HeaderName::From) {
            writer.copied("From", from);
        }
        if let Some(to) = message.value(HeaderName::To) {
            let mut to_value = unfold(to).into_owned();
            if status > 100 && message.to().is_ok_and(|to| to.tag().is_none()) {
                let key = [
                    message.call_id().unwrap_or_default(),
                    message.value(HeaderName::From).unwrap_or_default(),
                ]
                .concat();
                let tag = tag.map_or_else(|| self.s.dice.digest_of(&key), str::to_string);
                to_value.extend_from_slice(format!(";tag={tag}").as_bytes());
            }
            writer.copied("To", &to_value);
        }
        for (id, name) in [(HeaderName::CallId, "Call-ID"), (HeaderName::CSeq, "CSeq")] {
            if let Some(value) = message.value(id) {
                writer.copied(name, value);
            }
        }
        for (name, value) in headers {
            writer.copied(name, value);
        }
        if !self.config.user_agent.is_empty() && status > 100 {
            writer.text("Server", &self.config.user_agent);
        }
        writer.end("application/sdp", sdp).ok()?;
        Some(out)
    }

    fn listener_of(&self, path: Path) -> Option<Listener> {
        match path {
            Path::Datagram { local, .. } => {
                let mut own = self.config.listeners.iter();
                own.find(|l| l.transport == Transport::Udp && l.bound == local)
                    .cloned()
            }
            Path::Stream { remote, .. } => self.listener(path.transport(), remote.ip()),
        }
    }

    pub(crate) fn on_server_timeout(&mut self, key: &str, now: Instant) {
        let Some(tx) = self.s.server.get_mut(key) else {
            return;
        };
        let turn = match &mut tx.machine {
            Machine::Invite(machine) => machine.on_timeout(now),
            Machine::Other(machine) => machine.on_timeout(now),
        };
        self.after_server_turn(key, turn);
    }

    fn after_server_turn(&mut self, key: &str, turn: Turn) {
        let Some(tx) = self.s.server.get(key) else {
            return;
        };
        let (over, repeats) = match &tx.machine {
            Machine::Invite(machine) => (machine.is_terminated(), machine.repeats()),
            Machine::Other(machine) => (machine.is_terminated(), machine.repeats()),
        };
        let (path, next) = (tx.path, tx.next_timeout());
        let bytes = if turn.send {
            repeats.to_vec()
        } else {
            Vec::new()
        };
        self.s.schedule.set(Due::Server(key.to_string()), next);
        if over && let Some(merge) = self.s.server.remove(key).and_then(|tx| tx.merge) {
            self.s.merged.remove(&merge);
        }
        self.transmit(path, bytes);
    }
}

type Headers2 = [(&'static str, Vec<u8>)];

/// The key of a server transaction (RFC 3261 §17.2.3): branch, sent-by and method; of an older peer's
/// everything that makes the request the same.
fn key_of(message: &Message<'_>, method: &[u8]) -> Option<String> {
    let via = message.top_via().ok()?;
    let method = String::from_utf8_lossy(method);
    if let Some(branch) = via.unique_branch() {
        let branch = String::from_utf8_lossy(branch);
        return Some(format!(
            "{branch} {}:{} {method}",
            via.host,
            via.port.unwrap_or(0)
        ));
    }
    let from = message.from().ok()?;
    let (number, _) = message.cseq().ok()?;
    let parts = [
        message.call_id().ok()?,
        from.tag().unwrap_or_default(),
        message.list(HeaderName::Via).next().unwrap_or_default(),
    ];
    let parts: Vec<String> = parts.iter().map(|p| p.escape_ascii().to_string()).collect();
    Some(format!("2543 {} {number} {method}", parts.join(" ")))
}

/// Responses go back to the source address: to the port of its Via where the peer is at the very address
/// that this names and did not ask for its source port (RFC 3261 §18.2.2), else to the source port (RFC
/// 3581). A Via with a name or another address means a NAT more often than not. `maddr` would send them
/// elsewhere and is not followed.
fn answer_path(message: &Message<'_>, path: Path) -> Path {
    let Path::Datagram { local, remote } = path else {
        return path;
    };
    let remote = match message.top_via() {
        Ok(via) if !via.wants_rport() && via.is_sent_by(remote.ip()) => {
            SocketAddr::new(remote.ip(), via.port.filter(|p| *p != 0).unwrap_or(5060))
        }
        Ok(_) | Err(_) => remote,
    };
    Path::Datagram { local, remote }
}

/// The top Via with the source written in (RFC 3261 §18.2.1, RFC 3581 §4).
fn stamped(via: &[u8], source: SocketAddr) -> Vec<u8> {
    let Ok(parsed) = Via::parse(via) else {
        return via.to_vec();
    };
    let port = parsed.port.map(|p| format!(":{p}")).unwrap_or_default();
    let transport = String::from_utf8_lossy(parsed.transport);
    let mut out = format!("SIP/2.0/{transport} {}{port}", parsed.host).into_bytes();
    for (name, value) in parsed.params.iter() {
        if name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(name);
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    let rport = parsed.wants_rport();
    if rport || !parsed.is_sent_by(source.ip()) {
        out.extend_from_slice(format!(";received={}", source.ip()).as_bytes());
    }
    if rport {
        out.extend_from_slice(format!(";rport={}", source.port()).as_bytes());
    }
    out
}
