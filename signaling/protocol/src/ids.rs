//! The names that clients and server give to calls, streams, operations and messages (§1.9).
//!
//! A client picks them, so they are bounded and free of control characters before anything keeps them.
//! Two clients may pick the same: key by session and id.

use crate::field::{Fault, Field};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest id taken. A UUID has 36 characters, a SIP Call-ID of a carrier up to about 120.
pub const ID_MAX: usize = 256;

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(String);

        impl $name {
            /// An id made by ourselves.
            pub fn new(id: impl Into<String>) -> $name {
                $name(id.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Field for $name {
            const EMPTY_IS_ABSENT: bool = true;

            fn read(value: Option<Value>) -> Result<Self, Fault> {
                let id = String::read(value)?;
                if id.is_empty() {
                    Err(Fault::Missing)
                } else if id.len() > ID_MAX || id.chars().any(char::is_control) {
                    Err(Fault::Expected("an id of at most 256 bytes without control characters"))
                } else {
                    Ok($name(id))
                }
            }

            fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
                map.serialize_entry(name, &self.0)
            }
        }
    };
}

id!(
    /// `callId`: chosen by the client for its own calls, by us for those that come in.
    CallId
);
id!(
    /// `mediaSessionId`: a published or played stream of one session.
    MediaSessionId
);
id!(
    /// `operationId`: settles the promise of one `sendData`.
    OperationId
);
id!(
    /// `id` of an instant message, and `messageId` of its disposition notification.
    MessageId
);
