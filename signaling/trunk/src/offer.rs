//! Offers and answers inside an established dialog, ours and theirs.

use crate::agent::{Agent, Due};
use crate::api::{Cause, Event, Failure, InviteId, OfferId};
use crate::invite::{Invite, OurOffer, Phase};
use crate::requests::Purpose;
use crate::responses::{failure_of, told};
use signaling_sip::message::{Message, Method};
use signaling_sip::time::Instant;
use std::net::SocketAddr;
use std::time::Duration;

/// A re-INVITE may wait for a person, but not for ever.
const MAX_OFFER: Duration = Duration::from_secs(180);

impl Agent {
    pub(crate) fn offer(&mut self, invite: InviteId, sdp: Vec<u8>, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        if entry.phase != Phase::Talking || entry.hung_up {
            let failure = Failure {
                cause: Cause::BadRequest,
                reason: "no established dialog".into(),
                ..Failure::default()
            };
            return self.event(Event::OfferRefused { invite, failure });
        }
        entry.waiting_offer = Some(sdp);
        self.send_waiting_offer(invite, now);
    }

    /// One offer at a time (RFC 3261 §14.1): it goes out when nothing else is under way.
    pub(crate) fn send_waiting_offer(&mut self, invite: InviteId, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let busy = entry.our_offer.is_some()
            || entry.their_offer.is_some()
            || entry.repeat.is_some()
            || entry.ack_due
            || entry.phase != Phase::Talking;
        if busy {
            return;
        }
        // An offer of the calls refreshes the session as well, if it succeeds.
        if let Some(sdp) = entry.waiting_offer.take() {
            self.send_offer(invite, sdp, false, now);
        } else if let Some(sdp) = self.take_refresh(invite) {
            self.send_offer(invite, sdp, true, now);
        }
    }

    fn send_offer(&mut self, invite: InviteId, sdp: Vec<u8>, refresh: bool, now: Instant) {
        let Some(main) = self.s.invites.get(&invite).and_then(|i| i.main) else {
            return;
        };
        let Some((mut draft, next_hop)) = self.dialog_draft(invite, main, Method::Invite) else {
            return;
        };
        draft.sdp.clone_from(&sdp);
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        entry.our_offer = Some(OurOffer::Sent { sdp, refresh });
        let account = entry.account;
        let number = self.request(Purpose::Reinvite(invite), account, draft, &next_hop, now);
        if self.s.requests.contains_key(&number)
            && let Some(entry) = self.s.invites.get_mut(&invite)
        {
            entry.reinvite = Some(number);
            self.s
                .schedule
                .set(Due::Offer(invite), Some(now + MAX_OFFER));
        }
    }

    /// The 2xx of a re-INVITE once more: its ACK was lost.
    pub(crate) fn acknowledge_again(&mut self, invite: InviteId, response: &Message<'_>) {
        let number = response.cseq().map_or(0, |(n, _)| n);
        let main = self.s.invites.get_mut(&invite).and_then(Invite::main);
        if let Some((acked, path, bytes)) = main.and_then(|f| f.ack.as_ref())
            && *acked == number
        {
            let (path, bytes) = (*path, bytes.clone());
            self.transmit(path, bytes);
        }
    }

    pub(crate) fn on_reinvite_final(
        &mut self,
        invite: InviteId,
        response: &Message<'_>,
        source: SocketAddr,
        now: Instant,
    ) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        entry.reinvite = None;
        self.s.schedule.set(Due::Offer(invite), None);
        let status = response.status();
        if status < 300 {
            let number = response.cseq().map_or(0, |(n, _)| n);
            let Some(fork) = entry.main() else { return };
            // A Contact that is no address changes nothing; the session does.
            let _ = fork.dialog.refresh_target(response);
            let main = fork.id;
            fork.ack_for = number;
            let ours = entry.our_offer.take();
            self.send_ack(invite, main, Vec::new(), now);
            if let Some(OurOffer::Sent { sdp: ours, refresh }) = ours {
                self.on_session_response(invite, response, now);
                let (status, _, sdp, source, raw) = told(response, source);
                let Some(entry) = self.s.invites.get_mut(&invite) else {
                    return;
                };
                entry.last_sdp = ours;
                let theirs = sdp.clone().unwrap_or_default();
                let changed = !theirs.is_empty() && theirs != entry.their_sdp;
                if !theirs.is_empty() {
                    entry.their_sdp = theirs;
                }
                // Of a refresh the calls know nothing; they hear of it where the peer took the occasion to change
                // something, unless they wait for the answer to another offer.
                if refresh && (!changed || entry.waiting_offer.is_some()) {
                    return self.send_waiting_offer(invite, now);
                }
                self.event(Event::OfferAnswered {
                    invite,
                    status,
                    sdp,
                    source,
                    raw,
                });
                self.send_waiting_offer(invite, now);
            }
            return;
        }
        let Some(OurOffer::Sent { sdp, refresh }) = entry.our_offer.take() else {
            return;
        };
        if status == 422 && self.take_min_se(invite, response) {
            return self.offer_again(invite, sdp, refresh, now);
        }
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        if status == 491 {
            // Whoever drew the Call-ID waits longer (RFC 3261 §14.1).
            let outbound = !entry.inbound;
            entry.our_offer = Some(OurOffer::Backoff { sdp, refresh });
            let wait = if outbound {
                2100 + self.s.dice.below(190) * 10
            } else {
                self.s.dice.below(200) * 10
            };
            self.s
                .schedule
                .set(Due::Offer(invite), Some(now + Duration::from_millis(wait)));
            return;
        }
        if refresh {
            self.on_refresh_refused(invite, failure_of(response), now);
            return self.send_waiting_offer(invite, now);
        }
        let gone = matches!(status, 408 | 481);
        let main = entry.main;
        self.event(Event::OfferRefused {
            invite,
            failure: failure_of(response),
        });
        if let (true, Some(main)) = (gone, main) {
            // The peer has forgotten the dialog (RFC 3261 §12.2.1.2).
            return self.send_bye(invite, main, now);
        }
        self.send_waiting_offer(invite, now);
    }

    pub(crate) fn on_reinvite_failed(&mut self, invite: InviteId, failure: Failure, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        entry.reinvite = None;
        self.s.schedule.set(Due::Offer(invite), None);
        let main = entry.main;
        match entry.our_offer.take() {
            None => return,
            Some(
                OurOffer::Sent { refresh: true, .. } | OurOffer::Backoff { refresh: true, .. },
            ) => {
                self.on_refresh_refused(invite, failure, now);
                return self.send_waiting_offer(invite, now);
            }
            Some(OurOffer::Sent { .. } | OurOffer::Backoff { .. }) => {}
        }
        let timed_out = failure.cause == Cause::Timeout;
        self.event(Event::OfferRefused { invite, failure });
        if let (true, Some(main)) = (timed_out, main) {
            self.send_bye(invite, main, now);
        }
    }

    pub(crate) fn on_offer_due(&mut self, invite: InviteId, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        match entry.our_offer.take() {
            Some(OurOffer::Backoff { sdp, refresh }) => {
                self.offer_again(invite, sdp, refresh, now);
            }
            Some(sent @ OurOffer::Sent { .. }) => {
                entry.our_offer = Some(sent);
                if let Some(reinvite) = entry.reinvite.take() {
                    self.abandon(reinvite);
                }
                let failure = Failure {
                    cause: Cause::Timeout,
                    reason: "no answer".into(),
                    ..Failure::default()
                };
                self.on_reinvite_failed(invite, failure, now);
            }
            None => {}
        }
    }

    /// Unless the calls want something else by now.
    fn offer_again(&mut self, invite: InviteId, sdp: Vec<u8>, refresh: bool, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        if refresh {
            entry.timer.wants_reinvite = true;
        } else {
            entry.waiting_offer.get_or_insert(sdp);
        }
        self.send_waiting_offer(invite, now);
    }

    pub(crate) fn answer_offer(
        &mut self,
        invite: InviteId,
        offer: OfferId,
        sdp: Vec<u8>,
        now: Instant,
    ) {
        let early = self.s.invites.get_mut(&invite).and_then(|entry| {
            let mut forks = entry.forks.iter_mut();
            forks.find(|f| f.their_offer.as_ref().is_some_and(|o| o.id == offer))
        });
        if let Some(fork) = early {
            fork.early_sdp = fork.their_offer.as_ref().and_then(|o| o.sdp.clone());
        }
        let Some(theirs) = self.take_their_offer(invite, offer) else {
            return;
        };
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            entry.last_sdp.clone_from(&sdp);
            if let Some(sdp) = &theirs.sdp {
                entry.their_sdp.clone_from(sdp);
            }
        }
        if theirs.is_invite {
            self.respond_200(
                invite,
                &theirs.key,
                &sdp,
                Some((offer, !theirs.had_sdp)),
                now,
            );
        } else {
            self.respond(&theirs.key, 200, "OK", Vec::new(), &sdp, now);
            self.send_waiting_offer(invite, now);
        }
    }

    pub(crate) fn refuse_offer(
        &mut self,
        invite: InviteId,
        offer: OfferId,
        status: u16,
        now: Instant,
    ) {
        let Some(theirs) = self.take_their_offer(invite, offer) else {
            return;
        };
        let status = if (300..700).contains(&status) {
            status
        } else {
            488
        };
        let reason = if status == 488 {
            "Not Acceptable Here"
        } else {
            "Refused"
        };
        self.respond(&theirs.key, status, reason, Vec::new(), b"", now);
        self.send_waiting_offer(invite, now);
    }

    fn take_their_offer(
        &mut self,
        invite: InviteId,
        offer: OfferId,
    ) -> Option<crate::invite::TheirOffer> {
        let entry = self.s.invites.get_mut(&invite)?;
        let settled = entry.their_offer.take_if(|o| o.id == offer);
        settled.or_else(|| {
            let mut forks = entry.forks.iter_mut();
            forks.find_map(|f| f.their_offer.take_if(|o| o.id == offer))
        })
    }
}
