//! Instant messages and their disposition notifications (§8.1): API 1.0 and mobile, and pages that speak
//! JSON by themselves.

use crate::field::{Fault, Field, object, words};
use crate::ids::MessageId;
use serde::ser::SerializeMap;
use serde_json::Value;

object! {
    /// `sendMessage`.
    pub struct SendMessage {
        "id" id: Option<MessageId>,
        "from" from: Option<String>,
        "to" to: Option<String>,
        "body" body: String,
        /// Absent: `text/plain`.
        "contentType" content_type: Option<String>,
        "isImdnRequired" is_imdn_required: Option<bool>,
        /// For `multipart/mixed`.
        "recipients" recipients: Option<Recipients>,
        "visibleName" visible_name: Option<String>,
        "custom" custom: Option<Value>,
    }
}

/// The recipients of one message: on the wire one text, separated by commas. An array is read as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipients(pub Vec<String>);

impl Field for Recipients {
    const EMPTY_IS_ABSENT: bool = true;

    fn read(value: Option<Value>) -> Result<Self, Fault> {
        let texts = Vec::<String>::read(value)?;
        let names = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
        Ok(Recipients(
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        ))
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, &self.0.join(","))
    }
}

object! {
    /// `notificationResult`, in the seed `sendIMDN`: the second argument of a `notifyMessage` comes back.
    pub struct NotificationResult {
        "messageId" message_id: MessageId,
        "status" status: Option<String>,
    }
}

object! {
    /// The message object: first argument of `notifyMessage`, and the body of the hooks `OnMessageEvent`
    /// (status RECEIVED) and `MessageStatusEvent` (any other).
    pub struct MessageObject {
        "id" id: MessageId,
        "from" from: String,
        "to" to: String,
        "body" body: Option<String>,
        "contentType" content_type: String,
        "isImdnRequired" is_imdn_required: bool,
        "status" status: MessageStatus,
        "info" info: Option<String>,
        "sipMessageRaw" sip_message_raw: Option<String>,
        "custom" custom: Option<Value>,
    }
}

/// `notifyMessage`. Two arguments on the wire; the second is always an object, or 1.0 throws.
#[derive(Clone, Debug, PartialEq)]
pub struct NotifyMessage {
    pub message: MessageObject,
    /// What `notificationResult` shall bring back; for statuses that ask for none, nothing.
    pub token: NotifyToken,
}

object! {
    /// The second argument of `notifyMessage`.
    pub struct NotifyToken {
        "messageId" message_id: Option<MessageId>,
    }
}

words! {
    /// Statuses of an instant message (§4.5).
    pub enum MessageStatus {
        /// Local to the client.
        Sent = "SENT",
        Received = "RECEIVED",
        Accepted = "ACCEPTED",
        Failed = "FAILED",
        ImdnNotificationSent = "IMDN_NOTIFICATION_SENT",
        /// The seed also says DELIVERED.
        ImdnDelivered = "IMDN_DELIVERED",
        /// The seed also says DELIVERY_FAILED.
        ImdnFailed = "IMDN_FAILED",
        ImdnForbidden = "IMDN_FORBIDDEN",
        ImdnError = "IMDN_ERROR",
    }
}

object! {
    /// Body of the hook `sendMessage`.
    pub struct SendMessageHook {
        "id" id: MessageId,
        "from" from: String,
        "to" to: String,
        "body" body: String,
        "contentType" content_type: String,
        "isImdnRequired" is_imdn_required: bool,
        "recipients" recipients: Option<Recipients>,
        "custom" custom: Option<Value>,
    }
}

object! {
    /// Body of the hook `sendIMDN`.
    pub struct SendImdnHook {
        "messageId" message_id: MessageId,
        "custom" custom: Option<Value>,
    }
}
