//! UPDATE in dialogs that nobody has answered yet (RFC 3311 §5).

use crate::agent::Agent;
use crate::api::{Event, ForkId, InviteId, OfferId};
use crate::invite::{Invite, Phase, TheirOffer};
use crate::net::Path;
use crate::validate::Refusal;
use signaling_sip::message::{Message, blotted};
use signaling_sip::time::Instant;

impl Agent {
    pub(crate) fn on_early_update(
        &mut self,
        invite: InviteId,
        fork: ForkId,
        message: &Message<'_>,
        key: String,
        path: Path,
        now: Instant,
    ) {
        let wait = self.s.dice.below(10).to_string();
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let sdp = message.sdp().map(<[u8]>::to_vec);
        if sdp.is_some()
            && let Some(refusal) = refusal(entry, fork, &wait)
        {
            return self.refuse_in_dialog(invite, message, key, path, &refusal, false, now);
        }
        let refreshed = entry.fork(fork).map(|f| f.dialog.refresh_target(message));
        if refreshed.is_some_and(|r| r.is_err()) {
            let refusal = Refusal::bad("Bad Request: malformed Contact");
            return self.refuse_in_dialog(invite, message, key, path, &refusal, false, now);
        }
        if !self.open_server(&key, message, path, false, Some(invite)) {
            return self.refuse(message, path, &Refusal::overloaded());
        }
        if sdp.is_none() {
            self.respond(&key, 200, "OK", Vec::new(), b"", now);
            return;
        }
        let offer = OfferId(self.draw());
        let theirs = TheirOffer {
            id: offer,
            key,
            is_invite: false,
            had_sdp: true,
            sdp: sdp.clone(),
        };
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let inbound = entry.inbound;
        if inbound {
            entry.their_offer = Some(theirs);
        } else if let Some(fork) = entry.fork(fork) {
            fork.their_offer = Some(theirs);
        }
        self.event(Event::Offered {
            invite,
            offer,
            sdp,
            source: path.remote(),
            raw: blotted(message.raw()),
            fork: (!inbound).then_some(fork),
        });
    }

    /// The dialogs of an INVITE of ours of which one was answered: its open offer goes on, the others' end.
    pub(crate) fn settle_early_offers(
        &mut self,
        invite: InviteId,
        winner: Option<ForkId>,
        now: Instant,
    ) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let mut lost = Vec::new();
        for fork in &mut entry.forks {
            let Some(theirs) = fork.their_offer.take() else {
                continue;
            };
            if Some(fork.id) == winner {
                entry.their_offer = Some(theirs);
            } else {
                lost.push(theirs.key);
            }
        }
        for key in lost {
            self.respond(&key, 487, "Request Terminated", Vec::new(), b"", now);
        }
    }

    /// 199: that early dialog is over, the INVITE is not (RFC 6228 §4).
    pub(crate) fn forget_early(&mut self, invite: InviteId, fork: ForkId, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let theirs = entry.fork(fork).and_then(|f| f.their_offer.take());
        entry.forks.retain(|f| f.id != fork);
        if let Some(theirs) = theirs {
            self.respond(&theirs.key, 487, "Request Terminated", Vec::new(), b"", now);
        }
    }
}

/// Why an offer cannot be taken now (RFC 3311 §5.2): one of theirs is open, or one of ours is.
fn refusal(entry: &mut Invite, fork: ForkId, wait: &str) -> Option<Refusal> {
    let later = || Refusal::new(500, "Another Offer Pending").with("Retry-After", wait);
    let pending = || Refusal::new(491, "Request Pending");
    if entry.their_offer.is_some() || entry.fork(fork).is_some_and(|f| f.their_offer.is_some()) {
        return Some(later());
    }
    match entry.phase {
        Phase::Calling => {
            let settled = entry.fork(fork).is_some_and(|f| f.early_sdp.is_some());
            (!settled).then(pending)
        }
        Phase::Ringing if entry.reliability.awaits_answer() => Some(pending()),
        Phase::Ringing => (!entry.reliability.settled).then(later),
        Phase::Talking | Phase::Ending | Phase::Over => Some(pending()),
    }
}
