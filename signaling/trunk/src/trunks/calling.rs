//! Calls by a trunk: where they go.

use crate::agent::Agent;
use crate::api::AccountId;
use crate::registration::Account;
use signaling_sip::message::{NameAddr, Uri};
use signaling_sip::time::Instant;

impl Agent {
    /// The ways of an INVITE and its Route.
    ///
    /// The server that we are registered at comes first, for another one need not know us. Its Service-Route is
    /// passed on as Route (RFC 3608 §6.1). Where our server is a proxy before the domain, the request goes to it all
    /// the same; else the route itself says where to.
    pub(crate) fn ways_of_call(
        &mut self,
        id: AccountId,
        now: Instant,
    ) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let mut ways = self.ways(id, now);
        let Some(account) = self.s.accounts.get(&id) else {
            return (ways, Vec::new());
        };
        let routes = account.service_route.clone();
        let Some(holder) = account
            .registered_by
            .clone()
            .filter(|_| account.line.is_some())
        else {
            return (ways, routes);
        };
        let rests = |way: &Vec<u8>| {
            let hops = account
                .found
                .get(way)
                .map(Vec::as_slice)
                .unwrap_or_default();
            !hops.is_empty() && hops.iter().all(|hop| self.s.resting.rests(hop, now))
        };
        if !rests(&holder)
            && let Some(at) = ways.iter().position(|way| *way == holder)
        {
            let holder = ways.remove(at);
            ways.insert(0, holder);
        }
        if let Some(edge) = edge(account) {
            ways.insert(0, edge);
        }
        (ways, routes)
    }
}

/// The first hop of a Service-Route, where that is not the server which sent it.
fn edge(account: &Account) -> Option<Vec<u8>> {
    let first = account.service_route.first()?;
    let uri = NameAddr::parse(first).ok()?.uri.to_vec();
    let Ok(Uri::Sip(parsed)) = Uri::parse(&uri) else {
        return None;
    };
    let host = parsed.host.to_string();
    let names = |way: &Vec<u8>| {
        Uri::parse(way).is_ok_and(|way| way.sip().is_some_and(|w| w.host.to_string() == host))
    };
    let before_domain = !account.servers.iter().any(|way| {
        let domain = &account.spec.domain;
        Uri::parse(way).is_ok_and(|w| w.sip().is_some_and(|w| w.host.to_string() == *domain))
    });
    let known = host == account.spec.domain || account.servers.iter().any(names);
    (!known && !before_domain).then_some(uri)
}
