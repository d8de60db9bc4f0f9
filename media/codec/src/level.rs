//! Measures tones: for tests and meters, not for the packet path.

use std::f64::consts::{PI, TAU};

/// Level of a sine that fills 16 bits.
#[allow(clippy::approx_constant, reason = "decibels, not a circle")]
pub const FULL_SCALE_DBM0: f64 = 3.14;

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    pub hz: f64,
    /// Of the tone alone.
    pub dbm0: f64,
    /// Tone against everything else, in decibels.
    pub snr: f64,
}

/// Level of everything, in dBm0; very low for silence.
pub fn level(samples: &[i16]) -> f64 {
    let sum: f64 = samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
    level_of_power(sum / samples.len().max(1) as f64)
}

fn level_of_power(mean_square: f64) -> f64 {
    let full = 32_767.0 * 32_767.0 / 2.0;
    10.0 * (mean_square / full).max(1e-12).log10() + FULL_SCALE_DBM0
}

/// Power of one frequency by the Goertzel algorithm, Hann window.
fn goertzel(samples: &[i16], sample_rate: u32, hz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * hz / f64::from(sample_rate)).cos();
    let last = samples.len().saturating_sub(1).max(1) as f64;
    let (mut s1, mut s2) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let window = 0.5 - 0.5 * (TAU * n as f64 / last).cos();
        let s0 = f64::from(*sample) * window + coefficient * s1 - s2;
        s2 = s1;
        s1 = s0;
    }
    s1 * s1 + s2 * s2 - coefficient * s1 * s2
}

/// Finds the strongest tone between 100 Hz and 0.95 of half the rate, its level, and what else there is.
pub fn listen(samples: &[i16], sample_rate: u32) -> Heard {
    // A coarse look at the first quarter of a second finds the peak; then ever longer parts sharpen it.
    let short = &samples[..samples
        .len()
        .min(usize::try_from(sample_rate / 4).unwrap_or(usize::MAX))];
    let step = f64::from(sample_rate) / short.len().max(1) as f64;
    let mut best = (0.0, 100.0);
    let mut hz = 100.0;
    while hz < 0.95 * f64::from(sample_rate) / 2.0 {
        let power = goertzel(short, sample_rate, hz);
        if power > best.0 {
            best = (power, hz);
        }
        hz += step;
    }
    let rough = peak(short, sample_rate, best.1, step);
    let hz = peak(
        samples,
        sample_rate,
        rough,
        f64::from(sample_rate) / samples.len().max(1) as f64,
    );
    let (tone, rest) = split(samples, sample_rate, hz);
    Heard {
        hz,
        dbm0: level_of_power(tone),
        snr: 10.0 * (tone / rest.max(1e-9)).log10(),
    }
}

/// The strongest frequency within `reach` of `hz`.
fn peak(samples: &[i16], sample_rate: u32, hz: f64, reach: f64) -> f64 {
    let (mut low, mut high) = (hz - reach, hz + reach);
    for _ in 0..16 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if goertzel(samples, sample_rate, a) > goertzel(samples, sample_rate, b) {
            high = b;
        } else {
            low = a;
        }
    }
    (low + high) / 2.0
}

/// Mean power of the tone at `hz`, fitted by least squares, and of what is left without it.
pub fn split(samples: &[i16], sample_rate: u32, hz: f64) -> (f64, f64) {
    let w = TAU * hz / f64::from(sample_rate);
    let (mut cc, mut ss, mut cs, mut xc, mut xs) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let (s, c) = (w * n as f64).sin_cos();
        let x = f64::from(*sample);
        cc += c * c;
        ss += s * s;
        cs += c * s;
        xc += x * c;
        xs += x * s;
    }
    let determinant = (cc * ss - cs * cs).max(f64::MIN_POSITIVE);
    let a = (xc * ss - xs * cs) / determinant;
    let b = (xs * cc - xc * cs) / determinant;
    let len = samples.len().max(1) as f64;
    let (mut tone, mut rest) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let (s, c) = (w * n as f64).sin_cos();
        let fitted = a * c + b * s;
        tone += fitted * fitted;
        rest += (f64::from(*sample) - fitted).powi(2);
    }
    (tone / len, rest / len)
}

/// The longest run, in milliseconds, in which the tone is `below` decibels under its level, looked at
/// in windows of 5 ms.
pub fn longest_gap_ms(samples: &[i16], sample_rate: u32, hz: f64, below: f64) -> u32 {
    let window = usize::try_from(sample_rate / 200)
        .unwrap_or(usize::MAX)
        .max(1);
    let wanted = level_of_power(split(samples, sample_rate, hz).0) - below;
    let (mut longest, mut run) = (0, 0);
    for part in samples.chunks_exact(window) {
        let heard = level_of_power(split(part, sample_rate, hz).0);
        run = if heard < wanted { run + 5 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// The zeroth-order modified Bessel function, for Kaiser windows.
pub(crate) fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..40 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

/// `sin(πx) / πx`.
pub(crate) fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Tone;

    #[test]
    fn hears_what_the_tone_says() {
        for (hz, dbm0, rate) in [
            (440.0, -10.0, 8000),
            (1004.0, 0.0, 16000),
            (3100.0, -25.0, 8000),
        ] {
            let mut samples = vec![0; 8000];
            Tone::new(hz, dbm0, rate).fill(&mut samples);
            let heard = listen(&samples, rate);
            assert!((heard.hz - f64::from(hz)).abs() < 0.5, "{heard:?}");
            assert!((heard.dbm0 - f64::from(dbm0)).abs() < 0.01, "{heard:?}");
            assert!((level(&samples) - f64::from(dbm0)).abs() < 0.02);
            assert!(heard.snr > 50.0, "{heard:?}");
        }
    }

    #[test]
    fn sees_a_gap() {
        let mut samples = vec![0; 8000];
        Tone::new(440.0, -10.0, 8000).fill(&mut samples);
        assert_eq!(longest_gap_ms(&samples, 8000, 440.0, 10.0), 0);
        samples[2000..2400].fill(0);
        assert_eq!(longest_gap_ms(&samples, 8000, 440.0, 10.0), 50);
        assert!(level(&[0; 100]) < -100.0);
    }
}
