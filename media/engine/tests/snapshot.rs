//! Legs written down and rebuilt between any two packets: nobody outside notices.

mod bed;

use bed::browser::{Browser, Heard, audio, format};
use bed::{BROWSERS, Bed, addr};
use media_control::{
    Codec, Command, DtlsRole, Event, Face, LegId, LegSpec, Remote, RemoteTransport,
};
use media_engine::{Input, LegSnapshot, Legs, PortPair, RestoreError, SocketId};
use media_packet::rtp::RtpHeader;
use std::time::Duration;

const BROWSER: &str = "198.51.100.7:50000";
const PHONE: &str = "203.0.113.9:61000";
const RTP: SocketId = SocketId(1);

/// Replaces the engine by one made from what was written down, in bytes.
fn reborn(bed: &mut Bed, identity: &media_engine::DtlsIdentity) {
    let mut legs = Legs::new(Bed::config(identity.clone()), bed::random());
    for id in [1, 2] {
        let snapshot = bed.legs.snapshot(LegId(id)).expect("past its handshake");
        let mut bytes = Vec::new();
        ciborium::into_writer(&snapshot, &mut bytes).unwrap();
        let snapshot: LegSnapshot = ciborium::from_reader(bytes.as_slice()).unwrap();
        let bound = addr("203.0.113.2:20000");
        let pair = PortPair {
            rtp: RTP,
            rtcp: SocketId(2),
            bound,
            announced: bound,
        };
        let ports = if id == 2 { vec![pair] } else { vec![] };
        legs.restore(snapshot, ports, bed.now).unwrap();
    }
    bed.legs = legs;
    bed.drain();
}

#[test]
fn a_call_goes_on_though_the_engine_is_reborn_before_every_packet() {
    let identity = bed::identity();
    let mut bed = Bed::with_identity(identity.clone());
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
    assert!(
        bed.legs.snapshot(LegId(1)).is_none(),
        "before its handshake there is nothing to keep"
    );
    let formats = vec![format(Codec::Pcmu, 0, 8000)];
    let remote = browser.description(formats.clone());
    bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    bed.connect_browser(&mut browser, addr(BROWSER));
    // Behind a NAT, so that the latch has something to remember.
    let remote = Remote {
        transport: RemoteTransport::Rtp {
            rtp: Some(addr("192.168.1.5:4000")),
            rtcp: None,
            signalling: "203.0.113.9".parse().unwrap(),
            sdes: None,
            video: None,
            ice: None,
        },
        media: audio(formats),
    };
    bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote,
    });
    bed.join(1, 2);
    let mut to_browser: Vec<RtpHeader> = Vec::new();
    let mut to_phone: Vec<RtpHeader> = Vec::new();
    // Begins near the wrap of the sequence number, so that the rollover counter has to survive.
    for n in 0..200u16 {
        let seq = 65_450u16.wrapping_add(n);
        bed.pass(Duration::from_millis(20));
        let header = RtpHeader::new(0, seq, u32::from(n) * 160, 9);
        let mut packet = vec![0x55; 172];
        header.write(&mut packet).unwrap();
        if n >= 3 {
            reborn(&mut bed, &identity);
        }
        bed.arrive(RTP, addr(PHONE), &packet);
        for heard in bed.exchange(&mut browser, addr(BROWSER)) {
            if let Heard::Rtp { header, payload } = heard {
                assert_eq!(payload, [0x55; 160]);
                to_browser.push(header);
            }
        }
        if n < 3 {
            continue;
        }
        reborn(&mut bed, &identity);
        let header = RtpHeader::new(0, seq, u32::from(n) * 160, 0xb0b);
        let packet = browser.rtp(&header, &[7; 160]);
        bed.arrive(BROWSERS, addr(BROWSER), &packet);
        for sent in bed.take_sent() {
            if sent.path.socket == RTP {
                assert_eq!(sent.path.remote, addr(PHONE));
                to_phone.push(RtpHeader::parse(&sent.packet).unwrap());
            }
        }
        // A replay is still one.
        bed.arrive(BROWSERS, addr(BROWSER), &packet);
        assert!(bed.take_sent().iter().all(|sent| sent.path.socket != RTP));
        if n % 50 == 0 {
            let check = browser.check(true);
            bed.arrive(BROWSERS, addr(BROWSER), &check);
        }
    }
    assert_eq!((to_browser.len(), to_phone.len()), (198, 197));
    for stream in [to_browser, to_phone] {
        for pair in stream.windows(2) {
            assert_eq!(pair[1].ssrc, pair[0].ssrc);
            assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1));
            assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
        }
    }
    bed.command(Command::CloseLeg { leg: LegId(2) });
    let Some(Event::LegClosed { stats, .. }) = bed.events.last() else {
        panic!()
    };
    assert_eq!((stats.received, stats.strangers), (198, 2));
    bed.legs
        .handle(Input::Command(Command::Retain { groups: vec![] }), bed.now);
}

#[test]
fn what_does_not_fit_is_refused() {
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
    let snapshot = bed.legs.snapshot(LegId(2)).unwrap();
    let mut other = Bed::new();
    let now = other.now;
    let newer = LegSnapshot {
        version: snapshot.version + 1,
        ..snapshot.clone()
    };
    assert_eq!(
        other.legs.restore(newer, vec![], now),
        Err(RestoreError::Version)
    );
    assert_eq!(
        other.legs.restore(snapshot.clone(), vec![], now),
        Err(RestoreError::Sockets)
    );
    assert_eq!(
        bed.legs.restore(snapshot.clone(), vec![], now),
        Err(RestoreError::Exists)
    );
    let written = format!("{snapshot:?}");
    assert!(!written.contains("key_and_salt"), "{written}");
}
