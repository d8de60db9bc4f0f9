//! Telephone events (RFC 4733): passed on in the far side's clock, told to signaling, and made by us; as tones
//! where the peer has no events ([`crate::sung`]).

use crate::datagram::{Buf, Datagram, Step};
use crate::forward::{first_event, inband};
use crate::leg::Timer;
use crate::legs::Legs;
use crate::rewrite::{SourceKey, Stamp, ticks};
use crate::sung::Sung;
use media_control::{Event, LegId, MediaKind};
use media_packet::dtmf::{self, EventSender};
use media_packet::rtp::RtpHeader;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Digits that wait to be sent on one leg; further ones are left out.
pub const MAX_DIGITS: usize = 64;
/// Between packets of an event.
const STEP: Duration = Duration::from_millis(20);
/// Between two digits: ITU-T Q.24 wants 40 to 65 ms at least.
const PAUSE: Duration = Duration::from_millis(80);
const SHORTEST: Duration = Duration::from_millis(60);
const LONGEST: Duration = Duration::from_secs(5);

/// Digits on their way out.
#[derive(Debug, Default)]
pub(crate) struct Digits {
    pub(crate) waiting: VecDeque<(u8, Duration)>,
    sending: Option<EventSender>,
    /// A digit on its way as a tone.
    pub(crate) sung: Option<Box<Sung>>,
}

impl Digits {
    /// An event is being sent, and sound has to be silent meanwhile.
    pub fn is_sending(&self) -> bool {
        self.sending.is_some() || self.sung.is_some()
    }

    /// It is tones that are sent, in packets of the sound's own stream.
    pub fn is_sounding(&self) -> bool {
        self.sung.is_some()
    }
}

/// The event that comes in, and the timestamp drawn for it on the far side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translated {
    in_timestamp: u32,
    out_timestamp: u32,
}

impl Legs {
    pub(crate) fn send_digits(&mut self, id: LegId, digits: &str, duration_ms: u32, now: Instant) {
        let Some(index) = self.by_id.get(&id).copied() else {
            return;
        };
        let duration = Duration::from_millis(duration_ms.into());
        for digit in digits.chars() {
            self.queue_digit(index, digit, duration, now);
        }
    }

    /// A digit to be sent when those before it are.
    pub(crate) fn queue_digit(
        &mut self,
        index: u32,
        digit: char,
        duration: Duration,
        now: Instant,
    ) {
        let (Some(event), Some(leg)) = (dtmf::event_of(digit), self.leg_mut(index)) else {
            return;
        };
        let takes = first_event(&leg.media).is_some() || inband(&leg.media).is_some();
        if !takes || leg.rtp_path.is_none() {
            tracing::warn!(leg = %leg.id, "a digit for a peer that takes none");
            return;
        }
        if leg.digits.waiting.len() < MAX_DIGITS {
            leg.digits
                .waiting
                .push_back((event, duration.clamp(SHORTEST, LONGEST)));
        }
        if leg.timers.get(Timer::Digits).is_none() {
            leg.timers.set(Timer::Digits, now);
        }
        self.arm(index);
    }

    /// Sends the next packet of a digit, or begins the next digit.
    pub(crate) fn digits_timeout(&mut self, index: u32, now: Instant) {
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        // A new description may have changed, or taken away, what the peer takes.
        let Some((pt, clock_hz)) = first_event(&leg.media) else {
            leg.digits.sending = None;
            match inband(&leg.media) {
                Some(out) => self.sing_timeout(index, out, now),
                None => leg.digits = Digits::default(),
            }
            return;
        };
        leg.digits.sung = None;
        if leg.digits.sending.is_none() {
            let Some((event, duration)) = leg.digits.waiting.pop_front() else {
                return;
            };
            let timestamp = leg.audio_out.timestamp_now(clock_hz, now);
            let sender = EventSender::new(
                event,
                timestamp,
                ticks(duration, clock_hz),
                ticks(STEP, clock_hz),
            );
            leg.digits.sending = Some(sender);
        }
        let Some(sender) = &mut leg.digits.sending else {
            return;
        };
        let packet = sender.next_packet();
        let done = sender.is_done();
        leg.timers
            .set(Timer::Digits, now + if done { PAUSE } else { STEP });
        if done {
            leg.digits.sending = None;
        }
        let Some(packet) = packet else { return };
        let stamp = leg.audio_out.insert(packet.timestamp, packet.marker, now);
        self.send_own(index, MediaKind::Audio, pt, stamp, &packet.payload);
    }

    /// Notes an event packet of the peer; tells a digit once.
    pub(crate) fn hear_event(
        &mut self,
        index: u32,
        datagram: &Datagram,
        clock_hz: u32,
        now: Instant,
    ) {
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        let header = &datagram.header;
        let Ok(payload) = header.payload(datagram.buf.data()) else {
            return;
        };
        leg.detector.push(header.timestamp, payload, now);
        leg.detector_clock_hz = clock_hz;
        self.tell_digits(index, now);
    }

    pub(crate) fn tell_digits(&mut self, index: u32, now: Instant) {
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        let id = leg.id;
        let clock_hz = u64::from(leg.detector_clock_hz.max(1));
        let sings = leg.forward().filter(|f| f.tones).map(|f| f.to);
        let told = [leg.detector.poll(now), leg.detector.poll(now)];
        leg.timers.put(Timer::Detect, leg.detector.poll_timeout());
        for detected in told.into_iter().flatten() {
            if let Some(digit) = dtmf::digit_of(detected.event) {
                let duration_ms = u64::from(detected.duration) * 1000 / clock_hz;
                let duration_ms = u32::try_from(duration_ms).unwrap_or(u32::MAX);
                if let Some(to) = sings {
                    self.queue_digit(to, digit, Duration::from_millis(duration_ms.into()), now);
                }
                self.tell(Event::Digit {
                    leg: id,
                    digit,
                    duration_ms,
                });
            }
        }
        self.arm(index);
    }

    /// The road of an event: same numbers as the sound beside it where the clocks agree, else a
    /// timestamp of the far side's clock for each event, and durations in it.
    pub(crate) fn forward_event(
        &mut self,
        source: SourceKey,
        target: u32,
        (out_pt, in_clock, out_clock): (u8, u32, u32),
        datagram: &mut Datagram,
        now: Instant,
    ) -> Step {
        let header = datagram.header;
        let Ok(payload) = header.payload(datagram.buf.data()) else {
            return Step::Done;
        };
        let Some(mut event) = dtmf::Event::parse(payload) else {
            return Step::Done;
        };
        if in_clock != out_clock {
            let translated = u64::from(event.duration) * u64::from(out_clock) / u64::from(in_clock);
            event.duration = u16::try_from(translated).unwrap_or(u16::MAX);
        }
        let translated = self.leg(source.leg).map_or([None; 2], |leg| leg.translated);
        let known = translated
            .into_iter()
            .flatten()
            .find(|known| known.in_timestamp == header.timestamp);
        let Some(to) = self.leg_mut(target) else {
            return Step::Done;
        };
        if to.digits.is_sending() || to.rtp_path.is_none() {
            to.audio_out.skip(source, header.seq);
            return Step::Done;
        }
        let out_timestamp = match known {
            Some(known) => known.out_timestamp,
            None if in_clock == out_clock => to
                .audio_out
                .translate(source, header.timestamp)
                .unwrap_or_else(|| to.audio_out.timestamp_now(out_clock, now)),
            None => to.audio_out.timestamp_now(out_clock, now),
        };
        // On the first packet that came of it (RFC 4733 §2.3), whatever the phone says.
        let Some(stamp) =
            to.audio_out
                .place_event(source, &header, out_timestamp, known.is_none(), now)
        else {
            return Step::Done;
        };
        if known.is_none()
            && let Some(leg) = self.leg_mut(source.leg)
        {
            let fresh = Translated {
                in_timestamp: header.timestamp,
                out_timestamp,
            };
            leg.translated = [Some(fresh), leg.translated[0]];
        }
        // Redundant older events behind the first are in another clock; the peer has its repeats.
        datagram.header = write_packet(&mut datagram.buf, out_pt, stamp, &event.to_bytes());
        if let Some(to) = self.leg_mut(target) {
            to.audio_out.count(event.to_bytes().len());
        }
        Step::Leaving { leg: target }
    }

    /// Sends a packet of our own making out of a leg.
    pub(crate) fn send_own(
        &mut self,
        index: u32,
        kind: MediaKind,
        pt: u8,
        stamp: Stamp,
        payload: &[u8],
    ) {
        let mut buf = self.spare.pop().unwrap_or_default();
        let header = write_packet(&mut buf, pt, stamp, payload);
        let sent = self.leg_mut(index).and_then(|leg| {
            leg.out(kind).count(payload.len());
            leg.seal(&mut buf, &header)
        });
        match sent {
            Some(path) => {
                self.totals.sent += 1;
                self.transmit_buf(path, buf);
            }
            None => self.recycle(buf),
        }
    }
}

/// Makes a packet from nothing, in place of whatever the buffer held.
fn write_packet(buf: &mut Buf, pt: u8, stamp: Stamp, payload: &[u8]) -> RtpHeader {
    let mut header = RtpHeader::new(pt, stamp.seq, stamp.timestamp, stamp.ssrc);
    header.marker = stamp.marker;
    buf.clear();
    let area = buf.receive_area();
    let len = header.header_len + payload.len();
    if let Some(body) = area.get_mut(header.header_len..len) {
        body.copy_from_slice(payload);
        // Cannot fail: the area is longer than a header.
        let _ = header.write(area);
        buf.set_received(len);
    }
    header
}
