use super::Fault;
use super::lex::{self, is_token_byte};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A URI as SIP headers hold them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Uri {
    Sip(SipUri),
    /// `tel:` with everything after the colon as it stands (RFC 3966).
    Tel(Vec<u8>),
    /// Well formed, and of a scheme that is none of ours.
    Other(Vec<u8>),
}

/// `sip:user:password@host:port;params?headers` (RFC 3261 §19.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipUri {
    /// `sips:`.
    pub secure: bool,
    /// Unescaped.
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
    pub host: Host,
    pub port: Option<u16>,
    /// Unescaped names in lower case, unescaped values.
    pub params: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// What stands behind `?`, as it stands.
    pub headers: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Host {
    /// In lower case.
    Name(String),
    Ip(IpAddr),
}

impl Host {
    /// `[v6]`, dotted v4, or a name.
    pub fn parse(text: &[u8]) -> Result<Host, Fault> {
        let text = std::str::from_utf8(text).map_err(|_| Fault::Uri)?;
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(Fault::Uri)?;
            return Ok(Host::Ip(IpAddr::V6(
                inner.parse::<Ipv6Addr>().map_err(|_| Fault::Uri)?,
            )));
        }
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return Ok(Host::Ip(IpAddr::V4(v4)));
        }
        let fits = !text.is_empty()
            && text.len() <= 255
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
            && !text.starts_with('.');
        if fits {
            Ok(Host::Name(text.to_ascii_lowercase()))
        } else {
            Err(Fault::Uri)
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Ip(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Host::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

impl Uri {
    /// Anything with a scheme is a URI; what is `sip`, `sips` or `tel` must be so in full.
    pub fn parse(text: &[u8]) -> Result<Uri, Fault> {
        if text
            .iter()
            .any(|b| !b.is_ascii_graphic() || b"<>\"".contains(b))
        {
            return Err(Fault::Uri);
        }
        let colon = text.iter().position(|b| *b == b':').ok_or(Fault::Uri)?;
        let (scheme, rest) = text.split_at(colon);
        let rest = rest.get(1..).unwrap_or_default();
        let begins = scheme.first().is_some_and(u8::is_ascii_alphabetic);
        if !begins
            || !scheme
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
        {
            return Err(Fault::Uri);
        }
        match scheme.to_ascii_lowercase().as_slice() {
            b"sip" => Ok(Uri::Sip(SipUri::parse_rest(rest, false)?)),
            b"sips" => Ok(Uri::Sip(SipUri::parse_rest(rest, true)?)),
            b"tel" => {
                let number = rest.split(|b| *b == b';').next().unwrap_or_default();
                let fits = number.iter().any(u8::is_ascii_hexdigit)
                    && number
                        .iter()
                        .all(|b| b.is_ascii_hexdigit() || b"+-.()*#".contains(b));
                if fits {
                    Ok(Uri::Tel(rest.to_vec()))
                } else {
                    Err(Fault::Uri)
                }
            }
            _ => Ok(Uri::Other(text.to_vec())),
        }
    }

    pub fn sip(&self) -> Option<&SipUri> {
        match self {
            Uri::Sip(sip) => Some(sip),
            Uri::Tel(_) | Uri::Other(_) => None,
        }
    }

    /// The unescaped user part, or the number of a `tel:`.
    pub fn user(&self) -> Option<Vec<u8>> {
        match self {
            Uri::Sip(sip) => sip.user.clone(),
            Uri::Tel(rest) => rest.split(|b| *b == b';').next().map(<[u8]>::to_vec),
            Uri::Other(_) => None,
        }
    }

    pub fn print(&self, out: &mut Vec<u8>) {
        match self {
            Uri::Sip(sip) => sip.print(out),
            Uri::Tel(rest) => {
                out.extend_from_slice(b"tel:");
                out.extend_from_slice(rest);
            }
            Uri::Other(text) => out.extend_from_slice(text),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.print(&mut out);
        out
    }
}

impl SipUri {
    pub fn new(user: Option<&[u8]>, host: Host, port: Option<u16>) -> SipUri {
        let user = user.map(<[u8]>::to_vec);
        SipUri {
            secure: false,
            user,
            password: None,
            host,
            port,
            params: Vec::new(),
            headers: None,
        }
    }

    fn parse_rest(text: &[u8], secure: bool) -> Result<SipUri, Fault> {
        let mut parts = text.split(|b| *b == b'@');
        let first = parts.next().unwrap_or_default();
        let (user, password, rest) = match parts.next() {
            None => (None, None, first),
            Some(rest) => {
                let mut halves = first.splitn(2, |b| *b == b':');
                let user = checked_user(halves.next().unwrap_or_default(), b"&=+$,;?/")?;
                if user.is_empty() {
                    return Err(Fault::Uri);
                }
                let password = halves
                    .next()
                    .map(|p| checked_user(p, b"&=+$,"))
                    .transpose()?;
                (Some(user), password, rest)
            }
        };
        if parts.next().is_some() {
            return Err(Fault::Uri);
        }
        let mut halves = rest.splitn(2, |b| *b == b'?');
        let rest = halves.next().unwrap_or_default();
        let headers = halves.next().map(<[u8]>::to_vec);
        let mut pieces = rest.split(|b| *b == b';');
        let (host, port) = host_port(pieces.next().unwrap_or_default())?;
        let mut params = Vec::new();
        for piece in pieces {
            let mut halves = piece.splitn(2, |b| *b == b'=');
            let name = checked_param(halves.next().unwrap_or_default())?.to_ascii_lowercase();
            let value = halves.next().map(checked_param).transpose()?;
            if name.is_empty() {
                return Err(Fault::Uri);
            }
            params.push((name, value));
        }
        Ok(SipUri {
            secure,
            user,
            password,
            host,
            port,
            params,
            headers,
        })
    }

    /// `Some(b"")` for a parameter without a value.
    pub fn param(&self, name: &str) -> Option<&[u8]> {
        let found = self.params.iter().find(|(n, _)| n == name.as_bytes())?;
        Some(found.1.as_deref().unwrap_or_default())
    }

    pub fn print(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.secure { b"sips:" } else { b"sip:" });
        if let Some(user) = &self.user {
            escape(user, b"&=+$,;?/", out);
            if let Some(password) = &self.password {
                out.push(b':');
                escape(password, b"&=+$,", out);
            }
            out.push(b'@');
        }
        out.extend_from_slice(self.host.to_string().as_bytes());
        if let Some(port) = self.port {
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
        for (name, value) in &self.params {
            out.push(b';');
            escape(name, b"[]/:&+$", out);
            if let Some(value) = value {
                out.push(b'=');
                escape(value, b"[]/:&+$", out);
            }
        }
        if let Some(headers) = &self.headers {
            out.push(b'?');
            escape(headers, b"[]/?:+$&=%", out);
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.print(&mut out);
        out
    }

    /// RFC 3261 §19.1.4: user by case, host without; the parameters that matter must be in both.
    pub fn is_same(&self, other: &SipUri) -> bool {
        let ignorable =
            |name: &[u8]| !matches!(name, b"user" | b"ttl" | b"method" | b"maddr" | b"transport");
        let fits = |a: &SipUri, b: &SipUri| {
            a.params.iter().all(
                |(name, value)| match b.params.iter().find(|(n, _)| n == name) {
                    Some((_, theirs)) => {
                        let lower =
                            |v: &Option<Vec<u8>>| v.as_ref().map(|v| v.to_ascii_lowercase());
                        lower(value) == lower(theirs)
                    }
                    None => ignorable(name),
                },
            )
        };
        self.secure == other.secure
            && self.user == other.user
            && self.password == other.password
            && self.host == other.host
            && self.port == other.port
            && self.headers.is_some() == other.headers.is_some()
            && fits(self, other)
            && fits(other, self)
    }
}

/// `host` or `host:port`.
pub(crate) fn host_port(text: &[u8]) -> Result<(Host, Option<u16>), Fault> {
    let after_bracket = text.iter().position(|b| *b == b']').unwrap_or(0);
    let tail = text.get(after_bracket..).unwrap_or_default();
    match tail.iter().position(|b| *b == b':') {
        None => Ok((Host::parse(text)?, None)),
        Some(at) => {
            let (host, port) = text.split_at(after_bracket + at);
            let port = lex::number(port.get(1..).unwrap_or_default()).ok_or(Fault::Uri)?;
            let port = u16::try_from(port).map_err(|_| Fault::Uri)?;
            Ok((Host::parse(host)?, Some(port)))
        }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte)
}

fn checked_user(text: &[u8], also: &[u8]) -> Result<Vec<u8>, Fault> {
    let fits = |b: &u8| is_unreserved(*b) || *b == b'%' || also.contains(b) || *b == b'#';
    if !text.iter().all(fits) {
        return Err(Fault::Uri);
    }
    unescape(text).ok_or(Fault::Uri)
}

fn checked_param(text: &[u8]) -> Result<Vec<u8>, Fault> {
    let fits = |b: &u8| is_unreserved(*b) || is_token_byte(*b) || b"[]/:&+$".contains(b);
    if !text.iter().all(fits) {
        return Err(Fault::Uri);
    }
    unescape(text).ok_or(Fault::Uri)
}

/// `%41` becomes `A`; `None` where a `%` is not followed by two digits.
pub fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            out.push(*first);
            rest = after;
            continue;
        }
        let [high, low, after @ ..] = after else {
            return None;
        };
        let digit = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        out.push(digit(*high)? * 16 + digit(*low)?);
        rest = after;
    }
    Some(out)
}

pub(crate) fn escape(text: &[u8], also: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        if is_unreserved(*byte) || also.contains(byte) {
            out.push(*byte);
        } else {
            out.push(b'%');
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
}

/// A user part as it may stand in a URI: whatever is not allowed there percent-coded (`#` too, so that
/// `*21#` becomes `*21%23`).
pub fn escape_user(user: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(user.len());
    escape(user, b"&=+$,;?/", &mut out);
    out
}
