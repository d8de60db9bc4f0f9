use super::timer::PATIENCE;
use super::{T1, T2, T4, Timer, Timers, Turn};
use crate::time::Instant;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Non-INVITE client transaction: RFC 3261 figure 6.
///
/// ```text
///  Trying ──1xx──▶ Proceeding ──200-699──▶ Completed ──K──▶ Terminated
///   ▲│E  └──200-699──────────────────────▲
///   └┘└─F──▶ Terminated (timed out), also from Proceeding
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientNonInvite {
    state: State,
    reliable: bool,
    timers: Timers,
    interval: Duration,
    repeats: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

impl ClientNonInvite {
    /// The request is to be sent by the owner now.
    pub fn start(request: Vec<u8>, reliable: bool, now: Instant) -> ClientNonInvite {
        let mut timers = Timers::default();
        if !reliable {
            timers.set(Timer::E, now + T1);
        }
        timers.set(Timer::F, now + PATIENCE);
        ClientNonInvite {
            state: State::Trying,
            reliable,
            timers,
            interval: T1,
            repeats: request,
        }
    }

    pub fn on_response(&mut self, status: u16, now: Instant) -> Turn {
        match (self.state, status) {
            (State::Trying | State::Proceeding, 100..=199) => {
                self.state = State::Proceeding;
                Turn::DELIVER
            }
            (State::Trying | State::Proceeding, _) => {
                self.timers.clear();
                self.repeats = Vec::new();
                self.state = State::Completed;
                let wait = if self.reliable { Duration::ZERO } else { T4 };
                self.timers.set(Timer::K, now + wait);
                Turn::DELIVER
            }
            (State::Completed | State::Terminated, _) => Turn::NOTHING,
        }
    }

    pub fn on_timeout(&mut self, now: Instant) -> Turn {
        match self.timers.take_due(now) {
            Some(Timer::E) => {
                self.interval = match self.state {
                    State::Proceeding => T2,
                    _ => (self.interval * 2).min(T2),
                };
                self.timers.set(Timer::E, now + self.interval);
                Turn::SEND
            }
            Some(Timer::F) => {
                self.terminate();
                Turn::TIMED_OUT
            }
            Some(_) => {
                self.terminate();
                Turn::NOTHING
            }
            None => Turn::NOTHING,
        }
    }

    pub fn terminate(&mut self) {
        self.timers.clear();
        self.repeats = Vec::new();
        self.state = State::Terminated;
    }

    pub fn repeats(&self) -> &[u8] {
        &self.repeats
    }

    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding)
    }

    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}
