//! Pictures: a browser with everything on one port, a phone with a port pair for each m-line.

mod bed;

use bed::browser::{Browser, Heard, audio, format};
use bed::{BROWSERS, Bed, addr};
use media_control::{
    Codec, Command, Direction, DtlsRole, Event, Face, Format, KeyFrameRequests, LegId, LegSpec,
    LocalTransport, MediaKind, Remote, RemoteMedia, RemoteTransport, VideoAddresses,
};
use media_engine::SocketId;
use media_packet::rtcp::{Compound, Packet, Writer};
use media_packet::rtp::RtpHeader;
use std::net::SocketAddr;
use std::time::Duration;

const BROWSER: &str = "198.51.100.7:50000";
const PHONE: &str = "192.0.2.20:4000";
const PHONE_VIDEO: &str = "192.0.2.20:4010";
/// The phone's leg: two pairs of sockets.
const RTP: SocketId = SocketId(1);
const VIDEO: SocketId = SocketId(3);
const VIDEO_RTCP: SocketId = SocketId(4);
/// A key frame's first packet, and another's.
const KEY: &[u8] = &[0x10, 0x50, 1, 2];
const DELTA: &[u8] = &[0x10, 0x51, 1, 2];
const PLI: KeyFrameRequests = KeyFrameRequests {
    pli: true,
    fir: false,
};
const FIR: KeyFrameRequests = KeyFrameRequests {
    pli: false,
    fir: true,
};
const NONE: KeyFrameRequests = KeyFrameRequests {
    pli: false,
    fir: false,
};

fn vp8(pt: u8) -> Format {
    format(Codec::Vp8, pt, 90_000)
}

fn h264(pt: u8, fmtp: &str) -> Format {
    Format {
        fmtp: fmtp.to_owned(),
        ..format(Codec::H264, pt, 90_000)
    }
}

fn with_video(video: Vec<Format>, key_frame: KeyFrameRequests) -> Vec<RemoteMedia> {
    // The same payload type on both lines, as phones that number each m-line from 96 do.
    let mut media = audio(vec![format(Codec::Pcmu, 0, 8000)]);
    media.push(RemoteMedia {
        kind: MediaKind::Video,
        direction: Direction::SendRecv,
        formats: video,
        ptime_ms: 20,
        mid: None,
        key_frame,
        inband_dtmf: false,
    });
    media
}

fn phone(media: Vec<RemoteMedia>) -> Remote {
    Remote {
        transport: RemoteTransport::Rtp {
            rtp: Some(addr(PHONE)),
            rtcp: None,
            signalling: "192.0.2.20".parse().unwrap(),
            sdes: None,
            video: media.iter().any(|m| m.kind == MediaKind::Video).then(|| {
                Box::new(VideoAddresses {
                    rtp: Some(addr(PHONE_VIDEO)),
                    rtcp: None,
                })
            }),
            ice: None,
        },
        media,
    }
}

struct Call {
    bed: Bed,
    browser: Browser,
    phone: Vec<RemoteMedia>,
    seq: u16,
    phone_seq: u16,
}

/// What left towards the phone.
#[derive(Debug)]
struct Left {
    socket: SocketId,
    to: SocketAddr,
    packet: Vec<u8>,
}

impl Call {
    fn new(page: Vec<Format>, theirs: Vec<Format>, key_frame: KeyFrameRequests) -> Call {
        let mut call = Call::before(page, theirs, key_frame);
        call.connect_phone(None);
        call.bed.join(1, 2);
        call.bed.take_events();
        call
    }

    fn before(page: Vec<Format>, theirs: Vec<Format>, key_frame: KeyFrameRequests) -> Call {
        let mut bed = Bed::new();
        let mut browser = Browser::new(DtlsRole::Passive, true, bed.now);
        let local = bed.create_browser(1);
        browser.set_remote(&local);
        let local = bed.create(
            2,
            LegSpec::Rtp {
                face: Face::Inside,
                sdes: false,
                video: true,
                ice: false,
            },
        );
        let LocalTransport::Rtp { rtp, video, .. } = local else {
            panic!()
        };
        assert_ne!(rtp, video);
        assert_eq!(video.len(), 1);
        let mut remote = browser.description(Vec::new());
        remote.media = with_video(page, PLI);
        bed.command(Command::ConnectLeg {
            leg: LegId(1),
            remote,
        });
        bed.connect_browser(&mut browser, addr(BROWSER));
        Call {
            bed,
            browser,
            phone: with_video(theirs, key_frame),
            seq: 0,
            phone_seq: 0,
        }
    }

    fn connect_phone(&mut self, direction: Option<Direction>) {
        let mut media = self.phone.clone();
        for line in &mut media {
            line.direction = direction.unwrap_or(line.direction);
        }
        self.bed.command(Command::ConnectLeg {
            leg: LegId(2),
            remote: phone(media),
        });
    }

    fn page_sends(&mut self, pt: u8, ssrc: u32, payload: &[u8]) -> Vec<Left> {
        let header = RtpHeader::new(pt, self.seq, u32::from(self.seq) * 3000, ssrc);
        self.seq += 1;
        let packet = self.browser.rtp(&header, payload);
        self.bed.arrive(BROWSERS, addr(BROWSER), &packet);
        // Reports stay where they are.
        let (media, rest) = self
            .bed
            .take_sent()
            .into_iter()
            .partition(|sent| [RTP, VIDEO].contains(&sent.path.socket));
        self.bed.sent = rest;
        Vec::<bed::Sent>::into_iter(media)
            .map(|sent| Left {
                socket: sent.path.socket,
                to: sent.path.remote,
                packet: sent.packet,
            })
            .collect()
    }

    fn page_shows(&mut self, payload: &[u8]) -> Vec<Left> {
        self.bed.pass(Duration::from_millis(33));
        self.page_sends(96, 0xb0b, payload)
    }

    fn page_reports(&mut self, write: impl FnOnce(&mut Writer<'_>)) -> Vec<Left> {
        let mut packet = vec![0; 300];
        let mut writer = Writer::new(&mut packet[..200]);
        writer.receiver_report(1, &[]);
        write(&mut writer);
        let len = writer.len();
        let (_, _, outbound) = self.browser.keys.as_mut().unwrap();
        let len = outbound.seal_rtcp(&mut packet, len).unwrap();
        self.bed.arrive(BROWSERS, addr(BROWSER), &packet[..len]);
        self.left()
    }

    fn left(&mut self) -> Vec<Left> {
        let (to_page, to_phone) = self
            .bed
            .take_sent()
            .into_iter()
            .partition(|sent| sent.path.socket == BROWSERS);
        self.bed.sent = to_page;
        let to_phone: Vec<bed::Sent> = to_phone;
        to_phone
            .into_iter()
            .map(|sent| Left {
                socket: sent.path.socket,
                to: sent.path.remote,
                packet: sent.packet,
            })
            .collect()
    }

    fn phone_sends_from(
        &mut self,
        socket: SocketId,
        from: &str,
        pt: u8,
        payload: &[u8],
    ) -> Vec<Heard> {
        // One SSRC for both ports: each is a session of its own.
        let header = RtpHeader::new(pt, self.phone_seq, u32::from(self.phone_seq) * 3000, 9);
        self.phone_seq += 1;
        let mut packet = vec![0; 12];
        header.write(&mut packet).unwrap();
        packet.extend(payload);
        self.bed.arrive(socket, addr(from), &packet);
        self.page_hears()
    }

    fn phone_shows(&mut self, payload: &[u8]) -> Vec<Heard> {
        self.bed.pass(Duration::from_millis(33));
        self.phone_sends_from(VIDEO, PHONE_VIDEO, 96, payload)
    }

    fn phone_reports(&mut self, write: impl FnOnce(&mut Writer<'_>)) -> Vec<Heard> {
        let mut packet = vec![0; 200];
        let mut writer = Writer::new(&mut packet);
        write(&mut writer);
        let len = writer.len();
        self.bed
            .arrive(VIDEO_RTCP, addr("192.0.2.20:4011"), &packet[..len]);
        self.page_hears()
    }

    fn page_hears(&mut self) -> Vec<Heard> {
        let (to_page, to_phone) = self
            .bed
            .take_sent()
            .into_iter()
            .partition(|sent| sent.path.socket == BROWSERS);
        self.bed.sent = to_page;
        let heard = self.bed.exchange(&mut self.browser, addr(BROWSER));
        self.bed.sent = to_phone;
        heard
    }

    /// How often the page was asked for a whole picture, and by which SSRC.
    fn asked_of_page(&mut self) -> Vec<u32> {
        asked(&self.page_hears())
    }

    /// The same of the phone: PLI or FIR with its number, and the SSRC.
    fn asked_of_phone(&mut self) -> Vec<(Option<u8>, u32)> {
        self.left()
            .iter()
            .filter(|left| left.socket == VIDEO_RTCP)
            .flat_map(|left| {
                assert_eq!(left.to, addr("192.0.2.20:4011"));
                requests(&left.packet)
            })
            .collect()
    }
}

fn asked(heard: &[Heard]) -> Vec<u32> {
    heard
        .iter()
        .flat_map(|heard| match heard {
            Heard::Rtcp(packet) => requests(packet),
            _ => Vec::new(),
        })
        .map(|(_, ssrc)| ssrc)
        .collect()
}

fn requests(packet: &[u8]) -> Vec<(Option<u8>, u32)> {
    Compound::parse(packet)
        .unwrap()
        .flat_map(|part| match part {
            Packet::Pli(feedback) => vec![(None, feedback.media)],
            Packet::Fir(fir) => fir
                .requests()
                .map(|(ssrc, number)| (Some(number), ssrc))
                .collect(),
            _ => Vec::new(),
        })
        .collect()
}

fn pictures(heard: &[Heard]) -> Vec<RtpHeader> {
    heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Rtp { header, .. } => Some(*header),
            _ => None,
        })
        .collect()
}

#[test]
fn sound_and_pictures_each_leave_by_their_own_port() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(97)], PLI);
    call.phone[1].formats[0].receive_pt = 96;
    call.connect_phone(None);
    for _ in 0..5 {
        let sent = call.page_sends(0, 0xa0a, &[7; 160]);
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].socket, sent[0].to), (RTP, addr(PHONE)));
        let sent = call.page_shows(KEY);
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!((sent[0].socket, sent[0].to), (VIDEO, addr(PHONE_VIDEO)));
        let header = RtpHeader::parse(&sent[0].packet).unwrap();
        assert_eq!(header.pt, 97);
        assert_ne!(header.ssrc, 0xb0b);
        assert_eq!(&sent[0].packet[12..], KEY);
    }
    let heard = call.phone_sends_from(RTP, PHONE, 0, &[0x55; 160]);
    let sound = pictures(&heard)[0];
    let picture = pictures(&call.phone_shows(KEY))[0];
    assert_eq!((sound.pt, picture.pt), (0, 96));
    assert_ne!(sound.ssrc, picture.ssrc);
}

#[test]
fn a_payload_type_means_what_its_own_port_says() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
    call.phone[0].formats = vec![
        format(Codec::Opus, 96, 48_000),
        format(Codec::Pcmu, 0, 8000),
    ];
    call.connect_phone(None);
    let heard = call.phone_shows(KEY);
    assert_eq!(pictures(&heard)[0].pt, 96);
    // Opus, which the page has not: transcoded, so nothing leaves as it came.
    assert!(pictures(&call.phone_sends_from(RTP, PHONE, 96, KEY)).is_empty());
    // Sound on the pictures' port is nobody's.
    assert!(pictures(&call.phone_sends_from(VIDEO, PHONE_VIDEO, 0, &[0x55; 160])).is_empty());
}

#[test]
fn each_port_is_for_the_address_of_its_own_line() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
    for (socket, from) in [
        (VIDEO, PHONE),
        (RTP, PHONE_VIDEO),
        (VIDEO, "192.0.2.66:4010"),
        (VIDEO, "192.0.2.20:4012"),
    ] {
        assert!(pictures(&call.phone_sends_from(socket, from, 96, KEY)).is_empty());
    }
    assert_eq!(pictures(&call.phone_shows(KEY)).len(), 1);
    call.bed.command(Command::CloseLeg { leg: LegId(2) });
    let Some(Event::LegClosed { stats, .. }) = call.bed.events.last() else {
        panic!()
    };
    assert_eq!((stats.strangers, stats.received), (4, 1));
}

#[test]
fn a_marker_ends_a_picture_and_is_left_alone() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
    let first = call.page_shows(KEY);
    assert!(!RtpHeader::parse(&first[0].packet).unwrap().marker);
    call.bed.pass(Duration::from_secs(4));
    let later = call.page_shows(KEY);
    assert!(!RtpHeader::parse(&later[0].packet).unwrap().marker);
}

#[test]
fn the_far_end_is_not_told_that_what_was_withheld_from_it_is_complete() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
    let before = RtpHeader::parse(&call.page_shows(KEY)[0].packet).unwrap();
    call.connect_phone(Some(Direction::Inactive));
    assert!(call.page_shows(DELTA).is_empty());
    call.connect_phone(None);
    let sent: Vec<Left> = call.page_shows(DELTA);
    let after = RtpHeader::parse(&sent[0].packet).unwrap();
    assert_eq!(after.ssrc, before.ssrc);
    assert_eq!(after.seq, before.seq.wrapping_add(2));
}

#[test]
fn the_page_wants_a_picture_and_the_phone_is_asked_as_it_said() {
    for (key_frame, fir) in [(PLI, None), (FIR, Some(1))] {
        let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], key_frame);
        let ssrc = pictures(&call.phone_shows(KEY))[0].ssrc;
        call.page_reports(|writer| {
            writer.pli(1, ssrc ^ 1);
        });
        assert_eq!(call.asked_of_phone(), []);
        for _ in 0..5 {
            let sent = call.page_reports(|writer| {
                writer.pli(1, ssrc);
            });
            call.bed.sent.extend(sent.into_iter().map(|left| bed::Sent {
                path: media_engine::Path {
                    socket: left.socket,
                    local: None,
                    remote: left.to,
                },
                packet: left.packet,
            }));
        }
        assert_eq!(call.asked_of_phone(), [(fir, 9)]);
        // What came too soon is asked a little later, once.
        call.bed.pass(Duration::from_millis(499));
        assert_eq!(call.asked_of_phone(), []);
        call.bed.pass(Duration::from_millis(1));
        assert_eq!(call.asked_of_phone(), [(fir.map(|n| n + 1), 9)]);
        call.bed.pass(Duration::from_secs(2));
        assert_eq!(call.asked_of_phone(), []);
    }
}

#[test]
fn a_key_frame_that_came_meanwhile_answers_the_second_request_too() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
    let ssrc = pictures(&call.phone_shows(KEY))[0].ssrc;
    for _ in 0..2 {
        call.page_reports(|writer| {
            writer.fir(1, ssrc, 7);
        });
    }
    call.left();
    call.phone_shows(KEY);
    call.left();
    call.bed.pass(Duration::from_secs(2));
    assert_eq!(call.asked_of_phone(), []);
}

#[test]
fn a_phone_that_takes_no_such_rtcp_is_asked_by_signalling_once_a_second() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], NONE);
    let ssrc = pictures(&call.phone_shows(KEY))[0].ssrc;
    let wanted = Event::KeyFrameWanted { leg: LegId(2) };
    call.bed.take_events();
    for _ in 0..31 {
        call.page_reports(|writer| {
            writer.pli(1, ssrc);
        });
        call.bed.pass(Duration::from_millis(100));
    }
    let events = call.bed.take_events();
    assert_eq!(events.iter().filter(|event| **event == wanted).count(), 4);
    assert_eq!(call.asked_of_phone(), []);
}

#[test]
fn the_phone_wants_a_picture_and_the_page_is_asked() {
    type Ask = fn(&mut Writer<'_>);
    let asks: [Ask; 3] = [
        |writer| {
            writer.pli(9, 0);
        },
        |writer| {
            writer.fir(9, 0, 1);
        },
        |writer| {
            writer.receiver_report(9, &[]);
            writer.pli(9, 0x1234);
        },
    ];
    for ask in asks {
        let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
        call.page_shows(KEY);
        let heard = call.phone_reports(ask);
        let [Heard::Rtcp(packet)] = heard.as_slice() else {
            panic!("{heard:?}")
        };
        assert_eq!(requests(packet), [(None, 0xb0b)]);
    }
    // As phones of old ask: RFC 2032, type 192.
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
    call.page_shows(KEY);
    let old = [0x80, 192, 0, 1, 0, 0, 0, 9];
    call.bed.arrive(VIDEO_RTCP, addr("192.0.2.66:4011"), &old);
    assert!(call.asked_of_page().is_empty(), "a stranger asks nothing");
    call.bed.arrive(VIDEO_RTCP, addr("192.0.2.20:4011"), &old);
    assert_eq!(call.asked_of_page(), [0xb0b]);
}

#[test]
fn signalling_may_ask_too_and_not_more_often() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
    let ask = Command::RequestKeyFrame { leg: LegId(1) };
    call.bed.command(ask.clone());
    assert!(
        call.asked_of_page().is_empty(),
        "nothing came that could be asked for"
    );
    call.page_shows(KEY);
    for _ in 0..20 {
        call.bed.command(ask.clone());
        call.bed.pass(Duration::from_millis(50));
    }
    assert_eq!(call.asked_of_page(), [0xb0b; 3]);
}

#[test]
fn both_are_asked_when_the_legs_are_joined_and_until_a_whole_picture_has_passed() {
    let mut call = Call::before(vec![vp8(96)], vec![vp8(96)], PLI);
    call.connect_phone(None);
    // What came before the join went nowhere.
    call.page_shows(KEY);
    call.phone_shows(KEY);
    call.left();
    call.bed.join(1, 2);
    assert_eq!(call.asked_of_phone(), [(None, 9)]);
    assert_eq!(call.asked_of_page(), [0xb0b]);
    // The requests are lost: only parts of old pictures come.
    let (mut page, mut phone) = (0, 0);
    for _ in 0..30 {
        call.page_shows(DELTA);
        page += asked(&call.phone_shows(DELTA)).len();
        phone += call.asked_of_phone().len();
    }
    // Two seconds, and twice a second at most.
    assert_eq!((page, phone), (3, 3));
    call.page_shows(KEY);
    call.phone_shows(KEY);
    call.left();
    call.page_hears();
    for _ in 0..100 {
        call.page_shows(DELTA);
        assert!(asked(&call.phone_shows(DELTA)).is_empty());
        assert_eq!(call.asked_of_phone(), []);
    }
}

#[test]
fn both_are_asked_at_once_after_hold() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], FIR);
    call.page_shows(KEY);
    call.phone_shows(KEY);
    call.connect_phone(Some(Direction::Inactive));
    call.bed.pass(Duration::from_secs(5));
    call.left();
    call.page_hears();
    call.connect_phone(None);
    assert_eq!(call.asked_of_phone(), [(Some(1), 9)]);
    assert_eq!(call.asked_of_page(), [0xb0b]);
}

#[test]
fn one_ways_hold_is_enough_for_both_to_be_asked() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
    call.page_shows(KEY);
    call.phone_shows(KEY);
    // The phone holds: it could go on sending, and does not.
    call.connect_phone(Some(Direction::RecvOnly));
    call.bed.pass(Duration::from_millis(600));
    call.left();
    call.page_hears();
    call.connect_phone(None);
    assert_eq!(call.asked_of_phone(), [(None, 9)]);
    assert_eq!(call.asked_of_page(), [0xb0b]);
}

#[test]
fn a_stream_that_goes_on_after_a_pause_without_a_whole_picture_is_asked_for_one() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
    call.phone_shows(KEY);
    call.phone_shows(DELTA);
    call.bed.pass(Duration::from_secs(2));
    call.left();
    call.phone_shows(DELTA);
    assert_eq!(call.asked_of_phone(), [(None, 9)]);
    call.phone_shows(KEY);
    call.bed.pass(Duration::from_secs(2));
    call.phone_shows(KEY);
    assert_eq!(call.asked_of_phone(), []);
}

#[test]
fn a_phone_that_never_makes_a_whole_picture_is_let_be() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
    let mut asked = 0;
    for _ in 0..600 {
        call.phone_shows(DELTA);
        asked += call.asked_of_phone().len();
    }
    assert_eq!(asked, 6);
}

#[test]
fn h264_passes_where_profile_and_packetization_mode_agree() {
    let page = || {
        vec![
            h264(102, "packetization-mode=1;profile-level-id=42001f"),
            h264(104, "packetization-mode=0;profile-level-id=42001f"),
            h264(106, "packetization-mode=1;profile-level-id=42e01f"),
            h264(108, "packetization-mode=0;profile-level-id=42e01f"),
        ]
    };
    let theirs = vec![h264(99, "profile-level-id=42e00c")];
    let mut call = Call::new(page(), theirs, PLI);
    for (pt, passes) in [(102, false), (104, true), (106, false), (108, true)] {
        let sent = call.page_sends(pt, 0xb0b, &[0x65, 1, 2]);
        assert_eq!(sent.len(), usize::from(passes), "{pt}");
    }
    assert_eq!(
        pictures(&call.phone_sends_from(VIDEO, PHONE_VIDEO, 99, &[0x65, 1]))[0].pt,
        108
    );
}

#[test]
fn no_common_picture_format_costs_no_sound() {
    let mut call = Call::new(vec![vp8(96)], vec![h264(99, "")], PLI);
    assert_eq!(call.page_sends(0, 0xa0a, &[7; 160]).len(), 1);
    assert!(call.page_shows(KEY).is_empty());
    call.phone[0].direction = Direction::Inactive;
    call.connect_phone(None);
    assert!(!call.bed.has_failed());
}

#[test]
fn reports_go_to_each_port_about_what_came_there() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
    let mut blocks = Vec::new();
    for _ in 0..400 {
        call.page_sends(0, 0xa0a, &[7; 160]);
        call.page_shows(KEY);
        call.phone_sends_from(RTP, PHONE, 0, &[0x55; 160]);
        call.phone_shows(KEY);
        for left in call.left() {
            if left.socket != SocketId(2) && left.socket != VIDEO_RTCP {
                continue;
            }
            for part in Compound::parse(&left.packet).unwrap() {
                if let Packet::SenderReport(report) = part {
                    blocks.push((left.socket, left.to, report.blocks.count()));
                }
            }
        }
    }
    for (socket, port) in [
        (SocketId(2), "192.0.2.20:4001"),
        (VIDEO_RTCP, "192.0.2.20:4011"),
    ] {
        assert!(blocks.contains(&(socket, addr(port), 1)), "{blocks:?}");
    }
    assert!(blocks.iter().all(|(_, _, count)| *count == 1));
}

#[test]
fn a_leg_with_two_pairs_goes_on_after_it_was_written_down() {
    let mut call = Call::new(vec![vp8(96)], vec![vp8(96)], PLI);
    call.phone_shows(KEY);
    let before = RtpHeader::parse(&call.page_shows(KEY)[0].packet).unwrap();
    let snapshots: Vec<_> = [1, 2]
        .map(|leg| call.bed.legs.snapshot(LegId(leg)).unwrap())
        .into_iter()
        .map(|snapshot| {
            let mut bytes = Vec::new();
            ciborium::into_writer(&snapshot, &mut bytes).unwrap();
            bytes
        })
        .collect();
    let pair = |socket: u32, port: u16| media_engine::PortPair {
        rtp: SocketId(socket),
        rtcp: SocketId(socket + 1),
        bound: SocketAddr::from(([203, 0, 113, 2], port)),
        announced: SocketAddr::from(([203, 0, 113, 2], port)),
    };
    let mut bed = Bed::new();
    bed.now = call.bed.now;
    for (snapshot, ports) in snapshots
        .iter()
        .zip([Vec::new(), vec![pair(1, 20_000), pair(3, 20_002)]])
    {
        let snapshot = ciborium::from_reader(snapshot.as_slice()).unwrap();
        bed.legs.restore(snapshot, ports, bed.now).unwrap();
    }
    call.bed = bed;
    let sent = call.page_shows(KEY);
    let pictures_left: Vec<&Left> = sent.iter().filter(|left| left.socket == VIDEO).collect();
    let [left] = pictures_left.as_slice() else {
        panic!("{sent:?}")
    };
    let after = RtpHeader::parse(&left.packet).unwrap();
    assert_eq!((left.to, after.ssrc), (addr(PHONE_VIDEO), before.ssrc));
    assert_eq!(pictures(&call.phone_shows(KEY)).len(), 1);
}
