//! Whether the servers of a trunk are there: OPTIONS to each of their addresses (RFC 3261 §11). Any answer is a sign
//! of life, and so is any answer to another request of ours, which saves the OPTIONS.

use crate::agent::{Agent, Due};
use crate::api::{AccountId, Cause, Failure, Line};
use crate::limits::{MAX_HOPS, MAX_RESTING, WATCH};
use crate::lines::TrunkMode;
use crate::net::{Hop, Path, Transport};
use crate::registration::{domain_uri, words};
use crate::requests::{Draft, Purpose};
use serde::{Deserialize, Serialize};
use signaling_sip::message::{Method, Uri, addr_spec};
use signaling_sip::time::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// What is known of each address of each server; an address of `None` is a server whose name leads nowhere.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Probes {
    seen: BTreeMap<Vec<u8>, BTreeMap<Place, Option<bool>>>,
    why: String,
}

type Place = Option<(Transport, SocketAddr)>;

/// When an address of any trunk was heard last: trunks at one registrar share their probes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Heard(BTreeMap<(Transport, SocketAddr), Instant>);

impl Heard {
    fn note(&mut self, place: (Transport, SocketAddr), now: Instant) {
        if self.0.len() >= MAX_RESTING && !self.0.contains_key(&place) {
            let oldest = self.0.iter().min_by_key(|(_, at)| **at).map(|(p, _)| *p);
            if let Some(oldest) = oldest {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(place, now);
    }

    fn since(&self, place: (Transport, SocketAddr), since: Duration, now: Instant) -> bool {
        self.0.get(&place).is_some_and(|at| now - *at < since)
    }
}

fn place(hop: &Hop) -> (Transport, SocketAddr) {
    (hop.transport, hop.remote)
}

impl Agent {
    /// From now on, at its pace.
    pub(super) fn watch(&mut self, id: AccountId, now: Instant) {
        let Some(spec) = self.trunk_of(id) else {
            return;
        };
        if spec.mode == TrunkMode::Accept {
            return;
        }
        let (probed, registers) = (spec.probe_s > 0, spec.mode == TrunkMode::Register);
        let has_servers = self
            .s
            .accounts
            .get(&id)
            .is_some_and(|a| !a.servers.is_empty());
        let untested = !(probed && has_servers);
        if untested && !registers {
            // Untested.
            self.trunk_is_up(id);
        }
        if has_servers {
            self.on_probe_due(id, now);
        }
    }

    pub(crate) fn on_probe_due(&mut self, id: AccountId, now: Instant) {
        let Some(every) = self.pace(id) else { return };
        let spread = self.s.dice.below(200);
        let wait = every * 9 / 10 + every * u32::try_from(spread).unwrap_or(0) / 1000;
        self.s.schedule.set(Due::Probe(id), Some(now + wait));
        let servers = self.s.accounts.get(&id).map(|a| a.servers.clone());
        for server in servers.unwrap_or_default() {
            let purpose = Purpose::Probe {
                account: id,
                server: server.clone(),
                to: None,
            };
            if let Some(draft) = self.options(id, &server) {
                self.request_by(purpose, id, draft, vec![server], 0, now);
            }
        }
    }

    fn pace(&self, id: AccountId) -> Option<Duration> {
        let probe_s = self.trunk_of(id)?.probe_s;
        Some(if probe_s > 0 {
            Duration::from_secs(probe_s.into())
        } else {
            WATCH
        })
    }

    /// A server's addresses are known: each is asked, but one that was heard of late.
    pub(crate) fn probe_all(&mut self, id: AccountId, server: &[u8], hops: &[Hop], now: Instant) {
        let Some(spec) = self.trunk_of(id) else {
            return;
        };
        if spec.probe_s == 0 {
            return;
        }
        let (attempt_ms, every) = (spec.attempt_ms, Duration::from_secs(spec.probe_s.into()));
        for hop in hops.iter().take(MAX_HOPS) {
            if self.s.resting.asks_for_rest(hop, now) {
                continue;
            }
            let rests = self.s.resting.rests(hop, now);
            if !rests && self.s.heard.since(place(hop), every * 9 / 10, now) {
                self.set_seen(id, server, Some(place(hop)), true, "");
                continue;
            }
            let Some(draft) = self.options(id, server) else {
                continue;
            };
            let purpose = Purpose::Probe {
                account: id,
                server: server.to_vec(),
                to: Some(*hop),
            };
            self.request_to(purpose, id, draft, *hop, attempt_ms, now);
        }
    }

    fn options(&mut self, id: AccountId, server: &[u8]) -> Option<Draft> {
        let (call_id, tag) = (self.s.dice.hex(16), self.s.dice.hex(8));
        let account = self.s.accounts.get(&id)?;
        let Ok(Uri::Sip(mut uri)) = Uri::parse(server) else {
            return None;
        };
        uri.user = None;
        uri.headers = None;
        let uri = uri.to_bytes();
        let login = Some(account.spec.login.as_bytes()).filter(|login| !login.is_empty());
        let own = domain_uri(&account.spec, login).ok()?.to_bytes();
        let mut from = addr_spec("", &own).ok()?;
        from.extend_from_slice(format!(";tag={tag}").as_bytes());
        Some(Draft {
            method: Method::Options,
            to: addr_spec("", &uri).ok()?,
            uri,
            routes: Vec::new(),
            from,
            call_id: call_id.into_bytes(),
            cseq: 1,
            contact: Some((account.contact_user.clone(), Vec::new())),
            headers: vec![("Accept".into(), b"application/sdp".to_vec())],
            content_type: None,
            sdp: Vec::new(),
        })
    }

    /// Any response to a request of a line's.
    pub(crate) fn heard_from(&mut self, request: u64, path: Path, now: Instant) {
        let Some(entry) = self.s.requests.get(&request) else {
            return;
        };
        let Some(hop) = entry.hop else { return };
        let (id, server) = (entry.account, entry.way.clone());
        if !crate::trunks::is_of_line(id) || path.remote() != hop.remote {
            return;
        }
        self.s.heard.note(place(&hop), now);
        self.rest_is_over(&hop, now);
        self.set_seen(id, &server, Some(place(&hop)), true, "");
    }

    /// A request of a line's had no answer.
    pub(crate) fn heard_nothing(&mut self, request: u64) {
        let Some(entry) = self.s.requests.get(&request) else {
            return;
        };
        let Some(hop) = entry.hop else { return };
        // An OPTIONS tells its own end.
        let is_probe = matches!(entry.purpose, Purpose::Probe { .. });
        let (id, server) = (entry.account, entry.way.clone());
        if crate::trunks::is_of_line(id) {
            self.s.heard.0.remove(&place(&hop));
            if !is_probe {
                self.set_seen(id, &server, Some(place(&hop)), false, "no answer");
            }
        }
    }

    pub(crate) fn on_probe_answered(
        &mut self,
        id: AccountId,
        server: &[u8],
        path: Path,
        _now: Instant,
    ) {
        let place = (path.transport(), path.remote());
        self.set_seen(id, server, Some(place), true, "");
    }

    pub(crate) fn on_probe_failed(
        &mut self,
        id: AccountId,
        server: &[u8],
        to: Option<Hop>,
        failure: &Failure,
    ) {
        // A limit of our own says nothing about the server.
        if failure.cause != Cause::Overloaded {
            let why = words(failure);
            self.set_seen(id, server, to.as_ref().map(place), false, &why);
        }
    }

    /// The addresses that a server has now.
    pub(super) fn set_places(&mut self, id: AccountId, server: &[u8], hops: &[Hop]) {
        let Some(trunk) = self.probed(id) else { return };
        let seen = trunk.probes.seen.entry(server.to_vec()).or_default();
        seen.retain(|at, _| hops.iter().any(|hop| *at == Some(place(hop))));
        for hop in hops {
            seen.entry(Some(place(hop))).or_insert(None);
        }
    }

    fn set_seen(&mut self, id: AccountId, server: &[u8], at: Place, alive: bool, why: &str) {
        let servers = self.s.accounts.get(&id).map_or(0, |a| a.servers.len());
        let Some(trunk) = self.probed(id) else { return };
        let probes = &mut trunk.probes;
        let Some(seen) = probes.seen.get_mut(server) else {
            if at.is_none() {
                let nowhere = BTreeMap::from([(None, Some(false))]);
                probes.seen.insert(server.to_vec(), nowhere);
                probes.why = why.into();
            }
            return self.judge(id, servers);
        };
        match at {
            // Its name leads nowhere now.
            None => *seen = BTreeMap::from([(None, Some(false))]),
            Some(_) => match seen.get_mut(&at) {
                Some(known) => *known = Some(alive),
                None => return,
            },
        }
        if !alive {
            probes.why = why.into();
        }
        self.judge(id, servers);
    }

    /// Up by the first sign of life, down when every address of every server is known to be silent.
    fn judge(&mut self, id: AccountId, servers: usize) {
        let Some(trunk) = self.probed(id) else { return };
        let seen = &trunk.probes.seen;
        let all = || seen.values().flat_map(BTreeMap::values);
        let complete = seen.len() >= servers && all().all(Option::is_some);
        if all().any(|alive| *alive == Some(true)) {
            self.trunk_is_up(id);
        } else if complete {
            let why = trunk.probes.why.clone();
            self.trunk_is_down(id, &why);
        }
    }

    /// The trunk of an account, where probes say whether it is up.
    fn probed(&mut self, id: AccountId) -> Option<&mut super::Trunk> {
        let Some(Line::Trunk(name)) = &self.s.accounts.get(&id)?.line else {
            return None;
        };
        let trunk = self.s.trunks.of_account(name, id)?;
        let judged = trunk.spec.mode == TrunkMode::Address && trunk.spec.probe_s > 0;
        judged.then_some(trunk)
    }

    /// Where requests of a line's account lead now: its peers are there.
    pub(crate) fn note_addresses(&mut self, id: AccountId, way: &[u8], hops: &[Hop]) {
        let Some(account) = self.s.accounts.get_mut(&id) else {
            return;
        };
        let servers = &account.servers;
        account
            .found
            .retain(|known, _| servers.contains(known) || known == way);
        account.found.insert(way.to_vec(), hops.to_vec());
        let mut peers: Vec<_> = account
            .found
            .values()
            .flatten()
            .map(|h| h.remote.ip())
            .collect();
        peers.sort_unstable();
        peers.dedup();
        let changed = peers != account.peers;
        account.peers = peers;
        if changed {
            self.set_sources(id);
        }
        self.set_places(id, way, hops);
    }
}
