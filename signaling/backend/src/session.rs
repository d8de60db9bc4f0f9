//! A session as its application sees it, and what of it waits for the application's backend.

use crate::api::RequestId;
use crate::app::App;
use crate::limits::{CALLS, MUTED};
use crate::overwrite::Fields;
use crate::rate::Bucket;
use signaling_calls::SessionId;
use signaling_protocol::call::{CallObject, CallStatus};
use signaling_protocol::connection::{RegistrationStatus, UserData};
use signaling_protocol::context::Context;
use signaling_protocol::rest_client_config::{HookPolicy, Policy, RestClientConfig};
use signaling_protocol::{ClientMessage, HookMethod, ServerMessage};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) struct Session {
    /// The number it had when it first connected, which its account keeps too; a resumed one has another.
    pub home: SessionId,
    /// What backends know it by (protocol §1.9); a resumed one keeps it.
    pub public_id: String,
    pub origin: Option<String>,
    pub remote: IpAddr,
    pub stage: Stage,
    pub app_key: String,
    /// None before `connection`, and after the application was removed.
    pub app: Option<Arc<App>>,
    /// It counts among its application's sessions.
    pub counted: bool,
    /// What the backend said to `connect`, over the application's own settings.
    pub reply: Option<RestClientConfig>,
    /// As the page was told, without the token.
    pub user: Option<Box<UserData>>,
    pub registration: Option<RegistrationStatus>,
    /// The backend heard of it, so it shall hear of its end.
    pub backend_knows: bool,
    /// Frames per second, where the application limits them.
    pub rate: Option<Bucket>,
    pub dropped: u32,

    /// Frames that wait for the one before them.
    pub inbox: VecDeque<ClientMessage>,
    pub inbox_bytes: usize,
    pub doing: Option<Doing>,
    /// Messages on their way to the page.
    pub lane: VecDeque<Item>,
    /// Incoming calls that wait for the answer to `OnCallEvent`.
    pub held: BTreeMap<String, Held>,
    pub calls: BTreeMap<String, KnownCall>,
    /// Incoming calls of which the page hears nothing more.
    pub muted: VecDeque<String>,
    /// All requests on its behalf that are not answered yet, and how many of them nothing waits for.
    pub requests: BTreeSet<RequestId>,
    pub notes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No `connection` yet.
    New,
    /// Its `connection` waits for the backend, or is the switchboard's to judge.
    Connecting,
    Open,
    /// Its close was asked for; nothing more is said to it.
    Closing,
}

/// A frame whose hook is out.
pub(crate) struct Doing {
    pub request: RequestId,
    pub frame: ClientMessage,
}

/// What stands in a session's way to its page.
pub(crate) enum Item {
    Say(Message),
    /// These wait for the answer to one hook.
    Wait {
        request: RequestId,
        messages: Vec<Message>,
        /// The call and status that they tell.
        about: Option<(String, CallStatus)>,
    },
    Close,
}

pub(crate) struct Message {
    pub message: ServerMessage,
    pub without: Vec<String>,
}

/// An incoming call that waits for the answer to `OnCallEvent`.
pub(crate) struct Held {
    pub request: RequestId,
    pub messages: Vec<ServerMessage>,
}

/// What the bodies of hooks about a call are filled from.
pub(crate) struct KnownCall {
    /// As last told.
    pub object: CallObject,
    /// Last status that the backend was told.
    pub told: Option<CallStatus>,
    /// The switchboard has it; before that it waits for the hook `call`.
    pub placed: bool,
    /// The backend took it on `OnCallEvent`; announced again after a resume it is not asked again.
    pub accepted: bool,
    /// What the backend wants the page to be told of it.
    pub overlay: Fields,
}

impl KnownCall {
    pub fn new(object: CallObject) -> KnownCall {
        KnownCall {
            object,
            told: None,
            placed: true,
            accepted: false,
            overlay: Fields::new(),
        }
    }
}

/// On whose behalf a hook is posted.
#[derive(Clone)]
pub(crate) struct Speaker {
    pub app: Arc<App>,
    pub context: Context,
    /// Requests with the same go out one after the other.
    pub home: SessionId,
}

impl Session {
    pub fn new(
        home: SessionId,
        public_id: String,
        origin: Option<String>,
        remote: IpAddr,
    ) -> Session {
        Session {
            home,
            public_id,
            origin,
            remote,
            stage: Stage::New,
            app_key: String::new(),
            app: None,
            counted: false,
            reply: None,
            user: None,
            registration: None,
            backend_knows: false,
            rate: None,
            dropped: 0,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            doing: None,
            lane: VecDeque::new(),
            held: BTreeMap::new(),
            calls: BTreeMap::new(),
            muted: VecDeque::new(),
            requests: BTreeSet::new(),
            notes: 0,
        }
    }

    /// The backend's word, else the application's, else the default.
    pub fn policy(&self, method: HookMethod) -> HookPolicy {
        let said = self.reply.as_ref().and_then(|c| c.methods.get(&method));
        let app = self.app.as_ref();
        said.or_else(|| app.and_then(|app| app.rest_client_config.methods.get(&method)))
            .cloned()
            .unwrap_or_default()
    }

    /// How this hook is to be called, if it is to be called at all.
    pub fn hook(&self, method: HookMethod) -> Option<HookPolicy> {
        let app = self.app.as_ref()?;
        if app.url.is_empty() || !app.methods.contains(&method) {
            return None;
        }
        Some(self.policy(method)).filter(|policy| policy.policy != Policy::Disable)
    }

    pub fn speaker(&self) -> Option<Speaker> {
        Some(Speaker {
            app: self.app.clone()?,
            context: Context {
                node_id: String::new(),
                app_key: self.app_key.clone(),
                session_id: self.public_id.clone(),
                origin: self.origin.clone(),
            },
            home: self.home,
        })
    }

    pub fn know(&mut self, id: &str, call: KnownCall) {
        if self.calls.len() < CALLS || self.calls.contains_key(id) {
            self.calls.insert(id.to_owned(), call);
        }
    }

    pub fn mute(&mut self, id: &str) {
        if self.muted.len() >= MUTED {
            self.muted.pop_front();
        }
        self.muted.push_back(id.to_owned());
    }

    pub fn is_muted(&self, id: &str) -> bool {
        self.muted.iter().any(|muted| muted == id)
    }

    /// The `call` with this id that has not reached the switchboard yet: its hook is out, or it waits for the
    /// frame before it.
    pub fn is_waiting_call(&self, id: &str) -> bool {
        let is_it = |frame: &ClientMessage| is_call(frame, id);
        self.doing.as_ref().is_some_and(|doing| is_it(&doing.frame)) || self.inbox.iter().any(is_it)
    }
}

pub(crate) fn is_call(frame: &ClientMessage, id: &str) -> bool {
    matches!(frame, ClientMessage::Call(call) if call.call_id.as_str() == id)
}
