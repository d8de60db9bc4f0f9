//! From a URI to addresses (RFC 3263), and which of them may be sent to. Names are looked up by `finding`.

use crate::agent::{Agent, Due};
use crate::allowed::{is_allowed, is_never, is_ours};
use crate::api::{Cause, Failure};
use crate::finding::Wanted;
use crate::limits::MAX_HOPS;
use crate::net::{Hop, Transport, unmapped};
use crate::requests::Purpose;
use crate::tls::name_of;
use crate::trunks::is_of_line;
use serde::{Deserialize, Serialize};
use signaling_sip::message::{Host, SipUri, Uri};
use signaling_sip::time::Instant;
use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Question {
    /// A and AAAA of a name.
    Addresses { name: String },
    /// NAPTR of a domain.
    Pointers { name: String },
    /// SRV of a name like `_sip._udp.pbx.example`.
    Services { name: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Addresses(Vec<IpAddr>),
    Services(Vec<Service>),
    Pointers(Vec<Pointer>),
    /// No such name, or no answer in time.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// A NAPTR record (RFC 3403 §4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    pub order: u16,
    pub preference: u16,
    pub flags: String,
    pub service: String,
    pub regexp: String,
    pub replacement: String,
}

impl Agent {
    /// Finds out where a request goes and sends it there.
    pub(crate) fn resolve(&mut self, request: u64, next_hop: &[u8], now: Instant) {
        let uri = match Uri::parse(next_hop) {
            Ok(Uri::Sip(uri)) => uri,
            Ok(_) | Err(_) => {
                return self.fail(request, Cause::BadRequest, "no SIP address to send to", now);
            }
        };
        let secure = uri.secure || self.is_sips(request);
        let transport = match transport_of(&uri, secure) {
            Ok(transport) => transport,
            Err(what) => return self.fail(request, Cause::Unreachable, what, now),
        };
        // A proxy's plain port is not where it speaks TLS, which only the Request-URI asks for.
        let port = uri
            .port
            .filter(|port| uri.secure || !secure || *port != 5060);
        if let Some(entry) = self.s.requests.get_mut(&request) {
            entry.host = name_of(&uri.host);
        }
        let host = match uri.param("maddr").map(Host::parse) {
            Some(Ok(maddr)) => maddr,
            Some(Err(_)) | None => uri.host.clone(),
        };
        match host {
            Host::Ip(ip) => {
                let transport = transport.unwrap_or(Transport::Udp);
                let remote = SocketAddr::new(ip, port.unwrap_or(transport.port()));
                let hop = Hop {
                    transport,
                    remote,
                    whatever_length: false,
                };
                self.take_hops(request, &ip.to_string(), vec![hop], now);
            }
            Host::Name(host) => {
                let wanted = Wanted {
                    host,
                    port,
                    transport,
                    explicit: uri.param("transport").is_some(),
                };
                self.look_up(request, wanted, now);
            }
        }
    }

    /// Whether a request goes to a server of a trunk, which the operator wrote into the settings, or inside a call to
    /// where that trunk's requests come from: neither need be among `sip.allowed_targets`.
    fn named_by_operator(&self, request: u64, hops: &[Hop]) -> bool {
        let Some(entry) = self.s.requests.get(&request) else {
            return false;
        };
        let Some(account) = self.s.accounts.get(&entry.account) else {
            return false;
        };
        if account.line.is_none() || self.is_away(&entry.purpose) {
            return false;
        }
        let own = |hop: &Hop| {
            account.peers.contains(&hop.remote.ip()) || self.is_source_of(entry.account, hop.remote)
        };
        account.servers.contains(&entry.way) || !hops.is_empty() && hops.iter().all(own)
    }

    /// Keeps what may be sent to, and starts with the first.
    pub(crate) fn take_hops(&mut self, request: u64, name: &str, mut hops: Vec<Hop>, now: Instant) {
        if hops.is_empty() {
            return self.fail(request, Cause::Unreachable, "no address found", now);
        }
        hops.truncate(MAX_HOPS);
        let config = &self.config;
        let ours = hops.iter().all(|hop| {
            is_ours(
                &config.interfaces,
                &config.listeners,
                &config.others,
                hop.remote,
            )
        });
        let named = self.named_by_operator(request, &hops);
        let home = match self.s.requests.get(&request).map(|r| &r.purpose) {
            Some(Purpose::Ring(invite, ring)) => self.home_of_ring(*invite, *ring),
            _ => None,
        };
        let config = &self.config;
        if let Some(home) = home {
            hops.retain(|hop| {
                unmapped(hop.remote.ip()) == home
                    || config.allowed.iter().any(|e| e.allows(name, hop.remote))
            });
        }
        hops.retain(|hop| {
            let own = named && !is_never(hop.remote.ip()) && hop.remote.port() != 0;
            let own = own
                && !is_ours(
                    &config.interfaces,
                    &config.listeners,
                    &config.others,
                    hop.remote,
                );
            own || is_allowed(
                &config.allowed,
                &config.interfaces,
                &config.listeners,
                &config.others,
                name,
                hop.remote,
            )
        });
        if hops.is_empty() {
            // A PBX beside us on the same port is the likeliest mistake, and no setting of ours allows it.
            let why = if ours {
                "that is an address of the gateway itself"
            } else {
                "address not among sip.allowed_targets"
            };
            return self.fail(request, Cause::NotAllowed, why, now);
        }
        let Some(entry) = self.s.requests.get(&request) else {
            return;
        };
        let (account, way) = (entry.account, entry.way.clone());
        let away = self.is_away(&entry.purpose);
        let begins = matches!(
            entry.purpose,
            Purpose::Register(_) | Purpose::Invite(_) | Purpose::Probe { .. }
        );
        let is_probe = matches!(entry.purpose, Purpose::Probe { .. });
        if is_of_line(account) && begins {
            if !away {
                self.note_addresses(account, &way, &hops);
            }
            if is_probe {
                self.drop_request(request);
                return self.probe_all(account, &way, &hops, now);
            }
            hops.retain(|hop| !self.s.resting.asks_for_rest(hop, now));
            if hops.is_empty() {
                let failure = Failure {
                    status: 503,
                    reason: "Service Unavailable: its Retry-After is not over".into(),
                    ..Failure::default()
                };
                return self.fail_with(request, failure, now);
            }
            self.returning_later(&mut hops, now);
        } else {
            self.rested_last(&mut hops, now);
        }
        let Some(entry) = self.s.requests.get_mut(&request) else {
            return;
        };
        entry.hops = hops.iter().copied().collect();
        let outside_dialog = matches!(entry.purpose, Purpose::Register(_) | Purpose::Invite(_));
        self.s.schedule.set(Due::Request(request), None);
        // Whom a 3xx named is no registrar of the account's, and may not ring it.
        if outside_dialog
            && !away
            && !is_of_line(account)
            && let Some(account) = self.s.accounts.get_mut(&account)
        {
            account.peers = hops.iter().map(|hop| hop.remote.ip()).collect();
        }
        let failure = Failure {
            cause: Cause::Unreachable,
            reason: "no address answers".into(),
            ..Failure::default()
        };
        self.try_next_hop(request, failure, now);
    }
}

fn transport_of(uri: &SipUri, secure: bool) -> Result<Option<Transport>, &'static str> {
    let asked = uri
        .param("transport")
        .map(<[u8]>::to_ascii_lowercase)
        .unwrap_or_default();
    match (asked.as_slice(), secure) {
        (b"" | b"tcp" | b"tls", true) | (b"tls", false) => Ok(Some(Transport::Tls)),
        (b"udp", true) => Err("sips: asks for TLS, and the way to it is by UDP"),
        (b"", false) => Ok(None),
        (b"udp", false) => Ok(Some(Transport::Udp)),
        (b"tcp", false) => Ok(Some(Transport::Tcp)),
        (_, _) => Err("unknown SIP transport"),
    }
}
