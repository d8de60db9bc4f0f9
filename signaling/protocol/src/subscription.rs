//! Event subscriptions (§8.3): `subscribe` and `notifySubscription`, in hooks `SubscriptionStatusEvent`.

use crate::field::{object, words};
use serde_json::Value;

object! {
    /// `subscribe`, and the body of its hook: SUBSCRIBE to an event package of the user's own address.
    pub struct Subscribe {
        "event" event: String,
        "expires" expires_s: Option<u32>,
        /// True ends the subscription.
        "terminate" terminate: Option<bool>,
        "custom" custom: Option<Value>,
    }
}

object! {
    /// `notifySubscription`, and the body of its hook. `terminate` true makes the 1.0 phone disconnect.
    pub struct SubscriptionStatusEvent {
        "event" event: String,
        "expires" expires_s: u32,
        "status" status: SubscriptionStatus,
        "terminate" terminate: bool,
        /// The body of the NOTIFY.
        "requestBody" request_body: Option<String>,
        "info" info: Option<String>,
        "sipMessageRaw" sip_message_raw: Option<String>,
        "custom" custom: Option<Value>,
    }
}

words! {
    /// There are only these two, in this spelling.
    pub enum SubscriptionStatus {
        Active = "Active",
        Terminated = "Terminated",
    }
}
