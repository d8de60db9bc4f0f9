//! Session descriptions (RFC 8866): parsed once at the edge, printed in canonical form.
//!
//! The structure is kept as lines; what an attribute means is read on demand by the types in
//! [`attribute`]. Nothing here decides anything: offers and answers are made in `calls`.

pub mod attribute;
mod parse;
mod print;

pub use parse::{MAX_ATTRIBUTES, MAX_BYTES, MAX_MEDIA, ParseError, parse};

use std::net::IpAddr;

/// A whole description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub origin: Origin,
    pub name: String,
    pub connection: Option<Connection>,
    /// Values of `b=`, as they stand.
    pub bandwidth: Vec<String>,
    pub attributes: Vec<Attribute>,
    pub media: Vec<Media>,
}

/// `o=` (RFC 8866 §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub username: String,
    pub session_id: u64,
    pub version: u64,
    pub address: IpAddr,
}

/// `c=`. A host name in place of an address is kept apart: whoever needs it must look it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    Address(IpAddr),
    Name(String),
}

/// An m-line with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// "audio", "video", "message", "image" …
    pub kind: String,
    /// 0: refused, or (with `a=bundle-only`) carried by another m-line.
    pub port: u16,
    /// "RTP/AVP", "UDP/TLS/RTP/SAVPF" …
    pub protocol: String,
    /// Payload types for RTP profiles, other tokens for others.
    pub formats: Vec<String>,
    pub connection: Option<Connection>,
    pub bandwidth: Vec<String>,
    pub attributes: Vec<Attribute>,
}

/// `a=name` or `a=name:value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    pub value: Option<String>,
}

impl Attribute {
    pub fn flag(name: &str) -> Self {
        Attribute {
            name: name.to_owned(),
            value: None,
        }
    }

    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Attribute {
            name: name.to_owned(),
            value: Some(value.into()),
        }
    }
}

impl Connection {
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Connection::Address(address) => Some(*address),
            Connection::Name(_) => None,
        }
    }
}

impl Media {
    /// The m-line refused: port 0 and nothing but what identifies it (RFC 3264 §6).
    pub fn refused(&self) -> Media {
        let mut attributes = vec![Attribute::flag("inactive")];
        if let Some(mid) = attribute::value(&self.attributes, "mid") {
            attributes.push(Attribute::new("mid", mid));
        }
        Media {
            kind: self.kind.clone(),
            port: 0,
            protocol: self.protocol.clone(),
            formats: self.formats.clone(),
            connection: None,
            bandwidth: Vec::new(),
            attributes,
        }
    }

    /// `c=` of this m-line, else that of the session.
    pub fn connection<'a>(&'a self, session: &'a Description) -> Option<&'a Connection> {
        self.connection.as_ref().or(session.connection.as_ref())
    }
}
