//! What calls are booked under while they last: the ledger's tickets, and the limits of the whole gateway.

use crate::admission::Refused;
use crate::call::CallKey;
use crate::hunting::ByPlan;
use crate::switchboard::Switchboard;
use serde::{Deserialize, Serialize};
use signaling_plan::{Scope, Ticket};
use signaling_sip::time::Instant;
use signaling_trunk::api::{InviteId, Line};

/// New calls of a second, as a bucket that holds one second's worth. A call for help takes one even where none is left.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct CallRate {
    /// Millionths of a call.
    left: u64,
    filled: Option<Instant>,
}

impl CallRate {
    fn admit(&mut self, per_second: u32, now: Instant) -> bool {
        if per_second == 0 {
            return true;
        }
        let full = u64::from(per_second) * 1_000_000;
        let earned = match self.filled {
            None => full,
            Some(at) => u64::try_from(now.saturating_duration_since(at).as_micros())
                .unwrap_or(u64::MAX)
                .saturating_mul(u64::from(per_second)),
        };
        self.filled = Some(now);
        self.left = self.left.saturating_add(earned).min(full);
        match self.left.checked_sub(1_000_000) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

impl Switchboard {
    /// Whether the gateway as a whole takes another call now.
    pub(crate) fn has_room(&mut self, emergency: bool, now: Instant) -> Result<(), Refused> {
        let reserve = match emergency {
            true => self.config.emergency_reserve,
            false => 0,
        };
        let most = self.config.max_calls.saturating_add(reserve);
        // Of those that live, and of all that something is still owed of.
        if self.live_calls() >= most
            || self.calls.len() + self.bridges.len() >= most.saturating_mul(2)
        {
            self.refused_calls += 1;
            return Err(Refused::later(
                503,
                "The gateway has as many calls as it may carry",
                10,
            ));
        }
        let admitted = self.call_rate.admit(self.config.calls_per_second, now);
        if !admitted && !emergency {
            self.refused_calls += 1;
            return Err(Refused::later(
                503,
                "The gateway has as many new calls as it may take; try again later",
                1,
            ));
        }
        Ok(())
    }

    /// Books a call; one for help is never refused.
    pub(crate) fn book(
        &mut self,
        scopes: &[Scope],
        emergency: bool,
        now: Instant,
    ) -> Result<Option<Ticket>, Refused> {
        if emergency {
            return Ok(Some(self.ledger.begin_anyway(scopes, now)));
        }
        match self.ledger.begin(scopes, now) {
            Ok(ticket) => Ok(Some(ticket)),
            Err(refused) => {
                self.refused_calls += 1;
                Err(Refused {
                    info: refused.reason,
                    sip_status: Some(refused.status),
                    retry_after_s: refused.retry_after_s,
                })
            }
        }
    }

    /// An emergency call goes out: whoever watches the gateway shall know. The ticket is returned when it is over.
    pub(crate) fn alarm(&mut self, caller: &str, number: &str, now: Instant) -> Ticket {
        self.emergency_calls += 1;
        tracing::warn!(caller, number, "an emergency call");
        let (ticket, too_many) = self.ledger.begin_emergency(now);
        if too_many {
            let at_once = self.ledger.emergencies().0;
            tracing::error!(
                at_once,
                "more emergency calls at once than were thought likely"
            );
        }
        ticket
    }

    pub(crate) fn take_line(
        &mut self,
        line: &Line,
        plan: &mut ByPlan,
        now: Instant,
    ) -> Result<(), Refused> {
        let scopes = self.line_scopes(line, &plan.number);
        plan.line_ticket = self.book(&scopes, plan.emergency, now)?;
        Ok(())
    }

    /// Whose books a way is in.
    pub(crate) fn line_scopes(&self, line: &Line, number: &str) -> Vec<Scope> {
        // The ledger finds the prefixes that limits name.
        let mut scopes = vec![Scope::Prefix(number.to_owned())];
        scopes.push(match line {
            Line::Trunk(name) => Scope::Trunk(name.clone()),
            Line::Phone(user) => Scope::Account(user.clone()),
        });
        scopes
    }

    pub(crate) fn leave_line(&mut self, plan: &mut ByPlan, now: Instant) {
        if let Some(ticket) = plan.line_ticket.take() {
            self.ledger.ended(ticket, now);
        }
    }

    pub(crate) fn give_back(&mut self, tickets: Vec<Ticket>, now: Instant) {
        for ticket in tickets {
            self.ledger.ended(ticket, now);
        }
    }

    fn tickets(&self, key: CallKey) -> Vec<Ticket> {
        let Some(call) = self.calls.get(&key) else {
            return Vec::new();
        };
        let line = call.by_plan.as_ref().and_then(|plan| plan.line_ticket);
        call.tickets.iter().copied().chain(line).collect()
    }

    pub(crate) fn booked_answered(&mut self, key: CallKey, now: Instant) {
        for ticket in self.tickets(key) {
            self.ledger.answered(ticket, now);
        }
    }

    pub(crate) fn close_books(&mut self, key: CallKey, now: Instant) {
        for ticket in self.tickets(key) {
            self.ledger.ended(ticket, now);
        }
        if let Some(call) = self.calls.get_mut(&key) {
            call.tickets.clear();
            if let Some(plan) = &mut call.by_plan {
                plan.line_ticket = None;
            }
        }
    }

    /// An INVITE of a line is answered: its minutes count.
    pub(crate) fn arrival_answered(&mut self, invite: InviteId, now: Instant) {
        for ticket in self.booked.get(&invite).into_iter().flatten() {
            self.ledger.answered(*ticket, now);
        }
    }

    pub(crate) fn arrival_ended(&mut self, invite: InviteId, now: Instant) {
        for ticket in self.booked.remove(&invite).into_iter().flatten() {
            self.ledger.ended(ticket, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn as_many_calls_a_second_as_are_allowed_are_taken_and_no_more() {
        let mut rate = CallRate::default();
        let mut now = Instant(5_000_000);
        let taken = |rate: &mut CallRate, now| (0..50).filter(|_| rate.admit(10, now)).count();
        assert_eq!(taken(&mut rate, now), 10);
        now += Duration::from_millis(500);
        assert_eq!(taken(&mut rate, now), 5);
        now += Duration::from_secs(60);
        assert_eq!(taken(&mut rate, now), 10);
        assert!((0..1000).all(|_| CallRate::default().admit(0, now)));
    }
}
