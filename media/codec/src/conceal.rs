//! Concealment for codecs that have none of their own (G.711, G.722): a lost frame is filled with the last
//! pitch period, over and over, and fades away, in the manner of ITU-T G.711 Appendix I.
//!
//! Unlike there, nothing is delayed: the seam at the beginning is smoothed by a ramp, the one at the end by
//! an overlap with the first samples that arrive.

/// Full level for this long, then a straight line to silence.
const FULL_MS: usize = 10;
const SILENT_MS: usize = 60;
/// Pitch periods looked for: 400 Hz to 66 Hz.
const SHORTEST_US: usize = 2_500;
const LONGEST_US: usize = 15_000;
/// What the periods are compared over.
const COMPARED_MS: usize = 20;
/// Ramp at the first seam and at each turn of the period.
const RAMP_US: usize = 1_250;
/// Overlap with what arrives: this for a short loss, and the double for one of 20 ms or more.
const OVERLAP_MS: usize = 5;

/// Remembers what was played, and goes on with it.
#[derive(Clone, Debug)]
pub struct Concealer {
    per_ms: usize,
    /// Newest last; as long as the longest period and what is compared.
    history: Vec<i16>,
    /// The period that is repeated, at the front of a buffer for the longest one.
    cycle: Vec<i16>,
    period: usize,
    /// What the wave lacks at the turn of the period, and at the first seam.
    turn_step: f32,
    first_step: f32,
    /// Samples made up since the last good one.
    made: usize,
}

impl Concealer {
    /// For a codec of 8,000 or 16,000 Hz.
    pub fn new(sample_rate: u32) -> Concealer {
        let per_ms = usize::try_from(sample_rate / 1000)
            .unwrap_or(8)
            .clamp(8, 48);
        Concealer {
            per_ms,
            history: vec![0; per_ms * LONGEST_US / 1000 + per_ms * COMPARED_MS],
            cycle: vec![0; per_ms * LONGEST_US / 1000],
            period: 1,
            turn_step: 0.0,
            first_step: 0.0,
            made: 0,
        }
    }

    /// Takes a frame that arrived; its beginning is mended if the one before was lost.
    pub fn good(&mut self, frame: &mut [i16]) {
        if self.made > 0 {
            let long = self.made >= 20 * self.per_ms;
            let overlap = (OVERLAP_MS * self.per_ms * if long { 2 } else { 1 }).min(frame.len());
            for (n, sample) in frame.iter_mut().take(overlap).enumerate() {
                let share = (n + 1) as f32 / (overlap + 1) as f32;
                let mended = f32::from(*sample) * share + self.next() * (1.0 - share);
                *sample = mended.round() as i16;
            }
            self.made = 0;
        }
        self.remember(frame);
    }

    /// Fills a frame that did not arrive.
    pub fn lost(&mut self, out: &mut [i16]) {
        if self.made == 0 {
            self.begin();
        }
        for sample in out.iter_mut() {
            *sample = self.next().round() as i16;
        }
        self.remember(out);
    }

    /// Forgets everything: the next frame has nothing to do with what was.
    pub fn reset(&mut self) {
        self.history.fill(0);
        self.made = 0;
    }

    fn remember(&mut self, frame: &[i16]) {
        let len = self.history.len();
        if frame.len() >= len {
            self.history.copy_from_slice(&frame[frame.len() - len..]);
        } else {
            self.history.copy_within(frame.len().., 0);
            self.history[len - frame.len()..].copy_from_slice(frame);
        }
    }

    /// Chooses the period and copies it.
    fn begin(&mut self) {
        self.period = self.pitch();
        let len = self.history.len();
        self.cycle[..self.period].copy_from_slice(&self.history[len - self.period..]);
        let newest = f32::from(self.history[len - 1]);
        let one_ago = f32::from(self.history[len - 1 - self.period]);
        // Going on with the period's first sample, the wave would jump by what the newest sample differs
        // from its counterpart one period ago.
        self.first_step = newest - one_ago;
        self.turn_step = self.first_step;
    }

    fn next(&mut self) -> f32 {
        let at = self.made % self.period;
        let ramp = RAMP_US * self.per_ms / 1000;
        let step = if self.made < self.period {
            self.first_step
        } else {
            self.turn_step
        };
        let smooth = if at < ramp {
            step * (1.0 - at as f32 / ramp as f32)
        } else {
            0.0
        };
        let (full, silent) = (FULL_MS * self.per_ms, SILENT_MS * self.per_ms);
        let gain = match self.made {
            made if made < full => 1.0,
            made if made >= silent => 0.0,
            made => (silent - made) as f32 / (silent - full) as f32,
        };
        let sample = (f32::from(self.cycle[at]) + smooth) * gain;
        // Stays past the end of the fade; the count must not come around to its beginning.
        self.made = (self.made + 1).min(usize::MAX / 2);
        sample.clamp(-32_768.0, 32_767.0)
    }

    /// The lag at which the last 20 ms resemble what was before them most.
    fn pitch(&self) -> usize {
        let shortest = SHORTEST_US * self.per_ms / 1000;
        let longest = LONGEST_US * self.per_ms / 1000;
        // Every second sample and lag at first, when there are enough of them.
        let stride = self.per_ms / 8;
        let coarse = (shortest..=longest)
            .step_by(stride)
            .map(|lag| (lag, self.likeness(lag, stride)))
            .fold((longest, f32::MIN), |best, this| {
                if this.1 > best.1 { this } else { best }
            })
            .0;
        let near = coarse.saturating_sub(stride).max(shortest)..=(coarse + stride).min(longest);
        near.map(|lag| (lag, self.likeness(lag, 1)))
            .fold((coarse, f32::MIN), |best, this| {
                if this.1 > best.1 { this } else { best }
            })
            .0
    }

    /// Normalised correlation of the newest samples with those `lag` before.
    fn likeness(&self, lag: usize, stride: usize) -> f32 {
        let len = self.history.len();
        let compared = COMPARED_MS * self.per_ms;
        let new = &self.history[len - compared..];
        let old = &self.history[len - compared - lag..len - lag];
        let (mut product, mut energy) = (0.0, 1.0);
        for (a, b) in new.iter().step_by(stride).zip(old.iter().step_by(stride)) {
            let (a, b) = (f32::from(*a), f32::from(*b));
            product += a * b;
            energy += b * b;
        }
        product / energy.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::{level, listen, longest_gap_ms};
    use crate::tone::Tone;

    /// A tone with the frames of these numbers lost.
    fn with_losses(hz: f32, rate: u32, lost: impl Fn(usize) -> bool) -> Vec<i16> {
        let frame = usize::try_from(rate / 50).unwrap();
        let mut samples = vec![0; frame * 100];
        Tone::new(hz, -10.0, rate).fill(&mut samples);
        let mut concealer = Concealer::new(rate);
        for (n, part) in samples.chunks_mut(frame).enumerate() {
            if lost(n) {
                concealer.lost(part)
            } else {
                concealer.good(part)
            }
        }
        samples
    }

    #[test]
    fn a_tone_with_every_tenth_frame_lost_sounds_on() {
        for rate in [8000, 16_000] {
            for hz in [200.0, 440.0, 1004.0, 2000.0] {
                let samples = with_losses(hz, rate, |n| n % 10 == 5);
                let heard = listen(&samples, rate);
                assert!(
                    (heard.hz - f64::from(hz)).abs() < 2.0,
                    "{rate} {hz} {heard:?}"
                );
                assert!((heard.dbm0 + 10.0).abs() < 0.5, "{rate} {hz} {heard:?}");
                assert!(heard.snr > 14.0, "{rate} {hz} {heard:?}");
                assert_eq!(
                    longest_gap_ms(&samples, rate, f64::from(hz), 10.0),
                    0,
                    "{rate} {hz}"
                );
            }
        }
    }

    #[test]
    fn what_stays_away_fades_to_silence_and_comes_back_without_a_click() {
        let samples = with_losses(440.0, 8000, |n| (50..60).contains(&n));
        let frame = |n: usize| &samples[n * 160..(n + 1) * 160];
        assert!(level(frame(50)) > -11.0);
        assert!(level(frame(51)) < -12.0);
        assert_eq!(level(frame(53)), level(&[0]));
        // A tone of this level and frequency never steps further than this.
        let steepest = samples
            .windows(2)
            .map(|w| i32::from(w[1]).abs_diff(i32::from(w[0])))
            .max();
        assert!(steepest < Some(3500), "{steepest:?}");
    }

    #[test]
    fn silence_and_noise_are_no_trouble() {
        let mut concealer = Concealer::new(8000);
        let mut frame = [1; 160];
        concealer.lost(&mut frame);
        assert_eq!(frame, [0; 160]);
        let mut noise: Vec<i16> = (0..160u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 16) as i16)
            .collect();
        concealer.good(&mut noise);
        for _ in 0..20 {
            concealer.lost(&mut frame);
        }
        assert_eq!(frame, [0; 160]);
        concealer.good(&mut [i16::MIN; 7]);
        concealer.lost(&mut [0; 1000]);
    }
}
