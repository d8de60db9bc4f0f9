//! The SIP language: messages, transactions, dialogs, digest. Knows nothing of ours.

pub mod time;
