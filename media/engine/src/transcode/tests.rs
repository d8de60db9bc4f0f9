use super::*;
use media_codec::level::{level, listen, longest_gap_ms};
use media_codec::tone::Tone;

const CODECS: [Codec; 4] = [Codec::Opus, Codec::Pcmu, Codec::Pcma, Codec::G722];

/// How the packets travel.
#[derive(Clone, Copy)]
struct Wire {
    lost_percent: u64,
    jitter_ms: u64,
}

/// What a receiver without losses of its own hears, and the packets' numbers.
struct Received {
    samples: Vec<i16>,
    rate: u32,
    made: Vec<Made>,
    stats: TranscodeStats,
}

fn random(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Sends `seconds` of a tone as packets of `from` over the wire and the transcoder, in virtual time.
fn run(
    from: &Codec,
    to: &Codec,
    ptimes: (u32, u32),
    wire: Wire,
    seconds: u64,
    seed: u64,
) -> Received {
    let mut seed = seed;
    let source_rate = match from {
        Codec::Opus => 48_000,
        Codec::G722 => 16_000,
        _ => 8000,
    };
    let (in_ms, out_ms) = ptimes;
    let mut tone = Tone::new(440.0, -12.0, source_rate);
    let mut encoder = Encoder::new(from, source_rate).unwrap();
    let mut pcm = vec![0; usize::try_from(source_rate / 1000 * in_ms).unwrap()];
    let start = Instant::now();
    let mut arrivals = Vec::new();
    for n in 0..seconds * 1000 / u64::from(in_ms) {
        tone.fill(&mut pcm);
        let mut payload = vec![0; 1500];
        let len = encoder.encode(&pcm, &mut payload).unwrap();
        payload.truncate(len);
        // Close to the wraps of both.
        let seq = u16::try_from((65_500 + n) & 0xffff).unwrap();
        let ticks = u32::try_from(n).unwrap() * (speech::clock_hz(from) / 1000 * in_ms);
        let header = RtpHeader::new(0, seq, u32::MAX.wrapping_sub(50_000).wrapping_add(ticks), 9);
        let delay = if wire.jitter_ms > 0 {
            random(&mut seed) % wire.jitter_ms
        } else {
            0
        };
        if random(&mut seed) % 100 >= wire.lost_percent {
            arrivals.push((n * u64::from(in_ms) + delay, header, payload));
        }
    }
    arrivals.sort_by_key(|(at, ..)| *at);

    let mut transcoder = Transcoder::new(from, to, out_ms).unwrap();
    let rate = if *to == Codec::G722 { 16_000 } else { 8000 };
    let mut decoder = Decoder::new(to, rate).unwrap();
    let mut received = Received {
        samples: Vec::new(),
        rate,
        made: Vec::new(),
        stats: TranscodeStats::default(),
    };
    let mut arrivals = arrivals.into_iter().peekable();
    for ms in 0..seconds * 1000 {
        let now = start + Duration::from_millis(ms);
        while let Some((_, header, payload)) = arrivals.next_if(|(at, ..)| *at <= ms) {
            transcoder.push(&header, &payload, now);
        }
        let mut out = [0; 1500];
        while let Some(made) = transcoder.poll(now, &mut out) {
            let mut pcm = [0; MAX_SAMPLES];
            let len = decoder.decode(&out[..made.len], &mut pcm).unwrap();
            received.samples.extend(&pcm[..len]);
            received.made.push(made);
        }
        assert!(transcoder.poll_timeout().is_none_or(|at| at > now));
    }
    received.stats = transcoder.stats();
    received
}

impl Received {
    /// The sound after the first half second.
    fn settled(&self) -> &[i16] {
        &self.samples[usize::try_from(self.rate / 2).unwrap()..]
    }
}

fn pairings() -> Vec<(Codec, Codec)> {
    let all = CODECS
        .iter()
        .flat_map(|from| CODECS.iter().map(move |to| (from.clone(), to.clone())));
    all.filter(|(from, to)| from != to).collect()
}

#[test]
fn every_pairing_keeps_frequency_and_level() {
    for (from, to) in pairings() {
        let received = run(
            &from,
            &to,
            (20, 20),
            Wire {
                lost_percent: 0,
                jitter_ms: 0,
            },
            3,
            1,
        );
        let heard = listen(received.settled(), received.rate);
        let name = format!("{from:?} to {to:?}: {heard:?}");
        assert!((heard.hz - 440.0).abs() < 1.0, "{name}");
        assert!((heard.dbm0 + 12.0).abs() < 0.4, "{name}");
        assert!(heard.snr > 12.0, "{name}");
        assert_eq!(
            longest_gap_ms(received.settled(), received.rate, heard.hz, 10.0),
            0,
            "{name}"
        );
        // All but the first two of 40 ms.
        assert_eq!(received.stats.jitter.lost, 0, "{name}");
        assert!(received.made.len() >= 149, "{name}");
    }
}

#[test]
fn every_pairing_bears_loss_and_jitter() {
    for (from, to) in pairings() {
        for seed in 1..3 {
            let wire = Wire {
                lost_percent: 5,
                jitter_ms: 30,
            };
            let received = run(&from, &to, (20, 20), wire, 5, seed);
            let sound = received.settled();
            let name = format!("{from:?} to {to:?}, seed {seed}: {:?}", received.stats);
            assert!(
                (level(sound) + 12.0).abs() < 1.0,
                "{name}: {}",
                level(sound)
            );
            let heard = listen(sound, received.rate);
            assert!((heard.hz - 440.0).abs() < 6.0, "{name}: {heard:?}");
            // A gap is where there is no sound at all, at whatever phase.
            let window = usize::try_from(received.rate / 100).unwrap();
            let quiet: Vec<bool> = sound
                .chunks_exact(window)
                .map(|w| level(w) < -32.0)
                .collect();
            let gap = quiet.split(|quiet| !quiet).map(|run| run.len() * 10).max();
            assert!(gap <= Some(60), "{name}: {gap:?} ms");
        }
    }
}

#[test]
fn packet_lengths_may_differ() {
    for (ptimes, step) in [
        ((20, 60), 480),
        ((60, 20), 160),
        ((30, 20), 160),
        ((10, 40), 320),
    ] {
        let wire = Wire {
            lost_percent: 0,
            jitter_ms: 5,
        };
        let received = run(&Codec::Pcmu, &Codec::Pcma, ptimes, wire, 3, 1);
        let heard = listen(received.settled(), 8000);
        assert!((heard.hz - 440.0).abs() < 1.0, "{ptimes:?} {heard:?}");
        assert!((heard.dbm0 + 12.0).abs() < 0.3, "{ptimes:?} {heard:?}");
        assert!(heard.snr > 30.0, "{ptimes:?} {heard:?}");
        assert!(
            received.made.iter().all(|made| made.step == step),
            "{ptimes:?}"
        );
    }
}

#[test]
fn one_packet_follows_the_other_and_only_the_first_has_the_marker() {
    let received = run(
        &Codec::G722,
        &Codec::Opus,
        (20, 20),
        Wire {
            lost_percent: 10,
            jitter_ms: 40,
        },
        4,
        7,
    );
    assert!(received.made[0].marker);
    assert!(
        received.made[1..]
            .iter()
            .all(|made| !made.marker && made.step == 960)
    );
    assert!(received.made.len() >= 199);
}

#[test]
fn a_stream_that_stops_is_silence_then_a_pause_and_goes_on_with_time_passed() {
    let start = Instant::now();
    let mut transcoder = Transcoder::new(&Codec::Pcmu, &Codec::Opus, 20).unwrap();
    let mut out = [0; 1500];
    let mut made = Vec::new();
    let mut at = |transcoder: &mut Transcoder, ms: u64, made: &mut Vec<(u64, Made)>| {
        let now = start + Duration::from_millis(ms);
        if ms < 1000 || ms >= 30_000 && ms.is_multiple_of(20) {
            let n = u32::try_from(ms / 20).unwrap();
            let header = RtpHeader::new(0, u16::try_from(n & 0xffff).unwrap(), n * 160, 1);
            transcoder.push(&header, &[0x55; 160], now);
        }
        while let Some(one) = transcoder.poll(now, &mut out) {
            made.push((ms, one));
        }
    };
    for ms in (0..31_000).step_by(20) {
        at(&mut transcoder, ms, &mut made);
    }
    let gap = made
        .windows(2)
        .find(|pair| pair[1].0 - pair[0].0 > 20)
        .unwrap();
    assert!((10_900..11_300).contains(&gap[0].0), "{gap:?}");
    assert_eq!(gap[1].0, 30_000);
    assert!(gap[1].1.marker);
    assert_eq!(u64::from(gap[1].1.step), (gap[1].0 - gap[0].0) * 48);
    assert_eq!(made.iter().filter(|(_, one)| one.marker).count(), 2);
}

#[test]
fn a_new_ssrc_goes_on_in_the_same_stream() {
    let start = Instant::now();
    let mut transcoder = Transcoder::new(&Codec::Pcma, &Codec::G722, 20).unwrap();
    let (mut out, mut steps) = ([0; 1500], Vec::new());
    for n in 0..100u16 {
        let now = start + Duration::from_millis(u64::from(n) * 20);
        let ssrc = if n < 50 { 1 } else { 2 };
        let header = RtpHeader::new(
            8,
            n ^ if n < 50 { 0 } else { 0x7777 },
            u32::from(n) * 160,
            ssrc,
        );
        transcoder.push(&header, &[0xd5; 160], now);
        while let Some(made) = transcoder.poll(now, &mut out) {
            steps.push(made.step);
        }
    }
    assert_eq!(steps, [160; 100]);
}

#[test]
fn garbage_is_counted_and_the_time_goes_on() {
    let start = Instant::now();
    let mut transcoder = Transcoder::new(&Codec::Opus, &Codec::Pcmu, 20).unwrap();
    let (mut out, mut made) = ([0; 1500], 0);
    for n in 0..200u16 {
        let now = start + Duration::from_millis(u64::from(n) * 20);
        let header = RtpHeader::new(111, n, u32::from(n) * 960, 1);
        // Code 3 with zero frames, which no Opus packet has.
        transcoder.push(&header, &[0xff, 0x00, 0x13], now);
        while transcoder.poll(now, &mut out).is_some() {
            made += 1;
        }
    }
    assert_eq!(made, 200);
    assert!(transcoder.stats().malformed > 150);
}

#[test]
fn codecs_that_we_do_not_speak_are_refused() {
    assert!(Transcoder::new(&Codec::Other("G729".into()), &Codec::Pcmu, 20).is_none());
    assert!(Transcoder::new(&Codec::Pcmu, &Codec::Vp8, 20).is_none());
}

#[test]
fn a_reported_loss_puts_a_copy_of_each_frame_into_the_next_one() {
    let start = Instant::now();
    let mut transcoder = Transcoder::new(&Codec::Pcmu, &Codec::Opus, 20).unwrap();
    // Something like a voice; steady tones are not worth a copy to Opus.
    let voice = |n: u32| {
        let t = f64::from(n) / 8000.0 * std::f64::consts::TAU;
        let pulses: f64 = (1..12)
            .map(|k| (f64::from(k) * 130.0 * t).sin() / f64::from(k))
            .sum();
        (pulses * (0.55 + 0.45 * (3.0 * t).sin()) * 6000.0) as i16
    };
    let mut encoder = Encoder::new(&Codec::Pcmu, 8000).unwrap();
    let mut copies = [0; 2];
    for n in 0..200u16 {
        let now = start + Duration::from_millis(u64::from(n) * 20);
        let (mut pcm, mut payload, mut out) = ([0; 160], [0; 160], [0; 1500]);
        for (at, sample) in (u32::from(n) * 160..).zip(&mut pcm) {
            *sample = voice(at);
        }
        encoder.encode(&pcm, &mut payload).unwrap();
        transcoder.push(&RtpHeader::new(0, n, u32::from(n) * 160, 1), &payload, now);
        if n == 100 {
            transcoder.expect_loss(10);
        }
        // A copy is there if a decoder that knows nothing else makes sound of it.
        while let Some(made) = transcoder.poll(now, &mut out) {
            let mut decoder = media_codec::opus::Decoder::new(8000).unwrap();
            let mut copy = [0; 160];
            decoder.recover(&out[..made.len], &mut copy).unwrap();
            copies[usize::from(n >= 100)] += usize::from(level(&copy) > -30.0);
        }
    }
    assert_eq!(copies[0], 0);
    assert!(copies[1] > 50, "{copies:?}");
}
