//! What the core knows of TLS: whom a connection is for, and whether what a peer showed is enough for a trunk.
//!
//! Keys, roots and handshakes are the shell's. It tells the facts of a peer's certificate, and here they are held
//! against what the operator said of the trunk (RFC 5922).

use crate::lines::TrunkSpec;
use serde::{Deserialize, Serialize};
use signaling_sip::message::{Host, Uri};
use std::net::IpAddr;

/// What a connection of ours must find at the far end.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TlsOpen {
    /// The trunk whose [`crate::lines::TlsSpec`] is the rule; empty: the system's roots and `sip.ca`.
    pub profile: String,
    /// Name or address that SNI says and the certificate must hold: that of the URI, never of an SRV answer
    /// (RFC 5922 §7.2).
    pub server_name: String,
}

/// The certificate that the far side of a connection showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerCertificate {
    /// Of the whole certificate (DER).
    pub sha256: [u8; 32],
    /// DNS names, addresses and hosts of `sip:` URIs among its subjectAltNames, in lower case.
    pub names: Vec<String>,
    /// Trunks whose roots it leads to; the empty name stands for the system's and `sip.ca`.
    pub trusted_by: Vec<String>,
}

/// Whether a request that came over a connection with this certificate may be the trunk's; `None`: the connection
/// is no TLS, or its peer showed none.
///
/// The error says why not, for the log.
pub fn admits(trunk: &TrunkSpec, peer: Option<&PeerCertificate>) -> Result<(), &'static str> {
    if !trunk
        .tls
        .as_ref()
        .is_some_and(|spec| spec.client_certificate)
    {
        return Ok(());
    }
    match peer {
        Some(peer) => is_peer_of(trunk, peer),
        None => Err("it showed no certificate, and this trunk must"),
    }
}

/// Whether the certificate is the trunk's, by the rules that the operator set for it.
pub(crate) fn is_peer_of(trunk: &TrunkSpec, peer: &PeerCertificate) -> Result<(), &'static str> {
    if let Some(pinned) = trunk.tls.as_ref().and_then(|spec| spec.pinned_sha256) {
        return if pinned == peer.sha256 {
            Ok(())
        } else {
            Err("its certificate is not the pinned one")
        };
    }
    if !peer.trusted_by.contains(&trunk.name) {
        return Err("its certificate does not lead to the trunk's roots");
    }
    let wanted = names_of(trunk);
    let own_roots = trunk
        .tls
        .as_ref()
        .is_some_and(|spec| !spec.roots_pem.is_empty());
    if wanted.is_empty() && !own_roots {
        // Whoever has any certificate of a public authority would be the trunk.
        return Err("the trunk has no name, pin or roots that a certificate could be held against");
    }
    if wanted.is_empty() || wanted.iter().any(|name| peer.is_for(name)) {
        Ok(())
    } else {
        Err("its certificate is for another name than the trunk's")
    }
}

/// The names that a trunk's certificate may be for: the one that the operator set, else its domain and its servers'.
fn names_of(trunk: &TrunkSpec) -> Vec<String> {
    if let Some(spec) = trunk.tls.as_ref().filter(|s| !s.server_name.is_empty()) {
        return vec![spec.server_name.to_ascii_lowercase()];
    }
    let servers = trunk
        .servers
        .iter()
        .filter_map(|server| host_of(server.as_bytes()));
    let domain = Some(trunk.domain.to_ascii_lowercase()).filter(|domain| !domain.is_empty());
    domain.into_iter().chain(servers).collect()
}

/// The host of `host`, `host:port` or a SIP URI.
pub(crate) fn host_of(server: &[u8]) -> Option<String> {
    let lower = String::from_utf8_lossy(server).to_ascii_lowercase();
    let text = if lower.starts_with("sip:") || lower.starts_with("sips:") {
        lower
    } else {
        format!("sip:{lower}")
    };
    match Uri::parse(text.as_bytes()) {
        Ok(Uri::Sip(uri)) => Some(name_of(&uri.host)),
        Ok(_) | Err(_) => None,
    }
}

/// A host as a certificate spells it: an IPv6 address without brackets.
pub(crate) fn name_of(host: &Host) -> String {
    match host {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => name.trim_end_matches('.').to_ascii_lowercase(),
    }
}

impl PeerCertificate {
    /// Whole names only: a wildcard stands for no SIP domain (RFC 5922 §7.2).
    pub fn is_for(&self, name: &str) -> bool {
        let ip = name.parse::<IpAddr>().ok();
        self.names
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name) || ip.is_some_and(|ip| own.parse() == Ok(ip)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::TlsSpec;

    fn trunk(spec: TlsSpec) -> TrunkSpec {
        TrunkSpec {
            name: "carrier".into(),
            servers: vec!["sip:edge.carrier.test;transport=tls".into()],
            domain: "carrier.test".into(),
            tls: Some(TlsSpec {
                client_certificate: true,
                ..spec
            }),
            ..TrunkSpec::default()
        }
    }

    fn peer(names: &[&str], trusted_by: &[&str]) -> PeerCertificate {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        PeerCertificate {
            sha256: [7; 32],
            names: owned(names),
            trusted_by: owned(trusted_by),
        }
    }

    #[test]
    fn a_trunk_that_wants_a_client_certificate_takes_one_of_its_roots_and_names_alone() {
        let trunk = trunk(TlsSpec::default());
        for (shown, admitted) in [
            (None, false),
            (Some(peer(&["carrier.test"], &["carrier"])), true),
            (Some(peer(&["EDGE.carrier.test"], &["", "carrier"])), true),
            (Some(peer(&["carrier.test"], &[""])), false),
            (Some(peer(&["carrier.test"], &["other"])), false),
            (Some(peer(&["evil.test"], &["carrier"])), false),
            (Some(peer(&["*.carrier.test"], &["carrier"])), false),
            (Some(peer(&[], &["carrier"])), false),
        ] {
            assert_eq!(
                admits(&trunk, shown.as_ref()).is_ok(),
                admitted,
                "{shown:?}"
            );
        }
    }

    #[test]
    fn a_pinned_client_certificate_is_that_one_whoever_signed_it() {
        let pinned = |byte| {
            trunk(TlsSpec {
                pinned_sha256: Some([byte; 32]),
                ..TlsSpec::default()
            })
        };
        let nobodys = peer(&["whatever.test"], &[]);
        assert!(admits(&pinned(7), Some(&nobodys)).is_ok());
        assert!(admits(&pinned(8), Some(&peer(&["carrier.test"], &["carrier"]))).is_err());
    }

    #[test]
    fn a_trunk_that_wants_no_client_certificate_is_not_asked_for_one() {
        let mut trunk = trunk(TlsSpec::default());
        trunk.tls = Some(TlsSpec::default());
        assert!(admits(&trunk, None).is_ok());
        trunk.tls = None;
        assert!(admits(&trunk, None).is_ok());
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        let mut trunk = trunk(TlsSpec::default());
        trunk.domain = String::new();
        trunk.servers = vec!["[2001:db8::1]:5061".into()];
        let shown = peer(&["2001:db8:0:0:0:0:0:1"], &["carrier"]);
        assert!(admits(&trunk, Some(&shown)).is_ok());
    }
}
