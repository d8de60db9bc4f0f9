//! INVITEs of theirs (RFC 3261 §13.3).

use crate::agent::{Agent, Due};
use crate::api::{AccountId, ByLine, End, Event, ForkId, Header, Identity, InviteId, NO_ACCOUNT};
use crate::identity::headers_of_line;
use crate::invite::{Fork, Invite, Phase, Repeat};
use crate::limits::{MAX_INVITES, MAX_RINGING};
use crate::net::{Path, unmapped};
use crate::reliable::Reliability;
use crate::server::Headers;
use crate::validate::Refusal;
use signaling_sip::dialog::Dialog;
use signaling_sip::message::{
    HeaderName, Message, NameAddr, Uri, asks_for_privacy, blotted, is_identity,
};
use signaling_sip::time::Instant;
use signaling_sip::transaction::{T1, T2};
use std::time::Duration;

/// How long a 2xx is repeated (RFC 3261 §13.3.1.4: 64 T1).
pub(crate) const UNTIL_ACK: Duration = Duration::from_secs(32);

/// Who sends a new INVITE, whose right to do so was checked.
pub(crate) struct Caller {
    /// Of a line the one inside, which is never told.
    pub account: AccountId,
    pub by_line: Option<Box<ByLine>>,
}

pub(crate) enum FromPhone {
    Caller(Caller, KnownPhone),
    /// Challenged or refused already.
    Answered,
    /// It claims to be nobody of ours.
    Stranger,
}

/// What its digest proved, whatever else it says.
pub(crate) struct KnownPhone {
    pub from: Identity,
    /// What requests to it go over.
    pub flow: Option<Path>,
}

impl Agent {
    /// A new INVITE, checked for form but not for who sent it.
    pub(crate) fn on_new_invite(
        &mut self,
        message: &Message<'_>,
        key: String,
        path: Path,
        now: Instant,
    ) {
        let Some((Caller { account, by_line }, phone)) = self.caller_of(message, path, now) else {
            return;
        };
        if let Err(refusal) = self.admit_call(now) {
            return self.refuse(message, path, &refusal);
        }
        if self.s.invites.len() >= MAX_INVITES {
            return self.refuse(message, path, &Refusal::overloaded());
        }
        if let Some(refusal) = self.session_too_brief(message) {
            return self.refuse(message, path, &refusal);
        }
        let replaces = match self.replaced_by(account, message) {
            Ok(replaces) => replaces,
            Err(refusal) => return self.refuse(message, path, &refusal),
        };
        let tag = self.s.dice.hex(8);
        let Ok(dialog) = Dialog::from_request(message, tag.as_bytes()) else {
            return self.refuse(
                message,
                path,
                &Refusal::bad("Bad Request: no usable Contact"),
            );
        };
        // Odd numbers are ours.
        let invite = InviteId(self.draw() * 2 + 1);
        if !self.open_server(&key, message, path, true, Some(invite)) {
            return self.refuse(message, path, &Refusal::overloaded());
        }
        let contact_user = self
            .s
            .accounts
            .get(&account)
            .map(|a| a.contact_user.clone());
        let contact_user = contact_user.unwrap_or_else(|| self.s.dice.hex(8));
        let mut entry = Invite::new(
            account,
            true,
            tag.clone(),
            contact_user,
            message.sdp().is_none(),
        );
        entry.transaction = Some(key.clone());
        entry.cseq = message.cseq().map_or(0, |(number, _)| number);
        entry.reliability = Reliability::of(message);
        entry.their_sdp = message.sdp().unwrap_or_default().to_vec();
        let mut fork = Fork::new(ForkId(0), dialog);
        fork.flow = phone.as_ref().and_then(|phone| phone.flow);
        entry.forks.push(fork);
        entry.main = Some(ForkId(0));
        self.add_invite(invite, entry);
        self.s
            .schedule
            .set(Due::Patience(invite), Some(now + MAX_RINGING));
        self.respond(&key, 100, "Trying", Vec::new(), b"", now);
        let (told, headers) = match by_line {
            Some(_) => (NO_ACCOUNT, headers_of_line(message)),
            None => (account, extra_headers(message)),
        };
        self.event(Event::Incoming {
            invite,
            account: told,
            from: match phone {
                Some(phone) => phone.from,
                None => message.from().map(|a| identity(&a)).unwrap_or_default(),
            },
            to: message.to().map(|a| identity(&a)).unwrap_or_default(),
            sdp: message.sdp().map(<[u8]>::to_vec),
            headers,
            source: path.remote(),
            raw: blotted(message.raw()),
            replaces,
            by_line,
        });
    }

    /// Whose call a new INVITE is: a page's, by the random user part of its Contact; a trunk's, by where it comes
    /// from; a registered phone's, who is challenged. `None`: answered already.
    fn caller_of(
        &mut self,
        message: &Message<'_>,
        path: Path,
        now: Instant,
    ) -> Option<(Caller, Option<KnownPhone>)> {
        if let Some(account) = self.page_called(message, path) {
            let caller = Caller {
                account,
                by_line: None,
            };
            return Some((caller, None));
        }
        // A phone beside a trunk's server, on one box, is known by the flow that it registered by; it has to prove itself.
        if !self.has_phone_by(path)
            && let Some(caller) = self.trunk_calling(message, path)
        {
            return Some((caller, None));
        }
        match self.phone_calling(message, path, now) {
            FromPhone::Caller(caller, phone) => return Some((caller, Some(phone))),
            FromPhone::Answered => {}
            FromPhone::Stranger => self.refuse_stranger(message, path, now),
        }
        None
    }

    fn page_called(&self, message: &Message<'_>, path: Path) -> Option<AccountId> {
        let user = Uri::parse(message.uri_text()).ok()?.user()?;
        let account = *self.s.contacts.get(std::str::from_utf8(&user).ok()?)?;
        let is_page = self.s.accounts.get(&account)?.line.is_none();
        (is_page && self.is_their_registrar(account, path)).then_some(account)
    }

    /// From the very flow of the registration, or from an address that registrar or proxy has.
    pub(crate) fn is_their_registrar(&self, account: crate::api::AccountId, path: Path) -> bool {
        let Some(account) = self.s.accounts.get(&account).filter(|a| a.is_live()) else {
            return false;
        };
        let source = unmapped(path.remote().ip());
        let same_flow = matches!((account.flow, path),
            (Some(Path::Stream { stream: a, .. }), Path::Stream { stream: b, .. }) if a == b);
        same_flow || account.peers.iter().any(|ip| unmapped(*ip) == source)
    }

    pub(crate) fn accept(&mut self, invite: InviteId, sdp: Vec<u8>, now: Instant) {
        let Some(entry) = self.s.invites.get(&invite) else {
            return;
        };
        let (Phase::Ringing, Some(key)) = (entry.phase, entry.transaction.clone()) else {
            return;
        };
        if self.is_held_by_progress(invite, &sdp) {
            return;
        }
        self.stop_progress(invite);
        let sdp = self.sdp_for_200(invite, sdp);
        self.respond_200(invite, &key, &sdp, None, now);
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            if !sdp.is_empty() {
                entry.last_sdp = sdp;
            }
            entry.phase = Phase::Talking;
            self.s.schedule.set(Due::Patience(invite), None);
        }
    }

    /// Sends a 2xx to an INVITE and repeats it until its ACK.
    pub(crate) fn respond_200(
        &mut self,
        invite: InviteId,
        key: &str,
        sdp: &[u8],
        offer: Option<(crate::api::OfferId, bool)>,
        now: Instant,
    ) {
        let cseq = self.server_cseq(key);
        let Some((path, bytes)) = self.respond(key, 200, "OK", Vec::new(), sdp, now) else {
            return;
        };
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            entry.repeat = Some(Repeat {
                path,
                bytes,
                interval: T1,
                until: now + UNTIL_ACK,
                cseq,
                offer,
            });
            self.s.schedule.set(Due::Repeat(invite), Some(now + T1));
        }
    }

    pub(crate) fn answer_invite(
        &mut self,
        invite: InviteId,
        status: u16,
        reason: &str,
        now: Instant,
    ) {
        self.refuse_invite(invite, status, reason, Vec::new(), now);
    }

    pub(crate) fn refuse_invite(
        &mut self,
        invite: InviteId,
        status: u16,
        reason: &str,
        headers: Headers,
        now: Instant,
    ) {
        let Some(key) = self
            .s
            .invites
            .get(&invite)
            .and_then(|i| i.transaction.clone())
        else {
            return;
        };
        self.stop_progress(invite);
        self.respond(&key, status, reason, headers, b"", now);
    }

    /// Over TCP as well: the ACK is end to end (RFC 3261 §13.3.1.4).
    pub(crate) fn on_repeat_due(&mut self, invite: InviteId, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let Some(repeat) = &mut entry.repeat else {
            return;
        };
        if now < repeat.until {
            repeat.interval = (repeat.interval * 2).min(T2);
            let (path, bytes) = (repeat.path, repeat.bytes.clone());
            let next = (now + repeat.interval).min(repeat.until);
            self.s.schedule.set(Due::Repeat(invite), Some(next));
            return self.transmit(path, bytes);
        }
        let initial = repeat.offer.is_none();
        entry.repeat = None;
        let hung_up = entry.hung_up;
        self.send_bye(invite, ForkId(0), now);
        if !initial {
            return;
        }
        self.end(
            invite,
            if hung_up {
                End::ByUs { raw: String::new() }
            } else {
                End::NoAck
            },
            now,
        );
    }

    /// The ACK of a 2xx of ours.
    pub(crate) fn on_ack(&mut self, message: &Message<'_>, now: Instant) {
        let Some(invite) = self.dialog_of(message) else {
            return;
        };
        let Ok((number, _)) = message.cseq() else {
            return;
        };
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        if entry.repeat.as_ref().is_none_or(|r| r.cseq != number) {
            return;
        }
        self.acknowledged(invite, message.sdp().map(<[u8]>::to_vec), now);
    }

    pub(crate) fn acknowledged(&mut self, invite: InviteId, sdp: Option<Vec<u8>>, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let Some(repeat) = entry.repeat.take() else {
            return;
        };
        let (hung_up, main) = (entry.hung_up, entry.main.unwrap_or(ForkId(0)));
        let sdp = match repeat.offer {
            None => sdp.or(entry.reliability.answer.take()),
            Some(_) => sdp,
        };
        if let (Some(sdp), Some(entry)) = (&sdp, self.s.invites.get_mut(&invite)) {
            entry.their_sdp.clone_from(sdp);
        }
        self.s.schedule.set(Due::Repeat(invite), None);
        match repeat.offer {
            None if hung_up => return self.send_bye(invite, main, now),
            None => self.event(Event::Acknowledged { invite, sdp }),
            Some((offer, true)) => self.event(Event::OfferAcknowledged { invite, offer, sdp }),
            Some((_, false)) => {}
        }
        self.send_waiting_offer(invite, now);
    }

    /// CANCEL: by the INVITE's branch, and from where that came (RFC 3261 §9.2).
    pub(crate) fn on_cancel(
        &mut self,
        message: &Message<'_>,
        invite_key: &str,
        path: Path,
        now: Instant,
    ) {
        let found = self
            .s
            .server
            .get(invite_key)
            .filter(|tx| tx.source == path.remote());
        let Some(invite) = found.and_then(|tx| tx.invite) else {
            return self.refuse(
                message,
                path,
                &Refusal::new(481, "Call/Transaction Does Not Exist"),
            );
        };
        let proceeding = self
            .s
            .server
            .get(invite_key)
            .is_some_and(|tx| tx.is_proceeding());
        let tag = self.s.invites.get(&invite).map(|i| i.tag.clone());
        self.reply(message, path, 200, "OK", tag.as_deref(), Vec::new(), b"");
        if !proceeding {
            return;
        }
        let theirs = self
            .s
            .invites
            .get(&invite)
            .and_then(|i| i.their_offer.as_ref())
            .is_some_and(|o| o.key == invite_key);
        self.respond(invite_key, 487, "Request Terminated", Vec::new(), b"", now);
        if theirs {
            if let Some(entry) = self.s.invites.get_mut(&invite) {
                entry.their_offer = None;
            }
            return;
        }
        let reason = reason_header(message);
        self.end(
            invite,
            End::ByPeer {
                cancelled: true,
                reason,
                raw: blotted(message.raw()),
            },
            now,
        );
    }
}

pub(crate) fn reason_header(message: &Message<'_>) -> String {
    let value = message.unfolded(HeaderName::Reason).unwrap_or_default();
    String::from_utf8_lossy(&value).into_owned()
}

pub(crate) fn identity(addr: &NameAddr<'_>) -> Identity {
    let uri = String::from_utf8_lossy(addr.uri).into_owned();
    let user = Uri::parse(addr.uri).ok().and_then(|u| u.user());
    Identity {
        user: user.map_or_else(|| uri.clone(), |u| String::from_utf8_lossy(&u).into_owned()),
        display: String::from_utf8_lossy(&addr.display()).into_owned(),
        uri,
    }
}

/// Headers that a page may want to see: those that are not SIP's own machinery, nor told to us in confidence
/// (RFC 3325 §9.3).
fn extra_headers(message: &Message<'_>) -> Vec<Header> {
    let private = message
        .fields()
        .any(|(_, name, value)| name.eq_ignore_ascii_case(b"Privacy") && asks_for_privacy(value));
    message
        .fields()
        .filter(|(id, name, _)| {
            if private && is_identity(name) {
                return false;
            }
            let listed = matches!(
                id,
                HeaderName::Other | HeaderName::Subject | HeaderName::ReferredBy
            );
            listed && !name.eq_ignore_ascii_case(b"Authentication-Info")
        })
        .map(|(_, name, value)| Header {
            name: String::from_utf8_lossy(name).into_owned(),
            value: String::from_utf8_lossy(&signaling_sip::message::unfold(value)).into_owned(),
        })
        .collect()
}
