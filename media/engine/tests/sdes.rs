//! SRTP with SIP peers under keys of their descriptions: both ways, relayed and transcoded, beside browsers and
//! other phones, through new keys and wraps.

mod bed;

use bed::browser::{Browser, Heard, audio, format};
use bed::call::{Mouth, PHONE, RTP, pcma, pcmu};
use bed::{BROWSERS, Bed, addr};
use media_control::{
    Codec, Command, DtlsRole, Event, Face, Format, LegId, LegSpec, LegStats, LocalTransport,
    Remote, RemoteTransport, SdesKey,
};
use media_engine::SocketId;
use media_packet::rtp::RtpHeader;
use media_packet::srtp::Context;
use std::net::SocketAddr;
use std::time::Duration;

const BROWSER: &str = "198.51.100.7:50000";
const FRAME: Duration = Duration::from_millis(20);
/// The first SIP leg's RTCP socket, and the second's RTP socket.
const RTCP: SocketId = SocketId(2);
const SECOND: SocketId = SocketId(3);

fn keyed_leg() -> LegSpec {
    LegSpec::Rtp {
        face: Face::Inside,
        sdes: true,
        video: false,
        ice: false,
    }
}

fn drawn(local: LocalTransport) -> Vec<SdesKey> {
    match local {
        LocalTransport::Rtp { sdes, .. } => sdes,
        _ => panic!("a SIP leg"),
    }
}

/// A phone with keys: what it sends is closed, what it gets is opened.
struct Phone {
    leg: u64,
    socket: SocketId,
    at: SocketAddr,
    ours: SdesKey,
    theirs: SdesKey,
    outbound: Context,
    inbound: Context,
    seq: u16,
}

impl Phone {
    fn new(leg: u64, socket: SocketId, at: &str, ours: SdesKey) -> Phone {
        let theirs = SdesKey {
            key_and_salt: ours.key_and_salt.iter().map(|b| b ^ 0x5a).collect(),
            ..ours.clone()
        };
        Phone {
            leg,
            socket,
            at: addr(at),
            outbound: Context::new(theirs.profile, &theirs.key_and_salt).unwrap(),
            inbound: Context::new(ours.profile, &ours.key_and_salt).unwrap(),
            ours,
            theirs,
            seq: 1,
        }
    }

    fn describes(&self, formats: Vec<Format>) -> Command {
        Command::ConnectLeg {
            leg: LegId(self.leg),
            remote: Remote {
                transport: RemoteTransport::Rtp {
                    rtp: Some(self.at),
                    rtcp: None,
                    signalling: self.at.ip(),
                    sdes: Some((self.theirs.clone(), self.ours.clone())),
                    video: None,
                    ice: None,
                },
                media: audio(formats),
            },
        }
    }

    /// From now on it sends with another key.
    fn rekeys(&mut self, with: u8) {
        for byte in &mut self.theirs.key_and_salt {
            *byte ^= with;
        }
        self.outbound = Context::new(self.theirs.profile, &self.theirs.key_and_salt).unwrap();
    }

    fn packet(&mut self, pt: u8, payload: &[u8]) -> Vec<u8> {
        let header = RtpHeader::new(pt, self.seq, u32::from(self.seq) * 160, 0x77);
        self.seq = self.seq.wrapping_add(1);
        let mut packet = vec![0; 12];
        header.write(&mut packet).unwrap();
        packet.extend(payload);
        let len = packet.len();
        packet.extend([0; 32]);
        let sealed = self.outbound.seal_rtp(&mut packet, len, &header).unwrap();
        packet.truncate(sealed);
        packet
    }

    fn says(&mut self, bed: &mut Bed, pt: u8, payload: &[u8]) {
        let packet = self.packet(pt, payload);
        bed.arrive(self.socket, self.at, &packet);
    }

    /// Opens what was sent to its RTP port; all of it must be authentic.
    fn hears(&mut self, bed: &mut Bed) -> Vec<(RtpHeader, Vec<u8>)> {
        let (mine, others) = bed
            .take_sent()
            .into_iter()
            .partition(|sent| sent.path.remote == self.at);
        bed.sent = others;
        let mine: Vec<bed::Sent> = mine;
        mine.into_iter()
            .map(|sent| {
                let mut packet = sent.packet;
                let header = RtpHeader::parse(&packet).unwrap();
                let len = self.inbound.open_rtp(&mut packet, &header).unwrap();
                (header, packet[header.header_len..len].to_vec())
            })
            .collect()
    }
}

fn closed(bed: &mut Bed, leg: u64) -> LegStats {
    bed.command(Command::CloseLeg { leg: LegId(leg) });
    let stats = bed.events.iter().rev().find_map(|event| match event {
        Event::LegClosed { leg: id, stats } if id.0 == leg => Some(stats.clone()),
        _ => None,
    });
    stats.expect("a record")
}

/// A browser joined to a phone with keys of the suite that media drew as `nth`.
fn call(nth: usize, browser: Vec<Format>, phone: Vec<Format>) -> (Bed, Browser, Phone) {
    let mut bed = Bed::new();
    let mut page = Browser::new(DtlsRole::Passive, true, bed.now);
    let local = bed.create_browser(1);
    page.set_remote(&local);
    let keys = drawn(bed.create(2, keyed_leg()));
    let remote = page.description(browser);
    bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    bed.connect_browser(&mut page, addr(BROWSER));
    let far = Phone::new(2, RTP, PHONE, keys[nth].clone());
    bed.command(far.describes(phone));
    bed.join(1, 2);
    (bed, page, far)
}

fn heard(bed: &mut Bed, browser: &mut Browser) -> Vec<Vec<u8>> {
    let all = bed.exchange(browser, addr(BROWSER)).into_iter();
    all.filter_map(|heard| match heard {
        Heard::Rtp { payload, .. } => Some(payload),
        _ => None,
    })
    .collect()
}

fn browser_says(bed: &mut Bed, browser: &mut Browser, pt: u8, seq: u16, payload: &[u8]) {
    let step = if pt == 111 { 960 } else { 160 };
    let header = RtpHeader::new(pt, seq, u32::from(seq) * step, 0xb0b);
    let packet = browser.rtp(&header, payload);
    bed.arrive(BROWSERS, addr(BROWSER), &packet);
}

#[test]
fn a_browser_and_a_phone_with_keys_hear_each_other_in_every_suite() {
    for nth in 0..4 {
        let (mut bed, mut browser, mut phone) = call(nth, vec![pcmu()], vec![pcmu()]);
        for seq in 1..20_u8 {
            bed.pass(FRAME);
            phone.says(&mut bed, 0, &[seq; 160]);
            assert_eq!(heard(&mut bed, &mut browser), [[seq; 160]]);
            browser_says(
                &mut bed,
                &mut browser,
                0,
                u16::from(seq),
                &[seq ^ 0xff; 160],
            );
            let at_phone = phone.hears(&mut bed);
            assert_eq!(at_phone.len(), 1);
            assert_eq!(at_phone[0].1, [seq ^ 0xff; 160]);
        }
        assert!(!closed(&mut bed, 2).srtp.is_empty());
    }
}

#[test]
fn sound_of_another_codec_is_transcoded_between_both_kinds_of_keys() {
    let opus = format(Codec::Opus, 111, 48_000);
    let (mut bed, mut browser, mut phone) = call(2, vec![opus], vec![pcma()]);
    let mut mouths = (Mouth::new(&Codec::Opus), Mouth::new(&Codec::Pcma));
    let (mut at_page, mut at_phone) = (0, 0);
    for seq in 1..50_u16 {
        bed.pass(FRAME);
        let opus = mouths.0.say(&[300; 160]);
        browser_says(&mut bed, &mut browser, 111, seq, &opus);
        let alaw = mouths.1.say(&[300; 160]);
        phone.says(&mut bed, 8, &alaw);
        at_phone += phone
            .hears(&mut bed)
            .iter()
            .filter(|(header, payload)| header.pt == 8 && payload.len() == 160)
            .count();
        at_page += heard(&mut bed, &mut browser).len();
    }
    assert!(at_page > 40 && at_phone > 40, "{at_page} {at_phone}");
    assert_eq!(closed(&mut bed, 2).road, "transcoded");
}

#[test]
fn two_phones_with_keys_of_their_own_are_joined_and_each_hears_its_own() {
    let mut bed = Bed::new();
    let first = drawn(bed.create(2, keyed_leg()));
    let second = drawn(bed.create(3, keyed_leg()));
    let mut a = Phone::new(2, RTP, PHONE, first[0].clone());
    let mut b = Phone::new(3, SECOND, "192.0.2.30:6000", second[3].clone());
    bed.command(a.describes(vec![pcmu()]));
    bed.command(b.describes(vec![pcmu()]));
    bed.join(2, 3);
    for n in 1..10 {
        bed.pass(FRAME);
        a.says(&mut bed, 0, &[n; 160]);
        assert_eq!(b.hears(&mut bed)[0].1, [n; 160]);
        b.says(&mut bed, 0, &[n ^ 0x80; 160]);
        assert_eq!(a.hears(&mut bed)[0].1, [n ^ 0x80; 160]);
    }
    // And one with keys to one without.
    let mut bed = Bed::new();
    let keys = drawn(bed.create(2, keyed_leg()));
    bed.create(3, bed::call::rtp_leg());
    let mut a = Phone::new(2, RTP, PHONE, keys[1].clone());
    bed.command(a.describes(vec![pcmu()]));
    bed.command(Command::ConnectLeg {
        leg: LegId(3),
        remote: bed::call::phone_at("192.0.2.30:6000", audio(vec![pcmu()])),
    });
    bed.join(2, 3);
    a.says(&mut bed, 0, &[9; 160]);
    let sent = bed.take_sent();
    assert_eq!(sent[0].packet[12..], [9; 160]);
    let mut plain = vec![0; 12];
    RtpHeader::new(0, 5, 800, 4).write(&mut plain).unwrap();
    plain.extend([8; 160]);
    bed.arrive(SECOND, addr("192.0.2.30:6000"), &plain);
    assert_eq!(a.hears(&mut bed)[0].1, [8; 160]);
}

#[test]
fn what_comes_unencrypted_forged_or_again_is_dropped_and_counted() {
    let (mut bed, mut browser, mut phone) = call(0, vec![pcmu()], vec![pcmu()]);
    let good = phone.packet(0, &[1; 160]);
    bed.arrive(RTP, addr(PHONE), &good);
    assert_eq!(heard(&mut bed, &mut browser).len(), 1);
    let mut plain = vec![0; 12];
    RtpHeader::new(0, 2, 320, 0x77).write(&mut plain).unwrap();
    plain.extend([0x55; 160]);
    let mut forged = phone.packet(0, &[2; 160]);
    forged[20] ^= 1;
    for packet in [&plain, &forged, &good, &good[..20].to_vec()] {
        bed.arrive(RTP, addr(PHONE), packet);
        assert_eq!(heard(&mut bed, &mut browser), Vec::<Vec<u8>>::new());
    }
    // A report in the clear, too.
    let report = [0x80, 201, 0, 1, 0, 0, 0, 0x77];
    bed.arrive(RTCP, addr("192.0.2.20:4001"), &report);
    assert_eq!(closed(&mut bed, 2).unauthentic, 5);
}

#[test]
fn reports_are_closed_and_opened_too() {
    let (mut bed, mut browser, mut phone) = call(1, vec![pcmu()], vec![pcmu()]);
    let mut reports = 0;
    for seq in 1..600_u16 {
        bed.pass(FRAME);
        phone.says(&mut bed, 0, &[1; 160]);
        browser_says(&mut bed, &mut browser, 0, seq, &[2; 160]);
        let to_rtcp: Vec<Vec<u8>> = bed
            .sent
            .iter()
            .filter(|sent| sent.path.remote == addr("192.0.2.20:4001"))
            .map(|sent| sent.packet.clone())
            .collect();
        for mut packet in to_rtcp {
            reports += 1;
            let len = phone.inbound.open_rtcp(&mut packet).unwrap();
            assert!(packet[1] == 200 && len >= 28);
        }
        phone.hears(&mut bed);
        heard(&mut bed, &mut browser);
    }
    assert!(reports >= 2, "{reports}");
    let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 0x77];
    report.extend([0; 32]);
    let len = phone.outbound.seal_rtcp(&mut report, 8).unwrap();
    bed.arrive(RTCP, addr("192.0.2.20:4001"), &report[..len]);
    assert_eq!(closed(&mut bed, 2).unauthentic, 0);
}

#[test]
fn a_wrap_of_the_sequence_is_followed_both_ways() {
    let (mut bed, mut browser, mut phone) = call(0, vec![pcmu()], vec![pcmu()]);
    phone.seq = 65_000;
    for seq in 65_000..66_200_u32 {
        let seq = u16::try_from(seq & 0xffff).unwrap();
        bed.pass(FRAME);
        phone.says(&mut bed, 0, &[3; 160]);
        assert_eq!(heard(&mut bed, &mut browser), [[3; 160]]);
        browser_says(&mut bed, &mut browser, 0, seq, &[4; 160]);
        assert_eq!(
            phone
                .hears(&mut bed)
                .iter()
                .filter(|(_, p)| *p == [4; 160])
                .count(),
            1
        );
        if seq % 500 == 0 {
            let check = browser.check(true);
            bed.arrive(BROWSERS, addr(BROWSER), &check);
        }
    }
}

#[test]
fn a_new_key_of_the_peers_is_used_at_once_and_ours_goes_on_counting() {
    let (mut bed, mut browser, mut phone) = call(0, vec![pcmu()], vec![pcmu()]);
    phone.says(&mut bed, 0, &[1; 160]);
    browser_says(&mut bed, &mut browser, 0, 1, &[4; 160]);
    let first = phone.hears(&mut bed)[0].0;
    heard(&mut bed, &mut browser);
    let old = phone.packet(0, &[9; 160]);
    phone.rekeys(0x0f);
    bed.command(phone.describes(vec![pcmu()]));
    bed.arrive(RTP, addr(PHONE), &old);
    assert_eq!(heard(&mut bed, &mut browser), Vec::<Vec<u8>>::new());
    phone.says(&mut bed, 0, &[2; 160]);
    assert_eq!(heard(&mut bed, &mut browser), [[2; 160]]);
    // Its context for what we send is the one that it had: a repeated index would not open.
    browser_says(&mut bed, &mut browser, 0, 2, &[5; 160]);
    let (second, payload) = phone.hears(&mut bed).remove(0);
    assert_eq!((payload, second.ssrc), (vec![5; 160], first.ssrc));
    assert_eq!(second.seq, first.seq.wrapping_add(1));
    // The same description again changes nothing.
    bed.command(phone.describes(vec![pcmu()]));
    phone.says(&mut bed, 0, &[3; 160]);
    assert_eq!(heard(&mut bed, &mut browser), [[3; 160]]);
}

#[test]
fn another_device_that_takes_over_after_a_wrap_can_open_what_we_send() {
    let (mut bed, mut browser, mut phone) = call(0, vec![pcmu()], vec![pcmu()]);
    for seq in 0..66_000_u32 {
        let seq = u16::try_from(seq & 0xffff).unwrap();
        bed.now += Duration::from_millis(2);
        browser_says(&mut bed, &mut browser, 0, seq, &[4; 160]);
        phone.hears(&mut bed);
        if seq % 500 == 0 {
            let check = browser.check(true);
            bed.arrive(BROWSERS, addr(BROWSER), &check);
            bed.take_sent();
        }
    }
    phone.rekeys(0x33);
    bed.command(phone.describes(vec![pcmu()]));
    // It has never heard of us, and takes the rollover counter to be zero.
    phone.inbound = Context::new(phone.ours.profile, &phone.ours.key_and_salt).unwrap();
    for seq in 500..520 {
        bed.pass(FRAME);
        browser_says(&mut bed, &mut browser, 0, seq, &[6; 160]);
        assert_eq!(phone.hears(&mut bed)[0].1, [6; 160]);
    }
}
