//! Fields of a backend's reply that replace ours, under the policy OVERWRITE (protocol §5.5).

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use signaling_protocol::rest_client_config::{FIXED, HookPolicy, NEEDED, Policy};

pub(crate) type Fields = Map<String, Value>;

/// What one thing is, and what state it is in, is ours to say.
const OURS: [&str; 6] = [
    "status",
    "incoming",
    "id",
    "apiMethod",
    "authToken",
    "sipPassword",
];

/// Which fields of a reply count.
pub(crate) fn taken(policy: &HookPolicy, body: &str) -> Fields {
    if policy.policy != Policy::Overwrite || policy.overwrite.is_empty() {
        return Fields::new();
    }
    let reply: Fields = serde_json::from_str(body).unwrap_or_default();
    reply
        .into_iter()
        .filter(|(name, _)| {
            policy.overwrite.contains(name)
                && !FIXED.contains(&name.as_str())
                && !OURS.contains(&name.as_str())
        })
        .collect()
}

/// A frame or message with these fields in place of its own. One that does not fit is left as it was.
pub(crate) fn patch<M: Serialize + DeserializeOwned>(message: M, fields: &Fields) -> M {
    if fields.is_empty() {
        return message;
    }
    let Ok(mut frame) = serde_json::to_value(&message) else {
        return message;
    };
    let mut best = message;
    for (name, new) in fields {
        let Some(Value::Object(argument)) = frame.get_mut("data").and_then(|data| data.get_mut(0))
        else {
            return best;
        };
        let old = argument.insert(name.clone(), new.clone());
        match serde_json::from_value(frame.clone()) {
            Ok(patched) => best = patched,
            Err(_) => {
                let argument = frame.get_mut("data").and_then(|data| data.get_mut(0));
                if let Some(Value::Object(argument)) = argument {
                    match old {
                        Some(old) => argument.insert(name.clone(), old),
                        None => argument.remove(name),
                    };
                }
            }
        }
    }
    best
}

/// What a page is not told, but for what it cannot do without.
pub(crate) fn left_out(policies: &[HookPolicy]) -> Vec<String> {
    policies
        .iter()
        .flat_map(|policy| &policy.client_exclude)
        .filter(|name| !NEEDED.contains(&name.as_str()))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use signaling_protocol::ClientMessage;

    #[test]
    fn a_field_that_does_not_fit_costs_only_itself_and_what_identifies_a_call_stays() {
        let policy = HookPolicy {
            policy: Policy::Overwrite,
            overwrite: ["callee", "hasVideo", "callId", "status", "sdp", "custom"]
                .map(str::to_owned)
                .to_vec(),
            ..HookPolicy::default()
        };
        let body = r#"{"callee":"1003","hasVideo":{"no":1},"callId":"other","status":"HOLD","sdp":"x","custom":{"a":1},"caller":"9"}"#;
        let frame = ClientMessage::parse(
            r#"{"message":"call","data":[{"callId":"c1","callee":"1002","caller":"1001","hasVideo":true}]}"#,
        )
        .unwrap();
        let ClientMessage::Call(call) = patch(frame, &taken(&policy, body)) else {
            panic!("it was a call")
        };
        assert_eq!(call.call_id.as_str(), "c1");
        assert_eq!(call.callee.as_deref(), Some("1003"));
        assert_eq!(call.caller.as_deref(), Some("1001"));
        assert_eq!(call.has_video, Some(true));
        assert_eq!((call.sdp, call.status), (None, None));
        assert_eq!(call.custom, Some(serde_json::json!({"a": 1})));
    }
}
