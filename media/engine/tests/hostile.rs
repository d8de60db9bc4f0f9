//! What strangers and broken peers send: nothing dies, nothing answers, and the call beside goes on.

mod bed;

use bed::browser::{Browser, Heard, audio, format};
use bed::{BROWSERS, Bed, addr};
use media_control::{
    Codec, Command, DtlsRole, Event, Face, GroupId, LegFailure, LegId, LegSpec, Remote,
    RemoteTransport,
};
use media_engine::SocketId;
use media_packet::rtp::RtpHeader;
use std::time::Duration;

const BROWSER: &str = "198.51.100.7:50000";
const ATTACKER: &str = "203.0.113.66:1";
const PHONE: &str = "192.0.2.20:4000";
const RTP: SocketId = SocketId(1);
const RTCP: SocketId = SocketId(2);

fn connected(bed: &mut Bed, leg: u64, remote: &str) -> Browser {
    let mut browser = Browser::new(DtlsRole::Passive, true, bed.now);
    let local = bed.create_browser(leg);
    browser.set_remote(&local);
    let description = browser.description(vec![format(Codec::Pcmu, 0, 8000)]);
    bed.command(Command::ConnectLeg {
        leg: LegId(leg),
        remote: description,
    });
    bed.connect_browser(&mut browser, addr(remote));
    browser
}

fn call() -> (Bed, Browser) {
    let mut bed = Bed::new();
    let browser = connected(&mut bed, 1, BROWSER);
    bed.create(
        2,
        LegSpec::Rtp {
            face: Face::Inside,
            sdes: false,
            video: false,
            ice: false,
        },
    );
    let remote = Remote {
        transport: RemoteTransport::Rtp {
            rtp: Some(addr(PHONE)),
            rtcp: None,
            signalling: "192.0.2.20".parse().unwrap(),
            sdes: None,
            video: None,
            ice: None,
        },
        media: audio(vec![format(Codec::Pcmu, 0, 8000)]),
    };
    bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote,
    });
    bed.join(1, 2);
    bed.take_events();
    bed.take_sent();
    (bed, browser)
}

/// The browser speaks, and the phone hears exactly that.
fn speaks(bed: &mut Bed, browser: &mut Browser, seq: u16) {
    let header = RtpHeader::new(0, seq, u32::from(seq) * 160, 0xb0b);
    let packet = browser.rtp(&header, &[9; 160]);
    bed.take_sent();
    bed.arrive(BROWSERS, addr(BROWSER), &packet);
    let sent = bed.take_sent();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(
        (sent[0].path.remote, &sent[0].packet[12..]),
        (addr(PHONE), &[9; 160][..])
    );
}

/// Small, good enough, and the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_be_bytes()[3]
    }

    fn packet(&mut self) -> Vec<u8> {
        let len = usize::from(self.next()) + usize::from(self.next() & 3) * 256;
        (0..len).map(|_| self.next()).collect()
    }
}

#[test]
fn noise_from_strangers_touches_nothing_and_gets_no_answer() {
    let (mut bed, mut browser) = call();
    let mut noise = Noise(7);
    for seq in 0..2000u16 {
        let mut packet = noise.packet();
        // Every kind of datagram in turn, and lengths down to nothing.
        if let Some(first) = packet.first_mut() {
            *first = [0, 1, 20, 22, 63, 128, 144, 191, 255][usize::from(seq) % 9];
        }
        for socket in [BROWSERS, RTP, RTCP] {
            bed.arrive(socket, addr(ATTACKER), &packet);
        }
        assert_eq!(bed.take_sent(), []);
        if seq % 100 == 0 {
            speaks(&mut bed, &mut browser, seq);
        }
    }
    assert_eq!(bed.events, [Event::MediaStarted { leg: LegId(1) }]);
    assert!(bed.legs.load().strangers > 4000);
}

#[test]
fn noise_from_the_peers_own_addresses_is_survived() {
    let (mut bed, mut browser) = call();
    let mut noise = Noise(11);
    for seq in 0..2000u16 {
        let mut packet = noise.packet();
        if let Some(first) = packet.first_mut() {
            *first = [0, 1, 128, 144, 191][usize::from(seq) % 5];
        }
        bed.arrive(BROWSERS, addr(BROWSER), &packet);
        bed.arrive(RTP, addr(PHONE), &packet);
        bed.arrive(RTCP, addr("192.0.2.20:4001"), &packet);
        if seq % 100 == 0 {
            speaks(&mut bed, &mut browser, seq);
        }
    }
    assert!(!bed.has_failed());
}

#[test]
fn every_bit_of_a_sealed_packet_counts_and_a_replay_is_dropped() {
    let (mut bed, mut browser) = call();
    speaks(&mut bed, &mut browser, 1);
    let header = RtpHeader::new(0, 2, 320, 0xb0b);
    let packet = browser.rtp(&header, &[9; 160]);
    for at in 0..packet.len() {
        let mut forged = packet.clone();
        forged[at] ^= 0x04;
        bed.arrive(BROWSERS, addr(BROWSER), &forged);
        assert_eq!(bed.take_sent(), [], "byte {at}");
    }
    bed.arrive(BROWSERS, addr(BROWSER), &packet);
    assert_eq!(bed.take_sent().len(), 1);
    bed.arrive(BROWSERS, addr(BROWSER), &packet);
    assert_eq!(bed.take_sent(), []);
    speaks(&mut bed, &mut browser, 3);
}

#[test]
fn a_hello_from_an_unchecked_address_does_not_reach_the_handshake() {
    let mut bed = Bed::new();
    let mut browser = Browser::new(DtlsRole::Passive, true, bed.now);
    let local = bed.create_browser(1);
    browser.set_remote(&local);
    let description = browser.description(vec![format(Codec::Pcmu, 0, 8000)]);
    bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote: description,
    });
    let mut attacker = Browser::new(DtlsRole::Passive, false, bed.now);
    attacker.start(bed.now);
    let hello = attacker.out.remove(0);
    for remote in [ATTACKER, BROWSER] {
        bed.arrive(BROWSERS, addr(remote), &hello);
        assert_eq!(bed.take_sent(), []);
    }
    bed.arrive(BROWSERS, addr(BROWSER), &browser.check(true));
    bed.arrive(BROWSERS, addr(ATTACKER), &hello);
    assert!(
        bed.sent
            .iter()
            .all(|sent| sent.path.remote == addr(BROWSER))
    );
    bed.connect_browser(&mut browser, addr(BROWSER));
    assert!(bed.events.contains(&Event::LegConnected { leg: LegId(1) }));
}

#[test]
fn garbage_in_the_handshake_from_a_checked_address_does_not_end_it() {
    let mut bed = Bed::new();
    let mut browser = Browser::new(DtlsRole::Passive, true, bed.now);
    let local = bed.create_browser(1);
    browser.set_remote(&local);
    let description = browser.description(vec![format(Codec::Pcmu, 0, 8000)]);
    bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote: description,
    });
    bed.arrive(BROWSERS, addr(BROWSER), &browser.check(true));
    let mut noise = Noise(3);
    for _ in 0..500 {
        let mut packet = noise.packet();
        if let Some(first) = packet.first_mut() {
            *first = 20 + (*first & 7);
        }
        bed.arrive(BROWSERS, addr(BROWSER), &packet);
    }
    bed.take_sent();
    bed.connect_browser(&mut browser, addr(BROWSER));
    assert!(bed.events.contains(&Event::LegConnected { leg: LegId(1) }));
}

#[test]
fn checks_without_the_password_are_not_answered_and_nominate_nothing() {
    let (mut bed, mut browser) = call();
    let good = browser.check(true);
    // Right names, wrong password; right password, wrong names.
    let ufrag = {
        let snapshot = bed.legs.snapshot(LegId(1)).unwrap();
        let media_engine::TransportSnapshot::WebRtc { local, .. } = snapshot.transport else {
            panic!()
        };
        local
    };
    let names = format!("{}:{}", ufrag.ufrag, browser.ufrag);
    for forged in [
        browser.check_as(&names, "a-wrong-password-of-32-characters", true),
        browser.check_as(&format!("{}:else", ufrag.ufrag), &ufrag.pwd, true),
        browser.check_as(&format!("nobody:{}", browser.ufrag), &ufrag.pwd, true),
    ] {
        bed.arrive(BROWSERS, addr(ATTACKER), &forged);
        assert_eq!(bed.take_sent(), []);
    }
    for cut in 0..good.len() {
        bed.arrive(BROWSERS, addr(ATTACKER), &good[..cut]);
        assert_eq!(bed.take_sent(), []);
    }
    let mut packet = vec![0x55; 172];
    RtpHeader::new(0, 1, 160, 9).write(&mut packet).unwrap();
    bed.arrive(RTP, addr(PHONE), &packet);
    let sent = bed.take_sent();
    assert_eq!(sent[0].path.remote, addr(BROWSER));
    assert!(matches!(
        browser.hear(&sent[0].packet, bed.now),
        Heard::Rtp { .. }
    ));
}

#[test]
fn a_leg_moves_only_where_its_own_checks_nominate() {
    let (mut bed, mut browser) = call();
    let moved = "198.51.100.7:50099";
    let phone_says = |bed: &mut Bed, seq: u16| {
        let mut packet = vec![0x55; 172];
        RtpHeader::new(0, seq, 160 * u32::from(seq), 9)
            .write(&mut packet)
            .unwrap();
        bed.arrive(RTP, addr(PHONE), &packet);
        let sent = bed.take_sent();
        sent.last().unwrap().path.remote
    };
    bed.pass(Duration::from_secs(2));
    bed.arrive(BROWSERS, addr(moved), &browser.check(false));
    assert_eq!(
        phone_says(&mut bed, 1),
        addr(BROWSER),
        "checked, not nominated"
    );
    bed.arrive(BROWSERS, addr(moved), &browser.check(true));
    assert_eq!(phone_says(&mut bed, 2), addr(moved));
    // Its media may come from both meanwhile.
    speaks(&mut bed, &mut browser, 7);
}

#[test]
fn one_browser_cannot_take_the_address_of_another() {
    let (mut bed, mut victim) = call();
    let mut thief = Browser::new(DtlsRole::Passive, true, bed.now);
    thief.ufrag = "thief".to_owned();
    let local = {
        bed.command(Command::CreateLeg {
            leg: LegId(9),
            group: GroupId(9),
            spec: LegSpec::WebRtc {
                face: Face::Outside,
            },
        });
        let Some(Event::LegCreated { local, .. }) = bed.events.last().cloned() else {
            panic!()
        };
        local
    };
    thief.set_remote(&local);
    // A source address can be forged, and the thief knows its own password.
    bed.arrive(BROWSERS, addr(BROWSER), &thief.check(true));
    assert_eq!(bed.take_sent(), []);
    speaks(&mut bed, &mut victim, 1);
}

#[test]
fn addresses_ssrcs_and_digits_do_not_grow_without_bound() {
    let (mut bed, browser) = call();
    for port in 1000..3000 {
        let check = browser.check(port % 2 == 0);
        bed.arrive(BROWSERS, addr(&format!("198.51.100.8:{port}")), &check);
    }
    bed.take_sent();
    bed.arrive(BROWSERS, addr(BROWSER), &browser.check(true));
    for ssrc in 0..500u32 {
        let mut packet = vec![0x55; 172];
        RtpHeader::new(0, 1, 160, ssrc).write(&mut packet).unwrap();
        bed.arrive(RTP, addr(PHONE), &packet);
    }
    bed.command(Command::SendDigits {
        leg: LegId(2),
        digits: "1".repeat(100_000),
        duration_ms: u32::MAX,
    });
    bed.pass(Duration::from_secs(5));
    bed.take_sent();
    assert!(!bed.has_failed());
}

#[test]
fn a_description_of_the_wrong_kind_or_size_is_refused() {
    let mut bed = Bed::new();
    bed.create_browser(1);
    let remote = Remote {
        transport: RemoteTransport::Rtp {
            rtp: None,
            rtcp: None,
            signalling: "192.0.2.20".parse().unwrap(),
            sdes: None,
            video: None,
            ice: None,
        },
        media: vec![],
    };
    bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    assert!(matches!(
        bed.events.last(),
        Some(Event::LegFailed {
            leg: LegId(1),
            reason: LegFailure::Unsupported(_)
        })
    ));
    let browser = Browser::new(DtlsRole::Passive, true, bed.now);
    bed.create_browser(2);
    let remote = browser.description(vec![format(Codec::Pcmu, 0, 8000); 100]);
    bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote,
    });
    assert!(matches!(
        bed.events.last(),
        Some(Event::LegFailed {
            leg: LegId(2),
            reason: LegFailure::Unsupported(_)
        })
    ));
}
