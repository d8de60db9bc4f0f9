//! Requests of the peer inside a dialog: BYE, re-INVITE, UPDATE (RFC 3261 §14.2, §15.1.2, RFC 3311).

use crate::agent::Agent;
use crate::api::{End, Event, InviteId, OfferId};
use crate::inbound::reason_header;
use crate::inside::Inside;
use crate::invite::{Phase, TheirOffer};
use crate::net::Path;
use crate::registrar::flow_of;
use crate::validate::Refusal;
use signaling_sip::message::{Message, Method, blotted};
use signaling_sip::time::Instant;

impl Agent {
    /// The INVITE whose dialog a request belongs to: both tags and the Call-ID.
    pub(crate) fn dialog_of(&self, message: &Message<'_>) -> Option<InviteId> {
        let to = message.to().ok()?;
        let tag = std::str::from_utf8(to.tag()?).ok()?;
        let invite = *self.s.tags.get(tag)?;
        let entry = self.s.invites.get(&invite)?;
        entry
            .forks
            .iter()
            .any(|f| f.dialog.owns(message))
            .then_some(invite)
    }

    pub(crate) fn on_dialog_request(
        &mut self,
        message: &Message<'_>,
        method: &Method,
        key: String,
        path: Path,
        now: Instant,
    ) {
        let nowhere = Refusal::new(481, "Call/Transaction Does Not Exist");
        let Some(invite) = self.dialog_of(message) else {
            return self.refuse(message, path, &nowhere);
        };
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        if entry.phase == Phase::Over {
            return self.refuse(message, path, &nowhere);
        }
        let (Ok((number, _)), phase) = (message.cseq(), entry.phase) else {
            return;
        };
        let Some(fork) = entry.forks.iter_mut().find(|f| f.dialog.owns(message)) else {
            return;
        };
        if !fork.dialog.take_remote_cseq(number) {
            return self.refuse(message, path, &Refusal::new(500, "CSeq Out Of Order"));
        }
        if fork.flow.is_some()
            && let Some(Ok(contact)) = message.contact()
        {
            // A phone that has got another connection, or another address, since.
            fork.flow = flow_of(message, path, contact.uri);
        }
        let id = fork.id;
        let is_main = entry.main == Some(id);
        let tag = entry.tag.clone();
        match method {
            Method::Bye => {
                if !self.open_server(&key, message, path, false, Some(invite)) {
                    return self.refuse(message, path, &Refusal::overloaded());
                }
                self.respond(&key, 200, "OK", Vec::new(), b"", now);
                // A fork that lost says BYE for itself.
                let ends = is_main || phase == Phase::Ringing;
                if ends && phase != Phase::Calling {
                    self.on_bye(invite, message, now);
                }
            }
            Method::Options => self.reply(
                message,
                path,
                200,
                "OK",
                Some(&tag),
                Refusal::capabilities(),
                b"",
            ),
            Method::Prack => self.on_prack(invite, message, key, path, now),
            Method::Update
                if matches!(phase, Phase::Calling | Phase::Ringing) && !entry.hung_up =>
            {
                self.on_early_update(invite, id, message, key, path, now);
            }
            Method::Invite | Method::Update => {
                let is_invite = *method == Method::Invite;
                if !is_main
                    || !matches!(phase, Phase::Talking)
                    || self.s.invites.get(&invite).is_some_and(|i| i.hung_up)
                {
                    let refusal = match phase {
                        Phase::Ending => Refusal::new(487, "Request Terminated"),
                        _ => Refusal::new(491, "Request Pending"),
                    };
                    return self
                        .refuse_in_dialog(invite, message, key, path, &refusal, is_invite, now);
                }
                self.on_their_offer(invite, message, key, path, is_invite, now);
            }
            Method::Refer => self.on_refer(message, Inside::new(invite, is_main, key, path), now),
            Method::Notify => self.on_notify(message, Inside::new(invite, is_main, key, path), now),
            Method::Subscribe => {
                self.on_subscribe(message, Inside::new(invite, is_main, key, path), now)
            }
            Method::Info => self.on_info(message, Inside::new(invite, is_main, key, path), now),
            _ => self.refuse(message, path, &Refusal::not_allowed()),
        }
    }

    fn on_bye(&mut self, invite: InviteId, message: &Message<'_>, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let theirs = entry.their_offer.take().map(|o| o.key);
        let pending = if entry.phase == Phase::Ringing {
            entry.transaction.clone()
        } else {
            None
        };
        for key in theirs.into_iter().chain(pending) {
            self.respond(&key, 487, "Request Terminated", Vec::new(), b"", now);
        }
        let reason = reason_header(message);
        self.end(
            invite,
            End::ByPeer {
                cancelled: false,
                reason,
                raw: blotted(message.raw()),
            },
            now,
        );
    }

    fn on_their_offer(
        &mut self,
        invite: InviteId,
        message: &Message<'_>,
        key: String,
        path: Path,
        is_invite: bool,
        now: Instant,
    ) {
        let sdp = message.sdp().map(<[u8]>::to_vec);
        let unacknowledged = self
            .s
            .invites
            .get(&invite)
            .and_then(|i| i.repeat.as_ref())
            .map(|r| r.offer);
        if let Some(offer) = unacknowledged {
            // A re-INVITE before the ACK: some PBXs swap the two. Our 2xx has arrived, or they could not
            // have sent it; only where the ACK brings an answer must we have that first.
            let answer_missing = match offer {
                None => self.s.invites.get(&invite).is_some_and(|i| i.late),
                Some((_, wants_sdp)) => wants_sdp,
            };
            if answer_missing && (is_invite || sdp.is_some()) {
                let refusal = Refusal::new(500, "ACK Missing").with("Retry-After", "1");
                return self.refuse_in_dialog(invite, message, key, path, &refusal, is_invite, now);
            }
            if is_invite {
                self.acknowledged(invite, None, now);
            }
        }
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let ours_pending =
            matches!(entry.our_offer, Some(crate::invite::OurOffer::Sent { .. })) || entry.ack_due;
        let theirs_pending = entry.their_offer.is_some();
        if theirs_pending && (is_invite || sdp.is_some()) {
            let wait = self.s.dice.below(10).to_string();
            let refusal = Refusal::new(500, "Another Offer Pending").with("Retry-After", &wait);
            return self.refuse_in_dialog(invite, message, key, path, &refusal, is_invite, now);
        }
        if ours_pending && (is_invite || sdp.is_some()) {
            let refusal = Refusal::new(491, "Request Pending");
            return self.refuse_in_dialog(invite, message, key, path, &refusal, is_invite, now);
        }
        if let Some(refusal) = self.session_too_brief(message) {
            return self.refuse_in_dialog(invite, message, key, path, &refusal, is_invite, now);
        }
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let refreshed = entry.main().map(|f| f.dialog.refresh_target(message));
        if refreshed.is_some_and(|r| r.is_err()) {
            let refusal = Refusal::bad("Bad Request: malformed Contact");
            return self.refuse_in_dialog(invite, message, key, path, &refusal, is_invite, now);
        }
        if !self.open_server(&key, message, path, is_invite, Some(invite)) {
            return self.refuse(message, path, &Refusal::overloaded());
        }
        if !is_invite && sdp.is_none() {
            // A refresh of the session or the target alone.
            self.respond(&key, 200, "OK", Vec::new(), b"", now);
            return;
        }
        if is_invite {
            self.respond(&key, 100, "Trying", Vec::new(), b"", now);
        }
        let offer = OfferId(self.draw());
        let their_offer = TheirOffer {
            id: offer,
            key,
            is_invite,
            had_sdp: sdp.is_some(),
            sdp: sdp.clone(),
        };
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            entry.their_offer = Some(their_offer);
        }
        let source = path.remote();
        self.event(Event::Offered {
            invite,
            offer,
            sdp,
            source,
            raw: blotted(message.raw()),
            fork: None,
        });
    }

    /// Refused with a transaction of its own: the ACK is absorbed, and the same request gets the same answer.
    #[expect(clippy::too_many_arguments, reason = "all of a request and its answer")]
    pub(crate) fn refuse_in_dialog(
        &mut self,
        invite: InviteId,
        message: &Message<'_>,
        key: String,
        path: Path,
        refusal: &Refusal,
        is_invite: bool,
        now: Instant,
    ) {
        if !self.open_server(&key, message, path, is_invite, Some(invite)) {
            return self.refuse(message, path, &Refusal::overloaded());
        }
        self.respond(
            &key,
            refusal.status,
            &refusal.reason,
            refusal.headers.clone(),
            b"",
            now,
        );
    }
}
