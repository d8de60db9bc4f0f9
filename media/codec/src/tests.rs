//! Tones through each codec: frequency, level, and what else comes out.

use crate::level::{Heard, level, listen};
use crate::tone::Tone;
use crate::{g711, g722, opus};
use proptest::prelude::*;

/// A second and a half of a tone, frame by frame through `code`; what the last second of it sounds like.
fn through(
    hz: f32,
    dbm0: f32,
    rate: u32,
    mut code: impl FnMut(&[i16], &mut [i16]) -> usize,
) -> Heard {
    let frame = usize::try_from(rate / 50).unwrap();
    let mut tone = Tone::new(hz, dbm0, rate);
    let mut out = Vec::new();
    let (mut input, mut output) = (vec![0; frame], vec![0; 1920]);
    for _ in 0..75 {
        tone.fill(&mut input);
        let len = code(&input, &mut output);
        assert_eq!(len, frame);
        out.extend(&output[..len]);
    }
    listen(&out[25 * frame..], rate)
}

fn check(name: &str, hz: f32, dbm0: f32, heard: Heard, snr: f64) {
    assert!(
        (heard.hz - f64::from(hz)).abs() < 1.0,
        "{name} {hz} {dbm0}: {heard:?}"
    );
    assert!(
        (heard.dbm0 - f64::from(dbm0)).abs() < 0.3,
        "{name} {hz} {dbm0}: {heard:?}"
    );
    assert!(heard.snr > snr, "{name} {hz} {dbm0}: {heard:?}");
}

#[test]
fn g711_keeps_frequency_and_level() {
    for law in [g711::Law::Mu, g711::Law::A] {
        for hz in [300.0, 440.0, 1004.0, 3000.0] {
            for dbm0 in [0.0, -10.0, -30.0] {
                let heard = through(hz, dbm0, 8000, |input, output| {
                    let mut coded = [0; 160];
                    let len = law.encode(input, &mut coded).unwrap();
                    law.decode(&coded[..len], output).unwrap()
                });
                // G.711 promises 33 dB of signal to distortion down to -30 dBm0.
                check("g711", hz, dbm0, heard, 33.0);
            }
        }
    }
}

#[test]
fn g722_keeps_frequency_and_level() {
    for hz in [300.0, 440.0, 1004.0, 3000.0, 6000.0] {
        for dbm0 in [-3.0, -10.0, -30.0] {
            let (mut encoder, mut decoder) = (g722::Encoder::new(), g722::Decoder::new());
            let heard = through(hz, dbm0, 16_000, |input, output| {
                let mut coded = [0; 160];
                assert_eq!(encoder.encode(input, &mut coded), Ok(160));
                decoder.decode(&coded, output).unwrap()
            });
            check(
                "g722",
                hz,
                dbm0,
                heard,
                if hz > 4000.0 { 10.0 } else { 25.0 },
            );
        }
    }
}

#[test]
fn opus_keeps_frequency_and_level_at_the_rate_of_the_other_side() {
    for rate in [8000, 16_000] {
        for hz in [300.0, 440.0, 1004.0, 2000.0] {
            for dbm0 in [-3.0, -10.0, -30.0] {
                let mut encoder = opus::Encoder::new(&opus::Settings::for_rate(rate)).unwrap();
                let mut decoder = opus::Decoder::new(rate).unwrap();
                let heard = through(hz, dbm0, rate, |input, output| {
                    let mut coded = [0; 400];
                    let len = encoder.encode(input, &mut coded).unwrap();
                    assert_eq!(opus::samples_in(&coded[..len], 48_000), Ok(960));
                    decoder.decode(&coded[..len], output).unwrap()
                });
                check(&format!("opus {rate}"), hz, dbm0, heard, 10.0);
            }
        }
    }
}

#[test]
fn opus_from_48_khz_is_decoded_at_8() {
    let mut encoder = opus::Encoder::new(&opus::Settings::for_rate(48_000)).unwrap();
    let mut decoder = opus::Decoder::new(8000).unwrap();
    let mut tone = Tone::new(440.0, -10.0, 48_000);
    let mut heard = Vec::new();
    for _ in 0..75 {
        let (mut input, mut coded, mut output) = ([0; 960], [0; 400], [0; 960]);
        tone.fill(&mut input);
        let len = encoder.encode(&input, &mut coded).unwrap();
        let len = decoder.decode(&coded[..len], &mut output).unwrap();
        assert_eq!(len, 160);
        heard.extend(&output[..len]);
    }
    check(
        "opus 48 to 8",
        440.0,
        -10.0,
        listen(&heard[4000..], 8000),
        15.0,
    );
}

#[test]
fn opus_makes_up_for_a_lost_packet() {
    let mut encoder = opus::Encoder::new(&opus::Settings::for_rate(8000)).unwrap();
    let mut decoder = opus::Decoder::new(8000).unwrap();
    let mut tone = Tone::new(440.0, -10.0, 8000);
    let mut heard = Vec::new();
    for n in 0..100 {
        let (mut input, mut coded, mut output) = ([0; 160], [0; 400], [0; 160]);
        tone.fill(&mut input);
        let len = encoder.encode(&input, &mut coded).unwrap();
        match n % 20 {
            7 => decoder.conceal(&mut output).unwrap(),
            _ => decoder.decode(&coded[..len], &mut output).unwrap(),
        };
        heard.extend(output);
    }
    // The phase may move with each loss, so the level is that of everything.
    let (loud, heard) = (level(&heard[4000..]), listen(&heard[4000..], 8000));
    assert!((heard.hz - 440.0).abs() < 5.0, "{heard:?}");
    assert!((loud + 10.0).abs() < 0.5, "{loud}");
}

#[test]
fn settings_that_opus_does_not_have_are_refused() {
    let settings = opus::Settings::for_rate(44_100);
    assert!(opus::Encoder::new(&settings).is_err());
    assert!(opus::Decoder::new(44_100).is_err());
    let mut encoder = opus::Encoder::new(&opus::Settings::for_rate(8000)).unwrap();
    assert!(encoder.encode(&[0; 161], &mut [0; 400]).is_err());
    assert!(encoder.encode(&[0; 160], &mut []).is_err());
}

proptest! {
    #[test]
    fn any_payload_is_decoded_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..400), rate in prop_oneof![Just(8000u32), Just(16_000)]) {
        let mut out = [0; 1920];
        let mut decoder = opus::Decoder::new(rate).unwrap();
        if let Ok(len) = decoder.decode(&payload, &mut out) {
            prop_assert!(len <= out.len());
        }
        let _ = decoder.recover(&payload, &mut out[..160]);
        let _ = decoder.decode(&payload, &mut out[..3]);
        let _ = g722::Decoder::new().decode(&payload, &mut out);
        let _ = g711::Law::A.decode(&payload, &mut out[..100]);
    }
}
