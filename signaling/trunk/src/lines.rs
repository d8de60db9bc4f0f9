//! The operator's own lines, beside the accounts of pages: trunks of the configuration, and the phones and PBXs
//! that register to us.
//!
//! Said as a whole by [`crate::agent::Input::Lines`], at the start and whenever the operator changed something;
//! what did not change goes on undisturbed, and calls on a line that is gone run to their end.

use crate::reliable::ReliableProvisional;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// All lines at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lines {
    pub registrar: RegistrarSpec,
    pub trunks: Vec<TrunkSpec>,
    pub phones: Vec<PhoneSpec>,
}

/// How we are a registrar (RFC 3261 §10.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistrarSpec {
    /// Of digest challenges; the HA1s were made for it. Empty: nobody can register.
    pub realm: String,
    /// Seconds: what is granted at most, and what is the least (423).
    pub max_expires_s: u32,
    pub min_expires_s: u32,
}

impl Default for RegistrarSpec {
    fn default() -> Self {
        RegistrarSpec {
            realm: String::new(),
            max_expires_s: 3_600,
            min_expires_s: 60,
        }
    }
}

/// Who may register to us. The hashes are secrets (`Debug` leaves them out).
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhoneSpec {
    /// User part of the address of record, and the digest's username.
    pub user: String,
    pub display: String,
    /// HA1 of RFC 8760's algorithms as hex: MD5, SHA-256, SHA-512-256. An empty one is not offered.
    pub ha1_md5: String,
    pub ha1_sha256: String,
    pub ha1_sha512_256: String,
    /// The trunk of the configuration that this registration is for: calls from its contacts are that trunk's.
    pub trunk: Option<String>,
    /// Contacts at once.
    pub max_contacts: u32,
}

impl std::fmt::Debug for PhoneSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PhoneSpec {{ {}, trunk: {:?} }}", self.user, self.trunk)
    }
}

/// A trunk of the configuration. The password is a secret (`Debug` leaves it out).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrunkSpec {
    pub name: String,
    pub mode: TrunkMode,
    /// Hosts, `host:port` or SIP URIs, in the order in which they are tried; each is looked up by RFC 3263. Empty
    /// for a trunk that registers to us.
    pub servers: Vec<String>,
    /// Of Request-URI, From and To; the first server's host where empty.
    pub domain: String,
    /// User of our registration, and digest username where `auth_name` is empty.
    pub login: String,
    pub auth_name: String,
    pub password: String,
    pub expires_s: u32,
    /// Networks that its requests may come from, beside its servers' own addresses.
    pub sources: Vec<(IpAddr, u8)>,
    /// Seconds between OPTIONS to each of its servers; 0: none are sent.
    pub probe_s: u32,
    /// What a server that says nothing may cost a call, milliseconds; then the next server is tried.
    pub attempt_ms: u32,
    /// `None`: as `sip.*` says for all.
    pub reliable_provisional: Option<ReliableProvisional>,
    pub session_expires_s: Option<u32>,
    /// Whether its P-Asserted-Identity is believed, and ours is told to it (RFC 3325 §9).
    pub trusted: bool,
    /// The listener (`sip.listen`'s `name=`) that its requests leave by; empty: the nearest.
    pub listener: String,
    /// `None`: the system's roots and nothing else.
    pub tls: Option<TlsSpec>,
}

impl Default for TrunkSpec {
    fn default() -> Self {
        TrunkSpec {
            name: String::new(),
            mode: TrunkMode::Address,
            servers: Vec::new(),
            domain: String::new(),
            login: String::new(),
            auth_name: String::new(),
            password: String::new(),
            expires_s: 300,
            sources: Vec::new(),
            probe_s: 30,
            attempt_ms: 4_000,
            reliable_provisional: None,
            session_expires_s: None,
            trusted: false,
            listener: String::new(),
            tls: None,
        }
    }
}

impl std::fmt::Debug for TrunkSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "TrunkSpec {{ {}, {:?}, servers: {:?} }}",
            self.name, self.mode, self.servers
        )
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrunkMode {
    /// We register to it.
    Register,
    /// Nobody registers: it is known by its addresses, or its client certificate.
    #[default]
    Address,
    /// It registers to us, as the phone whose `trunk` names it.
    Accept,
}

/// How TLS to and from one trunk is judged. PEM texts, not paths: the core touches no file, the shell reads them
/// again when they change. The key is a secret (`Debug` leaves it out).
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsSpec {
    /// Authorities that are believed instead of the system's; empty: the system's.
    pub roots_pem: String,
    /// SHA-256 of the peer's certificate (DER): then that very certificate and no authority counts.
    pub pinned_sha256: Option<[u8; 32]>,
    /// Name in SNI and in the certificate; empty: the host that the server's URI names (RFC 5922).
    pub server_name: String,
    /// What we show as a client; both or none.
    pub certificate_pem: String,
    pub key_pem: String,
    pub at_least_1_3: bool,
    /// Requests of this trunk must come over TLS with a certificate that passes the above.
    pub client_certificate: bool,
}

impl std::fmt::Debug for TlsSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "TlsSpec {{ pinned: {}, server_name: {:?}, client_certificate: {} }}",
            self.pinned_sha256.is_some(),
            self.server_name,
            self.client_certificate
        )
    }
}
