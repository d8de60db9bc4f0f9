//! What goes into the desk and what comes out.

use crate::app::{App, Apps, RawSip};
use crate::limits;
use signaling_calls as calls;
use signaling_calls::SessionId;
use signaling_protocol::{HookMethod, ServerMessage};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What the operator says of all applications.
#[derive(Clone, Debug)]
pub struct Settings {
    /// 32 alphanumerics, `@`, our address (protocol §1.9).
    pub node_id: String,
    /// How much of a SIP message pages and backends are told, where an application says nothing else.
    pub sip_message_raw: RawSip,
    /// An answer that has not come by then is taken for lost: longer than whoever posts ever needs.
    pub lost_after: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            node_id: String::new(),
            sip_message_raw: RawSip::default(),
            lost_after: limits::ANSWER,
        }
    }
}

impl From<String> for Settings {
    fn from(node_id: String) -> Settings {
        Settings {
            node_id,
            ..Settings::default()
        }
    }
}

/// Numbers a request to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

#[derive(Clone, Debug)]
pub enum Input {
    /// A socket is open. `token` as for the calls; `unique`: a random text of its own for the session's public id,
    /// never the token.
    SessionOpened {
        session: SessionId,
        remote: SocketAddr,
        local: SocketAddr,
        token: String,
        unique: String,
        origin: Option<String>,
    },
    /// What became of a request.
    Answered {
        request: RequestId,
        outcome: HookOutcome,
    },
    /// The applications as they are from now on. Sessions of one that is gone keep the hooks that it
    /// had.
    Apps(Apps),
    /// Everything else goes to the switchboard, frames through the hooks first.
    Calls(calls::Input),
}

#[derive(Clone, Debug)]
pub enum Output {
    /// `without`: fields that the application wants kept from the page.
    Send {
        session: SessionId,
        message: ServerMessage,
        without: Vec<String>,
    },
    /// To be posted, requests of one session one after the other. Answered once, whatever becomes of it.
    Request(Box<Request>),
    /// Any other output of the switchboard (never its `Send`, `Hook`, `Moved` or `Over`).
    Calls(calls::Output),
}

/// A hook on its way to a backend.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: RequestId,
    /// The number that the session had when it first connected: a resumed one keeps it.
    pub session: SessionId,
    pub method: HookMethod,
    pub app: Arc<App>,
    /// The body, secrets in it only if `with_password`.
    pub body: String,
    /// The body holds a SIP password: to https, loopback or an application that opted in; else the shell must not send it.
    pub with_password: bool,
    /// Something waits for the answer. Others may be dropped, oldest first, when a backend is too slow.
    pub awaited: bool,
}

/// What a backend said.
#[derive(Clone, Debug, PartialEq)]
pub enum HookOutcome {
    /// Any 2xx.
    Accepted { body: String },
    /// Any other status.
    Refused {
        status: u16,
        reason: String,
        body: String,
    },
    /// No connection, time-out, queue full, breaker open; a sentence for the log, without URL credentials.
    Unreachable { why: String },
}
