//! A leg written down, so that it can go on in another process.
//!
//! Only a leg past its handshake can be: what is left of DTLS then is a pair of SRTP keys. Snapshots
//! hold keys and passwords: they are for no log, and to be sealed when they leave the process.

use crate::datagram::{Path, SocketId};
use crate::forward::{Line, payload_types};
use crate::ice::{CONSENT_TIMEOUT, IceCreds, IceLite};
use crate::latch::{Latch, LatchState};
use crate::leg::{Leg, Timer};
use crate::legs::Legs;
use crate::rewrite::{OutStream, OutStreamState};
use crate::source::SourceState;
use crate::stats::{Inbound, InboundState};
use crate::transport::{Keys, PhoneIce, PortPair, RtpPort, RtpRemote, Transport, WebRtc};
use media_control::{GroupId, LegId, LegSpec, RemoteMedia, SdesKey};
use media_packet::srtp;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// Grows when a field changes its meaning; fields that are only added have defaults.
pub const SNAPSHOT_VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LegSnapshot {
    pub version: u32,
    pub leg: LegId,
    pub group: GroupId,
    pub spec: LegSpec,
    pub joined: Option<LegId>,
    pub media: Vec<RemoteMedia>,
    pub transport: TransportSnapshot,
    pub audio_out: OutStreamState,
    pub video_out: OutStreamState,
    pub inbound: InboundState,
    pub sent: u64,
    pub sent_bytes: u64,
    pub cname: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum TransportSnapshot {
    WebRtc {
        local: IceCreds,
        remote: IceCreds,
        path: PathSnapshot,
        keys: KeysSnapshot,
    },
    Rtp {
        /// Where the RTP sockets were bound; the next process binds the same.
        bound: Vec<SocketAddr>,
        offered: Vec<SdesKey>,
        agreed: Option<(SdesKey, SdesKey)>,
        keys: Option<KeysSnapshot>,
        remote: Option<Box<RemoteSnapshot>>,
        /// The same of a second pair, for pictures.
        #[serde(default)]
        second_bound: Vec<SocketAddr>,
        #[serde(default)]
        second_remote: Option<Box<RemoteSnapshot>>,
        #[serde(default)]
        ice: Option<Box<PhoneIceSnapshot>>,
    },
    Source,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeysSnapshot {
    inbound: srtp::Snapshot,
    outbound: srtp::Snapshot,
}

/// Of a SIP leg's ICE: which addresses its peer nominated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PhoneIceSnapshot {
    local: IceCreds,
    remote: Option<IceCreds>,
    used: bool,
    rtp: Option<PathSnapshot>,
    rtcp: Option<PathSnapshot>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoteSnapshot {
    rtp: LatchState,
    rtp_path: Option<PathSnapshot>,
    rtcp: LatchState,
    rtcp_path: Option<PathSnapshot>,
    muxed: bool,
}

/// A path whose socket is told by its place, since numbers of sockets do not outlive a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathSnapshot {
    socket: SocketPlace,
    local: Option<IpAddr>,
    remote: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum SocketPlace {
    /// Of the sockets that browser legs share.
    Browsers(usize),
    Rtp(usize),
    Rtcp(usize),
}

/// Why a leg was not rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// Of a newer version than this.
    Version,
    /// The leg is here already.
    Exists,
    /// The sockets given do not fit the leg.
    Sockets,
    Keys,
    Full,
}

impl Legs {
    /// `None` if there is no such leg, or it is not past its handshake.
    pub fn snapshot(&self, id: LegId) -> Option<LegSnapshot> {
        let leg = self.leg(*self.by_id.get(&id)?)?;
        let transport = match &leg.transport {
            Transport::WebRtc(webrtc) => TransportSnapshot::WebRtc {
                local: webrtc.ice.creds.clone(),
                remote: webrtc.ice.remote()?.clone(),
                path: self.place(webrtc.ice.nominated_path()?, &[])?,
                keys: webrtc.keys.as_ref()?.snapshot(),
            },
            Transport::Rtp(rtp) => TransportSnapshot::Rtp {
                bound: rtp.ports.iter().map(|pair| pair.bound).collect(),
                offered: rtp.offered.clone(),
                agreed: rtp.agreed.clone(),
                keys: rtp.keys.as_ref().map(Keys::snapshot),
                remote: rtp
                    .remote
                    .as_ref()
                    .map(|r| self.remote_snapshot(r, &rtp.ports)),
                second_bound: rtp.second.iter().map(|pair| pair.bound).collect(),
                second_remote: rtp
                    .second_remote
                    .as_ref()
                    .map(|r| self.remote_snapshot(r, &rtp.second)),
                ice: rtp.ice.as_ref().map(|ice| {
                    let place = |component: &IceLite| {
                        let path = component.nominated_path();
                        path.and_then(|path| self.place(path, &rtp.ports))
                    };
                    Box::new(PhoneIceSnapshot {
                        local: ice.rtp.creds.clone(),
                        remote: ice.rtp.remote().cloned(),
                        used: ice.used,
                        rtp: place(&ice.rtp),
                        rtcp: place(&ice.rtcp),
                    })
                }),
            },
            Transport::Source(_) => TransportSnapshot::Source,
        };
        Some(LegSnapshot {
            version: SNAPSHOT_VERSION,
            leg: id,
            group: leg.group,
            spec: leg.spec.clone(),
            joined: leg
                .joined
                .and_then(|index| self.leg(index))
                .map(|leg| leg.id),
            media: leg.media.clone(),
            transport,
            audio_out: leg.audio_out.state().clone(),
            video_out: leg.video_out.state().clone(),
            inbound: leg.inbound.state(),
            sent: leg.sent,
            sent_bytes: leg.sent_bytes,
            cname: leg.cname.clone(),
        })
    }

    /// Rebuilds a leg, and its join if the other leg is here. `ports` are the sockets of a SIP leg, in the
    /// order of the snapshot's `bound`, then those of its `second_bound`.
    pub fn restore(
        &mut self,
        snapshot: LegSnapshot,
        mut ports: Vec<PortPair>,
        now: Instant,
    ) -> Result<(), RestoreError> {
        if snapshot.version > SNAPSHOT_VERSION {
            return Err(RestoreError::Version);
        }
        if self.by_id.contains_key(&snapshot.leg) {
            return Err(RestoreError::Exists);
        }
        if self.is_full() {
            return Err(RestoreError::Full);
        }
        let mut address = None;
        let (transport, connected) = match snapshot.transport {
            TransportSnapshot::WebRtc {
                local,
                remote,
                path,
                keys,
            } => {
                let path = self.find(&path, &[]).ok_or(RestoreError::Sockets)?;
                address = Some(path);
                let webrtc = WebRtc {
                    ice: IceLite::restore(local, remote, path, now),
                    expected: None,
                    handshake: None,
                    keys: Some(keys.restore()?),
                };
                (Transport::WebRtc(Box::new(webrtc)), true)
            }
            TransportSnapshot::Rtp {
                bound,
                offered,
                agreed,
                keys,
                remote,
                second_bound,
                second_remote,
                ice,
            } => {
                if bound.len() + second_bound.len() != ports.len() {
                    return Err(RestoreError::Sockets);
                }
                let second = ports.split_off(bound.len());
                let connected = remote.is_some();
                let remote = remote.map(|remote| self.restore_remote(&remote, &ports));
                let second_remote =
                    second_remote.map(|remote| self.restore_remote(&remote, &second));
                let keys = keys.map(|keys| keys.restore()).transpose()?;
                let ice = ice.map(|ice| Box::new(self.restore_ice(*ice, &ports, now)));
                let rtp = RtpPort {
                    ice,
                    ports,
                    second,
                    offered,
                    remote,
                    second_remote,
                    keys,
                    agreed,
                };
                (Transport::Rtp(Box::new(rtp)), connected)
            }
            TransportSnapshot::Source => match &snapshot.spec {
                LegSpec::Source(source) => {
                    (Transport::Source(SourceState::new(source.clone())), false)
                }
                LegSpec::WebRtc { .. } | LegSpec::Rtp { .. } => return Err(RestoreError::Sockets),
            },
        };
        let mut leg = Leg::new(
            snapshot.leg,
            snapshot.group,
            snapshot.spec,
            transport,
            OutStream::restore(snapshot.audio_out, now),
            OutStream::restore(snapshot.video_out, now),
            snapshot.cname,
        );
        leg.set_types(payload_types(&snapshot.media, leg.is_split()));
        leg.media = snapshot.media;
        leg.connected = connected;
        leg.inbound = Inbound::restore(&snapshot.inbound, now);
        leg.sent = snapshot.sent;
        leg.sent_bytes = snapshot.sent_bytes;
        leg.renew_paths();
        if address.is_some() {
            leg.timers.set(Timer::Consent, now + CONSENT_TIMEOUT);
        }
        let (first, second) = match &leg.transport {
            Transport::Rtp(rtp) => (rtp.ports.clone(), rtp.second.clone()),
            Transport::WebRtc(_) | Transport::Source(_) => (Vec::new(), Vec::new()),
        };
        let index = self.insert(leg);
        self.use_ports(index, Line::First, &first);
        self.use_ports(index, Line::Second, &second);
        if let Some(path) = address {
            self.by_address.insert((path.socket, path.remote), index);
        }
        self.listen(index, now);
        if let Some(other) = snapshot.joined {
            self.join(snapshot.leg, other, now);
        }
        Ok(())
    }

    fn remote_snapshot(&self, remote: &RtpRemote, ports: &[PortPair]) -> Box<RemoteSnapshot> {
        let place = |path: Option<Path>| path.and_then(|path| self.place(path, ports));
        Box::new(RemoteSnapshot {
            rtp: remote.rtp.state(),
            rtp_path: place(remote.rtp.path()),
            rtcp: remote.rtcp.state(),
            rtcp_path: place(remote.rtcp.path()),
            muxed: remote.muxed,
        })
    }

    fn restore_remote(&self, remote: &RemoteSnapshot, ports: &[PortPair]) -> RtpRemote {
        RtpRemote {
            rtp: Latch::restore(remote.rtp, self.find_some(remote.rtp_path, ports)),
            rtcp: Latch::restore(remote.rtcp, self.find_some(remote.rtcp_path, ports)),
            muxed: remote.muxed,
        }
    }

    fn restore_ice(&self, ice: PhoneIceSnapshot, ports: &[PortPair], now: Instant) -> PhoneIce {
        let component = |path| match (&ice.remote, self.find_some(path, ports)) {
            (Some(remote), Some(path)) => {
                IceLite::restore(ice.local.clone(), remote.clone(), path, now)
            }
            (remote, _) => {
                let mut fresh = IceLite::new(ice.local.clone());
                if let Some(remote) = remote {
                    fresh.set_remote(remote.clone());
                }
                fresh
            }
        };
        PhoneIce {
            rtp: component(ice.rtp),
            rtcp: component(ice.rtcp),
            used: ice.used,
        }
    }

    fn place(&self, path: Path, ports: &[PortPair]) -> Option<PathSnapshot> {
        let browsers = &self.config.browser_sockets;
        let socket = ports
            .iter()
            .position(|pair| pair.rtp == path.socket)
            .map(SocketPlace::Rtp)
            .or_else(|| {
                ports
                    .iter()
                    .position(|pair| pair.rtcp == path.socket)
                    .map(SocketPlace::Rtcp)
            })
            .or_else(|| {
                browsers
                    .iter()
                    .position(|b| b.socket == path.socket)
                    .map(SocketPlace::Browsers)
            })?;
        Some(PathSnapshot {
            socket,
            local: path.local,
            remote: path.remote,
        })
    }

    fn find(&self, path: &PathSnapshot, ports: &[PortPair]) -> Option<Path> {
        let socket: SocketId = match path.socket {
            SocketPlace::Browsers(at) => self.config.browser_sockets.get(at)?.socket,
            SocketPlace::Rtp(at) => ports.get(at)?.rtp,
            SocketPlace::Rtcp(at) => ports.get(at)?.rtcp,
        };
        Some(Path {
            socket,
            local: path.local,
            remote: path.remote,
        })
    }

    fn find_some(&self, path: Option<PathSnapshot>, ports: &[PortPair]) -> Option<Path> {
        self.find(&path?, ports)
    }
}

impl Keys {
    fn snapshot(&self) -> KeysSnapshot {
        KeysSnapshot {
            inbound: self.inbound.snapshot(),
            outbound: self.outbound.snapshot(),
        }
    }
}

impl KeysSnapshot {
    fn restore(&self) -> Result<Keys, RestoreError> {
        let restore = |snapshot| srtp::Context::restore(snapshot).map_err(|_| RestoreError::Keys);
        Ok(Keys {
            inbound: restore(&self.inbound)?,
            outbound: restore(&self.outbound)?,
        })
    }
}
