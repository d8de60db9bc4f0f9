//! The media role's shell: threads, sockets and buffers around the media core.
//!
//! One thread per worker runs a mio loop over its own sockets and its own engine; nothing is shared
//! between workers on the way of a packet.

mod mailbox;
mod node;
mod pool;
mod ports;
mod socket;
mod worker;

pub use node::{Announce, FaceAddress, Node, NodeConfig, NodeError, PeerAddress};
