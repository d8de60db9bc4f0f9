//! Addresses, flows and streams as the agent knows them.

use crate::tls::{PeerCertificate, TlsOpen};
use serde::{Deserialize, Serialize};
use signaling_sip::message::StreamFramer;
use signaling_sip::time::Instant;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    /// Where nothing else is said (RFC 3261 §19.1.2).
    pub fn port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
        }
    }
}

/// One connection. Accepted ones have odd numbers, drawn by the shell; those we open have even ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamId(pub u64);

/// An address that the shell listens on; never a wildcard, the shell opens one for each of its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub transport: Transport,
    pub bound: SocketAddr,
    /// What Via and Contact say instead, behind a NAT with a fixed mapping.
    pub announce: Option<SocketAddr>,
    /// `name=` of `sip.listen`: trunks choose it by this. Empty where it has none.
    #[serde(default)]
    pub name: String,
}

impl Listener {
    pub fn public(&self) -> SocketAddr {
        self.announce.unwrap_or(self.bound)
    }
}

/// Where something came from, and where its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Path {
    Datagram {
        local: SocketAddr,
        remote: SocketAddr,
    },
    Stream {
        stream: StreamId,
        remote: SocketAddr,
        /// TLS.
        secure: bool,
    },
}

impl Path {
    pub fn remote(&self) -> SocketAddr {
        match self {
            Path::Datagram { remote, .. } | Path::Stream { remote, .. } => *remote,
        }
    }

    pub fn transport(&self) -> Transport {
        match self {
            Path::Datagram { .. } => Transport::Udp,
            Path::Stream { secure: false, .. } => Transport::Tcp,
            Path::Stream { secure: true, .. } => Transport::Tls,
        }
    }

    pub fn is_reliable(&self) -> bool {
        self.transport().is_reliable()
    }
}

/// One address to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    pub transport: Transport,
    pub remote: SocketAddr,
    /// TCP was tried in vain: long requests go by UDP all the same.
    pub whatever_length: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub remote: SocketAddr,
    /// TLS.
    #[serde(default)]
    pub secure: bool,
    /// What was asked of the far end of one that we opened.
    #[serde(default)]
    pub tls: Option<TlsOpen>,
    /// What the far end of one that we accepted showed.
    #[serde(default)]
    pub peer: Option<PeerCertificate>,
    /// Where its peer listens, as the `alias` in its Via says (RFC 5923 §8).
    #[serde(default)]
    pub alias: Option<SocketAddr>,
    pub up: bool,
    /// Requests that wait for the connection.
    pub waiting: VecDeque<u64>,
    /// When a message came over it; `None`: never.
    pub heard: Option<Instant>,
    pub since: Instant,
    /// A request inside a dialog came over it.
    #[serde(default)]
    pub in_call: bool,
    #[serde(with = "framer")]
    pub framer: StreamFramer,
}

mod framer {
    use super::StreamFramer;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(framer: &StreamFramer, to: S) -> Result<S::Ok, S::Error> {
        framer.pending().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StreamFramer, D::Error> {
        let bytes = Vec::<u8>::deserialize(from)?;
        let mut framer = StreamFramer::default();
        framer.push(&bytes);
        Ok(framer)
    }
}

/// `::ffff:a.b.c.d` is `a.b.c.d` for every decision.
pub fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// `ip` lies in `network/prefix`.
pub fn contains(network: IpAddr, prefix: u8, ip: IpAddr) -> bool {
    match (unmapped(network), unmapped(ip)) {
        (IpAddr::V4(net), IpAddr::V4(ip)) => {
            let shift = 32u32.saturating_sub(u32::from(prefix));
            let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
            u32::from(net) & mask == u32::from(ip) & mask
        }
        (IpAddr::V6(net), IpAddr::V6(ip)) => {
            let shift = 128u32.saturating_sub(u32::from(prefix));
            let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
            u128::from(net) & mask == u128::from(ip) & mask
        }
        _ => false,
    }
}

/// The listener that reaches `remote`: the one whose network it is on, else one of its family. `name`: only those
/// that are called so, unless it is empty.
pub fn listener_for(
    listeners: &[Listener],
    interfaces: &[(IpAddr, u8)],
    transport: Transport,
    remote: IpAddr,
    name: &str,
) -> Option<Listener> {
    let remote = unmapped(remote);
    let rank = |listener: &Listener| {
        let ip = unmapped(listener.bound.ip());
        let near = interfaces
            .iter()
            .any(|(own, prefix)| unmapped(*own) == ip && contains(*own, *prefix, remote));
        if ip == remote {
            0
        } else if near || (ip.is_loopback() && remote.is_loopback()) {
            1
        } else if ip.is_loopback() == remote.is_loopback() {
            2
        } else {
            3
        }
    };
    listeners
        .iter()
        .filter(|l| {
            l.transport == transport
                && unmapped(l.bound.ip()).is_ipv4() == remote.is_ipv4()
                && (name.is_empty() || l.name == name)
        })
        .min_by_key(|l| rank(l))
        .cloned()
}
