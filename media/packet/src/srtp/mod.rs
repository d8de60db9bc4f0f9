//! SRTP and SRTCP (RFC 3711, RFC 7714), in place.
//!
//! A [`Context`] holds one direction: one master key, and for each SSRC the rollover counter, the highest
//! sequence number and the window of packets already seen. A packet that fails authentication changes
//! none of it.

mod cipher;
mod context;
mod derive;
mod stream;

pub use context::{Context, Snapshot, StreamSnapshot};
pub use media_control::SrtpProfile as Profile;

/// Room that sealing may need behind a packet: a GCM tag and the SRTCP index.
pub const MAX_TRAILER: usize = 16 + 4;

/// SSRCs that one direction of one leg may carry. A browser sends two to four; a phone that changes its
/// SSRC at every hold adds one each time.
pub const MAX_STREAMS: usize = 64;

/// Why a packet was not opened or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Master key and salt do not have the profile's length.
    KeyLength,
    TooShort,
    /// The buffer has no room for the trailer.
    NoRoom,
    /// The tag is wrong.
    Unauthentic,
    /// Seen before.
    Replayed,
    /// So far behind that nobody can say whether it was seen before.
    TooOld,
    /// SRTCP in the clear, which neither DTLS-SRTP nor SDES permits unless negotiated.
    NotEncrypted,
    /// [`MAX_STREAMS`] are in use.
    TooManyStreams,
    /// 2^48 packets or 2^31 reports under one key (RFC 3711 §9.2).
    Exhausted,
}

/// Length of the profile's master key, in bytes.
pub const fn key_len(profile: Profile) -> usize {
    match profile {
        Profile::AeadAes256Gcm => 32,
        _ => 16,
    }
}

/// Length of the profile's master salt, in bytes: 112 bits for CM, 96 for GCM.
pub const fn salt_len(profile: Profile) -> usize {
    match profile {
        Profile::AesCm128HmacSha1_80 | Profile::AesCm128HmacSha1_32 => 14,
        Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 12,
    }
}

/// Bytes that sealing adds to an RTP packet.
pub const fn rtp_trailer(profile: Profile) -> usize {
    match profile {
        Profile::AesCm128HmacSha1_80 => 10,
        Profile::AesCm128HmacSha1_32 => 4,
        Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
    }
}

/// Bytes that sealing adds to an RTCP packet: its tag, and the index. The 32-bit profile has an 80-bit
/// tag here (RFC 3711 §5.2 in RFC 5764 §4.1.2's words).
pub const fn rtcp_trailer(profile: Profile) -> usize {
    match profile {
        Profile::AesCm128HmacSha1_80 | Profile::AesCm128HmacSha1_32 => 10 + 4,
        Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16 + 4,
    }
}

#[cfg(test)]
mod tests;
