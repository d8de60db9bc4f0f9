//! A leg written down, so that it can go on in another process.
//!
//! Only a leg past its handshake can be: what is left of DTLS then is a pair of SRTP keys. Snapshots
//! hold keys and passwords: they are for no log, and to be sealed when they leave the process.

use crate::datagram::{Path, SocketId};
use crate::forward::payload_types;
use crate::ice::{CONSENT_TIMEOUT, IceCreds, IceLite};
use crate::latch::{Latch, LatchState};
use crate::leg::{Leg, Timer};
use crate::legs::{Legs, SocketUse};
use crate::rewrite::{OutStream, OutStreamState};
use crate::source::SourceState;
use crate::stats::{Inbound, InboundState};
use crate::transport::{Keys, PortPair, RtpPort, RtpRemote, Transport, WebRtc};
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
    },
    Source,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeysSnapshot {
    inbound: srtp::Snapshot,
    outbound: srtp::Snapshot,
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
                remote: rtp.remote.as_ref().map(|remote| {
                    Box::new(RemoteSnapshot {
                        rtp: remote.rtp.state(),
                        rtp_path: remote
                            .rtp
                            .path()
                            .and_then(|path| self.place(path, &rtp.ports)),
                        rtcp: remote.rtcp.state(),
                        rtcp_path: remote
                            .rtcp
                            .path()
                            .and_then(|path| self.place(path, &rtp.ports)),
                        muxed: remote.muxed,
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
    /// order of the snapshot's `bound`.
    pub fn restore(
        &mut self,
        snapshot: LegSnapshot,
        ports: Vec<PortPair>,
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
            } => {
                if bound.len() != ports.len() {
                    return Err(RestoreError::Sockets);
                }
                let connected = remote.is_some();
                let remote = remote.map(|remote| RtpRemote {
                    rtp: Latch::restore(remote.rtp, self.find_some(remote.rtp_path, &ports)),
                    rtcp: Latch::restore(remote.rtcp, self.find_some(remote.rtcp_path, &ports)),
                    muxed: remote.muxed,
                });
                let keys = keys.map(|keys| keys.restore()).transpose()?;
                let rtp = RtpPort {
                    ports,
                    offered,
                    remote,
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
        leg.set_types(payload_types(&snapshot.media));
        leg.media = snapshot.media;
        leg.connected = connected;
        leg.inbound = Inbound::restore(&snapshot.inbound, now);
        leg.sent = snapshot.sent;
        leg.sent_bytes = snapshot.sent_bytes;
        leg.renew_paths();
        if address.is_some() {
            leg.timers.set(Timer::Consent, now + CONSENT_TIMEOUT);
        }
        let pairs = match &leg.transport {
            Transport::Rtp(rtp) => rtp.ports.clone(),
            Transport::WebRtc(_) | Transport::Source(_) => Vec::new(),
        };
        let index = self.insert(leg);
        for pair in pairs {
            self.use_socket(pair.rtp, SocketUse::Rtp { leg: index });
            self.use_socket(pair.rtcp, SocketUse::Rtcp { leg: index });
        }
        if let Some(path) = address {
            self.by_address.insert((path.socket, path.remote), index);
        }
        self.listen(index, now);
        if let Some(other) = snapshot.joined {
            self.join(snapshot.leg, other, now);
        }
        Ok(())
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
