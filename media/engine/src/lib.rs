//! The media core: legs, their joins, and the road of every packet between them.
//!
//! [`Legs`] is the front door. It is fed commands, batches of datagrams and the time, and drained of
//! what is to be sent and told; it touches no socket, no clock and no dice. It knows legs and joins and
//! has never heard of calls, SIP or SDP.

mod batch;
mod browser;
mod commands;
mod datagram;
mod digits;
mod dtls;
mod forward;
mod ice;
mod jitter;
mod latch;
mod leg;
mod legs;
mod pace;
mod rewrite;
mod rtcp;
mod snapshot;
mod source;
mod speech;
mod stats;
mod sung;
mod transcode;
mod transport;

pub use datagram::{BUF_LEN, Buf, Datagram, MAX_DATAGRAM, Path, SocketId};
pub use dtls::DtlsIdentity;
pub use ice::IceCreds;
pub use latch::LatchState;
pub use legs::{BrowserSocket, EngineConfig, Input, Legs, MAX_LEGS, Output, Random};
pub use rewrite::OutStreamState;
pub use rtcp::WallClock;
pub use snapshot::{
    KeysSnapshot, LegSnapshot, PathSnapshot, RemoteSnapshot, RestoreError, SNAPSHOT_VERSION,
    TransportSnapshot,
};
pub use stats::InboundState;
pub use transport::PortPair;
