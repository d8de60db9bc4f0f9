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
