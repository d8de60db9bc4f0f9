//! Writing a description: CRLF line ends, the line order of RFC 8866 §5.

use crate::{Attribute, Connection, Description, Media, Origin};
use std::fmt::{self, Display, Formatter, Write};
use std::net::IpAddr;

impl Description {
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl Display for Description {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("v=0\r\n")?;
        self.origin.fmt(f)?;
        write!(
            f,
            "s={}\r\n",
            OneLine(if self.name.is_empty() {
                "-"
            } else {
                &self.name
            })
        )?;
        if let Some(connection) = &self.connection {
            connection.fmt(f)?;
        }
        for value in &self.bandwidth {
            write!(f, "b={}\r\n", OneLine(value))?;
        }
        f.write_str("t=0 0\r\n")?;
        attributes(f, &self.attributes)?;
        self.media.iter().try_for_each(|media| media.fmt(f))
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Origin {
            username,
            session_id,
            version,
            address,
        } = self;
        let username = OneLine(username);
        write!(
            f,
            "o={username} {session_id} {version} IN {} {address}\r\n",
            addrtype(address)
        )
    }
}

impl Display for Connection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Connection::Address(ip) => write!(f, "c=IN {} {ip}\r\n", addrtype(ip)),
            Connection::Name(name) => write!(f, "c=IN IP4 {}\r\n", OneLine(name)),
        }
    }
}

impl Display for Media {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "m={} {} {}",
            OneLine(&self.kind),
            self.port,
            OneLine(&self.protocol)
        )?;
        for format in &self.formats {
            write!(f, " {}", OneLine(format))?;
        }
        f.write_str("\r\n")?;
        if let Some(connection) = &self.connection {
            connection.fmt(f)?;
        }
        for value in &self.bandwidth {
            write!(f, "b={}\r\n", OneLine(value))?;
        }
        attributes(f, &self.attributes)
    }
}

fn attributes(f: &mut Formatter<'_>, list: &[Attribute]) -> fmt::Result {
    for Attribute { name, value } in list {
        match value {
            Some(value) => write!(f, "a={}:{}\r\n", OneLine(name), OneLine(value))?,
            None => write!(f, "a={}\r\n", OneLine(name))?,
        }
    }
    Ok(())
}

fn addrtype(address: &IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IP4",
        IpAddr::V6(_) => "IP6",
    }
}

/// Text that cannot end its line: CR, LF and NUL, which no SDP value may hold (RFC 8866 §9, byte-string),
/// are left out, whatever the caller let through.
struct OneLine<'a>(&'a str);

impl Display for OneLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')) {
            f.write_char(c)?;
        }
        Ok(())
    }
}
