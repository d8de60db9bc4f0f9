use serde::{Deserialize, Serialize};

/// The record of one leg, from its making to now. Counts are packets unless the name says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LegStats {
    pub received: u64,
    pub received_bytes: u64,
    pub sent: u64,
    pub sent_bytes: u64,
    /// Sequence numbers of the peer's streams that never came.
    pub lost: u64,
    /// Interarrival jitter (RFC 3550 §6.4.1), milliseconds.
    pub jitter_ms: f32,
    /// Round trip by the peer's RTCP, milliseconds; 0 until known.
    pub round_trip_ms: f32,
    /// The longest time without an RTP packet after the first one, milliseconds.
    pub longest_gap_ms: u32,
    /// Dropped for a bad SRTP tag or a replay.
    pub unauthentic: u64,
    /// Dropped because they came from an address that was not signalled.
    pub strangers: u64,
    /// Frames made up by concealment.
    pub concealed: u64,
    /// "relayed", "transcoded" or "" while nothing flowed.
    pub road: String,
    /// What arrives and what leaves, by codec name.
    pub receiving: String,
    pub sending: String,
    /// SRTP profile name, "" for plain RTP.
    pub srtp: String,
}

/// What a node carries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    pub workers: u32,
    pub groups: u32,
    pub legs: u32,
    /// Busiest worker's share of its core, 0 to 1.
    pub busiest: f32,
    pub draining: bool,
    pub received: u64,
    pub sent: u64,
    pub strangers: u64,
    pub unauthentic: u64,
}
