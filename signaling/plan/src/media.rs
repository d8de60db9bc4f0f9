//! What a line wants of sound.

use serde::{Deserialize, Serialize};

/// How calls by one line carry sound. Empty and `None` mean: as for all lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaProfile {
    /// Encoding names in the order in which they are offered and preferred; others are not spoken with it.
    pub codecs: Vec<String>,
    pub srtp: Srtp,
    /// SDES suites in order, by their names of RFC 4568, RFC 6188 and RFC 7714.
    pub suites: Vec<String>,
    /// ICE is answered to who offers it, and offered (RFC 8445; we are lite).
    pub ice: bool,
    /// Milliseconds of sound in a packet that we ask for and send, 10 to 60; 0: 20.
    pub ptime_ms: u8,
    /// Our INVITEs go without an offer (RFC 3264 §4).
    pub late_offer: bool,
    /// `relay` or `opus`, instead of `calls.codec_policy`.
    pub opus_to_browsers: Option<bool>,
}

/// Whether sound towards a line is encrypted by SDES (RFC 4568).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Srtp {
    /// RTP/AVP; an offer of RTP/SAVP is answered all the same.
    #[default]
    Off,
    /// RTP/AVP with keys beside it (RFC 8643): encrypted where the peer can.
    Offer,
    /// RTP/SAVP or no call.
    Require,
    /// RTP/AVP; an offer of RTP/SAVP is refused with 488.
    Forbid,
}
