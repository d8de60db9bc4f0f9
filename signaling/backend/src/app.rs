//! Applications as the operator set them up.

use serde::{Deserialize, Serialize};
use signaling_protocol::rest_client_config::RestClientConfig;
use signaling_protocol::{HookMethod, Secret};
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
