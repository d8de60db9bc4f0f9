//! The end of a call: CANCEL, BYE or a refusal, whichever its state asks for.

use crate::agent::{Agent, Due};
use crate::api::{Cause, End, Failure, ForkId, InviteId, Refusal};
use crate::invite::Phase;
use crate::requests::{Phase as RequestPhase, Purpose};
use signaling_sip::message::Method;
use signaling_sip::time::Instant;
use std::time::Duration;

/// After a CANCEL the final response has this long (RFC 3261 §9.1: 64 T1).
pub(crate) const AFTER_CANCEL: Duration = Duration::from_secs(32);

/// The key of a CANCEL's transaction, whose branch is the INVITE's.
pub(crate) fn cancel_key(branch: &str) -> String {
    format!("{branch}/CANCEL")
}

impl Agent {
    pub(crate) fn hang_up(&mut self, invite: InviteId, status: Option<Refusal>, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        if entry.hung_up {
            return;
        }
        entry.hung_up = true;
        match entry.phase {
            Phase::Calling if entry.ringing.is_some() => {
                if !self.stop_rings(invite, now) {
                    return self.end(invite, End::ByUs { raw: String::new() }, now);
                }
                self.s
                    .schedule
                    .set(Due::Patience(invite), Some(now + AFTER_CANCEL));
            }
            Phase::Calling => {
                let request = entry.request;
                let unsent = request
                    .and_then(|r| self.s.requests.get(&r))
                    .is_none_or(|r| !matches!(r.phase, RequestPhase::Sent { .. }));
                if unsent {
                    if let Some(request) = request {
                        self.drop_request(request);
                    }
                    return self.end(invite, End::ByUs { raw: String::new() }, now);
                }
                self.s
                    .schedule
                    .set(Due::Patience(invite), Some(now + AFTER_CANCEL));
                self.send_cancel(invite, now);
            }
            Phase::Ringing => {
                let Refusal {
                    status,
                    reason,
                    retry_after_s,
                } = status.unwrap_or(Refusal {
                    status: 603,
                    reason: "Decline".into(),
                    retry_after_s: None,
                });
                let status = if (300..700).contains(&status) {
                    status
                } else {
                    603
                };
                let after = retry_after_s.map(|s| ("Retry-After", s.to_string().into_bytes()));
                self.refuse_invite(invite, status, &reason, after.into_iter().collect(), now);
                self.end(invite, End::ByUs { raw: String::new() }, now);
            }
            Phase::Talking => {
                let Some(main) = entry.main else { return };
                // Before the ACK of our 2xx there must be no BYE (RFC 3261 §15).
                if entry.repeat.as_ref().is_some_and(|r| r.offer.is_none()) {
                    return;
                }
                if std::mem::take(&mut entry.ack_due) {
                    self.send_ack(invite, main, Vec::new(), now);
                }
                self.send_bye(invite, main, now);
            }
            Phase::Ending | Phase::Over => {}
        }
    }

    /// Once a provisional response is there; without one it waits for it (RFC 3261 §9.1).
    pub(crate) fn send_cancel(&mut self, invite: InviteId, now: Instant) {
        let Some(entry) = self.s.invites.get(&invite) else {
            return;
        };
        if entry.ringing.is_some() {
            return self.cancel_rings(invite, now);
        }
        let branch = entry.transaction.clone().filter(|_| !entry.cancel_sent);
        if let Some(branch) = branch
            && self.cancel_transaction(invite, &branch, now)
            && let Some(entry) = self.s.invites.get_mut(&invite)
        {
            entry.cancel_sent = true;
        }
    }

    pub(crate) fn send_bye(&mut self, invite: InviteId, fork: ForkId, now: Instant) {
        let Some((draft, next_hop)) = self.dialog_draft(invite, fork, Method::Bye) else {
            return;
        };
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let account = entry.account;
        if entry.main == Some(fork) && entry.phase != Phase::Over {
            entry.phase = Phase::Ending;
            entry.our_offer = None;
            entry.waiting_offer = None;
            let theirs = entry.their_offer.take();
            self.s.schedule.set(Due::Offer(invite), None);
            self.s.schedule.set(Due::Patience(invite), None);
            if let Some(theirs) = theirs {
                self.respond(&theirs.key, 487, "Request Terminated", Vec::new(), b"", now);
            }
            self.answer_undecided_refers(invite, now);
        }
        self.request(Purpose::Bye(invite, fork), account, draft, &next_hop, now);
    }

    pub(crate) fn on_bye_done(
        &mut self,
        invite: InviteId,
        fork: ForkId,
        raw: String,
        now: Instant,
    ) {
        if self
            .s
            .invites
            .get(&invite)
            .is_some_and(|i| i.main == Some(fork))
        {
            self.end(invite, End::ByUs { raw }, now);
        }
    }

    /// It rang too long, or nothing came after our CANCEL.
    pub(crate) fn on_patience_over(&mut self, invite: InviteId, now: Instant) {
        let Some(entry) = self.s.invites.get(&invite) else {
            return;
        };
        let failure = Failure {
            cause: Cause::Timeout,
            reason: "nobody answered".into(),
            ..Failure::default()
        };
        match entry.phase {
            Phase::Calling if entry.hung_up => {
                self.forget_calling(invite);
                self.end(invite, End::ByUs { raw: String::new() }, now);
            }
            Phase::Calling => {
                self.hang_up(invite, None, now);
                self.end(invite, End::Failed(failure), now);
                // Told already; a final response may still come after the CANCEL.
                if self.s.invites.contains_key(&invite) {
                    self.s
                        .schedule
                        .set(Due::Patience(invite), Some(now + AFTER_CANCEL));
                }
            }
            Phase::Ringing => {
                self.answer_invite(invite, 480, "Temporarily Unavailable", now);
                self.end(invite, End::Failed(failure), now);
            }
            Phase::Over => {
                self.forget_calling(invite);
                self.forget_invite_if_over(invite);
            }
            Phase::Talking | Phase::Ending => {}
        }
    }

    /// No final response will come any more.
    fn forget_calling(&mut self, invite: InviteId) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let (request, branch) = (entry.request.take(), entry.transaction.clone());
        self.forget_rings(invite);
        if let Some(request) = request {
            self.abandon(request);
        }
        if let Some(branch) = branch {
            self.s.schedule.set(Due::Client(branch.clone()), None);
            self.s.client.remove(&branch);
        }
    }
}
