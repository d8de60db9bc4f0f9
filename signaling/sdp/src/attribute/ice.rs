use std::fmt;
use std::net::SocketAddr;

/// `a=fingerprint:<hash> <hex pairs>` (RFC 8122 §5). The hash name comes in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// In lower case.
    pub hash: String,
    pub digest: Vec<u8>,
}

impl Fingerprint {
    pub fn parse(value: &str) -> Option<Fingerprint> {
        let (hash, hex) = value.trim().split_once(|c: char| c.is_ascii_whitespace())?;
        let digest = hex
            .trim()
            .split(':')
            .map(|pair| {
                (pair.len() == 2)
                    .then(|| u8::from_str_radix(pair, 16).ok())
                    .flatten()
            })
            .collect::<Option<Vec<u8>>>()?;
        Some(Fingerprint {
            hash: hash.to_ascii_lowercase(),
            digest,
        })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.hash)?;
        for (n, byte) in self.digest.iter().enumerate() {
            write!(f, "{}{byte:02X}", if n == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// `a=setup` (RFC 4145 §4, RFC 5763 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    ActPass,
    Active,
    Passive,
}

impl Setup {
    pub fn parse(value: &str) -> Option<Setup> {
        match value.trim().to_ascii_lowercase().as_str() {
            "actpass" => Some(Setup::ActPass),
            "active" => Some(Setup::Active),
            "passive" => Some(Setup::Passive),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Setup::ActPass => "actpass",
            Setup::Active => "active",
            Setup::Passive => "passive",
        }
    }
}

/// A host candidate of ours (RFC 8839 §5.1, RFC 6544 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub foundation: u32,
    /// 1: RTP, 2: RTCP.
    pub component: u8,
    pub tcp_passive: bool,
    pub priority: u32,
    pub address: SocketAddr,
}

/// A candidate of a peer's, as far as anybody here looks at it: component, and address where that is numeric and UDP.
pub fn candidate_address(value: &str) -> Option<(u8, SocketAddr)> {
    let mut words = value.split_ascii_whitespace();
    let component = words.nth(1)?.parse().ok()?;
    let transport = words.next()?;
    let ip = words.nth(1)?.parse().ok()?;
    let port = words.next()?.parse().ok()?;
    transport
        .eq_ignore_ascii_case("udp")
        .then_some((component, SocketAddr::new(ip, port)))
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Candidate {
            foundation,
            component,
            tcp_passive,
            priority,
            address,
        } = self;
        let (transport, suffix) = if *tcp_passive {
            ("tcp", " tcptype passive")
        } else {
            ("udp", "")
        };
        let (ip, port) = (address.ip(), address.port());
        write!(
            f,
            "{foundation} {component} {transport} {priority} {ip} {port} typ host{suffix}"
        )
    }
}
