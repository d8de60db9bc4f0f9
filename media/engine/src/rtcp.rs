//! RTCP ends on each side: what a peer reports is about our stream, and what we report is about theirs.
//!
//! A goodbye ends nothing: only signaling ends a leg, and plain RTCP could be anybody's (RFC 3550 §6.6).

use crate::forward::Line;
use crate::leg::{Leg, Timer};
use crate::legs::Legs;
use crate::rewrite::OutStream;
use crate::stats::MAX_STREAMS;
use crate::transport::Crypto;
use media_control::MediaKind;
use media_packet::rtcp::{Compound, Packet, ReportBlock, SenderInfo, Writer, middle_of};
use std::time::{Duration, Instant};

/// Mean time between reports (RFC 3550 §6.2); the true time is half of it to one and a half.
const INTERVAL: Duration = Duration::from_secs(5);
/// A stream not heard for two intervals is not reported on any more (RFC 3550 §6.3.5).
const STALE: Duration = Duration::from_secs(10);
/// Two sender reports, two descriptions and eight blocks are less.
const MAX_REPORT: usize = 512;
/// Packet type of RFC 2032's full intra request.
const OLD_FIR: u8 = 192;

/// Ties the engine's clock to the one on the wall, which reports carry.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    pub at: Instant,
    /// NTP time (RFC 5905 §6: 1/2^32 s since 1900) at that moment.
    pub ntp: u64,
}

impl WallClock {
    /// From the time since 1970.
    pub fn new(at: Instant, since_1970: Duration) -> WallClock {
        const FROM_1900_TO_1970: u64 = 2_208_988_800;
        let seconds = since_1970.as_secs().wrapping_add(FROM_1900_TO_1970);
        let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
        WallClock {
            at,
            ntp: (seconds << 32) | fraction,
        }
    }

    pub fn ntp(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.at);
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        self.ntp.wrapping_add((since.as_secs() << 32) | fraction)
    }
}

/// 1/65536 s, as report blocks count (RFC 3550 §6.4.1).
fn in_65536ths(duration: Duration) -> u32 {
    let units = duration.as_micros() * 65_536 / 1_000_000;
    u32::try_from(units).unwrap_or(u32::MAX)
}

impl Legs {
    /// Begins to report, if the leg does not already.
    pub(crate) fn begin_reports(&mut self, index: u32, now: Instant) {
        let interval = self.report_interval();
        if let Some(leg) = self.leg_mut(index)
            && leg.timers.get(Timer::Report).is_none()
        {
            // The first comes sooner (RFC 3550 §6.2).
            leg.timers.set(Timer::Report, now + interval / 2);
        }
    }

    fn report_interval(&mut self) -> Duration {
        let mut dice = [0u8; 2];
        (self.random)(&mut dice);
        INTERVAL / 2 + INTERVAL * u32::from(u16::from_be_bytes(dice)) / 65_536
    }

    pub(crate) fn report(&mut self, index: u32, now: Instant) {
        let interval = self.report_interval();
        let ntp = self.config.wall.ntp(now);
        let mut packet = [0u8; MAX_REPORT + 32];
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        leg.timers.set(Timer::Report, now + interval);
        // A report for each port that media comes to, about what comes there.
        let each: &[(Line, &[MediaKind])] = if leg.is_split() {
            &[
                (Line::First, &[MediaKind::Audio]),
                (Line::Second, &[MediaKind::Video]),
            ]
        } else {
            &[(Line::First, &[MediaKind::Audio, MediaKind::Video])]
        };
        for (line, kinds) in each {
            let Some(leg) = self.leg_mut(index) else {
                return;
            };
            let Some(path) = leg.report_path(*line) else {
                continue;
            };
            let len = leg.write_report(&mut packet[..MAX_REPORT], kinds, ntp, now);
            if len > 0
                && let Some(len) = leg.seal_rtcp(&mut packet, len)
            {
                self.transmit(path, &packet[..len]);
            }
        }
    }

    /// Takes in an opened compound packet of a leg's peer.
    pub(crate) fn reported(&mut self, index: u32, line: Line, packet: &[u8], now: Instant) {
        let Ok(compound) = Compound::parse(packet) else {
            return;
        };
        let middle = middle_of(self.config.wall.ntp(now));
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        let mut picture_wanted = false;
        let split = leg.is_split();
        let kind = split.then_some(match line {
            Line::First => MediaKind::Audio,
            Line::Second => MediaKind::Video,
        });
        // On a port of their own there is nothing else to ask about, whatever SSRC a phone writes.
        let of_pictures = split && line == Line::Second;
        for part in compound {
            match part {
                Packet::SenderReport(report) => {
                    if let Some(stream) = leg.inbound.stream(report.ssrc, kind) {
                        stream.last_report = Some((report.info.middle(), now));
                    }
                    report
                        .blocks
                        .for_each(|block| leg.hear_block(&block, middle));
                }
                Packet::ReceiverReport(report) => {
                    report
                        .blocks
                        .for_each(|block| leg.hear_block(&block, middle));
                }
                Packet::Pli(feedback) => {
                    picture_wanted |= of_pictures || feedback.media == leg.video_out.ssrc();
                }
                Packet::Fir(fir) => {
                    picture_wanted |=
                        of_pictures || fir.requests().any(|(ssrc, _)| ssrc == leg.video_out.ssrc());
                }
                // As older phones ask (RFC 2032 §5.2.1).
                Packet::Other {
                    packet_type: OLD_FIR,
                    ..
                } => picture_wanted |= of_pictures,
                Packet::Sdes(_)
                | Packet::Bye(_)
                | Packet::Nack(_)
                | Packet::Remb(_)
                | Packet::TransportCc(_)
                | Packet::Other { .. } => {}
            }
        }
        if picture_wanted {
            self.picture_wanted(index, now);
        }
    }
}

impl Leg {
    fn hear_block(&mut self, block: &ReportBlock, now_middle: u32) {
        if block.ssrc == self.audio_out.ssrc() {
            let percent = u16::from(block.fraction_lost) * 100 / 256;
            self.far_loss_percent = u8::try_from(percent).unwrap_or(100);
        }
        let ours = [self.audio_out.ssrc(), self.video_out.ssrc()].contains(&block.ssrc);
        if ours && let Some(round_trip) = block.round_trip(now_middle) {
            self.round_trip_ms = round_trip as f32 * 1000.0 / 65_536.0;
        }
    }

    fn write_report(
        &mut self,
        packet: &mut [u8],
        kinds: &[MediaKind],
        ntp: u64,
        now: Instant,
    ) -> usize {
        let mut blocks = [ReportBlock::default(); MAX_STREAMS];
        let mut count = 0;
        for (stream, block) in self.inbound.streams.iter_mut().zip(&mut blocks) {
            if stream.is_stale(now, STALE) || !kinds.contains(&stream.kind) {
                continue;
            }
            let reception = stream.report();
            let (last_sr, delay) = stream.last_report.map_or((0, 0), |(middle, at)| {
                (middle, in_65536ths(now.saturating_duration_since(at)))
            });
            *block = ReportBlock {
                ssrc: stream.ssrc,
                fraction_lost: reception.fraction_lost,
                cumulative_lost: reception.cumulative_lost.cast_signed(),
                highest_seq: reception.highest_seq,
                jitter: reception.jitter,
                last_sr,
                delay,
            };
            count += 1;
        }
        // Stale ones left holes.
        blocks.sort_unstable_by_key(|block| block.ssrc == 0);
        let blocks = blocks.get(..count).unwrap_or_default();
        let has_video = self
            .media
            .iter()
            .any(|media| media.kind == MediaKind::Video);
        let mut writer = Writer::new(packet);
        let mut first = true;
        let [audio_reported, video_reported] = &mut self.reported_packets;
        for (out, reported, present) in [
            (
                &self.audio_out,
                audio_reported,
                kinds.contains(&MediaKind::Audio),
            ),
            (
                &self.video_out,
                video_reported,
                has_video && kinds.contains(&MediaKind::Video),
            ),
        ] {
            if !present {
                continue;
            }
            let blocks = if std::mem::take(&mut first) {
                blocks
            } else {
                &[]
            };
            let packets = out.state().packets;
            if packets != *reported {
                *reported = packets;
                writer.sender_report(out.ssrc(), &sender_info(out, ntp, now), blocks);
            } else {
                writer.receiver_report(out.ssrc(), blocks);
            }
            writer.sdes_cname(out.ssrc(), &self.cname);
        }
        writer.len()
    }

    /// Closes an RTCP packet of `len` bytes at the start of a longer buffer.
    pub(crate) fn seal_rtcp(&mut self, packet: &mut [u8], len: usize) -> Option<usize> {
        match self.transport.crypto() {
            Crypto::Plain => Some(len),
            Crypto::Srtp(keys) => keys.outbound.seal_rtcp(packet, len).ok(),
            Crypto::NotYet => None,
        }
    }
}

fn sender_info(out: &OutStream, ntp: u64, now: Instant) -> SenderInfo {
    let state = out.state();
    SenderInfo {
        ntp,
        rtp_timestamp: out.timestamp_now(state.clock_hz, now),
        packets: state.packets,
        octets: state.octets,
    }
}
