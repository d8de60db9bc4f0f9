//! The JSON messages between browsers and the gateway, and the bodies of the hooks between the gateway and
//! an application's backend.
//!
//! [`ClientMessage::parse`] reads a frame leniently, since pages take numbers and flags from form inputs;
//! [`ServerMessage::to_text`] writes real types and always an array. The wire's names and the backend's
//! names of the same thing differ (`connection` and `connect`, `talk` and `CallStatusEvent`), and this is
//! the only place that knows both. Section numbers (§) are those of the protocol's description.
//!
//! Nothing here knows SIP, sockets or clocks, and nothing decides: it is only words.

pub mod bug_report;
pub mod call;
mod client;
pub mod connection;
pub mod context;
pub mod data;
mod envelope;
mod field;
mod hook;
mod ids;
pub mod info;
mod line_identity;
pub mod message;
pub mod rest_client_config;
mod secret;
mod server;
pub mod stream;
pub mod subscription;
pub mod transfer;
pub mod xcap;

pub use client::ClientMessage;
pub use context::{HookKind, HookMethod};
pub use envelope::{FRAME_MAX, GetVersion, NAME_MAX, ParseError, Raw};
pub use field::{Fault, FieldFault};
pub use hook::{HookError, HookMessage};
pub use ids::{CallId, ID_MAX, MediaSessionId, MessageId, OperationId};
pub use info::{CallStatusInfo, StreamStatusInfo};
pub use line_identity::{LineAnswer, LineIdentity};
pub use secret::{AuthToken, Secret};
pub use server::ServerMessage;
