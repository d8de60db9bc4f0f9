//! The calls: what a browser's wish and a PBX's ring become, and every decision on the way.
//!
//! [`Switchboard`] is the front door. It speaks JSON's types to browsers, the trunk's words to SIP and the
//! media role's words to media, and touches no socket, clock or file: whoever drives it brings the time.

mod addresses;
mod admission;
mod api;
mod books;
mod bridge;
mod call;
mod callee;
mod callers;
mod clear;
mod connecting;
mod desk;
mod dtmf;
mod early;
mod ending;
mod follow;
mod hunting;
mod incoming;
mod limits;
mod midcall;
pub mod negotiate;
mod not_there_yet;
mod outgoing;
mod record;
mod resume;
mod ringback;
mod ringing;
mod routing;
mod session;
mod switchboard;
mod timers;
mod transfer;
mod video;

pub use api::{Config, Input, Link, Output, Ringback, SessionId};
pub use dtmf::InbandDtmf;
pub use negotiate::codecs::CodecPolicy;
pub use record::{CallRecord, Tried};
pub use switchboard::{Counts, Switchboard};
