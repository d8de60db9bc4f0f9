//! The operator's limits on new calls: above them an INVITE gets 503 with Retry-After before it costs anything, so
//! that those that run do not suffer.

use crate::agent::Agent;
use crate::validate::Refusal;
use serde::{Deserialize, Serialize};
use signaling_sip::time::Instant;
use std::time::Duration;

/// How old the count of running calls may be: counting takes a walk through all of them.
const RECOUNT: Duration = Duration::from_millis(100);
/// Retry-After is drawn from this many seconds, so that those who were turned away do not come back all at once.
const SPREAD_S: u64 = 5;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct NewCalls {
    /// Of the last second: when the one after the latest was due (RFC 3261 has no word for it; a virtual scheduling
    /// algorithm, as ITU-T I.371 calls it).
    due: Instant,
    running: usize,
    counted: Option<Instant>,
}

impl Agent {
    /// A new call of whom we know, or the refusal that it deserves. To be asked once for each.
    pub(crate) fn admit_call(&mut self, now: Instant) -> Result<(), Refusal> {
        let (most, rate) = (self.config.max_calls, self.config.max_calls_per_second);
        if most > 0 && self.running_calls(now) >= most as usize {
            return Err(self.too_many_calls());
        }
        if rate > 0 {
            // A second's worth may come at once; from then on each has its interval.
            let interval = Duration::from_micros(1_000_000 / u64::from(rate).max(1));
            let due = self.s.guard.calls.due;
            if due > now + Duration::from_secs(1).saturating_sub(interval) {
                return Err(self.too_many_calls());
            }
            self.s.guard.calls.due = due.max(now) + interval;
        }
        self.s.guard.calls.running += 1;
        Ok(())
    }

    fn running_calls(&mut self, now: Instant) -> usize {
        let fresh = self
            .s
            .guard
            .calls
            .counted
            .is_some_and(|at| now - at < RECOUNT);
        if !fresh {
            let running = self.s.invites.values().filter(|i| !i.is_over()).count();
            self.s.guard.calls.running = running;
            self.s.guard.calls.counted = Some(now);
        }
        self.s.guard.calls.running
    }

    fn too_many_calls(&mut self) -> Refusal {
        self.s.guard.figures.overloaded += 1;
        let after = 1 + self.s.dice.below(SPREAD_S);
        Refusal::new(503, "Service Unavailable").with("Retry-After", &after.to_string())
    }
}
