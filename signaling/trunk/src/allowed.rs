//! Where we may be made to send: `sip.allowed_targets`.
//!
//! A page names domains, proxies and numbers, a peer names Contacts and Routes, a name server addresses.
//! The check is on the address really used, after all of them had their say.

use crate::net::{Listener, contains, unmapped};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One entry of the setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    Network {
        ip: IpAddr,
        prefix: u8,
        port: Option<u16>,
    },
    /// Matches the name that was asked for, whatever address it has (the never-list still holds).
    Host { name: String, port: Option<u16> },
}

impl Entry {
    /// `CIDR`, `ADDRESS`, `HOST`, each with an optional `:port` (`[v6]:port`).
    pub fn parse(text: &str) -> Result<Entry, String> {
        let bad = || format!("{text:?} is neither an address, a network nor a host");
        let (main, port) = split_port(text);
        let port = match port {
            None => None,
            Some(port) => Some(port.parse().map_err(|_| bad())?),
        };
        let (address, prefix) = match main.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| bad())?)),
            None => (main, None),
        };
        let address = address.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = address.parse::<IpAddr>() {
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.unwrap_or(longest);
            return if prefix <= longest {
                Ok(Entry::Network { ip, prefix, port })
            } else {
                Err(bad())
            };
        }
        let is_name = main
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if prefix.is_some() || main.is_empty() || !is_name {
            return Err(bad());
        }
        Ok(Entry::Host {
            name: main.to_ascii_lowercase(),
            port,
        })
    }

    pub(crate) fn allows(&self, name: &str, to: SocketAddr) -> bool {
        match self {
            Entry::Network { ip, prefix, port } => {
                contains(*ip, *prefix, to.ip())
                    && port.map_or(usual_port(to.port()), |p| p == to.port())
            }
            Entry::Host { name: wanted, port } => {
                wanted.eq_ignore_ascii_case(name)
                    && port.map_or(usual_port(to.port()), |p| p == to.port())
            }
        }
    }
}

fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some(end) = text.rfind(']') {
        let (main, rest) = text.split_at(end + 1);
        return match rest.split_once(':') {
            Some(("", port)) => (main, Some(port)),
            // "[2001:db8::]/32:5060" is told as "[2001:db8::]/32" and "5060".
            Some((between, port)) => (
                text.get(..end + 1 + between.len()).unwrap_or(text),
                Some(port),
            ),
            None => (text, None),
        };
    }
    if text.matches(':').count() == 1 {
        return text
            .split_once(':')
            .map_or((text, None), |(main, port)| (main, Some(port)));
    }
    (text, None)
}

/// 5060, 5061, and 1024 up: not the ports where other servers listen.
fn usual_port(port: u16) -> bool {
    port == 5060 || port == 5061 || port >= 1024
}

/// May a request of ours go to `to`, which `name` led to? `others`: where this process listens for anything
/// else than SIP.
pub fn is_allowed(
    entries: &[Entry],
    interfaces: &[(IpAddr, u8)],
    listeners: &[Listener],
    others: &[SocketAddr],
    name: &str,
    to: SocketAddr,
) -> bool {
    let ip = unmapped(to.ip());
    if to.port() == 0 || is_never(ip) || is_ours(interfaces, listeners, others, to) {
        return false;
    }
    if entries
        .iter()
        .any(|e| e.allows(name, SocketAddr::new(ip, to.port())))
    {
        return true;
    }
    let near = ip.is_loopback()
        || interfaces
            .iter()
            .any(|(own, prefix)| is_private(unmapped(*own)) && contains(*own, *prefix, ip));
    near && usual_port(to.port())
}

/// Whether this process itself listens at `to`, under its bound or its announced address.
pub fn is_ours(
    interfaces: &[(IpAddr, u8)],
    listeners: &[Listener],
    others: &[SocketAddr],
    to: SocketAddr,
) -> bool {
    let to = SocketAddr::new(unmapped(to.ip()), to.port());
    let own = listeners
        .iter()
        .map(|l| l.bound)
        .chain(others.iter().copied());
    is_own_listener(own, interfaces, to) || listeners.iter().any(|l| l.announce == Some(to))
}

fn is_own_listener(
    mut own: impl Iterator<Item = SocketAddr>,
    interfaces: &[(IpAddr, u8)],
    to: SocketAddr,
) -> bool {
    let is_own_ip =
        |ip: IpAddr| ip.is_loopback() || interfaces.iter().any(|(own, _)| unmapped(*own) == ip);
    own.any(|bound| {
        let ip = unmapped(bound.ip());
        let same_ip = ip == to.ip() || (ip.is_unspecified() && is_own_ip(to.ip()));
        same_ip && bound.port() == to.port()
    })
}

/// Not even when listed: neither a SIP server nor a phone's media lives there.
pub fn is_never(ip: IpAddr) -> bool {
    match unmapped(ip) {
        IpAddr::V4(v4) => {
            v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_link_local()
                || v4.octets()[0] == 0
                || v4.octets()[0] >= 240
                || METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => {
            // Addresses that carry an IPv4 one (compatible, NAT64, 6to4) would go around the v4 list.
            let segments = v6.segments();
            let carries_v4 = (segments[..6] == [0; 6] && !v6.is_loopback())
                || segments[0] == 0x2002
                || (segments[0] == 0x64 && segments[1] == 0xff9b);
            v6.is_unspecified()
                || v6.is_multicast()
                || (segments[0] & 0xffc0) == 0xfe80
                || carries_v4
                || METADATA_V6.contains(&v6)
        }
    }
}

/// Cloud metadata outside the link-local range (169.254.169.254 is inside).
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
];
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            v4.is_private()
                || v4.is_loopback()
                || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_loopback() || (v6.segments()[0] & 0xfe00) == 0xfc00,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Transport;

    fn allowed(entries: &[&str], name: &str, to: &str) -> bool {
        let entries: Vec<Entry> = entries.iter().map(|e| Entry::parse(e).unwrap()).collect();
        let interfaces = [
            ("127.0.0.1".parse().unwrap(), 8),
            ("192.168.7.2".parse().unwrap(), 24),
            ("203.0.113.5".parse().unwrap(), 24),
        ];
        let bound = "192.168.7.2:5060".parse().unwrap();
        let listeners = [Listener {
            transport: Transport::Udp,
            bound,
            announce: None,
            name: String::new(),
        }];
        let others = ["[::]:8080", "127.0.0.1:9090"].map(|other| other.parse().unwrap());
        let to = to.parse().unwrap();
        is_allowed(&entries, &interfaces, &listeners, &others, name, to)
    }

    #[test]
    fn loopback_and_the_private_networks_of_this_box_are_allowed() {
        assert!(allowed(&[], "", "127.0.0.1:15060"));
        assert!(allowed(&[], "", "192.168.7.9:5060"));
        assert!(allowed(&[], "", "[::ffff:192.168.7.9]:5061"));
        assert!(allowed(&[], "", "[::1]:5060"));
        assert!(
            !allowed(&[], "", "192.168.8.9:5060"),
            "private, but not ours"
        );
        assert!(
            !allowed(&[], "", "203.0.113.9:5060"),
            "ours, but not private"
        );
        assert!(!allowed(&[], "", "127.0.0.1:80"));
        assert!(!allowed(&[], "", "127.0.0.1:0"));
    }

    #[test]
    fn some_addresses_are_never_allowed_even_when_listed() {
        let all = ["0.0.0.0/0", "::/0"];
        let never = [
            "169.254.169.254:5060",
            "[::ffff:169.254.169.254]:5060",
            "[fd00:ec2::254]:5060",
            "224.0.1.75:5060",
            "0.0.0.0:5060",
            "255.255.255.255:5060",
            "[fe80::1]:5060",
            "[ff02::1]:5060",
            "[::]:5060",
            "[64:ff9b::a9fe:a9fe]:5060",
            "[2002:a9fe:a9fe::]:5060",
            "[::169.254.169.254]:5060",
            "100.100.100.200:5060",
        ];
        for to in never {
            assert!(!allowed(&all, "", to), "{to}");
        }
        assert!(!allowed(&all, "", "192.168.7.2:5060"), "our own listener");
        assert!(
            !allowed(&all, "", "[::ffff:192.168.7.2]:5060"),
            "our own listener, mapped"
        );
        assert!(allowed(&all, "", "198.51.100.1:5060"));
    }

    #[test]
    fn whatever_else_this_process_listens_on_is_not_a_sip_server() {
        let listed = ["127.0.0.1:9090", "192.168.7.2:8080", "0.0.0.0/0"];
        for to in [
            "127.0.0.1:9090",
            "127.0.0.1:8080",
            "[::1]:8080",
            "192.168.7.2:8080",
        ] {
            assert!(!allowed(&listed, "", to), "{to}");
        }
        assert!(allowed(&[], "", "192.168.7.9:8080"));
        assert!(allowed(&[], "", "127.0.0.1:9091"));
    }

    #[test]
    fn listed_networks_and_hosts_are_allowed_with_their_ports() {
        assert!(allowed(&["198.51.100.0/24"], "", "198.51.100.7:5060"));
        assert!(!allowed(&["198.51.100.0/24"], "", "198.51.100.7:80"));
        assert!(allowed(&["198.51.100.0/24:80"], "", "198.51.100.7:80"));
        assert!(!allowed(&["198.51.100.0/24:5070"], "", "198.51.100.7:5060"));
        assert!(allowed(
            &["sip.carrier.example"],
            "SIP.carrier.example",
            "198.51.100.7:5060"
        ));
        assert!(!allowed(
            &["sip.carrier.example"],
            "other.example",
            "198.51.100.7:5060"
        ));
        assert!(allowed(&["[2001:db8::]/32:5060"], "", "[2001:db8::7]:5060"));
        assert!(Entry::parse("10.0.0.0/33").is_err());
        assert!(Entry::parse("a b").is_err());
    }
}
