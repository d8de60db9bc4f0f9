//! Wires that lose, delay and reorder, by seed, in virtual time. A failure names its seed.

mod bed;

use bed::browser::{Browser, Heard, audio, format};
use bed::{BROWSERS, Bed, addr};
use media_control::{
    Codec, Command, DtlsRole, Event, Face, LegId, LegSpec, Remote, RemoteTransport,
};
use media_engine::SocketId;
use media_packet::rtp::RtpHeader;
use std::collections::HashSet;
use std::time::{Duration, Instant};

const BROWSER: &str = "198.51.100.7:50000";
const PHONE: &str = "192.0.2.20:4000";
const RTP: SocketId = SocketId(1);

struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Less than `sides`.
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }
}

/// One direction: a tenth is lost, the rest takes 5 to 45 ms and so overtakes itself.
struct Wire {
    dice: Dice,
    on_the_way: Vec<(Instant, Vec<u8>)>,
}

impl Wire {
    fn new(seed: u64) -> Wire {
        Wire {
            dice: Dice::new(seed),
            on_the_way: Vec::new(),
        }
    }

    fn send(&mut self, packet: Vec<u8>, now: Instant) {
        if self.dice.throw(10) != 0 {
            let delay = Duration::from_millis(5 + self.dice.throw(40));
            self.on_the_way.push((now + delay, packet));
        }
    }

    fn arrived(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let (mut here, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.on_the_way)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.on_the_way = rest;
        here.sort_by_key(|(at, _)| *at);
        here.into_iter().map(|(_, packet)| packet).collect()
    }
}

fn handshake(role: DtlsRole, v13: bool, seed: u64) -> Duration {
    let mut bed = Bed::new();
    // Browsers begin to repeat after 50 to 100 ms; the library's own 1 s would be the slow side here.
    let config = dimpl::Config::builder()
        .flight_start_rto(Duration::from_millis(100))
        .flight_retries(8)
        .build()
        .unwrap();
    let mut browser = Browser::with_config(role, v13, config, bed.now);
    let local = bed.create_browser(1);
    browser.set_remote(&local);
    let remote = browser.description(vec![format(Codec::Pcmu, 0, 8000)]);
    bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    let (mut up, mut down) = (Wire::new(seed), Wire::new(seed ^ 0xffff));
    let start = bed.now;
    let mut checked = false;
    for step in 0..2000 {
        // A browser checks every 50 ms, and begins its handshake with the first answer.
        if step % 10 == 0 {
            up.send(browser.check(true), bed.now);
        }
        if checked {
            browser.timeout(bed.now);
        }
        for packet in std::mem::take(&mut browser.out) {
            up.send(packet, bed.now);
        }
        for packet in up.arrived(bed.now) {
            bed.arrive(BROWSERS, addr(BROWSER), &packet);
        }
        for sent in bed.take_sent() {
            down.send(sent.packet, bed.now);
        }
        for packet in down.arrived(bed.now) {
            if browser.keys.is_none() && packet[0] >= 128 {
                continue; // A report, sooner than the last flight.
            }
            checked |= browser.hear(&packet, bed.now) == Heard::CheckAnswered;
        }
        if browser.connected && bed.events.contains(&Event::LegConnected { leg: LegId(1) }) {
            return bed.now.saturating_duration_since(start);
        }
        assert!(
            !bed.has_failed(),
            "seed {seed} {role:?} {v13}: {:?}",
            bed.events
        );
        bed.pass(Duration::from_millis(5));
    }
    panic!("seed {seed} {role:?} {v13}: no handshake within 10 s");
}

#[test]
fn every_handshake_survives_a_tenth_of_loss() {
    for seed in 1..=40 {
        for role in [DtlsRole::Passive, DtlsRole::Active] {
            for v13 in [false, true] {
                handshake(role, v13, seed);
            }
        }
    }
}

#[test]
fn what_the_network_did_to_a_stream_is_what_the_far_side_sees() {
    for seed in 1..=20 {
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
        let formats = vec![format(Codec::Pcmu, 0, 8000)];
        let remote = browser.description(formats.clone());
        bed.command(Command::ConnectLeg {
            leg: LegId(1),
            remote,
        });
        bed.connect_browser(&mut browser, addr(BROWSER));
        let remote = Remote {
            transport: RemoteTransport::Rtp {
                rtp: Some(addr(PHONE)),
                rtcp: None,
                signalling: "192.0.2.20".parse().unwrap(),
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
        let mut wire = Wire::new(seed);
        let mut dice = Dice::new(seed + 1000);
        let (mut seq, mut ssrc, mut timestamp) = (65_000u16, 1u32, 0u32);
        let mut heard: Vec<(u16, u32)> = Vec::new();
        let mut sent_within = Vec::new();
        for n in 0..1500u32 {
            match dice.throw(200) {
                0 => ssrc += 1,
                1 => seq = seq.wrapping_add(20_000),
                2 => timestamp = timestamp.wrapping_add(1_000_000_000),
                _ => {}
            }
            seq = seq.wrapping_add(1);
            timestamp = timestamp.wrapping_add(160);
            let mut packet = vec![0; 172];
            RtpHeader::new(0, seq, timestamp, ssrc)
                .write(&mut packet)
                .unwrap();
            packet[12..16].copy_from_slice(&n.to_be_bytes());
            sent_within.push((ssrc, seq));
            wire.send(packet, bed.now);
            for packet in wire.arrived(bed.now) {
                bed.arrive(RTP, addr(PHONE), &packet);
            }
            for said in bed.exchange(&mut browser, addr(BROWSER)) {
                if let Heard::Rtp { header, payload } = said {
                    let n = u32::from_be_bytes(payload[..4].try_into().unwrap());
                    heard.push((header.seq, n));
                }
            }
            if n % 100 == 0 {
                let check = browser.check(true);
                bed.arrive(BROWSERS, addr(BROWSER), &check);
            }
            bed.pass(Duration::from_millis(20));
        }
        let unique: HashSet<u16> = heard.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(
            unique.len(),
            heard.len(),
            "seed {seed}: a number was used twice"
        );
        assert!(heard.len() > 1200, "seed {seed}: {}", heard.len());
        for pair in heard.windows(2) {
            let [(seq_a, n_a), (seq_b, n_b)] = [pair[0], pair[1]];
            let (a, b) = (sent_within[n_a as usize], sent_within[n_b as usize]);
            let step = seq_b.wrapping_sub(seq_a).cast_signed();
            if a.0 == b.0 && a.1.abs_diff(b.1) < 10 {
                // The same numbering: the same distance, forwards and backwards.
                assert_eq!(
                    step,
                    b.1.wrapping_sub(a.1).cast_signed(),
                    "seed {seed}: {pair:?}"
                );
            }
            assert!((-5..=10).contains(&step), "seed {seed}: {pair:?}");
        }
    }
}
