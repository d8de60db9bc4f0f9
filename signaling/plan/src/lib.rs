//! The dial plan: who may call whom, by which line, under which name, and how much of it.
//!
//! [`Plan::route`] turns what somebody dialled into the ways to try, in order; [`Ledger`] counts what calls may cost.
//! Both are plain data without a clock: the switchboard asks, and carries out what it is told.

mod ask;
mod ledger;
mod media;
mod numbering;
mod plan;

pub use ask::{Attempt, Caller, Destination, Identity, NoWay, Route, Way};
pub use ledger::{Ledger, LimitKind, Refused, Scope, Ticket};
pub use media::{MediaProfile, Srtp};
pub use numbering::NumberForm;
pub use plan::{Lot, Plan};
