//! Applications as the operator set them up.

use serde::{Deserialize, Serialize};
use signaling_protocol::rest_client_config::RestClientConfig;
use signaling_protocol::{HookMethod, LineIdentity, Secret};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a page names in `connection` to choose its application.
pub type AppKey = String;

/// One application.
#[derive(Clone, Debug)]
pub struct App {
    pub name: String,
    pub key: AppKey,
    /// Where its hooks go, without a slash at the end; empty: nowhere, whatever the methods say.
    pub url: String,
    pub owner: String,
    /// HTTP Basic, where the user is not empty.
    pub rest_user: String,
    pub rest_password: Option<Secret>,
    /// Hooks that are on.
    pub methods: BTreeSet<HookMethod>,
    /// Policies from the operator; the backend's `connect` answer goes over them, method by method.
    pub rest_client_config: RestClientConfig,
    /// Origins whose pages may connect (`https://app.example`); empty: any.
    pub origins: Vec<String>,
    /// `sipPassword` may go out in `connect` over plain HTTP to another machine.
    pub password_over_http: bool,
    /// Key of the signatures (WCS's own HMAC-MD5 and ours); none: hooks are not signed.
    pub hook_secret: Option<Secret>,
    pub sip_message_raw: Option<RawSip>,
    /// Who its sessions are on the operator's lines, where the backend says nothing else.
    pub line: Option<LineIdentity>,
    /// Sessions at once, and new ones per second and address; 0: the gateway's own limits alone.
    pub max_sessions: usize,
    pub connections_per_second: u32,
    /// Frames per second of one session; 0: the gateway's own limit.
    pub messages_per_second: u32,
}

/// How much of a SIP message pages and backends are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RawSip {
    #[default]
    Full,
    StatusLine,
    Off,
}

/// All applications by their key. Replaced as a whole when the operator changes one.
#[derive(Clone, Debug, Default)]
pub struct Apps {
    pub by_key: BTreeMap<AppKey, Arc<App>>,
}

impl App {
    /// Whether nobody between us and the backend can read along: https, or this very machine.
    pub fn is_private(&self) -> bool {
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return false;
        };
        if scheme.eq_ignore_ascii_case("https") {
            return true;
        }
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let host = match host.strip_prefix('[') {
            Some(six) => six.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        host.eq_ignore_ascii_case("localhost")
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// Whether pages of this Origin may connect. A client that is no browser sends none, and an application
    /// that lists origins wants browsers.
    pub fn admits(&self, origin: Option<&str>) -> bool {
        let same = |allowed: &String| {
            origin.is_some_and(|origin| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin))
        };
        self.origins.is_empty() || self.origins.iter().any(same)
    }
}

impl RawSip {
    /// As much of a message as may be told.
    pub(crate) fn apply(self, raw: &mut Option<String>) {
        match self {
            RawSip::Full => {}
            RawSip::Off => *raw = None,
            RawSip::StatusLine => {
                if let Some(text) = raw {
                    let end = text.find(['\r', '\n']).unwrap_or(text.len());
                    text.truncate(end);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(url: &str) -> App {
        App {
            name: "a".into(),
            key: "a".into(),
            url: url.into(),
            owner: String::new(),
            rest_user: String::new(),
            rest_password: None,
            methods: BTreeSet::new(),
            rest_client_config: RestClientConfig::default(),
            origins: Vec::new(),
            password_over_http: false,
            hook_secret: None,
            sip_message_raw: None,
            line: None,
            max_sessions: 0,
            connections_per_second: 0,
            messages_per_second: 0,
        }
    }

    #[test]
    fn only_https_and_this_machine_are_private() {
        for url in [
            "https://backend.example/x",
            "HTTPS://b",
            "http://localhost:8081/apps/EchoApp",
            "http://127.0.0.1:1/",
            "http://127.9.9.9",
            "http://[::1]:8081/x",
            "http://user:p@localhost/x",
        ] {
            assert!(app(url).is_private(), "{url}");
        }
        for url in [
            "",
            "localhost",
            "http://backend.example",
            "http://localhost@evil.example/",
            "http://evil.example/@localhost",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://evil.example?@127.0.0.1",
            "http://evil.example\\@127.0.0.1",
            "http://[2001:db8::1]:80/",
        ] {
            assert!(!app(url).is_private(), "{url}");
        }
    }

    #[test]
    fn origins_are_compared_whole() {
        let mut listed = app("");
        assert!(listed.admits(None));
        listed.origins = vec!["https://app.example/".into()];
        assert!(listed.admits(Some("https://app.example")));
        for other in [
            None,
            Some("null"),
            Some("http://app.example"),
            Some("https://app.example.evil.example"),
            Some("https://app.example:8443"),
        ] {
            assert!(!listed.admits(other), "{other:?}");
        }
    }

    #[test]
    fn raw_sip_is_told_whole_or_by_its_first_line_or_not_at_all() {
        let raw = Some("SIP/2.0 180 Ringing\r\nVia: x\r\n".to_owned());
        let told = |how: RawSip| {
            let mut raw = raw.clone();
            how.apply(&mut raw);
            raw
        };
        assert_eq!(told(RawSip::Full), raw);
        assert_eq!(
            told(RawSip::StatusLine).as_deref(),
            Some("SIP/2.0 180 Ringing")
        );
        assert_eq!(told(RawSip::Off), None);
    }
}
