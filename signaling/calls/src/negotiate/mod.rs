//! Offer and answer (RFC 3264) for both sides of a call.
//!
//! The browser gets one description per call and never another; whatever the SIP side negotiates later is
//! absorbed by the join. So the two sides are negotiated apart, and [`codecs`] decides what each is told.

mod browser;
pub mod codecs;
mod ice;
mod keys;
mod lines;
pub mod pictures;
mod sip;
mod sip_read;
mod sip_write;

pub use browser::{
    BrowserDescription, BrowserPictures, answer_browser, offer_browser, read_browser,
};
pub use keys::{suite, suite_name};
pub use lines::{LineRefused, extra_lines};
pub use sip::{SipDescription, SipLocal, SipPictures, SipVideoLocal};
pub use sip_read::{read_answer, read_offer, read_sip};
pub use sip_write::{answer_sip, offer_sip};

use std::fmt;

/// Why a description cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NegotiationError {
    Unreadable(String),
    /// No m-line that we can carry.
    NoAudio,
    /// ICE credentials, fingerprint or rtcp-mux are missing.
    Incomplete(&'static str),
    NoCommonCodec,
    /// The peer demands SRTP where there is none, or the reverse.
    Profile(String),
}

impl fmt::Display for NegotiationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NegotiationError::Unreadable(why) => write!(f, "SDP {why}"),
            NegotiationError::NoAudio => f.write_str("SDP has no audio"),
            NegotiationError::Incomplete(what) => write!(f, "SDP has no {what}"),
            NegotiationError::NoCommonCodec => f.write_str("No common codecs"),
            NegotiationError::Profile(profile) => {
                write!(f, "SDP profile {profile} cannot be served")
            }
        }
    }
}

impl std::error::Error for NegotiationError {}

impl From<signaling_sdp::ParseError> for NegotiationError {
    fn from(error: signaling_sdp::ParseError) -> Self {
        NegotiationError::Unreadable(error.to_string())
    }
}

#[cfg(test)]
mod tests;
