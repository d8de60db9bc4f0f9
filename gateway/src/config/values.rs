//! The forms that values take, each read from text with the end of a sentence for what is wrong.

use super::{Redirect, ReliableProvisional};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where to listen: `ADDR:PORT`, or `:PORT` for all addresses of both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    pub ip: Option<IpAddr>,
    pub port: u16,
}

impl Listen {
    /// One address for each socket to open.
    pub fn addresses(self, ipv6: bool) -> Vec<SocketAddr> {
        match self.ip {
            Some(ip) => vec![SocketAddr::new(ip, self.port)],
            None => everywhere(ipv6)
                .map(|ip| SocketAddr::new(ip, self.port))
                .collect(),
        }
    }

    /// The same without wildcards: one address for each that this box has.
    pub fn on_each(self, interfaces: &[(IpAddr, u8)]) -> Vec<SocketAddr> {
        let wanted = |ip: &IpAddr| {
            self.ip
                .is_none_or(|listen| listen.is_ipv4() == ip.is_ipv4())
        };
        match self.ip {
            Some(ip) if !ip.is_unspecified() => vec![SocketAddr::new(ip, self.port)],
            _ => {
                let own = interfaces.iter().map(|(ip, _)| *ip).filter(wanted);
                own.map(|ip| SocketAddr::new(ip, self.port)).collect()
            }
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => SocketAddr::new(ip, self.port).fmt(f),
            None => write!(f, ":{}", self.port),
        }
    }
}

fn everywhere(ipv6: bool) -> impl Iterator<Item = IpAddr> {
    let v6 = ipv6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED)].into_iter().chain(v6)
}

pub fn listen(text: &str) -> Result<Listen, String> {
    if let Some(port) = text.strip_prefix(':') {
        return Ok(Listen {
            ip: None,
            port: self::port(port)?,
        });
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(Listen {
            ip: Some(address.ip()),
            port: address.port(),
        }),
        Err(_) => {
            Err("is not ADDR:PORT ([ADDR]:PORT for IPv6, :PORT for all addresses)".to_owned())
        }
    }
}

/// The same, or `off`.
pub fn listen_or_off(text: &str) -> Result<Option<Listen>, String> {
    if text == "off" {
        Ok(None)
    } else {
        listen(text).map(Some)
    }
}

pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "is not ADDR:PORT ([ADDR]:PORT for IPv6)".to_owned())
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "does not end with a port from 0 to 65535".to_owned())
}

pub fn ip(text: &str) -> Result<IpAddr, String> {
    bare_ip(text).ok_or_else(|| "is not an IPv4 or IPv6 address".to_owned())
}

fn bare_ip(text: &str) -> Option<IpAddr> {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// `auto`, or an address of this box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// The addresses of all interfaces that are up.
    Auto,
    Ip(IpAddr),
}

pub fn address(text: &str) -> Result<Address, String> {
    if text == "auto" {
        return Ok(Address::Auto);
    }
    match bare_ip(text) {
        Some(ip) if ip.is_unspecified() => {
            Err("is no address of an interface; \"auto\" takes them all".to_owned())
        }
        Some(ip) => Ok(Address::Ip(ip)),
        None => Err("is neither an IP address nor \"auto\"".to_owned()),
    }
}

/// What peers are told instead of the bound address: behind a NAT, the outer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    pub ip: IpAddr,
    /// `None`: the bound port.
    pub port: Option<u16>,
}

pub fn announce(text: &str) -> Result<Announce, String> {
    let announce = match (bare_ip(text), text.parse::<SocketAddr>()) {
        (Some(ip), _) => Announce { ip, port: None },
        (None, Ok(address)) => Announce {
            ip: address.ip(),
            port: Some(address.port()),
        },
        (None, Err(_)) => return Err("is not ADDR[:PORT]".to_owned()),
    };
    if announce.ip.is_unspecified() || announce.port == Some(0) {
        return Err("cannot be reached by anybody: announce a real address and port".to_owned());
    }
    Ok(announce)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SipTransport {
    Udp,
    Tcp,
    Tls,
}

impl fmt::Display for SipTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SipTransport::Udp => "udp",
            SipTransport::Tcp => "tcp",
            SipTransport::Tls => "tls",
        })
    }
}

/// `udp:ADDR:PORT`, `tcp:` or `tls:`, ADDR empty for all addresses, with an optional `;announce=ADDR[:PORT]` and
/// `;name=NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipListen {
    pub transport: SipTransport,
    pub listen: Listen,
    pub announce: Option<Announce>,
    /// By which trunks choose it; empty: it has none.
    pub name: String,
}

pub fn sip_listen(text: &str) -> Result<SipListen, String> {
    let mut parts = text.split(';');
    let address = parts.next().unwrap_or_default().trim();
    let (transport, rest) = match address.split_once(':') {
        Some(("udp", rest)) => (SipTransport::Udp, rest),
        Some(("tcp", rest)) => (SipTransport::Tcp, rest),
        Some(("tls", rest)) => (SipTransport::Tls, rest),
        _ => return Err("is not udp:ADDR:PORT, tcp:ADDR:PORT or tls:ADDR:PORT".to_owned()),
    };
    // `udp::5060` leaves `:5060`, `udp:0.0.0.0:5060` a whole address.
    let listen = listen(rest)?;
    let mut sip = SipListen {
        transport,
        listen,
        announce: None,
        name: String::new(),
    };
    for parameter in parts {
        match parameter.trim().split_once('=') {
            Some(("announce", value)) => {
                sip.announce =
                    Some(announce(value).map_err(|why| format!("has an announce= that {why}"))?);
            }
            Some(("name", value)) if is_name(value) => sip.name = value.to_owned(),
            Some(("name", _)) => {
                return Err("has a name= with more than letters, digits, - and _".to_owned());
            }
            _ => {
                return Err(format!(
                    "has a parameter \"{}\" other than announce= and name=",
                    parameter.trim()
                ));
            }
        }
    }
    Ok(sip)
}

fn is_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.len() <= 64 && text.bytes().all(good)
}

/// Where SIP may be sent in addition to the networks of this box: an address, a network or a host name, with
/// an optional port: `203.0.113.7`, `203.0.113.0/24:5060`, `[2001:db8::]/32:5060`, `sip.carrier.example`.
///
/// The trunk's own type is made of the text where it is used; here the form is checked.
pub fn target(text: &str) -> Result<String, String> {
    const FORM: &str = "is not an address, a network (ADDR/PREFIX) or a host name, \
                        with :PORT if wanted ([ADDR] for IPv6 with a port)";
    let (host, prefix, port) = split_target(text).ok_or(FORM)?;
    let longest = match bare_ip(host) {
        Some(IpAddr::V4(_)) => 32,
        Some(IpAddr::V6(_)) => 128,
        None => 0,
    };
    let is_name = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && host.bytes().any(|b| b.is_ascii_alphabetic());
    let good_host = longest > 0 || is_name;
    let good_prefix =
        prefix.is_none_or(|text| longest > 0 && text.parse::<u8>().is_ok_and(|p| p <= longest));
    let good_port = port.is_none_or(|text| text.parse::<u16>().is_ok_and(|port| port != 0));
    if good_host && good_prefix && good_port {
        Ok(text.to_owned())
    } else {
        Err(FORM.to_owned())
    }
}

/// Host, prefix and port. A colon parts the port unless there are several and no bracket.
fn split_target(text: &str) -> Option<(&str, Option<&str>, Option<&str>)> {
    let after_bracket = text.find(']').map_or(0, |end| end + 1);
    let (main, port) = match text.get(after_bracket..)?.split_once(':') {
        Some((between, port)) if after_bracket > 0 || !port.contains(':') => {
            (text.get(..after_bracket + between.len())?, Some(port))
        }
        _ => (text, None),
    };
    Some(match main.split_once('/') {
        Some((host, prefix)) => (host, Some(prefix), port),
        None => (main, None, port),
    })
}

/// How `sip.reliable_provisional` is spelt.
pub fn reliable_provisional(text: &str) -> Result<ReliableProvisional, String> {
    match text {
        "off" => Ok(ReliableProvisional::Off),
        "when-sdp" => Ok(ReliableProvisional::WhenSdp),
        "always" => Ok(ReliableProvisional::Always),
        _ => Err("is none of \"off\", \"when-sdp\" and \"always\"".to_owned()),
    }
}

/// How `sip.redirect` is spelt.
pub fn redirect(text: &str) -> Result<Redirect, String> {
    match text {
        "follow" => Ok(Redirect::Follow),
        "refuse" => Ok(Redirect::Refuse),
        _ => Err("is neither \"follow\" nor \"refuse\"".to_owned()),
    }
}

/// `FIRST-LAST`; `0` (or `0-0`) lets the system choose each.
pub fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    if text == "0" {
        return Ok(0..=0);
    }
    let range = text.split_once('-').and_then(|(first, last)| {
        Some(first.trim().parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?)
    });
    match range {
        Some(range) if range.start() <= range.end() => Ok(range),
        _ => Err("is not a range of ports such as 20000-29999".to_owned()),
    }
}

/// Another role's address on the link: `media=ADDR:PORT` or `trunk=ADDR:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPeer {
    pub role: Role,
    pub address: SocketAddr,
}

pub fn link_peer(text: &str) -> Result<LinkPeer, String> {
    let (role, address) = match text.split_once('=') {
        Some(("media", address)) => (Role::Media, address),
        Some(("trunk", address)) => (Role::Trunk, address),
        _ => return Err("is not media=ADDR:PORT or trunk=ADDR:PORT".to_owned()),
    };
    Ok(LinkPeer {
        role,
        address: socket_address(address)?,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Role {
    Signaling,
    Trunk,
    Media,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Signaling => "signaling",
            Role::Trunk => "trunk",
            Role::Media => "media",
        }
    }
}

/// The name of a header field that a page may add to an INVITE. Which of them the gateway writes by itself, and
/// would never take from a page, is the trunk's to know.
pub fn page_header(text: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    if !text.is_empty() && text.bytes().all(token) {
        Ok(text.to_owned())
    } else {
        Err("is not the name of a SIP header field".to_owned())
    }
}

/// An origin that may read the admin pages from a browser: `https://console.example`.
pub fn origin(text: &str) -> Result<String, String> {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let plain = |host: &str| {
        !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'*' | b'@' | b'?' | b'#'))
    };
    match host {
        Some(host) if plain(host) => Ok(text.to_ascii_lowercase()),
        _ => Err("is not an origin such as https://console.example, without a path".to_owned()),
    }
}

/// A level, or a list of `MODULE=LEVEL`, as `tracing_subscriber::EnvFilter` reads it.
pub fn log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    // A lone word that is no level would be a module to the filter, and silence all others.
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    let clear = text
        .split(',')
        .all(|directive| directive.contains('=') || is_level(directive));
    if clear && tracing_subscriber::EnvFilter::try_new(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err("is not error, warn, info, debug, trace or off (or a list of MODULE=LEVEL)".to_owned())
    }
}
