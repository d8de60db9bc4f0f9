//! Which trunk an address belongs to: the longest prefix wins.

use crate::agent::Agent;
use crate::api::{AccountId, ByLine};
use crate::identity::{asserted, called};
use crate::inbound::Caller;
use crate::lines::{TrunkMode, TrunkSpec};
use crate::net::{Path, Transport, contains, unmapped};
use crate::tls::admits;
use serde::{Deserialize, Serialize};
use signaling_sip::message::{Message, Uri};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// By prefix length (of IPv6, in which an IPv4 address has 96 more) and network.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sources {
    networks: BTreeMap<(u8, Ipv6Addr), BTreeSet<AccountId>>,
    of_account: BTreeMap<AccountId, Vec<(u8, Ipv6Addr)>>,
    /// How many networks have which prefix length.
    prefixes: BTreeMap<u8, usize>,
}

impl Sources {
    fn set(&mut self, account: AccountId, networks: impl Iterator<Item = (IpAddr, u8)>) {
        self.forget(account);
        let mut kept: Vec<(u8, Ipv6Addr)> = networks
            .map(|(ip, prefix)| {
                let (v6, prefix) = wide(ip, prefix);
                (prefix, masked(v6, prefix))
            })
            .collect();
        kept.sort_unstable();
        kept.dedup();
        for network in &kept {
            let first = !self.networks.contains_key(network);
            self.networks.entry(*network).or_default().insert(account);
            if first {
                *self.prefixes.entry(network.0).or_default() += 1;
            }
        }
        self.of_account.insert(account, kept);
    }

    pub fn forget(&mut self, account: AccountId) {
        for network in self.of_account.remove(&account).unwrap_or_default() {
            let Some(accounts) = self.networks.get_mut(&network) else {
                continue;
            };
            accounts.remove(&account);
            if accounts.is_empty() {
                self.networks.remove(&network);
                if let Some(count) = self.prefixes.get_mut(&network.0) {
                    *count -= 1;
                    if *count == 0 {
                        self.prefixes.remove(&network.0);
                    }
                }
            }
        }
    }

    /// Whose address it is, those of the longest prefix first.
    fn find(&self, ip: IpAddr) -> impl Iterator<Item = &BTreeSet<AccountId>> {
        let (v6, _) = wide(ip, 0);
        let prefixes = self.prefixes.keys().rev();
        prefixes.filter_map(move |prefix| self.networks.get(&(*prefix, masked(v6, *prefix))))
    }
}

fn wide(ip: IpAddr, prefix: u8) -> (Ipv6Addr, u8) {
    match unmapped(ip) {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), prefix.min(32) + 96),
        IpAddr::V6(v6) => (v6, prefix.min(128)),
    }
}

fn masked(ip: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let shift = 128 - u32::from(prefix.min(128));
    let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
    Ipv6Addr::from_bits(ip.to_bits() & mask)
}

impl Agent {
    /// Its servers' own addresses and the operator's list.
    pub(crate) fn set_sources(&mut self, id: AccountId) {
        let Some(account) = self.s.accounts.get(&id) else {
            return;
        };
        let Some(spec) = self.trunk_of(id) else {
            return;
        };
        let own = account.peers.iter().map(|ip| (*ip, u8::MAX));
        let networks: Vec<(IpAddr, u8)> = own.chain(spec.sources.iter().copied()).collect();
        self.s.trunks.sources.set(id, networks.into_iter());
    }

    /// The trunk that a new INVITE comes from: by the Contact of its registration, else by its address.
    pub(crate) fn trunk_calling(&mut self, message: &Message<'_>, path: Path) -> Option<Caller> {
        let uri = Uri::parse(message.uri_text()).ok()?;
        let user = uri.user().unwrap_or_default();
        let named = std::str::from_utf8(&user).ok();
        let named = named.and_then(|user| self.s.contacts.get(user)).copied();
        let by_contact = named.filter(|id| self.is_their_registrar(*id, path));
        let id = by_contact
            .filter(|id| self.may_call(*id, path))
            .or_else(|| self.trunk_at(message, path))?;
        let account = self.s.accounts.get(&id)?;
        let line = account.line.clone()?;
        let trusted = self.trunk_of(id)?.trusted;
        let by_line = ByLine {
            line,
            called: called(message, &account.contact_user),
            asserted: if trusted { asserted(message) } else { None },
        };
        Some(Caller {
            account: id,
            by_line: Some(Box::new(by_line)),
        })
    }

    /// Of several trunks at one address the one whose login is called, else the one that the operator named first.
    fn trunk_at(&self, message: &Message<'_>, path: Path) -> Option<AccountId> {
        let user = |uri: &[u8]| Uri::parse(uri).ok().and_then(|uri| uri.user());
        let to = message.to().ok().and_then(|to| user(to.uri));
        let users = [user(message.uri_text()), to];
        let is_called = |id: &AccountId| {
            let login = self.s.accounts.get(id).map(|a| a.spec.login.as_bytes());
            login.is_some_and(|login| {
                !login.is_empty() && users.iter().flatten().any(|user| user == login)
            })
        };
        let found = self.s.trunks.sources.find(path.remote().ip());
        for accounts in found {
            let may = |id: &&AccountId| self.may_call(**id, path);
            let called = accounts.iter().filter(may).find(|id| is_called(id));
            if let Some(id) = called.or_else(|| accounts.iter().find(may)) {
                return Some(*id);
            }
        }
        self.trunk_by_certificate(path)
    }

    /// One that the operator knows by its certificate alone may come from anywhere.
    fn trunk_by_certificate(&self, path: Path) -> Option<AccountId> {
        let trunks = self.s.trunks.by_name.values();
        let mut by_certificate = trunks.filter(|trunk| {
            let spec = &trunk.spec;
            let asks = spec.tls.as_ref().is_some_and(|tls| tls.client_certificate);
            asks && spec.sources.is_empty() && spec.servers.is_empty()
        });
        by_certificate
            .find(|trunk| self.may_call(trunk.account, path))
            .map(|trunk| trunk.account)
    }

    /// Whether a trunk may send requests by this way at all.
    fn may_call(&self, id: AccountId, path: Path) -> bool {
        let Some(spec) = self.trunk_of(id) else {
            return false;
        };
        let is_live = self.s.accounts.get(&id).is_some_and(|a| a.is_live());
        let peer = match path {
            Path::Stream { stream, .. } => self.s.streams.get(&stream),
            Path::Datagram { .. } => None,
        };
        let peer = peer.and_then(|stream| stream.peer.as_ref());
        // An address over UDP is anybody's claim: who is reached by TLS alone calls by TLS, unless the operator listed
        // the address itself.
        let secure = path.transport() == Transport::Tls;
        if !secure && is_by_tls(spec) && !self.is_source_of(id, path.remote()) {
            return false;
        }
        is_live && spec.mode != TrunkMode::Accept && admits(spec, peer).is_ok()
    }

    /// Whether the operator listed an address among the trunk's.
    pub(crate) fn is_source_of(&self, id: AccountId, at: SocketAddr) -> bool {
        let spec = self.trunk_of(id);
        let mut sources = spec.into_iter().flat_map(|spec| &spec.sources);
        sources.any(|(network, prefix)| contains(*network, *prefix, at.ip()))
    }

    /// Whether an address belongs to any trunk.
    pub(crate) fn is_trunk_at(&self, ip: IpAddr) -> bool {
        self.s.trunks.sources.find(ip).next().is_some()
    }
}

/// All its servers are reached by TLS.
fn is_by_tls(spec: &TrunkSpec) -> bool {
    let by_tls = |server: &String| {
        let server = server.to_ascii_lowercase();
        server.starts_with("sips:") || server.contains(";transport=tls")
    };
    !spec.servers.is_empty() && spec.servers.iter().all(by_tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_in_both_families() {
        let mut sources = Sources::default();
        let net = |text: &str, prefix| (text.parse::<IpAddr>().unwrap(), prefix);
        sources.set(AccountId(1), [net("192.0.2.0", 24)].into_iter());
        sources.set(AccountId(2), [net("192.0.2.64", 26)].into_iter());
        sources.set(
            AccountId(3),
            [net("2001:db8::", 32), net("0.0.0.0", 0)].into_iter(),
        );
        let first = |sources: &Sources, ip: &str| {
            let ip = ip.parse().unwrap();
            sources.find(ip).next().and_then(|a| a.first().copied())
        };
        assert_eq!(first(&sources, "192.0.2.1"), Some(AccountId(1)));
        assert_eq!(first(&sources, "192.0.2.65"), Some(AccountId(2)));
        assert_eq!(first(&sources, "::ffff:192.0.2.65"), Some(AccountId(2)));
        assert_eq!(first(&sources, "198.51.100.1"), Some(AccountId(3)));
        assert_eq!(first(&sources, "2001:db8::7"), Some(AccountId(3)));
        assert_eq!(first(&sources, "2001:db9::7"), None);
        sources.forget(AccountId(2));
        assert_eq!(first(&sources, "192.0.2.65"), Some(AccountId(1)));
    }
}
