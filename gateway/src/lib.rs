//! The appliance: puts signaling, trunk and media together and runs them. It knows files, environment,
//! sockets and signals, and nothing of calls.

mod adapters;
pub mod admin;
pub mod apps;
pub mod certificate;
pub mod cli;
pub mod config;
pub mod files;
pub mod link;
pub mod metrics;
pub mod node_id;
pub mod opened;
pub mod operated;
mod pages;
pub mod phones;
pub mod roles;
pub mod sockets;
pub mod start;
