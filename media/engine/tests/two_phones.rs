//! Two SIP legs joined with each other: relayed and transcoded, events, latching, hold, reports and records.

mod bed;

use bed::browser::audio;
use bed::call::{Ear, FRAME, RATE, Talker, codec_of, event, opus, pcma, pcmu, phone_at, rtp_leg};
use bed::{Bed, addr};
use media_codec::level::listen;
use media_control::{Command, Direction, Event, Format, LegId, LegStats};
use media_engine::SocketId;
use media_packet::dtmf::EventSender;
use media_packet::rtp::RtpHeader;
use std::time::Instant;

const LEFT: &str = "192.0.2.20:4000";
const RIGHT: &str = "198.51.100.30:6000";
/// RTP sockets of the first and the second SIP leg of a bed.
const OF_LEFT: SocketId = SocketId(1);
const OF_RIGHT: SocketId = SocketId(3);

struct Pair {
    bed: Bed,
    left: Vec<Format>,
    right: Vec<Format>,
    /// What left for each of them since it was last asked, reports left out.
    to_left: Vec<(RtpHeader, Vec<u8>)>,
    to_right: Vec<(RtpHeader, Vec<u8>)>,
    reports: usize,
}

impl Pair {
    fn new(left: Vec<Format>, right: Vec<Format>) -> Pair {
        let mut bed = Bed::new();
        bed.create(1, rtp_leg());
        bed.create(2, rtp_leg());
        for (leg, at, formats) in [(1, LEFT, &left), (2, RIGHT, &right)] {
            bed.command(Command::ConnectLeg {
                leg: LegId(leg),
                remote: phone_at(at, audio(formats.clone())),
            });
        }
        bed.join(1, 2);
        assert!(!bed.has_failed());
        Pair {
            bed,
            left,
            right,
            to_left: Vec::new(),
            to_right: Vec::new(),
            reports: 0,
        }
    }

    fn says(&mut self, socket: SocketId, from: &str, header: RtpHeader, payload: &[u8]) {
        let mut packet = vec![0; 12];
        header.write(&mut packet).unwrap();
        packet.extend(payload);
        self.bed.arrive(socket, addr(from), &packet);
        self.collect();
    }

    /// Lets a packet's time pass.
    fn pass(&mut self) {
        let until = self.bed.now + FRAME;
        while let Some(at) = self.bed.legs.poll_timeout().filter(|at| *at <= until) {
            let wait = at.saturating_duration_since(self.bed.now);
            self.bed.pass(wait);
            self.collect();
        }
        let rest = until - self.bed.now;
        self.bed.pass(rest);
        self.collect();
    }

    fn collect(&mut self) {
        for sent in self.bed.take_sent() {
            if sent.path.socket != OF_LEFT && sent.path.socket != OF_RIGHT {
                self.reports += 1;
                continue;
            }
            let header = RtpHeader::parse(&sent.packet).unwrap();
            let payload = sent.packet[header.header_len..].to_vec();
            match sent.path.socket {
                OF_LEFT => self.to_left.push((header, payload)),
                _ => self.to_right.push((header, payload)),
            }
        }
    }

    /// Both sing for so many packets.
    fn sing(&mut self, left: &mut Talker, right: &mut Talker, packets: usize) {
        for _ in 0..packets {
            let (header, payload) = left.sing();
            self.says(OF_LEFT, LEFT, header, &payload);
            let (header, payload) = right.sing();
            self.says(OF_RIGHT, RIGHT, header, &payload);
            self.pass();
        }
    }

    fn close(&mut self, leg: u64) -> LegStats {
        self.bed.command(Command::CloseLeg { leg: LegId(leg) });
        let closed = self.bed.events.iter().find_map(|event| match event {
            Event::LegClosed { leg: id, stats } if id.0 == leg => Some(stats.clone()),
            _ => None,
        });
        closed.expect("a record")
    }
}

/// The tone that was heard, in Hz.
fn heard(packets: &[(RtpHeader, Vec<u8>)], formats: &[Format], now: Instant) -> f64 {
    let mut ear = Ear::default();
    for (header, payload) in packets {
        let codec = codec_of(formats, header.pt);
        ear.hear(&codec, *header, payload, now);
    }
    listen(&ear.sound[ear.sound.len() / 2..], RATE).hz
}

fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() < 10.0
}

#[test]
fn two_phones_of_one_codec_hear_each_other_as_it_was_said() {
    // The same codec under two numbers, as may be where each side's description is its own.
    let other = Format {
        send_pt: 96,
        receive_pt: 97,
        ..opus()
    };
    for (left, right) in [(pcmu(), pcmu()), (opus(), other)] {
        let mut pair = Pair::new(vec![left.clone()], vec![right.clone()]);
        let mut mouths = (
            Talker::new(left.clone(), 440.0, 7),
            Talker::new(right.clone(), 1000.0, 9),
        );
        pair.sing(&mut mouths.0, &mut mouths.1, 50);
        assert_eq!(
            (pair.to_left.len(), pair.to_right.len()),
            (50, 50),
            "{left:?}"
        );
        let numbers = |sent: &[(RtpHeader, Vec<u8>)]| {
            sent.windows(2)
                .all(|two| two[1].0.seq == two[0].0.seq.wrapping_add(1))
        };
        assert!(numbers(&pair.to_left) && numbers(&pair.to_right));
        // Streams of our own: neither SSRC is the other phone's.
        assert!(
            pair.to_right
                .iter()
                .all(|(h, _)| h.ssrc != 7 && h.pt == right.send_pt)
        );
        assert!(
            pair.to_left
                .iter()
                .all(|(h, _)| h.ssrc != 9 && h.pt == left.send_pt)
        );
        for leg in [1, 2] {
            let stats = pair.close(leg);
            assert_eq!(
                (stats.received, stats.sent, stats.road.as_str()),
                (50, 50, "relayed")
            );
        }
    }
}

#[test]
fn two_phones_without_a_common_codec_hear_each_others_tones() {
    for (left, right) in [(pcmu(), pcma()), (opus(), pcma())] {
        let mut pair = Pair::new(vec![left.clone()], vec![right.clone()]);
        let mut mouths = (
            Talker::new(left.clone(), 440.0, 7),
            Talker::new(right.clone(), 1000.0, 9),
        );
        pair.sing(&mut mouths.0, &mut mouths.1, 100);
        let now = pair.bed.now;
        let (to_left, to_right) = (pair.to_left.clone(), pair.to_right.clone());
        let hz = heard(&to_right, &pair.right, now);
        assert!(is_near(hz, 440.0), "{hz} from {left:?}");
        let hz = heard(&to_left, &pair.left, now);
        assert!(is_near(hz, 1000.0), "{hz} to {left:?}");
        for leg in [1, 2] {
            let stats = pair.close(leg);
            assert_eq!(stats.road, "transcoded", "{stats:?}");
            assert!(stats.sent >= 90, "{stats:?}");
        }
    }
}

#[test]
fn digits_pass_from_phone_to_phone_in_each_others_clock() {
    let left = vec![opus(), event(96, 48_000)];
    let right = vec![pcmu(), event(101, 8000)];
    let mut pair = Pair::new(left, right);
    let mut mouth = Talker::new(opus(), 440.0, 7);
    for _ in 0..10 {
        let (header, payload) = mouth.sing();
        pair.says(OF_LEFT, LEFT, header, &payload);
        pair.pass();
    }
    pair.to_right.clear();
    let mut sender = EventSender::new(5, 48_000, 4800, 960);
    while let Some(event) = sender.next_packet() {
        let mut header = RtpHeader::new(96, mouth.seq, mouth.timestamp + event.timestamp, 7);
        header.marker = event.marker;
        mouth.seq += 1;
        pair.says(OF_LEFT, LEFT, header, &event.payload);
        pair.pass();
    }
    let events: Vec<_> = pair.to_right.iter().filter(|(h, _)| h.pt == 101).collect();
    let (_, last) = events.last().expect("an event");
    assert_eq!((last[0], last[1] & 0x80), (5, 0x80));
    assert_eq!(u16::from_be_bytes([last[2], last[3]]), 800);
    let digits = pair.bed.events.iter().filter(|event| {
        matches!(
            event,
            Event::Digit {
                leg: LegId(1),
                digit: '5',
                ..
            }
        )
    });
    assert_eq!(digits.count(), 1);
}

#[test]
fn each_phone_is_latched_by_itself_and_strangers_reach_neither() {
    let mut pair = Pair::new(vec![pcmu()], vec![pcmu()]);
    let mut mouths = (
        Talker::new(pcmu(), 440.0, 7),
        Talker::new(pcmu(), 1000.0, 9),
    );
    pair.sing(&mut mouths.0, &mut mouths.1, 5);
    pair.to_right.clear();
    // Somebody elsewhere talks to the left phone's port.
    let header = RtpHeader::new(0, 1, 1, 66);
    pair.says(OF_LEFT, "203.0.113.66:4000", header, &[1; 160]);
    assert!(pair.to_right.is_empty());
    assert_eq!(pair.close(1).strangers, 1);
}

#[test]
fn a_phone_behind_nat_is_heard_and_answered_where_it_speaks_from() {
    let mut bed = Bed::new();
    bed.create(1, rtp_leg());
    bed.create(2, rtp_leg());
    // Its description names an address of its own network, its SIP came from elsewhere.
    let mut remote = phone_at("10.0.0.7:4000", audio(vec![pcmu()]));
    if let media_control::RemoteTransport::Rtp { signalling, .. } = &mut remote.transport {
        *signalling = addr(LEFT).ip();
    }
    bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote: phone_at(RIGHT, audio(vec![pcmu()])),
    });
    bed.join(1, 2);
    // One packet could be anybody's; the third is believed.
    for (seq, socket, from) in [
        (0, OF_LEFT, "192.0.2.20:40001"),
        (1, OF_LEFT, "192.0.2.20:40001"),
        (2, OF_LEFT, "192.0.2.20:40001"),
        (0, OF_RIGHT, RIGHT),
    ] {
        let mut packet = vec![0; 12];
        let header = RtpHeader::new(0, seq, 160 * u32::from(seq), 5);
        header.write(&mut packet).unwrap();
        packet.extend([1; 160]);
        bed.arrive(socket, addr(from), &packet);
    }
    let to: Vec<_> = bed.take_sent().into_iter().map(|s| s.path.remote).collect();
    assert_eq!(to, [addr(RIGHT), addr("192.0.2.20:40001")]);
}

#[test]
fn hold_music_of_one_phone_reaches_the_other_and_nothing_comes_back() {
    let mut pair = Pair::new(vec![pcmu()], vec![pcmu()]);
    let mut mouths = (
        Talker::new(pcmu(), 440.0, 7),
        Talker::new(pcmu(), 1000.0, 9),
    );
    pair.sing(&mut mouths.0, &mut mouths.1, 5);
    // The left one holds: it sends and does not listen.
    let mut media = audio(vec![pcmu()]);
    media[0].direction = Direction::RecvOnly;
    pair.bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote: phone_at(LEFT, media),
    });
    (pair.to_left, pair.to_right) = (Vec::new(), Vec::new());
    pair.sing(&mut mouths.0, &mut mouths.1, 10);
    assert_eq!((pair.to_left.len(), pair.to_right.len()), (0, 10));
    pair.bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote: phone_at(LEFT, audio(vec![pcmu()])),
    });
    pair.sing(&mut mouths.0, &mut mouths.1, 10);
    assert_eq!((pair.to_left.len(), pair.to_right.len()), (10, 20));
}

#[test]
fn both_phones_get_reports_and_silence_of_each_is_told() {
    let mut pair = Pair::new(vec![pcmu()], vec![pcmu()]);
    let mut mouths = (
        Talker::new(pcmu(), 440.0, 7),
        Talker::new(pcmu(), 1000.0, 9),
    );
    pair.sing(&mut mouths.0, &mut mouths.1, 600);
    assert!(pair.reports >= 2, "{}", pair.reports);
    for _ in 0..3100 {
        pair.pass();
    }
    for leg in [1, 2] {
        let told = pair.bed.events.iter().any(
            |event| matches!(event, Event::MediaSilent { leg: id, seconds: 60 } if id.0 == leg),
        );
        assert!(told, "leg {leg}");
    }
}
