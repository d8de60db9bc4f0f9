//! Transfer: `transfer` and its `notifyTransferEvent` (§2.8), in hooks `TransferStatusEvent`.

use crate::field::{Fault, Field, object};
use crate::ids::CallId;
use serde::ser::SerializeMap;
use serde_json::Value;

object! {
    /// `transfer`: REFER the far side of this call to `target`.
    pub struct Transfer {
        "callId" call_id: CallId,
        "target" target: String,
        "custom" custom: Option<Value>,
    }
}

object! {
    /// `notifyTransferEvent`, and the body of its hook. 2.0 throws if it does not know the call, so it goes
    /// out only for a call that the client has.
    pub struct TransferStatusEvent {
        "callId" call_id: CallId,
        "incoming" incoming: bool,
        "status" status: TransferStatus,
        "info" info: Option<String>,
        "sipMessageRaw" sip_message_raw: Option<String>,
        "hasVideo" has_video: Option<bool>,
        "custom" custom: Option<Value>,
    }
}

/// How a transfer fares. Any other SIP status is handed on as text (§2.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferStatus {
    /// Incoming, 1.0 only.
    Pending,
    /// 2xx to the REFER.
    Accepted,
    /// NOTIFY with 100.
    Trying,
    /// NOTIFY with 2xx.
    Completed,
    /// NOTIFY with 300 or more, or REFER refused.
    Failed,
    Other(String),
}

impl TransferStatus {
    pub fn as_str(&self) -> &str {
        match self {
            TransferStatus::Pending => "PENDING",
            TransferStatus::Accepted => "ACCEPTED",
            TransferStatus::Trying => "TRYING",
            TransferStatus::Completed => "COMPLETED",
            TransferStatus::Failed => "FAILED",
            TransferStatus::Other(status) => status,
        }
    }

    pub fn from_word(word: &str) -> TransferStatus {
        match word {
            "PENDING" => TransferStatus::Pending,
            "ACCEPTED" => TransferStatus::Accepted,
            "TRYING" => TransferStatus::Trying,
            "COMPLETED" => TransferStatus::Completed,
            "FAILED" => TransferStatus::Failed,
            other => TransferStatus::Other(other.to_owned()),
        }
    }

    /// What the status of a NOTIFY's sipfrag means (RFC 3515 §2.4.5).
    pub fn from_sipfrag(status: u16, reason: &str) -> TransferStatus {
        match status {
            100 => TransferStatus::Trying,
            101..=199 => TransferStatus::Other(format!("{status} {reason}")),
            200..=299 => TransferStatus::Completed,
            _ => TransferStatus::Failed,
        }
    }
}

impl Field for TransferStatus {
    fn read(value: Option<Value>) -> Result<Self, Fault> {
        String::read(value).map(|word| TransferStatus::from_word(&word))
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, self.as_str())
    }
}
