//! One application as it stands in the file, and what may stand there.

use crate::config::origin;
use serde::{Deserialize, Serialize};
use signaling_backend::{App, RawSip};
use signaling_protocol::rest_client_config::{ConnectReply, RestClientConfig};
use signaling_protocol::{HookMethod, LineIdentity, Secret};
use std::collections::BTreeSet;

/// Longest name and key.
const WORD: usize = 64;
const URL: usize = 2048;
const ORIGINS: usize = 64;
/// Longest user, password, secret and owner.
const TEXT: usize = 256;
/// Longest restClientConfig.
const POLICIES: usize = 64 * 1024;

/// Holds secrets, so that it has no `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    pub name: String,
    pub key: String,
    /// Empty: the application has no backend.
    pub url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rest_user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rest_password: String,
    pub methods: BTreeSet<HookMethod>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hook_secret: String,
    #[serde(skip_serializing_if = "is_false")]
    pub password_over_http: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip_message_raw: Option<RawSip>,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_sessions: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub connections_per_second: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub messages_per_second: u32,
    /// JSON, as a backend would answer it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rest_client_config: String,
    /// Who its sessions are on the operator's telephone lines; the last, since it is a table of its own in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<LineIdentity>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Record {
    /// What is wrong with it, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        word("name", &self.name)?;
        word("appKey", &self.key)?;
        url(&self.url)?;
        for (what, text) in [
            ("owner", &self.owner),
            ("REST user", &self.rest_user),
            ("REST password", &self.rest_password),
            ("hook secret", &self.hook_secret),
        ] {
            if text.len() > TEXT || text.chars().any(char::is_control) {
                return Err(format!(
                    "The {what} is longer than {TEXT} bytes or has control characters."
                ));
            }
        }
        if self.rest_user.contains(':') {
            return Err(
                "The REST user has a colon, which parts user and password in HTTP Basic.".into(),
            );
        }
        if self.rest_user.is_empty() && !self.rest_password.is_empty() {
            return Err("A REST password is of no use without a REST user (-u).".into());
        }
        if self.origins.len() > ORIGINS {
            return Err(format!("More than {ORIGINS} origins."));
        }
        for text in &self.origins {
            origin(text).map_err(|why| format!("The origin \"{text}\" {why}."))?;
        }
        if let Some(line) = &self.line {
            line.check()?;
        }
        if !self.rest_client_config.is_empty() {
            read_policies(&self.rest_client_config)?;
        }
        Ok(())
    }

    /// For the signaling role; without `hooks` as if it had no backend.
    pub fn app(&self, hooks: bool) -> App {
        let secret = |text: &String| (!text.is_empty()).then(|| Secret::new(text.clone()));
        App {
            name: self.name.clone(),
            key: self.key.clone(),
            url: if hooks {
                self.url.trim_end_matches('/').to_owned()
            } else {
                String::new()
            },
            owner: self.owner.clone(),
            rest_user: self.rest_user.clone(),
            rest_password: secret(&self.rest_password),
            methods: self.methods.clone(),
            rest_client_config: read_policies(&self.rest_client_config).unwrap_or_default(),
            origins: self
                .origins
                .iter()
                .map(|o| o.to_ascii_lowercase())
                .collect(),
            password_over_http: self.password_over_http,
            hook_secret: secret(&self.hook_secret),
            sip_message_raw: self.sip_message_raw,
            line: self.line.clone(),
            max_sessions: self.max_sessions as usize,
            connections_per_second: self.connections_per_second,
            messages_per_second: self.messages_per_second,
        }
    }
}

/// Hooks that `-a` and the applications from the start have on: all but ours, which no backend of WCS knows, and which
/// tells what people type.
pub fn all_methods() -> BTreeSet<HookMethod> {
    let all = HookMethod::ALL.iter().copied();
    all.filter(|method| *method != HookMethod::OnDtmfEvent)
        .collect()
}

fn word(what: &str, text: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > WORD || !text.bytes().all(plain) {
        return Err(format!(
            "The {what} must be 1 to {WORD} of the characters A-Z a-z 0-9 . _ - (it is \"{}\").",
            text.escape_debug().take(2 * WORD).collect::<String>()
        ));
    }
    Ok(())
}

fn url(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let form = || "The URL is not http://HOST[:PORT][/PATH] or https://….".to_owned();
    let url: hyper::Uri = text.parse().map_err(|_| form())?;
    let authority = url.authority().ok_or_else(form)?;
    // Not shown: what is before the @ is mostly a password.
    if authority.as_str().contains('@') {
        return Err("The URL names a user; give user and password with -u and -p instead.".into());
    }
    if !matches!(url.scheme_str(), Some("http" | "https")) || authority.host().is_empty() {
        return Err(form());
    }
    let port = authority.as_str().strip_prefix(authority.host());
    if port.is_some_and(|port| !port.is_empty()) && matches!(authority.port_u16(), None | Some(0)) {
        return Err("The URL's port is not a number from 1 to 65535.".into());
    }
    if text.contains(['?', '#']) {
        return Err(
            "The URL has a query or a fragment; a hook's name is put behind its path.".into(),
        );
    }
    if text.len() > URL {
        return Err(format!("The URL is longer than {URL} bytes."));
    }
    Ok(())
}

/// The policies by method, bare or as the `restClientConfig` of an object; nothing is passed over.
fn read_policies(text: &str) -> Result<RestClientConfig, String> {
    if text.is_empty() {
        return Ok(RestClientConfig::default());
    }
    if text.len() > POLICIES {
        return Err(format!(
            "The restClientConfig is longer than {POLICIES} bytes."
        ));
    }
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| format!("The restClientConfig is not JSON: {error}."))?;
    let inner = value.get("restClientConfig").unwrap_or(&value);
    let methods = inner
        .as_object()
        .ok_or("The restClientConfig is not an object of methods.")?;
    for (method, policy) in methods {
        let policy = policy
            .as_object()
            .ok_or_else(|| format!("restClientConfig: {method} is not an object."))?;
        for (field, value) in policy {
            let word = value
                .as_str()
                .ok_or_else(|| format!("restClientConfig: {method}.{field} is not a text."))?;
            let one_of = |words: &[&str]| {
                if words.contains(&word) {
                    return Ok(());
                }
                let words = words.join(", ");
                Err(format!(
                    "restClientConfig: {method}.{field} is none of {words}."
                ))
            };
            match field.as_str() {
                "clientExclude" | "restExclude" | "restOverwrite" => {}
                "restOnError" => one_of(&["LOG", "FAIL"])?,
                "restPolicy" => one_of(&["NOTIFY", "OVERWRITE", "DISABLE", "DISABLED"])?,
                _ => {
                    return Err(format!(
                        "restClientConfig: {method}.{field} is no field of a policy (clientExclude, restExclude, \
                         restOnError, restPolicy, restOverwrite)."
                    ));
                }
            }
        }
    }
    let wrapped = serde_json::json!({ "restClientConfig": methods }).to_string();
    let reply = ConnectReply::parse(&wrapped);
    match reply.ignored.first() {
        Some(unknown) => Err(format!(
            "restClientConfig: {unknown} is no REST method; `trunkgate show rest-methods` lists them."
        )),
        None => Ok(reply.rest_client_config),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signaling_protocol::rest_client_config::{OnError, Policy};

    fn with(change: impl FnOnce(&mut Record)) -> Result<(), String> {
        let mut record = Record {
            name: "shop".into(),
            key: "shopKey".into(),
            url: "http://backend:8081/hooks".into(),
            ..Record::default()
        };
        change(&mut record);
        record.check()
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_sentence_that_says_what_can() {
        type Change = fn(&mut Record);
        let wrong: [(Change, &str); 16] = [
            (|r| r.name.clear(), "name must be"),
            (|r| r.key = "a b".into(), "appKey must be"),
            (|r| r.key = "k".repeat(65), "appKey must be"),
            (|r| r.url = "backend:8081".into(), "not http://HOST"),
            (|r| r.url = "ftp://backend".into(), "not http://HOST"),
            (|r| r.url = "/hooks".into(), "not http://HOST"),
            (
                |r| r.url = "http://user:geheim@backend/".into(),
                "with -u and -p",
            ),
            (|r| r.url = "http://backend:99999/".into(), "port"),
            (|r| r.url = "http://backend/?x=1".into(), "query"),
            (|r| r.rest_user = "a:b".into(), "colon"),
            (|r| r.rest_password = "geheim".into(), "without a REST user"),
            (|r| r.owner = "a\nb".into(), "control characters"),
            (|r| r.origins = vec!["app.example".into()], "not an origin"),
            (|r| r.rest_client_config = "{".into(), "not JSON"),
            (
                |r| r.rest_client_config = r#"{"fly":{}}"#.into(),
                "fly is no REST method",
            ),
            (
                |r| r.rest_client_config = r#"{"call":{"restOnError":"no"}}"#.into(),
                "none of LOG, FAIL",
            ),
        ];
        for (change, told) in wrong {
            let complaint = with(change).expect_err(told);
            assert!(complaint.contains(told), "{complaint}");
            assert!(!complaint.contains("geheim"), "{complaint}");
        }
        for url in [
            "",
            "http://localhost",
            "https://b.example:8443/a/b/",
            "http://[::1]:8081/x",
            "http://10.0.0.7",
        ] {
            assert_eq!(with(|r| r.url = url.into()), Ok(()), "{url}");
        }
    }

    #[test]
    fn policies_are_read_bare_or_wrapped_as_a_backend_would_answer_them() {
        for text in [
            r#"{"call":{"restOnError":"FAIL","restPolicy":"OVERWRITE","restOverwrite":"callee"}}"#,
            r#"{"restClientConfig":{"call":{"restOnError":"FAIL","restPolicy":"OVERWRITE","restOverwrite":"callee"}}}"#,
        ] {
            let record = Record {
                rest_client_config: text.into(),
                ..Record::default()
            };
            let policy = record.app(true).rest_client_config.policy(HookMethod::Call);
            assert_eq!(
                (policy.on_error, policy.policy),
                (OnError::Fail, Policy::Overwrite)
            );
        }
    }

    #[test]
    fn without_hooks_an_application_has_no_backend() {
        let record = Record {
            url: "http://backend/hooks/".into(),
            ..Record::default()
        };
        assert_eq!(record.app(true).url, "http://backend/hooks");
        assert_eq!(record.app(false).url, "");
    }

    #[test]
    fn our_own_hook_is_not_among_all() {
        assert_eq!(all_methods().len(), HookMethod::ALL.len() - 1);
        assert!(!all_methods().contains(&HookMethod::OnDtmfEvent));
    }
}
