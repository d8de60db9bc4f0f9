//! Opus (RFC 6716) by libopus, one channel, at the sample rate that the other side of a call has.
//!
//! Opus decodes any stream at 8 or 16 kHz and encodes from both, so nothing needs to be resampled. The RTP
//! clock is 48 kHz all the same (RFC 7587 §4.1).

use crate::Error;
use opus::{Application, Bitrate, Channels, ErrorCode};

/// The longest packet in milliseconds (RFC 6716 §3.2.5).
pub const MAX_PACKET_MS: u32 = 120;

/// How to encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// 8,000, 16,000 or 48,000 Hz.
    pub sample_rate: u32,
    /// 0 to 10. CPU of a 20 ms frame grows fourfold from end to end.
    pub complexity: u8,
    /// Bits per second.
    pub bitrate: u32,
    /// Puts a coarse copy of each frame into the next one, for receivers that lose `expected_loss` percent.
    pub fec: bool,
    pub expected_loss: u8,
    /// Sends next to nothing in silence.
    pub dtx: bool,
}

impl Settings {
    /// For speech that comes from, or goes to, a codec of this rate.
    pub fn for_rate(sample_rate: u32) -> Settings {
        Settings {
            sample_rate,
            complexity: 5,
            bitrate: match sample_rate {
                0..=8_000 => 24_000,
                8_001..=16_000 => 32_000,
                _ => 48_000,
            },
            fec: true,
            // Costs a third more CPU as soon as it is not zero: see `Encoder::set_expected_loss`.
            expected_loss: 0,
            dtx: false,
        }
    }
}

#[derive(Debug)]
pub struct Encoder(opus::Encoder);

impl Encoder {
    pub fn new(settings: &Settings) -> Result<Encoder, Error> {
        if !matches!(settings.sample_rate, 8_000 | 16_000 | 48_000) {
            return Err(Error::Unsupported);
        }
        let make = || -> Result<opus::Encoder, opus::Error> {
            let mut encoder =
                opus::Encoder::new(settings.sample_rate, Channels::Mono, Application::Voip)?;
            encoder.set_complexity(i32::from(settings.complexity.min(10)))?;
            encoder.set_bitrate(Bitrate::Bits(
                i32::try_from(settings.bitrate).unwrap_or(i32::MAX),
            ))?;
            encoder.set_inband_fec(settings.fec)?;
            encoder.set_packet_loss_perc(i32::from(settings.expected_loss.min(100)))?;
            encoder.set_dtx(settings.dtx)?;
            Ok(encoder)
        };
        make().map(Encoder).map_err(|_| Error::Unsupported)
    }

    /// What the receiver reports, in percent; from 1 on, FEC is put in if it is switched on.
    pub fn set_expected_loss(&mut self, percent: u8) -> Result<(), Error> {
        self.0
            .set_packet_loss_perc(i32::from(percent.min(100)))
            .map_err(|_| Error::Unsupported)
    }

    /// Encodes 2.5, 5, 10, 20, 40 or 60 ms; returns the bytes written. With DTX, two bytes or less need not
    /// be sent.
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, Error> {
        self.0
            .encode(samples, out)
            .map_err(|error| match error.code() {
                ErrorCode::BufferTooSmall => Error::NoRoom,
                _ => Error::Unsupported,
            })
    }
}

#[derive(Debug)]
pub struct Decoder {
    decoder: opus::Decoder,
    sample_rate: u32,
}

impl Decoder {
    /// 8,000, 12,000, 16,000, 24,000 or 48,000 Hz, whatever the stream was encoded from.
    pub fn new(sample_rate: u32) -> Result<Decoder, Error> {
        let decoder =
            opus::Decoder::new(sample_rate, Channels::Mono).map_err(|_| Error::Unsupported)?;
        Ok(Decoder {
            decoder,
            sample_rate,
        })
    }

    /// Decodes one packet; returns the samples written. Give it room for [`MAX_PACKET_MS`].
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, Error> {
        // libopus takes an empty packet for a lost one and would fill all of `out`.
        if payload.is_empty() {
            return Err(Error::Malformed);
        }
        self.decoder.decode(payload, out, false).map_err(error_of)
    }

    /// Makes up the whole of `out`, a multiple of 2.5 ms, in the place of a lost packet.
    pub fn conceal(&mut self, out: &mut [i16]) -> Result<usize, Error> {
        self.decoder.decode(&[], out, false).map_err(error_of)
    }

    /// Fills `out`, as long as the lost packet was, from the copy that the packet after it may carry;
    /// without one this is [`Decoder::conceal`]. Then decode `next` itself.
    pub fn recover(&mut self, next: &[u8], out: &mut [i16]) -> Result<usize, Error> {
        if next.is_empty() {
            return Err(Error::Malformed);
        }
        self.decoder.decode(next, out, true).map_err(error_of)
    }

    /// Samples that a packet will decode to.
    pub fn samples_in(&self, payload: &[u8]) -> Result<usize, Error> {
        samples_in(payload, self.sample_rate)
    }
}

/// Samples that a packet decodes to at this rate; at 48,000 these are RTP ticks.
pub fn samples_in(payload: &[u8], sample_rate: u32) -> Result<usize, Error> {
    if payload.is_empty() {
        return Err(Error::Malformed);
    }
    opus::packet::get_nb_samples(payload, sample_rate).map_err(|_| Error::Malformed)
}

fn error_of(error: opus::Error) -> Error {
    match error.code() {
        ErrorCode::BufferTooSmall => Error::NoRoom,
        ErrorCode::InvalidPacket => Error::Malformed,
        _ => Error::Unsupported,
    }
}
