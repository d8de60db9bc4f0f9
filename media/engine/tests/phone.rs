//! A browser joined to a SIP phone: plain RTP and SDES, latching, hold, events, reports.

mod bed;

use bed::browser::{Browser, Heard, audio, format};
use bed::{BROWSERS, Bed, addr};
use media_control::{
    Codec, Command, Direction, DtlsRole, Event, Face, Format, LegFailure, LegId, LegSpec,
    LocalTransport, Remote, RemoteMedia, RemoteTransport, SdesKey,
};
use media_engine::SocketId;
use media_packet::dtmf::EventSender;
use media_packet::rtcp::{Compound, Packet, ReportBlock, SenderInfo, Writer};
use media_packet::rtp::RtpHeader;
use media_packet::srtp::Context;
use std::net::SocketAddr;
use std::time::Duration;

const BROWSER: &str = "198.51.100.7:50000";
const PHONE: &str = "192.0.2.20:4000";
const PHONE_RTCP: &str = "192.0.2.20:4001";
/// The first SIP leg's sockets of a bed.
const RTP: SocketId = SocketId(1);
const RTCP: SocketId = SocketId(2);
const FRAME: Duration = Duration::from_millis(20);

fn formats() -> Vec<Format> {
    vec![
        format(Codec::Pcmu, 0, 8000),
        format(Codec::TelephoneEvent, 101, 8000),
    ]
}

fn phone_at(rtp: Option<&str>, signalling: &str, media: Vec<RemoteMedia>) -> Remote {
    Remote {
        transport: RemoteTransport::Rtp {
            rtp: rtp.map(addr),
            rtcp: None,
            signalling: signalling.parse().unwrap(),
            sdes: None,
            video: None,
            ice: None,
        },
        media,
    }
}

struct Call {
    bed: Bed,
    browser: Browser,
    seq: u16,
    /// What the browser and the phone were reported last.
    browser_report: Option<Vec<u8>>,
    phone_report: Option<Vec<u8>>,
}

impl Call {
    fn new(browser_formats: Vec<Format>, phone: Remote) -> Call {
        let mut bed = Bed::new();
        let mut browser = Browser::new(DtlsRole::Passive, true, bed.now);
        let local = bed.create_browser(1);
        browser.set_remote(&local);
        bed.create(
            2,
            LegSpec::Rtp {
                face: Face::Inside,
                sdes: false,
                video: false,
                ice: false,
            },
        );
        let remote = browser.description(browser_formats);
        bed.command(Command::ConnectLeg {
            leg: LegId(1),
            remote,
        });
        bed.connect_browser(&mut browser, addr(BROWSER));
        bed.command(Command::ConnectLeg {
            leg: LegId(2),
            remote: phone,
        });
        bed.join(1, 2);
        bed.take_events();
        Call {
            bed,
            browser,
            seq: 0,
            browser_report: None,
            phone_report: None,
        }
    }

    fn usual() -> Call {
        Call::new(
            formats(),
            phone_at(Some(PHONE), "192.0.2.20", audio(formats())),
        )
    }

    /// One packet of the phone from an address; what the browser then hears.
    fn phone_says_from(&mut self, remote: &str, header: RtpHeader, payload: &[u8]) -> Vec<Heard> {
        let mut packet = vec![0; 12];
        header.write(&mut packet).unwrap();
        packet.extend(payload);
        self.bed.arrive(RTP, addr(remote), &packet);
        self.hear()
    }

    fn phone_says(&mut self, header: RtpHeader) -> Vec<Heard> {
        self.bed.pass(FRAME);
        self.phone_says_from(PHONE, header, &[0x55; 160])
    }

    /// What the browser hears; reports apart.
    fn hear(&mut self) -> Vec<Heard> {
        for sent in self.bed.sent.iter().filter(|sent| sent.path.socket == RTCP) {
            assert_eq!(sent.path.remote, addr(PHONE_RTCP));
            self.phone_report = Some(sent.packet.clone());
        }
        let (reports, heard) = self
            .bed
            .exchange(&mut self.browser, addr(BROWSER))
            .into_iter()
            .partition(|heard| matches!(heard, Heard::Rtcp(_)));
        if let Some(Heard::Rtcp(packet)) = Vec::into_iter(reports).next_back() {
            self.browser_report = Some(packet);
        }
        heard
    }

    /// One packet of the browser; what then left towards SIP.
    fn browser_says(&mut self, pt: u8, payload: &[u8]) -> Vec<(SocketAddr, RtpHeader, Vec<u8>)> {
        self.bed.pass(FRAME);
        let header = RtpHeader::new(pt, self.seq, u32::from(self.seq) * 160, 0xb0b);
        self.seq += 1;
        let packet = self.browser.rtp(&header, payload);
        self.bed.arrive(BROWSERS, addr(BROWSER), &packet);
        self.sent_to_phone()
    }

    fn sent_to_phone(&mut self) -> Vec<(SocketAddr, RtpHeader, Vec<u8>)> {
        self.bed
            .take_sent()
            .into_iter()
            .filter(|sent| sent.path.socket == RTP)
            .map(|sent| {
                let header = RtpHeader::parse(&sent.packet).unwrap();
                (
                    sent.path.remote,
                    header,
                    sent.packet[header.header_len..].to_vec(),
                )
            })
            .collect()
    }
}

fn one(heard: &[Heard]) -> RtpHeader {
    let [Heard::Rtp { header, .. }] = heard else {
        panic!("{heard:?}")
    };
    *header
}

#[test]
fn sound_flows_both_ways_under_numbers_of_our_own() {
    let mut call = Call::usual();
    for seq in 0..50u16 {
        let header = one(&call.phone_says(RtpHeader::new(0, 100 + seq, 160 * u32::from(seq), 9)));
        assert_eq!(header.pt, 0);
        assert_ne!(header.ssrc, 9);
        let sent = call.browser_says(0, &[7; 160]);
        let [(remote, header, payload)] = sent.as_slice() else {
            panic!("{sent:?}")
        };
        assert_eq!(
            (*remote, header.pt, payload.as_slice()),
            (addr(PHONE), 0, &[7; 160][..])
        );
        assert_ne!(header.ssrc, 0xb0b);
    }
    assert!(
        call.bed
            .events
            .contains(&Event::MediaStarted { leg: LegId(2) })
    );
}

#[test]
fn the_browser_sees_one_stream_through_every_trick_of_a_phone() {
    let mut call = Call::usual();
    // Mid-call: a new SSRC with the same numbers, new numbers under the same SSRC, a timestamp jump,
    // and a re-INVITE to another address with everything new.
    let says = [
        RtpHeader::new(0, 10, 1600, 1),
        RtpHeader::new(0, 11, 1760, 1),
        RtpHeader::new(0, 12, 1920, 2),
        RtpHeader::new(0, 13, 2080, 2),
        RtpHeader::new(0, 60_000, 2240, 2),
        RtpHeader::new(0, 60_001, 2400, 2),
        RtpHeader::new(0, 60_002, 4_000_000_000, 2),
        RtpHeader::new(0, 60_003, 4_000_000_160, 2),
    ];
    let mut seen: Vec<RtpHeader> = says.iter().map(|h| one(&call.phone_says(*h))).collect();
    let remote = phone_at(Some("192.0.2.21:6000"), "192.0.2.20", audio(formats()));
    call.bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote,
    });
    call.bed.pass(FRAME);
    let heard = call.phone_says_from("192.0.2.21:6000", RtpHeader::new(0, 1, 1, 3), &[0x55; 160]);
    seen.push(one(&heard));
    for pair in seen.windows(2) {
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
    }
}

#[test]
fn strangers_are_counted_and_neither_heard_nor_answered() {
    let mut call = Call::usual();
    for seq in 0..10 {
        let header = RtpHeader::new(0, seq, 0, 66);
        assert_eq!(
            call.phone_says_from("192.0.2.20:4002", header, &[0; 160]),
            []
        );
        assert_eq!(
            call.phone_says_from("203.0.113.66:4000", header, &[0; 160]),
            []
        );
    }
    assert!(
        call.bed
            .take_sent()
            .iter()
            .all(|sent| sent.path.remote == addr(BROWSER))
    );
    call.bed.command(Command::CloseLeg { leg: LegId(2) });
    let Some(Event::LegClosed { stats, .. }) = call.bed.events.last() else {
        panic!()
    };
    assert_eq!((stats.strangers, stats.received), (20, 0));
}

#[test]
fn a_phone_behind_nat_is_sent_to_where_it_speaks_from() {
    let mut call = Call::new(
        formats(),
        phone_at(Some("192.168.1.5:4000"), "203.0.113.9", audio(formats())),
    );
    assert_eq!(
        call.browser_says(0, &[1; 160])[0].0,
        addr("192.168.1.5:4000")
    );
    for seq in 0..2 {
        let heard =
            call.phone_says_from("203.0.113.9:61000", RtpHeader::new(0, seq, 0, 5), &[0; 160]);
        assert_eq!(heard, []);
    }
    let heard = call.phone_says_from("203.0.113.9:61000", RtpHeader::new(0, 2, 0, 5), &[0; 160]);
    assert_eq!(heard.len(), 1);
    assert_eq!(
        call.browser_says(0, &[1; 160])[0].0,
        addr("203.0.113.9:61000")
    );
}

#[test]
fn a_held_phone_hears_nothing_and_afterwards_goes_on_without_a_gap() {
    let mut call = Call::usual();
    let before = call.browser_says(0, &[1; 160])[0].1;
    let mut held = audio(formats());
    held[0].direction = Direction::RecvOnly;
    let remote = phone_at(Some(PHONE), "192.0.2.20", held);
    call.bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote,
    });
    for _ in 0..100 {
        assert_eq!(call.browser_says(0, &[1; 160]), []);
    }
    let remote = phone_at(Some(PHONE), "192.0.2.20", audio(formats()));
    call.bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote,
    });
    let after = call.browser_says(0, &[1; 160])[0].1;
    assert_eq!(after.seq, before.seq.wrapping_add(1));
    assert_eq!(after.ssrc, before.ssrc);
    assert_eq!(after.timestamp, before.timestamp.wrapping_add(101 * 160));
    assert!(after.marker);
}

#[test]
fn an_old_hold_without_address_sends_nothing() {
    let mut call = Call::usual();
    call.bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote: phone_at(None, "192.0.2.20", audio(formats())),
    });
    assert_eq!(call.browser_says(0, &[1; 160]), []);
}

#[test]
fn the_music_of_an_old_hold_without_address_is_heard() {
    let mut call = Call::usual();
    assert_eq!(call.phone_says(RtpHeader::new(0, 1, 160, 7)).len(), 1);
    call.bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote: phone_at(None, "192.0.2.20", audio(formats())),
    });
    for n in 2..5 {
        assert_eq!(
            call.phone_says(RtpHeader::new(0, n, u32::from(n) * 160, 7))
                .len(),
            1
        );
    }
    assert_eq!(call.browser_says(0, &[1; 160]), []);
}

#[test]
fn sdes_opens_and_closes_and_only_the_keys_move_the_phone() {
    let mut bed = Bed::new();
    let LocalTransport::Rtp { sdes, .. } = bed.create(
        2,
        LegSpec::Rtp {
            face: Face::Inside,
            sdes: true,
            video: false,
            ice: false,
        },
    ) else {
        panic!()
    };
    for ours in sdes {
        let mut bed = Bed::new();
        bed.create(
            2,
            LegSpec::Rtp {
                face: Face::Inside,
                sdes: true,
                video: false,
                ice: false,
            },
        );
        bed.create_echo(3);
        let theirs = SdesKey {
            key_and_salt: ours.key_and_salt.iter().map(|b| b ^ 0x5a).collect(),
            ..ours.clone()
        };
        let mut outbound = Context::new(ours.profile, &theirs.key_and_salt).unwrap();
        let mut inbound = Context::new(ours.profile, &ours.key_and_salt).unwrap();
        let remote = Remote {
            transport: RemoteTransport::Rtp {
                rtp: Some(addr(PHONE)),
                rtcp: None,
                signalling: "192.0.2.20".parse().unwrap(),
                sdes: Some((theirs, ours.clone())),
                video: None,
                ice: None,
            },
            media: audio(formats()),
        };
        bed.command(Command::ConnectLeg {
            leg: LegId(2),
            remote,
        });
        bed.join(2, 3);
        for (seq, from) in [
            (1, PHONE),
            (2, PHONE),
            (3, "203.0.113.9:7"),
            (4, "203.0.113.9:7"),
        ] {
            bed.pass(FRAME);
            let header = RtpHeader::new(0, seq, u32::from(seq) * 160, 5);
            let mut packet = vec![0; 12 + 160 + 32];
            header.write(&mut packet).unwrap();
            let len = outbound.seal_rtp(&mut packet, 172, &header).unwrap();
            let mut wrong = packet[..len].to_vec();
            wrong[40] ^= 1;
            bed.arrive(RTP, addr("198.51.100.66:9"), &wrong);
            assert_eq!(bed.take_sent(), [], "forged");
            bed.arrive(RTP, addr(from), &packet[..len]);
            let sent = bed.take_sent();
            let [echo] = sent.as_slice() else {
                panic!("{sent:?}")
            };
            assert_eq!(echo.path.remote, addr(from));
            let mut packet = echo.packet.clone();
            let header = RtpHeader::parse(&packet).unwrap();
            assert_eq!(inbound.open_rtp(&mut packet, &header), Ok(172));
            assert_eq!(packet[12..172], [0; 160]);
            // A replay from elsewhere moves nothing.
            bed.arrive(RTP, addr("198.51.100.66:9"), &packet);
            assert_eq!(bed.take_sent(), []);
        }
    }
}

#[test]
fn a_digit_is_passed_on_in_the_other_clock_and_told_once() {
    let browser = vec![
        format(Codec::Opus, 111, 48_000),
        format(Codec::Pcmu, 0, 8000),
        format(Codec::TelephoneEvent, 110, 48_000),
    ];
    let mut call = Call::new(
        browser,
        phone_at(Some(PHONE), "192.0.2.20", audio(formats())),
    );
    let before = call.browser_says(0, &[1; 160])[0].1;
    let mut sender = EventSender::new(5, 48_000, 4800, 960);
    let mut first = None;
    let mut last = None;
    while let Some(event) = sender.next_packet() {
        call.bed.pass(FRAME);
        let mut header = RtpHeader::new(110, call.seq, event.timestamp, 0xb0b);
        header.marker = event.marker;
        call.seq += 1;
        let packet = call.browser.rtp(&header, &event.payload);
        call.bed.arrive(BROWSERS, addr(BROWSER), &packet);
        let sent = call.sent_to_phone();
        let [(_, header, payload)] = sent.as_slice() else {
            panic!("{sent:?}")
        };
        assert_eq!(header.pt, 101);
        let timestamp = *first.get_or_insert(header.timestamp);
        assert_eq!(header.timestamp, timestamp);
        assert_eq!(payload[0], 5);
        last = Some((*header, payload.clone()));
    }
    let (header, payload) = last.unwrap();
    assert_eq!(payload[1] & 0x80, 0x80);
    assert_eq!(u16::from_be_bytes([payload[2], payload[3]]), 800);
    assert_eq!(header.seq, before.seq.wrapping_add(7));
    let after = call.browser_says(0, &[1; 160])[0].1;
    assert_eq!(after.seq, header.seq.wrapping_add(1));
    let told: Vec<_> = call
        .bed
        .events
        .iter()
        .filter(|event| matches!(event, Event::Digit { .. }))
        .collect();
    assert_eq!(
        told,
        [&Event::Digit {
            leg: LegId(1),
            digit: '5',
            duration_ms: 100
        }]
    );
}

#[test]
fn digits_of_ours_leave_one_after_the_other_while_sound_is_silent() {
    let mut call = Call::usual();
    let before = call.browser_says(0, &[1; 160])[0].1;
    call.bed.command(Command::SendDigits {
        leg: LegId(2),
        digits: "1x#".to_owned(),
        duration_ms: 100,
    });
    let mut events = Vec::new();
    let mut seqs = vec![before.seq];
    for _ in 0..40 {
        for (_, header, payload) in call.browser_says(0, &[1; 160]) {
            seqs.push(header.seq);
            if header.pt == 101 {
                events.push((payload[0], header.timestamp));
            }
        }
    }
    assert!(
        seqs.windows(2).all(|w| w[1] == w[0].wrapping_add(1)),
        "{seqs:?}"
    );
    events.dedup();
    let digits: Vec<u8> = events.iter().map(|(event, _)| *event).collect();
    assert_eq!(digits, [1, 11]);
}

#[test]
fn comfort_noise_that_the_far_side_does_not_take_looks_like_silence_not_loss() {
    let mut with_noise = formats();
    with_noise.push(format(Codec::ComfortNoise, 13, 8000));
    let mut call = Call::new(
        formats(),
        phone_at(Some(PHONE), "192.0.2.20", audio(with_noise)),
    );
    let before = one(&call.phone_says(RtpHeader::new(0, 1, 160, 9)));
    assert_eq!(call.phone_says(RtpHeader::new(13, 2, 320, 9)), []);
    let after = one(&call.phone_says(RtpHeader::new(0, 3, 480, 9)));
    assert_eq!(after.seq, before.seq.wrapping_add(1));
    assert_eq!(after.timestamp, before.timestamp.wrapping_add(320));
}

#[test]
fn legs_without_a_common_codec_fail() {
    let phone = audio(vec![format(Codec::Other("G729".into()), 18, 8000)]);
    let call = Call::new(formats(), phone_at(Some(PHONE), "192.0.2.20", phone));
    assert!(call.bed.by_id_gone(1));
}

#[test]
fn both_sides_get_reports_about_their_own_stream_and_a_goodbye_ends_nothing() {
    let mut call = Call::usual();
    for seq in 0..500u16 {
        if seq % 10 != 9 {
            call.phone_says(RtpHeader::new(0, seq, 160 * u32::from(seq), 9));
        } else {
            call.bed.pass(FRAME);
        }
        let header = RtpHeader::new(0, seq, 160 * u32::from(seq), 0xb0b);
        let packet = call.browser.rtp(&header, &[7; 160]);
        call.bed.arrive(BROWSERS, addr(BROWSER), &packet);
        call.hear();
    }
    let phone_report = call.phone_report.take().expect("a report to the phone");
    let mut parts = Compound::parse(&phone_report).unwrap();
    let Some(Packet::SenderReport(report)) = parts.next() else {
        panic!()
    };
    let block = report.blocks.clone().next().unwrap();
    assert_eq!(block.ssrc, 9);
    // A tenth never came.
    assert!((20..=30).contains(&block.fraction_lost), "{block:?}");
    assert!(matches!(parts.next(), Some(Packet::Sdes(_))));
    let browser_report = call.browser_report.take().expect("a report to the browser");
    let Some(Packet::SenderReport(ours)) = Compound::parse(&browser_report).unwrap().next() else {
        panic!()
    };
    assert_eq!(ours.blocks.clone().next().unwrap().ssrc, 0xb0b);

    // The phone answers our report 30 ms later, having held it for 10 ms; and says goodbye.
    let sr = report.info.middle();
    call.bed.pass(Duration::from_secs(1));
    let mut packet = [0; 256];
    let mut writer = Writer::new(&mut packet);
    let block = ReportBlock {
        ssrc: report.ssrc,
        last_sr: sr,
        delay: 655,
        ..ReportBlock::default()
    };
    writer.sender_report(9, &SenderInfo::default(), &[block]);
    writer.bye(9);
    let len = writer.len();
    call.bed.arrive(RTCP, addr(PHONE_RTCP), &packet[..len]);
    // A stranger's says nothing.
    call.bed
        .arrive(RTCP, addr("192.0.2.66:4001"), &packet[..len]);
    one(&call.phone_says(RtpHeader::new(0, 501, 160 * 501, 9)));
    call.bed.command(Command::CloseLeg { leg: LegId(2) });
    let Some(Event::LegClosed { stats, .. }) = call.bed.events.last() else {
        panic!()
    };
    assert!(stats.round_trip_ms > 900.0, "{stats:?}");
    assert_eq!((stats.strangers, stats.lost), (1, 51));
}

#[test]
fn silence_is_told_at_10_30_and_60_seconds() {
    let mut call = Call::usual();
    call.phone_says(RtpHeader::new(0, 1, 0, 9));
    for _ in 0..20 {
        call.bed.pass(Duration::from_secs(5));
        let check = call.browser.check(true);
        call.bed.arrive(BROWSERS, addr(BROWSER), &check);
    }
    let told: Vec<u32> = call
        .bed
        .events
        .iter()
        .filter_map(|event| match event {
            Event::MediaSilent {
                leg: LegId(2),
                seconds,
            } => Some(*seconds),
            _ => None,
        })
        .collect();
    assert_eq!(told, [10, 30, 60]);
}

#[test]
fn a_repeated_command_answers_the_same_and_an_unknown_leg_is_closed_already() {
    let mut bed = Bed::new();
    let first = bed.create(
        2,
        LegSpec::Rtp {
            face: Face::Inside,
            sdes: true,
            video: false,
            ice: false,
        },
    );
    let again = bed.create(
        2,
        LegSpec::Rtp {
            face: Face::Inside,
            sdes: true,
            video: false,
            ice: false,
        },
    );
    assert_eq!(first, again);
    bed.command(Command::CloseLeg { leg: LegId(77) });
    assert!(matches!(
        bed.events.last(),
        Some(Event::LegClosed { leg: LegId(77), .. })
    ));
    bed.command(Command::Retain { groups: vec![] });
    assert!(matches!(
        bed.events.last(),
        Some(Event::LegClosed { leg: LegId(2), .. })
    ));
    bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote: phone_at(Some(PHONE), "192.0.2.20", audio(formats())),
    });
    assert!(matches!(
        bed.events.last(),
        Some(Event::LegFailed {
            leg: LegId(2),
            reason: LegFailure::Unsupported(_)
        })
    ));
}
