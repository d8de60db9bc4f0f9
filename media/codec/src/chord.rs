//! Several tones at once, going on and off: the tones of a telephone network, and digits.

use crate::tone::Tone;

/// Tones of a chord, and steps of its rhythm; further ones are left out.
pub const MAX_TONES: usize = 4;
pub const MAX_STEPS: usize = 8;
/// Rise and fall at each beginning and end, so that it does not click.
const RAMP_MS: usize = 2;

/// A chord with its rhythm.
#[derive(Clone, Debug)]
pub struct Chord {
    tones: Vec<Tone>,
    scratch: Vec<i16>,
    /// Samples on and off, in turn, over and over. Empty: always on.
    rhythm: Vec<(usize, usize)>,
    step: usize,
    /// Within the step.
    at: usize,
    ramp: usize,
}

impl Chord {
    /// Each tone with its level. `on_off_ms`: sound and pause in turn, over and over; without any, or with
    /// nothing but zeros, it never pauses.
    pub fn new(tones: &[(f32, f32)], on_off_ms: &[(u32, u32)], sample_rate: u32) -> Chord {
        let per_ms = usize::try_from(sample_rate / 1000).unwrap_or(8).max(1);
        let samples = |ms: u32| usize::try_from(ms).unwrap_or(0).saturating_mul(per_ms);
        Chord {
            tones: tones
                .iter()
                .take(MAX_TONES)
                .map(|(hz, dbm0)| Tone::new(*hz, *dbm0, sample_rate))
                .collect(),
            scratch: Vec::new(),
            rhythm: on_off_ms
                .iter()
                .take(MAX_STEPS)
                .map(|(on, off)| (samples(*on), samples(*off)))
                .filter(|(on, off)| on + off > 0)
                .collect(),
            step: 0,
            at: 0,
            ramp: RAMP_MS * per_ms,
        }
    }

    /// The next samples.
    pub fn fill(&mut self, out: &mut [i16]) {
        out.fill(0);
        self.scratch.resize(out.len(), 0);
        for tone in &mut self.tones {
            tone.fill(&mut self.scratch);
            for (sum, sample) in out.iter_mut().zip(&self.scratch) {
                *sum = sum.saturating_add(*sample);
            }
        }
        if self.rhythm.is_empty() {
            return;
        }
        for sample in out {
            let (on, off) = self.rhythm[self.step];
            if self.at >= on {
                *sample = 0;
            } else {
                let edge = (self.at + 1).min(on - self.at);
                if edge < self.ramp {
                    *sample = (f32::from(*sample) * edge as f32 / self.ramp as f32) as i16;
                }
            }
            self.at += 1;
            if self.at >= on + off {
                self.at = 0;
                self.step = (self.step + 1) % self.rhythm.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::{level, listen};

    #[test]
    fn sounds_and_pauses_in_its_rhythm() {
        let mut chord = Chord::new(&[(440.0, -16.0), (480.0, -16.0)], &[(200, 400)], 8000);
        let mut samples = vec![0; 8000 * 12 / 10];
        for part in samples.chunks_mut(160) {
            chord.fill(part);
        }
        let ms = |from: usize, to: usize| &samples[from * 8..to * 8];
        for round in [0, 600] {
            assert!((level(ms(round + 10, round + 190)) + 13.0).abs() < 1.0);
            assert!(level(ms(round + 200, round + 600)) < -90.0);
        }
        let heard = listen(ms(5, 195), 8000).hz;
        assert!(
            (heard - 440.0).abs() < 8.0 || (heard - 480.0).abs() < 8.0,
            "{heard}"
        );
    }

    #[test]
    fn without_a_rhythm_it_never_pauses() {
        for rhythm in [&[][..], &[(0, 0)][..]] {
            let mut chord = Chord::new(&[(425.0, -10.0)], rhythm, 16_000);
            let mut samples = vec![0; 16_000];
            chord.fill(&mut samples);
            assert!((level(&samples) + 10.0).abs() < 0.1);
        }
    }
}
