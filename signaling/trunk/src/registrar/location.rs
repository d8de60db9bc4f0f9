//! One contact of a phone: what it said of itself, and the flow that it is reached by.

use crate::net::{Path, StreamId, unmapped};
use serde::{Deserialize, Serialize};
use signaling_sip::message::{Host, Message, NameAddr, Uri, quoted_text};
use signaling_sip::time::Instant;
use std::net::SocketAddr;

/// URI and parameters of one Contact; a longer one is refused.
pub(crate) const MAX_CONTACT: usize = 1_024;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Binding {
    /// The URI as it stood.
    pub uri: Vec<u8>,
    /// `;name=value` behind it, without `expires`.
    pub params: Vec<u8>,
    /// `+sip.instance` where it was given, and `reg-id` where outbound is in use (RFC 5626).
    pub instance: Option<Vec<u8>>,
    pub reg_id: Option<u32>,
    /// Path values, to be our Route (RFC 3327).
    pub path: Vec<Vec<u8>>,
    /// Where the REGISTER came from.
    pub source: Path,
    /// What requests go over; `None`: wherever its Contact or Path leads.
    pub flow: Option<Path>,
    pub call_id: Vec<u8>,
    pub cseq: u32,
    pub until: Instant,
}

impl Binding {
    /// The same contact (RFC 3261 §10.3), or the same flow of the same instance (RFC 5626 §6).
    pub fn is_replaced_by(&self, other: &Binding) -> bool {
        if self.reg_id.is_some() || other.reg_id.is_some() {
            return self.reg_id == other.reg_id && self.instance == other.instance;
        }
        is_same(&self.uri, &other.uri)
    }

    pub fn came_by(&self, path: Path) -> bool {
        match (self.source, path) {
            (Path::Stream { stream: a, .. }, Path::Stream { stream: b, .. }) => a == b,
            (Path::Datagram { remote: a, .. }, Path::Datagram { remote: b, .. }) => a == b,
            (Path::Stream { .. }, Path::Datagram { .. })
            | (Path::Datagram { .. }, Path::Stream { .. }) => false,
        }
    }

    /// After its connection closed. A contact that names the very address that it came from listens there.
    pub fn survives_without(&mut self, closed: StreamId) -> bool {
        if !matches!(self.flow, Some(Path::Stream { stream, .. }) if stream == closed) {
            return true;
        }
        self.flow = None;
        self.reg_id.is_none() && self.is_where_it_says()
    }

    /// The flow over UDP that nothing but our own packets keeps open.
    pub fn mapped(&self) -> Option<Path> {
        let flow = self.flow?;
        let is_ours = !flow.is_reliable() && self.reg_id.is_none() && !self.is_where_it_says();
        is_ours.then_some(flow)
    }

    /// Its Contact names the address that it came from.
    fn is_where_it_says(&self) -> bool {
        let ip = host_of(&self.uri).and_then(|host| match host {
            Host::Ip(ip) => Some(unmapped(ip)),
            Host::Name(_) => None,
        });
        ip == Some(unmapped(self.source.remote().ip()))
    }
}

pub(crate) fn is_same(a: &[u8], b: &[u8]) -> bool {
    match (Uri::parse(a), Uri::parse(b)) {
        (Ok(Uri::Sip(a)), Ok(Uri::Sip(b))) => a.is_same(&b),
        (_, _) => a == b,
    }
}

/// The user part of a URI in words.
pub(crate) fn user_of(uri: &[u8]) -> Option<String> {
    String::from_utf8(Uri::parse(uri).ok()?.user()?).ok()
}

fn host_of(uri: &[u8]) -> Option<Host> {
    Some(Uri::parse(uri).ok()?.sip()?.host.clone())
}

/// What a request's sender is reached by. Behind a NAT neither Contact nor Via say anything: then it is where the
/// request came from, which is proved by the answer to our challenge. `None`: it wants to be reached elsewhere, and
/// says so from an address that is its own.
pub(crate) fn flow_of(message: &Message<'_>, path: Path, contact: &[u8]) -> Option<Path> {
    let Path::Datagram { local, remote } = path else {
        return Some(path);
    };
    let via = message.top_via().ok()?;
    let contact = Uri::parse(contact).ok()?;
    let contact = contact.sip()?;
    let source = unmapped(remote.ip());
    let Host::Ip(ip) = &contact.host else {
        return Some(path);
    };
    let via_is_true = match &via.host {
        Host::Ip(ip) => unmapped(*ip) == source,
        Host::Name(_) => false,
    };
    if !via_is_true {
        return Some(path);
    }
    if unmapped(*ip) != source {
        return None;
    }
    if via.wants_rport() {
        return Some(path);
    }
    let port = contact.port.filter(|port| *port != 0).unwrap_or(5060);
    let remote = SocketAddr::new(remote.ip(), port);
    Some(Path::Datagram { local, remote })
}

/// `;name=value` of a Contact that are worth keeping.
pub(crate) fn params_of(contact: &NameAddr<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in contact.params.iter() {
        if name.eq_ignore_ascii_case(b"expires") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(name);
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out
}

/// `+sip.instance` without its quotes.
pub(crate) fn instance_of(contact: &NameAddr<'_>) -> Option<Vec<u8>> {
    let value = contact.params.get("+sip.instance")?;
    Some(quoted_text(value).into_owned()).filter(|value| !value.is_empty())
}
