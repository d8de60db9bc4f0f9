//! Reading a description: lenient where peers are known to be odd, bounded everywhere.

use crate::{Attribute, Connection, Description, Media, Origin};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// Longest description read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most m-lines in one description.
pub const MAX_MEDIA: usize = 32;
/// Most `a=` lines in one section.
pub const MAX_ATTRIBUTES: usize = 512;
/// Most payload types in one m-line.
const MAX_FORMATS: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    TooLong,
    NotText,
    /// The first line is not `v=0`.
    Version,
    /// A line that is not `x=value`.
    Line(usize),
    Origin,
    Media(usize),
    TooMany(&'static str),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::TooLong => write!(f, "longer than {MAX_BYTES} bytes"),
            ParseError::NotText => f.write_str("not text"),
            ParseError::Version => f.write_str("does not begin with v=0"),
            ParseError::Line(n) => write!(f, "line {n} is not of the form x=value"),
            ParseError::Origin => f.write_str("o= cannot be read"),
            ParseError::Media(n) => write!(f, "m= in line {n} cannot be read"),
            ParseError::TooMany(what) => write!(f, "too many {what}"),
        }
    }
}

impl std::error::Error for ParseError {}

/// Reads a description. Line ends may be CRLF or LF (RFC 8866 §5 asks parsers to take both); unknown line
/// types are skipped; bytes that are not UTF-8 are refused, since no attribute that we read may hold them.
pub fn parse(bytes: &[u8]) -> Result<Description, ParseError> {
    if bytes.len() > MAX_BYTES {
        return Err(ParseError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| ParseError::NotText)?;
    // RFC 8866 §9: no value may hold NUL; other controls have no business in what we copy elsewhere.
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\r' | '\n' | '\t'))
    {
        return Err(ParseError::NotText);
    }
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.trim_end_matches('\r')));
    match lines.next() {
        Some((_, line)) if line.trim_end() == "v=0" => {}
        _ => return Err(ParseError::Version),
    }
    let mut description = Description {
        origin: Origin {
            username: "-".to_owned(),
            session_id: 0,
            version: 0,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        },
        name: "-".to_owned(),
        connection: None,
        bandwidth: Vec::new(),
        attributes: Vec::new(),
        media: Vec::new(),
    };
    for (n, line) in lines {
        if line.is_empty() {
            continue;
        }
        let (kind, value) = split(line).ok_or(ParseError::Line(n))?;
        match kind {
            'o' => description.origin = origin(value).ok_or(ParseError::Origin)?,
            's' => description.name = value.to_owned(),
            'm' => {
                if description.media.len() == MAX_MEDIA {
                    return Err(ParseError::TooMany("m-lines"));
                }
                description
                    .media
                    .push(media(value).ok_or(ParseError::Media(n))?);
            }
            'c' => {
                let connection = connection(value);
                match description.media.last_mut() {
                    // Only the first of several (RFC 8866 §5.7 allows a series for multicast).
                    Some(media) => media.connection = media.connection.take().or(connection),
                    None => description.connection = description.connection.take().or(connection),
                }
            }
            'b' => {
                let list = match description.media.last_mut() {
                    Some(media) => &mut media.bandwidth,
                    None => &mut description.bandwidth,
                };
                if list.len() < MAX_ATTRIBUTES {
                    list.push(value.to_owned());
                }
            }
            'a' => {
                let list = match description.media.last_mut() {
                    Some(media) => &mut media.attributes,
                    None => &mut description.attributes,
                };
                if list.len() == MAX_ATTRIBUTES {
                    return Err(ParseError::TooMany("attributes"));
                }
                list.push(attribute(value));
            }
            _ => {}
        }
    }
    Ok(description)
}

fn split(line: &str) -> Option<(char, &str)> {
    let mut chars = line.chars();
    let kind = chars.next()?;
    chars.as_str().strip_prefix('=').map(|value| (kind, value))
}

/// `a=` value. A space after the colon is dropped: some phones write `a=rtpmap: 0 PCMU/8000`.
fn attribute(value: &str) -> Attribute {
    match value.split_once(':') {
        Some((name, value)) => Attribute::new(name.trim(), value.trim()),
        None => Attribute::flag(value.trim()),
    }
}

/// `o=<username> <sess-id> <sess-version> <nettype> <addrtype> <address>`. Session ids beyond 64 bits and
/// host names occur; they only ever serve comparison, so they are folded rather than refused.
fn origin(value: &str) -> Option<Origin> {
    let mut parts = value.split_ascii_whitespace();
    let username = parts.next()?.to_owned();
    let session_id = number(parts.next()?);
    let version = number(parts.next()?);
    let _nettype = parts.next()?;
    let _addrtype = parts.next()?;
    let address = parts
        .next()?
        .parse()
        .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    Some(Origin {
        username,
        session_id,
        version,
        address,
    })
}

fn number(text: &str) -> u64 {
    text.bytes()
        .filter(u8::is_ascii_digit)
        .fold(0u64, |sum, digit| {
            sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
        })
}

/// `c=<nettype> <addrtype> <address>[/ttl[/count]]`. Only IN is known.
fn connection(value: &str) -> Option<Connection> {
    let mut parts = value.split_ascii_whitespace();
    if !parts.next()?.eq_ignore_ascii_case("IN") {
        return None;
    }
    let _addrtype = parts.next()?;
    let address = parts.next()?;
    let address = address.split('/').next().filter(|name| !name.is_empty())?;
    Some(match address.parse() {
        Ok(ip) => Connection::Address(ip),
        Err(_) => Connection::Name(address.to_owned()),
    })
}

/// `m=<media> <port>[/<count>] <proto> <fmt> …`
fn media(value: &str) -> Option<Media> {
    let mut parts = value.split_ascii_whitespace();
    let kind = parts.next()?.to_ascii_lowercase();
    let port = parts.next()?;
    let port = port.split('/').next()?.parse().ok()?;
    let protocol = parts.next()?.to_ascii_uppercase();
    let formats: Vec<String> = parts.take(MAX_FORMATS).map(str::to_owned).collect();
    Some(Media {
        kind,
        port,
        protocol,
        formats,
        connection: None,
        bandwidth: Vec::new(),
        attributes: Vec::new(),
    })
}
