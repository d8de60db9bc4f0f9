use crate::Format;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Which of the node's addresses a leg uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Face {
    /// Towards browsers.
    Outside,
    /// Towards SIP peers.
    Inside,
}

/// A leg's own end, as its description tells it to the peer.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum LocalTransport {
    WebRtc {
        ufrag: String,
        pwd: String,
        /// SHA-256 of the cluster's certificate.
        fingerprint: Fingerprint,
        candidates: Vec<Candidate>,
    },
    /// `rtp` is one address for each of the face's addresses, the first being preferred; RTCP is the next
    /// port unless muxed (RFC 5761).
    Rtp {
        rtp: Vec<SocketAddr>,
        #[serde(default)]
        sdes: Vec<SdesKey>,
        /// A port pair of its own for pictures, where the leg was made with one.
        #[serde(default)]
        video: Vec<SocketAddr>,
        /// Where the leg was made to do ICE.
        #[serde(default)]
        ice: Option<IceCredentials>,
    },
    Source,
}

/// Without the ICE password; keys of `sdes` hide themselves.
impl std::fmt::Debug for LocalTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LocalTransport::WebRtc {
                ufrag,
                pwd: _,
                fingerprint,
                candidates,
            } => f
                .debug_struct("WebRtc")
                .field("ufrag", ufrag)
                .field("fingerprint", fingerprint)
                .field("candidates", candidates)
                .finish_non_exhaustive(),
            LocalTransport::Rtp {
                rtp,
                sdes,
                video,
                ice,
            } => f
                .debug_struct("Rtp")
                .field("rtp", rtp)
                .field("sdes", sdes)
                .field("video", video)
                .field("ice", ice)
                .finish(),
            LocalTransport::Source => f.write_str("Source"),
        }
    }
}

/// An ICE host candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub address: SocketAddr,
    /// `false`: UDP. `true`: TCP passive (RFC 6544).
    #[serde(default)]
    pub tcp: bool,
    pub priority: u32,
}

/// `a=fingerprint`: hash name in lower case as registered ("sha-256"), and the digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub hash: String,
    pub digest: Vec<u8>,
}

/// The peer's end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remote {
    pub transport: RemoteTransport,
    /// In the order of the description's m-lines; refused ones are left out.
    pub media: Vec<RemoteMedia>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum RemoteTransport {
    WebRtc {
        ufrag: String,
        pwd: String,
        /// One of them must match.
        fingerprints: Vec<Fingerprint>,
        /// The role we play.
        dtls: DtlsRole,
    },
    Rtp {
        /// `None`: the peer gave no usable address (0.0.0.0 of an old hold); nothing is sent.
        rtp: Option<SocketAddr>,
        /// `None`: `rtp`'s port plus one. Equal to `rtp`: muxed.
        rtcp: Option<SocketAddr>,
        /// Address the peer's SIP came from.
        signalling: IpAddr,
        /// Keys to open what comes in and to close what goes out; both or neither.
        #[serde(default)]
        sdes: Option<(SdesKey, SdesKey)>,
        /// Where its pictures come from and go to; `None` where there are none.
        #[serde(default)]
        video: Option<Box<VideoAddresses>>,
        /// It does ICE for its sound: who checks with these is heard, and the address that it nominates is sent to.
        #[serde(default)]
        ice: Option<Box<IceCredentials>>,
    },
}

/// The ICE password is a key: whoever reads it in a log can answer checks. Keys of `sdes` hide themselves.
impl std::fmt::Debug for RemoteTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RemoteTransport::WebRtc {
                ufrag,
                pwd: _,
                fingerprints,
                dtls,
            } => f
                .debug_struct("WebRtc")
                .field("ufrag", ufrag)
                .field("fingerprints", fingerprints)
                .field("dtls", dtls)
                .finish_non_exhaustive(),
            RemoteTransport::Rtp {
                rtp,
                rtcp,
                signalling,
                sdes,
                video,
                ice,
            } => f
                .debug_struct("Rtp")
                .field("rtp", rtp)
                .field("rtcp", rtcp)
                .field("signalling", signalling)
                .field("sdes", sdes)
                .field("video", video)
                .field("ice", ice)
                .finish(),
        }
    }
}

/// A short-term credential (RFC 8445 §5.3). The password is a secret (`Debug` leaves it out).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IceCredentials {{ ufrag: {}, … }}", self.ufrag)
    }
}

/// The peer's end of a second m-line. The same rules as for sound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoAddresses {
    pub rtp: Option<SocketAddr>,
    pub rtcp: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DtlsRole {
    /// We send the ClientHello.
    Active,
    Passive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MediaKind {
    Audio,
    Video,
}

/// One negotiated m-line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteMedia {
    pub kind: MediaKind,
    /// As we see it: `SendOnly` means that we send and the peer listens.
    pub direction: Direction,
    /// The first speech or picture codec is the one we send; all may arrive.
    pub formats: Vec<Format>,
    /// Packet length we send, in milliseconds (10 to 60).
    pub ptime_ms: u32,
    #[serde(default)]
    pub mid: Option<String>,
    /// How the peer takes requests for a whole picture (RFC 4585 `nack pli`, RFC 5104 `ccm fir`). Neither: only
    /// signalling can ask it.
    #[serde(default)]
    pub key_frame: KeyFrameRequests,
    /// The peer has no telephone-event: digits travel as tones, heard and made by us, and the sound is decoded for it.
    #[serde(default)]
    pub inband_dtmf: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyFrameRequests {
    pub pli: bool,
    pub fir: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The same m-line seen from the other end.
    pub fn reversed(self) -> Direction {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            both => both,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SrtpProfile {
    /// AES_CM_128_HMAC_SHA1_80 (RFC 3711).
    AesCm128HmacSha1_80,
    /// AES_CM_128_HMAC_SHA1_32.
    AesCm128HmacSha1_32,
    /// AEAD_AES_128_GCM (RFC 7714).
    AeadAes128Gcm,
    /// AEAD_AES_256_GCM.
    AeadAes256Gcm,
}

/// A key of `a=crypto` (RFC 4568): master key followed by master salt. Never in a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SdesKey {
    pub tag: u32,
    pub profile: SrtpProfile,
    pub key_and_salt: Vec<u8>,
}

impl std::fmt::Debug for SdesKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "SdesKey {{ tag: {}, profile: {:?}, … }}",
            self.tag, self.profile
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_a_description_is_not_shown() {
        let key = SdesKey {
            tag: 1,
            profile: SrtpProfile::AesCm128HmacSha1_80,
            key_and_salt: vec![77; 30],
        };
        let remote = RemoteTransport::WebRtc {
            ufrag: "ufrag".into(),
            pwd: "the-secret".into(),
            fingerprints: Vec::new(),
            dtls: DtlsRole::Active,
        };
        let keyed = RemoteTransport::Rtp {
            rtp: None,
            rtcp: None,
            signalling: [192, 0, 2, 1].into(),
            sdes: Some((key.clone(), key.clone())),
            video: None,
            ice: None,
        };
        let local = LocalTransport::WebRtc {
            ufrag: "ufrag".into(),
            pwd: "the-secret".into(),
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                digest: Vec::new(),
            },
            candidates: Vec::new(),
        };
        let own = LocalTransport::Rtp {
            rtp: Vec::new(),
            sdes: vec![key],
            video: Vec::new(),
            ice: None,
        };
        let shown = format!("{remote:?} {keyed:?} {local:?} {own:?}");
        assert!(shown.contains("ufrag"));
        assert!(
            !shown.contains("the-secret") && !shown.contains("77"),
            "{shown}"
        );
    }
}
