use super::timer::PATIENCE;
use super::{T1, Timer, Timers, Turn};
use crate::time::Instant;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// INVITE client transaction: RFC 3261 figure 5 as changed by RFC 6026 §8.4.
///
/// ```text
///  Calling ──1xx──▶ Proceeding ──2xx──▶ Accepted ──M──▶ Terminated
///    │ ▲A  └──2xx──────────────────────▲
///    │ └┘   └──300-699──▶ Completed ──D──▶ Terminated
///    └─B──▶ Terminated       ▲└ 300-699: ACK again
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientInvite {
    state: State,
    reliable: bool,
    timers: Timers,
    interval: Duration,
    /// The INVITE until a final response, then the ACK of a refusal, then nothing.
    repeats: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Calling,
    Proceeding,
    Completed,
    Accepted,
    Terminated,
}

impl ClientInvite {
    /// The INVITE is to be sent by the owner now.
    pub fn start(request: Vec<u8>, reliable: bool, now: Instant) -> ClientInvite {
        let mut timers = Timers::default();
        if !reliable {
            timers.set(Timer::A, now + T1);
        }
        timers.set(Timer::B, now + PATIENCE);
        ClientInvite {
            state: State::Calling,
            reliable,
            timers,
            interval: T1,
            repeats: request,
        }
    }

    /// `ack` writes the ACK of a 300 to 699 response; it is asked for once.
    pub fn on_response(
        &mut self,
        status: u16,
        now: Instant,
        ack: impl FnOnce() -> Vec<u8>,
    ) -> Turn {
        match (self.state, status) {
            (State::Calling | State::Proceeding, 100..=199) => {
                self.timers.clear();
                self.state = State::Proceeding;
                Turn::DELIVER
            }
            (State::Calling | State::Proceeding, 200..=299) => {
                self.timers.clear();
                self.timers.set(Timer::M, now + PATIENCE);
                self.repeats = Vec::new();
                self.state = State::Accepted;
                Turn::DELIVER
            }
            (State::Calling | State::Proceeding, _) => {
                self.timers.clear();
                self.repeats = ack();
                self.state = State::Completed;
                let wait = if self.reliable {
                    Duration::ZERO
                } else {
                    PATIENCE
                };
                self.timers.set(Timer::D, now + wait);
                Turn::SEND_AND_DELIVER
            }
            // Each 2xx goes up: a repeated one wants its ACK again, another fork's an ACK and a BYE.
            (State::Accepted, 200..=299) => Turn::DELIVER,
            (State::Completed, 300..=699) => Turn::SEND,
            (State::Accepted | State::Completed | State::Terminated, _) => Turn::NOTHING,
        }
    }

    pub fn on_timeout(&mut self, now: Instant) -> Turn {
        match self.timers.take_due(now) {
            Some(Timer::A) => {
                self.interval *= 2;
                self.timers.set(Timer::A, now + self.interval);
                Turn::SEND
            }
            Some(Timer::B) => {
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

    /// The owner waits no longer for a final response (RFC 3261 §9.1: 64 T1 after a CANCEL).
    pub fn terminate(&mut self) {
        self.timers.clear();
        self.repeats = Vec::new();
        self.state = State::Terminated;
    }

    /// It is not sent again; a response may come all the same, until timer B.
    pub fn stop_repeating(&mut self) {
        self.timers.stop(Timer::A);
    }

    /// A final response that has not come by then is not waited for (RFC 3261 §9.1: 64 T1 after a CANCEL).
    pub fn end_by(&mut self, at: Instant) {
        self.timers.set(Timer::B, at);
    }

    /// The INVITE while it may still be cancelled or repeated, or the ACK of its refusal.
    pub fn repeats(&self) -> &[u8] {
        &self.repeats
    }

    /// A provisional response came and no final one: a CANCEL may be sent (RFC 3261 §9.1).
    pub fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    pub fn is_calling(&self) -> bool {
        self.state == State::Calling
    }

    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}
