//! The SIP side: RTP, plain or with keys, offered and answered as often as the dialog likes.

use super::browser::{direction, direction_name, kind_name};
use super::ice::{self, PeerIce};
use super::{NegotiationError, codecs, keys, pictures};
use media_control::{
    Direction, Format, IceCredentials, KeyFrameRequests, MediaKind, Remote, RemoteMedia,
    RemoteTransport, SdesKey, VideoAddresses,
};
use serde::{Deserialize, Serialize};
use signaling_plan::{MediaProfile, Srtp};
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
    /// What the line wants of sound.
    #[serde(default)]
    pub profile: MediaProfile,
    /// Our keys, one for each suite of the line, in its order.
    #[serde(default)]
    pub keys: Vec<SdesKey>,
    /// Sound is encrypted, by what was agreed last.
    #[serde(default)]
    pub keyed: bool,
    /// What the leg answers checks with, where the line wants ICE.
    #[serde(default)]
    pub ice: Option<IceCredentials>,
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

impl SipLocal {
    /// The end of a leg that has just been made, for a peer to whom `address` is the nearest. `drawn`: the keys that
    /// media drew for it.
    pub fn new(
        address: SocketAddr,
        session_id: u64,
        profile: MediaProfile,
        drawn: &[SdesKey],
    ) -> SipLocal {
        SipLocal {
            address,
            session_id,
            version: 1,
            extra: Vec::new(),
            video: None,
            lines: Vec::new(),
            keys: keys::own(&profile, drawn),
            profile,
            keyed: false,
            ice: None,
        }
    }

    pub fn with_ice(self, ice: Option<IceCredentials>) -> SipLocal {
        let ice = ice.filter(|_| self.profile.ice);
        SipLocal { ice, ..self }
    }

    pub fn goes_by(&mut self, profile: &MediaProfile) {
        self.keys = keys::own(profile, &self.keys);
        self.ice.take_if(|_| !profile.ice);
        self.profile = profile.clone();
    }

    /// Offers of ours bring keys.
    fn offers_keys(&self) -> bool {
        let wanted = matches!(self.profile.srtp, Srtp::Offer | Srtp::Require);
        (wanted || self.keyed) && !self.keys.is_empty()
    }

    /// The m-line of sound in the dialog so far says that it is encrypted.
    fn is_secure(&self) -> bool {
        let mut sound = self.lines.iter();
        let sound = sound.find(|line| line.carries == Some(MediaKind::Audio));
        match sound {
            Some(line) => is_secure_rtp(&line.protocol),
            None => self.profile.srtp == Srtp::Require,
        }
    }

    fn ptime_ms(&self) -> Option<u32> {
        own_ptime(&self.profile)
    }
}

impl SipVideoLocal {
    fn is_usable(&self) -> bool {
        !self.formats.is_empty()
    }
}

/// What a SIP peer's description says, once read. Its bytes and keys are secrets where it has keys (`Debug` leaves
/// them out).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
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
    /// Its keys that the line can use, in its order.
    #[serde(default)]
    pub keys: Vec<SdesKey>,
    /// RTP/SAVP: with keys or not at all.
    #[serde(default)]
    pub secure: bool,
    /// It has keys, and none that the line can use.
    #[serde(default)]
    pub strange_keys: bool,
    /// Where the line does ICE.
    #[serde(default)]
    pub ice: Option<PeerIce>,
}

impl std::fmt::Debug for SipDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SipDescription")
            .field("formats", &self.formats)
            .field("direction", &self.direction)
            .field("rtp", &self.rtp)
            .field("rtcp", &self.rtcp)
            .field("ptime_ms", &self.ptime_ms)
            .field("pictures", &self.pictures)
            .field("keys", &self.keys)
            .field("ice", &self.ice)
            .finish_non_exhaustive()
    }
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
                ice: self
                    .ice
                    .as_ref()
                    .filter(|ice| ice.checks())
                    .map(|ice| Box::new(ice.credentials.clone())),
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
        let RemoteTransport::Rtp { video, sdes, .. } = &mut remote.transport else {
            return;
        };
        // Each m-line has keys of its own (RFC 4568 §5), and there are none for pictures.
        if formats.is_empty() || sdes.is_some() {
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

    /// What opens the peer's packets and what closes ours: its first key that we can use and ours of the same suite, both
    /// under the offer's tag (RFC 4568 §5.1.2, §5.1.3). `None`: plain RTP.
    pub fn agreed_keys(
        &self,
        local: &SipLocal,
    ) -> Result<Option<(SdesKey, SdesKey)>, NegotiationError> {
        let refused = || {
            NegotiationError::Profile(if self.secure { "RTP/SAVP" } else { "RTP/AVP" }.to_owned())
        };
        let required = self.secure || local.profile.srtp == Srtp::Require;
        if !self.is_answer {
            let both = self.keys.iter().find_map(|theirs| {
                let ours = local
                    .keys
                    .iter()
                    .find(|ours| ours.profile == theirs.profile)?;
                let tag = theirs.tag;
                Some((
                    theirs.clone(),
                    SdesKey {
                        tag,
                        ..ours.clone()
                    },
                ))
            });
            return match both {
                None if required => Err(refused()),
                both => Ok(both),
            };
        }
        if !local.offers_keys() {
            // An answer with keys to an offer without.
            return if self.secure {
                Err(refused())
            } else {
                Ok(None)
            };
        }
        match self.keys.first() {
            Some(theirs) => {
                let ours = local
                    .keys
                    .iter()
                    .find(|ours| ours.tag == theirs.tag && ours.profile == theirs.profile)
                    .ok_or(NegotiationError::Incomplete(
                        "a=crypto with a tag of our offer",
                    ))?;
                Ok(Some((theirs.clone(), ours.clone())))
            }
            // What was offered as encrypted is never answered as plain (RFC 4568 §5.1.3); beside plain RTP keys may be
            // passed over (RFC 8643 §3.2), but not answered by others.
            None if required || local.is_secure() || self.strange_keys => Err(refused()),
            None => Ok(None),
        }
    }

    /// The peer does not want to hear us: `sendonly`, `inactive`, or the address 0.0.0.0 of RFC 2543.
    pub fn holds(&self) -> bool {
        !self.direction.receives() || self.rtp.is_none()
    }
}

/// Reads an offer by the line that it came by. An address given by name cannot be used without a look-up and is
/// refused.
pub fn read_offer(
    bytes: &[u8],
    profile: &MediaProfile,
) -> Result<SipDescription, NegotiationError> {
    let mut description = read(bytes, profile)?;
    codecs::prefer(profile, &mut description.formats);
    Ok(description)
}

/// Reads the answer to an offer of `local`'s.
pub fn read_answer(bytes: &[u8], local: &SipLocal) -> Result<SipDescription, NegotiationError> {
    let description = read(bytes, &local.profile)?.as_answer();
    description.agreed_keys(local)?;
    Ok(description)
}

/// An offer that came by no line of its own.
pub fn read_sip(bytes: &[u8]) -> Result<SipDescription, NegotiationError> {
    read_offer(bytes, &MediaProfile::default())
}

/// An m-line of sound, what it is worth (the least the best), and its keys.
fn sound(media: &Media, profile: &MediaProfile) -> Option<(u8, Vec<SdesKey>)> {
    if media.kind != "audio" || media.port == 0 {
        return None;
    }
    let keys = keys::read(media, profile);
    let worth = match profile.srtp {
        _ if is_secure_rtp(&media.protocol) => (!keys.is_empty()).then_some(0),
        _ if !is_plain_rtp(&media.protocol) => None,
        Srtp::Off | Srtp::Forbid => Some(0),
        Srtp::Offer => Some(u8::from(keys.is_empty())),
        Srtp::Require => (!keys.is_empty()).then_some(1),
    }?;
    let mut formats = codecs::formats(media);
    codecs::spoken(profile, &mut formats);
    let mute = u8::from(codecs::speech(&formats).is_none());
    Some((worth + 10 * mute, keys))
}

fn read(bytes: &[u8], profile: &MediaProfile) -> Result<SipDescription, NegotiationError> {
    let description = parse(bytes)?;
    let lines = description.media.iter().enumerate();
    let (audio, mut keys) = lines
        .filter_map(|(index, media)| Some((index, sound(media, profile)?)))
        .min_by_key(|(index, (worth, _))| (*worth, *index))
        .map(|(index, (_, keys))| (index, keys))
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
    let mut formats = codecs::formats(media);
    codecs::spoken(profile, &mut formats);
    if codecs::speech(&formats).is_none() {
        return Err(NegotiationError::NoCommonCodec);
    }
    let (rtp, rtcp) = addresses(media, &description)?;
    let muxed = attribute::has(&media.attributes, "rtcp-mux");
    let secure = is_secure_rtp(&media.protocol);
    let strange_keys = attribute::has(&media.attributes, "crypto") && keys.is_empty();
    let ice = profile
        .ice
        .then(|| ice::read(media, &description, rtp))
        .flatten();
    // There is ICE for sound alone.
    let mut pictures = read_pictures(&description).filter(|_| ice.is_none());
    // There are keys for sound alone. Where they are only a wish of the peer's, pictures are worth more.
    let wanted = secure || matches!(profile.srtp, Srtp::Offer | Srtp::Require);
    if wanted && !keys.is_empty() {
        pictures = None;
    } else if pictures.is_some() {
        keys.clear();
    }
    let longest = attribute::max_ptime(media).unwrap_or(*PTIME_MS.end());
    let ptime_ms = attribute::ptime(media)
        .or(own_ptime(profile))
        .unwrap_or(20)
        .min(longest)
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
        // Sound is made in steps of 10 ms.
        ptime_ms: ptime_ms / 10 * 10,
        origin: (description.origin.session_id, description.origin.version),
        lines: shape(&description, audio, pictures.as_ref().map(|p| p.line)),
        pictures,
        is_answer: false,
        keys,
        secure,
        strange_keys,
        ice,
    })
}

/// What the operator wants of packets on this line, milliseconds.
fn own_ptime(profile: &MediaProfile) -> Option<u32> {
    let wanted = Some(u32::from(profile.ptime_ms)).filter(|ms| *ms > 0);
    wanted.map(|ms| ms.clamp(*PTIME_MS.start(), *PTIME_MS.end()) / 10 * 10)
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

/// SRTP keyed by SDP. `UDP/TLS/RTP/SAVP` is keyed by DTLS, which a SIP leg does not speak.
fn is_secure_rtp(protocol: &str) -> bool {
    protocol == "RTP/SAVP" || protocol == "RTP/SAVPF"
}

/// Our offer.
pub fn offer_sip(local: &SipLocal, formats: &[Format], ours: Direction) -> Vec<u8> {
    let keys = if local.offers_keys() {
        local.keys.as_slice()
    } else {
        &[]
    };
    let ptime_ms = local.ptime_ms().unwrap_or(20);
    let audio = |protocol: &str| {
        let mut line = audio_line(local, protocol, formats, ours, ptime_ms, keys);
        let own = local.ice.as_ref();
        line.attributes
            .extend(own.map_or_else(Vec::new, |own| ice::lines(own, local.address, false)));
        line
    };
    let usable = local
        .video
        .as_ref()
        .filter(|video| video.is_usable() && keys.is_empty() && local.ice.is_none());
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
        media.push(audio(if local.is_secure() {
            "RTP/SAVP"
        } else {
            "RTP/AVP"
        }));
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
    let agreed = offer.agreed_keys(local)?;
    let keys: Vec<SdesKey> = agreed.into_iter().map(|(_, ours)| ours).collect();
    let ptime_ms = local.ptime_ms().unwrap_or(offer.ptime_ms);
    // What we hold is held for ears and eyes.
    let we_hold = offer.direction.reversed().receives() && !ours.receives();
    let shown = offer.pictures.as_ref().and_then(|theirs| {
        let video = local.video.as_ref().filter(|_| keys.is_empty())?;
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
                let mut line = audio_line(local, &theirs.protocol, formats, ours, ptime_ms, &keys);
                if offer.muxed {
                    line.attributes.push(Attribute::flag("rtcp-mux"));
                }
                match (&offer.ice, &local.ice) {
                    (Some(theirs), _) if theirs.mismatch => {
                        line.attributes.push(Attribute::flag("ice-mismatch"));
                    }
                    (Some(_), Some(own)) => {
                        let lines = ice::lines(own, local.address, offer.muxed);
                        line.attributes.extend(lines);
                    }
                    (Some(_), None) | (None, _) => {}
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
    let does_ice = media
        .iter()
        .any(|line| attribute::has(&line.attributes, "ice-ufrag"));
    let lite = does_ice.then(|| Attribute::flag("ice-lite"));
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
        attributes: lite
            .into_iter()
            .chain(of('a').map(|line| match line.split_once(':') {
                Some((name, value)) => Attribute::new(name, value),
                None => Attribute::flag(&line),
            }))
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
    keys: &[SdesKey],
) -> Media {
    let mut attributes: Vec<Attribute> = keys.iter().map(keys::line).collect();
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
