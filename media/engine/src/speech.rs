//! The speech codecs behind one face: payloads to frames of `i16`, and back, at 8 or 16 kHz.

use media_codec::conceal::Concealer;
use media_codec::{Error, g711, g722, opus};
use media_control::Codec;

/// Samples of the longest packet, at 16 kHz.
pub(crate) const MAX_SAMPLES: usize = 16 * opus::MAX_PACKET_MS as usize;

/// How hard the Opus encoder tries: 55 µs of CPU a frame at 8 kHz.
const OPUS_COMPLEXITY: u8 = 5;

/// The rates of a pair of codecs: what the one is decoded at, and the other encoded from. They differ only
/// between G.711 and G.722.
pub(crate) fn rates(from: &Codec, to: &Codec) -> Option<(u32, u32)> {
    let own = |codec: &Codec| match codec {
        Codec::Pcmu | Codec::Pcma => Some(Some(8000)),
        Codec::G722 => Some(Some(g722::SAMPLE_RATE)),
        // Whatever the other has.
        Codec::Opus => Some(None),
        _ => None,
    };
    Some(match (own(from)?, own(to)?) {
        (Some(from), Some(to)) => (from, to),
        (Some(rate), None) | (None, Some(rate)) => (rate, rate),
        (None, None) => (16_000, 16_000),
    })
}

#[derive(Debug)]
pub(crate) enum Decoder {
    G711(g711::Law, Concealer),
    G722(Box<g722::Decoder>, Concealer),
    Opus(opus::Decoder),
}

impl Decoder {
    pub fn new(codec: &Codec, sample_rate: u32) -> Option<Decoder> {
        match codec {
            Codec::Pcmu => Some(Decoder::G711(g711::Law::Mu, Concealer::new(sample_rate))),
            Codec::Pcma => Some(Decoder::G711(g711::Law::A, Concealer::new(sample_rate))),
            Codec::G722 => Some(Decoder::G722(Box::default(), Concealer::new(sample_rate))),
            Codec::Opus => opus::Decoder::new(sample_rate).ok().map(Decoder::Opus),
            _ => None,
        }
    }

    /// Decodes a packet; returns the samples written.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, Error> {
        match self {
            Decoder::G711(law, concealer) => {
                let len = law.decode(payload, out)?;
                concealer.good(&mut out[..len]);
                Ok(len)
            }
            Decoder::G722(decoder, concealer) => {
                let len = decoder.decode(payload, out)?;
                concealer.good(&mut out[..len]);
                Ok(len)
            }
            Decoder::Opus(decoder) => decoder.decode(payload, out),
        }
    }

    /// Fills `out` in the place of a lost packet; `next` is the one after it, if it is known already.
    pub fn conceal(&mut self, out: &mut [i16], next: Option<&[u8]>) {
        match self {
            Decoder::G711(_, concealer) | Decoder::G722(_, concealer) => concealer.lost(out),
            Decoder::Opus(decoder) => {
                let done = match next {
                    Some(next) => decoder.recover(next, out),
                    None => decoder.conceal(out),
                };
                // A frame length that Opus does not have; silence is all that is left.
                let len = done.unwrap_or(0).min(out.len());
                out[len..].fill(0);
            }
        }
    }
}

#[derive(Debug)]
pub(crate) enum Encoder {
    G711(g711::Law),
    G722(Box<g722::Encoder>),
    Opus(opus::Encoder),
}

impl Encoder {
    pub fn new(codec: &Codec, sample_rate: u32) -> Option<Encoder> {
        match codec {
            Codec::Pcmu => Some(Encoder::G711(g711::Law::Mu)),
            Codec::Pcma => Some(Encoder::G711(g711::Law::A)),
            Codec::G722 => Some(Encoder::G722(Box::default())),
            Codec::Opus => {
                let settings = opus::Settings {
                    complexity: OPUS_COMPLEXITY,
                    ..opus::Settings::for_rate(sample_rate)
                };
                opus::Encoder::new(&settings).ok().map(Encoder::Opus)
            }
            _ => None,
        }
    }

    /// What the receiver reports to lose, in percent: for codecs that can do something about it.
    pub fn expect_loss(&mut self, percent: u8) {
        if let Encoder::Opus(encoder) = self {
            // Any percentage is one; should it fail, nothing is lost but the help.
            let _ = encoder.set_expected_loss(percent);
        }
    }

    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, Error> {
        match self {
            Encoder::G711(law) => law.encode(samples, out),
            Encoder::G722(encoder) => encoder.encode(samples, out),
            Encoder::Opus(encoder) => encoder.encode(samples, out),
        }
    }
}

/// The packet length that this codec can have nearest to the one wished for, in milliseconds.
pub(crate) fn packet_ms(codec: &Codec, wished: u32) -> u32 {
    let wished = wished.clamp(10, 60);
    match codec {
        // RFC 7587 §6.1, as far as one frame goes.
        Codec::Opus => match wished {
            0..=14 => 10,
            15..=29 => 20,
            30..=49 => 40,
            _ => 60,
        },
        _ => wished / 10 * 10,
    }
}

/// The codec's RTP clock (RFC 3551 §4.5.2 for G.722, RFC 7587 §4.1 for Opus).
pub(crate) fn clock_hz(codec: &Codec) -> u32 {
    match codec {
        Codec::Opus => 48_000,
        _ => 8000,
    }
}
