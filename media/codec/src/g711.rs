//! ITU-T G.711, both laws, by table.

use crate::Error;

/// How the 8 bits are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// PCMU.
    Mu,
    /// PCMA.
    A,
}

impl Law {
    /// What silence is written as.
    pub fn silence(self) -> u8 {
        match self {
            Law::Mu => 0xff,
            Law::A => 0xd5,
        }
    }

    pub fn expand(self, code: u8) -> i16 {
        match self {
            Law::Mu => MU_EXPAND[usize::from(code)],
            Law::A => A_EXPAND[usize::from(code)],
        }
    }

    pub fn compress(self, sample: i16) -> u8 {
        match self {
            // 14 bits and 12 bits matter (G.711 tables 1 and 2).
            Law::Mu => MU_COMPRESS[usize::from(sample.cast_unsigned() >> 2)],
            Law::A => A_COMPRESS[usize::from(sample.cast_unsigned() >> 4)],
        }
    }

    /// One sample for each byte; returns how many.
    pub fn decode(self, payload: &[u8], out: &mut [i16]) -> Result<usize, Error> {
        let out = out.get_mut(..payload.len()).ok_or(Error::NoRoom)?;
        let table = match self {
            Law::Mu => &MU_EXPAND,
            Law::A => &A_EXPAND,
        };
        for (to, code) in out.iter_mut().zip(payload) {
            *to = table[usize::from(*code)];
        }
        Ok(payload.len())
    }

    /// One byte for each sample; returns how many.
    pub fn encode(self, samples: &[i16], out: &mut [u8]) -> Result<usize, Error> {
        let out = out.get_mut(..samples.len()).ok_or(Error::NoRoom)?;
        for (to, sample) in out.iter_mut().zip(samples) {
            *to = self.compress(*sample);
        }
        Ok(samples.len())
    }
}

static MU_EXPAND: [i16; 256] = mu_expand_table();
static A_EXPAND: [i16; 256] = a_expand_table();
static MU_COMPRESS: [u8; 1 << 14] = mu_compress_table();
static A_COMPRESS: [u8; 1 << 12] = a_compress_table();

const fn mu_expand_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        // All bits are sent inverted (table 2a, note 2).
        let bits = 255 - code as i32;
        let (exponent, mantissa) = (bits >> 4 & 7, bits & 15);
        // The bias of 33 makes each segment twice as long as the one before.
        let magnitude = ((2 * mantissa + 33) << exponent) - 33;
        let sample = if bits & 0x80 != 0 {
            -magnitude
        } else {
            magnitude
        };
        table[code] = (sample << 2) as i16;
        code += 1;
    }
    table
}

const fn a_expand_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        // Even bits are sent inverted (table 1a, note 2).
        let bits = code as i32 ^ 0x55;
        let (exponent, mantissa) = (bits >> 4 & 7, bits & 15);
        let magnitude = if exponent == 0 {
            2 * mantissa + 1
        } else {
            (2 * mantissa + 33) << (exponent - 1)
        };
        let sample = if bits & 0x80 != 0 {
            magnitude
        } else {
            -magnitude
        };
        table[code] = (sample << 3) as i16;
        code += 1;
    }
    table
}

/// By the upper 14 bits; the lower half of the table is positive. A negative sample's magnitude is its
/// ones' complement, which puts the decision between 0 and -1.
const fn mu_compress_table() -> [u8; 1 << 14] {
    let mut table = [0; 1 << 14];
    let mut at = 0;
    while at < 1 << 14 {
        let negative = at >= 1 << 13;
        let magnitude = if negative { (1 << 14) - 1 - at } else { at } as u32;
        let biased = if magnitude + 33 > 0x1fff {
            0x1fff
        } else {
            magnitude + 33
        };
        // 33 has its highest bit at 5: segment 0.
        let exponent = 26 - biased.leading_zeros();
        let mantissa = biased >> (exponent + 1) & 15;
        let bits = (negative as u32) << 7 | exponent << 4 | mantissa;
        table[at] = !(bits as u8);
        at += 1;
    }
    table
}

const fn a_compress_table() -> [u8; 1 << 12] {
    let mut table = [0; 1 << 12];
    let mut at = 0;
    while at < 1 << 12 {
        let negative = at >= 1 << 11;
        let magnitude = if negative { (1 << 12) - 1 - at } else { at } as u32;
        let bits = if magnitude < 32 {
            // Segments 0 and 1 have the same step.
            magnitude
        } else {
            let exponent = 28 - magnitude.leading_zeros();
            exponent << 4 | (magnitude >> (exponent - 1) & 15)
        };
        let sign = if negative { 0 } else { 0x80 };
        table[at] = (bits | sign) as u8 ^ 0x55;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value of a code by the recommendation's formula, in 16 bits.
    fn by_formula(law: Law, code: u8) -> i32 {
        match law {
            Law::Mu => {
                let inverted = !code;
                let (e, m) = (u32::from(inverted >> 4 & 7), i32::from(inverted & 15));
                let y = 2i32.pow(e) * (2 * m + 33) - 33;
                if inverted >> 7 == 1 { -4 * y } else { 4 * y }
            }
            Law::A => {
                let even = code ^ 0x55;
                let (e, m) = (u32::from(even >> 4 & 7), i32::from(even & 15));
                let y = if e == 0 {
                    2 * m + 1
                } else {
                    2i32.pow(e - 1) * (2 * m + 33)
                };
                if even >> 7 == 1 { 8 * y } else { -8 * y }
            }
        }
    }

    #[test]
    fn every_code_has_the_value_of_the_recommendation() {
        for law in [Law::Mu, Law::A] {
            for code in 0..=255 {
                assert_eq!(
                    i32::from(law.expand(code)),
                    by_formula(law, code),
                    "{law:?} {code:#x}"
                );
            }
        }
        // Corners of tables 1a and 2a, scaled to 16 bits.
        assert_eq!(
            [Law::Mu.expand(0x80), Law::Mu.expand(0x00)],
            [8031 * 4, -8031 * 4]
        );
        assert_eq!(
            [Law::A.expand(0xaa), Law::A.expand(0x2a)],
            [4032 * 8, -4032 * 8]
        );
    }

    /// Smallest magnitude, in 16 bits, that has the code with these bits (the decision values of tables 1a
    /// and 2a).
    fn decision(law: Law, e: u32, m: i32) -> i32 {
        match law {
            Law::Mu => ((2i32.pow(e) * (2 * m + 32) - 33) * 4).max(0),
            Law::A if e == 0 => 2 * m * 8,
            Law::A => 2i32.pow(e - 1) * (2 * m + 32) * 8,
        }
    }

    #[test]
    fn every_sample_gets_the_code_between_whose_decision_values_it_lies() {
        for law in [Law::Mu, Law::A] {
            for sample in i16::MIN..=i16::MAX {
                // Zero is positive; the negative half is its mirror image, beginning at -1.
                let negative = sample < 0;
                let magnitude = i32::from(if negative { !sample } else { sample });
                let bits = (0u8..128)
                    .rfind(|bits| {
                        decision(law, u32::from(bits >> 4), i32::from(bits & 15)) <= magnitude
                    })
                    .unwrap();
                let wanted = match law {
                    Law::Mu => !(bits | u8::from(negative) << 7),
                    Law::A => (bits | u8::from(!negative) << 7) ^ 0x55,
                };
                assert_eq!(law.compress(sample), wanted, "{law:?} {sample}");
            }
        }
    }

    #[test]
    fn codes_survive_being_decoded_and_encoded() {
        for law in [Law::Mu, Law::A] {
            for code in 0..=255 {
                let again = law.compress(law.expand(code));
                // µ-law has two zeros.
                let zero = law == Law::Mu && code == 0x7f;
                assert_eq!(again, if zero { 0xff } else { code }, "{law:?}");
            }
            assert_eq!(law.compress(0), law.silence());
        }
    }

    #[test]
    fn frames_need_room() {
        let mut out = [0; 3];
        assert_eq!(Law::Mu.decode(&[0xff; 4], &mut out), Err(Error::NoRoom));
        assert_eq!(Law::A.decode(&[0xd5; 2], &mut out), Ok(2));
        assert_eq!(Law::A.encode(&[0; 2], &mut [0; 1]), Err(Error::NoRoom));
    }
}
