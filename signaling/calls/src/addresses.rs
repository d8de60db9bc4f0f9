//! Which of the node's addresses a peer is told.

use media_control::{Candidate, LocalTransport};
use std::net::{IpAddr, SocketAddr};

/// The addresses worth telling a page: loopback only to one that came over loopback, and to it first, since a
/// laptop on the move has no other that lasts. A node with nothing but loopback tells that in any case.
pub(crate) fn for_page(local: LocalTransport, page: IpAddr) -> LocalTransport {
    let LocalTransport::WebRtc {
        ufrag,
        pwd,
        fingerprint,
        candidates,
    } = local
    else {
        return local;
    };
    let from_loopback = page.to_canonical().is_loopback();
    let (loopback, others): (Vec<Candidate>, Vec<Candidate>) = candidates
        .into_iter()
        .partition(|c| c.address.ip().to_canonical().is_loopback());
    let candidates = match (from_loopback, others.is_empty()) {
        (true, _) => loopback.into_iter().chain(others).collect(),
        (false, true) => loopback,
        (false, false) => others,
    };
    LocalTransport::WebRtc {
        ufrag,
        pwd,
        fingerprint,
        candidates,
    }
}

/// The address from which `peer` is best reached: of its family and, among several, the one that shares the
/// longest prefix with it, which on a box with several networks is the one on the peer's. Loopback only to
/// loopback. Without a peer, or one by name: the first that is not loopback.
pub(crate) fn nearest(ours: &[SocketAddr], peer: Option<IpAddr>) -> Option<SocketAddr> {
    let peer = peer.map(|ip| ip.to_canonical());
    let rank = |address: &SocketAddr| {
        let ip = address.ip().to_canonical();
        let reaches = peer.is_none_or(|peer| {
            peer.is_loopback() == ip.is_loopback() && peer.is_ipv4() == ip.is_ipv4()
        });
        let plain = peer.is_some() || !ip.is_loopback();
        (reaches, plain, peer.map_or(0, |peer| common_bits(peer, ip)))
    };
    // `max_by_key` takes the last of equals; the first is the operator's preference.
    ours.iter().rev().max_by_key(|a| rank(a)).copied()
}

fn common_bits(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}

/// The host of a proxy or domain as a page gives it, if it is numeric.
pub(crate) fn numeric_host(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let rest = lower
        .strip_prefix("sips:")
        .or_else(|| lower.strip_prefix("sip:"))
        .unwrap_or(&lower);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let rest = rest.split(';').next().unwrap_or_default();
    let host = match rest.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None if rest.matches(':').count() == 1 => rest.split(':').next().unwrap_or_default(),
        None => rest,
    };
    if host == "localhost" {
        Some(IpAddr::from([127, 0, 0, 1]))
    } else {
        host.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn a_peer_is_told_the_address_on_its_own_network() {
        let ours = addresses(&[
            "127.0.0.1:2",
            "192.0.2.5:2",
            "10.1.0.5:2",
            "[2001:db8::5]:2",
        ]);
        for (peer, wanted) in [
            (Some("127.0.0.1"), "127.0.0.1:2"),
            (Some("10.1.7.7"), "10.1.0.5:2"),
            (Some("192.0.2.77"), "192.0.2.5:2"),
            (Some("2001:db8::9"), "[2001:db8::5]:2"),
            (Some("::ffff:10.1.0.9"), "10.1.0.5:2"),
            (None, "192.0.2.5:2"),
        ] {
            assert_eq!(
                nearest(&ours, peer.map(|p| p.parse().unwrap())),
                Some(wanted.parse().unwrap()),
                "{peer:?}"
            );
        }
        assert_eq!(
            nearest(&addresses(&["127.0.0.1:2"]), None),
            Some("127.0.0.1:2".parse().unwrap())
        );
        assert_eq!(nearest(&[], None), None);
    }

    #[test]
    fn hosts_are_found_in_whatever_a_page_wrote() {
        for (text, ip) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1:15060", "127.0.0.1"),
            ("sip:10.0.0.1:5070;transport=tcp", "10.0.0.1"),
            ("[::1]:5060", "::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("localhost", "127.0.0.1"),
        ] {
            assert_eq!(numeric_host(text), Some(ip.parse().unwrap()), "{text}");
        }
        assert_eq!(numeric_host("pbx.example:5060"), None);
    }
}
