//! The question to the plan, and its answer.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Who dials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Caller {
    /// A page's session.
    Session {
        app: String,
        /// The SIP account that it signed in with: `user@domain`; empty where it has none.
        account: String,
        /// The number that its application or backend gave it, in E.164; empty where it has none.
        number: String,
        /// Trunks that it may use; `None`: what the plan says.
        trunks: Option<Vec<String>>,
        /// Beginnings of numbers that it may call, in E.164 (`+49`); `None`: what the plan says.
        prefixes: Option<Vec<String>>,
    },
    /// A phone that registered to us.
    Phone(String),
    /// A trunk: the call comes in.
    Trunk(String),
}

/// Where a call can be sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Destination {
    Trunk(String),
    Phone(String),
    /// Sessions of an application: all of them, or those with this number.
    App {
        /// Empty: of whatever application.
        app: String,
        number: Option<String>,
    },
    /// Sessions signed in as `user@domain`.
    Account(String),
}

impl Caller {
    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Caller::Session { app, account, .. } if account.is_empty() => {
                format!("A session of application {app}")
            }
            Caller::Session { account, .. } => format!("A session signed in as {account}"),
            Caller::Phone(user) => format!("Phone {user}"),
            Caller::Trunk(name) => format!("Somebody behind trunk {name}"),
        }
    }
}

/// As the configuration writes it.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Trunk(name) => write!(f, "trunk:{name}"),
            Destination::Phone(user) => write!(f, "phone:{user}"),
            Destination::Account(account) => write!(f, "account:{account}"),
            Destination::App { app, number: None } => write!(f, "app:{app}"),
            Destination::App {
                app,
                number: Some(number),
            } if app.is_empty() => write!(f, "the session with number {number}"),
            Destination::App {
                app,
                number: Some(number),
            } => write!(f, "the session of app:{app} with number {number}"),
        }
    }
}

/// How the caller is shown to one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// User part of From, in the destination's own form of numbers; empty: as the line itself.
    pub from_user: String,
    pub asserted_user: Option<String>,
    /// Value of Privacy.
    pub privacy: Option<String>,
    /// A Diversion is added that names the number which was called.
    pub diversion: Option<String>,
}

/// One thing to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub to: Destination,
    /// User part of the Request-URI, in the destination's own form of numbers.
    pub user: String,
    pub identity: Identity,
    /// How long one of its servers may say nothing, milliseconds; 0: as the line says.
    pub attempt_ms: u32,
}

/// A sentence for people.
impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to)?;
        if matches!(self.to, Destination::Trunk(_)) {
            write!(f, " is asked for {}", self.user)?;
        } else {
            f.write_str(" rings")?;
        }
        let Identity {
            from_user,
            asserted_user,
            privacy,
            diversion,
        } = &self.identity;
        match from_user.as_str() {
            "" => f.write_str(", the caller shown as the line itself")?,
            "anonymous" => f.write_str(", the caller not shown")?,
            user => write!(f, ", the caller shown as {user}")?,
        }
        if let Some(user) = asserted_user {
            write!(f, ", asserted as {user} where the trunk is trusted")?;
        }
        if let Some(privacy) = privacy {
            write!(f, ", Privacy: {privacy}")?;
        }
        if let Some(user) = diversion {
            write!(f, ", diverted by {user}")?;
        }
        f.write_str(".")
    }
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Of the `[[route]]` or `[[inbound]]` entry, for records and people.
    pub name: String,
    /// What was dialled, in E.164 where it is a number that has one.
    pub number: String,
    pub emergency: bool,
    /// In the order in which they are to be tried; never empty.
    pub attempts: Vec<Attempt>,
    /// How long it may ring, seconds, all attempts together.
    pub ring_s: u32,
    /// SIP statuses after which the next attempt is made; silence and unreachable servers always lead on.
    pub next_on: Vec<u16>,
}

impl Route {
    pub fn leads_on(&self, status: u16) -> bool {
        status == 0 || self.next_on.contains(&status)
    }
}

/// Why there is no way, in words for people and as SIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoWay {
    pub status: u16,
    pub reason: String,
}

/// The answer with its reasons, a sentence for each step: what `route explain` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    pub answer: Result<Route, NoWay>,
    pub steps: Vec<String>,
}
