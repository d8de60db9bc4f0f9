//! The shells of the signaling side: sockets, clocks and dice for the cores that decide.
//!
//! One loop per role ([`signaling`], [`trunk`]) moves values in and out of a core; [`websocket`] speaks to
//! browsers. An `if` about calls in this package would be happier, and testable, in a core.

pub mod clock;
pub mod dns;
mod fields;
pub mod hooks;
pub mod peer;
pub mod rate;
pub mod signaling;
pub mod sip_socket;
mod sip_stream;
pub mod sip_tls;
pub mod trunk;
pub mod websocket;
