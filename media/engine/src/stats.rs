//! What arrived: loss and jitter per stream (RFC 3550 A.3, A.8), and the record of a leg.

use crate::rewrite::ticks;
use media_control::MediaKind;
use media_packet::rtp::{RtpHeader, seq_distance};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Incoming streams told apart per leg; a further one takes the place of the one silent for longest.
pub const MAX_STREAMS: usize = 8;
/// A step of the sequence number beyond this is a restart, not loss.
const MAX_DROPOUT: i16 = 500;
const MAX_MISORDER: i16 = 100;

/// One incoming SSRC.
#[derive(Clone, Debug)]
pub(crate) struct InStream {
    pub ssrc: u32,
    pub kind: MediaKind,
    clock_hz: u32,
    /// Extended sequence numbers (RFC 3550 A.1): the first of this numbering, and the highest.
    base: u32,
    highest: u32,
    /// Since `base`.
    received: u64,
    /// Lost under numberings that ended before `base`.
    lost_before: u64,
    last_timestamp: u32,
    last_arrival: Instant,
    jitter_ticks: f32,
    /// Expected and received at the last report, for the fraction lost.
    reported_expected: u64,
    reported_received: u64,
    /// Middle 32 bits of the NTP time of the last sender report, and when it came.
    pub last_report: Option<(u32, Instant)>,
}

/// What a report block says (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reception {
    pub fraction_lost: u8,
    pub cumulative_lost: u32,
    pub highest_seq: u32,
    pub jitter: u32,
}

impl InStream {
    fn new(kind: MediaKind, header: &RtpHeader, clock_hz: u32, now: Instant) -> InStream {
        InStream {
            ssrc: header.ssrc,
            kind,
            clock_hz,
            base: u32::from(header.seq),
            highest: u32::from(header.seq),
            received: 0,
            lost_before: 0,
            last_timestamp: header.timestamp,
            last_arrival: now,
            jitter_ticks: 0.0,
            reported_expected: 0,
            reported_received: 0,
            last_report: None,
        }
    }

    fn update(&mut self, seq: u16, timestamp: u32, clock_hz: u32, now: Instant) {
        let ahead = seq_distance((self.highest & 0xffff) as u16, seq);
        if !(-MAX_MISORDER..=MAX_DROPOUT).contains(&ahead) {
            self.lost_before = self.lost();
            self.base = u32::from(seq);
            self.highest = u32::from(seq);
            self.received = 0;
            self.reported_expected = 0;
            self.reported_received = 0;
        } else if ahead > 0 {
            self.highest = self.highest.wrapping_add(u32::from(ahead.unsigned_abs()));
        }
        self.received += 1;
        if clock_hz != self.clock_hz {
            self.clock_hz = clock_hz;
            self.jitter_ticks = 0.0;
        } else if timestamp != self.last_timestamp {
            let wall = ticks(now.saturating_duration_since(self.last_arrival), clock_hz);
            let media = timestamp.wrapping_sub(self.last_timestamp);
            let transit = wall.wrapping_sub(media).cast_signed().unsigned_abs();
            // A jump of the timestamp is no jitter.
            if transit < clock_hz.saturating_mul(3) {
                self.jitter_ticks += (transit as f32 - self.jitter_ticks) / 16.0;
            }
        }
        self.last_timestamp = timestamp;
        self.last_arrival = now;
    }

    fn expected(&self) -> u64 {
        u64::from(self.highest.wrapping_sub(self.base)) + 1
    }

    pub fn lost(&self) -> u64 {
        self.lost_before + self.expected().saturating_sub(self.received)
    }

    pub fn jitter_ms(&self) -> f32 {
        self.jitter_ticks * 1000.0 / self.clock_hz as f32
    }

    pub fn is_stale(&self, now: Instant, after: Duration) -> bool {
        now.saturating_duration_since(self.last_arrival) > after
    }

    /// For the next report; begins a new interval.
    pub fn report(&mut self) -> Reception {
        let expected = self.expected();
        let expected_interval = expected.saturating_sub(self.reported_expected);
        let received_interval = self.received.saturating_sub(self.reported_received);
        self.reported_expected = expected;
        self.reported_received = self.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (lost_interval << 8)
            .checked_div(expected_interval)
            .unwrap_or(0)
            .min(255);
        Reception {
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            // 24 bits, signed.
            cumulative_lost: u32::try_from(self.lost().min(0x7f_ffff)).unwrap_or(0x7f_ffff),
            highest_seq: self.highest,
            jitter: self.jitter_ticks as u32,
        }
    }
}

/// All that came in on one leg.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbound {
    pub streams: Vec<InStream>,
    pub packets: u64,
    pub bytes: u64,
    pub unauthentic: u64,
    pub strangers: u64,
    pub last_at: Option<Instant>,
    last_sound_at: Option<Instant>,
    /// Of sound.
    pub longest_gap: Duration,
    /// Lost by streams no longer kept.
    lost_before: u64,
    /// Payload type of sound that came last, for the record.
    pub last_pt: Option<u8>,
}

/// What of it survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundState {
    pub packets: u64,
    pub bytes: u64,
    pub lost: u64,
    pub unauthentic: u64,
    pub strangers: u64,
    pub longest_gap: Duration,
}

impl Inbound {
    pub fn state(&self) -> InboundState {
        InboundState {
            packets: self.packets,
            bytes: self.bytes,
            lost: self.lost(),
            unauthentic: self.unauthentic,
            strangers: self.strangers,
            longest_gap: self.longest_gap,
        }
    }

    pub fn restore(state: &InboundState, now: Instant) -> Inbound {
        Inbound {
            packets: state.packets,
            bytes: state.bytes,
            lost_before: state.lost,
            unauthentic: state.unauthentic,
            strangers: state.strangers,
            longest_gap: state.longest_gap,
            last_at: (state.packets > 0).then_some(now),
            last_sound_at: (state.packets > 0).then_some(now),
            ..Inbound::new()
        }
    }

    pub fn new() -> Inbound {
        Inbound {
            streams: Vec::with_capacity(MAX_STREAMS),
            ..Inbound::default()
        }
    }

    /// Counts an authentic RTP packet; `true` for the leg's first.
    pub fn count(
        &mut self,
        header: &RtpHeader,
        len: usize,
        (kind, clock_hz): (MediaKind, u32),
        now: Instant,
    ) -> bool {
        let first = self.last_at.is_none();
        self.last_at = Some(now);
        if kind == MediaKind::Audio {
            if let Some(last) = self.last_sound_at.replace(now) {
                self.longest_gap = self.longest_gap.max(now.saturating_duration_since(last));
            }
            self.last_pt = Some(header.pt);
        }
        self.packets += 1;
        self.bytes += u64::try_from(len).unwrap_or(0);
        let found = self
            .streams
            .iter()
            .position(|s| s.ssrc == header.ssrc && s.kind == kind);
        let index = found.unwrap_or_else(|| {
            let fresh = InStream::new(kind, header, clock_hz, now);
            self.add(fresh)
        });
        if let Some(stream) = self.streams.get_mut(index) {
            stream.update(header.seq, header.timestamp, clock_hz, now);
        }
        first
    }

    /// See [`crate::leg::Leg::touch`].
    pub fn touch(&self) -> u64 {
        self.packets + self.streams.first().map_or(0, |stream| stream.received)
    }

    fn add(&mut self, fresh: InStream) -> usize {
        if self.streams.len() >= MAX_STREAMS
            && let Some(oldest) =
                (0..self.streams.len()).min_by_key(|i| self.streams[*i].last_arrival)
        {
            self.lost_before += self.streams[oldest].lost();
            self.streams[oldest] = fresh;
            return oldest;
        }
        self.streams.push(fresh);
        self.streams.len() - 1
    }

    /// `kind`: of that kind only, where each has its own port and so its own SSRCs.
    pub fn stream(&mut self, ssrc: u32, kind: Option<MediaKind>) -> Option<&mut InStream> {
        self.streams
            .iter_mut()
            .find(|stream| stream.ssrc == ssrc && kind.is_none_or(|kind| stream.kind == kind))
    }

    /// The SSRC of the pictures that came last.
    pub fn pictures(&self) -> Option<u32> {
        self.streams
            .iter()
            .filter(|stream| stream.kind == MediaKind::Video)
            .max_by_key(|stream| stream.last_arrival)
            .map(|stream| stream.ssrc)
    }

    pub fn lost(&self) -> u64 {
        self.lost_before + self.streams.iter().map(InStream::lost).sum::<u64>()
    }

    pub fn jitter_ms(&self) -> f32 {
        self.streams
            .iter()
            .max_by_key(|s| (s.kind == MediaKind::Audio, s.last_arrival))
            .map_or(0.0, InStream::jitter_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(inbound: &mut Inbound, start: Instant, packets: &[(u16, u64)]) {
        for (seq, at_ms) in packets {
            let header = RtpHeader::new(0, *seq, u32::from(*seq).wrapping_mul(160), 1);
            inbound.count(
                &header,
                172,
                (MediaKind::Audio, 8000),
                start + Duration::from_millis(*at_ms),
            );
        }
    }

    #[test]
    fn loss_is_what_never_came_also_across_the_wrap() {
        let mut inbound = Inbound::new();
        feed(
            &mut inbound,
            Instant::now(),
            &[(65_534, 0), (65_535, 20), (1, 60), (0, 61), (4, 120)],
        );
        assert_eq!(inbound.lost(), 2);
        let report = inbound.streams[0].report();
        assert_eq!(
            (report.cumulative_lost, report.highest_seq),
            (2, 65_536 + 4)
        );
        assert_eq!(report.fraction_lost, (2 * 256 / 7) as u8);
        assert_eq!(inbound.streams[0].report().fraction_lost, 0);
    }

    #[test]
    fn a_restart_of_the_numbering_is_no_loss() {
        let mut inbound = Inbound::new();
        feed(
            &mut inbound,
            Instant::now(),
            &[(30_000, 0), (30_001, 20), (7, 40), (8, 60)],
        );
        assert_eq!(inbound.lost(), 0);
    }

    #[test]
    fn a_steady_stream_has_no_jitter_and_a_trembling_one_has() {
        let start = Instant::now();
        let mut steady = Inbound::new();
        feed(
            &mut steady,
            start,
            &(0..50).map(|i| (i, u64::from(i) * 20)).collect::<Vec<_>>(),
        );
        assert!(steady.jitter_ms() < 0.1);
        let mut trembling = Inbound::new();
        feed(
            &mut trembling,
            start,
            &(0..200)
                .map(|i| (i, u64::from(i) * 20 + u64::from(i % 2) * 8))
                .collect::<Vec<_>>(),
        );
        assert!(
            (trembling.jitter_ms() - 8.0).abs() < 1.0,
            "{}",
            trembling.jitter_ms()
        );
        assert_eq!(trembling.longest_gap, Duration::from_millis(28));
    }
}
