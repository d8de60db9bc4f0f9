//! The browser's side: its one offer and our one answer, or the reverse.

use super::{NegotiationError, codecs, pictures};
use media_control::{
    Direction, DtlsRole, Fingerprint, Format, KeyFrameRequests, LocalTransport, MediaKind, Remote,
    RemoteMedia, RemoteTransport,
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
    /// Its pictures, where it has any that we can carry.
    #[serde(default)]
    pub pictures: Option<BrowserPictures>,
    transport: RemoteTransport,
    mid: Option<String>,
}

/// A browser's m-line of pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrowserPictures {
    /// Index of the m-line.
    pub line: usize,
    pub formats: Vec<Format>,
    /// As the page wrote it.
    pub direction: Direction,
    pub key_frame: KeyFrameRequests,
    mid: Option<String>,
}

impl BrowserDescription {
    /// The words for the media role; `formats` are those of the answer, of sound and of pictures, what we send first.
    pub fn remote(&self, formats: Vec<Format>) -> Remote {
        let (shown, heard): (Vec<Format>, Vec<Format>) =
            formats.into_iter().partition(pictures::is_picture);
        let mut media = vec![RemoteMedia {
            kind: MediaKind::Audio,
            direction: self.direction.reversed(),
            formats: heard,
            ptime_ms: PTIME_MS,
            mid: self.mid.clone(),
            key_frame: KeyFrameRequests::default(),
            inband_dtmf: false,
        }];
        if let Some(pictures) = self.pictures.as_ref().filter(|_| !shown.is_empty()) {
            media.push(RemoteMedia {
                kind: MediaKind::Video,
                direction: pictures.direction.reversed(),
                formats: shown,
                ptime_ms: PTIME_MS,
                mid: pictures.mid.clone(),
                key_frame: pictures.key_frame,
                inband_dtmf: false,
            });
        }
        Remote {
            transport: self.transport.clone(),
            media,
        }
    }
}

/// Reads an offer or an answer of a browser. In an answer `setup` says what the browser is; to an offer we
/// answer passive, so that we are the server in both cases, unless it insists on being that itself.
pub fn read_browser(text: &str) -> Result<BrowserDescription, NegotiationError> {
    let description = parse(text.as_bytes())?;
    let audio = description
        .media
        .iter()
        .position(|m| m.kind == "audio" && m.port != 0)
        .ok_or(NegotiationError::NoAudio)?;
    let media = &description.media[audio];
    if !is_secure_rtp(&media.protocol) {
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
        pictures: read_pictures(&description),
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

fn is_secure_rtp(protocol: &str) -> bool {
    protocol == PROFILE || protocol == "RTP/SAVPF" || protocol == "UDP/TLS/RTP/SAVP"
}

/// The first m-line of pictures, if it is bundled with the sound: there is one transport for both.
fn read_pictures(description: &Description) -> Option<BrowserPictures> {
    let line = description
        .media
        .iter()
        .position(|m| m.kind == "video" && m.port != 0 && is_secure_rtp(&m.protocol))?;
    let media = description.media.get(line)?;
    let mid = attribute::value(&media.attributes, "mid")?;
    let bundled = attribute::values(&description.attributes, "group").any(|group| {
        let mut words = group.split_ascii_whitespace();
        words.next() == Some("BUNDLE") && words.any(|word| word == mid)
    });
    let formats = pictures::formats(media);
    if !bundled || formats.is_empty() {
        return None;
    }
    Some(BrowserPictures {
        line,
        formats,
        direction: direction(attribute::direction(
            &media.attributes,
            &description.attributes,
        )),
        key_frame: pictures::key_frame(media),
        mid: Some(mid.to_owned()),
    })
}

/// Our answer: every m-line of the offer in its place, the ones we do not take refused (protocol §3.5). Pictures that
/// the far end does not have are answered inactive: the page keeps its own, and nothing is sent.
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
    let (shown, heard): (Vec<Format>, Vec<Format>) =
        formats.iter().cloned().partition(pictures::is_picture);
    let mut media = Vec::with_capacity(read.media.len());
    let mut mids = vec![offer.mid.as_deref()];
    for (index, theirs) in read.media.iter().enumerate() {
        let pictures = offer.pictures.as_ref().filter(|p| p.line == index);
        if index == offer.audio {
            media.push(media_line(
                local,
                &heard,
                MediaKind::Audio,
                &Line {
                    setup,
                    direction: offer.direction.reversed(),
                    mid: offer.mid.as_deref(),
                    narrow,
                    key_frame: KeyFrameRequests::default(),
                },
            )?);
        } else if let Some(pictures) = pictures {
            let agreed = !shown.is_empty();
            mids.push(pictures.mid.as_deref());
            media.push(media_line(
                local,
                if agreed { &shown } else { &pictures.formats },
                MediaKind::Video,
                &Line {
                    setup,
                    direction: if agreed {
                        pictures.direction.reversed()
                    } else {
                        Direction::Inactive
                    },
                    mid: pictures.mid.as_deref(),
                    narrow: None,
                    key_frame: pictures.key_frame,
                },
            )?);
        } else {
            media.push(theirs.refused());
        }
    }
    Ok(description(local, media, &mids, session_id)?.to_string())
}

/// Our offer for an incoming call (protocol §3.5, last paragraph).
pub fn offer_browser(
    local: &LocalTransport,
    formats: &[Format],
    session_id: u64,
) -> Result<String, NegotiationError> {
    let (shown, heard): (Vec<Format>, Vec<Format>) =
        formats.iter().cloned().partition(pictures::is_picture);
    let line = |mid: &'static str, key_frame: KeyFrameRequests| Line {
        setup: Setup::ActPass,
        direction: Direction::SendRecv,
        mid: Some(mid),
        narrow: None,
        key_frame,
    };
    let mut mids = vec![Some("0")];
    let none = KeyFrameRequests::default();
    let mut media = vec![media_line(
        local,
        &heard,
        MediaKind::Audio,
        &line("0", none),
    )?];
    if !shown.is_empty() {
        let both = KeyFrameRequests {
            pli: true,
            fir: true,
        };
        mids.push(Some("1"));
        media.push(media_line(
            local,
            &shown,
            MediaKind::Video,
            &line("1", both),
        )?);
    }
    Ok(description(local, media, &mids, session_id)?.to_string())
}

fn description(
    local: &LocalTransport,
    media: Vec<Media>,
    mids: &[Option<&str>],
    session_id: u64,
) -> Result<Description, NegotiationError> {
    let mut attributes = vec![Attribute::flag("ice-lite")];
    let mids: Vec<&str> = mids.iter().flatten().copied().collect();
    if !mids.is_empty() {
        attributes.push(Attribute::new(
            "group",
            format!("BUNDLE {}", mids.join(" ")),
        ));
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

/// What is to be said of an m-line beside its formats.
struct Line<'a> {
    setup: Setup,
    direction: Direction,
    mid: Option<&'a str>,
    narrow: Option<u32>,
    key_frame: KeyFrameRequests,
}

fn media_line(
    local: &LocalTransport,
    formats: &[Format],
    kind: MediaKind,
    line: &Line<'_>,
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
    if let Some(mid) = line.mid {
        attributes.push(Attribute::new("mid", mid));
    }
    let print = attribute::Fingerprint {
        hash: fingerprint.hash.clone(),
        digest: fingerprint.digest.clone(),
    };
    attributes.extend([
        Attribute::flag(direction_name(line.direction)),
        Attribute::new("setup", line.setup.name()),
        Attribute::new("ice-ufrag", ufrag.clone()),
        Attribute::new("ice-pwd", pwd.clone()),
        Attribute::new("fingerprint", print.to_string()),
    ]);
    super::sip_write::format_lines(&mut attributes, formats, line.narrow);
    pictures::feedback_lines(&mut attributes, line.key_frame);
    if kind == MediaKind::Audio {
        attributes.push(Attribute::new("ptime", PTIME_MS.to_string()));
    }
    for (index, candidate) in candidates.iter().enumerate() {
        let line = Candidate {
            foundation: u32::try_from(index).unwrap_or(0) + 1,
            component: 1,
            tcp_passive: candidate.tcp,
            priority: candidate.priority,
            address: candidate.address,
        };
        attributes.push(Attribute::new("candidate", line.to_string()));
    }
    attributes.push(Attribute::flag("end-of-candidates"));
    Ok(Media {
        kind: kind_name(kind).to_owned(),
        port,
        protocol: PROFILE.to_owned(),
        formats: formats.iter().map(|f| f.receive_pt.to_string()).collect(),
        connection: Some(Connection::Address(ip)),
        bandwidth: Vec::new(),
        attributes,
    })
}

pub(super) fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
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
