//! From whom a SIP leg takes media, and where its own goes.
//!
//! Plain RTP is taken only from the address and port that were signalled. A phone behind a NAT signals
//! an address of its own network, which says nothing here; then the address that its SIP came from is
//! trusted instead, any port of it, once three packets in a row look like the negotiated media. With
//! SRTP the keys say who may speak, so an authentic packet moves the leg. A new remote description
//! loosens the latch.

use crate::datagram::Path;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Packets in a row, of a negotiated payload type and one SSRC, before a guessed address is taken.
const CONSECUTIVE: u8 = 3;
/// Packets from the address before by which a loosened latch is fixed again.
const REASSURED: u8 = 10;

/// What a packet's origin is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the peer.
    Peer,
    /// Not yet, or never: dropped and counted. Nothing is sent there.
    Stranger,
    /// The peer's if it proves authentic (SRTP only).
    Unproven,
}

#[derive(Clone, Debug)]
struct Candidate {
    remote: SocketAddr,
    ssrc: u32,
    count: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct Latch {
    signalled: Option<SocketAddr>,
    /// Where the peer was before it put us on hold with the address 0.0.0.0: its music comes from there still,
    /// and nothing is sent there (RFC 3264 §8.4).
    muted: Option<SocketAddr>,
    /// The address of the peer's SIP, where any port may turn out to be its media.
    guess: Option<IpAddr>,
    /// SRTP decides.
    keyed: bool,
    candidate: Option<Candidate>,
    latched: Option<Path>,
    /// Latched under the description before, and not reassured since: another address may still be found.
    loose: u8,
}

impl Latch {
    pub fn new(signalled: Option<SocketAddr>, signalling: IpAddr, keyed: bool) -> Latch {
        let signalling = signalling.to_canonical();
        let signalled = signalled.map(|a| SocketAddr::new(a.ip().to_canonical(), a.port()));
        let guess = signalled
            .filter(|address| is_private(address.ip()) && address.ip() != signalling)
            .map(|_| signalling);
        Latch {
            signalled,
            muted: None,
            guess,
            keyed,
            candidate: None,
            latched: None,
            loose: 0,
        }
    }

    /// A new description that says the same as the one before: a session refresh, or a phone whose NAT
    /// moved. It is heard and sent to where it was, until it is found elsewhere. One without an address is an old
    /// hold: the peer is heard where it was, and not sent to.
    pub fn follow(&mut self, before: &Latch) {
        if self.signalled.is_none() {
            self.muted = before.muted.or(before.destination());
            return;
        }
        if (self.signalled, self.guess, self.keyed)
            == (before.signalled, before.guess, before.keyed)
        {
            self.latched = before.latched;
            self.loose = REASSURED;
        }
    }

    pub fn state(&self) -> LatchState {
        LatchState {
            signalled: self.signalled,
            muted: self.muted,
            guess: self.guess,
            keyed: self.keyed,
        }
    }

    /// One that was written down, and where it was fixed, if it was.
    pub fn restore(state: LatchState, latched: Option<Path>) -> Latch {
        let LatchState {
            signalled,
            muted,
            guess,
            keyed,
        } = state;
        Latch {
            signalled,
            muted,
            guess,
            keyed,
            candidate: None,
            latched,
            loose: 0,
        }
    }

    /// Where to send: the latched address, else the signalled one.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.latched.map(|path| path.remote).or(self.signalled)
    }

    pub fn path(&self) -> Option<Path> {
        self.latched
    }

    /// Judges a packet by where it came from. `ssrc` is `None` if its payload type was not negotiated.
    pub fn judge(&mut self, path: Path, ssrc: Option<u32>) -> Origin {
        let remote = path.remote;
        if let Some(latched) = self.latched {
            if latched.remote == remote {
                self.loose = self.loose.saturating_sub(1);
                self.candidate = None;
                return Origin::Peer;
            }
            if self.loose == 0 && !self.keyed {
                return Origin::Stranger;
            }
        }
        if self.keyed {
            return Origin::Unproven;
        }
        if self.signalled == Some(remote) {
            self.fix(path);
            return Origin::Peer;
        }
        if self.muted == Some(remote) {
            return Origin::Peer;
        }
        if self.guess == Some(remote.ip()) && self.counted(remote, ssrc) {
            self.fix(path);
            return Origin::Peer;
        }
        Origin::Stranger
    }

    /// An unproven packet was authentic: the peer is where it came from.
    pub fn proven(&mut self, path: Path) {
        if self.keyed && self.signalled.is_some() {
            self.fix(path);
        }
    }

    fn fix(&mut self, path: Path) {
        self.latched = Some(path);
        self.loose = 0;
        self.candidate = None;
    }

    /// Whether `remote` has now sent enough in a row.
    fn counted(&mut self, remote: SocketAddr, ssrc: Option<u32>) -> bool {
        let Some(ssrc) = ssrc else {
            self.candidate = None;
            return false;
        };
        let count = match &self.candidate {
            Some(seen) if seen.remote == remote && seen.ssrc == ssrc => {
                seen.count.saturating_add(1)
            }
            _ => 1,
        };
        self.candidate = Some(Candidate {
            remote,
            ssrc,
            count,
        });
        count >= CONSECUTIVE
    }
}

/// Addresses that mean nothing beyond the network they are in: RFC 1918, RFC 4193, loopback.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback(),
    }
}

/// Whom a latch waits for, written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatchState {
    signalled: Option<SocketAddr>,
    #[serde(default)]
    muted: Option<SocketAddr>,
    guess: Option<IpAddr>,
    keyed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::SocketId;
    use Origin::{Peer, Stranger, Unproven};

    fn from(remote: &str) -> Path {
        Path {
            socket: SocketId(1),
            local: None,
            remote: remote.parse().unwrap(),
        }
    }

    fn latch(signalled: &str, signalling: &str, keyed: bool) -> Latch {
        Latch::new(
            Some(signalled.parse().unwrap()),
            signalling.parse().unwrap(),
            keyed,
        )
    }

    #[test]
    fn only_the_signalled_address_and_port_may_speak() {
        let mut latch = latch("198.51.100.1:4000", "198.51.100.2", false);
        for _ in 0..5 {
            assert_eq!(latch.judge(from("198.51.100.1:4001"), Some(1)), Stranger);
            assert_eq!(latch.judge(from("198.51.100.2:4000"), Some(1)), Stranger);
        }
        assert_eq!(
            latch.destination(),
            Some("198.51.100.1:4000".parse().unwrap())
        );
        assert_eq!(latch.judge(from("198.51.100.1:4000"), Some(1)), Peer);
    }

    #[test]
    fn a_phone_behind_nat_is_found_after_three_packets_and_then_fixed() {
        let mut latch = latch("192.168.1.5:4000", "203.0.113.9", false);
        assert_eq!(latch.judge(from("203.0.113.9:61000"), Some(1)), Stranger);
        assert_eq!(latch.judge(from("203.0.113.9:61000"), Some(1)), Stranger);
        assert_eq!(
            latch.destination(),
            Some("192.168.1.5:4000".parse().unwrap())
        );
        assert_eq!(latch.judge(from("203.0.113.9:61000"), Some(1)), Peer);
        assert_eq!(
            latch.destination(),
            Some("203.0.113.9:61000".parse().unwrap())
        );
        for _ in 0..5 {
            assert_eq!(latch.judge(from("203.0.113.9:61002"), Some(1)), Stranger);
            assert_eq!(latch.judge(from("192.168.1.5:4000"), Some(1)), Stranger);
        }
    }

    #[test]
    fn a_refresh_keeps_the_phone_where_it_was_and_lets_it_move_once() {
        let mut before = latch("192.168.1.5:4000", "203.0.113.9", false);
        for _ in 0..3 {
            before.judge(from("203.0.113.9:61000"), Some(1));
        }
        let mut after = latch("192.168.1.5:4000", "203.0.113.9", false);
        after.follow(&before);
        assert_eq!(
            after.destination(),
            Some("203.0.113.9:61000".parse().unwrap())
        );
        assert_eq!(after.judge(from("203.0.113.9:61000"), Some(1)), Peer);
        for expected in [Stranger, Stranger, Peer] {
            assert_eq!(after.judge(from("203.0.113.9:62000"), Some(1)), expected);
        }
        assert_eq!(after.judge(from("203.0.113.9:61000"), Some(1)), Stranger);

        let mut reassured = latch("192.168.1.5:4000", "203.0.113.9", false);
        reassured.follow(&before);
        for _ in 0..REASSURED {
            assert_eq!(reassured.judge(from("203.0.113.9:61000"), Some(1)), Peer);
        }
        for _ in 0..5 {
            assert_eq!(
                reassured.judge(from("203.0.113.9:62000"), Some(1)),
                Stranger
            );
        }

        let mut elsewhere = latch("192.168.1.6:4000", "203.0.113.9", false);
        elsewhere.follow(&before);
        assert_eq!(
            elsewhere.destination(),
            Some("192.168.1.6:4000".parse().unwrap())
        );
    }

    #[test]
    fn a_hold_without_address_is_heard_from_where_the_phone_was_and_sent_nothing() {
        let mut before = latch("198.51.100.1:4000", "198.51.100.1", false);
        assert_eq!(before.judge(from("198.51.100.1:4000"), Some(1)), Peer);
        let mut held = Latch::new(None, "198.51.100.1".parse().unwrap(), false);
        held.follow(&before);
        let mut refreshed = Latch::new(None, "198.51.100.1".parse().unwrap(), false);
        refreshed.follow(&held);
        let written = Latch::restore(refreshed.state(), refreshed.path());
        for mut held in [held, refreshed, written] {
            assert_eq!(held.judge(from("198.51.100.1:4000"), Some(1)), Peer);
            assert_eq!(held.judge(from("198.51.100.1:4002"), Some(1)), Stranger);
            assert_eq!(held.destination(), None);
        }
        let mut keyed = Latch::new(None, "198.51.100.1".parse().unwrap(), true);
        keyed.follow(&before);
        assert_eq!(keyed.judge(from("198.51.100.1:4000"), Some(1)), Unproven);
        keyed.proven(from("198.51.100.1:4000"));
        assert_eq!(keyed.destination(), None);
    }

    #[test]
    fn three_in_a_row_means_one_port_one_ssrc_and_a_negotiated_type() {
        let mut latch = latch("10.0.0.5:4000", "203.0.113.9", false);
        for (port, ssrc) in [
            (1, Some(1)),
            (1, Some(1)),
            (2, Some(1)),
            (1, Some(1)),
            (1, Some(2)),
            (1, None),
            (1, Some(2)),
            (1, Some(2)),
        ] {
            assert_eq!(
                latch.judge(from(&format!("203.0.113.9:{port}")), ssrc),
                Stranger
            );
        }
        assert_eq!(latch.judge(from("203.0.113.9:1"), Some(2)), Peer);
    }

    #[test]
    fn a_public_address_is_never_guessed_around() {
        let mut latch = latch("198.51.100.1:4000", "203.0.113.9", false);
        for _ in 0..5 {
            assert_eq!(latch.judge(from("203.0.113.9:4000"), Some(1)), Stranger);
        }
    }

    #[test]
    fn a_private_phone_on_our_own_network_needs_no_guess() {
        let mut latch = latch("192.168.1.5:4000", "192.168.1.5", false);
        for _ in 0..5 {
            assert_eq!(latch.judge(from("192.168.1.5:4002"), Some(1)), Stranger);
        }
        assert_eq!(latch.judge(from("192.168.1.5:4000"), Some(1)), Peer);
    }

    #[test]
    fn keys_move_the_latch_only_with_a_proof() {
        let mut latch = latch("198.51.100.1:4000", "198.51.100.1", true);
        assert_eq!(latch.judge(from("203.0.113.9:1"), Some(1)), Unproven);
        assert_eq!(
            latch.destination(),
            Some("198.51.100.1:4000".parse().unwrap())
        );
        latch.proven(from("203.0.113.9:1"));
        assert_eq!(latch.judge(from("203.0.113.9:1"), Some(1)), Peer);
        assert_eq!(latch.destination(), Some("203.0.113.9:1".parse().unwrap()));
        assert_eq!(latch.judge(from("203.0.113.9:7"), Some(1)), Unproven);
    }
}
