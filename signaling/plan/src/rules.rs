//! What the operator says: an entry of `[[route]]` or `[[inbound]]` each, and the emergency numbers.

use crate::ask::{Caller, Destination};
use crate::numbering::NumberForm;
use crate::pattern::Pattern;
use serde::{Deserialize, Serialize};

/// After these of a trunk the next one is tried where a rule says nothing else: it is the trunk that cannot or will
/// not, not the person who was called. 401, 402, 403 and 407 are between the trunk and us; 404, 480, 486 and 6xx are
/// about whom was called, and would be the same by any other way.
pub const NEXT_ON: [u16; 12] = [401, 402, 403, 407, 408, 500, 501, 502, 503, 504, 505, 513];
/// The same where a rule names phones, accounts or sessions: nobody is there.
pub const NOBODY_THERE: [u16; 3] = [404, 410, 480];
/// How long a call may ring where a rule says nothing else, seconds.
pub const RING_S: u32 = 60;
/// Ways that a rule may name.
pub const MOST_WAYS: usize = 16;

/// One `[[route]]` or `[[inbound]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    pub name: String,
    /// Empty: phones, and sessions without a SIP account; never calls that come in by a trunk, which otherwise could
    /// go out again at the operator's cost.
    pub from: Vec<Who>,
    pub matches: Vec<Pattern>,
    pub to: Vec<Target>,
    /// In the order of `to`; empty: they are tried in that order. Otherwise the first is drawn by weight, then the
    /// next of those left; 0 is tried after all others.
    pub weights: Vec<u32>,
    pub caller: Shown,
    pub asserted: Asserted,
    /// A Diversion (RFC 5806) names the number that was called.
    pub diversion: bool,
    /// Digits taken off the front of what was dialled, and what is put there then. The number is normalised again.
    pub strip: usize,
    pub prefix: String,
    pub ring_s: u32,
    pub attempt_ms: u32,
    pub next_on: Vec<u16>,
    /// What came in by a trunk may go out by the same trunk to the same number.
    pub hairpin: bool,
}

impl Default for Rule {
    fn default() -> Self {
        Rule {
            name: String::new(),
            from: Vec::new(),
            matches: Vec::new(),
            to: Vec::new(),
            weights: Vec::new(),
            caller: Shown::Keep,
            asserted: Asserted::Caller,
            diversion: false,
            strip: 0,
            prefix: String::new(),
            ring_s: RING_S,
            attempt_ms: 0,
            next_on: NEXT_ON.to_vec(),
            hairpin: false,
        }
    }
}

/// Whose calls a rule is for. `None` in each: all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// Sessions of an application that have no SIP account of their own.
    App(Option<String>),
    /// Sessions signed in with a SIP account: only a rule that names them takes them away from their own PBX.
    Account(Option<String>),
    Phone(Option<String>),
    Trunk(Option<String>),
}

impl Who {
    pub fn is(&self, caller: &Caller) -> bool {
        let fits = |wanted: &Option<String>, name: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == name)
        };
        match (self, caller) {
            (Who::App(wanted), Caller::Session { app, account, .. }) => {
                account.is_empty() && fits(wanted, app)
            }
            (Who::Account(wanted), Caller::Session { account, .. }) => {
                !account.is_empty() && fits(wanted, account)
            }
            (Who::Phone(wanted), Caller::Phone(name)) => fits(wanted, name),
            (Who::Trunk(wanted), Caller::Trunk(name)) => fits(wanted, name),
            _ => false,
        }
    }

    /// Those that a rule without `from` is for.
    pub fn usual(caller: &Caller) -> bool {
        match caller {
            Caller::Session { account, .. } => account.is_empty(),
            Caller::Phone(_) => true,
            Caller::Trunk(_) => false,
        }
    }
}

/// Where a rule sends calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    To(Destination),
    /// The phone whose user name was dialled.
    PhoneDialled,
    /// The session, of whatever application, that has the number.
    Number,
}

/// How the caller is shown in From.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shown {
    /// The caller's own number, where it has one that the destination can be told.
    #[default]
    Keep,
    /// This number, in E.164.
    Number(String),
    /// This beginning of numbers with the caller's extension behind it.
    Extension(String),
    /// Nobody (RFC 3323 §4.1), with `Privacy: id`.
    Anonymous,
}

/// Who P-Asserted-Identity (RFC 3325) says it is, to trunks that are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asserted {
    /// The number in From, or who stands behind an anonymous one.
    #[default]
    Caller,
    Off,
    Number(String),
}

/// `[emergency]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Emergency {
    /// As they are dialled; whole, never beginnings.
    pub numbers: Vec<String>,
    /// In order.
    pub trunks: Vec<String>,
    /// Trunks whose calls to these numbers are carried as well: those of PBXs that know their callers.
    pub from_trunks: Vec<String>,
    /// So many emergency calls at once raise an alarm; 0: none do. Nothing is refused.
    pub alarm_after: u32,
}

/// What the plan knows of a trunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrunkRules {
    pub form: NumberForm,
}
