//! 3xx to an INVITE of ours (RFC 3261 §8.1.3.4, §19.1.5): its Contacts are called instead, the likeliest first.

use crate::agent::Agent;
use crate::api::{AccountSpec, Failure, InviteId};
use crate::invite::Phase;
use crate::limits::MAX_REDIRECTS;
use crate::requests::{Draft, Purpose, is_secure};
use serde::{Deserialize, Serialize};
use signaling_sip::message::{HeaderName, Host, Message, NameAddr, Uri, quoted_text};
use signaling_sip::time::Instant;
use std::collections::VecDeque;

/// Whether a call goes where a 3xx says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redirect {
    #[default]
    Follow,
    /// The call fails with the 3xx's status.
    Refuse,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Redirects {
    /// What is sent there, but for the Request-URI. From, To, Call-ID stay as they were, the number goes up.
    draft: Option<Draft>,
    /// Every Request-URI of this call so far: none is called twice.
    tried: Vec<Vec<u8>>,
    waiting: VecDeque<Vec<u8>>,
    /// It went past the account's own servers: they alone are shown its credentials.
    pub away: bool,
    /// The calls want to hear of a 3xx instead.
    pub told: bool,
}

impl Agent {
    /// A 3xx; true if the call goes on elsewhere.
    pub(crate) fn redirected(
        &mut self,
        request: u64,
        invite: InviteId,
        response: &Message<'_>,
        now: Instant,
    ) -> bool {
        // 305 names a proxy and 380 another service, neither of them a callee (RFC 3261 §21.3.4, §21.3.5).
        if self.config.redirect == Redirect::Refuse || !matches!(response.status(), 300..=302) {
            return false;
        }
        let Some(draft) = self.s.requests.get(&request).map(|r| r.draft.clone()) else {
            return false;
        };
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return false;
        };
        let redirects = &mut entry.redirects;
        if redirects.told {
            return false;
        }
        let here = canonical(&draft.uri).unwrap_or_else(|| draft.uri.clone());
        if !redirects.tried.contains(&here) {
            redirects.tried.push(here);
        }
        // The contacts of this 3xx before those of one before it. Who asked for `sips:` is not led to less (RFC 3261
        // §8.1.3.4).
        let mut found = targets(response);
        found.retain(|uri| is_secure(uri) || !is_secure(&draft.uri));
        found.extend(redirects.waiting.drain(..));
        redirects.waiting = found.into();
        redirects.draft = Some(draft);
        if !self.has_target(invite) {
            return false;
        }
        self.drop_request(request);
        self.call_next_target(invite, now)
    }

    fn has_target(&mut self, invite: InviteId) -> bool {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return false;
        };
        let redirects = &mut entry.redirects;
        let tried = &redirects.tried;
        redirects.waiting.retain(|uri| !tried.contains(uri));
        tried.len() <= MAX_REDIRECTS && !redirects.waiting.is_empty()
    }

    /// The next Contact of a 3xx, since the one before failed; false if there is none.
    pub(crate) fn call_next_target(&mut self, invite: InviteId, now: Instant) -> bool {
        if !self.has_target(invite) {
            return false;
        }
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return false;
        };
        if entry.phase != Phase::Calling || entry.hung_up {
            return false;
        }
        let account_id = entry.account;
        let Some(account) = self.s.accounts.get(&account_id) else {
            return false;
        };
        let redirects = &mut entry.redirects;
        let (Some(mut draft), Some(uri)) = (redirects.draft.clone(), redirects.waiting.pop_front())
        else {
            return false;
        };
        redirects.tried.push(uri.clone());
        let is_peer = |ip| account.peers.contains(&ip);
        redirects.away = leads_away(&account.spec, &uri, is_peer);
        let straight = redirects.away || is_other_port(&account.spec, &uri);
        let straight = straight.then(|| uri.clone());
        draft.uri = uri;
        draft.cseq = draft.cseq.saturating_add(1);
        redirects.draft = Some(draft.clone());
        self.settle_early_offers(invite, None, now);
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            // A final response ended all of them.
            entry.forks.clear();
            entry.request = None;
        }
        let attempt_ms = self.s.invites.get(&invite).map_or(0, |i| i.attempt_ms);
        let ways = straight.map_or_else(|| self.ways(account_id, now), |uri| vec![uri]);
        let purpose = Purpose::Invite(invite);
        let number = self.request_by(purpose, account_id, draft, ways, attempt_ms, now);
        if self.s.requests.contains_key(&number)
            && let Some(entry) = self.s.invites.get_mut(&invite)
        {
            entry.request = Some(number);
        }
        true
    }

    /// A digest retry took a number of its own.
    pub(crate) fn note_invite_cseq(&mut self, invite: InviteId, cseq: u32) {
        if let Some(entry) = self.s.invites.get_mut(&invite)
            && let Some(draft) = &mut entry.redirects.draft
        {
            draft.cseq = cseq;
        }
    }

    /// Where this request is no business of the account's servers, neither are its credentials that one's.
    pub(crate) fn is_away(&self, purpose: &Purpose) -> bool {
        let invite = match purpose {
            Purpose::Invite(invite)
            | Purpose::Ring(invite, _)
            | Purpose::Cancel(invite)
            | Purpose::Reinvite(invite)
            | Purpose::Refresh(invite)
            | Purpose::Bye(invite, _)
            | Purpose::Prack(invite, _)
            | Purpose::Refer(invite, _)
            | Purpose::Notify(invite, _)
            | Purpose::Info(invite)
            | Purpose::Ack { invite, .. } => invite,
            Purpose::Register(_) | Purpose::Probe { .. } => return false,
        };
        let entry = self.s.invites.get(invite);
        entry.is_some_and(|i| i.redirects.away)
    }

    /// Whether a failure leaves the other targets of a 3xx a chance. 6xx speaks for all of them (RFC 3261 §21.6).
    pub(crate) fn may_try_elsewhere(&mut self, invite: InviteId, failure: &Failure) -> bool {
        failure.status < 600 && self.has_target(invite)
    }
}

/// Whom a 3xx names, for the calls.
pub(crate) fn contacts(response: &Message<'_>) -> Vec<String> {
    if !matches!(response.status(), 300..=302) {
        return Vec::new();
    }
    let text = |uri: Vec<u8>| String::from_utf8(uri).ok();
    targets(response).into_iter().filter_map(text).collect()
}

/// With a proxy everything goes through it; without, the domain's own users and addresses do.
fn leads_away(spec: &AccountSpec, uri: &[u8], is_peer: impl Fn(std::net::IpAddr) -> bool) -> bool {
    if !spec.proxy.is_empty() {
        return false;
    }
    match Uri::parse(uri) {
        // It goes to that address, whatever the host says (RFC 3261 §19.1.1).
        Ok(Uri::Sip(sip)) if sip.param("maddr").is_some() => true,
        Ok(Uri::Sip(sip)) => match &sip.host {
            Host::Ip(ip) => !is_peer(*ip) && spec.domain != ip.to_string(),
            Host::Name(name) => !name.eq_ignore_ascii_case(&spec.domain),
        },
        Ok(Uri::Tel(_)) => false,
        Ok(Uri::Other(_)) | Err(_) => true,
    }
}

/// One of the domain's addresses, but not the port that the account's requests go to.
fn is_other_port(spec: &AccountSpec, uri: &[u8]) -> bool {
    let Ok(Uri::Sip(sip)) = Uri::parse(uri) else {
        return false;
    };
    spec.proxy.is_empty() && matches!(sip.host, Host::Ip(_))
}

/// The Contacts that can be called, by their q (RFC 3261 §20.10; without one it is 1), else in their order.
fn targets(response: &Message<'_>) -> Vec<Vec<u8>> {
    let mut found: Vec<(u32, Vec<u8>)> = Vec::new();
    for value in response.list(HeaderName::Contact).take(4 * MAX_REDIRECTS) {
        let Ok(contact) = NameAddr::parse(value) else {
            continue;
        };
        let Some(uri) = canonical(contact.uri) else {
            continue;
        };
        let q = contact
            .params
            .get("q")
            .map_or(1000, |q| thousandths(&quoted_text(q)));
        if !found.iter().any(|(_, other)| *other == uri) {
            found.push((q, uri));
        }
    }
    found.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
    found.truncate(MAX_REDIRECTS);
    found.into_iter().map(|(_, uri)| uri).collect()
}

/// As a Request-URI; `None` for what we cannot call.
fn canonical(uri: &[u8]) -> Option<Vec<u8>> {
    match Uri::parse(uri).ok()? {
        Uri::Sip(mut sip) => {
            sip.headers = None;
            sip.params.retain(|(name, _)| name != b"method");
            Some(sip.to_bytes())
        }
        tel @ Uri::Tel(_) => Some(tel.to_bytes()),
        Uri::Other(_) => None,
    }
}

/// `0.7` is 700; what is no q counts least.
fn thousandths(q: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(q);
    let value = text
        .trim()
        .parse::<f32>()
        .ok()
        .filter(|q| (0.0..=1.0).contains(q));
    // At most 1000, and not negative.
    value.map_or(0, |q| (q * 1000.0) as u32)
}
