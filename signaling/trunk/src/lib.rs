//! What we do with SIP: accounts, registrations, INVITE dialogs. It picks a target within a trunk; which
//! trunk is the calls' decision. It carries SDP as bytes and never opens it, and has never heard of JSON.
//!
//! [`agent::Agent`] is the front door: inputs go in, outputs and deadlines come out, and nothing here
//! touches a socket, a clock or a die of the operating system.

pub mod agent;
pub mod allowed;
pub mod api;
mod attempts;
mod credentials;
mod dice;
mod early;
mod finding;
pub mod guard;
mod hangup;
mod identity;
mod in_dialog;
mod inbound;
mod info;
mod inside;
mod invite;
pub mod limits;
pub mod lines;
mod loops;
pub mod net;
mod offer;
mod outbound;
pub mod redirect;
mod refer;
mod referral;
pub mod registrar;
mod registration;
pub mod reliable;
mod replaces;
mod requests;
mod responses;
mod resting;
mod schedule;
mod server;
pub mod session_timer;
mod streams;
mod stun;
pub mod targets;
pub mod tls;
mod trunks;
mod validate;
