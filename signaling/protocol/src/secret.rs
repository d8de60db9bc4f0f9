//! Texts that no log may show.

use crate::field::{Fault, Field};
use serde::ser::SerializeMap;
use serde_json::Value;

macro_rules! secret {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            pub fn new(text: impl Into<String>) -> $name {
                $name(text.into())
            }

            /// The text itself, for the one place that must have it.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // Not even its length.
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        impl Field for $name {
            const EMPTY_IS_ABSENT: bool = true;

            fn read(value: Option<Value>) -> Result<Self, Fault> {
                String::read(value).map($name)
            }

            fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
                map.serialize_entry(name, &self.0)
            }
        }
    };
}

secret!(
    /// A SIP password. It has no `Serialize`: it is written only as a field of `connection`, which a
    /// client sends, and of the hook bodies that the backend is owed; no message to a client has one.
    Secret
);
secret!(
    /// The token that resumes a session (§1.8). Whoever holds it is the session's user.
    AuthToken
);
