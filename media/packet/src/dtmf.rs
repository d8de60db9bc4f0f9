//! Telephone events (RFC 4733): digits as packets, and packets as digits.

use crate::bytes::u16_at;
use std::time::{Duration, Instant};

/// How many times the last packet of an event is sent (RFC 4733 §2.5.1.4).
const END_PACKETS: u8 = 3;

/// An event whose end packets were all lost is over after this long without another one.
pub const SILENCE: Duration = Duration::from_millis(250);

/// The payload of one packet.
///
/// ```text
///  |     event     |E|R| volume    |          duration             |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// 0 to 9, 10 `*`, 11 `#`, 12 to 15 `A` to `D`; others are tones that are not digits.
    pub event: u8,
    pub end: bool,
    /// Below 0 dBm0, in decibels.
    pub volume: u8,
    /// Ticks of the stream's clock since the event's timestamp.
    pub duration: u16,
}

impl Event {
    /// The first event of a payload, which may hold redundant older ones behind it.
    pub fn parse(payload: &[u8]) -> Option<Event> {
        let duration = u16_at(payload, 2)?;
        let flags = *payload.get(1)?;
        Some(Event {
            event: *payload.first()?,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration,
        })
    }

    pub fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [
            self.event,
            u8::from(self.end) << 7 | self.volume & 0x3f,
            high,
            low,
        ]
    }
}

/// The event number of a digit.
pub fn event_of(digit: char) -> Option<u8> {
    let at = DIGITS
        .iter()
        .position(|d| *d == digit.to_ascii_uppercase())?;
    u8::try_from(at).ok()
}

/// The digit of an event number.
pub fn digit_of(event: u8) -> Option<char> {
    DIGITS.get(usize::from(event)).copied()
}

const DIGITS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D',
];

/// Sends one event: ask it for a packet at every packet time until it has none.
///
/// All packets carry the timestamp at which the event began; the marker is on the first only. Sequence
/// numbers go on as usual.
#[derive(Clone, Debug)]
pub struct EventSender {
    event: u8,
    volume: u8,
    timestamp: u32,
    step: u32,
    total: u32,
    elapsed: u32,
    ends: u8,
}

/// One packet of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPacket {
    pub marker: bool,
    pub timestamp: u32,
    pub payload: [u8; 4],
}

impl EventSender {
    /// `total` and `step` (one packet time) in ticks of the stream's clock. An event is at least one packet
    /// time long and at most 65,535 ticks.
    pub fn new(event: u8, timestamp: u32, total: u32, step: u32) -> EventSender {
        let step = step.clamp(1, u32::from(u16::MAX));
        EventSender {
            event,
            volume: 10,
            timestamp,
            step,
            total: total.clamp(step, u32::from(u16::MAX)),
            elapsed: 0,
            ends: 0,
        }
    }

    /// The next packet, one packet time after the one before.
    pub fn next_packet(&mut self) -> Option<EventPacket> {
        if self.ends == END_PACKETS {
            return None;
        }
        let marker = self.elapsed == 0;
        self.elapsed = (self.elapsed + self.step).min(self.total);
        let end = self.elapsed == self.total;
        if end {
            self.ends += 1;
        }
        let event = Event {
            event: self.event,
            end,
            volume: self.volume,
            duration: u16::try_from(self.elapsed).unwrap_or(u16::MAX),
        };
        Some(EventPacket {
            marker,
            timestamp: self.timestamp,
            payload: event.to_bytes(),
        })
    }

    pub fn is_done(&self) -> bool {
        self.ends == END_PACKETS
    }
}

/// A digit that was pressed and let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detected {
    pub event: u8,
    /// In ticks of the stream's clock; what was heard of it.
    pub duration: u32,
}

/// Makes digits from the events of one stream: each one once, whatever is lost, doubled or late.
///
/// A digit is told when its end is seen, or the next one begins, or [`SILENCE`] has passed.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    current: Option<Current>,
    /// A packet can end one event and be the whole of the next.
    ready: [Option<Detected>; 2],
}

#[derive(Clone, Copy, Debug)]
struct Current {
    event: u8,
    timestamp: u32,
    /// Of the segments before this one (RFC 4733 §2.5.1.3).
    before: u32,
    duration: u32,
    told: bool,
    heard: Instant,
}

/// Events this many ticks in the past are of a stream that began anew, not late: 3 s at 48 kHz.
const LATE_TICKS: u32 = 144_000;

impl Detector {
    pub fn new() -> Detector {
        Detector::default()
    }

    /// Takes a packet's timestamp and payload; then ask [`Detector::poll`].
    pub fn push(&mut self, timestamp: u32, payload: &[u8], now: Instant) {
        let Some(event) = Event::parse(payload) else {
            return;
        };
        if let Some(current) = &mut self.current {
            if current.timestamp == timestamp && current.event == event.event {
                current.duration = current.duration.max(u32::from(event.duration));
                current.heard = now;
                if event.end {
                    self.finish();
                }
                return;
            }
            let behind = current.timestamp.wrapping_sub(timestamp);
            if behind != 0 && behind < LATE_TICKS {
                return;
            }
            let next_segment = current.timestamp.wrapping_add(u32::from(u16::MAX));
            if !current.told && current.event == event.event && timestamp == next_segment {
                current.before = current.before.saturating_add(u32::from(u16::MAX));
                current.timestamp = timestamp;
                current.duration = u32::from(event.duration);
                current.heard = now;
                if event.end {
                    self.finish();
                }
                return;
            }
        }
        self.finish();
        self.current = Some(Current {
            event: event.event,
            timestamp,
            before: 0,
            duration: u32::from(event.duration),
            told: false,
            heard: now,
        });
        if event.end {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let Some(current) = &mut self.current else {
            return;
        };
        if current.told {
            return;
        }
        current.told = true;
        let detected = Detected {
            event: current.event,
            duration: current.before.saturating_add(current.duration),
        };
        if let Some(free) = self.ready.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(detected);
        }
    }

    /// The next digit that is complete.
    pub fn poll(&mut self, now: Instant) -> Option<Detected> {
        if self.poll_timeout().is_some_and(|at| now >= at) {
            self.finish();
        }
        let [first, second] = &mut self.ready;
        first.take().or_else(|| second.take())
    }

    /// When to poll again if nothing more comes.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let current = self.current.filter(|current| !current.told)?;
        Some(current.heard + SILENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packets(digit: char, timestamp: u32) -> Vec<EventPacket> {
        let mut sender = EventSender::new(event_of(digit).unwrap(), timestamp, 800, 160);
        std::iter::from_fn(|| sender.next_packet()).collect()
    }

    #[test]
    fn an_event_grows_and_ends_three_times_at_one_timestamp() {
        let sent = packets('5', 1000);
        let events: Vec<_> = sent
            .iter()
            .map(|p| Event::parse(&p.payload).unwrap())
            .collect();
        let durations: Vec<_> = events.iter().map(|e| e.duration).collect();
        assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
        let ends: Vec<_> = events.iter().map(|e| e.end).collect();
        assert_eq!(ends, [false, false, false, false, true, true, true]);
        assert!(sent.iter().all(|p| p.timestamp == 1000));
        let markers: Vec<_> = sent.iter().map(|p| p.marker).collect();
        assert_eq!(markers, [true, false, false, false, false, false, false]);
        assert!(events.iter().all(|e| e.event == 5 && e.volume == 10));
    }

    #[test]
    fn a_digit_is_told_once_at_its_end() {
        let now = Instant::now();
        let mut detector = Detector::new();
        let mut told = Vec::new();
        for packet in packets('#', 7) {
            detector.push(packet.timestamp, &packet.payload, now);
            told.extend(std::iter::from_fn(|| detector.poll(now)));
        }
        assert_eq!(
            told,
            [Detected {
                event: 11,
                duration: 800
            }]
        );
        assert_eq!(detector.poll_timeout(), None);
        // A late copy.
        detector.push(7, &packets('#', 7)[2].payload, now);
        assert_eq!(detector.poll(now + SILENCE * 2), None);
    }

    #[test]
    fn a_digit_without_end_is_told_after_silence() {
        let now = Instant::now();
        let mut detector = Detector::new();
        detector.push(7, &packets('1', 7)[1].payload, now);
        assert_eq!(detector.poll(now), None);
        let at = detector.poll_timeout().unwrap();
        assert_eq!(
            detector.poll(at),
            Some(Detected {
                event: 1,
                duration: 320
            })
        );
        assert_eq!(detector.poll(at + SILENCE), None);
    }

    #[test]
    fn the_same_digit_twice_is_two_digits() {
        let now = Instant::now();
        let mut detector = Detector::new();
        detector.push(7, &packets('1', 7)[0].payload, now);
        detector.push(2000, &packets('1', 2000)[6].payload, now);
        assert_eq!(
            detector.poll(now),
            Some(Detected {
                event: 1,
                duration: 160
            })
        );
        assert_eq!(
            detector.poll(now),
            Some(Detected {
                event: 1,
                duration: 800
            })
        );
        assert_eq!(detector.poll(now), None);
    }

    #[test]
    fn segments_of_a_long_press_are_one_digit() {
        let now = Instant::now();
        let mut detector = Detector::new();
        let event = |end, duration| {
            Event {
                event: 3,
                end,
                volume: 0,
                duration,
            }
            .to_bytes()
        };
        detector.push(100, &event(false, 0xffff), now);
        detector.push(100 + 0xffff, &event(true, 160), now);
        assert_eq!(
            detector.poll(now),
            Some(Detected {
                event: 3,
                duration: 0xffff + 160
            })
        );
        assert_eq!(detector.poll(now), None);
    }

    #[test]
    fn digits_and_numbers_belong_together() {
        for event in 0..16 {
            assert_eq!(event_of(digit_of(event).unwrap()), Some(event));
        }
        assert_eq!(event_of('d'), Some(15));
        assert_eq!(event_of('x'), None);
        assert_eq!(digit_of(16), None);
    }

    proptest! {
        #[test]
        fn each_digit_is_told_once_while_one_of_its_packets_arrives(
            digits in proptest::collection::vec((0u8..16, any::<[bool; 7]>(), any::<bool>()), 1..12),
            start in any::<u32>(),
        ) {
            let mut now = Instant::now();
            let mut detector = Detector::new();
            let (mut sent, mut told) = (Vec::new(), Vec::new());
            for (n, (event, arrives, doubled)) in digits.iter().enumerate() {
                let timestamp = start.wrapping_add(u32::try_from(n).unwrap() * 1600);
                let packets = packets(digit_of(*event).unwrap(), timestamp);
                if arrives.contains(&true) {
                    sent.push(*event);
                }
                for (packet, arrives) in packets.iter().zip(arrives) {
                    now += Duration::from_millis(20);
                    for _ in 0..usize::from(*arrives) * (1 + usize::from(*doubled)) {
                        detector.push(packet.timestamp, &packet.payload, now);
                    }
                    told.extend(std::iter::from_fn(|| detector.poll(now)).map(|d| d.event));
                }
            }
            told.extend(detector.poll(now + SILENCE).map(|d| d.event));
            prop_assert_eq!(told, sent);
        }

        #[test]
        fn any_bytes_parse_or_are_refused(payload in proptest::collection::vec(any::<u8>(), 0..8), timestamp in any::<u32>()) {
            let now = Instant::now();
            let mut detector = Detector::new();
            detector.push(timestamp, &payload, now);
            detector.push(timestamp.wrapping_add(3), &payload, now);
            let _ = detector.poll(now + SILENCE);
        }
    }
}
