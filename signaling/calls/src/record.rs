//! What is kept of a call when it is over: one line for the operator.

use media_control::LegStats;
use serde::{Deserialize, Serialize};

/// One call's record. Times are milliseconds since its first message, as far as the call got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    pub call_id: String,
    pub session: u64,
    /// "incoming" or "outgoing", as the page sees it, "echo", or "bridged" from line to line, where `sip` is the caller's
    /// leg and the callees' are in `other_sip`.
    pub direction: String,
    pub caller: String,
    pub callee: String,
    pub answered_after_ms: Option<u64>,
    pub ended_after_ms: u64,
    /// Last status the page was told: FINISH, FAILED or BUSY.
    pub status: String,
    pub info: String,
    pub sip_status: Option<u16>,
    /// Who ended it: "page", "peer" or "gateway"; of a bridge "caller", "callee" or "gateway".
    pub ended_by: String,
    /// The browser's leg and the SIP side's, if they were made.
    pub browser: Option<LegStats>,
    pub sip: Option<LegStats>,
    /// SIP legs whose place another one took, and those that never got one.
    #[serde(default)]
    pub other_sip: Vec<LegStats>,
    /// The lines that a bridge joined, as "trunk NAME" or "phone USER".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from_line: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to_line: String,
    /// The dial plan's route, what was dialled as the plan reads it, and each way that was tried, the last one in use.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub route: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub number: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Tried>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
}

/// A way that a call by the dial plan tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// `trunk:NAME`, `phone:USER`, `app:KEY` or `account:USER@DOMAIN`.
    pub to: String,
    /// User part that it was asked for, in its own form of numbers.
    pub user: String,
    /// How it ended; 0: without a response, or it is the last one.
    pub status: u16,
}
