//! The appliance: puts signaling, trunk and media together and runs them. It knows files, environment,
//! sockets and signals, and nothing of calls.

pub mod config;
pub mod files;
pub mod link;
