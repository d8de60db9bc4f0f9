//! Taking fields out of a JSON text that is written already.

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::fmt;

/// The object without the fields of these names, the others in the order they had; `None` for what is no object.
pub(crate) fn without<S: AsRef<str>>(object: &str, names: &[S]) -> Option<String> {
    let mut object: Ordered = serde_json::from_str(object).ok()?;
    object
        .0
        .retain(|(field, _)| !names.iter().any(|name| name.as_ref() == field));
    serde_json::to_string(&object).ok()
}

/// A message to a page without those fields of its arguments. What cannot be read stays as it is: we wrote it.
pub(crate) fn without_in_arguments<S: AsRef<str>>(message: String, names: &[S]) -> String {
    let Ok(mut frame) = serde_json::from_str::<Ordered>(&message) else {
        return message;
    };
    for (field, value) in &mut frame.0 {
        if let ("data", Value::Array(arguments)) = (field.as_str(), value) {
            for argument in arguments {
                if let Value::Object(argument) = argument {
                    argument.retain(|field, _| !names.iter().any(|name| name.as_ref() == field));
                }
            }
        }
    }
    serde_json::to_string(&frame).unwrap_or(message)
}

/// An object whose fields keep their order.
struct Ordered(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ordered, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Ordered(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (field, value) in &self.0 {
            map.serialize_entry(field, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_taken_out_and_the_others_keep_their_order() {
        let body = r#"{"nodeId":"n","appKey":"a","sipPassword":"geheim","custom":{"sipPassword":"theirs"},"b":1}"#;
        assert_eq!(
            without(body, &["sipPassword"]).unwrap(),
            r#"{"nodeId":"n","appKey":"a","custom":{"sipPassword":"theirs"},"b":1}"#
        );
        assert_eq!(without("[1]", &["sipPassword"]), None);
    }

    #[test]
    fn only_the_arguments_of_a_message_lose_fields() {
        let message =
            r#"{"message":"ring","data":[{"callId":"1","message":"x","info":"y"},"info"]}"#;
        assert_eq!(
            without_in_arguments(message.to_owned(), &["info", "message"]),
            r#"{"message":"ring","data":[{"callId":"1"},"info"]}"#
        );
        assert_eq!(without_in_arguments("no".to_owned(), &["info"]), "no");
    }
}
