//! What goes into the switchboard and what comes out.

use crate::dtmf::InbandDtmf;
use crate::negotiate::codecs::CodecPolicy;
use crate::record::CallRecord;
use media_control as media;
use serde::{Deserialize, Serialize};
use signaling_plan::Plan;
use signaling_protocol::{ClientMessage, HookMessage, ServerMessage};
use signaling_trunk::api as trunk;
use std::net::SocketAddr;

/// One browser connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// Settings of the switchboard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    pub codec_policy: CodecPolicy,
    #[serde(default)]
    pub inband_dtmf: InbandDtmf,
    /// Sessions at once; one more is closed.
    pub max_sessions: usize,
    /// Calls at once; one more gets 503.
    pub max_calls: usize,
    /// New calls per second, of pages and lines together; one more gets 503. 0: no limit.
    #[serde(default)]
    pub calls_per_second: u32,
    /// Calls for help that are taken beyond `max_calls`.
    #[serde(default)]
    pub emergency_reserve: usize,
    pub max_echo_calls: usize,
    pub max_echo_seconds: u32,
    /// appKeys that a page may name; none is `defaultApp`.
    pub apps: Vec<String>,
    /// What `getVersion` tells.
    pub version: String,
    /// What a page hears of a call that rings without any sound from the PBX.
    pub ringback: Ringback,
    /// A REFER of the far side is followed; else it gets 603.
    pub follow_refer: bool,
    /// 486 and 600 are told as FAILED, for pages that know no BUSY (protocol §2.6).
    pub busy_as_failed: bool,
    /// A hold by the far side is told as HOLD (protocol §2.7); else pages see only their own.
    pub tell_hold_by_peer: bool,
    /// Header fields that a page may add to an INVITE, beside those that begin with `X-`.
    pub page_headers: Vec<String>,
    /// Header fields that pass from line to line, beside `Identity` and its `Date`.
    #[serde(default)]
    pub bridge_headers: Vec<String>,
    /// A registration that fails closes its page's socket, so that the page shows DISCONNECTED (protocol §2.3).
    pub close_on_registration_failure: bool,
    /// First of the numbers for calls, legs and invites. Drawn anew at each start, so that a media node which
    /// still holds legs of a process before never takes them for ours.
    pub first_number: u64,
}

/// Whose ringback tone is played where the PBX sends none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ringback {
    #[default]
    Off,
    /// Most of Europe: 425 Hz, 1 s on, 4 s off.
    Eu,
    /// North America: 440 and 480 Hz, 2 s on, 4 s off.
    Us,
    /// 400 and 450 Hz, 0.4 s on, 0.2 s off, 0.4 s on, 2 s off.
    Gb,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            codec_policy: CodecPolicy::Relay,
            inband_dtmf: InbandDtmf::Auto,
            max_sessions: 20_000,
            max_calls: 5_000,
            calls_per_second: 0,
            emergency_reserve: 20,
            max_echo_calls: 20,
            max_echo_seconds: 300,
            apps: vec!["defaultApp".to_owned(), "clickToCallApp".to_owned()],
            version: "trunkgate".to_owned(),
            ringback: Ringback::Off,
            follow_refer: true,
            busy_as_failed: false,
            tell_hold_by_peer: true,
            page_headers: Vec::new(),
            bridge_headers: Vec::new(),
            close_on_registration_failure: true,
            first_number: 1,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Input {
    /// A socket is open. `token` is the secret that may resume this session later: at least 128 random bits,
    /// never derived from anything else.
    SessionOpened {
        session: SessionId,
        remote: SocketAddr,
        token: String,
    },
    Frame {
        session: SessionId,
        message: ClientMessage,
    },
    /// A frame that could not be read; `error` names fields, never values.
    Unreadable {
        session: SessionId,
        error: String,
    },
    SessionClosed {
        session: SessionId,
    },

    /// The application's backend does not want this incoming call: SIP `status` to the caller, `finish` FAILED with
    /// `info` to the page if it was told of it.
    RefuseCall {
        session: SessionId,
        call_id: String,
        status: u16,
        info: String,
    },

    /// The dial plan as it is from now on; calls that go on are not touched.
    Plan(Box<Plan>),

    Trunk(trunk::Event),
    TrunkLink(Link),
    Media(media::Event),
    MediaLink(Link),

    /// The process is to end: calls are hung up, accounts un-registered, sessions closed.
    Shutdown,
}

/// What a link tells of the role at its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is there. `fresh`: it is a new process, or it has dropped what it held of ours.
    Up { fresh: bool },
    /// Not reachable now; what was said waits, and may yet arrive.
    Down,
    /// Not back within the grace: what it held is gone.
    Lost,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Said also for a session that waits for its page to come back: the backend hears it, the socket is gone.
    Send {
        session: SessionId,
        message: ServerMessage,
    },
    /// What only the application's backend is told.
    Hook {
        session: SessionId,
        message: Box<HookMessage>,
    },
    /// A page came back with its token: what was `from`'s is `to`'s now.
    Moved {
        from: SessionId,
        to: SessionId,
    },
    /// Nothing more will be said of this session.
    Over {
        session: SessionId,
    },
    /// After what was sent before it has left.
    Close {
        session: SessionId,
    },
    /// Commands with the same key are carried out in order.
    Trunk {
        key: u64,
        command: trunk::Command,
    },
    Media {
        key: u64,
        command: media::Command,
    },
    Record(Box<CallRecord>),
}
