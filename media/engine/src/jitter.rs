//! The jitter buffer of one incoming stream: packets in as they come, out as they are to be heard.
//!
//! How long it waits follows from what it sees. Every packet has a margin, the time between its arrival
//! and the moment at which it is to be played. The smallest margin of the last seconds is kept near
//! [`SLACK`]: when packets come later than that the buffer holds the sound for a frame, and when they all
//! come too early it lets one frame out. Drift between the sender's clock and ours is the same thing, only
//! slower.

use media_packet::rtp::{seq_distance, timestamp_distance};
use std::time::{Duration, Instant};

/// Packets held at most: 1.28 s of 20 ms.
pub(crate) const MAX_PACKETS: usize = 64;
/// Longer payloads are no speech that we decode.
pub(crate) const MAX_PAYLOAD: usize = 1500;
/// Wait before the first packet is played, until there is something to learn from.
const FIRST_DELAY: Duration = Duration::from_millis(40);
/// The smallest margin that is wished for.
const SLACK_MS: u32 = 10;
/// How long a margin counts, at least: the smallest of two such spans is taken.
const SPAN: Duration = Duration::from_secs(2);
/// More sound than this waiting is let go at once.
const MAX_DELAY_MS: u32 = 400;
/// A timestamp further off is of a stream that began anew.
const MAX_JUMP_MS: u32 = 3_000;
/// Late packets in a row after which it is the stream that moved.
const MAX_LATE_IN_A_ROW: u8 = 5;
/// Frames made up while nothing is there at all; then the stream pauses.
const MAX_HELD: u32 = 3;
/// Frames let out in one span.
const MAX_SKIPS: u32 = 5;
/// Frames played between two that are let out.
const SKIP_SPACING: u32 = 10;

/// What to play next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pop<'a> {
    /// `skip`: to be decoded but not heard. Tell [`JitterBuffer::played`] how long it was.
    Frame { payload: &'a [u8], skip: bool },
    /// A description of silence (RFC 3389), in the place of a frame.
    Noise(&'a [u8]),
    /// One frame to be made up; `next` is the packet after the lost one, if it is here already.
    Lost { next: Option<&'a [u8]> },
    /// Not begun, paused, or a silence that the sender did not fill.
    Nothing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Came when their time had passed, or twice.
    pub late: u64,
    /// Frames made up.
    pub lost: u64,
    /// Frames let out to play sooner.
    pub skipped: u64,
    /// Times that the stream jumped, or that the buffer overflowed.
    pub resets: u64,
}

#[derive(Debug, Default)]
struct Slot {
    used: bool,
    noise: bool,
    seq: u16,
    timestamp: u32,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Plays from this moment on.
    Filling(Instant),
    Playing,
}

#[derive(Debug)]
pub(crate) struct JitterBuffer {
    clock_hz: u32,
    slots: Vec<Slot>,
    state: State,
    /// Timestamp of what is to be played next, and the sequence number of what was played last.
    next: u32,
    last_seq: Option<u16>,
    last_pop: Option<Instant>,
    /// Length of a frame, in ticks, as last seen.
    frame: u32,
    /// Frames made up since the buffer ran empty, in the hope that their packets still come.
    held: u32,
    late_in_a_row: u8,
    /// First packet of a possible new numbering.
    suspect: Option<u16>,
    /// Smallest margin in ticks, of this span and the one before.
    margins: [Option<i32>; 2],
    span_end: Option<Instant>,
    hold_wanted: bool,
    skips: u32,
    since_skip: u32,
    pub counters: Counters,
}

impl JitterBuffer {
    pub fn new(clock_hz: u32) -> JitterBuffer {
        let clock_hz = clock_hz.clamp(1000, 192_000);
        JitterBuffer {
            clock_hz,
            slots: (0..MAX_PACKETS).map(|_| Slot::default()).collect(),
            state: State::Idle,
            next: 0,
            last_seq: None,
            last_pop: None,
            frame: clock_hz / 50,
            held: 0,
            late_in_a_row: 0,
            suspect: None,
            margins: [None; 2],
            span_end: None,
            hold_wanted: false,
            skips: 0,
            since_skip: 0,
            counters: Counters::default(),
        }
    }

    fn ticks(&self, ms: u32) -> i32 {
        // At most 3 s at 192 kHz.
        i32::try_from(u64::from(ms) * u64::from(self.clock_hz) / 1000).unwrap_or(i32::MAX)
    }

    /// Forgets what waits: what comes next has nothing to do with what was.
    pub fn reset(&mut self) {
        for slot in &mut self.slots {
            slot.used = false;
        }
        self.state = State::Idle;
        self.last_seq = None;
        self.held = 0;
        self.late_in_a_row = 0;
        self.suspect = None;
        self.hold_wanted = false;
        self.skips = 0;
        self.margins = [None; 2];
        self.span_end = None;
    }

    /// How much sound waits, from what is to be played next to the newest packet's end, in milliseconds.
    #[cfg(test)]
    pub fn waiting_ms(&self) -> u32 {
        let newest = self.slots.iter().filter(|slot| slot.used);
        let ahead = newest
            .map(|slot| timestamp_distance(self.next, slot.timestamp))
            .max();
        let ticks = ahead.map_or(0, |ahead| {
            u64::from(ahead.max(0).unsigned_abs()) + u64::from(self.frame)
        });
        u32::try_from(ticks * 1000 / u64::from(self.clock_hz)).unwrap_or(u32::MAX)
    }

    /// Takes a packet. `now` is when it arrived.
    pub fn push(&mut self, seq: u16, timestamp: u32, payload: &[u8], now: Instant) {
        self.push_kind((seq, timestamp), payload, false, now);
    }

    /// Takes a packet of comfort noise, which stands where a frame of speech would.
    pub fn push_noise(&mut self, seq: u16, timestamp: u32, payload: &[u8], now: Instant) {
        self.push_kind((seq, timestamp), payload, true, now);
    }

    fn push_kind(&mut self, at: (u16, u32), payload: &[u8], noise: bool, now: Instant) {
        let (seq, timestamp) = at;
        if payload.is_empty() || payload.len() > MAX_PAYLOAD {
            return;
        }
        match self.state {
            State::Idle => self.begin(timestamp, now),
            State::Filling(_) | State::Playing => {
                let ahead = timestamp_distance(self.next, timestamp);
                if ahead.unsigned_abs() > self.ticks(MAX_JUMP_MS).unsigned_abs() {
                    // One such packet may be anybody's; two in a row are a stream that began anew.
                    let second = self
                        .suspect
                        .is_some_and(|suspect| seq_distance(suspect, seq) == 1);
                    self.suspect = Some(seq);
                    if !second {
                        return;
                    }
                    self.restart(timestamp, now);
                } else if ahead < 0 && !self.may_come_before(seq, ahead) {
                    if !self.late(seq, timestamp, now) {
                        return;
                    }
                } else if ahead < 0 {
                    self.next = timestamp;
                }
            }
        }
        self.suspect = None;
        self.late_in_a_row = 0;
        self.note_margin(timestamp, now);
        self.store(seq, timestamp, payload, noise);
    }

    /// While the buffer fills, an earlier packet may still become the first.
    fn may_come_before(&self, seq: u16, ahead: i32) -> bool {
        matches!(self.state, State::Filling(_))
            && self.last_seq.is_none_or(|last| seq_distance(last, seq) > 0)
            && ahead > -self.ticks(MAX_DELAY_MS)
    }

    fn begin(&mut self, timestamp: u32, now: Instant) {
        self.state = State::Filling(now + FIRST_DELAY);
        self.next = timestamp;
        self.held = 0;
        self.margins = [None; 2];
        self.span_end = None;
        self.skips = 0;
        self.hold_wanted = false;
    }

    fn restart(&mut self, timestamp: u32, now: Instant) {
        self.counters.resets += 1;
        self.reset();
        self.begin(timestamp, now);
    }

    /// A packet whose time has passed: the next frame is held so that its successors come in time. `true`
    /// if so many did that the stream begins anew with this one.
    fn late(&mut self, seq: u16, timestamp: u32, now: Instant) -> bool {
        self.counters.late += 1;
        let copy = self.last_seq == Some(seq);
        if copy {
            return false;
        }
        self.late_in_a_row += 1;
        if self.late_in_a_row >= MAX_LATE_IN_A_ROW {
            self.restart(timestamp, now);
            return true;
        }
        self.hold_wanted = true;
        false
    }

    fn note_margin(&mut self, timestamp: u32, now: Instant) {
        let (State::Playing, Some(last_pop)) = (self.state, self.last_pop) else {
            return;
        };
        let since = now.saturating_duration_since(last_pop).as_micros();
        let since =
            i64::try_from(since * u128::from(self.clock_hz) / 1_000_000).unwrap_or(i64::MAX);
        let ahead = i64::from(timestamp_distance(self.next, timestamp)) + i64::from(self.frame);
        let margin = i32::try_from(ahead.saturating_sub(since)).unwrap_or(i32::MIN);
        let smallest = self.margins[0].map_or(margin, |known| known.min(margin));
        self.margins[0] = Some(smallest);
    }

    fn store(&mut self, seq: u16, timestamp: u32, payload: &[u8], noise: bool) {
        if self
            .slots
            .iter()
            .any(|slot| slot.used && slot.seq == seq && slot.timestamp == timestamp)
        {
            self.counters.late += 1;
            return;
        }
        let free = match self.slots.iter().position(|slot| !slot.used) {
            Some(free) => free,
            None => {
                // More than a second waits: the oldest goes.
                self.counters.resets += 1;
                let Some(oldest) = self.earliest() else {
                    return;
                };
                oldest
            }
        };
        let Some(slot) = self.slots.get_mut(free) else {
            return;
        };
        slot.used = true;
        slot.noise = noise;
        slot.seq = seq;
        slot.timestamp = timestamp;
        slot.payload.clear();
        slot.payload.extend_from_slice(payload);
    }

    fn earliest(&self) -> Option<usize> {
        let used = self.slots.iter().enumerate().filter(|(_, slot)| slot.used);
        used.min_by_key(|(_, slot)| timestamp_distance(self.next, slot.timestamp))
            .map(|(at, _)| at)
    }

    /// What is to be played now. Ask once for each frame that is needed.
    pub fn pop(&mut self, now: Instant) -> Pop<'_> {
        match self.state {
            State::Idle => return Pop::Nothing,
            State::Filling(until) if now < until => return Pop::Nothing,
            State::Filling(_) => {
                self.state = State::Playing;
                self.span_end = Some(now + SPAN);
            }
            State::Playing => {}
        }
        self.adapt(now);
        self.last_pop = Some(now);
        let Some(at) = self.earliest() else {
            return self.hold();
        };
        let (seq, timestamp) = (self.slots[at].seq, self.slots[at].timestamp);
        let mut ahead = timestamp_distance(self.next, timestamp);
        let whole_frame = i32::try_from(self.frame).unwrap_or(i32::MAX);
        let follows = self
            .last_seq
            .is_none_or(|last| seq_distance(last, seq) == 1);
        if ahead > self.ticks(MAX_DELAY_MS) {
            // Nobody will fill so long a gap: go on where the stream is.
            self.next = timestamp;
            ahead = 0;
        }
        if ahead > 0 && !follows && self.held > 0 {
            // What was held for did not come: the frames made up stand for it.
            let covered =
                ahead.min(whole_frame.saturating_mul(i32::try_from(self.held).unwrap_or(1)));
            self.next = self.next.wrapping_add(covered.unsigned_abs());
            ahead -= covered;
        }
        self.held = 0;
        if ahead > whole_frame / 2 {
            self.next = self.next.wrapping_add(self.frame.min(ahead.unsigned_abs()));
            if follows {
                return Pop::Nothing;
            }
            self.counters.lost += 1;
            let is_next = ahead <= whole_frame + whole_frame / 2;
            return Pop::Lost {
                next: is_next.then_some(&self.slots[at].payload[..]),
            };
        }
        if self.hold_wanted {
            self.hold_wanted = false;
            self.counters.lost += 1;
            return Pop::Lost { next: None };
        }
        self.since_skip = self.since_skip.saturating_add(1);
        let noise = self.slots[at].noise;
        let skip = self.skips > 0 && self.since_skip > SKIP_SPACING && !noise;
        if skip {
            self.skips -= 1;
            self.since_skip = 0;
            self.counters.skipped += 1;
        }
        self.last_seq = Some(seq);
        self.next = timestamp.wrapping_add(self.frame);
        let slot = &mut self.slots[at];
        slot.used = false;
        if noise {
            return Pop::Noise(&slot.payload);
        }
        Pop::Frame {
            payload: &slot.payload,
            skip,
        }
    }

    /// How long the frame just popped really was, in ticks.
    pub fn played(&mut self, ticks: u32) {
        if ticks == 0 || ticks == self.frame {
            return;
        }
        self.next = self.next.wrapping_sub(self.frame).wrapping_add(ticks);
        self.frame = ticks;
    }

    /// Length of a frame to be made up, in ticks.
    pub fn frame_ticks(&self) -> u32 {
        self.frame
    }

    fn hold(&mut self) -> Pop<'_> {
        if self.held >= MAX_HELD {
            self.state = State::Idle;
            return Pop::Nothing;
        }
        self.held += 1;
        self.counters.lost += 1;
        Pop::Lost { next: None }
    }

    /// At the end of a span: lets frames out if even the latest packet was early enough for it.
    fn adapt(&mut self, now: Instant) {
        if self.span_end.is_none_or(|end| now < end) {
            return;
        }
        self.span_end = Some(now + SPAN);
        let [this, before] = self.margins;
        if let (Some(this), Some(before)) = (this, before) {
            let excess = this.min(before) - self.ticks(SLACK_MS);
            let frames = excess / i32::try_from(self.frame.max(1)).unwrap_or(i32::MAX);
            self.skips = u32::try_from(frames).unwrap_or(0).min(MAX_SKIPS);
        }
        self.margins = [None, this];
        if self.skips > 0 {
            // The margins were measured before the frames go.
            self.margins = [None; 2];
        }
    }
}

#[cfg(test)]
#[path = "jitter/tests.rs"]
mod tests;
