//! A browser's leg joined to an echo: ICE, DTLS in both versions and roles, SRTP, and the sound back.

mod bed;

use bed::browser::{Browser, Heard, format};
use bed::{BROWSERS, Bed, addr};
use media_control::{Codec, Command, DtlsRole, Event, LegFailure, LegId};
use media_packet::rtp::RtpHeader;
use std::time::Duration;

const BROWSER: &str = "198.51.100.7:50000";

fn connected(role: DtlsRole, v13: bool) -> (Bed, Browser) {
    let mut bed = Bed::new();
    let mut browser = Browser::new(role, v13, bed.now);
    let local = bed.create_browser(1);
    browser.set_remote(&local);
    bed.create_echo(2);
    bed.join(1, 2);
    let remote = browser.description(vec![
        format(Codec::Opus, 111, 48_000),
        format(Codec::Pcmu, 0, 8000),
        format(Codec::TelephoneEvent, 126, 8000),
    ]);
    bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    bed.connect_browser(&mut browser, addr(BROWSER));
    assert!(
        bed.events.contains(&Event::LegConnected { leg: LegId(1) }),
        "{:?}",
        bed.events
    );
    (bed, browser)
}

fn speak(bed: &mut Bed, browser: &mut Browser, seq: u16) -> Vec<Heard> {
    let header = RtpHeader::new(111, seq, u32::from(seq).wrapping_mul(960), 0xbeef);
    let packet = browser.rtp(&header, &[seq.to_be_bytes()[1]; 80]);
    bed.arrive(BROWSERS, addr(BROWSER), &packet);
    bed.pass(Duration::from_millis(20));
    bed.exchange(browser, addr(BROWSER))
}

#[test]
fn echoes_in_both_versions_and_roles() {
    for role in [DtlsRole::Passive, DtlsRole::Active] {
        for v13 in [false, true] {
            let (mut bed, mut browser) = connected(role, v13);
            let mut last: Option<RtpHeader> = None;
            for seq in 65_500..=65_535u16 {
                let heard = speak(&mut bed, &mut browser, seq);
                let [Heard::Rtp { header, payload }] = heard.as_slice() else {
                    panic!("{role:?} {v13} {heard:?}")
                };
                assert_eq!(header.pt, 111);
                assert_eq!(payload, &vec![seq.to_be_bytes()[1]; 80]);
                assert_ne!(header.ssrc, 0xbeef);
                if let Some(last) = last {
                    assert_eq!(header.seq, last.seq.wrapping_add(1));
                    assert_eq!(header.timestamp, last.timestamp.wrapping_add(960));
                }
                last = Some(*header);
            }
            assert!(bed.events.contains(&Event::MediaStarted { leg: LegId(1) }));
            assert!(!bed.has_failed());
        }
    }
}

#[test]
fn a_wrong_certificate_ends_the_leg() {
    let mut bed = Bed::new();
    let mut browser = Browser::new(DtlsRole::Passive, true, bed.now);
    let local = bed.create_browser(1);
    browser.set_remote(&local);
    let stranger = Browser::new(DtlsRole::Passive, true, bed.now);
    let remote = stranger.description(vec![format(Codec::Opus, 111, 48_000)]);
    bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    bed.arrive(BROWSERS, addr(BROWSER), &browser.check(true));
    browser.start(bed.now);
    bed.exchange(&mut browser, addr(BROWSER));
    let failed = Event::LegFailed {
        leg: LegId(1),
        reason: LegFailure::FingerprintMismatch,
    };
    assert!(bed.events.contains(&failed), "{:?}", bed.events);
}

#[test]
fn without_checks_ice_times_out_and_without_a_hello_dtls_does() {
    let mut bed = Bed::new();
    let mut browser = Browser::new(DtlsRole::Passive, true, bed.now);
    for leg in [1, 2] {
        let local = bed.create_browser(leg);
        browser.set_remote(&local);
        let remote = browser.description(vec![format(Codec::Opus, 111, 48_000)]);
        bed.command(Command::ConnectLeg {
            leg: LegId(leg),
            remote,
        });
    }
    bed.arrive(BROWSERS, addr(BROWSER), &browser.check(true));
    bed.take_events();
    bed.pass(Duration::from_millis(9_900));
    assert_eq!(bed.take_events(), []);
    bed.pass(Duration::from_millis(200));
    let events = bed.take_events();
    assert!(events.contains(&Event::LegFailed {
        leg: LegId(1),
        reason: LegFailure::IceTimeout
    }));
    assert!(events.contains(&Event::LegFailed {
        leg: LegId(2),
        reason: LegFailure::DtlsFailed
    }));
}

#[test]
fn consent_is_lost_after_30_s_without_checks() {
    let (mut bed, browser) = connected(DtlsRole::Passive, true);
    for _ in 0..10 {
        bed.pass(Duration::from_secs(5));
        bed.arrive(BROWSERS, addr(BROWSER), &browser.check(true));
    }
    assert!(!bed.has_failed());
    bed.pass(Duration::from_millis(29_900));
    assert!(!bed.has_failed());
    bed.pass(Duration::from_millis(200));
    let lost = Event::LegFailed {
        leg: LegId(1),
        reason: LegFailure::ConsentLost,
    };
    assert!(bed.events.contains(&lost));
}
