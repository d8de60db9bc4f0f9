//! Speech codecs and what belongs to them, on frames of `i16`, one channel.
//!
//! Nothing here knows RTP, clocks or networks, and nothing allocates once it is made. Levels are in dBm0,
//! where a sine that fills 16 bits has +3.14 (ITU-T G.711's A-law overload).

pub mod chord;
pub mod conceal;
pub mod dtmf;
pub mod g711;
pub mod g722;
pub mod level;
pub mod noise;
pub mod opus;
pub mod resample;
pub mod tone;

#[cfg(test)]
mod tests;

/// Why a frame was not coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not a frame of this codec.
    Malformed,
    /// The output does not hold the frame.
    NoRoom,
    /// A length, rate or setting that the codec does not have.
    Unsupported,
}
