//! The look-ups of one request in their order (RFC 3263 §4): NAPTR says what is spoken there, SRV by which hosts, A and
//! AAAA where those are.
//!
//! NAPTR and the usual SRV names are asked for at once: most answers of NAPTR are those very names, and where there
//! are none nobody waits for a second round.

use crate::agent::{Agent, Due, Output};
use crate::limits::{LOOKUP_TIMEOUT, MAX_HOPS, MAX_LOOKUPS, MAX_NAMES, POINTER_PATIENCE};
use crate::net::{Hop, Transport};
use crate::requests::Phase;
use crate::targets::{Answer, Pointer, Question, Service};
use serde::{Deserialize, Serialize};
use signaling_sip::time::Instant;
use std::net::{IpAddr, SocketAddr};

/// Where one request's look-up stands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lookup {
    host: String,
    /// What must be spoken; `None`: whatever is offered.
    transport: Option<Transport>,
    pointers: Vec<Pointer>,
    /// SRV names in the order in which they are to be tried.
    kinds: Vec<(Transport, String)>,
    services: Vec<(String, Vec<Service>)>,
    /// Hosts in the order in which they are to be tried.
    names: Vec<(Transport, String, u16)>,
    addresses: Vec<(String, Vec<IpAddr>)>,
    waiting: Vec<(u64, Question)>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// NAPTR and the usual SRV names.
    #[default]
    Kinds,
    /// SRV names that NAPTR gave.
    Services,
    Addresses,
}

/// A host's name and what is known of how to reach it.
pub(crate) struct Wanted {
    pub host: String,
    pub port: Option<u16>,
    pub transport: Option<Transport>,
    /// The URI names the transport itself: NAPTR has no say (RFC 3263 §4.1).
    pub explicit: bool,
}

impl Agent {
    pub(crate) fn look_up(&mut self, request: u64, wanted: Wanted, now: Instant) {
        if self.s.queries.len() >= MAX_LOOKUPS {
            let cause = crate::api::Cause::Overloaded;
            return self.fail(request, cause, "too many look-ups", now);
        }
        let Wanted {
            host,
            port,
            transport,
            explicit,
        } = wanted;
        let mut lookup = Lookup {
            host: host.clone(),
            transport,
            ..Lookup::default()
        };
        let mut questions = Vec::new();
        if let Some(port) = port {
            // An explicit port means neither NAPTR nor SRV (RFC 3263 §4.1, §4.2).
            lookup.stage = Stage::Addresses;
            lookup
                .names
                .push((transport.unwrap_or(Transport::Udp), host.clone(), port));
            questions.push(Question::Addresses { name: host });
        } else {
            lookup.kinds = usual_kinds(&host, transport);
            let names = lookup.kinds.iter().map(|(_, name)| name.clone());
            questions.extend(names.map(|name| Question::Services { name }));
            if !explicit {
                questions.push(Question::Pointers { name: host });
            }
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
        if !lookup.take(query, answer) {
            return;
        }
        if lookup.waiting.is_empty() {
            self.go_on_looking(request, now);
        } else if lookup.waits_for_pointers_alone() && !lookup.services.is_empty() {
            self.s
                .schedule
                .set(Due::Request(request), Some(now + POINTER_PATIENCE));
        }
    }

    /// A look-up took too long. Some resolvers never answer what they do not know: without NAPTR there is still SRV.
    pub(crate) fn on_request_due(&mut self, request: u64, now: Instant) {
        if let Some(entry) = self.s.requests.get_mut(&request)
            && let Phase::Looking(lookup) = &mut entry.phase
            && lookup.waits_for_pointers_alone()
        {
            for (query, _) in std::mem::take(&mut lookup.waiting) {
                self.s.queries.remove(&query);
            }
            return self.go_on_looking(request, now);
        }
        let cause = crate::api::Cause::Unreachable;
        self.fail(request, cause, "name look-up took too long", now);
    }

    /// All answers of a stage are in.
    fn go_on_looking(&mut self, request: u64, now: Instant) {
        let Some(entry) = self.s.requests.get_mut(&request) else {
            return;
        };
        let Phase::Looking(lookup) = &mut entry.phase else {
            return;
        };
        let mut lookup = std::mem::take(&mut **lookup);
        if lookup.stage == Stage::Addresses {
            let hops = lookup.hops();
            return self.take_hops(request, &lookup.host, hops, now);
        }
        if lookup.stage == Stage::Kinds {
            let has = |transport| {
                let mut own = self.config.listeners.iter();
                own.any(|l| l.transport == transport)
            };
            lookup.choose_kinds(has);
            let missing = lookup.missing_services();
            if !missing.is_empty() {
                lookup.stage = Stage::Services;
                return self.ask(request, lookup, missing, now);
            }
        }
        lookup.stage = Stage::Addresses;
        lookup.names = self.order(&lookup);
        if lookup.names.is_empty() {
            let transport = lookup.transport.unwrap_or(Transport::Udp);
            lookup
                .names
                .push((transport, lookup.host.clone(), transport.port()));
        }
        let mut names: Vec<String> = Vec::new();
        for (_, name, _) in &lookup.names {
            if !names.contains(name) && names.len() < MAX_NAMES {
                names.push(name.clone());
            }
        }
        let questions = names.into_iter().map(|name| Question::Addresses { name });
        self.ask(request, lookup, questions.collect(), now);
    }

    /// By what NAPTR prefers, else UDP before TCP; within one by priority, and within that by weighted lot (RFC 2782).
    fn order(&mut self, lookup: &Lookup) -> Vec<(Transport, String, u16)> {
        let mut ordered = Vec::new();
        for (transport, kind) in &lookup.kinds {
            let found = lookup.services.iter().filter(|(name, _)| name == kind);
            let mut services: Vec<&Service> = found.flat_map(|(_, services)| services).collect();
            services.truncate(MAX_HOPS);
            // Those of no weight first, so that they have a small chance.
            services.sort_by_key(|s| (s.priority, s.weight));
            while let Some(priority) = services.first().map(|s| s.priority) {
                let group = services.iter().take_while(|s| s.priority == priority);
                let weights: Vec<u64> = group.map(|s| u64::from(s.weight)).collect();
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
                let service = services.remove(chosen);
                let target = plain(&service.target);
                if ordered.len() < MAX_HOPS {
                    ordered.push((*transport, target, service.port));
                }
            }
        }
        ordered
    }
}

impl Lookup {
    /// False for an answer that nobody waits for.
    fn take(&mut self, query: u64, answer: Answer) -> bool {
        let Some(at) = self.waiting.iter().position(|(q, _)| *q == query) else {
            return false;
        };
        let (_, question) = self.waiting.swap_remove(at);
        match (question, answer) {
            (Question::Services { name }, Answer::Services(services)) => {
                // A target of "." says that the service is not there (RFC 2782).
                let usable = services
                    .into_iter()
                    .filter(|s| !s.target.trim_end_matches('.').is_empty());
                self.services.push((name, usable.collect()));
            }
            (Question::Services { name }, _) => self.services.push((name, Vec::new())),
            (Question::Pointers { .. }, Answer::Pointers(pointers)) => self.pointers = pointers,
            (Question::Addresses { name }, Answer::Addresses(ips)) => {
                self.addresses.push((name, ips));
            }
            (Question::Pointers { .. } | Question::Addresses { .. }, _) => {}
        }
        true
    }

    fn waits_for_pointers_alone(&self) -> bool {
        let mut waiting = self.waiting.iter();
        !self.waiting.is_empty() && waiting.all(|(_, q)| matches!(q, Question::Pointers { .. }))
    }

    /// What NAPTR offers and we can speak, in its order; the usual names where that is nothing.
    fn choose_kinds(&mut self, has: impl Fn(Transport) -> bool) {
        let mut pointers = std::mem::take(&mut self.pointers);
        pointers.sort_by_key(|pointer| (pointer.order, pointer.preference));
        let mut kinds: Vec<(Transport, String)> = Vec::new();
        for pointer in &pointers {
            let Some(transport) = pointer.transport() else {
                continue;
            };
            // `sips:` is not found by less (RFC 3263 §4.1).
            let fits = self.transport.is_none_or(|wanted| wanted == transport);
            let kind = (transport, plain(&pointer.replacement));
            if fits && has(transport) && !kinds.contains(&kind) && kinds.len() < MAX_NAMES {
                kinds.push(kind);
            }
        }
        if !kinds.is_empty() {
            self.kinds = kinds;
        }
    }

    fn missing_services(&self) -> Vec<Question> {
        let known = |name: &String| self.services.iter().any(|(known, _)| known == name);
        let kinds = self.kinds.iter().map(|(_, name)| name);
        let missing = kinds.filter(|name| !known(name)).cloned();
        missing.map(|name| Question::Services { name }).collect()
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

impl Pointer {
    /// What is spoken there; `None`: not SIP, or by no way that we know (RFC 3263 §4.1 has flag `s` alone).
    fn transport(&self) -> Option<Transport> {
        let leads = self.regexp.is_empty() && !self.replacement.trim_end_matches('.').is_empty();
        if !leads || !self.flags.eq_ignore_ascii_case("s") {
            return None;
        }
        match self.service.to_ascii_uppercase().as_str() {
            "SIP+D2U" => Some(Transport::Udp),
            "SIP+D2T" => Some(Transport::Tcp),
            "SIPS+D2T" => Some(Transport::Tls),
            _ => None,
        }
    }
}

fn usual_kinds(host: &str, transport: Option<Transport>) -> Vec<(Transport, String)> {
    let services: &[(Transport, &str)] = match transport {
        None => &[(Transport::Udp, "_sip._udp"), (Transport::Tcp, "_sip._tcp")],
        Some(Transport::Udp) => &[(Transport::Udp, "_sip._udp")],
        Some(Transport::Tcp) => &[(Transport::Tcp, "_sip._tcp")],
        Some(Transport::Tls) => &[(Transport::Tls, "_sips._tcp")],
    };
    let name = |service: &str| format!("{service}.{host}");
    services
        .iter()
        .map(|(transport, service)| (*transport, name(service)))
        .collect()
}

/// As names are compared.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
