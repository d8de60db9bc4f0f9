//! The core of one side of a link: its lanes, what it knows of the peer, and when grace is over.
//!
//! No sockets and no clock: the shell hands in what streams brought and takes what they are to carry. Both
//! sides are the same but for who begins: the dialer draws the session's number and says [`Hello`], the
//! listener [judges](Session::judge) it and says [`Reply`]. Whoever finds the session established calls
//! [`Session::connected`].
//!
//! Exactly once needs that both agree on what "seen" counts. They count from 0 whenever one of them is
//! new (another instance, another session), and go on counting otherwise. A connection may be lost after
//! one side was established and before the other was; then the next one starts at 0 again, but what
//! waited was meant for this very peer and is kept.

use super::frame::{Batch, Hello, Reply, Seen};
use super::lane::{Lane, LaneError};
use std::time::{Duration, Instant};

/// Lanes of a link. Both sides must have the same number: it is part of the version.
pub const LANES: usize = 8;

/// So many messages may have come in before the peer is told at once …
const SEEN_EVERY: usize = 256;

/// … and so long may it wait otherwise. Only the peer's memory waits, no message does.
const SEEN_AFTER: Duration = Duration::from_millis(50);

/// Who speaks: told to the peer in the first frame.
#[derive(Clone, Debug)]
pub struct Ourselves {
    pub role: String,
    pub newest: u16,
    pub oldest: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `fresh`: the peer is new and knows nothing of what was said before.
    Up {
        fresh: bool,
    },
    Down,
    /// Grace is over.
    Lost,
}

#[derive(Debug)]
pub struct Session {
    grace: Duration,
    /// Told to the peer; another one means that all before is forgotten here.
    instance: u64,
    /// The number that a dialer draws, or the listener was told at the last establishment.
    number: u64,
    /// The session and the peer's instance that `Up` was last told about.
    told: Option<(u64, u64)>,
    /// `Lost` was told: messages go nowhere.
    lost: bool,
    connected: bool,
    lanes: [Lane; LANES],
    unsaid: usize,
    say_seen_at: Option<Instant>,
    lost_at: Option<Instant>,
}

impl Session {
    /// `instance` is random per process start, and is the number of a dialer's first session, too.
    pub fn new(instance: u64, grace: Duration) -> Session {
        Session {
            grace,
            instance,
            number: instance,
            told: None,
            lost: false,
            connected: false,
            lanes: Default::default(),
            unsaid: 0,
            say_seen_at: None,
            lost_at: None,
        }
    }

    #[cfg(test)]
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// Whether these are the session and instance that the last connection was with.
    pub fn knows(&self, number: u64, peer_instance: u64) -> bool {
        self.told == Some((number, peer_instance))
    }

    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Nothing waits to be seen by the peer.
    pub fn is_idle(&self) -> bool {
        self.lanes.iter().all(Lane::is_empty)
    }

    /// What the dialer says first.
    pub fn hello(&self, us: &Ourselves, wants: &str) -> Hello {
        Hello {
            newest: us.newest,
            oldest: us.oldest,
            role: us.role.clone(),
            wants: wants.to_owned(),
            instance: self.instance,
            session: self.number,
            peer: self.told.map(|(_, instance)| instance),
            seen: self.seen(),
        }
    }

    /// What the listener answers; `version` is already agreed on.
    pub fn judge(&self, hello: &Hello, version: u16) -> Reply {
        let resumed = self.told == Some((hello.session, hello.instance))
            && hello.peer == Some(self.instance)
            && hello.seen.len() == LANES;
        Reply {
            refused: None,
            version,
            instance: self.instance,
            resumed,
            seen: self.seen(),
        }
    }

    /// A connection stands. `resumed` and `peer_seen` are what the first frames said.
    ///
    /// On an error the peer has lost its mind: call [`Session::abandon`] and close the connection.
    pub fn connected(
        &mut self,
        number: u64,
        peer_instance: u64,
        resumed: bool,
        peer_seen: &[u64],
    ) -> Result<Change, LaneError> {
        let peer = (number, peer_instance);
        let fresh = self.told != Some(peer);
        if resumed && !fresh {
            if peer_seen.len() != LANES {
                return Err(LaneError::ImpossibleSeen);
            }
            for (lane, seen) in self.lanes.iter_mut().zip(peer_seen) {
                lane.resume(*seen)?;
            }
        } else {
            // What waited was said to the peer before this one, unless there was none.
            let keep = !fresh || self.told.is_none();
            self.lanes.iter_mut().for_each(|lane| lane.restart(keep));
        }
        self.number = number;
        self.told = Some(peer);
        self.lost = false;
        self.connected = true;
        self.lost_at = None;
        self.unsaid = 0;
        self.say_seen_at = None;
        Ok(Change::Up { fresh })
    }

    /// Whether a peer that comes with these words would be a new one, so that what waits is void.
    pub fn would_drop(&self, number: u64, peer_instance: u64) -> bool {
        self.told
            .is_some_and(|told| told != (number, peer_instance))
    }

    /// The connection is gone. `None`: there was none.
    pub fn disconnected(&mut self, now: Instant) -> Option<Change> {
        if !std::mem::take(&mut self.connected) {
            return None;
        }
        self.lost_at = Some(now + self.grace);
        self.say_seen_at = None;
        Some(Change::Down)
    }

    /// Gives the peer up and goes on under another random number, so that it will find us new as well.
    pub fn abandon(&mut self, next: u64) -> Option<Change> {
        let was_up = self.told.is_some() && !self.lost;
        self.told = None;
        self.number = next;
        self.instance = next;
        self.lost = true;
        self.connected = false;
        self.lost_at = None;
        self.say_seen_at = None;
        self.lanes.iter_mut().for_each(|lane| lane.restart(false));
        was_up.then_some(Change::Lost)
    }

    /// Grace is over: [`Session::abandon`] is due.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.lost_at.is_some_and(|at| at <= now)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.lost_at.into_iter().chain(self.say_seen_at).min()
    }

    pub fn has_room(&self, lane: usize) -> bool {
        self.lost || self.lanes.get(lane).is_some_and(Lane::has_room)
    }

    /// Takes a message for the peer. `false`: there is nobody, since grace is over.
    pub fn send(&mut self, lane: usize, message: Vec<u8>) -> bool {
        if self.lost {
            return false;
        }
        self.lanes[lane].push(message);
        true
    }

    /// What the stream of this lane is to carry next.
    pub fn poll_batch(&mut self, lane: usize) -> Option<Batch> {
        if !self.connected {
            return None;
        }
        self.lanes[lane].poll_batch()
    }

    /// What the control stream is to carry next.
    pub fn poll_seen(&mut self, now: Instant) -> Option<Seen> {
        let due = self.unsaid >= SEEN_EVERY || self.say_seen_at.is_some_and(|at| at <= now);
        if !self.connected || !due {
            return None;
        }
        self.unsaid = 0;
        self.say_seen_at = None;
        Some(Seen { seen: self.seen() })
    }

    /// What a lane brought; gives back the messages that are new, in order.
    pub fn receive(
        &mut self,
        lane: usize,
        batch: Batch,
        now: Instant,
    ) -> Result<Vec<Vec<u8>>, LaneError> {
        let messages: Vec<_> = self.lanes[lane].receive(batch)?.collect();
        if !messages.is_empty() {
            self.unsaid += messages.len();
            self.say_seen_at.get_or_insert(now + SEEN_AFTER);
        }
        Ok(messages)
    }

    /// What the control stream brought.
    pub fn acknowledged(&mut self, seen: &Seen) -> Result<(), LaneError> {
        if seen.seen.len() != LANES {
            return Err(LaneError::ImpossibleSeen);
        }
        for (lane, seen) in self.lanes.iter_mut().zip(&seen.seen) {
            lane.acknowledged(*seen)?;
        }
        Ok(())
    }

    fn seen(&self) -> Vec<u64> {
        self.lanes.iter().map(Lane::seen).collect()
    }
}

/// The lane of a key: all messages of one key take the same, keys in a row take different ones.
pub fn lane_of(key: u64) -> usize {
    // Fibonacci hashing: ids are often even, or odd, or multiples of something.
    let spread = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from(spread).unwrap_or_default() % LANES
}

/// The version that both speak, or the sentence that says why there is none.
pub fn agree(hello: &Hello, us: &Ourselves) -> Result<u16, String> {
    let version = hello.newest.min(us.newest);
    if version < hello.oldest || version < us.oldest {
        return Err(format!(
            "The {} role speaks versions {} to {} of the link and this {} role {} to {}: upgrade the older one first.",
            hello.role, hello.oldest, hello.newest, us.role, us.oldest, us.newest
        ));
    }
    Ok(version)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
