//! Our descriptions for a SIP peer: offers, and answers to its offers.

use super::browser::{direction_name, kind_name};
use super::sip::{SipDescription, SipLocal, SipVideoLocal};
use super::{NegotiationError, codecs, ice, keys, pictures};
use media_control::{Direction, Format, KeyFrameRequests, MediaKind, SdesKey};
use signaling_sdp::{Attribute, Connection, Description, Media, Origin, attribute, parse};

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
