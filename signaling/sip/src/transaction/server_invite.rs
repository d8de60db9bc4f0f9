use super::timer::PATIENCE;
use super::{T1, T2, T4, Timer, Timers, Turn};
use crate::time::Instant;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// INVITE server transaction: RFC 3261 figure 7 as changed by RFC 6026 §8.5.
///
/// ```text
///  Proceeding ──2xx──▶ Accepted ──L──▶ Terminated      (2xx are repeated by the user, not here)
///   └──300-699──▶ Completed ──ACK──▶ Confirmed ──I──▶ Terminated
///                  ▲│G  └─H──▶ Terminated (timed out)
///                  └┘
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerInvite {
    state: State,
    reliable: bool,
    timers: Timers,
    interval: Duration,
    /// The last response, repeated for a repeated INVITE.
    repeats: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
    Terminated,
}

impl ServerInvite {
    pub fn start(reliable: bool) -> ServerInvite {
        ServerInvite {
            state: State::Proceeding,
            reliable,
            timers: Timers::default(),
            interval: T1,
            repeats: Vec::new(),
        }
    }

    /// A response of the user; false if a final one went out before and this must not.
    pub fn respond(&mut self, status: u16, response: Vec<u8>, now: Instant) -> bool {
        if self.state != State::Proceeding {
            return false;
        }
        match status {
            100..=199 => self.repeats = response,
            200..=299 => {
                self.repeats = Vec::new();
                self.state = State::Accepted;
                self.timers.set(Timer::L, now + PATIENCE);
            }
            _ => {
                self.repeats = response;
                self.state = State::Completed;
                if !self.reliable {
                    self.timers.set(Timer::G, now + T1);
                }
                self.timers.set(Timer::H, now + PATIENCE);
            }
        }
        true
    }

    /// The same INVITE once more.
    pub fn on_repeated_invite(&mut self) -> Turn {
        match self.state {
            State::Proceeding | State::Completed if !self.repeats.is_empty() => Turn::SEND,
            _ => Turn::NOTHING,
        }
    }

    /// The ACK of a 300 to 699 (its branch is the INVITE's).
    pub fn on_ack(&mut self, now: Instant) {
        if self.state == State::Completed {
            self.timers.clear();
            self.repeats = Vec::new();
            self.state = State::Confirmed;
            let wait = if self.reliable { Duration::ZERO } else { T4 };
            self.timers.set(Timer::I, now + wait);
        }
    }

    pub fn on_timeout(&mut self, now: Instant) -> Turn {
        match self.timers.take_due(now) {
            Some(Timer::G) => {
                self.interval = (self.interval * 2).min(T2);
                self.timers.set(Timer::G, now + self.interval);
                Turn::SEND
            }
            Some(Timer::H) => {
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

    fn terminate(&mut self) {
        self.timers.clear();
        self.repeats = Vec::new();
        self.state = State::Terminated;
    }

    pub fn repeats(&self) -> &[u8] {
        &self.repeats
    }

    /// No final response was sent yet: a CANCEL still has something to cancel.
    pub fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}
