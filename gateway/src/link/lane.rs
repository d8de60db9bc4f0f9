//! One lane: messages in order, exactly once, over connections that come and go.
//!
//! Each message has a number, counted from 0 in each direction. What the other side has not yet said to
//! have seen is kept; after a reconnect both sides say how many they saw, and the rest is sent again.

use super::frame::{Batch, Bytes, FRAME_FILL_BYTES};
use std::collections::VecDeque;
use thiserror::Error;

/// Messages kept for a peer that has not yet said to have seen them. A lane that holds so many takes no
/// more: its sender waits.
pub const LANE_MESSAGES: usize = 4096;

/// The same in bytes.
pub const LANE_BYTES: usize = 8 << 20;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum LaneError {
    #[error("the peer says that it saw messages that were never sent, or forgot ones that it saw")]
    ImpossibleSeen,
    #[error("messages are missing between two frames")]
    Gap,
}

#[derive(Debug, Default)]
pub struct Lane {
    /// Number of the first message in `kept`.
    first_kept: u64,
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    /// How many of `kept` were put on the present connection.
    on_wire: usize,
    /// How many messages came in.
    seen: u64,
}

impl Lane {
    pub fn has_room(&self) -> bool {
        self.kept.len() < LANE_MESSAGES && self.kept_bytes < LANE_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many messages came in: what the peer is told.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes a message to send. Ask `has_room` before.
    pub fn push(&mut self, message: Vec<u8>) {
        self.kept_bytes += message.len();
        self.kept.push_back(Bytes(message));
    }

    /// All that waits for the wire, up to the fill of a frame.
    pub fn poll_batch(&mut self) -> Option<Batch> {
        if self.on_wire >= self.kept.len() {
            return None;
        }
        let first = self.first_kept + self.on_wire as u64;
        let mut messages = Vec::new();
        let mut bytes = 0;
        while let Some(message) = self.kept.get(self.on_wire) {
            if bytes > 0 && bytes + message.0.len() > FRAME_FILL_BYTES {
                break;
            }
            bytes += message.0.len();
            messages.push(message.clone());
            self.on_wire += 1;
        }
        Some(Batch { first, messages })
    }

    /// Messages of the peer; gives back those that are new.
    pub fn receive(&mut self, batch: Batch) -> Result<impl Iterator<Item = Vec<u8>>, LaneError> {
        let Some(known) = self.seen.checked_sub(batch.first) else {
            return Err(LaneError::Gap);
        };
        let known = usize::try_from(known)
            .unwrap_or(usize::MAX)
            .min(batch.messages.len());
        let fresh = batch.messages.len() - known;
        self.seen += fresh as u64;
        Ok(batch.messages.into_iter().skip(known).map(|bytes| bytes.0))
    }

    /// The peer has seen so many messages of ours.
    pub fn acknowledged(&mut self, seen: u64) -> Result<(), LaneError> {
        let Some(done) = seen.checked_sub(self.first_kept) else {
            // Told before, and overtaken by a later word.
            return Ok(());
        };
        let done = usize::try_from(done).map_err(|_| LaneError::ImpossibleSeen)?;
        if done > self.on_wire {
            return Err(LaneError::ImpossibleSeen);
        }
        self.forget(done);
        Ok(())
    }

    /// A connection to the same peer that has seen so many messages of ours.
    pub fn resume(&mut self, peer_seen: u64) -> Result<(), LaneError> {
        let done = peer_seen
            .checked_sub(self.first_kept)
            .ok_or(LaneError::ImpossibleSeen)?;
        let done = usize::try_from(done).map_err(|_| LaneError::ImpossibleSeen)?;
        if done > self.kept.len() {
            return Err(LaneError::ImpossibleSeen);
        }
        self.on_wire = done;
        self.forget(done);
        self.on_wire = 0;
        Ok(())
    }

    /// Starts to count at 0 in both directions. `keep`: what waits is still to be sent.
    pub fn restart(&mut self, keep: bool) {
        let kept = if keep {
            std::mem::take(&mut self.kept)
        } else {
            VecDeque::new()
        };
        let kept_bytes = kept.iter().map(|m| m.0.len()).sum();
        *self = Lane {
            kept,
            kept_bytes,
            ..Lane::default()
        };
    }

    fn forget(&mut self, done: usize) {
        for message in self.kept.drain(..done) {
            self.kept_bytes -= message.0.len();
        }
        self.on_wire -= done;
        self.first_kept += done as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane_with(n: u8) -> Lane {
        let mut lane = Lane::default();
        for i in 0..n {
            lane.push(vec![i]);
        }
        lane
    }

    #[test]
    fn messages_of_one_turn_share_a_frame() {
        let batch = lane_with(5).poll_batch().unwrap();
        assert_eq!((batch.first, batch.messages.len()), (0, 5));
    }

    #[test]
    fn a_large_message_travels_alone() {
        let mut lane = Lane::default();
        lane.push(vec![0; FRAME_FILL_BYTES]);
        lane.push(vec![1]);
        assert_eq!(lane.poll_batch().unwrap().messages.len(), 1);
        assert_eq!(lane.poll_batch().unwrap().first, 1);
        assert_eq!(lane.poll_batch(), None);
    }

    #[test]
    fn what_was_not_seen_is_sent_again_and_what_was_seen_is_dropped() {
        let mut lane = lane_with(4);
        lane.poll_batch().unwrap();
        lane.resume(3).unwrap();
        let again = lane.poll_batch().unwrap();
        assert_eq!((again.first, again.messages), (3, vec![Bytes(vec![3])]));
    }

    #[test]
    fn duplicates_are_dropped() {
        let mut receiver = Lane::default();
        let batch = lane_with(3).poll_batch().unwrap();
        assert_eq!(receiver.receive(batch.clone()).unwrap().count(), 3);
        assert_eq!(receiver.receive(batch).unwrap().count(), 0);
        assert_eq!(receiver.seen(), 3);
    }

    #[test]
    fn a_gap_is_an_error() {
        let batch = Batch {
            first: 1,
            messages: vec![],
        };
        assert_eq!(Lane::default().receive(batch).err(), Some(LaneError::Gap));
    }

    #[test]
    fn a_peer_cannot_have_seen_what_was_not_sent() {
        let mut lane = lane_with(2);
        assert_eq!(lane.acknowledged(1), Err(LaneError::ImpossibleSeen));
        assert_eq!(lane.resume(3), Err(LaneError::ImpossibleSeen));
        assert_eq!(lane.resume(u64::MAX), Err(LaneError::ImpossibleSeen));
    }

    #[test]
    fn a_full_lane_has_no_room_until_the_peer_has_seen_something() {
        let mut lane = Lane::default();
        while lane.has_room() {
            lane.push(vec![0]);
        }
        while lane.poll_batch().is_some() {}
        lane.acknowledged(1).unwrap();
        assert!(lane.has_room());
    }
}
