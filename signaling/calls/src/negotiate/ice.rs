//! ICE in the description of a SIP peer (RFC 8839): we are lite, with one host candidate a port.

use media_control::IceCredentials;
use serde::{Deserialize, Serialize};
use signaling_sdp::attribute::{self, Candidate, candidate_address};
use signaling_sdp::{Attribute, Description, Media};
use std::net::SocketAddr;

/// What a peer's m-line says of ICE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerIce {
    pub credentials: IceCredentials,
    /// It checks nothing either: both send to what the descriptions say (RFC 8445 §6.1.1).
    pub lite: bool,
    /// Somebody on the way has put another address into the description, so that checks would lead elsewhere
    /// (RFC 8839 §3.2.5): told, and done without.
    pub mismatch: bool,
}

impl PeerIce {
    /// Its checks are to be answered.
    pub fn checks(&self) -> bool {
        !self.lite && !self.mismatch
    }
}

/// `rtp`: where the description says that sound goes without ICE.
pub(super) fn read(
    media: &Media,
    description: &Description,
    rtp: Option<SocketAddr>,
) -> Option<PeerIce> {
    let value = |name: &str| {
        attribute::value(&media.attributes, name)
            .or_else(|| attribute::value(&description.attributes, name))
            .map(str::trim)
            .filter(|text| text.len() <= 256 && !text.is_empty())
            .map(str::to_owned)
    };
    let credentials = IceCredentials {
        ufrag: value("ice-ufrag")?,
        pwd: value("ice-pwd")?,
    };
    let rtp = rtp?;
    let mut candidates = attribute::values(&media.attributes, "candidate").peekable();
    candidates.peek()?;
    let fits = |line: &str| candidate_address(line) == Some((1, rtp));
    Some(PeerIce {
        credentials,
        lite: attribute::has(&description.attributes, "ice-lite"),
        mismatch: !candidates.any(fits),
    })
}

/// Our own end: of RTP, and of RTCP where that has a port of its own.
pub(super) fn lines(own: &IceCredentials, address: SocketAddr, muxed: bool) -> Vec<Attribute> {
    let mut lines = vec![
        Attribute::new("ice-ufrag", own.ufrag.clone()),
        Attribute::new("ice-pwd", own.pwd.clone()),
    ];
    let ports = [Some(address.port()), address.port().checked_add(1)];
    for (component, port) in (1_u8..).zip(ports).take(if muxed { 1 } else { 2 }) {
        let Some(port) = port else { continue };
        let candidate = Candidate {
            foundation: 1,
            component,
            tcp_passive: false,
            // RFC 8445 §5.1.2.1: a host's type preference, and the only address.
            priority: (126 << 24) | (65_535 << 8) | (256 - u32::from(component)),
            address: SocketAddr::new(address.ip(), port),
        };
        lines.push(Attribute::new("candidate", candidate.to_string()));
    }
    lines
}
