//! What a backend answers to `connect` (§5.2), and the `restClientConfig` in it, which says for each hook
//! what an error means, what is left out, and what the backend may change (§5.5).

use crate::LineAnswer;
use crate::connection::Connection;
use crate::context::HookMethod;
use crate::field::{Fields, Object, take, words};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most field names in one list of a policy; no message has half as many.
const NAMES_MAX: usize = 64;

/// What the SDK breaks without is never left out of what it is told (§5.5).
pub const NEEDED: [&str; 4] = ["callId", "mediaSessionId", "status", "operationId"];
/// What identifies a thing is never replaced by a backend.
pub const FIXED: [&str; 8] = [
    "callId",
    "mediaSessionId",
    "operationId",
    "sdp",
    "mediaProvider",
    "nodeId",
    "appKey",
    "sessionId",
];

/// The backend's 200 to `connect`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectReply {
    /// The connection fields that it set. Never the context's, nor `authToken` or `mediaProviders`.
    pub connection: Connection,
    pub rest_client_config: RestClientConfig,
    /// Who the session is on the operator's lines (`trunkgate`, ours); `Some(None)`: it was said in a way that makes
    /// no sense, so that it is nobody.
    pub line: Option<Option<LineAnswer>>,
    /// What could not be taken, by name, for the log.
    pub ignored: Vec<String>,
}

impl ConnectReply {
    /// Reads the body of a 2xx. Empty or not an object: accepted, and nothing changes.
    pub fn parse(body: &str) -> ConnectReply {
        let mut fields: Fields = serde_json::from_str(body).unwrap_or_default();
        let mut ignored = Vec::new();
        let rest_client_config = match fields.remove("restClientConfig") {
            Some(Value::Object(config)) => RestClientConfig::read(config, &mut ignored),
            _ => RestClientConfig::default(),
        };
        let line = match fields.remove("trunkgate") {
            None | Some(Value::Null) => None,
            Some(value) => Some(
                LineAnswer::read(value)
                    .map_err(|_| ignored.push("trunkgate".to_owned()))
                    .ok(),
            ),
        };
        for ours in ["appKey", "authToken", "mediaProviders", "status"] {
            fields.remove(ours);
        }
        // One field of the wrong type must not cost the user the other ones.
        let connection = loop {
            match Connection::read_fields(&mut fields.clone()) {
                Ok(connection) => break connection,
                Err(fault) => {
                    ignored.push(fault.field.to_owned());
                    if fields.remove(fault.field).is_none() {
                        break Connection::empty();
                    }
                }
            }
        };
        ConnectReply {
            connection,
            rest_client_config,
            line,
            ignored,
        }
    }

    /// Puts what the backend set in place of what the page sent.
    pub fn overwrite(self, connection: &mut Connection) {
        // A backend's password is for the backend's servers: where it names no proxy, the page's must not get it.
        if self.connection.sip_password.is_some() {
            connection.sip_outbound_proxy = None;
            connection.sip_proxy = None;
            connection.sip_port = None;
        }
        macro_rules! take_over {
            ($($field:ident)*) => { $( if self.connection.$field.is_some() { connection.$field = self.connection.$field; } )* };
        }
        take_over!(keep_alive custom sip_login sip_authentication_name sip_password sip_domain sip_outbound_proxy sip_proxy
            sip_port sip_register_required sip_visible_name sip_contact_params width height);
    }
}

/// What a refusal's `info` tells the page: the body as it is, if it has exactly a status and a reason,
/// else the HTTP reason phrase.
pub fn refusal_info(reason_phrase: &str, body: &str) -> String {
    match serde_json::from_str::<Fields>(body) {
        Ok(fields)
            if fields.len() == 2
                && fields.contains_key("status")
                && fields.contains_key("reason") =>
        {
            body.trim().to_owned()
        }
        _ => reason_phrase.to_owned(),
    }
}

/// The policies of one session. A hook that is not listed has the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestClientConfig {
    pub methods: BTreeMap<HookMethod, HookPolicy>,
}

impl RestClientConfig {
    pub fn policy(&self, method: HookMethod) -> HookPolicy {
        self.methods.get(&method).cloned().unwrap_or_default()
    }

    fn read(config: Fields, ignored: &mut Vec<String>) -> RestClientConfig {
        let mut methods = BTreeMap::new();
        for (name, policy) in config {
            match (HookMethod::from_configured(&name), policy) {
                (Some(method), Value::Object(mut fields)) => {
                    let strange = HookPolicy::strange(&fields);
                    ignored.extend(
                        strange.map(|field| format!("{method}.{field}", method = method.as_str())),
                    );
                    methods.insert(method, HookPolicy::read(&mut fields));
                }
                _ => ignored.push(crate::envelope::short_name(&name)),
            }
        }
        ignored.truncate(NAMES_MAX);
        RestClientConfig { methods }
    }
}

/// How one hook is to be treated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookPolicy {
    /// Fields that do not go to the client.
    pub client_exclude: Vec<String>,
    /// Fields that do not go to the backend.
    pub rest_exclude: Vec<String>,
    pub on_error: OnError,
    pub policy: Policy,
    /// Fields of the reply that replace ours, under [`Policy::Overwrite`].
    pub overwrite: Vec<String>,
}

impl HookPolicy {
    /// Fields whose word means nothing: who mistypes FAIL must hear of it, for the default is LOG.
    fn strange(fields: &Fields) -> impl Iterator<Item = &'static str> {
        const WORDS: [(&str, &[&str]); 2] = [
            ("restOnError", &["LOG", "FAIL"]),
            (
                "restPolicy",
                &["NOTIFY", "OVERWRITE", "DISABLE", "DISABLED"],
            ),
        ];
        let means_nothing = |value: &Value, words: &[&str]| match value {
            Value::Null => false,
            Value::String(text) => !text.trim().is_empty() && !words.contains(&text.trim()),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => true,
        };
        WORDS
            .into_iter()
            .filter(move |(name, words)| {
                let value = fields.get(*name);
                value.is_some_and(|value| means_nothing(value, words))
            })
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn read(fields: &mut Fields) -> HookPolicy {
        // Nothing here can refuse: what makes no sense is the default.
        fn word<T: crate::field::Field + Default>(fields: &mut Fields, name: &'static str) -> T {
            take::<Option<T>>(fields, name)
                .ok()
                .flatten()
                .unwrap_or_default()
        }
        let mut names = |name| {
            let text: Option<String> = take(fields, name).ok().flatten();
            let text = text.unwrap_or_default();
            let names = text
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            names.take(NAMES_MAX).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut client_exclude = names("clientExclude");
        client_exclude.retain(|name| !NEEDED.contains(&name.as_str()));
        let rest_exclude = names("restExclude");
        let mut overwrite = names("restOverwrite");
        overwrite.retain(|name| !FIXED.contains(&name.as_str()));
        HookPolicy {
            client_exclude,
            rest_exclude,
            on_error: word(fields, "restOnError"),
            policy: match word::<PolicyWord>(fields, "restPolicy") {
                PolicyWord::Notify => Policy::Notify,
                PolicyWord::Overwrite => Policy::Overwrite,
                PolicyWord::Disable | PolicyWord::Disabled => Policy::Disable,
            },
            overwrite,
        }
    }
}

words! {
    /// What an error of the backend means; for `connect` always a refusal (§5.3).
    #[derive(Default)]
    pub enum OnError {
        #[default]
        Log = "LOG",
        Fail = "FAIL",
    }
}

/// Whether a hook is called, and whether its answer counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    #[default]
    Notify,
    Overwrite,
    Disable,
}

words! {
    /// [`Policy`] as it is spelled.
    #[derive(Default)]
    pub enum PolicyWord {
        #[default]
        Notify = "NOTIFY",
        Overwrite = "OVERWRITE",
        Disable = "DISABLE",
        /// In older documents.
        Disabled = "DISABLED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_backend_supplies_the_account_of_a_page_that_sent_none() {
        let reply = ConnectReply::parse(
            r#"{"nodeId":"n","appKey":"other","sessionId":"s","authToken":"stolen","mediaProviders":["Flash"],
                "sipLogin":"1001","sipPassword":"secret","sipDomain":"pbx.example","sipPort":"5070","sipVisibleName":"Al",
                "custom":{"a":1}}"#,
        );
        let mut connection = Connection::empty();
        connection.app_key = Some("mine".into());
        connection.sip_login = Some("nobody".into());
        reply.overwrite(&mut connection);
        assert_eq!(connection.sip_login.as_deref(), Some("1001"));
        assert_eq!(connection.sip_password, Some(Secret::new("secret")));
        assert_eq!(connection.sip_port, Some(5070));
        assert_eq!(connection.sip_visible_name.as_deref(), Some("Al"));
        assert_eq!(connection.app_key.as_deref(), Some("mine"));
        assert_eq!(
            (&connection.auth_token, &connection.media_providers),
            (&None, &None)
        );
        assert!(connection.wants_registration());
    }

    #[test]
    fn a_reply_that_says_nothing_changes_nothing() {
        for body in ["", "null", "[]", "OK", "{}", "{\"sipLogin\":null}"] {
            let mut connection = Connection::empty();
            connection.sip_login = Some("1001".into());
            let before = connection.clone();
            ConnectReply::parse(body).overwrite(&mut connection);
            assert_eq!(connection, before, "{body}");
        }
    }

    #[test]
    fn one_wrong_field_of_a_reply_costs_only_itself() {
        let reply = ConnectReply::parse(
            r#"{"sipPort":"many","sipLogin":"1001","keepAlive":{},"restClientConfig":7}"#,
        );
        assert_eq!(reply.connection.sip_login.as_deref(), Some("1001"));
        assert_eq!(reply.connection.sip_port, None);
        assert_eq!(reply.ignored.len(), 2);
    }

    #[test]
    fn policies_are_read_and_unknown_ones_are_the_default() {
        let reply = ConnectReply::parse(
            r#"{"restClientConfig":{
                "call":{"clientExclude":" info , callId","restExclude":"sdp","restOnError":"FAIL","restPolicy":"OVERWRITE","restOverwrite":"callee,sdp, caller"},
                "sendDTMF":{"restPolicy":"DISABLED"},
                "hold":{"restOnError":"EXPLODE","restPolicy":7},
                "fly":{"restOnError":"FAIL"},
                "hangup":"FAIL"}}"#,
        );
        let config = reply.rest_client_config;
        let call = config.policy(HookMethod::Call);
        assert_eq!(call.client_exclude, ["info"]);
        assert_eq!(call.rest_exclude, ["sdp"]);
        assert_eq!(
            (call.on_error, call.policy),
            (OnError::Fail, Policy::Overwrite)
        );
        assert_eq!(call.overwrite, ["callee", "caller"]);
        assert_eq!(config.policy(HookMethod::SendDtmf).policy, Policy::Disable);
        assert_eq!(config.policy(HookMethod::Hold), HookPolicy::default());
        assert_eq!(config.policy(HookMethod::Answer), HookPolicy::default());
        assert_eq!(
            reply.ignored,
            ["fly", "hangup", "hold.restOnError", "hold.restPolicy"]
        );
    }

    #[test]
    fn a_refusal_is_told_in_the_backends_words_only_if_it_has_that_form() {
        let body = r#"{"status":403,"reason":"no money"}"#;
        assert_eq!(refusal_info("Forbidden", body), body);
        for other in [
            "",
            "no",
            r#"{"status":403}"#,
            r#"{"status":403,"reason":"x","more":1}"#,
        ] {
            assert_eq!(refusal_info("Forbidden", other), "Forbidden");
        }
    }
}
