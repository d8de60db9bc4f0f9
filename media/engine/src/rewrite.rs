//! One smooth outgoing stream per leg and kind of media, whatever comes in.
//!
//! The peer sees a single SSRC whose sequence numbers and timestamps go on through changes of source,
//! SSRC, numbering and clock. What the network lost or reordered on the way in stays lost or reordered,
//! so that the peer's own concealment sees the truth.

use media_packet::rtp::{RtpHeader, seq_distance, timestamp_distance};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A step of the sequence number further ahead than this is a restart of the sender, not loss: at 50
/// packets a second it would be 10 s of it.
const MAX_DROPOUT: i16 = 500;
/// Further behind than this is a restart too (RFC 3550 A.1).
const MAX_MISORDER: i16 = 100;
/// A timestamp that disagrees with the clock on the wall by more is taken for a jump.
const MAX_TIMESTAMP_DRIFT: Duration = Duration::from_secs(3);
/// Packets of the source before are recognised as late for this long.
const LATE_WINDOW: Duration = Duration::from_millis(500);
/// After this much silence the next packet begins a talkspurt (RFC 3551 §4.1).
const TALKSPURT_GAP: Duration = Duration::from_secs(1);
/// Timestamp step across a switch that took no time; the usual packet length.
const SWITCH_STEP: Duration = Duration::from_millis(20);

/// Where packets of a stream come from: which leg's, and which of its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceKey {
    pub leg: u32,
    pub ssrc: u32,
}

/// The part of a header that we choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub ssrc: u32,
    pub seq: u16,
    pub timestamp: u32,
    pub marker: bool,
}

#[derive(Clone, Debug)]
struct Mapping {
    source: SourceKey,
    /// Outgoing minus incoming.
    seq_offset: u16,
    timestamp_offset: u32,
    highest_in: u16,
    last_in_timestamp: u32,
    last_in_at: Instant,
}

/// The numbering that was left behind by the last switch.
#[derive(Clone, Debug)]
struct Retired {
    source: SourceKey,
    highest_in: u16,
    at: Instant,
}

/// What of an outgoing stream survives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutStreamState {
    pub ssrc: u32,
    pub highest_seq: u16,
    pub last_timestamp: u32,
    pub clock_hz: u32,
    pub packets: u32,
    pub octets: u32,
}

pub(crate) struct OutStream {
    state: OutStreamState,
    last_at: Option<Instant>,
    mapping: Option<Mapping>,
    retired: Option<Retired>,
    /// The last packet was our own making, without a mapping.
    own: bool,
    /// Its packets are parts of pictures: the marker ends one and is never ours to set (RFC 7741 §4.1, RFC 6184 §5.1),
    /// and a new source leaves a number out, so that the decoder knows that it lacks what came between.
    pictures: bool,
}

impl OutStream {
    pub fn new(ssrc: u32, first_seq: u16, first_timestamp: u32) -> OutStream {
        let state = OutStreamState {
            ssrc,
            highest_seq: first_seq.wrapping_sub(1),
            last_timestamp: first_timestamp,
            clock_hz: 8000,
            packets: 0,
            octets: 0,
        };
        OutStream {
            state,
            last_at: None,
            mapping: None,
            retired: None,
            own: false,
            pictures: false,
        }
    }

    pub fn of_pictures(mut self) -> OutStream {
        self.pictures = true;
        self
    }

    pub fn restore(state: OutStreamState, now: Instant) -> OutStream {
        let last_at = (state.packets > 0).then_some(now);
        OutStream {
            state,
            last_at,
            mapping: None,
            retired: None,
            own: false,
            pictures: false,
        }
    }

    pub fn state(&self) -> &OutStreamState {
        &self.state
    }

    pub fn ssrc(&self) -> u32 {
        self.state.ssrc
    }

    /// Goes on under another SSRC, everything else as it is.
    pub fn rename(&mut self, ssrc: u32) {
        self.state.ssrc = ssrc;
    }

    /// Places one incoming packet; `None` if it came too late, from before a switch.
    pub fn place(
        &mut self,
        source: SourceKey,
        header: &RtpHeader,
        clock_hz: u32,
        now: Instant,
    ) -> Option<Stamp> {
        if self.is_late(source, header.seq, now) {
            return None;
        }
        let gap = self.last_at.map(|at| now.saturating_duration_since(at));
        let mut marker = header.marker || gap.is_none_or(|gap| gap >= TALKSPURT_GAP);
        if !self.continues(source, header.seq) || self.state.clock_hz != clock_hz {
            self.switch(source, header, clock_hz, now);
            marker = true;
        }
        // What a switch did not make anew is here by now.
        let mapping = self.mapping.as_mut()?;
        let ahead = seq_distance(mapping.highest_in, header.seq);
        if ahead > 0 {
            let step = timestamp_distance(mapping.last_in_timestamp, header.timestamp);
            let wall = ticks(now.saturating_duration_since(mapping.last_in_at), clock_hz);
            let drift = i64::from(step) - i64::from(wall);
            if drift.unsigned_abs() > u64::from(ticks(MAX_TIMESTAMP_DRIFT, clock_hz)) {
                let wanted = continued(&self.state, self.last_at, clock_hz, now);
                mapping.timestamp_offset = wanted.wrapping_sub(header.timestamp);
                marker = true;
            }
            mapping.highest_in = header.seq;
            mapping.last_in_timestamp = header.timestamp;
            mapping.last_in_at = now;
        }
        let seq = header.seq.wrapping_add(mapping.seq_offset);
        let timestamp = header.timestamp.wrapping_add(mapping.timestamp_offset);
        if self.pictures {
            marker = header.marker;
        }
        Some(self.sent(seq, timestamp, marker, now))
    }

    /// An incoming packet that is not sent on, and shall not look lost.
    pub fn skip(&mut self, source: SourceKey, seq: u16) {
        if !self.continues(source, seq) {
            return;
        }
        if let Some(mapping) = &mut self.mapping
            && seq_distance(mapping.highest_in, seq) > 0
        {
            mapping.highest_in = seq;
            mapping.seq_offset = mapping.seq_offset.wrapping_sub(1);
        }
    }

    /// The next packet of our own making (tone, transcoded sound), `step` ticks after the one before.
    pub fn own(&mut self, step: u32, clock_hz: u32, now: Instant) -> Stamp {
        let goes_on = self.own && self.state.clock_hz == clock_hz;
        let timestamp = if goes_on {
            self.state.last_timestamp.wrapping_add(step)
        } else {
            continued(&self.state, self.last_at, clock_hz, now)
        };
        if let Some(mapping) = self.mapping.take() {
            self.retire(mapping, now);
        }
        self.own = true;
        self.state.clock_hz = clock_hz;
        self.sent(
            self.state.highest_seq.wrapping_add(1),
            timestamp,
            !goes_on,
            now,
        )
    }

    /// A packet of our own making that was not sent: its time passes all the same.
    pub fn pass(&mut self, step: u32, now: Instant) {
        if self.own && self.last_at.is_some() {
            self.state.last_timestamp = self.state.last_timestamp.wrapping_add(step);
            self.last_at = Some(now);
        }
    }

    /// A packet of ours between the packets of a source, at a timestamp from [`OutStream::timestamp_now`].
    pub fn insert(&mut self, timestamp: u32, marker: bool, now: Instant) -> Stamp {
        if let Some(mapping) = &mut self.mapping {
            mapping.seq_offset = mapping.seq_offset.wrapping_add(1);
        }
        let seq = self.state.highest_seq.wrapping_add(1);
        self.state.highest_seq = seq;
        if self.last_at.is_none() {
            self.state.last_timestamp = timestamp;
            self.last_at = Some(now);
        }
        Stamp {
            ssrc: self.state.ssrc,
            seq,
            timestamp,
            marker,
        }
    }

    /// An incoming event placed at a timestamp that was drawn for it, in the order it came.
    pub fn place_event(
        &mut self,
        source: SourceKey,
        header: &RtpHeader,
        timestamp: u32,
        marker: bool,
        now: Instant,
    ) -> Option<Stamp> {
        if self.is_late(source, header.seq, now) {
            return None;
        }
        if !self.continues(source, header.seq) {
            // Nothing else came from there yet, or its sound is transcoded: the numbers are ours.
            return Some(self.insert(timestamp, marker, now));
        }
        let mapping = self.mapping.as_mut()?;
        if seq_distance(mapping.highest_in, header.seq) > 0 {
            mapping.highest_in = header.seq;
        }
        let seq = header.seq.wrapping_add(mapping.seq_offset);
        if seq_distance(self.state.highest_seq, seq) > 0 {
            self.state.highest_seq = seq;
        }
        Some(Stamp {
            ssrc: self.state.ssrc,
            seq,
            timestamp,
            marker,
        })
    }

    /// The timestamp of this moment in the stream's own time.
    pub fn timestamp_now(&self, clock_hz: u32, now: Instant) -> u32 {
        let since = self
            .last_at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.state
            .last_timestamp
            .wrapping_add(ticks(since, clock_hz))
    }

    /// The source before is over (held, parted, replaced): the next packet, whoever sends it, follows on.
    pub fn detach(&mut self, now: Instant) {
        self.own = false;
        if let Some(mapping) = self.mapping.take() {
            self.retire(mapping, now);
        }
    }

    /// How long nothing has been sent; `None` if nothing ever was.
    pub fn idle(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.last_at?))
    }

    /// Where the packets come from at present.
    pub fn source(&self) -> Option<SourceKey> {
        self.mapping.as_ref().map(|mapping| mapping.source)
    }

    /// An incoming timestamp as it would leave, if that source is the present one.
    pub fn translate(&self, source: SourceKey, timestamp: u32) -> Option<u32> {
        let mapping = self
            .mapping
            .as_ref()
            .filter(|mapping| mapping.source == source)?;
        Some(timestamp.wrapping_add(mapping.timestamp_offset))
    }

    /// Counts what went out, for sender reports.
    pub fn count(&mut self, payload_len: usize) {
        self.state.packets = self.state.packets.wrapping_add(1);
        let octets = u32::try_from(payload_len).unwrap_or(0);
        self.state.octets = self.state.octets.wrapping_add(octets);
    }

    fn continues(&self, source: SourceKey, seq: u16) -> bool {
        self.mapping.as_ref().is_some_and(|mapping| {
            let ahead = seq_distance(mapping.highest_in, seq);
            mapping.source == source && (-MAX_MISORDER..=MAX_DROPOUT).contains(&ahead)
        })
    }

    fn is_late(&self, source: SourceKey, seq: u16, now: Instant) -> bool {
        self.retired.as_ref().is_some_and(|retired| {
            let behind = seq_distance(retired.highest_in, seq);
            retired.source == source
                && (-MAX_MISORDER..=0).contains(&behind)
                && now.saturating_duration_since(retired.at) < LATE_WINDOW
        })
    }

    fn switch(&mut self, source: SourceKey, header: &RtpHeader, clock_hz: u32, now: Instant) {
        if let Some(mapping) = self.mapping.take() {
            self.retire(mapping, now);
        }
        let step = if self.pictures && self.last_at.is_some() {
            2
        } else {
            1
        };
        let seq = self.state.highest_seq.wrapping_add(step);
        let timestamp = continued(&self.state, self.last_at, clock_hz, now);
        self.state.clock_hz = clock_hz;
        self.own = false;
        self.mapping = Some(Mapping {
            source,
            seq_offset: seq.wrapping_sub(header.seq),
            timestamp_offset: timestamp.wrapping_sub(header.timestamp),
            highest_in: header.seq,
            last_in_timestamp: header.timestamp,
            last_in_at: now,
        });
    }

    fn retire(&mut self, mapping: Mapping, now: Instant) {
        self.retired = Some(Retired {
            source: mapping.source,
            highest_in: mapping.highest_in,
            at: now,
        });
    }

    fn sent(&mut self, seq: u16, timestamp: u32, marker: bool, now: Instant) -> Stamp {
        if self.last_at.is_none() || seq_distance(self.state.highest_seq, seq) > 0 {
            self.state.highest_seq = seq;
            self.state.last_timestamp = timestamp;
            self.last_at = Some(now);
        }
        Stamp {
            ssrc: self.state.ssrc,
            seq,
            timestamp,
            marker,
        }
    }
}

/// The timestamp that follows on the last one sent, by the clock on the wall but never by nothing.
fn continued(state: &OutStreamState, last_at: Option<Instant>, clock_hz: u32, now: Instant) -> u32 {
    match last_at {
        Some(at) => {
            let since = now.saturating_duration_since(at).max(SWITCH_STEP);
            state.last_timestamp.wrapping_add(ticks(since, clock_hz))
        }
        None => state.last_timestamp,
    }
}

/// A duration in ticks of an RTP clock, on the circle of timestamps.
pub(crate) fn ticks(duration: Duration, clock_hz: u32) -> u32 {
    let ticks = duration.as_nanos() * u128::from(clock_hz) / 1_000_000_000;
    // Timestamps wrap; so does the distance between two of them.
    (ticks & u128::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: SourceKey = SourceKey {
        leg: 1,
        ssrc: 0xaaaa,
    };

    fn header(seq: u16, timestamp: u32) -> RtpHeader {
        RtpHeader::new(0, seq, timestamp, 0)
    }

    /// Feeds 50 packets a second and returns what left.
    struct Feed {
        out: OutStream,
        now: Instant,
    }

    impl Feed {
        fn new() -> Feed {
            Feed {
                out: OutStream::new(7, 1000, 50_000),
                now: Instant::now(),
            }
        }

        fn packet(&mut self, source: SourceKey, seq: u16, timestamp: u32) -> Option<Stamp> {
            self.now += Duration::from_millis(20);
            self.out
                .place(source, &header(seq, timestamp), 8000, self.now)
        }
    }

    fn assert_follows(before: Stamp, after: Stamp) {
        assert_eq!(after.ssrc, before.ssrc);
        assert_eq!(after.seq, before.seq.wrapping_add(1));
        assert_eq!(after.timestamp, before.timestamp.wrapping_add(160));
    }

    #[test]
    fn begins_at_the_numbers_it_was_given_with_a_marker() {
        let mut feed = Feed::new();
        let first = feed.packet(PHONE, 65_535, 0).unwrap();
        assert_eq!(
            first,
            Stamp {
                ssrc: 7,
                seq: 1000,
                timestamp: 50_000,
                marker: true
            }
        );
        let second = feed.packet(PHONE, 0, 160).unwrap();
        assert_follows(first, second);
        assert!(!second.marker);
    }

    #[test]
    fn keeps_gaps_and_reordering_of_the_network() {
        let mut feed = Feed::new();
        let seqs: Vec<u16> = [1u16, 2, 5, 4, 6]
            .iter()
            .filter_map(|seq| feed.packet(PHONE, *seq, u32::from(*seq) * 160))
            .map(|stamp| stamp.seq)
            .collect();
        assert_eq!(seqs, [1000, 1001, 1004, 1003, 1005]);
    }

    #[test]
    fn goes_on_through_a_new_ssrc_with_its_own_numbers() {
        let mut feed = Feed::new();
        feed.packet(PHONE, 10, 1600);
        let before = feed.packet(PHONE, 11, 1760).unwrap();
        let other = SourceKey {
            leg: 1,
            ssrc: 0xbbbb,
        };
        let after = feed.packet(other, 40_000, 3_000_000_000).unwrap();
        assert_follows(before, after);
        assert!(after.marker);
    }

    #[test]
    fn goes_on_through_a_reset_of_the_sequence_under_the_same_ssrc() {
        let mut feed = Feed::new();
        feed.packet(PHONE, 30_000, 1600);
        let before = feed.packet(PHONE, 30_001, 1760).unwrap();
        let after = feed.packet(PHONE, 5, 1920).unwrap();
        assert_follows(before, after);
        assert_eq!(
            feed.packet(PHONE, 30_000, 1600),
            None,
            "late, from before the reset"
        );
        assert_follows(
            after,
            feed.packet(PHONE, 6, 2240)
                .map(|s| Stamp {
                    timestamp: s.timestamp - 160,
                    ..s
                })
                .unwrap(),
        );
    }

    #[test]
    fn goes_on_through_a_timestamp_jump_alone() {
        let mut feed = Feed::new();
        feed.packet(PHONE, 1, 160);
        let before = feed.packet(PHONE, 2, 320).unwrap();
        let after = feed.packet(PHONE, 3, 900_000_000).unwrap();
        assert_follows(before, after);
        assert_follows(after, feed.packet(PHONE, 4, 900_000_160).unwrap());
    }

    #[test]
    fn a_silence_is_kept_as_silence() {
        let mut feed = Feed::new();
        let before = feed.packet(PHONE, 1, 160).unwrap();
        feed.now += Duration::from_secs(5);
        let after = feed.packet(PHONE, 2, 160 + 160 + 40_000).unwrap();
        assert_eq!(after.seq, before.seq + 1);
        assert_eq!(after.timestamp, before.timestamp + 40_160);
        assert!(after.marker);
    }

    #[test]
    fn a_source_that_stopped_its_clock_is_put_back_on_time() {
        let mut feed = Feed::new();
        let before = feed.packet(PHONE, 1, 160).unwrap();
        feed.now += Duration::from_secs(10);
        let after = feed.packet(PHONE, 2, 320).unwrap();
        assert_eq!(after.seq, before.seq + 1);
        assert_eq!(after.timestamp, before.timestamp + 80_160);
    }

    #[test]
    fn skipped_packets_do_not_look_lost() {
        let mut feed = Feed::new();
        let before = feed.packet(PHONE, 1, 160).unwrap();
        feed.out.skip(PHONE, 2);
        feed.out.skip(PHONE, 3);
        let after = feed.packet(PHONE, 4, 640).unwrap();
        assert_eq!(after.seq, before.seq + 1);
    }

    #[test]
    fn own_packets_follow_and_are_followed() {
        let mut feed = Feed::new();
        let before = feed.packet(PHONE, 1, 160).unwrap();
        feed.now += Duration::from_millis(20);
        let own = feed.out.own(160, 8000, feed.now);
        assert_follows(before, own);
        let after = feed.packet(PHONE, 9, 77).unwrap();
        assert_follows(own, after);
    }

    #[test]
    fn a_restored_stream_follows_the_one_written_down() {
        let mut feed = Feed::new();
        let before = feed.packet(PHONE, 1, 160).unwrap();
        feed.out.count(160);
        feed.out = OutStream::restore(feed.out.state().clone(), feed.now);
        assert_follows(before, feed.packet(PHONE, 2, 320).unwrap());
    }
}
