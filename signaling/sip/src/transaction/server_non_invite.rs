use super::timer::PATIENCE;
use super::{Timer, Timers, Turn};
use crate::time::Instant;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Non-INVITE server transaction: RFC 3261 figure 8.
///
/// ```text
///  Trying ──1xx──▶ Proceeding ──200-699──▶ Completed ──J──▶ Terminated
///   └──200-699──────────────────────────▲
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerNonInvite {
    state: State,
    reliable: bool,
    timers: Timers,
    repeats: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Trying,
    Completed,
    Terminated,
}

impl ServerNonInvite {
    pub fn start(reliable: bool) -> ServerNonInvite {
        ServerNonInvite {
            state: State::Trying,
            reliable,
            timers: Timers::default(),
            repeats: Vec::new(),
        }
    }

    /// A response of the user; false if a final one went out before.
    pub fn respond(&mut self, status: u16, response: Vec<u8>, now: Instant) -> bool {
        if self.state != State::Trying {
            return false;
        }
        self.repeats = response;
        if status >= 200 {
            self.state = State::Completed;
            let wait = if self.reliable {
                Duration::ZERO
            } else {
                PATIENCE
            };
            self.timers.set(Timer::J, now + wait);
        }
        true
    }

    /// The same request once more.
    pub fn on_repeated_request(&mut self) -> Turn {
        if self.repeats.is_empty() {
            Turn::NOTHING
        } else {
            Turn::SEND
        }
    }

    pub fn on_timeout(&mut self, now: Instant) -> Turn {
        if self.timers.take_due(now).is_some() {
            self.repeats = Vec::new();
            self.state = State::Terminated;
        }
        Turn::NOTHING
    }

    pub fn repeats(&self) -> &[u8] {
        &self.repeats
    }

    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}
