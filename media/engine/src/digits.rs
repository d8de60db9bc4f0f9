//! Telephone events (RFC 4733): passed on in the far side's clock, told to signaling, and made by us.

use crate::datagram::{Buf, Datagram, Step};
use crate::leg::{Leg, Timer};
use crate::legs::Legs;
use crate::rewrite::{SourceKey, Stamp, ticks};
use media_control::{Codec, Event, LegId, MediaKind};
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
    waiting: VecDeque<(u8, Duration)>,
    sending: Option<EventSender>,
}

impl Digits {
    /// An event is being sent, and sound has to be silent meanwhile.
    pub fn is_sending(&self) -> bool {
        self.sending.is_some()
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
        let duration = Duration::from_millis(duration_ms.into()).clamp(SHORTEST, LONGEST);
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        if leg.event_format().is_none() {
            tracing::warn!(leg = %id, "digits for a peer without telephone-event");
            return;
        }
        for event in digits.chars().filter_map(dtmf::event_of) {
            if leg.digits.waiting.len() < MAX_DIGITS {
                leg.digits.waiting.push_back((event, duration));
            }
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
        // A new description may have taken the format away.
        let Some((pt, clock_hz)) = leg.event_format() else {
            leg.digits = Digits::default();
            return;
        };
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
        let told = [leg.detector.poll(now), leg.detector.poll(now)];
        leg.timers.put(Timer::Detect, leg.detector.poll_timeout());
        for detected in told.into_iter().flatten() {
            if let Some(digit) = dtmf::digit_of(detected.event) {
                let duration_ms = u64::from(detected.duration) * 1000 / clock_hz;
                let duration_ms = u32::try_from(duration_ms).unwrap_or(u32::MAX);
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
        let known = self
            .leg(source.leg)
            .and_then(|leg| leg.translated)
            .filter(|known| known.in_timestamp == header.timestamp);
        let Some(to) = self.leg_mut(target) else {
            return Step::Done;
        };
        if to.digits.is_sending() {
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
        let Some(stamp) =
            to.audio_out
                .place_event(source, &header, out_timestamp, header.marker, now)
        else {
            return Step::Done;
        };
        if let Some(leg) = self.leg_mut(source.leg) {
            leg.translated = Some(Translated {
                in_timestamp: header.timestamp,
                out_timestamp,
            });
        }
        // Redundant older events behind the first are in another clock; the peer has its repeats.
        datagram.header = write_packet(&mut datagram.buf, out_pt, stamp, &event.to_bytes());
        if let Some(to) = self.leg_mut(target) {
            to.audio_out.count(event.to_bytes().len());
        }
        Step::Leaving {
            leg: target,
            kind: MediaKind::Audio,
        }
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
            leg.seal(kind, &mut buf, &header)
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

impl Leg {
    /// Payload type and clock of the events that we may send: beside the speech codec that we send, if
    /// there is one of its clock.
    fn event_format(&self) -> Option<(u8, u32)> {
        let audio = self
            .media
            .iter()
            .find(|m| m.kind == MediaKind::Audio && m.direction.sends())?;
        let speech_clock = crate::forward::first_codec(audio).map(|f| f.clock_hz);
        let mut events = audio
            .formats
            .iter()
            .filter(|f| f.codec == Codec::TelephoneEvent);
        let event = events
            .clone()
            .find(|f| Some(f.clock_hz) == speech_clock)
            .or_else(|| events.next())?;
        Some((event.send_pt, event.clock_hz.max(1)))
    }
}
