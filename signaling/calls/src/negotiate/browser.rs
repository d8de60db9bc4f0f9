//! The browser's side: its one offer and our one answer, or the reverse.

use super::{NegotiationError, codecs};
use media_control::{
    Direction, DtlsRole, Fingerprint, Format, LocalTransport, MediaKind, Remote, RemoteMedia,
    RemoteTransport,
};
use serde::{Deserialize, Serialize};
use signaling_sdp::attribute::{self, Candidate, Setup};
use signaling_sdp::{Attribute, Connection, Description, Media, Origin, parse};
use std::net::{IpAddr, Ipv4Addr};

const PROFILE: &str = "UDP/TLS/RTP/SAVPF";
/// Packet length towards browsers, milliseconds.
const PTIME_MS: u32 = 20;

/// What a browser's description says, once read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrowserDescription {
    /// The text as received: an answer must repeat its m-lines in their order.
    pub text: String,
    /// Index of the m-line that carries the call's sound.
    pub audio: usize,
    pub formats: Vec<Format>,
    pub direction: Direction,
    pub has_video: bool,
    transport: RemoteTransport,
    mid: Option<String>,
}

impl BrowserDescription {
    /// The words for the media role; `formats` are those of the answer, what we send first.
    pub fn remote(&self, formats: Vec<Format>) -> Remote {
        Remote {
            transport: self.transport.clone(),
            media: vec![RemoteMedia {
                kind: MediaKind::Audio,
                direction: self.direction.reversed(),
                formats,
                ptime_ms: PTIME_MS,
                mid: self.mid.clone(),
                key_frame: media_control::KeyFrameRequests::default(),
                inband_dtmf: false,
            }],
        }
    }
}

/// Reads an offer or an answer of a browser. In an answer `setup` says what the browser is; to an offer we
/// answer passive, so that we are the server in both cases, unless it insists on being that itself.
pub fn read_browser(text: &str) -> Result<BrowserDescription, NegotiationError> {
    let description = parse(text.as_bytes())?;
    let live = |m: &&Media| m.port != 0;
    let audio = description
        .media
        .iter()
        .position(|m| m.kind == "audio" && m.port != 0)
        .ok_or(NegotiationError::NoAudio)?;
    let media = &description.media[audio];
    if media.protocol != PROFILE
        && media.protocol != "RTP/SAVPF"
        && media.protocol != "UDP/TLS/RTP/SAVP"
    {
        return Err(NegotiationError::Profile(media.protocol.clone()));
    }
    let either = |name: &str| {
        attribute::value(&media.attributes, name)
            .or_else(|| attribute::value(&description.attributes, name))
    };
    let missing = NegotiationError::Incomplete;
    let ufrag = either("ice-ufrag")
        .filter(|v| (4..=256).contains(&v.len()))
        .ok_or(missing("ice-ufrag"))?;
    let pwd = either("ice-pwd")
        .filter(|v| (22..=256).contains(&v.len()))
        .ok_or(missing("ice-pwd"))?;
    let fingerprints: Vec<Fingerprint> = attribute::values(&media.attributes, "fingerprint")
        .chain(attribute::values(&description.attributes, "fingerprint"))
        .filter_map(attribute::Fingerprint::parse)
        .map(|f| Fingerprint {
            hash: f.hash,
            digest: f.digest,
        })
        .take(8)
        .collect();
    if fingerprints.is_empty() {
        return Err(missing("fingerprint"));
    }
    let setup = either("setup")
        .and_then(Setup::parse)
        .unwrap_or(Setup::ActPass);
    let formats = codecs::formats(media);
    if codecs::speech(&formats).is_none() {
        return Err(NegotiationError::NoCommonCodec);
    }
    Ok(BrowserDescription {
        text: text.to_owned(),
        audio,
        formats,
        direction: direction(attribute::direction(
            &media.attributes,
            &description.attributes,
        )),
        has_video: description
            .media
            .iter()
            .filter(live)
            .any(|m| m.kind == "video"),
        transport: RemoteTransport::WebRtc {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
            fingerprints,
            dtls: if setup == Setup::Passive {
                DtlsRole::Active
            } else {
                DtlsRole::Passive
            },
        },
        mid: attribute::value(&media.attributes, "mid").map(str::to_owned),
    })
}

/// Our answer: every m-line of the offer in its place, the ones we do not take refused (protocol §3.5).
/// `narrow`: the highest audio bandwidth worth sending, in Hz, where the far end has less than Opus.
pub fn answer_browser(
    offer: &BrowserDescription,
    local: &LocalTransport,
    formats: &[Format],
    narrow: Option<u32>,
    session_id: u64,
) -> Result<String, NegotiationError> {
    let read = parse(offer.text.as_bytes())?;
    let dtls = match &offer.transport {
        RemoteTransport::WebRtc { dtls, .. } => *dtls,
        RemoteTransport::Rtp { .. } => DtlsRole::Passive,
    };
    let setup = if dtls == DtlsRole::Active {
        Setup::Active
    } else {
        Setup::Passive
    };
    let mut media = Vec::with_capacity(read.media.len());
    for (index, theirs) in read.media.iter().enumerate() {
        if index == offer.audio {
            let ours = offer.direction.reversed();
            media.push(audio_line(
                local,
                formats,
                narrow,
                setup,
                ours,
                offer.mid.as_deref(),
            )?);
        } else {
            media.push(theirs.refused());
        }
    }
    Ok(description(local, media, offer.mid.as_deref(), session_id)?.to_string())
}

/// Our offer for an incoming call (protocol §3.5, last paragraph).
pub fn offer_browser(
    local: &LocalTransport,
    formats: &[Format],
    session_id: u64,
) -> Result<String, NegotiationError> {
    let audio = audio_line(
        local,
        formats,
        None,
        Setup::ActPass,
        Direction::SendRecv,
        Some("0"),
    )?;
    Ok(description(local, vec![audio], Some("0"), session_id)?.to_string())
}

fn description(
    local: &LocalTransport,
    media: Vec<Media>,
    mid: Option<&str>,
    session_id: u64,
) -> Result<Description, NegotiationError> {
    let mut attributes = vec![Attribute::flag("ice-lite")];
    if let Some(mid) = mid {
        attributes.push(Attribute::new("group", format!("BUNDLE {mid}")));
    }
    Ok(Description {
        origin: Origin {
            username: "-".to_owned(),
            session_id,
            version: 1,
            address: address(local)?.0,
        },
        name: "-".to_owned(),
        connection: None,
        bandwidth: Vec::new(),
        attributes,
        media,
    })
}

/// The default address of the description, which nobody reads when ICE is used (RFC 8839 §4.2.1).
fn address(local: &LocalTransport) -> Result<(IpAddr, u16), NegotiationError> {
    match local {
        LocalTransport::WebRtc { candidates, .. } => Ok(candidates
            .iter()
            .find(|c| !c.tcp)
            .map_or((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9), |c| {
                (c.address.ip(), c.address.port())
            })),
        _ => Err(NegotiationError::Incomplete("browser transport of our own")),
    }
}

fn audio_line(
    local: &LocalTransport,
    formats: &[Format],
    narrow: Option<u32>,
    setup: Setup,
    direction: Direction,
    mid: Option<&str>,
) -> Result<Media, NegotiationError> {
    let LocalTransport::WebRtc {
        ufrag,
        pwd,
        fingerprint,
        candidates,
    } = local
    else {
        return Err(NegotiationError::Incomplete("browser transport of our own"));
    };
    let (ip, port) = address(local)?;
    let mut attributes = vec![Attribute::flag("rtcp-mux")];
    if let Some(mid) = mid {
        attributes.push(Attribute::new("mid", mid));
    }
    let print = attribute::Fingerprint {
        hash: fingerprint.hash.clone(),
        digest: fingerprint.digest.clone(),
    };
    attributes.extend([
        Attribute::flag(direction_name(direction)),
        Attribute::new("setup", setup.name()),
        Attribute::new("ice-ufrag", ufrag.clone()),
        Attribute::new("ice-pwd", pwd.clone()),
        Attribute::new("fingerprint", print.to_string()),
    ]);
    super::sip::format_lines(&mut attributes, formats, narrow);
    attributes.push(Attribute::new("ptime", PTIME_MS.to_string()));
    for (index, candidate) in candidates.iter().enumerate() {
        let line = Candidate {
            foundation: u32::try_from(index).unwrap_or(0) + 1,
            tcp_passive: candidate.tcp,
            priority: candidate.priority,
            address: candidate.address,
        };
        attributes.push(Attribute::new("candidate", line.to_string()));
    }
    attributes.push(Attribute::flag("end-of-candidates"));
    Ok(Media {
        kind: "audio".to_owned(),
        port,
        protocol: PROFILE.to_owned(),
        formats: formats.iter().map(|f| f.receive_pt.to_string()).collect(),
        connection: Some(Connection::Address(ip)),
        bandwidth: Vec::new(),
        attributes,
    })
}

pub(super) fn direction(read: attribute::Direction) -> Direction {
    match read {
        attribute::Direction::SendRecv => Direction::SendRecv,
        attribute::Direction::SendOnly => Direction::SendOnly,
        attribute::Direction::RecvOnly => Direction::RecvOnly,
        attribute::Direction::Inactive => Direction::Inactive,
    }
}

pub(super) fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}
