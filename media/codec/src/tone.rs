//! A sine generator.

use crate::level::FULL_SCALE_DBM0;
use std::f64::consts::TAU;

/// A steady sine, without clicks from frame to frame.
#[derive(Clone, Debug)]
pub struct Tone {
    phase: f64,
    step: f64,
    amplitude: f64,
}

impl Tone {
    pub fn new(hz: f32, dbm0: f32, sample_rate: u32) -> Tone {
        let below = f64::from(dbm0).min(FULL_SCALE_DBM0) - FULL_SCALE_DBM0;
        Tone {
            phase: 0.0,
            step: TAU * f64::from(hz) / f64::from(sample_rate.max(1)),
            amplitude: 32_767.0 * 10f64.powf(below / 20.0),
        }
    }

    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            // Within 16 bits: the amplitude is at most 32,767.
            *sample = (self.amplitude * self.phase.sin()).round() as i16;
            self.phase += self.step;
            if self.phase >= TAU {
                self.phase %= TAU;
            }
        }
    }
}
