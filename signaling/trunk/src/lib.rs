//! What we do with SIP: accounts, registrations, INVITE dialogs. It picks a target within a trunk; which
//! trunk is the calls' decision. It carries SDP as bytes and never opens it, and has never heard of JSON.

pub mod api;
