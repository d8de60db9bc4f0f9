//! Bug reports, session debugging and the client's logs (§2.13).

use crate::field::{object, words};
use serde_json::Value;

object! {
    /// `submitBugReport`, in the seed `sendBugReport`, and the body of its hook. Whatever object the page
    /// gives; these two are the usual fields.
    pub struct SubmitBugReport {
        "text" text: Option<String>,
        /// `no_media` asks for a capture of the traffic first.
        "type" kind: Option<String>,
        "custom" custom: Option<Value>,
    }
}

/// `notifyBugReport`: on the wire the bare file name.
#[derive(Clone, Debug, PartialEq)]
pub struct NotifyBugReport {
    pub filename: String,
}

object! {
    /// Body of the hook `BugReportStatusEvent`.
    pub struct BugReportStatusHook {
        "filename" filename: String,
        "custom" custom: Option<Value>,
    }
}

object! {
    /// `sessionDebug`, and the body of its hook.
    pub struct SessionDebug {
        "command" command: DebugCommand,
    }
}

words! {
    /// What `sessionDebug` asks.
    pub enum DebugCommand {
        Start = "start",
        Stop = "stop",
    }
}

object! {
    /// `notifySessionDebugEvent`, and the body of the hook `SessionDebugStatusEvent`.
    pub struct SessionDebugStatusEvent {
        "status" status: SessionDebugStatus,
        /// With STOPPED: where the log is.
        "file" file: Option<String>,
    }
}

words! {
    /// Statuses of session debugging.
    pub enum SessionDebugStatus {
        Started = "STARTED",
        Stopped = "STOPPED",
    }
}

object! {
    /// `pushLogs`, and the body of its hook: one log line a frame, unasked.
    pub struct PushLogs {
        "logs" logs: Option<String>,
    }
}

object! {
    /// Body of the hook `ErrorEvent`.
    pub struct ErrorHook {
        "info" info: String,
        "custom" custom: Option<Value>,
    }
}
