//! Reading what a SIP peer's description says, by the line that it came by.

use super::browser::direction;
use super::sip::{LineShape, SipDescription, SipLocal, SipPictures};
use super::{NegotiationError, codecs, ice, keys, pictures};
use media_control::{MediaKind, SdesKey};
use signaling_plan::{MediaProfile, Srtp};
use signaling_sdp::{Connection, Description, Media, attribute, parse};
use signaling_trunk::allowed::is_never;
use std::net::SocketAddr;

/// Shortest and longest packets we send, milliseconds.
const PTIME_MS: std::ops::RangeInclusive<u32> = 10..=60;

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
pub(super) fn own_ptime(profile: &MediaProfile) -> Option<u32> {
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
pub(super) fn is_secure_rtp(protocol: &str) -> bool {
    protocol == "RTP/SAVP" || protocol == "RTP/SAVPF"
}
