//! XCAP (§8.4): `sendXcapRequest` and `notifyXcapResponse`, in hooks `XcapStatusEvent`.

use crate::field::object;
use serde_json::Value;

object! {
    /// `sendXcapRequest`, and the body of its hook: fetch this with the user's SIP account.
    pub struct SendXcapRequest {
        "url" url: String,
        "custom" custom: Option<Value>,
    }
}

object! {
    /// `notifyXcapResponse`, and the body of its hook.
    pub struct XcapStatusEvent {
        "url" url: String,
        "xcapResponse" xcap_response: String,
        /// The same text again under the name that the 1.0 phone reads; hooks do without.
        "responseBody" response_body: Option<String>,
        "custom" custom: Option<Value>,
    }
}

impl XcapStatusEvent {
    /// As a client gets it, under both names.
    pub fn to_client(url: String, xcap_response: String) -> XcapStatusEvent {
        XcapStatusEvent {
            url,
            response_body: Some(xcap_response.clone()),
            xcap_response,
            custom: None,
        }
    }
}
