use serde::{Deserialize, Serialize};

/// An RTP payload format, known or merely named.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    Opus,
    G722,
    Pcmu,
    Pcma,
    /// RFC 4733.
    TelephoneEvent,
    /// RFC 3389.
    ComfortNoise,
    H264,
    Vp8,
    Vp9,
    /// Relayed only, by its encoding name (RFC 8866 §6.6, upper case).
    Other(String),
}

impl Codec {
    /// By the encoding name of `a=rtpmap`, in any case.
    pub fn from_name(name: &str) -> Codec {
        let upper = name.to_ascii_uppercase();
        match upper.as_str() {
            "OPUS" => Codec::Opus,
            "G722" => Codec::G722,
            "PCMU" => Codec::Pcmu,
            "PCMA" => Codec::Pcma,
            "TELEPHONE-EVENT" => Codec::TelephoneEvent,
            "CN" => Codec::ComfortNoise,
            "H264" => Codec::H264,
            "VP8" => Codec::Vp8,
            "VP9" => Codec::Vp9,
            _ => Codec::Other(upper),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Codec::Opus => "opus",
            Codec::G722 => "G722",
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::TelephoneEvent => "telephone-event",
            Codec::ComfortNoise => "CN",
            Codec::H264 => "H264",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::Other(name) => name,
        }
    }

    /// Carries speech that can be decoded and made again here.
    pub fn is_transcodable(&self) -> bool {
        matches!(self, Codec::Opus | Codec::G722 | Codec::Pcmu | Codec::Pcma)
    }

    /// Rides beside a speech codec instead of being one.
    pub fn is_auxiliary(&self) -> bool {
        matches!(self, Codec::TelephoneEvent | Codec::ComfortNoise)
    }
}

/// One payload type of one media description, both ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    pub codec: Codec,
    /// The number the peer expects from us.
    pub send_pt: u8,
    /// The number the peer uses towards us (differs from `send_pt` only when an answer chose its own).
    pub receive_pt: u8,
    /// RTP clock in Hz. 8000 for G722 too, though it samples at 16 kHz (RFC 3551 §4.5.2).
    pub clock_hz: u32,
    pub channels: u8,
    /// The peer's `a=fmtp` value as received, empty if none.
    #[serde(default)]
    pub fmtp: String,
}
