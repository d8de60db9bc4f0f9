//! Opening a session: `connection` (§1.3), what answers it (§1.4), registration (§2.3), and the hooks
//! `connect`, `ConnectionStatusEvent` and `RegistrationStatusEvent` (§5.4).

use crate::field::{Fault, Field, object, words};
use crate::ids::CallId;
use crate::secret::{AuthToken, Secret};
use serde::ser::SerializeMap;
use serde_json::Value;

object! {
    /// `connection`, a client's first frame; the seed calls it `connect`.
    pub struct Connection {
        /// Selects the application; absent means `defaultApp`.
        "appKey" app_key: Option<String>,
        /// In the client's order of preference.
        "mediaProviders" media_providers: Option<Vec<MediaProvider>>,
        /// Keep session, registration and calls when the socket drops (§1.8).
        "keepAlive" keep_alive: Option<bool>,
        /// Resumes the session that was given this token.
        "authToken" auth_token: Option<AuthToken>,
        "clientVersion" client_version: Option<String>,
        "clientOSVersion" client_os_version: Option<String>,
        "clientBrowserVersion" client_browser_version: Option<String>,
        "msePacketizationVersion" mse_packetization_version: Option<u32>,
        /// For the backend; may hold its tokens, so it is not for logs.
        "custom" custom: Option<Value>,
        /// User-agent client hints, for debugging.
        "clientInfo" client_info: Option<Value>,
        /// User part of the address of record. None of the SIP fields is there in a streaming-only page.
        "sipLogin" sip_login: Option<String>,
        "sipAuthenticationName" sip_authentication_name: Option<String>,
        "sipPassword" sip_password: Option<Secret>,
        "sipDomain" sip_domain: Option<String>,
        "sipOutboundProxy" sip_outbound_proxy: Option<String>,
        /// Fallback for `sip_outbound_proxy`.
        "sipProxy" sip_proxy: Option<String>,
        "sipPort" sip_port: Option<u16>,
        "sipRegisterRequired" sip_register_required: Option<bool>,
        /// From here on 1.0, mobile, or the backend's reply only.
        "sipVisibleName" sip_visible_name: Option<String>,
        /// Parameters for the Contact of REGISTER.
        "sipContactParams" sip_contact_params: Option<String>,
        "width" width: Option<u32>,
        "height" height: Option<u32>,
        "urlServer" url_server: Option<String>,
        "status" status: Option<ConnectionStatus>,
    }
}

impl Connection {
    /// A connection that says nothing: the base for a test client or a click-to-call page.
    pub fn empty() -> Connection {
        let mut none = crate::field::Fields::new();
        crate::field::Object::read_fields(&mut none).expect("every field of connection is optional")
    }

    /// Whether to send REGISTER: as asked, else yes if there is an account (§1.3).
    pub fn wants_registration(&self) -> bool {
        self.sip_register_required
            .unwrap_or(self.sip_login.is_some())
    }
}

object! {
    /// `getUserData`: the session is ESTABLISHED, and the client replaces its configuration by this (§1.4).
    ///
    /// It has no field for the password, nor for `restClientConfig`, nor for a metrics description.
    pub struct UserData {
        "appKey" app_key: Option<String>,
        "sipRegisterRequired" sip_register_required: Option<bool>,
        /// Becomes the caller of the page's calls.
        "sipLogin" sip_login: Option<String>,
        "sipAuthenticationName" sip_authentication_name: Option<String>,
        "sipVisibleName" sip_visible_name: Option<String>,
        "sipDomain" sip_domain: Option<String>,
        "sipOutboundProxy" sip_outbound_proxy: Option<String>,
        "sipPort" sip_port: Option<u16>,
        "sipContactParams" sip_contact_params: Option<String>,
        "mediaProviders" media_providers: Option<Vec<MediaProvider>>,
        "keepAlive" keep_alive: Option<bool>,
        "authToken" auth_token: Option<AuthToken>,
        "status" status: Option<ConnectionStatus>,
        "clientVersion" client_version: Option<String>,
        "clientOSVersion" client_os_version: Option<String>,
        "clientBrowserVersion" client_browser_version: Option<String>,
        "useWsTunnel" use_ws_tunnel: Option<bool>,
        "useWsTunnelPacketization2" use_ws_tunnel_packetization2: Option<bool>,
        "useBase64BinaryEncoding" use_base64_binary_encoding: Option<bool>,
        "custom" custom: Option<Value>,
    }
}

impl UserData {
    /// What a client is told of its accepted `connection`; `token` is the session's.
    pub fn of(connection: &Connection, token: AuthToken) -> UserData {
        UserData {
            app_key: connection.app_key.clone(),
            sip_register_required: connection.sip_register_required,
            sip_login: connection.sip_login.clone(),
            sip_authentication_name: connection.sip_authentication_name.clone(),
            sip_visible_name: connection.sip_visible_name.clone(),
            sip_domain: connection.sip_domain.clone(),
            sip_outbound_proxy: connection.sip_outbound_proxy.clone(),
            sip_port: connection.sip_port,
            sip_contact_params: connection.sip_contact_params.clone(),
            media_providers: connection.media_providers.clone(),
            keep_alive: connection.keep_alive,
            auth_token: Some(token),
            status: Some(ConnectionStatus::Established),
            client_version: connection.client_version.clone(),
            client_os_version: connection.client_os_version.clone(),
            client_browser_version: connection.client_browser_version.clone(),
            use_ws_tunnel: Some(false),
            use_ws_tunnel_packetization2: Some(false),
            use_base64_binary_encoding: Some(false),
            custom: connection.custom.clone(),
        }
    }
}

words! {
    /// Statuses of a session (§4.2).
    pub enum ConnectionStatus {
        Pending = "PENDING",
        Connected = "CONNECTED",
        Established = "ESTABLISHED",
        Failed = "FAILED",
        Disconnected = "DISCONNECTED",
    }
}

words! {
    /// Statuses of a SIP registration (§4.2).
    pub enum RegistrationStatus {
        Registered = "REGISTERED",
        Unregistered = "UNREGISTERED",
        AuthenticationFail = "AUTHENTICATION_FAIL",
        Failed = "FAILED",
    }
}

object! {
    /// `registered`: sent once, on the first 2xx, and never for a failure: 2.0 fires REGISTERED whatever
    /// is in it (§2.3).
    pub struct Registered {
        "status" status: RegistrationStatus,
        "info" info: Option<String>,
        "sipMessageRaw" sip_message_raw: Option<String>,
    }
}

object! {
    /// `fail`: something that was asked for will not be done (§2.3).
    pub struct Fail {
        "status" status: FailStatus,
        "info" info: Option<String>,
        /// Which event this stands for; absent: an ErrorEvent.
        "apiMethod" api_method: Option<ApiMethod>,
        /// callId or mediaSessionId.
        "id" id: Option<String>,
        "sipStatus" sip_status: Option<u16>,
        "sipMessageRaw" sip_message_raw: Option<String>,
    }
}

impl Fail {
    /// A failure that belongs to no event: WARN in 2.0, ErrorStatusEvent in 1.0.
    pub fn error(info: impl Into<String>) -> Fail {
        Fail {
            status: FailStatus::Failed,
            info: Some(info.into()),
            api_method: None,
            id: None,
            sip_status: None,
            sip_message_raw: None,
        }
    }

    /// A failure told in place of an event.
    pub fn event(api_method: ApiMethod, info: impl Into<String>) -> Fail {
        Fail {
            api_method: Some(api_method),
            ..Fail::error(info)
        }
    }

    /// The refusal of a call, to be sent after its `finish` for 1.0's sake, never instead of it.
    pub fn call(call_id: &CallId, info: impl Into<String>) -> Fail {
        Fail {
            id: Some(call_id.to_string()),
            ..Fail::event(ApiMethod::CallStatusEvent, info)
        }
    }
}

words! {
    /// What `fail.status` can say: FAILED, a registration's end, or one of the codes that 1.0 knows (§2.3).
    pub enum FailStatus {
        Failed = "FAILED",
        AuthenticationFail = "AUTHENTICATION_FAIL",
        Unregistered = "UNREGISTERED",
        UserNotAvailable = "USER_NOT_AVAILABLE",
        TooManyRegisterAttempts = "TOO_MANY_REGISTER_ATTEMPTS",
        LicenseRestriction = "LICENSE_RESTRICTION",
        LicenseNotFound = "LICENSE_NOT_FOUND",
        InternalSipError = "INTERNAL_SIP_ERROR",
        ConnectionError = "CONNECTION_ERROR",
        RegisterExpire = "REGISTER_EXPIRE",
        SipPortsBusy = "SIP_PORTS_BUSY",
        MediaPortsBusy = "MEDIA_PORTS_BUSY",
        WrongSipproviderAddress = "WRONG_SIPPROVIDER_ADDRESS",
        CalleeNameIsNull = "CALLEE_NAME_IS_NULL",
        WrongFlashphonerXml = "WRONG_FLASHPHONER_XML",
        PaymentRequired = "PAYMENT_REQUIRED",
        RestAuthorizationFail = "REST_AUTHORIZATION_FAIL",
        RestFail = "REST_FAIL",
    }
}

words! {
    /// The events that `fail.apiMethod` can name.
    pub enum ApiMethod {
        ConnectionStatusEvent = "ConnectionStatusEvent",
        RegistrationStatusEvent = "RegistrationStatusEvent",
        CallStatusEvent = "CallStatusEvent",
        TransferStatusEvent = "TransferStatusEvent",
        MessageStatusEvent = "MessageStatusEvent",
        SubscriptionStatusEvent = "SubscriptionStatusEvent",
        XcapStatusEvent = "XcapStatusEvent",
        StreamStatusEvent = "StreamStatusEvent",
        DataStatusEvent = "DataStatusEvent",
        BugReportStatusEvent = "BugReportStatusEvent",
        SessionDebugStatusEvent = "SessionDebugStatusEvent",
        OnCallEvent = "OnCallEvent",
        OnMessageEvent = "OnMessageEvent",
        OnDataEvent = "OnDataEvent",
    }
}

/// How media reach a page. Only WebRTC is served; the others are understood so that they can be refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MediaProvider {
    WebRtc,
    Mse,
    WsPlayer,
    /// 1.0 only.
    Flash,
    Other(String),
}

impl MediaProvider {
    pub fn as_str(&self) -> &str {
        match self {
            MediaProvider::WebRtc => "WebRTC",
            MediaProvider::Mse => "MSE",
            MediaProvider::WsPlayer => "WSPlayer",
            MediaProvider::Flash => "Flash",
            MediaProvider::Other(name) => name,
        }
    }

    pub fn from_word(word: &str) -> MediaProvider {
        match word.trim() {
            "WebRTC" => MediaProvider::WebRtc,
            "MSE" => MediaProvider::Mse,
            "WSPlayer" => MediaProvider::WsPlayer,
            "Flash" => MediaProvider::Flash,
            other => MediaProvider::Other(other.to_owned()),
        }
    }
}

impl Field for MediaProvider {
    const EMPTY_IS_ABSENT: bool = true;

    fn read(value: Option<Value>) -> Result<Self, Fault> {
        String::read(value).map(|word| MediaProvider::from_word(&word))
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, self.as_str())
    }
}

impl Field for Vec<MediaProvider> {
    fn read(value: Option<Value>) -> Result<Self, Fault> {
        // One text with commas is what an array becomes when it is turned into a string.
        let words = Vec::<String>::read(value)?;
        let words = words.iter().flat_map(|word| word.split(','));
        Ok(words
            .filter(|word| !word.trim().is_empty())
            .map(MediaProvider::from_word)
            .collect())
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        let words: Vec<&str> = self.iter().map(MediaProvider::as_str).collect();
        map.serialize_entry(name, &words)
    }
}

object! {
    /// Hook `connect`: all that the client sent, the password too. Its appKey is left empty: the context
    /// has it.
    pub struct ConnectHook {
        "useWsTunnel" use_ws_tunnel: bool,
        "useWsTunnelPacketization2" use_ws_tunnel_packetization2: bool,
        "useBase64BinaryEncoding" use_base64_binary_encoding: bool,
        .. connection: Connection,
    }
}

impl ConnectHook {
    pub fn of(connection: &Connection) -> ConnectHook {
        ConnectHook {
            use_ws_tunnel: false,
            use_ws_tunnel_packetization2: false,
            use_base64_binary_encoding: false,
            connection: Connection {
                app_key: None,
                ..connection.clone()
            },
        }
    }
}

object! {
    /// Hook `ConnectionStatusEvent`. On an error only status and info.
    pub struct ConnectionStatusHook {
        "sipRegisterRequired" sip_register_required: Option<bool>,
        "sipLogin" sip_login: Option<String>,
        "sipPassword" sip_password: Option<Secret>,
        "sipVisibleName" sip_visible_name: Option<String>,
        "sipDomain" sip_domain: Option<String>,
        "sipOutboundProxy" sip_outbound_proxy: Option<String>,
        "sipPort" sip_port: Option<u16>,
        "sipContactParams" sip_contact_params: Option<String>,
        "status" status: ConnectionStatus,
        "info" info: Option<String>,
        "authToken" auth_token: Option<AuthToken>,
        "mediaProviders" media_providers: Option<Vec<MediaProvider>>,
        "custom" custom: Option<Value>,
    }
}

object! {
    /// Hook `RegistrationStatusEvent`.
    pub struct RegistrationStatusHook {
        "status" status: RegistrationStatus,
        "info" info: Option<String>,
        "sipMessageRaw" sip_message_raw: Option<String>,
        "sipLogin" sip_login: Option<String>,
        "sipDomain" sip_domain: Option<String>,
        "sipOutboundProxy" sip_outbound_proxy: Option<String>,
        "sipPort" sip_port: Option<u16>,
        "custom" custom: Option<Value>,
    }
}
