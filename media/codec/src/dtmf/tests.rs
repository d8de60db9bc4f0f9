use super::*;
use crate::chord::Chord;
use crate::g711::Law;
use crate::level::level;
use crate::tone::Tone;

const DIGITS: &str = "1234567890*#ABCD";

struct Press {
    off: f32,
    levels: (f32, f32),
    ms: u32,
    pause_ms: u32,
}

const USUAL: Press = Press {
    off: 0.0,
    levels: (-10.0, -10.0),
    ms: 80,
    pause_ms: 80,
};

fn pressed(digits: &str, press: &Press, rate: u32) -> Vec<i16> {
    let per_ms = rate / 1000;
    let mut sound = vec![0; (37 * per_ms) as usize];
    for digit in digits.chars() {
        let (low, high) = tones(digit).unwrap();
        let mut chord = Chord::new(
            &[
                (low * (1.0 + press.off), press.levels.0),
                (high * (1.0 + press.off), press.levels.1),
            ],
            &[],
            rate,
        );
        let mut tone = vec![0; (press.ms * per_ms) as usize];
        chord.fill(&mut tone);
        sound.extend(tone);
        sound.extend(vec![0; (press.pause_ms * per_ms) as usize]);
    }
    sound.extend(vec![0; (100 * per_ms) as usize]);
    sound
}

/// What is heard, and what is left of the sound.
fn hear(sound: &[i16], rate: u32) -> (Vec<Heard>, Vec<i16>) {
    let mut ear = Ear::new(rate);
    let mut heard = Vec::new();
    let mut left = sound.to_vec();
    for part in left.chunks_mut((rate / 50) as usize) {
        ear.listen(part, true);
        heard.extend(std::iter::from_fn(|| ear.poll()));
    }
    (heard, left)
}

fn digits(heard: &[Heard]) -> String {
    heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Begin(digit) => Some(*digit),
            Heard::End(..) => None,
        })
        .collect()
}

fn noise(seed: &mut u32, amplitude: f32) -> i16 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    ((*seed >> 8) as f32 / (1 << 23) as f32 - 1.0).mul_add(amplitude, 0.0) as i16
}

#[test]
fn every_digit_is_heard_once_with_its_length_and_cut_out_whole() {
    for rate in [8000, 16_000] {
        for shift in 0..8 {
            let mut sound = vec![0; shift * rate as usize / 1600];
            sound.extend(pressed(DIGITS, &USUAL, rate));
            let (heard, left) = hear(&sound, rate);
            assert_eq!(digits(&heard), DIGITS);
            for heard in &heard {
                if let Heard::End(_, ms) = heard {
                    assert!((65..=95).contains(ms), "{ms}");
                }
            }
            assert_eq!(heard.len(), 32);
            let loudest = left.iter().map(|s| s.unsigned_abs()).max().unwrap();
            assert!(loudest < 100, "{loudest} is left of a tone");
        }
    }
}

#[test]
fn the_limits_of_q24_hold() {
    let all = |press: Press| digits(&hear(&pressed(DIGITS, &press, 8000), 8000).0);
    // To be heard: 1.5 % off, -25 dBm0, twist of 4 and 8 dB, 40 ms with 40 ms between.
    for off in [-0.015, 0.015] {
        assert_eq!(all(Press { off, ..USUAL }), DIGITS, "{off}");
    }
    for levels in [(0.0, 0.0), (-25.0, -25.0), (-14.0, -10.0), (-10.0, -18.0)] {
        assert_eq!(all(Press { levels, ..USUAL }), DIGITS, "{levels:?}");
    }
    let short = Press {
        ms: 40,
        pause_ms: 40,
        ..USUAL
    };
    assert_eq!(all(short), DIGITS);
    // Not to be heard: 3.5 % off, -55 dBm0, 23 ms, more twist than a line has.
    for off in [-0.035, 0.035] {
        assert_eq!(all(Press { off, ..USUAL }), "", "{off}");
    }
    for levels in [(-55.0, -55.0), (-20.0, -5.0), (-5.0, -20.0)] {
        assert_eq!(all(Press { levels, ..USUAL }), "", "{levels:?}");
    }
    assert_eq!(all(Press { ms: 23, ..USUAL }), "");
}

#[test]
fn the_same_digit_twice_is_two_and_a_short_break_is_none() {
    let press = Press {
        ms: 50,
        pause_ms: 45,
        ..USUAL
    };
    assert_eq!(
        digits(&hear(&pressed("55#00", &press, 8000), 8000).0),
        "55#00"
    );
    let mut sound = pressed("7", &Press { ms: 200, ..USUAL }, 8000);
    sound[8 * 130..8 * 138].fill(0);
    let (heard, _) = hear(&sound, 8000);
    assert_eq!(digits(&heard), "7");
    assert!(matches!(heard[1], Heard::End('7', 180..=210)), "{heard:?}");
}

#[test]
fn a_lost_packet_in_the_middle_of_a_digit_makes_no_two_of_it() {
    for at in [40, 60, 80, 100] {
        let mut sound = pressed("7", &Press { ms: 160, ..USUAL }, 8000);
        let lost = (37 + at) * 8..(57 + at) * 8;
        sound[lost.clone()].fill(0);
        let mut ear = Ear::new(8000);
        let mut heard = Vec::new();
        for (n, part) in sound.chunks_mut(8).enumerate() {
            if n * 8 == lost.start {
                ear.distrust(160);
            }
            ear.listen(part, true);
            heard.extend(std::iter::from_fn(|| ear.poll()));
        }
        assert_eq!(digits(&heard), "7", "{at}");
        assert!(matches!(heard[1], Heard::End('7', 140..=180)), "{heard:?}");
    }
}

#[test]
fn digits_are_heard_through_noise_and_the_codecs_of_a_telephone() {
    let mut seed = 1;
    for law in [Law::Mu, Law::A] {
        let mut sound = pressed(
            DIGITS,
            &Press {
                levels: (-16.0, -14.0),
                ..USUAL
            },
            8000,
        );
        for sample in &mut sound {
            // 15 dB below the digits.
            let noisy = sample.saturating_add(noise(&mut seed, 1800.0));
            *sample = law.expand(law.compress(noisy));
        }
        assert_eq!(digits(&hear(&sound, 8000).0), DIGITS);
    }
}

#[test]
fn one_tone_alone_dial_tones_and_music_are_no_digits() {
    let mut chords: Vec<Vec<(f32, f32)>> = HERTZ.iter().map(|hz| vec![(*hz, -10.0)]).collect();
    chords.extend([
        vec![(350.0, -13.0), (440.0, -13.0)],
        vec![(440.0, -16.0), (480.0, -16.0)],
        vec![(480.0, -16.0), (620.0, -16.0)],
        vec![(425.0, -10.0)],
        // Two of one group, and a third tone beside a digit.
        vec![(697.0, -10.0), (852.0, -10.0)],
        vec![(1209.0, -10.0), (1477.0, -10.0)],
        vec![(697.0, -10.0), (1209.0, -10.0), (1050.0, -8.0)],
        // Chords of an organ: A minor, C major, with octaves.
        vec![
            (440.0, -14.0),
            (523.25, -14.0),
            (659.26, -14.0),
            (880.0, -14.0),
        ],
        vec![
            (698.46, -14.0),
            (880.0, -14.0),
            (1046.5, -14.0),
            (1318.5, -14.0),
        ],
    ]);
    for chord in chords {
        let mut sound = vec![0; 16_000];
        Chord::new(&chord, &[], 8000).fill(&mut sound);
        assert_eq!(hear(&sound, 8000).0, [], "{chord:?}");
    }
}

/// A voice as far as a digit detector could be misled by one: a buzz of gliding pitch through formants that move
/// over the very frequencies of the digits, with breath.
#[test]
fn minutes_of_a_voice_are_no_digits() {
    let mut seed = 7;
    let mut sound = Vec::new();
    let mut phase = 0.0f32;
    for n in 0..8000 * 180 {
        let t = n as f32 / 8000.0;
        let pitch = 130.0 + 50.0 * (TAU * 0.31 * t).sin() + 25.0 * (TAU * 2.3 * t).sin();
        phase = (phase + pitch / 8000.0).fract();
        let first = 650.0 + 250.0 * (TAU * 0.7 * t).sin();
        let second = 1400.0 + 350.0 * (TAU * 0.47 * t + 1.0).sin();
        let mut x = 0.0;
        for harmonic in 1u8..26 {
            let hz = pitch * f32::from(harmonic);
            let bell = |centre: f32, width: f32| (-((hz - centre) / width).powi(2)).exp();
            let weight =
                bell(first, 90.0) + 0.7 * bell(second, 110.0) + 0.4 * bell(2500.0, 150.0) + 0.02;
            x += weight * (TAU * phase * f32::from(harmonic)).sin();
        }
        let syllable = (TAU * 3.1 * t).sin().max(0.0);
        sound.push((x * 6000.0 * syllable) as i16 / 2 + noise(&mut seed, 60.0));
    }
    assert!(level(&sound) > -30.0);
    assert_eq!(hear(&sound, 8000).0, []);
}

/// Faster than Q.24 lets a digit be: each pair is in tune for 20 ms and less.
#[test]
fn sweeps_through_both_groups_are_no_digits() {
    let (mut low, mut high) = (0.0f32, 0.0f32);
    let sound: Vec<i16> = (0..8000 * 4)
        .map(|n| {
            let share = (n % 2000) as f32 / 2000.0;
            low = (low + (600.0 + 450.0 * share) / 8000.0).fract();
            high = (high + (1750.0 - 650.0 * share) / 8000.0).fract();
            (5000.0 * ((TAU * low).sin() + (TAU * high).sin())) as i16
        })
        .collect();
    assert_eq!(hear(&sound, 8000).0, []);
}

#[test]
fn what_is_not_cut_comes_out_as_it_went_in() {
    let mut sound = vec![0; 8000];
    Tone::new(1000.0, -10.0, 8000).fill(&mut sound);
    let (_, left) = hear(&sound, 8000);
    let delay = Ear::DELAY_MS * 8;
    assert_eq!(left[delay..], sound[..8000 - delay]);
}
