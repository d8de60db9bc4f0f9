//! Whether a backend is worth asking.
//!
//! ```text
//!     closed ── failures in a row ──▶ open ── back-off over, one probe ──▶ probing
//!       ▲                              ▲  └─ an answer to an earlier hook ─┐   │
//!       └──────────────────────────────┼──────────────────────────────────┴───┤ any answer
//!                                      └─ failed: twice the back-off ─────────┘
//! ```

use super::limits::{FAILURES, FIRST_BACK_OFF, LAST_BACK_OFF};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, back_off: Duration },
    Probing { back_off: Duration },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Opened,
    Closed,
}

impl Breaker {
    pub fn new() -> Breaker {
        Breaker {
            state: State::Closed { failures: 0 },
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether a hook may wait for its turn.
    pub fn admits(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until, .. } => until <= now,
            State::Probing { .. } => false,
        }
    }

    /// A hook is about to go out. `true`: it is the probe.
    pub fn begins(&mut self, now: Instant) -> bool {
        match self.state {
            State::Open { until, back_off } if until <= now => {
                self.state = State::Probing { back_off };
                true
            }
            State::Closed { .. } | State::Open { .. } | State::Probing { .. } => false,
        }
    }

    /// The backend said something.
    pub fn answered(&mut self) -> Change {
        let change = if self.is_closed() {
            Change::None
        } else {
            Change::Closed
        };
        self.state = State::Closed { failures: 0 };
        change
    }

    /// The backend said nothing. A hook that went out before the breaker opened tells nothing new.
    pub fn failed(&mut self, probe: bool, now: Instant) -> Change {
        match self.state {
            State::Closed { failures } if failures + 1 < FAILURES => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
                Change::None
            }
            State::Closed { .. } => {
                self.open(FIRST_BACK_OFF, now);
                Change::Opened
            }
            State::Probing { back_off } if probe => {
                self.open((back_off * 2).min(LAST_BACK_OFF), now);
                Change::None
            }
            State::Open { .. } | State::Probing { .. } => Change::None,
        }
    }

    fn open(&mut self, back_off: Duration, now: Instant) {
        self.state = State::Open {
            until: now + back_off,
            back_off,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new();
        for _ in 1..FAILURES {
            assert_eq!(breaker.failed(false, now), Change::None);
        }
        assert_eq!(breaker.failed(false, now), Change::Opened);
        breaker
    }

    #[test]
    fn an_answer_between_failures_begins_the_count_anew() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        for _ in 0..3 {
            for _ in 1..FAILURES {
                assert_eq!(breaker.failed(false, now), Change::None);
            }
            assert_eq!(breaker.answered(), Change::None);
        }
        assert!(breaker.admits(now));
    }

    #[test]
    fn one_probe_at_a_time_after_a_back_off_that_doubles_up_to_its_limit() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let begun = now;
            while !breaker.admits(now) {
                now += Duration::from_millis(500);
            }
            waits.push((now - begun).as_secs());
            assert!(breaker.begins(now));
            assert!(!breaker.admits(now), "a second one beside the probe");
            // Hooks from before the breaker opened end now; they decide nothing.
            assert_eq!(breaker.failed(false, now), Change::None);
            assert_eq!(breaker.failed(true, now), Change::None);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(breaker.answered(), Change::Closed);
        assert!(breaker.admits(now) && !breaker.begins(now));
    }

    #[test]
    fn an_answer_to_an_earlier_hook_closes_it_too() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(!breaker.admits(now));
        assert_eq!(breaker.answered(), Change::Closed);
        assert!(breaker.admits(now));
    }
}
