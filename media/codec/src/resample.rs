//! Between 8 and 16 kHz by a half-band filter: only where G.711 meets G.722, since Opus needs none.
//!
//! 59 taps, Kaiser window of β 5.65: flat to 0.1 dB up to 3.4 kHz, 55 dB down from 4.6 kHz. Every second
//! tap of a half-band filter is zero except the middle one, so a sample costs 30 multiplications. The delay
//! is 29 samples of 16 kHz, 1.8 ms.

use crate::level::{bessel, sinc};

const TAPS: usize = 59;
const MIDDLE: usize = TAPS / 2;
/// Taps that are neither zero nor the middle one.
const SIDE: usize = MIDDLE.div_ceil(2) * 2;
/// Samples looked after at once.
const CHUNK: usize = 160;

/// The non-zero taps beside the middle one, which is 0.5.
fn taps() -> [f32; SIDE] {
    let mut taps = [0.0; SIDE];
    let mut sum = 0.0;
    for (k, tap) in taps.iter_mut().enumerate() {
        // Odd distances from the middle.
        let distance = 2.0 * k as f64 - MIDDLE as f64;
        let window = bessel(5.65 * (1.0 - (distance / MIDDLE as f64).powi(2)).max(0.0).sqrt())
            / bessel(5.65);
        let value = 0.5 * sinc(distance / 2.0) * window;
        sum += value;
        *tap = value as f32;
    }
    // Gain one for direct current: the two halves are 0.5 each.
    for tap in &mut taps {
        *tap = (f64::from(*tap) * 0.5 / sum) as f32;
    }
    taps
}

fn to_i16(x: f32) -> i16 {
    // `as` saturates, which is what a sample past the end of the scale should do.
    x.round() as i16
}

/// 8 kHz in, 16 kHz out.
#[derive(Clone, Debug)]
pub struct Up {
    taps: [f32; SIDE],
    past: [f32; SIDE + CHUNK],
}

impl Default for Up {
    fn default() -> Up {
        Up {
            taps: taps(),
            past: [0.0; SIDE + CHUNK],
        }
    }
}

impl Up {
    pub fn new() -> Up {
        Up::default()
    }

    /// Two samples for each; returns how many were written, which is less if `out` is too short.
    pub fn process(&mut self, samples: &[i16], out: &mut [i16]) -> usize {
        let mut written = 0;
        for (part, out) in samples.chunks(CHUNK).zip(out.chunks_mut(2 * CHUNK)) {
            let len = part.len().min(out.len() / 2);
            for (to, from) in self.past[SIDE..].iter_mut().zip(&part[..len]) {
                *to = f32::from(*from);
            }
            for (n, pair) in out.chunks_exact_mut(2).take(len).enumerate() {
                // The window ends with the newest sample, n.
                let window = &self.past[n + 1..n + 1 + SIDE];
                let between: f32 = window.iter().zip(&self.taps).map(|(x, t)| x * t).sum();
                // Between two samples, then on the later one of them: its delay is the filter's.
                pair[0] = to_i16(2.0 * between);
                pair[1] = to_i16(window[SIDE / 2]);
            }
            self.past.copy_within(len..len + SIDE, 0);
            written += 2 * len;
        }
        written
    }
}

/// 16 kHz in, 8 kHz out.
#[derive(Clone, Debug)]
pub struct Down {
    taps: [f32; SIDE],
    even: [f32; SIDE + CHUNK],
    odd: [f32; SIDE + CHUNK],
}

impl Default for Down {
    fn default() -> Down {
        Down {
            taps: taps(),
            even: [0.0; SIDE + CHUNK],
            odd: [0.0; SIDE + CHUNK],
        }
    }
}

impl Down {
    pub fn new() -> Down {
        Down::default()
    }

    /// One sample for two; returns how many were written. An odd last sample is left out.
    pub fn process(&mut self, samples: &[i16], out: &mut [i16]) -> usize {
        let mut written = 0;
        for (part, out) in samples.chunks(2 * CHUNK).zip(out.chunks_mut(CHUNK)) {
            let len = (part.len() / 2).min(out.len());
            for (n, pair) in part.chunks_exact(2).take(len).enumerate() {
                self.even[SIDE + n] = f32::from(pair[0]);
                self.odd[SIDE + n] = f32::from(pair[1]);
            }
            for (n, to) in out.iter_mut().take(len).enumerate() {
                let even = &self.even[n + 1..n + 1 + SIDE];
                let sides: f32 = even.iter().zip(&self.taps).map(|(x, t)| x * t).sum();
                // The middle tap falls on an odd sample: between even[SIDE/2 - 1] and even[SIDE/2].
                *to = to_i16(sides + 0.5 * self.odd[n + SIDE / 2]);
            }
            self.even.copy_within(len..len + SIDE, 0);
            self.odd.copy_within(len..len + SIDE, 0);
            written += len;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::{level, listen};
    use crate::tone::Tone;

    fn sine(hz: f32, rate: u32) -> Vec<i16> {
        let mut samples = vec![0; 16_000];
        Tone::new(hz, -6.0, rate).fill(&mut samples);
        samples
    }

    #[test]
    fn speech_frequencies_pass_both_ways_unchanged() {
        for hz in [200.0, 440.0, 1000.0, 2000.0, 3000.0, 3400.0] {
            let mut up = vec![0; 32_000];
            assert_eq!(Up::new().process(&sine(hz, 8000), &mut up), 32_000);
            let heard = listen(&up[1000..17_000], 16_000);
            assert!((heard.hz - f64::from(hz)).abs() < 0.5, "{hz} up {heard:?}");
            assert!((heard.dbm0 + 6.0).abs() < 0.1, "{hz} up {heard:?}");
            assert!(heard.snr > 50.0, "{hz} up {heard:?}");

            let mut down = vec![0; 8_000];
            assert_eq!(Down::new().process(&sine(hz, 16_000), &mut down), 8_000);
            let heard = listen(&down[1000..], 8_000);
            assert!(
                (heard.hz - f64::from(hz)).abs() < 0.5,
                "{hz} down {heard:?}"
            );
            assert!((heard.dbm0 + 6.0).abs() < 0.1, "{hz} down {heard:?}");
            assert!(heard.snr > 60.0, "{hz} down {heard:?}");
        }
    }

    #[test]
    fn what_8_khz_cannot_hold_is_taken_out() {
        for hz in [4600.0, 5000.0, 6500.0, 7800.0] {
            let mut down = vec![0; 8_000];
            Down::new().process(&sine(hz, 16_000), &mut down);
            assert!(
                level(&down[1000..]) < -60.0,
                "{hz}: {}",
                level(&down[1000..])
            );
        }
    }

    #[test]
    fn the_length_of_frames_makes_no_difference() {
        let samples = sine(700.0, 16_000);
        let mut whole = vec![0; 8_000];
        Down::new().process(&samples, &mut whole);
        let (mut down, mut parts) = (Down::new(), Vec::new());
        for part in samples.chunks(34) {
            let mut out = [0; 17];
            let len = down.process(part, &mut out);
            parts.extend(&out[..len]);
        }
        assert_eq!(whole, parts);
        let mut whole = vec![0; 32_000];
        Up::new().process(&samples, &mut whole);
        let (mut up, mut parts) = (Up::new(), Vec::new());
        for part in samples.chunks(33) {
            let mut out = [0; 66];
            let len = up.process(part, &mut out);
            parts.extend(&out[..len]);
        }
        assert_eq!(whole, parts);
    }
}
