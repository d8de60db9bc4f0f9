//! Comfort noise (RFC 3389): what is heard while the other side says nothing and sends nothing.

/// Level of the highest note, RFC 3389 §3: a square wave that fills the scale is 0 dBov.
const OVERLOAD: f32 = 32_767.0;
/// From one level to the next over about this many samples, so that it does not jump.
const GLIDE: f32 = 400.0;

/// White noise of a level. The spectrum that a packet may describe is left aside, as RFC 3389 §5 permits.
#[derive(Clone, Debug)]
pub struct Noise {
    state: u32,
    wanted: f32,
    amplitude: f32,
}

impl Noise {
    /// `below` overload, in decibels, as the first byte of a comfort noise payload says it.
    pub fn new(below: u8) -> Noise {
        let mut noise = Noise {
            state: 0x9e37_79b9,
            wanted: 0.0,
            amplitude: 0.0,
        };
        noise.set(below);
        noise.amplitude = noise.wanted;
        noise
    }

    pub fn set(&mut self, below: u8) {
        let rms = OVERLOAD * 10f32.powf(-f32::from(below & 0x7f) / 20.0);
        // Evenly spread between plus and minus this has that mean square. No louder than speech may be: a
        // payload that says 0 is a mistake, and hurts.
        self.wanted = (rms * 3f32.sqrt()).min(OVERLOAD / 8.0);
    }

    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            // Xorshift: noise that nobody shall mistake for a secret.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 17;
            self.state ^= self.state << 5;
            let unit = self.state as f32 / u32::MAX as f32 * 2.0 - 1.0;
            self.amplitude += (self.wanted - self.amplitude) / GLIDE;
            *sample = (unit * self.amplitude).round() as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::level;

    #[test]
    fn is_as_loud_as_it_says() {
        // 0 dBov is +6.15 dBm0 (RFC 3389 §3 says 6.18 for µ-law).
        for below in [40, 55, 70] {
            let mut samples = vec![0; 16_000];
            Noise::new(below).fill(&mut samples);
            let heard = level(&samples);
            assert!(
                (heard - (6.15 - f64::from(below))).abs() < 1.0,
                "{below}: {heard}"
            );
        }
        let mut samples = vec![0; 8000];
        Noise::new(0).fill(&mut samples);
        assert!(level(&samples) < -12.0);
    }
}
