//! Requests that go round in circles: Max-Forwards, our own Via, and one request that came by two ways
//! (RFC 3261 §8.2.2.2, §16.3).

use crate::agent::Agent;
use crate::requests::Purpose;
use crate::validate::Refusal;
use signaling_sip::message::{HeaderName, Message, Method, Uri, Via};

impl Agent {
    /// Of requests outside dialogs: those inside come from a peer that we talk to already.
    pub(crate) fn goes_in_circles(&self, message: &Message<'_>, key: &str) -> Option<Refusal> {
        if message.to().is_ok_and(|to| to.tag().is_some()) {
            return None;
        }
        let is_invite = message.method() == Method::Invite;
        // What rings through to a page has been passed on, as by a proxy (RFC 7332 §4). None at all is an old peer's.
        if is_invite && message.number(HeaderName::MaxForwards) == Ok(Some(0)) {
            return Some(Refusal::new(483, "Too Many Hops"));
        }
        if self.came_back(message) {
            return Some(Refusal::new(482, "Loop Detected"));
        }
        let merged = merge_key(message).and_then(|merge| self.s.merged.get(&merge));
        if is_invite && merged.is_some_and(|other| other != key) {
            return Some(Refusal::new(482, "Merged Request"));
        }
        None
    }

    /// One of its Vias is ours. An INVITE of one account to another one here, by way of their proxy, is no loop.
    fn came_back(&self, message: &Message<'_>) -> bool {
        let callee = Uri::parse(message.uri_text())
            .ok()
            .and_then(|u| u.user())
            .and_then(|user| String::from_utf8(user).ok())
            .and_then(|user| self.s.contacts.get(&user));
        message
            .list(HeaderName::Via)
            .filter_map(|via| Via::parse(via).ok())
            .any(|via| {
                let branch = via.branch().and_then(|b| std::str::from_utf8(b).ok());
                let Some(tx) = branch.and_then(|branch| self.s.client.get(branch)) else {
                    return false;
                };
                let (Purpose::Invite(invite) | Purpose::Ring(invite, _)) = &tx.purpose else {
                    return true;
                };
                let caller = self.s.invites.get(invite).map(|i| &i.account);
                callee.is_none() || callee == caller
            })
    }
}

/// What makes two INVITEs the same one: From tag, Call-ID and CSeq, and whom they are for, since a proxy that forks to
/// two contacts of ours means both.
pub(crate) fn merge_key(message: &Message<'_>) -> Option<String> {
    let (number, _) = message.cseq().ok()?;
    let parts = [
        message.call_id().ok()?,
        message.from().ok()?.tag()?,
        message.uri_text(),
    ];
    let parts: Vec<String> = parts.iter().map(|p| p.escape_ascii().to_string()).collect();
    Some(format!("{} {number}", parts.join(" ")))
}
