//! The dial plan: who may call whom, by which line, under which name, and how much of it.
//!
//! [`Plan::route`] turns what somebody dialled into the ways to try, in order; [`Ledger`] counts what calls may cost.
//! Both are plain data without a clock: the switchboard asks, and carries out what it is told.

mod ask;
mod identity;
mod ledger;
mod media;
mod numbering;
mod pattern;
mod plan;
mod premium;
mod rules;

pub use ask::{Attempt, Caller, Destination, Identity, NoWay, Route, Way};
pub use identity::Presented;
pub use ledger::{Ledger, LimitKind, LimitRule, Refused, Scope, Ticket};
pub use media::{MediaProfile, Srtp};
pub use numbering::{NumberForm, Numbering, cleaned, is_number};
pub use pattern::Pattern;
pub use plan::{Lot, Plan};
pub use premium::{Premium, USUAL as USUAL_PREMIUM};
pub use rules::{
    Asserted, Emergency, MOST_WAYS, NEXT_ON, NOBODY_THERE, RING_S, Rule, Shown, Target, TrunkRules,
    Who,
};
