//! Whom we know by address.

use super::Standing;
use crate::agent::Agent;
use crate::net::{Path, unmapped};
use serde::{Deserialize, Serialize};
use signaling_sip::time::Instant;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// Who is not found is looked for anew this often, among all accounts.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Who is found is believed this long.
const BELIEVED: Duration = Duration::from_secs(60);

/// Addresses gathered from accounts and lines: there are many of them, and a flood asks often.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Servers of accounts, and trunks.
    peers: BTreeSet<IpAddr>,
    at: Option<Instant>,
}

impl Agent {
    /// A configured trunk, an account's server, or the address of a live registration: never banned.
    pub(crate) fn is_known_peer(&mut self, ip: IpAddr, now: Instant) -> bool {
        self.standing_of(ip, now) != Standing::Stranger
    }

    pub(crate) fn standing(&mut self, path: Path, now: Instant) -> Standing {
        if self.has_phone_by(path) {
            return Standing::Known;
        }
        self.standing_of(path.remote().ip(), now)
    }

    pub(super) fn standing_of(&mut self, ip: IpAddr, now: Instant) -> Standing {
        let ip = unmapped(ip);
        let age = self.s.guard.known.at.map(|at| now - at);
        if age.is_none_or(|age| age >= BELIEVED) {
            self.look_up_known(now);
        }
        let found = self.known_standing(ip);
        if found == Standing::Stranger && age.is_some_and(|age| age >= LOOK_AGAIN) {
            self.look_up_known(now);
            return self.known_standing(ip);
        }
        found
    }

    fn known_standing(&self, ip: IpAddr) -> Standing {
        let known = &self.s.guard.known;
        if known.peers.contains(&ip) || self.is_trunk_at(ip) {
            Standing::Known
        } else if self.has_phone_at(ip) {
            Standing::Neighbour
        } else {
            Standing::Stranger
        }
    }

    /// Gathers all addresses anew.
    pub(super) fn look_up_known(&mut self, now: Instant) {
        let mut peers = BTreeSet::new();
        for account in self.s.accounts.values().filter(|a| a.is_live()) {
            peers.extend(account.peers.iter().copied().map(unmapped));
            peers.extend(account.flow.map(|flow| unmapped(flow.remote().ip())));
        }
        let servers = self.s.lines.trunks.iter().flat_map(|t| t.servers.iter());
        peers.extend(
            servers
                .filter_map(|server| address_of(server))
                .map(unmapped),
        );
        self.s.guard.known = Known {
            peers,
            at: Some(now),
        };
    }
}

/// Of a server that is written as an address.
fn address_of(server: &str) -> Option<IpAddr> {
    let host = server
        .trim_start_matches("sips:")
        .trim_start_matches("sip:")
        .split(';')
        .next()
        .unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    host.parse()
        .ok()
        .or_else(|| Some(host.parse::<std::net::SocketAddr>().ok()?.ip()))
        .or_else(|| host.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}
