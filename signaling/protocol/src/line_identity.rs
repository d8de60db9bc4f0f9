//! Who a session is on the operator's telephone lines. Ours, beside WCS: an application has one, and a backend's answer
//! to `connect` may say another in `trunkgate`. No page can: what it sends of that name is not read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest name that is shown, trunk name, and lists.
const TEXT: usize = 128;
const LIST: usize = 64;
/// E.164 has at most so many digits.
const DIGITS: usize = 15;

/// A number to call from and to be called at, and how far that reaches. What is absent in a backend's answer is as
/// the application says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LineIdentity {
    /// E.164 with its `+`, or an extension of digits; empty: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub number: String,
    /// Shown beside it; empty: nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display: String,
    /// Trunks that it may use; `None`: what the dial plan says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunks: Option<Vec<String>>,
    /// Beginnings of numbers that it may call, in E.164; `None`: what the dial plan says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefixes: Option<Vec<String>>,
}

/// What a backend set of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineAnswer {
    number: Option<String>,
    display: Option<String>,
    trunks: Option<Vec<String>>,
    prefixes: Option<Vec<String>>,
}

impl LineIdentity {
    /// What is wrong with it, as a sentence.
    ///
    /// # Errors
    /// It cannot be used as it stands.
    pub fn check(&self) -> Result<(), String> {
        let digits = self.number.strip_prefix('+').unwrap_or(&self.number);
        let is_number =
            |text: &str| text.len() <= DIGITS && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(digits) || self.number == "+" || self.number.starts_with("+0") {
            return Err(format!(
                "The number must be + and up to {DIGITS} digits, or an extension of digits alone."
            ));
        }
        if self.display.len() > TEXT || self.display.chars().any(char::is_control) {
            return Err(format!(
                "The display name is longer than {TEXT} bytes or has control characters."
            ));
        }
        let trunks = self.trunks.as_deref().unwrap_or_default();
        let prefixes = self.prefixes.as_deref().unwrap_or_default();
        if trunks.len() > LIST || prefixes.len() > LIST {
            return Err(format!("More than {LIST} trunks or prefixes."));
        }
        let is_name = |name: &String| {
            !name.is_empty() && name.len() <= TEXT && !name.chars().any(char::is_control)
        };
        if !trunks.iter().all(is_name) {
            return Err("A trunk's name is empty, too long or has control characters.".into());
        }
        let is_prefix = |prefix: &String| prefix.strip_prefix('+').is_some_and(is_number);
        if !prefixes.iter().all(is_prefix) {
            return Err("A prefix must be + and digits, such as +49.".into());
        }
        Ok(())
    }
}

impl LineAnswer {
    /// Reads `trunkgate` of a backend's answer.
    ///
    /// # Errors
    /// It is no object of these fields; a part of it must not count then, since what it forbids could be the other.
    pub(crate) fn read(value: Value) -> Result<LineAnswer, String> {
        let Value::Object(fields) = &value else {
            return Err("is no object".into());
        };
        let set = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
        let known: serde_json::Map<String, Value> = fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let read: LineIdentity = serde_json::from_value(Value::Object(known))
            .map_err(|_| "has a field that makes no sense".to_owned())?;
        read.check()?;
        Ok(LineAnswer {
            number: set("number").then_some(read.number),
            display: set("display").then_some(read.display),
            trunks: read.trunks,
            prefixes: read.prefixes,
        })
    }

    /// Puts what was set in place of what the application says.
    #[must_use]
    pub fn over(self, app: Option<LineIdentity>) -> LineIdentity {
        let app = app.unwrap_or_default();
        LineIdentity {
            number: self.number.unwrap_or(app.number),
            display: self.display.unwrap_or(app.display),
            trunks: self.trunks.or(app.trunks),
            prefixes: self.prefixes.or(app.prefixes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_could_not_be_dialled_or_allowed_is_refused_whole() {
        for wrong in [
            json!("+49"),
            json!({"number": "49-30"}),
            json!({"number": "+"}),
            json!({"number": "+0301234"}),
            json!({"number": "+1234567890123456"}),
            json!({"number": 49}),
            json!({"display": "a\r\nVia: x"}),
            json!({"trunks": "carrier"}),
            json!({"trunks": [""]}),
            json!({"prefixes": ["49"]}),
            json!({"prefixes": ["+4x"]}),
            json!({"prefix": ["+49"]}),
        ] {
            assert!(LineAnswer::read(wrong.clone()).is_err(), "{wrong}");
        }
        for right in [
            json!({}),
            json!({"number": "+4930123456", "display": "Shop", "trunks": ["a"], "prefixes": ["+49", "+"]}),
            json!({"number": "201", "trunks": [], "prefixes": null}),
        ] {
            assert!(LineAnswer::read(right.clone()).is_ok(), "{right}");
        }
    }

    #[test]
    fn an_answer_replaces_what_it_names_and_leaves_the_rest_to_the_application() {
        let app = LineIdentity {
            number: "+4930123456".into(),
            display: "Shop".into(),
            trunks: Some(vec!["a".into()]),
            prefixes: Some(vec!["+49".into()]),
        };
        let answer = LineAnswer::read(json!({"number": "+4930999", "trunks": [], "display": null}));
        let over = answer.unwrap().over(Some(app.clone()));
        assert_eq!(over.number, "+4930999");
        assert_eq!(over.display, "Shop");
        assert_eq!(over.trunks, Some(Vec::new()));
        assert_eq!(over.prefixes, app.prefixes);
    }
}
