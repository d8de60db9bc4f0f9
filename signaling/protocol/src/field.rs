//! How one field of a message is read leniently and written with its real type.
//!
//! Pages take numbers and flags from form inputs, and the 1.0 client turns every scalar of its connection
//! into text; so `"5060"`, `5060` and `"true"`, `true` mean the same, `null` means absent, and what is
//! written is always the real type. The rules live here and nowhere else.

use serde::ser::{Serialize, SerializeMap};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// The JSON object that is the argument of most messages, on its way in.
pub(crate) type Fields = Map<String, Value>;

/// What was wrong with a field. Never holds the value, which may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Missing,
    Expected(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing => f.write_str("is missing"),
            Fault::Expected(what) => write!(f, "must be {what}"),
        }
    }
}

/// A fault and the field it is in, by its name on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldFault {
    pub field: &'static str,
    pub fault: Fault,
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.fault)
    }
}

/// A type that a field can have.
pub(crate) trait Field: Sized + fmt::Debug {
    /// As an optional field, the empty string means absent: an input that nobody filled in.
    const EMPTY_IS_ABSENT: bool = false;
    /// As an optional field, a value that makes no sense means absent: it only informs us.
    const STRANGE_IS_ABSENT: bool = false;

    /// `None` when the field is absent or null.
    fn read(value: Option<Value>) -> Result<Self, Fault>;
    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error>;

    /// As a log may show it.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A field in a `Debug` text.
pub(crate) struct Shown<'a, T>(pub &'a T);

impl<T: Field> fmt::Debug for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f)
    }
}

/// A message's argument or a part of one: a struct made by [`object!`].
pub(crate) trait Object: Sized {
    fn read_fields(fields: &mut Fields) -> Result<Self, FieldFault>;
    fn write_fields<S: SerializeMap>(&self, map: &mut S) -> Result<(), S::Error>;
}

impl<T: Object> Object for Box<T> {
    fn read_fields(fields: &mut Fields) -> Result<Self, FieldFault> {
        T::read_fields(fields).map(Box::new)
    }

    fn write_fields<S: SerializeMap>(&self, map: &mut S) -> Result<(), S::Error> {
        (**self).write_fields(map)
    }
}

/// Takes one field out of the object.
pub(crate) fn take<T: Field>(fields: &mut Fields, field: &'static str) -> Result<T, FieldFault> {
    let value = fields.remove(field).filter(|value| !value.is_null());
    T::read(value).map_err(|fault| FieldFault { field, fault })
}

/// Declares a struct with the wire name beside each field, and how it is read and written.
///
/// `Option` fields are left out when `None`; all others are required. A last `..name: Type` puts another
/// object's fields beside these.
macro_rules! object {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* $wire:literal $field:ident: $type:ty, )*
            $( .. $(#[$rest_meta:meta])* $rest:ident: $rest_type:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
            $( $(#[$rest_meta])* pub $rest: $rest_type, )*
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    $( .field(stringify!($field), &$crate::field::Shown(&self.$field)) )*
                    $( .field(stringify!($rest), &self.$rest) )*
                    .finish()
            }
        }

        impl $crate::field::Object for $name {
            fn read_fields(fields: &mut $crate::field::Fields) -> Result<Self, $crate::field::FieldFault> {
                let _ = &fields;
                Ok($name {
                    $( $field: $crate::field::take(fields, $wire)?, )*
                    $( $rest: <$rest_type as $crate::field::Object>::read_fields(fields)?, )*
                })
            }

            fn write_fields<S: serde::ser::SerializeMap>(&self, map: &mut S) -> Result<(), S::Error> {
                let _ = &map;
                $( $crate::field::Field::write(&self.$field, $wire, map)?; )*
                $( $crate::field::Object::write_fields(&self.$rest, map)?; )*
                Ok(())
            }
        }

        $crate::field::serde_by_object!($name);
    };
}
pub(crate) use object;

/// serde for an [`Object`], so that it can be part of a snapshot.
macro_rules! serde_by_object {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $crate::field::Object::write_fields(self, &mut map)?;
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut fields =
                    <$crate::field::Fields as serde::Deserialize>::deserialize(deserializer)?;
                $crate::field::Object::read_fields(&mut fields).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_by_object;

/// Declares a closed set of words with their exact spelling.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$word_meta:meta])* $variant:ident = $word:literal, )* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $( $(#[$word_meta])* $variant, )* }

        impl $name {
            pub const ALL: &'static [$name] = &[ $( $name::$variant, )* ];

            /// The word as it is on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $word, )* }
            }

            /// The word's meaning; `None` for one that is not in the set.
            pub fn from_word(word: &str) -> Option<$name> {
                match word { $( $word => Some($name::$variant), )* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <String as serde::Deserialize>::deserialize(deserializer)?;
                $name::from_word(&word)
                    .ok_or_else(|| serde::de::Error::custom(concat!("not a ", stringify!($name))))
            }
        }

        impl $crate::field::Field for $name {
            const EMPTY_IS_ABSENT: bool = true;
            const STRANGE_IS_ABSENT: bool = true;

            fn read(value: Option<serde_json::Value>) -> Result<Self, $crate::field::Fault> {
                let word = <String as $crate::field::Field>::read(value)?;
                $name::from_word(word.trim())
                    .ok_or($crate::field::Fault::Expected(concat!("one of ", $( $word, " ", )*)))
            }

            fn write<S: serde::ser::SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
                map.serialize_entry(name, self.as_str())
            }
        }
    };
}
pub(crate) use words;

impl<T: Field> Field for Option<T> {
    fn read(value: Option<Value>) -> Result<Self, Fault> {
        let Some(value) = value else { return Ok(None) };
        if T::EMPTY_IS_ABSENT && value.as_str().is_some_and(|text| text.trim().is_empty()) {
            return Ok(None);
        }
        match T::read(Some(value)) {
            Err(_) if T::STRANGE_IS_ABSENT => Ok(None),
            other => other.map(Some),
        }
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        match self {
            Some(value) => value.write(name, map),
            None => Ok(()),
        }
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Some(value) => f.debug_tuple("Some").field(&Shown(value)).finish(),
            None => f.write_str("None"),
        }
    }
}

/// Text. A number or a flag is taken as the text it would be in JSON: `sendDtmf` brings both `"5"` and 5.
impl Field for String {
    fn read(value: Option<Value>) -> Result<Self, Fault> {
        match value.ok_or(Fault::Missing)? {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(flag) => Ok(flag.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => Err(Fault::Expected("text")),
        }
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, self)
    }
}

impl Field for bool {
    const EMPTY_IS_ABSENT: bool = true;

    fn read(value: Option<Value>) -> Result<Self, Fault> {
        const FAULT: Fault = Fault::Expected("true or false");
        match value.ok_or(Fault::Missing)? {
            Value::Bool(flag) => Ok(flag),
            Value::String(text) => {
                let text = text.trim();
                if text.eq_ignore_ascii_case("true") || text == "1" {
                    Ok(true)
                } else if text.eq_ignore_ascii_case("false") || text == "0" {
                    Ok(false)
                } else {
                    Err(FAULT)
                }
            }
            Value::Number(number) => match number.as_u64() {
                Some(0) => Ok(false),
                Some(1) => Ok(true),
                _ => Err(FAULT),
            },
            Value::Null | Value::Array(_) | Value::Object(_) => Err(FAULT),
        }
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, self)
    }
}

/// A whole number from 0. A fraction loses its part behind the point, since JavaScript has one kind of
/// number and pages divide.
impl Field for u64 {
    const EMPTY_IS_ABSENT: bool = true;

    fn read(value: Option<Value>) -> Result<Self, Fault> {
        const FAULT: Fault = Fault::Expected("a whole number from 0");
        let from_float = |float: f64| {
            // Up to 2^53 every whole f64 is exact; beyond it JavaScript itself no longer counts.
            if (0.0..=9_007_199_254_740_992.0).contains(&float) {
                Ok(float as u64)
            } else {
                Err(FAULT)
            }
        };
        match value.ok_or(Fault::Missing)? {
            Value::Number(number) => match (number.as_u64(), number.as_f64()) {
                (Some(whole), _) => Ok(whole),
                (None, Some(float)) => from_float(float),
                (None, None) => Err(FAULT),
            },
            Value::String(text) => match text.trim().parse::<u64>() {
                Ok(whole) => Ok(whole),
                Err(_) => text
                    .trim()
                    .parse::<f64>()
                    .map_err(|_| FAULT)
                    .and_then(from_float),
            },
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(FAULT),
        }
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, self)
    }
}

impl Field for u32 {
    const EMPTY_IS_ABSENT: bool = true;

    fn read(value: Option<Value>) -> Result<Self, Fault> {
        u32::try_from(u64::read(value)?).map_err(|_| Fault::Expected("a smaller number"))
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, self)
    }
}

/// A port or a SIP status: both end below 65,536.
impl Field for u16 {
    const EMPTY_IS_ABSENT: bool = true;

    fn read(value: Option<Value>) -> Result<Self, Fault> {
        u16::try_from(u64::read(value)?).map_err(|_| Fault::Expected("a number below 65536"))
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, self)
    }
}

/// Any JSON. As a required field absent reads as null, and null is written.
impl Field for Value {
    fn read(value: Option<Value>) -> Result<Self, Fault> {
        Ok(value.unwrap_or(Value::Null))
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, self)
    }

    /// Opaque to us, and often where a page puts its backend's tokens.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A list of texts. One bare text is a list of one; nulls in the list are dropped.
impl Field for Vec<String> {
    const EMPTY_IS_ABSENT: bool = true;

    fn read(value: Option<Value>) -> Result<Self, Fault> {
        match value.ok_or(Fault::Missing)? {
            Value::Array(items) => items
                .into_iter()
                .filter(|item| !item.is_null())
                .map(|item| {
                    String::read(Some(item)).map_err(|_| Fault::Expected("a list of texts"))
                })
                .collect(),
            Value::Object(_) => Err(Fault::Expected("a list of texts")),
            scalar => Ok(vec![String::read(Some(scalar))?]),
        }
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, self)
    }
}

/// Named texts, such as `inviteParameters`.
impl Field for BTreeMap<String, String> {
    fn read(value: Option<Value>) -> Result<Self, Fault> {
        const FAULT: Fault = Fault::Expected("an object of texts");
        match value.ok_or(Fault::Missing)? {
            Value::Object(entries) => entries
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| Ok((name, String::read(Some(value)).map_err(|_| FAULT)?)))
                .collect(),
            _ => Err(FAULT),
        }
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, self)
    }
}

/// Serialises an [`Object`] behind a reference.
pub(crate) struct Written<'a, T>(pub &'a T);

impl<T: Object> Serialize for Written<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.0.write_fields(&mut map)?;
        map.end()
    }
}
