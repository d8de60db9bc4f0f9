//! A browser and a phone without a common codec, tones, and roads that change in mid-call.

mod bed;

use bed::browser::{Browser, Heard, audio, format};
use bed::{BROWSERS, Bed, addr};
use media_codec::g711::Law;
use media_codec::level::listen;
use media_codec::opus;
use media_codec::tone::Tone;
use media_control::{
    Codec, Command, DtlsRole, Event, Face, Format, LegId, LegSpec, Remote, RemoteTransport, Source,
};
use media_engine::SocketId;
use media_packet::rtp::RtpHeader;
use std::time::Duration;

const BROWSER: &str = "198.51.100.7:50000";
const PHONE: &str = "192.0.2.20:4000";
const RTP: SocketId = SocketId(1);
const FRAME: Duration = Duration::from_millis(20);

fn opus_formats() -> Vec<Format> {
    vec![
        format(Codec::Opus, 111, 48_000),
        format(Codec::TelephoneEvent, 110, 48_000),
    ]
}

fn g711_formats() -> Vec<Format> {
    vec![
        format(Codec::Pcmu, 0, 8000),
        format(Codec::TelephoneEvent, 101, 8000),
    ]
}

fn phone(formats: Vec<Format>) -> Remote {
    Remote {
        transport: RemoteTransport::Rtp {
            rtp: Some(addr(PHONE)),
            rtcp: None,
            signalling: "192.0.2.20".parse().unwrap(),
            sdes: None,
            video: None,
            ice: None,
        },
        media: audio(formats),
    }
}

fn call(phone_formats: Vec<Format>) -> (Bed, Browser) {
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
    let remote = browser.description(opus_formats());
    bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    bed.connect_browser(&mut browser, addr(BROWSER));
    bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote: phone(phone_formats),
    });
    bed.join(1, 2);
    (bed, browser)
}

struct Singer {
    tone: Tone,
    encoder: opus::Encoder,
    seq: u16,
}

impl Singer {
    fn new(hz: f32) -> Singer {
        let encoder = opus::Encoder::new(&opus::Settings::for_rate(16_000)).unwrap();
        Singer {
            tone: Tone::new(hz, -10.0, 16_000),
            encoder,
            seq: 0,
        }
    }

    fn sing(&mut self, bed: &mut Bed, browser: &mut Browser) {
        let mut samples = [0; 320];
        self.tone.fill(&mut samples);
        let mut payload = [0; 1500];
        let len = self.encoder.encode(&samples, &mut payload).unwrap();
        let header = RtpHeader::new(111, self.seq, u32::from(self.seq) * 960, 0xb0b);
        self.seq += 1;
        let packet = browser.rtp(&header, &payload[..len]);
        bed.arrive(BROWSERS, addr(BROWSER), &packet);
    }
}

fn to_phone(bed: &mut Bed) -> Vec<(RtpHeader, Vec<u8>)> {
    bed.take_sent()
        .into_iter()
        .filter(|sent| sent.path.socket == RTP)
        .map(|sent| {
            let header = RtpHeader::parse(&sent.packet).unwrap();
            (header, sent.packet[header.header_len..].to_vec())
        })
        .collect()
}

#[test]
fn opus_arrives_as_pcmu_with_its_pitch_and_level() {
    let (mut bed, mut browser) = call(g711_formats());
    let mut singer = Singer::new(1000.0);
    let mut heard = Vec::new();
    let mut headers = Vec::new();
    for _ in 0..150 {
        singer.sing(&mut bed, &mut browser);
        bed.pass(FRAME);
        for (header, payload) in to_phone(&mut bed) {
            assert_eq!((header.pt, payload.len()), (0, 160));
            let mut samples = [0; 160];
            Law::Mu.decode(&payload, &mut samples).unwrap();
            heard.extend(samples);
            headers.push(header);
        }
    }
    assert!((140..=151).contains(&headers.len()), "{}", headers.len());
    for pair in headers.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
    }
    let sound = listen(&heard[8000..], 8000);
    assert!((sound.hz - 1000.0).abs() < 10.0, "{sound:?}");
    assert!((sound.dbm0 + 10.0).abs() < 1.5, "{sound:?}");
    bed.command(Command::CloseLeg { leg: LegId(1) });
    let closed = bed.events.iter().find_map(|event| match event {
        Event::LegClosed {
            leg: LegId(1),
            stats,
        } => Some(stats.clone()),
        _ => None,
    });
    let stats = closed.unwrap();
    assert_eq!(
        (stats.road.as_str(), stats.receiving.as_str()),
        ("transcoded", "opus")
    );
    // Nothing comes out of a closed leg's transcoder.
    bed.pass(Duration::from_secs(1));
    assert_eq!(to_phone(&mut bed), []);
}

#[test]
fn pcmu_arrives_as_opus() {
    let (mut bed, mut browser) = call(g711_formats());
    let mut tone = Tone::new(440.0, -10.0, 8000);
    let mut decoder = opus::Decoder::new(16_000).unwrap();
    let mut heard = Vec::new();
    let mut last: Option<RtpHeader> = None;
    for seq in 0..150u16 {
        let mut samples = [0; 160];
        tone.fill(&mut samples);
        let mut packet = vec![0; 172];
        RtpHeader::new(0, seq, u32::from(seq) * 160, 9)
            .write(&mut packet)
            .unwrap();
        Law::Mu.encode(&samples, &mut packet[12..]).unwrap();
        bed.arrive(RTP, addr(PHONE), &packet);
        bed.pass(FRAME);
        for heard_now in bed.exchange(&mut browser, addr(BROWSER)) {
            let Heard::Rtp { header, payload } = heard_now else {
                continue;
            };
            assert_eq!(header.pt, 111);
            if let Some(last) = last {
                assert_eq!(header.seq, last.seq.wrapping_add(1));
                assert_eq!(header.timestamp, last.timestamp.wrapping_add(960));
            }
            last = Some(header);
            let mut samples = [0; 1920];
            let len = decoder.decode(&payload, &mut samples).unwrap();
            heard.extend(&samples[..len]);
        }
    }
    let sound = listen(&heard[16_000..], 16_000);
    assert!((sound.hz - 440.0).abs() < 5.0, "{sound:?}");
    assert!((sound.dbm0 + 10.0).abs() < 1.5, "{sound:?}");
}

#[test]
fn a_road_that_changes_in_mid_call_is_not_heard_in_the_numbers() {
    let (mut bed, mut browser) = call(g711_formats());
    let mut singer = Singer::new(1000.0);
    let mut headers: Vec<RtpHeader> = Vec::new();
    for round in 0..4 {
        let formats = if round % 2 == 0 {
            g711_formats()
        } else {
            opus_formats()
        };
        bed.command(Command::ConnectLeg {
            leg: LegId(2),
            remote: phone(formats),
        });
        for _ in 0..50 {
            singer.sing(&mut bed, &mut browser);
            bed.pass(FRAME);
            headers.extend(to_phone(&mut bed).iter().map(|(header, _)| *header));
        }
    }
    let pts: Vec<u8> = headers.iter().map(|header| header.pt).collect();
    let mut roads = pts.clone();
    roads.dedup();
    assert_eq!(roads, [0, 111, 0, 111]);
    for pair in headers.windows(2) {
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1));
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        let frame = if pair[1].pt == 0 { 160 } else { 960 };
        assert!((frame..=frame * 8).contains(&step), "{step} {:?}", pair);
        if pair[0].pt == pair[1].pt {
            assert_eq!(step, frame);
        }
    }
}

#[test]
fn a_tone_of_ours_is_sent_in_the_codec_that_the_peer_takes() {
    let mut bed = Bed::new();
    bed.create(
        2,
        LegSpec::Rtp {
            face: Face::Inside,
            sdes: false,
            video: false,
            ice: false,
        },
    );
    bed.create(
        3,
        LegSpec::Source(Source::Tone {
            hz: 425.0,
            dbm0: -12.0,
        }),
    );
    bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote: phone(g711_formats()),
    });
    bed.join(2, 3);
    let mut heard = Vec::new();
    for _ in 0..100 {
        bed.pass(FRAME);
        for (_, payload) in to_phone(&mut bed) {
            let mut samples = [0; 160];
            Law::Mu.decode(&payload, &mut samples).unwrap();
            heard.extend(samples);
        }
    }
    let sound = listen(&heard, 8000);
    assert!(
        (sound.hz - 425.0).abs() < 5.0 && (sound.dbm0 + 12.0).abs() < 1.0,
        "{sound:?}"
    );
    bed.command(Command::Part {
        a: LegId(2),
        b: LegId(3),
    });
    bed.pass(FRAME * 10);
    assert_eq!(to_phone(&mut bed), []);
    bed.create(4, LegSpec::Source(Source::Silence));
    bed.join(2, 4);
    bed.pass(FRAME * 10);
    let silence = to_phone(&mut bed);
    assert!(silence.len() >= 10 && silence.iter().all(|(_, p)| p.iter().all(|b| *b == 0xff)));
}

/// Sound of a leg of our own, as the phone hears it in its codec, and the level of each 20 ms.
fn ringback(
    codec: Format,
    tones_hz: Vec<f32>,
    on_off_ms: Vec<(u32, u32)>,
    frames: usize,
) -> Vec<i16> {
    let mut bed = Bed::new();
    bed.create(2, bed::call::rtp_leg());
    bed.create(
        3,
        LegSpec::Source(Source::Ringback {
            tones_hz,
            on_off_ms,
            dbm0: -13.0,
        }),
    );
    bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote: phone(vec![codec.clone()]),
    });
    bed.join(2, 3);
    let mut ear = bed::call::Ear::default();
    for _ in 0..frames {
        bed.pass(FRAME);
        for (header, payload) in to_phone(&mut bed) {
            ear.hear(&codec.codec, header, &payload, bed.now);
        }
    }
    ear.sound
}

#[test]
fn ringback_has_its_country_s_tones_rhythm_and_level_in_every_codec() {
    // ITU-T E.180 Supplement 2: the United States, the United Kingdom, most of Europe.
    let countries = [
        (vec![440.0, 480.0], vec![(2000, 4000)]),
        (vec![400.0, 450.0], vec![(400, 200), (400, 2000)]),
        (vec![425.0], vec![(1000, 4000)]),
    ];
    for codec in [
        format(Codec::Pcmu, 0, 8000),
        format(Codec::Pcma, 8, 8000),
        format(Codec::Opus, 111, 48_000),
    ] {
        for (tones_hz, rhythm) in &countries {
            let sound = ringback(codec.clone(), tones_hz.clone(), rhythm.clone(), 700);
            // Where it sounds, in steps of 20 ms, against where it should; codecs add a few ms of their own.
            let cycle: u32 = rhythm.iter().map(|(on, off)| on + off).sum();
            let mut wrong = 0;
            for (n, part) in sound.chunks_exact(160).enumerate() {
                let mut at = u32::try_from(n).unwrap() * 20 % cycle;
                let mut sounds = false;
                for (on, off) in rhythm {
                    if at < on + off {
                        sounds = at < *on;
                        break;
                    }
                    at -= on + off;
                }
                wrong += u32::from((media_codec::level::level(part) > -30.0) != sounds);
            }
            let edges = 2 * u32::try_from(rhythm.len()).unwrap() * (14_000 / cycle + 1);
            assert!(
                wrong <= edges,
                "{codec:?} {rhythm:?}: {wrong} of 700 are wrong"
            );
            let on = usize::try_from(rhythm[0].0).unwrap() * 8;
            let burst = &sound[800..on - 400];
            let loud = media_codec::level::level(burst);
            assert!((loud + 13.0).abs() < 1.5, "{codec:?} {tones_hz:?}: {loud}");
            let (mut heard, mut rest) = (0.0, f64::MAX);
            for hz in tones_hz {
                let (tone, other) = media_codec::level::split(burst, 8000, f64::from(*hz));
                heard += tone;
                rest = rest.min(other);
            }
            let share = heard / media_codec::level::split(burst, 8000, 3900.0).1;
            assert!(
                share > 0.8,
                "{codec:?} {tones_hz:?}: {share} of it are its tones"
            );
        }
    }
}

#[test]
fn a_ringback_that_nobody_could_hear_is_refused() {
    for (tones_hz, dbm0) in [
        (vec![f32::NAN], -10.0),
        (vec![1.0], -10.0),
        (vec![440.0; 5], -10.0),
        (vec![440.0], f32::INFINITY),
    ] {
        let mut bed = Bed::new();
        bed.command(Command::CreateLeg {
            leg: LegId(3),
            group: media_control::GroupId(1),
            spec: LegSpec::Source(Source::Ringback {
                tones_hz,
                on_off_ms: vec![(1000, 4000)],
                dbm0,
            }),
        });
        assert!(bed.has_failed());
    }
}

#[test]
fn comfort_noise_is_heard_while_the_phone_is_silent_and_not_after() {
    let (mut bed, mut browser) = call(vec![
        format(Codec::Pcmu, 0, 8000),
        format(Codec::ComfortNoise, 13, 8000),
    ]);
    let mut tone = Tone::new(440.0, -10.0, 8000);
    let mut ear = bed::call::Ear::default();
    // Speech for a second, a description of the silence now and then for three, speech again.
    for n in 0..250u16 {
        let silent = (50..200).contains(&n);
        let mut samples = [0; 160];
        tone.fill(&mut samples);
        let mut payload = vec![0; 160];
        Law::Mu.encode(&samples, &mut payload).unwrap();
        let sent = match (silent, n % 25) {
            (false, _) => Some((0, payload, n)),
            (true, 0) => Some((13, vec![50], 50 + (n - 50) / 25)),
            (true, _) => None,
        };
        if let Some((pt, payload, seq)) = sent {
            let seq = if n >= 200 { seq - 144 } else { seq };
            let mut packet = vec![0; 12];
            RtpHeader::new(pt, seq, u32::from(n) * 160, 9)
                .write(&mut packet)
                .unwrap();
            packet.extend(payload);
            bed.arrive(RTP, addr(PHONE), &packet);
        }
        bed.pass(FRAME);
        for heard in bed.exchange(&mut browser, addr(BROWSER)) {
            if let Heard::Rtp { header, payload } = heard {
                ear.hear(&Codec::Opus, header, &payload, bed.now);
            }
        }
    }
    let level = |from: usize, to: usize| media_codec::level::level(&ear.sound[from * 8..to * 8]);
    assert!((level(300, 900) + 10.0).abs() < 1.5, "{}", level(300, 900));
    for from in [1200, 1700, 2200, 2700, 3200] {
        // -50 dBov are -44 dBm0; Opus may take some of it away.
        let noise = level(from, from + 400);
        assert!((noise + 44.0).abs() < 6.0, "{noise} after {from} ms");
    }
    assert!(
        (level(4300, 4800) + 10.0).abs() < 1.5,
        "{}",
        level(4300, 4800)
    );
    for pair in ear.headers.windows(2) {
        assert_eq!(pair[1].1.seq, pair[0].1.seq.wrapping_add(1));
        assert_eq!(pair[1].1.timestamp, pair[0].1.timestamp.wrapping_add(960));
    }
}
