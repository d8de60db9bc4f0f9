//! ITU-T G.722 at 64 kbit/s: two samples of 16 kHz in a byte.

use crate::Error;
use audio_codec::g722::{G722Decoder, G722Encoder};
use audio_codec::{Decoder as _, Encoder as _};

pub const SAMPLE_RATE: u32 = 16_000;

#[derive(Default)]
pub struct Encoder(G722Encoder);

impl Encoder {
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// One byte for two samples; returns how many bytes.
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, Error> {
        if !samples.len().is_multiple_of(2) {
            return Err(Error::Unsupported);
        }
        self.0.encode_into(samples, out).map_err(|_| Error::NoRoom)
    }
}

#[derive(Default)]
pub struct Decoder(G722Decoder);

impl Decoder {
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Two samples for one byte; returns how many samples. Any byte is valid.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, Error> {
        if payload.len().saturating_mul(2) > out.len() {
            return Err(Error::NoRoom);
        }
        self.0.decode_into(payload, out).map_err(|_| Error::NoRoom)
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("g722::Encoder")
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("g722::Decoder")
    }
}
