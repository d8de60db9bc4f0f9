//! Transactions: RFC 3261 §17 with the changes of RFC 6026, one file for each of the four machines.
//!
//! A machine holds what it repeats and when; it neither sends nor parses. Its owner hands it what came in
//! and does what the returned [`Turn`] says.

mod client_invite;
mod client_non_invite;
mod derive;
mod server_invite;
mod server_non_invite;
mod timer;

pub use client_invite::ClientInvite;
pub use client_non_invite::ClientNonInvite;
pub use derive::{ack_for, cancel_for};
pub use server_invite::ServerInvite;
pub use server_non_invite::ServerNonInvite;
pub use timer::{T1, T2, T4, Timer, Timers};

/// What a machine asks of its owner after an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Send what the machine repeats, once more.
    pub send: bool,
    /// Hand what came in to the user of the transaction.
    pub deliver: bool,
    /// Nobody answered, or nobody acknowledged.
    pub timed_out: bool,
}

impl Turn {
    const NOTHING: Turn = Turn {
        send: false,
        deliver: false,
        timed_out: false,
    };
    const SEND: Turn = Turn {
        send: true,
        deliver: false,
        timed_out: false,
    };
    const DELIVER: Turn = Turn {
        send: false,
        deliver: true,
        timed_out: false,
    };
    const SEND_AND_DELIVER: Turn = Turn {
        send: true,
        deliver: true,
        timed_out: false,
    };
    const TIMED_OUT: Turn = Turn {
        send: false,
        deliver: false,
        timed_out: true,
    };
}

#[cfg(test)]
mod tests;
