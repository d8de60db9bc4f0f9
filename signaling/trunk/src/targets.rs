//! From a URI to addresses (RFC 3263): numbers, explicit ports, SRV with weights, A and AAAA. NAPTR is
//! left out: its answers are nearly always the SRV names that we ask for anyhow.

use crate::agent::{Agent, Due, Output};
use crate::allowed::{is_allowed, is_ours};
use crate::api::{Cause, Failure};
use crate::limits::{LOOKUP_TIMEOUT, MAX_HOPS, MAX_LOOKUPS, MAX_NAMES};
use crate::net::{Hop, Transport};
use crate::requests::{Phase, Purpose};
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
    /// SRV of a name like `_sip._udp.pbx.example`.
    Services { name: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Addresses(Vec<IpAddr>),
    Services(Vec<Service>),
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

/// Where one request's look-up stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lookup {
    host: String,
    transport: Option<Transport>,
    /// Names in the order in which they are to be tried.
    names: Vec<(Transport, String, u16)>,
    services: Vec<(Transport, Service)>,
    addresses: Vec<(String, Vec<IpAddr>)>,
    waiting: Vec<(u64, Question)>,
    /// The SRV answers are in; addresses are asked for.
    second: bool,
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
            Host::Name(name) => self.look_up(request, name, port, transport, now),
        }
    }

    fn look_up(
        &mut self,
        request: u64,
        host: String,
        port: Option<u16>,
        transport: Option<Transport>,
        now: Instant,
    ) {
        if self.s.queries.len() >= MAX_LOOKUPS {
            return self.fail(request, Cause::Overloaded, "too many look-ups", now);
        }
        let mut lookup = Lookup {
            host: host.clone(),
            transport,
            names: Vec::new(),
            services: Vec::new(),
            addresses: Vec::new(),
            waiting: Vec::new(),
            second: false,
        };
        let mut questions = Vec::new();
        if let Some(port) = port {
            // An explicit port means no SRV (RFC 3263 §4.2).
            lookup.second = true;
            lookup
                .names
                .push((transport.unwrap_or(Transport::Udp), host.clone(), port));
            questions.push(Question::Addresses { name: host });
        } else {
            let services: &[&str] = match transport {
                None => &["_sip._udp", "_sip._tcp"],
                Some(Transport::Udp) => &["_sip._udp"],
                Some(Transport::Tcp) => &["_sip._tcp"],
                Some(Transport::Tls) => &["_sips._tcp"],
            };
            questions.extend(services.iter().map(|service| Question::Services {
                name: format!("{service}.{host}"),
            }));
        }
        self.ask(request, lookup, questions, now);
    }

    fn ask(&mut self, request: u64, mut lookup: Lookup, questions: Vec<Question>, now: Instant) {
        for question in questions {
            let query = self.draw();
            lookup.waiting.push((query, question.clone()));
            self.s.queries.insert(query, request);
            self.push(Output::Ask { query, question });
        }
        if let Some(entry) = self.s.requests.get_mut(&request) {
            entry.phase = Phase::Looking(Box::new(lookup));
            self.s
                .schedule
                .set(Due::Request(request), Some(now + LOOKUP_TIMEOUT));
        }
    }

    pub(crate) fn on_answer(&mut self, query: u64, answer: Answer, now: Instant) {
        let Some(request) = self.s.queries.remove(&query) else {
            return;
        };
        let Some(entry) = self.s.requests.get_mut(&request) else {
            return;
        };
        let Phase::Looking(lookup) = &mut entry.phase else {
            return;
        };
        let Some(at) = lookup.waiting.iter().position(|(q, _)| *q == query) else {
            return;
        };
        let (_, question) = lookup.waiting.swap_remove(at);
        match (question, answer) {
            (Question::Services { name }, Answer::Services(services)) => {
                let transport = if name.starts_with("_sips._tcp.") {
                    Transport::Tls
                } else if name.starts_with("_sip._tcp.") {
                    Transport::Tcp
                } else {
                    Transport::Udp
                };
                // A target of "." says that the service is not there (RFC 2782).
                let usable = services
                    .into_iter()
                    .filter(|s| !s.target.trim_end_matches('.').is_empty());
                lookup.services.extend(usable.map(|s| (transport, s)));
            }
            (Question::Addresses { name }, Answer::Addresses(ips)) => {
                lookup.addresses.push((name, ips))
            }
            (_, _) => {}
        }
        if !lookup.waiting.is_empty() {
            return;
        }
        let mut lookup = std::mem::replace(&mut **lookup, Lookup::nothing());
        if lookup.second {
            let host = lookup.host.clone();
            let hops = lookup.hops();
            return self.take_hops(request, &host, hops, now);
        }
        lookup.second = true;
        let services = std::mem::take(&mut lookup.services);
        lookup.names = self.order(services);
        if lookup.names.is_empty() {
            let transport = lookup.transport.unwrap_or(Transport::Udp);
            lookup
                .names
                .push((transport, lookup.host.clone(), transport.port()));
        }
        let mut names: Vec<String> = lookup
            .names
            .iter()
            .map(|(_, name, _)| name.clone())
            .collect();
        names.sort();
        names.dedup();
        let questions = names
            .into_iter()
            .take(MAX_NAMES)
            .map(|name| Question::Addresses { name })
            .collect();
        self.ask(request, lookup, questions, now);
    }

    /// By priority; within one by weighted lot (RFC 2782). UDP before TCP where both are offered.
    fn order(&mut self, mut services: Vec<(Transport, Service)>) -> Vec<(Transport, String, u16)> {
        services.truncate(MAX_HOPS);
        let mut ordered = Vec::new();
        services.sort_by_key(|(transport, s)| (*transport, s.priority));
        while let Some((transport, priority)) = services.first().map(|(t, s)| (*t, s.priority)) {
            let group = services
                .iter()
                .take_while(|(t, s)| *t == transport && s.priority == priority);
            let weights: Vec<u64> = group.map(|(_, s)| u64::from(s.weight)).collect();
            let total: u64 = weights.iter().sum();
            let mut lot = self.s.dice.below(total + 1);
            let mut chosen = 0;
            for (at, weight) in weights.iter().enumerate() {
                chosen = at;
                if lot <= *weight {
                    break;
                }
                lot -= weight;
            }
            let (transport, service) = services.remove(chosen);
            let target = service.target.trim_end_matches('.').to_ascii_lowercase();
            ordered.push((transport, target, service.port));
        }
        ordered
    }

    /// Keeps what may be sent to, and starts with the first.
    fn take_hops(&mut self, request: u64, name: &str, mut hops: Vec<Hop>, now: Instant) {
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
        hops.retain(|hop| {
            is_allowed(
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

impl Lookup {
    fn nothing() -> Lookup {
        Lookup {
            host: String::new(),
            transport: None,
            names: Vec::new(),
            services: Vec::new(),
            addresses: Vec::new(),
            waiting: Vec::new(),
            second: true,
        }
    }

    fn hops(&self) -> Vec<Hop> {
        let mut hops = Vec::new();
        for (transport, name, port) in &self.names {
            let ips = self
                .addresses
                .iter()
                .filter(|(n, _)| n == name)
                .flat_map(|(_, ips)| ips);
            for ip in ips {
                let remote = SocketAddr::new(*ip, *port);
                hops.push(Hop {
                    transport: *transport,
                    remote,
                    whatever_length: false,
                });
            }
        }
        hops
    }
}

/// `secure`: the URI, or what is asked for by way of it, is `sips:`; then `transport=tcp` is TLS over TCP as well
/// (RFC 3261 §26.2.2).
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
