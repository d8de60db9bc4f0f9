use super::{has, value, values};
use crate::{Attribute, Media};
use std::net::{IpAddr, SocketAddr};

/// `a=rtpmap:<pt> <name>/<clock>[/<channels>]` (RFC 8866 §6.6), or what RFC 3551 says of a static type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpMap {
    pub pt: u8,
    pub name: String,
    /// RTP clock, Hz.
    pub clock_hz: u32,
    pub channels: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

/// The payload types of an m-line in its order of preference. Types without a mapping, static or
/// written, are left out: nothing can be known of them.
pub fn rtpmaps(media: &Media) -> Vec<RtpMap> {
    media
        .formats
        .iter()
        .filter_map(|format| rtpmap(media, format.parse().ok()?))
        .collect()
}

pub fn rtpmap(media: &Media, pt: u8) -> Option<RtpMap> {
    if pt > 127 {
        return None;
    }
    let written = values(&media.attributes, "rtpmap").find_map(|value| {
        let (number, rest) = value.split_once(|c: char| c.is_ascii_whitespace())?;
        (number.parse::<u8>().ok()? == pt)
            .then(|| encoding(pt, rest.trim()))
            .flatten()
    });
    written.or_else(|| static_type(pt))
}

fn encoding(pt: u8, text: &str) -> Option<RtpMap> {
    let mut parts = text.split('/');
    let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let clock_hz = parts.next()?.trim().parse().ok().filter(|hz| *hz > 0)?;
    let channels = parts
        .next()
        .and_then(|n| n.trim().parse().ok())
        .filter(|n| *n > 0)
        .unwrap_or(1);
    Some(RtpMap {
        pt,
        name,
        clock_hz,
        channels,
    })
}

/// RFC 3551 table 4, those still met.
fn static_type(pt: u8) -> Option<RtpMap> {
    let (name, clock_hz) = match pt {
        0 => ("PCMU", 8000),
        3 => ("GSM", 8000),
        4 => ("G723", 8000),
        8 => ("PCMA", 8000),
        // 8000 although it samples at 16 kHz (RFC 3551 §4.5.2).
        9 => ("G722", 8000),
        13 => ("CN", 8000),
        15 => ("G728", 8000),
        18 => ("G729", 8000),
        _ => return None,
    };
    Some(RtpMap {
        pt,
        name: name.to_owned(),
        clock_hz,
        channels: 1,
    })
}

/// The parameters of a payload type, several `a=fmtp` lines for one type joined.
pub fn fmtp(media: &Media, pt: u8) -> String {
    let mut joined = String::new();
    for value in values(&media.attributes, "fmtp") {
        let Some((number, parameters)) = value.split_once(|c: char| c.is_ascii_whitespace()) else {
            continue;
        };
        if number.parse() == Ok(pt) {
            if !joined.is_empty() {
                joined.push(';');
            }
            joined.push_str(parameters.trim());
        }
    }
    joined
}

/// The m-line's direction, else the session's, else sendrecv (RFC 8866 §6.7).
pub fn direction(media: &[Attribute], session: &[Attribute]) -> Direction {
    let all = [
        Direction::SendRecv,
        Direction::SendOnly,
        Direction::RecvOnly,
        Direction::Inactive,
    ];
    let find = |attributes: &[Attribute]| all.into_iter().find(|d| has(attributes, d.name()));
    find(media)
        .or_else(|| find(session))
        .unwrap_or(Direction::SendRecv)
}

/// `a=ptime`, milliseconds.
pub fn ptime(media: &Media) -> Option<u32> {
    value(&media.attributes, "ptime")?
        .trim()
        .parse()
        .ok()
        .filter(|ms| (5..=200).contains(ms))
}

/// `a=maxptime`: the longest packet that the peer takes, milliseconds.
pub fn max_ptime(media: &Media) -> Option<u32> {
    value(&media.attributes, "maxptime")?
        .trim()
        .parse()
        .ok()
        .filter(|ms| (5..=1000).contains(ms))
}

/// `a=rtcp:<port> [IN IP4 <address>]` (RFC 3605); `rtp` gives the address where the line has none.
pub fn rtcp(media: &Media, rtp: IpAddr) -> Option<SocketAddr> {
    let mut parts = value(&media.attributes, "rtcp")?.split_ascii_whitespace();
    let port = parts.next()?.parse().ok().filter(|port| *port > 0)?;
    let address = parts
        .nth(2)
        .and_then(|text| text.parse().ok())
        .unwrap_or(rtp);
    Some(SocketAddr::new(address, port))
}
