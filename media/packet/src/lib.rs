//! All that a datagram can be: which protocol it is, and what its bytes say.
//!
//! Everything here is a view over a buffer that somebody else owns; nothing allocates on the way of a
//! packet. This crate knows no legs, no sockets and no clocks, and never sees SDP.

mod bytes;
pub mod demux;
pub mod dtmf;
pub mod picture;
pub mod rtcp;
pub mod rtp;
pub mod srtp;
pub mod stun;
