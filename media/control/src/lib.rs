//! The words the media role understands: [`Command`] in, [`Event`] out, and the plain data they carry.
//!
//! Media knows legs and joins, not calls, and never sees SDP: whoever speaks SDP turns it into
//! addresses, keys and payload types first. Everything here travels over the link as CBOR maps, so
//! fields may be added (with `#[serde(default)]`) and an older peer survives variants it does not know.

mod codec;
mod description;
mod ids;
pub mod picture;
mod stats;

pub use codec::{Codec, Format};
pub use description::{
    Candidate, Direction, DtlsRole, Face, Fingerprint, IceCredentials, KeyFrameRequests,
    LocalTransport, MediaKind, Remote, RemoteMedia, RemoteTransport, SdesKey, SrtpProfile,
    VideoAddresses,
};
pub use ids::{GroupId, LegId};
pub use stats::{LegStats, Load};

use serde::{Deserialize, Serialize};

/// What the media role may be asked to do.
///
/// Commands about one group are carried out in order. Repeating one is harmless: a `CreateLeg` for a
/// leg that exists answers with the same `LegCreated`, the others say what is already so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Makes a leg on the worker of `group` (the group is placed with its first leg). Answered by
    /// [`Event::LegCreated`] or [`Event::LegFailed`].
    CreateLeg {
        leg: LegId,
        group: GroupId,
        spec: LegSpec,
    },
    /// Gives a leg its remote description, or a new one. For a browser leg this happens once; for a SIP
    /// leg as often as the dialog negotiates. A new SIP remote loosens the latch (a re-INVITE may move
    /// the peer); the outgoing SSRC, sequence and timestamp go on.
    ConnectLeg { leg: LegId, remote: Remote },
    /// What `a` receives flows out of `b` and the reverse. A leg has one join; a second one parts the first.
    /// Joining a leg with itself is refused; an echo is a [`LegSpec::Source`] leg.
    Join { a: LegId, b: LegId },
    /// Ends a join; both legs stay, and send nothing of the other's.
    Part { a: LegId, b: LegId },
    /// Ends a leg and frees its ports and buffers. Answered by [`Event::LegClosed`].
    CloseLeg { leg: LegId },
    /// Sends DTMF digits (`0-9*#A-D`) as telephone-event out of `leg`, one after the other.
    SendDigits {
        leg: LegId,
        digits: String,
        duration_ms: u32,
    },
    /// Asks the peer of `leg` for a whole picture, by PLI or FIR as it takes them, not more often than once in 500 ms.
    RequestKeyFrame { leg: LegId },
    /// Closes every leg whose group is not listed: said once after the link came back.
    Retain { groups: Vec<GroupId> },
}

/// What the media role tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A leg exists and receives: this is what its description may say.
    LegCreated { leg: LegId, local: LocalTransport },
    /// A leg cannot be made or cannot go on; it is gone.
    LegFailed { leg: LegId, reason: LegFailure },
    /// ICE and DTLS of a browser leg are up. For a SIP leg: its remote is known and may be sent to.
    LegConnected { leg: LegId },
    /// The first RTP packet of a leg arrived (and, where SRTP is used, was authentic).
    MediaStarted { leg: LegId },
    /// Nothing arrived on a leg for this long, though its direction says that something should. Told at
    /// 10, 30 and 60 s.
    MediaSilent { leg: LegId, seconds: u32 },
    /// A telephone-event digit came in on `leg` (and was passed on to the joined leg).
    Digit {
        leg: LegId,
        digit: char,
        duration_ms: u32,
    },
    /// Somebody at the other end of the join wants a whole picture from the peer of `leg`, which takes no such RTCP:
    /// signalling may ask it. Not more often than once a second.
    KeyFrameWanted { leg: LegId },
    /// A leg ended as asked, with its record.
    LegClosed { leg: LegId, stats: LegStats },
    /// What the node carries, once a second while anything changes, and at connection.
    Load(Load),
}

/// Why a leg could not be made, or ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LegFailure {
    /// No free port, or the node is full for this kind of leg.
    NoResources,
    /// The node is draining and takes no new groups.
    Draining,
    /// No valid connectivity check within 10 s of the remote description.
    IceTimeout,
    /// Consent was lost: 30 s without an authenticated STUN request (RFC 7675).
    ConsentLost,
    DtlsFailed,
    /// The peer's certificate does not match the fingerprint of its description.
    FingerprintMismatch,
    /// The legs joined have nothing in common and cannot be transcoded.
    NoCommonCodec,
    /// A description the engine cannot serve, told for the log.
    Unsupported(String),
    /// The worker that carried the leg was lost.
    WorkerLost,
}

/// What kind of leg to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LegSpec {
    /// A browser: ICE-lite, DTLS-SRTP, everything muxed on the worker's one port.
    WebRtc { face: Face },
    /// A SIP peer: a port pair of its own. `sdes` lets it offer SRTP keyed by SDP (RFC 4568).
    Rtp {
        face: Face,
        sdes: bool,
        /// With a second port pair for pictures.
        #[serde(default)]
        video: bool,
        /// Answers the connectivity checks of a peer that does ICE for its sound (RFC 8445; we are lite).
        #[serde(default)]
        ice: bool,
    },
    /// One of our own.
    Source(Source),
}

/// A leg that needs no peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// Sends back whatever the joined leg sends, in the same codec.
    Echo,
    /// A sine of `hz` at `dbm0` decibels, in whatever codec the joined leg takes.
    Tone {
        hz: f32,
        dbm0: f32,
    },
    Silence,
    /// The ringback tone of a country: `tones` hertz together for each `on_off_ms` pair in turn, at `dbm0`.
    Ringback {
        tones_hz: Vec<f32>,
        on_off_ms: Vec<(u32, u32)>,
        dbm0: f32,
    },
}

impl LegFailure {
    /// The `info` a page is shown for this failure of a call (protocol: CALL_STATUS_INFO).
    pub fn call_info(&self) -> &'static str {
        match self {
            LegFailure::IceTimeout | LegFailure::ConsentLost => "Failed by ICE error",
            LegFailure::DtlsFailed => "Failed by DTLS error",
            LegFailure::FingerprintMismatch => "Failed by DTLS fingerprint error",
            LegFailure::NoCommonCodec => "No common codecs",
            LegFailure::NoResources
            | LegFailure::Draining
            | LegFailure::Unsupported(_)
            | LegFailure::WorkerLost => "Failed by session creation",
        }
    }
}
