//! What attributes mean, one file per subject.

mod crypto;
mod ice;
mod rtp;

pub use crypto::Crypto;
pub use ice::{Candidate, Fingerprint, Setup, candidate_address};
pub use rtp::{Direction, RtpMap, direction, fmtp, max_ptime, ptime, rtcp, rtpmap, rtpmaps};

use crate::Attribute;

/// The value of the first attribute of that name.
pub fn value<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    values(attributes, name).next()
}

/// The values of all attributes of that name.
pub fn values<'a>(attributes: &'a [Attribute], name: &str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |a| a.name == name)
        .filter_map(|a| a.value.as_deref())
}

/// Whether an attribute of that name is there, with or without a value.
pub fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|a| a.name == name)
}
