//! Timers with names, and one table that knows the next one due.

use serde::{Deserialize, Serialize};
use signaling_sip::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// What may become due. Setting one again moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Timer {
    /// A socket that never says `connection`.
    Connection(u64),
    /// The next ping of a session.
    Ping(u64),
    /// A call whose INVITE waits for a registration.
    Registration(u64),
    /// Nobody answers.
    NoAnswer(u64),
    /// A transfer of the page's: its outcome, or the BYE after it.
    Transfer(u64),
    /// Nobody answers at the new party of a transfer that we follow.
    Following(u64),
    /// Legs whose place was taken, and whose peers do not hang up.
    Replaced(u64),
    /// An echo call has lasted long enough.
    Echo(u64),
    /// A page without an answer has heard nothing of a call that rings for a while.
    Ringback(u64),
    /// A page that did not come back.
    Parked(u64),
    /// A call that ended, but whose legs or trunk side never said so.
    Forget(u64),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Timers {
    due: BTreeSet<(Instant, Timer)>,
    at: BTreeMap<Timer, Instant>,
}

impl Timers {
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.cancel(timer);
        self.due.insert((at, timer));
        self.at.insert(timer, at);
    }

    pub fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    pub fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes one timer that is due.
    pub fn pop(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_a_moved_one_only_once() {
        let mut timers = Timers::default();
        timers.set(Timer::Ping(1), Instant(50));
        timers.set(Timer::Ping(2), Instant(20));
        timers.set(Timer::Ping(1), Instant(10));
        assert_eq!(timers.next(), Some(Instant(10)));
        assert_eq!(timers.pop(Instant(5)), None);
        assert_eq!(timers.pop(Instant(60)), Some(Timer::Ping(1)));
        timers.cancel(Timer::Ping(2));
        assert_eq!(timers.pop(Instant(60)), None);
    }
}
