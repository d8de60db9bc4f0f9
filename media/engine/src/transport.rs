//! How a leg's packets travel: a browser's ICE, DTLS and SRTP, a SIP peer's port pair, or nothing at all.

use crate::datagram::{Path, SocketId};
use crate::dtls::{ExportedKeys, Handshake};
use crate::forward::Line;
use crate::ice::{IceCreds, IceLite};
use crate::latch::{Latch, Origin};
use crate::source::SourceState;
use media_control::{DtlsRole, Fingerprint, SdesKey, SrtpProfile};
use media_packet::srtp;
use std::net::{IpAddr, SocketAddr};

/// Chosen when the leg is made.
pub(crate) enum Transport {
    WebRtc(Box<WebRtc>),
    Rtp(Box<RtpPort>),
    Source(SourceState),
}

impl Transport {
    /// What opens and closes packets, once there are keys.
    pub fn crypto(&mut self) -> Crypto<'_> {
        match self {
            Transport::WebRtc(webrtc) => match &mut webrtc.keys {
                Some(keys) => Crypto::Srtp(keys),
                None => Crypto::NotYet,
            },
            Transport::Rtp(rtp) => match &mut rtp.keys {
                Some(keys) => Crypto::Srtp(keys),
                None => Crypto::Plain,
            },
            Transport::Source(_) => Crypto::NotYet,
        }
    }

    pub fn profile_name(&self) -> &'static str {
        let keys = match self {
            Transport::WebRtc(webrtc) => &webrtc.keys,
            Transport::Rtp(rtp) => &rtp.keys,
            Transport::Source(_) => return "",
        };
        keys.as_ref()
            .map_or("", |keys| match keys.inbound.profile() {
                SrtpProfile::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
                SrtpProfile::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
                SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
                SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
            })
    }
}

pub(crate) enum Crypto<'a> {
    Plain,
    Srtp(&'a mut Keys),
    /// Nothing passes before there are keys.
    NotYet,
}

/// Both directions of one SRTP session.
pub(crate) struct Keys {
    pub inbound: srtp::Context,
    pub outbound: srtp::Context,
}

impl Keys {
    /// See [`crate::leg::Leg::touch`].
    pub fn touch(&self) -> u64 {
        let gcm = |context: &srtp::Context| context.profile() == SrtpProfile::AeadAes256Gcm;
        u64::from(gcm(&self.inbound)) + u64::from(gcm(&self.outbound))
    }

    pub fn new(profile: SrtpProfile, theirs: &[u8], ours: &[u8]) -> Result<Keys, srtp::Error> {
        Ok(Keys {
            inbound: srtp::Context::new(profile, theirs)?,
            outbound: srtp::Context::new(profile, ours)?,
        })
    }

    pub fn exported(keys: &ExportedKeys) -> Result<Keys, srtp::Error> {
        Keys::new(keys.profile, &keys.theirs, &keys.ours)
    }

    /// Keys that a description agreed on. One that was in force before goes on as it is, counters, windows and all
    /// (RFC 4568 §6.4): begun anew it would close other packets with the same key stream.
    ///
    /// The two may be of different suites, though nobody does it.
    pub fn sdes(
        agreed: &(SdesKey, SdesKey),
        before: Option<(Keys, (SdesKey, SdesKey))>,
    ) -> Result<Keys, srtp::Error> {
        let (open, close) = agreed;
        let same =
            |a: &SdesKey, b: &SdesKey| a.profile == b.profile && a.key_and_salt == b.key_and_salt;
        let (mut inbound, mut outbound) = (None, None);
        if let Some((keys, (opened, closed))) = before {
            inbound = Some(keys.inbound).filter(|_| same(open, &opened));
            outbound = Some(keys.outbound).filter(|_| same(close, &closed));
        }
        let made = |key: &SdesKey| srtp::Context::new(key.profile, &key.key_and_salt);
        Ok(Keys {
            inbound: inbound.map_or_else(|| made(open), Ok)?,
            outbound: outbound.map_or_else(|| made(close), Ok)?,
        })
    }
}

/// What a browser's description said, kept for the handshake.
#[derive(Clone)]
pub(crate) struct Expected {
    pub role: DtlsRole,
    pub fingerprints: Vec<Fingerprint>,
}

pub(crate) struct WebRtc {
    pub ice: IceLite,
    pub expected: Option<Expected>,
    pub handshake: Option<Handshake>,
    pub keys: Option<Keys>,
}

/// One address's two sockets of a SIP leg, opened by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPair {
    pub rtp: SocketId,
    pub rtcp: SocketId,
    /// Where the RTP socket is bound; its port is written into snapshots.
    pub bound: SocketAddr,
    /// What the leg's description says.
    pub announced: SocketAddr,
}

pub(crate) struct RtpPort {
    /// Empty until the shell has opened them.
    pub ports: Vec<PortPair>,
    /// For pictures; empty where none were asked for.
    pub second: Vec<PortPair>,
    /// What we offer, if SDES is wished.
    pub offered: Vec<SdesKey>,
    pub remote: Option<RtpRemote>,
    /// Where its pictures come from and go to.
    pub second_remote: Option<RtpRemote>,
    pub keys: Option<Keys>,
    /// The keys in force, to see whether a new description changes them.
    pub agreed: Option<(SdesKey, SdesKey)>,
    /// Where the leg may do ICE.
    pub ice: Option<Box<PhoneIce>>,
}

/// ICE with a SIP peer, for its sound: both ports have checks of their own (RFC 8445 §4, components 1 and 2), under one
/// credential.
pub(crate) struct PhoneIce {
    pub rtp: IceLite,
    pub rtcp: IceLite,
    /// The peer's last description had credentials; else its checks say nothing.
    pub used: bool,
}

impl PhoneIce {
    pub fn new(creds: IceCreds) -> PhoneIce {
        PhoneIce {
            rtp: IceLite::new(creds.clone()),
            rtcp: IceLite::new(creds),
            used: false,
        }
    }

    /// What the peer's description says: its credentials, or that it does no ICE.
    pub fn described(&mut self, remote: Option<IceCreds>) {
        self.used = remote.is_some();
        let Some(remote) = remote else { return };
        for component in [&mut self.rtp, &mut self.rtcp] {
            if component.remote() != Some(&remote) {
                component.set_remote(remote.clone());
            }
        }
    }

    pub fn component(&self, rtcp: bool) -> &IceLite {
        if rtcp { &self.rtcp } else { &self.rtp }
    }

    pub fn component_mut(&mut self, rtcp: bool) -> &mut IceLite {
        if rtcp { &mut self.rtcp } else { &mut self.rtp }
    }
}

pub(crate) struct RtpRemote {
    pub rtp: Latch,
    pub rtcp: Latch,
    /// RTCP shares RTP's port (RFC 5761).
    pub muxed: bool,
}

impl RtpRemote {
    pub fn new(
        rtp: Option<SocketAddr>,
        rtcp: Option<SocketAddr>,
        signalling: IpAddr,
        keyed: bool,
    ) -> RtpRemote {
        let next = rtp.and_then(|a| Some(SocketAddr::new(a.ip(), a.port().checked_add(1)?)));
        let muxed = rtcp.is_some() && rtcp == rtp;
        RtpRemote {
            rtp: Latch::new(rtp, signalling, keyed),
            rtcp: Latch::new(rtcp.or(next), signalling, keyed),
            muxed,
        }
    }
}

impl RtpPort {
    /// The peer's end of a line, and ours.
    fn line(&self, line: Line) -> (Option<&RtpRemote>, &[PortPair]) {
        match line {
            Line::First => (self.remote.as_ref(), &self.ports),
            Line::Second => (self.second_remote.as_ref(), &self.second),
        }
    }

    pub fn remote_mut(&mut self, line: Line) -> Option<&mut RtpRemote> {
        match line {
            Line::First => self.remote.as_mut(),
            Line::Second => self.second_remote.as_mut(),
        }
    }

    /// Where ICE says that a port's packets go; `None` before the first check, and without ICE.
    fn nominated(&self, line: Line, rtcp: bool) -> Option<Path> {
        let ice = self
            .ice
            .as_ref()
            .filter(|ice| ice.used && line == Line::First)?;
        ice.component(rtcp).nominated_path()
    }

    /// From whom a packet is, by the checks of its sender where there were any, else by the latch.
    pub fn judge(&mut self, line: Line, rtcp: bool, path: Path, ssrc: Option<u32>) -> Origin {
        if self.nominated(line, rtcp).is_some()
            && let Some(ice) = &self.ice
        {
            return match ice.component(rtcp).last_check(&path) {
                Some(_) => Origin::Peer,
                None => Origin::Stranger,
            };
        }
        let Some(remote) = self.remote_mut(line) else {
            return Origin::Stranger;
        };
        let latch = if rtcp {
            &mut remote.rtcp
        } else {
            &mut remote.rtp
        };
        latch.judge(path, ssrc)
    }

    pub fn rtp_path(&self, line: Line) -> Option<Path> {
        let (remote, ports) = self.line(line);
        let latch = &remote?.rtp;
        if let Some(path) = self.nominated(line, false) {
            return Some(path).filter(|_| latch.destination().is_some());
        }
        latch
            .path()
            .or_else(|| path_to(ports, latch.destination()?, false))
    }

    pub fn rtcp_path(&self, line: Line) -> Option<Path> {
        let (remote, ports) = self.line(line);
        let remote = remote?;
        if remote.muxed {
            return self.rtp_path(line);
        }
        if let Some(path) = self.nominated(line, true) {
            return Some(path).filter(|_| remote.rtcp.destination().is_some());
        }
        remote
            .rtcp
            .path()
            .or_else(|| path_to(ports, remote.rtcp.destination()?, true))
    }
}

/// From which of our addresses to speak first to a peer that has not spoken yet: one of its family,
/// and loopback only to loopback.
fn path_to(ports: &[PortPair], remote: SocketAddr, rtcp: bool) -> Option<Path> {
    let rank = |port: &PortPair| {
        let bound = port.bound.ip();
        (
            bound.is_ipv4() == remote.is_ipv4(),
            bound.is_unspecified() || bound.is_loopback() == remote.ip().is_loopback(),
        )
    };
    let port = ports
        .iter()
        .rev() // of equals, max_by_key takes the last, which is then the first
        .max_by_key(|port| rank(port))
        .filter(|port| port.bound.is_ipv4() == remote.is_ipv4())?;
    Some(Path {
        socket: if rtcp { port.rtcp } else { port.rtp },
        local: None,
        remote,
    })
}

/// Keys to offer for every suite that we have, the best first (RFC 4568 §6.1, RFC 7714 §14.2).
pub(crate) fn draw_sdes(random: &mut dyn FnMut(&mut [u8])) -> Vec<SdesKey> {
    let profiles = [
        SrtpProfile::AeadAes256Gcm,
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::AesCm128HmacSha1_80,
        SrtpProfile::AesCm128HmacSha1_32,
    ];
    (1..)
        .zip(profiles)
        .map(|(tag, profile)| {
            let mut key_and_salt = vec![0; srtp::key_len(profile) + srtp::salt_len(profile)];
            random(&mut key_and_salt);
            SdesKey {
                tag,
                profile,
                key_and_salt,
            }
        })
        .collect()
}
