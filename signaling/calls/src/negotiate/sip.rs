//! The SIP side: plain RTP/AVP, offered and answered as often as the dialog likes.

use super::browser::{direction, direction_name, kind_name};
use super::{NegotiationError, codecs, pictures};
use media_control::{
    Direction, Format, KeyFrameRequests, MediaKind, Remote, RemoteMedia, RemoteTransport,
    VideoAddresses,
};
use serde::{Deserialize, Serialize};
use signaling_sdp::attribute;
use signaling_sdp::{Attribute, Connection, Description, Media, Origin, parse};
use signaling_trunk::allowed::is_never;
use std::net::{IpAddr, SocketAddr};

/// Shortest and longest packets we send, milliseconds.
const PTIME_MS: std::ops::RangeInclusive<u32> = 10..=60;

/// Our end of a SIP leg's description, which keeps its origin through the dialog (RFC 3264 §8).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SipLocal {
    pub address: SocketAddr,
    pub session_id: u64,
    pub version: u64,
    /// Attribute and bandwidth lines that the page asked for, already checked.
    pub extra: Vec<(char, String)>,
    /// Our end for pictures, where the leg has one.
    #[serde(default)]
    pub video: Option<SipVideoLocal>,
    /// The m-lines of this dialog so far: their number and order stay for good (RFC 3264 §8).
    #[serde(default)]
    pub lines: Vec<LineShape>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SipVideoLocal {
    pub address: SocketAddr,
    /// What the page can send and show, under the numbers that we use towards this peer. None: nothing.
    pub formats: Vec<Format>,
    /// What the page wants of its pictures, which is what we want of the peer's.
    pub direction: Direction,
}

/// What an m-line is, in any description of a dialog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineShape {
    /// `None`: nothing of ours.
    pub carries: Option<MediaKind>,
    pub kind: String,
    pub protocol: String,
    pub formats: Vec<String>,
}

impl SipVideoLocal {
    fn is_usable(&self) -> bool {
        !self.formats.is_empty()
    }
}

/// What a SIP peer's description says, once read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SipDescription {
    pub bytes: Vec<u8>,
    pub audio: usize,
    pub formats: Vec<Format>,
    /// As the peer wrote it.
    pub direction: Direction,
    pub rtp: Option<SocketAddr>,
    pub rtcp: Option<SocketAddr>,
    /// `a=rtcp-mux`: in an offer a wish that our answer grants; an answer has none to grant, since we never
    /// offer it (RFC 5761 §5.1.1).
    pub muxed: bool,
    pub ptime_ms: u32,
    /// `o=` session id and version: the same again means that nothing changed.
    pub origin: (u64, u64),
    /// Its pictures, where it has any that we can carry.
    #[serde(default)]
    pub pictures: Option<SipPictures>,
    /// It answers an offer of ours.
    #[serde(default)]
    pub is_answer: bool,
    #[serde(default)]
    pub lines: Vec<LineShape>,
}

/// A SIP peer's m-line of pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SipPictures {
    pub line: usize,
    pub formats: Vec<Format>,
    /// As the peer wrote it.
    pub direction: Direction,
    pub rtp: Option<SocketAddr>,
    pub rtcp: Option<SocketAddr>,
    pub muxed: bool,
    pub key_frame: KeyFrameRequests,
}

impl SipDescription {
    /// The words for the media role. `formats` are the negotiated ones, what we send first. Whose SIP came from
    /// elsewhere means its own loopback address, not ours: nothing is sent there.
    pub fn remote(&self, formats: Vec<Format>, signalling: IpAddr) -> Remote {
        let is_local = |ip: IpAddr| ip.to_canonical().is_loopback();
        let means_itself = |to: &SocketAddr| is_local(to.ip()) && !is_local(signalling);
        Remote {
            transport: RemoteTransport::Rtp {
                rtp: self.rtp.filter(|to| !means_itself(to)),
                rtcp: if self.muxed { self.rtp } else { self.rtcp }.filter(|to| !means_itself(to)),
                signalling,
                sdes: None,
                video: None,
            },
            media: vec![RemoteMedia {
                kind: MediaKind::Audio,
                direction: self.direction.reversed(),
                formats,
                ptime_ms: self.ptime_ms,
                mid: None,
                key_frame: media_control::KeyFrameRequests::default(),
                inband_dtmf: false,
            }],
        }
    }

    /// Adds the pictures that both have to the words for the media role.
    pub fn show(&self, remote: &mut Remote, local: &SipLocal, signalling: IpAddr) {
        let (Some(theirs), Some(ours)) = (&self.pictures, &local.video) else {
            return;
        };
        let formats = pictures::agreed(&ours.formats, &theirs.formats, self.is_answer);
        let RemoteTransport::Rtp { video, .. } = &mut remote.transport else {
            return;
        };
        if formats.is_empty() {
            return;
        }
        let is_local = |ip: IpAddr| ip.to_canonical().is_loopback();
        let means_itself = |to: &SocketAddr| is_local(to.ip()) && !is_local(signalling);
        let rtcp = if theirs.muxed {
            theirs.rtp
        } else {
            theirs.rtcp
        };
        *video = Some(Box::new(VideoAddresses {
            rtp: theirs.rtp.filter(|to| !means_itself(to)),
            rtcp: rtcp.filter(|to| !means_itself(to)),
        }));
        remote.media.push(RemoteMedia {
            kind: MediaKind::Video,
            direction: pictures::both(theirs.direction.reversed(), ours.direction),
            formats,
            ptime_ms: self.ptime_ms,
            mid: None,
            key_frame: theirs.key_frame,
            inband_dtmf: false,
        });
    }

    /// The same read as an answer to an offer of ours.
    pub fn as_answer(self) -> SipDescription {
        let pictures = self.pictures.map(|pictures| SipPictures {
            muxed: false,
            ..pictures
        });
        SipDescription {
            muxed: false,
            is_answer: true,
            pictures,
            ..self
        }
    }

    /// The peer does not want to hear us: `sendonly`, `inactive`, or the address 0.0.0.0 of RFC 2543.
    pub fn holds(&self) -> bool {
        !self.direction.receives() || self.rtp.is_none()
    }
}

/// Reads an offer or an answer. An address given by name cannot be used without a look-up and is refused.
pub fn read_sip(bytes: &[u8]) -> Result<SipDescription, NegotiationError> {
    let description = parse(bytes)?;
    let audio = description
        .media
        .iter()
        .position(|m| m.kind == "audio" && m.port != 0 && is_plain_rtp(&m.protocol))
        .ok_or_else(|| {
            match description
                .media
                .iter()
                .find(|m| m.kind == "audio" && m.port != 0)
            {
                Some(other) => NegotiationError::Profile(other.protocol.clone()),
                None => NegotiationError::NoAudio,
            }
        })?;
    let media = &description.media[audio];
    let formats = codecs::formats(media);
    if codecs::speech(&formats).is_none() {
        return Err(NegotiationError::NoCommonCodec);
    }
    let (rtp, rtcp) = addresses(media, &description)?;
    let muxed = attribute::has(&media.attributes, "rtcp-mux");
    let pictures = read_pictures(&description);
    let ptime_ms = attribute::ptime(media)
        .unwrap_or(20)
        .clamp(*PTIME_MS.start(), *PTIME_MS.end());
    Ok(SipDescription {
        bytes: bytes.to_vec(),
        audio,
        formats,
        direction: direction(attribute::direction(
            &media.attributes,
            &description.attributes,
        )),
        rtp,
        rtcp,
        muxed,
        ptime_ms,
        origin: (description.origin.session_id, description.origin.version),
        lines: shape(&description, audio, pictures.as_ref().map(|p| p.line)),
        pictures,
        is_answer: false,
    })
}

/// Where an m-line's RTP goes, `None` for the 0.0.0.0 of an old hold, and its RTCP if that is said.
fn addresses(
    media: &Media,
    description: &Description,
) -> Result<(Option<SocketAddr>, Option<SocketAddr>), NegotiationError> {
    let ip = match media.connection(description) {
        Some(Connection::Address(ip)) => *ip,
        Some(Connection::Name(_)) => return Err(NegotiationError::Incomplete("numeric address")),
        None => return Err(NegotiationError::Incomplete("c= line")),
    };
    // A phone must not have us send to a multicast group, a metadata server or the like.
    if !ip.is_unspecified() && is_never(ip) {
        return Err(NegotiationError::Incomplete("address that media can go to"));
    }
    let rtp = (!ip.is_unspecified()).then(|| SocketAddr::new(ip, media.port));
    let rtcp = rtp
        .and_then(|rtp| attribute::rtcp(media, rtp.ip()))
        .filter(|rtcp| !is_never(rtcp.ip()));
    Ok((rtp, rtcp))
}

/// The first m-line of pictures that we can carry; pictures that cannot be carried cost nobody the sound.
fn read_pictures(description: &Description) -> Option<SipPictures> {
    let line = description
        .media
        .iter()
        .position(|m| m.kind == "video" && m.port != 0 && is_plain_rtp(&m.protocol))?;
    let media = description.media.get(line)?;
    let formats = pictures::formats(media);
    let (rtp, rtcp) = addresses(media, description).ok()?;
    (!formats.is_empty()).then(|| SipPictures {
        line,
        formats,
        direction: direction(attribute::direction(
            &media.attributes,
            &description.attributes,
        )),
        rtp,
        rtcp,
        muxed: attribute::has(&media.attributes, "rtcp-mux"),
        key_frame: pictures::key_frame(media),
    })
}

fn shape(description: &Description, audio: usize, shown: Option<usize>) -> Vec<LineShape> {
    // Refused now or not: the first line of pictures is where pictures will be if they come back.
    let video = shown.or_else(|| {
        description
            .media
            .iter()
            .position(|m| m.kind == "video" && is_plain_rtp(&m.protocol))
    });
    description
        .media
        .iter()
        .enumerate()
        .map(|(index, media)| LineShape {
            carries: match index {
                _ if index == audio => Some(MediaKind::Audio),
                _ if Some(index) == video => Some(MediaKind::Video),
                _ => None,
            },
            kind: media.kind.clone(),
            protocol: media.protocol.clone(),
            formats: media.formats.clone(),
        })
        .collect()
}

fn is_plain_rtp(protocol: &str) -> bool {
    protocol == "RTP/AVP" || protocol == "RTP/AVPF"
}

/// Our offer.
pub fn offer_sip(local: &SipLocal, formats: &[Format], ours: Direction) -> Vec<u8> {
    let audio = |protocol: &str| audio_line(local, protocol, formats, ours, 20);
    let usable = local.video.as_ref().filter(|video| video.is_usable());
    let video = |protocol: &str, video: &SipVideoLocal| {
        let both = KeyFrameRequests {
            pli: true,
            fir: true,
        };
        let told: Vec<Format> = video
            .formats
            .iter()
            .map(|format| Format {
                fmtp: pictures::told(format),
                ..format.clone()
            })
            .collect();
        let direction = pictures::both(video.direction, ours);
        video_line(video, protocol, &told, direction, both)
    };
    let mut media: Vec<Media> = local
        .lines
        .iter()
        .map(|line| match (line.carries, usable) {
            (Some(MediaKind::Audio), _) => audio(&line.protocol),
            (Some(MediaKind::Video), Some(usable)) => video(&line.protocol, usable),
            (Some(MediaKind::Video), None) | (None, _) => Media {
                kind: line.kind.clone(),
                port: 0,
                protocol: line.protocol.clone(),
                formats: line.formats.clone(),
                connection: None,
                bandwidth: Vec::new(),
                attributes: vec![Attribute::flag("inactive")],
            },
        })
        .collect();
    if media.is_empty() {
        media.push(audio("RTP/AVP"));
        media.extend(usable.map(|usable| video("RTP/AVP", usable)));
    }
    description(local, media).to_bytes()
}

/// Our answer: each m-line of the offer in its place, the ones we do not take with port 0 (RFC 3264 §6).
pub fn answer_sip(
    local: &SipLocal,
    offer: &SipDescription,
    formats: &[Format],
    ours: Direction,
) -> Result<Vec<u8>, NegotiationError> {
    let read = parse(&offer.bytes)?;
    // What we hold is held for ears and eyes.
    let we_hold = offer.direction.reversed().receives() && !ours.receives();
    let shown = offer.pictures.as_ref().and_then(|theirs| {
        let video = local.video.as_ref()?;
        let formats = pictures::answer(&video.formats, &theirs.formats);
        let mut direction = pictures::both(video.direction, theirs.direction.reversed());
        if we_hold {
            direction = pictures::both(direction, Direction::SendOnly);
        }
        (!formats.is_empty()).then_some((theirs, video, formats, direction))
    });
    let media = read
        .media
        .iter()
        .enumerate()
        .map(|(index, theirs)| {
            if index == offer.audio {
                let mut line = audio_line(local, &theirs.protocol, formats, ours, offer.ptime_ms);
                if offer.muxed {
                    line.attributes.push(Attribute::flag("rtcp-mux"));
                }
                line
            } else if let Some((offered, video, formats, direction)) =
                shown.as_ref().filter(|(offered, ..)| offered.line == index)
            {
                let mut line = video_line(
                    video,
                    &theirs.protocol,
                    formats,
                    *direction,
                    offered.key_frame,
                );
                if offered.muxed {
                    line.attributes.push(Attribute::flag("rtcp-mux"));
                }
                line
            } else {
                theirs.refused()
            }
        })
        .collect();
    Ok(description(local, media).to_bytes())
}

fn description(local: &SipLocal, media: Vec<Media>) -> Description {
    let of = |kind: char| {
        local
            .extra
            .iter()
            .filter(move |(k, _)| *k == kind)
            .map(|(_, line)| line.clone())
    };
    Description {
        origin: Origin {
            username: "-".to_owned(),
            session_id: local.session_id,
            version: local.version,
            address: local.address.ip(),
        },
        name: "-".to_owned(),
        connection: Some(Connection::Address(local.address.ip())),
        bandwidth: of('b').collect(),
        attributes: of('a')
            .map(|line| match line.split_once(':') {
                Some((name, value)) => Attribute::new(name, value),
                None => Attribute::flag(&line),
            })
            .collect(),
        media,
    }
}

fn audio_line(
    local: &SipLocal,
    protocol: &str,
    formats: &[Format],
    ours: Direction,
    ptime_ms: u32,
) -> Media {
    let mut attributes = Vec::new();
    format_lines(&mut attributes, formats, None);
    attributes.push(Attribute::new("ptime", ptime_ms.to_string()));
    attributes.push(Attribute::flag(direction_name(ours)));
    Media {
        kind: kind_name(MediaKind::Audio).to_owned(),
        port: local.address.port(),
        protocol: protocol.to_owned(),
        formats: formats.iter().map(|f| f.receive_pt.to_string()).collect(),
        connection: None,
        bandwidth: Vec::new(),
        attributes,
    }
}

fn video_line(
    local: &SipVideoLocal,
    protocol: &str,
    formats: &[Format],
    ours: Direction,
    key_frame: KeyFrameRequests,
) -> Media {
    let mut attributes = Vec::new();
    format_lines(&mut attributes, formats, None);
    pictures::feedback_lines(&mut attributes, key_frame);
    attributes.push(Attribute::flag(direction_name(ours)));
    Media {
        kind: kind_name(MediaKind::Video).to_owned(),
        port: local.address.port(),
        protocol: protocol.to_owned(),
        formats: formats.iter().map(|f| f.receive_pt.to_string()).collect(),
        connection: None,
        bandwidth: Vec::new(),
        attributes,
    }
}

/// `a=rtpmap` and, directly after it, `a=fmtp` of each format.
pub(super) fn format_lines(
    attributes: &mut Vec<Attribute>,
    formats: &[Format],
    narrow: Option<u32>,
) {
    for format in formats {
        let (pt, name, clock) = (format.receive_pt, format.codec.name(), format.clock_hz);
        let channels = if format.channels > 1 {
            format!("/{}", format.channels)
        } else {
            String::new()
        };
        attributes.push(Attribute::new(
            "rtpmap",
            format!("{pt} {name}/{clock}{channels}"),
        ));
        let fmtp = codecs::own_fmtp(format, narrow);
        if !fmtp.is_empty() {
            attributes.push(Attribute::new("fmtp", format!("{pt} {fmtp}")));
        }
    }
}
