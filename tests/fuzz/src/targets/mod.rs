//! The targets, a file per language.

mod datagram;
mod envelope;
mod sdp;
mod sip;

use crate::Target;

pub const ALL: &[Target] = &[
    envelope::ENVELOPE,
    sip::MESSAGE,
    sip::STREAM,
    sdp::SDP,
    datagram::DATAGRAM,
];
