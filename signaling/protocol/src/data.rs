//! Application data between page and backend (§2.12).

use crate::field::{object, words};
use crate::ids::OperationId;
use serde_json::Value;

object! {
    /// `sendData`, and the body of its hook. Every one must be answered, or the page's promise waits for ever.
    pub struct SendData {
        "operationId" operation_id: OperationId,
        "payload" payload: Option<Value>,
        "custom" custom: Option<Value>,
    }
}

object! {
    /// `OnDataEvent`, and the body of its hook: from the application to this session.
    pub struct OnDataEvent {
        "operationId" operation_id: OperationId,
        "payload" payload: Option<Value>,
    }
}

object! {
    /// `DataStatusEvent`: settles `sendData`; 1.0 also sends it back for an `OnDataEvent`.
    pub struct DataStatusEvent {
        "operationId" operation_id: OperationId,
        "status" status: DataStatus,
        "info" info: Option<String>,
    }
}

words! {
    /// Any third word throws in the client.
    pub enum DataStatus {
        Accepted = "ACCEPTED",
        Failed = "FAILED",
    }
}
