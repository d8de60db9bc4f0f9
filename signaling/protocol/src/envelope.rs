//! The envelope of every message, `{"message": name, "data": [argument, …]}` (§1.2): how its name finds a
//! type and how the type's arguments become `data`.

use crate::bug_report::NotifyBugReport;
use crate::call::SetRemoteSdp;
use crate::field::{Fault, Field, FieldFault, Fields, Object, Written};
use crate::message::NotifyMessage;
use serde::ser::SerializeSeq;
use serde_json::Value;

/// Largest frame of a client, in bytes. Real ones stay under 10 kB, but `custom` and `pushLogs` know no
/// bound (§1.1).
pub const FRAME_MAX: usize = 256 * 1024;

/// Longest message name that is repeated in an error or a log, in characters.
pub const NAME_MAX: usize = 64;

/// Why a frame could not be read. Holds names, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Over [`FRAME_MAX`].
    TooLarge { bytes: usize },
    /// Not JSON, or nested deeper than 128; line and column as serde_json counts them.
    NotJson { line: usize, column: usize },
    /// JSON, but not an object with a text `message`.
    NotAnEnvelope,
    /// The name is known and the argument does not fit it.
    BadArgument {
        message: &'static str,
        fault: FieldFault,
    },
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ParseError::TooLarge { bytes } => {
                write!(f, "frame of {bytes} bytes, at most {FRAME_MAX} are taken")
            }
            ParseError::NotJson { line, column } => {
                write!(f, "not JSON at line {line}, column {column}")
            }
            ParseError::NotAnEnvelope => f.write_str("not an object with a message and data"),
            ParseError::BadArgument { message, fault } => write!(f, "{message}: {fault}"),
        }
    }
}

impl std::error::Error for ParseError {}

/// A frame whose name nobody has looked at yet.
pub(crate) struct Envelope {
    pub message: String,
    pub arguments: Vec<Value>,
}

impl Envelope {
    pub fn parse(text: &str) -> Result<Envelope, ParseError> {
        if text.len() > FRAME_MAX {
            return Err(ParseError::TooLarge { bytes: text.len() });
        }
        // Through Value rather than straight into a struct: a doubled name is then survived, and the
        // recursion limit of serde_json (128) holds for unknown fields as well.
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => {
                let not_json = ParseError::NotJson {
                    line: error.line(),
                    column: error.column(),
                };
                let mended = mend_surrogates(text).ok_or(not_json.clone())?;
                serde_json::from_str(&mended).map_err(|_| not_json)?
            }
        };
        let Value::Object(mut envelope) = value else {
            return Err(ParseError::NotAnEnvelope);
        };
        let Some(Value::String(message)) = envelope.remove("message") else {
            return Err(ParseError::NotAnEnvelope);
        };
        let arguments = match envelope.remove("data") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(arguments)) => arguments,
            // Nobody was seen to send it bare, but there is no doubt what it would mean.
            Some(argument) => vec![argument],
        };
        Ok(Envelope { message, arguments })
    }
}

/// Puts the replacement character in place of each escaped surrogate that has no partner; `None` if there is
/// none.
///
/// JavaScript counts in UTF-16: a page that cuts a display name after ten characters may cut an emoji in
/// two, and `JSON.stringify` sends the half as `\ud83d`, which is no text in Rust. The call is worth more
/// than the half emoji.
fn mend_surrogates(text: &str) -> Option<String> {
    let unit_at = |at: usize| {
        let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut mended = String::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        at += match (unit_at(at), unit_at(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.push_str(text.get(kept..at)?);
                mended.push(char::REPLACEMENT_CHARACTER);
                kept = at + 6;
                6
            }
            (Some(_), _) => 6,
            // The backslash and what it escapes, which may be a backslash.
            (None, _) => 1 + text.get(at + 1..)?.chars().next().map_or(0, char::len_utf8),
        };
    }
    mended.push_str(text.get(kept..)?);
    (kept > 0).then_some(mended)
}

/// What a message carries: one object mostly, something else for a few.
pub(crate) trait Arguments: Sized {
    fn read(arguments: Vec<Value>) -> Result<Self, FieldFault>;
    fn write<S: SerializeSeq>(&self, seq: &mut S) -> Result<(), S::Error>;
}

/// The first argument as an object; no argument, and null, are an empty one.
pub(crate) fn first_object(arguments: Vec<Value>) -> Result<Fields, FieldFault> {
    match arguments.into_iter().next() {
        None | Some(Value::Null) => Ok(Fields::new()),
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) => Err(FieldFault {
            field: "data",
            fault: Fault::Expected("a list with one object"),
        }),
    }
}

impl<T: Object> Arguments for T {
    fn read(arguments: Vec<Value>) -> Result<Self, FieldFault> {
        T::read_fields(&mut first_object(arguments)?)
    }

    fn write<S: SerializeSeq>(&self, seq: &mut S) -> Result<(), S::Error> {
        seq.serialize_element(&Written(self))
    }
}

fn argument<T: Field>(value: Option<Value>, field: &'static str) -> Result<T, FieldFault> {
    T::read(value.filter(|value| !value.is_null())).map_err(|fault| FieldFault { field, fault })
}

/// `[id, sdp, initiator]`.
impl Arguments for SetRemoteSdp {
    fn read(arguments: Vec<Value>) -> Result<Self, FieldFault> {
        let mut arguments = arguments.into_iter();
        Ok(SetRemoteSdp {
            id: argument(arguments.next(), "id")?,
            sdp: argument(arguments.next(), "sdp")?,
            initiator: argument(arguments.next(), "initiator")?,
        })
    }

    fn write<S: SerializeSeq>(&self, seq: &mut S) -> Result<(), S::Error> {
        seq.serialize_element(&self.id)?;
        seq.serialize_element(&self.sdp)?;
        seq.serialize_element(&self.initiator)
    }
}

/// `[message, token]`.
impl Arguments for NotifyMessage {
    fn read(arguments: Vec<Value>) -> Result<Self, FieldFault> {
        let mut arguments = arguments.into_iter();
        let mut next = || first_object(arguments.next().into_iter().collect());
        Ok(NotifyMessage {
            message: Object::read_fields(&mut next()?)?,
            token: Object::read_fields(&mut next()?)?,
        })
    }

    fn write<S: SerializeSeq>(&self, seq: &mut S) -> Result<(), S::Error> {
        seq.serialize_element(&Written(&self.message))?;
        seq.serialize_element(&Written(&self.token))
    }
}

/// `["file name"]`.
impl Arguments for NotifyBugReport {
    fn read(arguments: Vec<Value>) -> Result<Self, FieldFault> {
        Ok(NotifyBugReport {
            filename: argument(arguments.into_iter().next(), "filename")?,
        })
    }

    fn write<S: SerializeSeq>(&self, seq: &mut S) -> Result<(), S::Error> {
        seq.serialize_element(&self.filename)
    }
}

/// `getVersion`: the server's version, free text.
#[derive(Clone, Debug, PartialEq)]
pub struct GetVersion {
    pub version: String,
}

/// `["5.2.2000"]`.
impl Arguments for GetVersion {
    fn read(arguments: Vec<Value>) -> Result<Self, FieldFault> {
        Ok(GetVersion {
            version: argument(arguments.into_iter().next(), "version")?,
        })
    }

    fn write<S: SerializeSeq>(&self, seq: &mut S) -> Result<(), S::Error> {
        seq.serialize_element(&self.version)
    }
}

/// Arguments handed on as they came.
#[derive(Clone, PartialEq, Default)]
pub struct Raw(pub Vec<Value>);

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Raw(…)")
    }
}

impl Arguments for Raw {
    fn read(arguments: Vec<Value>) -> Result<Self, FieldFault> {
        Ok(Raw(arguments))
    }

    fn write<S: SerializeSeq>(&self, seq: &mut S) -> Result<(), S::Error> {
        self.0
            .iter()
            .try_for_each(|argument| seq.serialize_element(argument))
    }
}

/// `data` of a message, for serde.
pub(crate) struct Data<'a, T>(pub &'a T);

impl<T: Arguments> serde::Serialize for Data<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        self.0.write(&mut seq)?;
        seq.end()
    }
}

/// A name cut to what an error or a log may repeat of it. Control characters are replaced rather than left
/// out, or else an unknown name could look like a known one.
pub(crate) fn short_name(name: &str) -> String {
    let visible = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    name.chars().take(NAME_MAX).map(visible).collect()
}

/// Declares an enum of messages: one variant for each name, and the way from one to the other.
macro_rules! messages {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            nothing $nothing:tt {
                $( $(#[$unit_meta:meta])* $unit_wire:literal $unit:ident, )*
            }
            $( $(#[$variant_meta:meta])* $wire:literal $variant:ident($type:ty), )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $( $(#[$unit_meta])* $unit, )*
            $( $(#[$variant_meta])* $variant($type), )*
            /// A name that this protocol does not have; to be logged and ignored, on either side.
            Unknown {
                /// At most [`NAME_MAX`](crate::NAME_MAX) characters of it.
                name: String,
            },
        }

        impl $name {
            /// Every name there is.
            pub const NAMES: &'static [&'static str] = &[ $( $unit_wire, )* $( $wire, )* ];

            /// The name on the wire.
            pub fn name(&self) -> &str {
                match self {
                    $( $name::$unit => $unit_wire, )*
                    $( $name::$variant(_) => $wire, )*
                    $name::Unknown { name } => name,
                }
            }

            fn from_envelope(message: &str, arguments: Vec<serde_json::Value>) -> Result<$name, crate::ParseError> {
                match message {
                    $( $unit_wire => Ok($name::$unit), )*
                    $( $wire => <$type as crate::envelope::Arguments>::read(arguments)
                        .map($name::$variant)
                        .map_err(|fault| crate::ParseError::BadArgument { message: $wire, fault }), )*
                    unknown => Ok($name::Unknown { name: crate::envelope::short_name(unknown) }),
                }
            }

            /// The frame. `data` is always an array.
            pub fn to_text(&self) -> String {
                serde_json::to_string(self).expect("maps here have text keys, and a String takes all that is written")
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("message", self.name())?;
                match self {
                    $( $name::$unit => map.serialize_entry("data", &serde_json::json!($nothing))?, )*
                    $( $name::$variant(payload) => map.serialize_entry("data", &crate::envelope::Data(payload))?, )*
                    $name::Unknown { .. } => map.serialize_entry("data", &serde_json::json!($nothing))?,
                }
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                struct Frame {
                    message: String,
                    #[serde(default)]
                    data: Vec<serde_json::Value>,
                }
                let frame = <Frame as serde::Deserialize>::deserialize(deserializer)?;
                $name::from_envelope(&frame.message, frame.data).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use messages;
