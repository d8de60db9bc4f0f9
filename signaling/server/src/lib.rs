//! The tokio shell of the signaling roles: sockets, clocks and dice for cores that have none.

pub mod dns;
pub mod peer;
pub mod sip_socket;
pub mod trunk;
