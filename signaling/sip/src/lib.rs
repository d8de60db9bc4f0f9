//! The SIP language: messages, transactions, dialogs, digest. Knows nothing of ours.
//!
//! Everything here is plain computation on bytes and points in time that the caller gives. A received
//! message is an index over its bytes ([`message::Message`]), an outgoing one is written into a buffer
//! ([`message::Writer`]); a transaction is a small state machine that says what to repeat and when.

pub mod dialog;
pub mod digest;
#[doc(hidden)]
pub mod fuzz;
pub mod message;
pub mod time;
pub mod transaction;
