//! What each command does to the legs.

use crate::datagram::SocketId;
use crate::forward::{
    Forward, Line, Outcome, first_event, first_speech, inband, payload_types, roads, speaks_inband,
    takes_sound,
};
use crate::ice::{CHECK_TIMEOUT, IceCreds, IceLite};
use crate::leg::{Leg, Timer};
use crate::legs::{Legs, MAX_LEGS, Output, SocketUse};
use crate::rewrite::OutStream;
use crate::source::SourceState;
use crate::transport::{
    Expected, Keys, PhoneIce, PortPair, RtpPort, RtpRemote, Transport, WebRtc, draw_sdes,
};
use media_codec::chord::{MAX_STEPS, MAX_TONES};
use media_control::{
    Candidate, Command, Event, Face, GroupId, LegFailure, LegId, LegSpec, LegStats, LocalTransport,
    MediaKind, Remote, RemoteTransport, Source,
};
use std::collections::HashSet;
use std::time::Instant;

/// Payload formats and m-lines of one description.
const MAX_FORMATS: usize = 64;
const MAX_MEDIA: usize = 8;

impl Legs {
    pub(crate) fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::CreateLeg { leg, group, spec } => self.create(leg, group, spec),
            Command::ConnectLeg { leg, remote } => self.connect(leg, remote, now),
            Command::Join { a, b } => self.join(a, b, now),
            Command::Part { a, b } => self.part(a, b, now),
            Command::CloseLeg { leg } => self.close(leg, now),
            Command::SendDigits {
                leg,
                digits,
                duration_ms,
            } => {
                self.send_digits(leg, &digits, duration_ms, now);
            }
            Command::RequestKeyFrame { leg } => {
                if let Some(index) = self.by_id.get(&leg).copied() {
                    self.request_picture(index, now);
                }
            }
            Command::Retain { groups } => {
                let kept: HashSet<GroupId> = groups.into_iter().collect();
                let gone: Vec<LegId> = self
                    .slots
                    .iter()
                    .flatten()
                    .filter(|leg| !kept.contains(&leg.group))
                    .map(|leg| leg.id)
                    .collect();
                for leg in gone {
                    self.close(leg, now);
                }
            }
        }
    }

    fn create(&mut self, id: LegId, group: GroupId, spec: LegSpec) {
        if let Some(index) = self.by_id.get(&id).copied() {
            self.tell_created(index);
            return;
        }
        if self.is_full() {
            self.tell(Event::LegFailed {
                leg: id,
                reason: LegFailure::NoResources,
            });
            return;
        }
        if let LegSpec::Source(Source::Ringback {
            tones_hz,
            on_off_ms,
            dbm0,
        }) = &spec
        {
            let is_sound = |hz: &f32| (20.0..=20_000.0).contains(hz);
            if tones_hz.len() > MAX_TONES
                || on_off_ms.len() > MAX_STEPS
                || !tones_hz.iter().all(is_sound)
                || !dbm0.is_finite()
            {
                let reason = LegFailure::Unsupported("no tone that can be made".to_owned());
                self.tell(Event::LegFailed { leg: id, reason });
                return;
            }
        }
        let transport = match &spec {
            LegSpec::WebRtc { face } => {
                if !self
                    .config
                    .browser_sockets
                    .iter()
                    .any(|socket| socket.face == *face)
                {
                    self.tell(Event::LegFailed {
                        leg: id,
                        reason: LegFailure::NoResources,
                    });
                    return;
                }
                let mut creds = IceCreds::draw(&mut *self.random);
                while self.by_ufrag.contains_key(&creds.ufrag) {
                    creds = IceCreds::draw(&mut *self.random);
                }
                Transport::WebRtc(Box::new(WebRtc {
                    ice: IceLite::new(creds),
                    expected: None,
                    handshake: None,
                    keys: None,
                }))
            }
            LegSpec::Rtp { sdes, ice, .. } => {
                let ice = ice.then(|| IceCreds::draw(&mut *self.random));
                let offered = if *sdes {
                    draw_sdes(&mut *self.random)
                } else {
                    Vec::new()
                };
                Transport::Rtp(Box::new(RtpPort {
                    ports: Vec::new(),
                    second: Vec::new(),
                    offered,
                    remote: None,
                    second_remote: None,
                    keys: None,
                    agreed: None,
                    ice: ice.map(|creds| Box::new(PhoneIce::new(creds))),
                }))
            }
            LegSpec::Source(source) => Transport::Source(SourceState::new(source.clone())),
        };
        let audio_out = self.draw_stream();
        let video_out = self.draw_stream();
        let cname = self.draw_cname();
        let leg = Leg::new(
            id,
            group,
            spec.clone(),
            transport,
            audio_out,
            video_out,
            cname,
        );
        let index = self.insert(leg);
        match spec {
            LegSpec::Rtp { face, video, .. } => {
                self.outputs.push_back(Output::OpenPorts {
                    leg: id,
                    face,
                    second: video,
                });
            }
            LegSpec::WebRtc { .. } | LegSpec::Source(_) => self.tell_created(index),
        }
    }

    /// First sequence numbers in the lower half, so that the receiver's rollover counter starts where
    /// ours does even if the first packets are lost (RFC 3711 §3.3.1).
    fn draw_stream(&mut self) -> OutStream {
        let mut dice = [0u8; 10];
        (self.random)(&mut dice);
        let [a, b, c, d, e, f, g, h, i, j] = dice;
        let ssrc = u32::from_be_bytes([a, b, c, d]).max(1);
        OutStream::new(
            ssrc,
            u16::from_be_bytes([e & 0x7f, f]),
            u32::from_be_bytes([g, h, i, j]),
        )
    }

    /// 96 bits that say nothing about us (RFC 7022 §4.2).
    fn draw_cname(&mut self) -> String {
        let mut dice = [0u8; 12];
        (self.random)(&mut dice);
        dice.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.by_id.len() >= MAX_LEGS
    }

    pub(crate) fn insert(&mut self, leg: Leg) -> u32 {
        let id = leg.id;
        let ufrag = match &leg.transport {
            Transport::WebRtc(webrtc) => Some(webrtc.ice.creds.ufrag.clone()),
            Transport::Rtp(_) | Transport::Source(_) => None,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(Box::new(leg));
                index
            }
            None => {
                self.slots.push(Some(Box::new(leg)));
                u32::try_from(self.slots.len() - 1).expect("MAX_LEGS fits 32 bits")
            }
        };
        self.by_id.insert(id, index);
        if let Some(ufrag) = ufrag {
            self.by_ufrag.insert(ufrag, index);
        }
        index
    }

    pub(crate) fn ports_opened(&mut self, id: LegId, ports: Vec<PortPair>, second: Vec<PortPair>) {
        let Some(index) = self.by_id.get(&id).copied() else {
            // Closed meanwhile.
            let ports = [ports, second].concat();
            self.outputs.push_back(Output::ClosePorts { ports });
            return;
        };
        self.use_ports(index, Line::First, &ports);
        self.use_ports(index, Line::Second, &second);
        if let Some(Leg {
            transport: Transport::Rtp(rtp),
            ..
        }) = self.leg_mut(index)
        {
            rtp.ports = ports;
            rtp.second = second;
        }
        self.tell_created(index);
    }

    pub(crate) fn use_ports(&mut self, leg: u32, line: Line, ports: &[PortPair]) {
        for pair in ports {
            self.use_socket(pair.rtp, SocketUse::Rtp { leg, line });
            self.use_socket(pair.rtcp, SocketUse::Rtcp { leg, line });
        }
    }

    fn tell_created(&mut self, index: u32) {
        let Some(leg) = self.leg(index) else { return };
        let id = leg.id;
        let local = match &leg.transport {
            Transport::WebRtc(webrtc) => LocalTransport::WebRtc {
                ufrag: webrtc.ice.creds.ufrag.clone(),
                pwd: webrtc.ice.creds.pwd.clone(),
                fingerprint: self.config.identity.fingerprint().clone(),
                candidates: self.candidates(&leg.spec),
            },
            // Told when the ports are open.
            Transport::Rtp(rtp) if rtp.ports.is_empty() => return,
            Transport::Rtp(rtp) => LocalTransport::Rtp {
                rtp: rtp.ports.iter().map(|pair| pair.announced).collect(),
                sdes: rtp.offered.clone(),
                video: rtp.second.iter().map(|pair| pair.announced).collect(),
                ice: rtp.ice.as_ref().map(|ice| ice.rtp.creds.told()),
            },
            Transport::Source(_) => LocalTransport::Source,
        };
        self.tell(Event::LegCreated { leg: id, local });
    }

    /// Host candidates, type preference 126, the sockets in the order given (RFC 8445 §5.1.2.1).
    fn candidates(&self, spec: &LegSpec) -> Vec<Candidate> {
        let wanted = match spec {
            LegSpec::WebRtc { face } => *face,
            LegSpec::Rtp { .. } | LegSpec::Source(_) => Face::Outside,
        };
        (0u32..)
            .zip(
                self.config
                    .browser_sockets
                    .iter()
                    .filter(|socket| socket.face == wanted),
            )
            .map(|(order, socket)| Candidate {
                address: socket.announced,
                tcp: false,
                priority: (126 << 24) | ((65_535u32.saturating_sub(order) & 0xffff) << 8) | 255,
            })
            .collect()
    }

    fn connect(&mut self, id: LegId, mut remote: Remote, now: Instant) {
        let Some(index) = self.by_id.get(&id).copied() else {
            self.tell(Event::LegFailed {
                leg: id,
                reason: LegFailure::Unsupported("no such leg".to_owned()),
            });
            return;
        };
        let formats: usize = remote.media.iter().map(|media| media.formats.len()).sum();
        if remote.media.len() > MAX_MEDIA || formats > MAX_FORMATS {
            let reason = LegFailure::Unsupported("too many media or formats".to_owned());
            self.fail(index, reason, now);
            return;
        }
        let fresh = self.draw_stream().ssrc();
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        let result = match (&mut leg.transport, remote.transport) {
            (
                Transport::WebRtc(webrtc),
                RemoteTransport::WebRtc {
                    ufrag,
                    pwd,
                    fingerprints,
                    dtls,
                },
            ) => {
                let creds = IceCreds { ufrag, pwd };
                let mut forgotten = Vec::new();
                if webrtc.ice.remote() != Some(&creds) {
                    forgotten = webrtc.ice.set_remote(creds);
                }
                if webrtc.expected.is_none() {
                    webrtc.expected = Some(Expected {
                        role: dtls,
                        fingerprints,
                    });
                    leg.timers.set(Timer::Connect, now + CHECK_TIMEOUT);
                }
                for path in forgotten {
                    self.forget_address(index, path.socket, path.remote);
                }
                Ok(())
            }
            (
                Transport::Rtp(port),
                RemoteTransport::Rtp {
                    rtp,
                    rtcp,
                    signalling,
                    sdes,
                    video,
                    ice,
                },
            ) => {
                if let Some(own) = &mut port.ice {
                    own.described(ice.map(|ice| IceCreds::from(*ice)));
                }
                // Each m-line has keys of its own (RFC 4568 §5), and these are the sound's.
                let video = video.filter(|_| sdes.is_none() && !port.second.is_empty());
                if video.is_none() {
                    remote.media.retain(|media| media.kind != MediaKind::Video);
                }
                let before = port.second_remote.take();
                port.second_remote = video.map(|video| {
                    let mut remote = RtpRemote::new(video.rtp, video.rtcp, signalling, false);
                    if let Some(before) = &before {
                        remote.rtp.follow(&before.rtp);
                        remote.rtcp.follow(&before.rtcp);
                    }
                    remote
                });
                let before = port.keys.take().zip(port.agreed.take());
                let opened = before
                    .as_ref()
                    .map(|(_, (open, _))| open.key_and_salt.clone());
                let keys = match &sdes {
                    Some(agreed) => Keys::sdes(agreed, before).map(Some),
                    None => Ok(None),
                };
                if let (Ok(Some(keys)), Some(opened), Some((open, _))) = (&keys, opened, &sdes) {
                    // A new key of the peer's is perhaps another device, which knows nothing of how often our numbers
                    // have wrapped. A new SSRC begins at zero for both.
                    let ssrc = leg.audio_out.ssrc();
                    if opened != open.key_and_salt && keys.outbound.has_rolled_over(ssrc) {
                        leg.audio_out.rename(fresh);
                    }
                }
                let keys = keys.map(|keys| port.keys = keys);
                let mut remote = RtpRemote::new(rtp, rtcp, signalling, sdes.is_some());
                if let Some(before) = &port.remote {
                    remote.rtp.follow(&before.rtp);
                    remote.rtcp.follow(&before.rtcp);
                }
                port.remote = Some(remote);
                port.agreed = sdes;
                keys.map_err(|_| {
                    LegFailure::Unsupported("a=crypto key of a wrong length".to_owned())
                })
            }
            _ => Err(LegFailure::Unsupported(
                "a description of another kind of leg".to_owned(),
            )),
        };
        if let Err(reason) = result {
            self.fail(index, reason, now);
            return;
        }
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        leg.set_types(payload_types(&remote.media, leg.is_split()));
        leg.media = remote.media;
        let shown_before = leg.picture_path();
        leg.renew_paths();
        let ready = match &leg.transport {
            Transport::Rtp(rtp) => rtp
                .remote
                .as_ref()
                .is_some_and(|remote| remote.rtp.destination().is_some()),
            Transport::WebRtc(_) => leg.connected,
            Transport::Source(_) => false,
        };
        if ready {
            leg.connected = true;
            self.tell(Event::LegConnected { leg: id });
        }
        self.listen(index, now);
        self.begin_handshake(index, now);
        self.replan(index, now);
        if self
            .leg(index)
            .is_some_and(|leg| leg.picture_path() != shown_before)
        {
            self.shows_from_now(index, now);
        }
        self.arm(index);
    }

    pub(crate) fn join(&mut self, a: LegId, b: LegId, now: Instant) {
        let (Some(ia), Some(ib)) = (self.by_id.get(&a).copied(), self.by_id.get(&b).copied())
        else {
            return;
        };
        let same_group = match (self.leg(ia), self.leg(ib)) {
            (Some(x), Some(y)) => x.group == y.group,
            _ => false,
        };
        if ia == ib || !same_group {
            tracing::warn!(%a, %b, "legs that cannot be joined");
            return;
        }
        if self.leg(ia).and_then(|leg| leg.joined) != Some(ib) {
            self.unjoin(ia, now);
            self.unjoin(ib, now);
            if let Some(leg) = self.leg_mut(ia) {
                leg.joined = Some(ib);
            }
            if let Some(leg) = self.leg_mut(ib) {
                leg.joined = Some(ia);
            }
        }
        self.replan(ia, now);
    }

    fn part(&mut self, a: LegId, b: LegId, now: Instant) {
        let (Some(ia), Some(ib)) = (self.by_id.get(&a).copied(), self.by_id.get(&b).copied())
        else {
            return;
        };
        if self.leg(ia).and_then(|leg| leg.joined) == Some(ib) {
            self.unjoin(ia, now);
        }
    }

    /// Ends the join of a leg, if it has one.
    fn unjoin(&mut self, index: u32, now: Instant) {
        let other = self.leg_mut(index).and_then(|leg| leg.joined.take());
        let other = other.filter(|other| {
            self.leg_mut(*other)
                .is_some_and(|leg| leg.joined.take_if(|i| *i == index).is_some())
        });
        for end in [Some(index), other].into_iter().flatten() {
            if let Some(leg) = self.leg_mut(end) {
                leg.set_forward(None);
                leg.end_pace();
                leg.audio_out.detach(now);
                leg.video_out.detach(now);
            }
        }
    }

    /// Chooses the roads of both directions anew, after a join or a new description.
    fn replan(&mut self, index: u32, now: Instant) {
        let Some(other) = self.leg(index).and_then(|leg| leg.joined) else {
            return;
        };
        let mut opened = false;
        for (from, to) in [(index, other), (other, index)] {
            let (Some(a), Some(b)) = (self.leg(from), self.leg(to)) else {
                continue;
            };
            if a.is_source() {
                if a.is_echo() || b.media.is_empty() {
                    continue;
                }
                let out = first_speech(&b.media).filter(|_| takes_sound(&b.media));
                if out.is_none() && takes_sound(&b.media) {
                    self.fail(to, LegFailure::NoCommonCodec, now);
                    return;
                }
                self.generate(from, to, out, now);
                continue;
            }
            // An echo gives back what came, in the same format.
            let far = if b.is_echo() { a } else { b };
            let target = if b.is_echo() { from } else { to };
            let planned = (!a.media.is_empty() && !far.media.is_empty()).then(|| {
                let (roads, outcome) = roads(&a.media, a.is_split(), &far.media);
                let fresh = Forward {
                    to: target,
                    roads,
                    speech: first_speech(&far.media),
                    ear: speaks_inband(&a.media).then(|| first_event(&far.media).is_some()),
                    tones: target != from && inband(&far.media).is_some(),
                };
                (fresh, outcome)
            });
            let Some((fresh, outcome)) = planned else {
                if let Some(leg) = self.leg_mut(from) {
                    leg.set_forward(None);
                    leg.end_pace();
                }
                continue;
            };
            if outcome == Outcome::Impossible {
                self.fail(from, LegFailure::NoCommonCodec, now);
                return;
            }
            let Some(leg) = self.leg_mut(from) else {
                continue;
            };
            let before = leg.forward();
            let changed = before.is_some_and(|before| *before != fresh);
            let shows = fresh.shows() && !before.is_some_and(Forward::shows);
            leg.set_forward(Some(fresh));
            if changed {
                leg.end_pace();
                if let Some(leg) = self.leg_mut(target) {
                    // Whatever was on its way belongs to the road before.
                    leg.audio_out.detach(now);
                    leg.video_out.detach(now);
                }
            }
            opened |= shows;
        }
        // Both ways, whichever has opened: a peer that was held may have gone on making pictures that it did not send.
        if opened {
            self.shows_from_now(index, now);
            self.shows_from_now(other, now);
        }
    }

    fn close(&mut self, id: LegId, now: Instant) {
        let Some(index) = self.by_id.get(&id).copied() else {
            self.tell(Event::LegClosed {
                leg: id,
                stats: LegStats::default(),
            });
            return;
        };
        if let Some(leg) = self.remove(index, now) {
            self.tell(Event::LegClosed {
                leg: id,
                stats: leg.stats(),
            });
        }
    }

    pub(crate) fn remove(&mut self, index: u32, now: Instant) -> Option<Box<Leg>> {
        self.unjoin(index, now);
        let leg = self.slots.get_mut(index as usize)?.take()?;
        self.by_id.remove(&leg.id);
        match &leg.transport {
            Transport::WebRtc(webrtc) => {
                self.by_ufrag.remove(&webrtc.ice.creds.ufrag);
                let paths: Vec<_> = webrtc.ice.paths().collect();
                for path in paths {
                    self.forget_address(index, path.socket, path.remote);
                }
            }
            Transport::Rtp(rtp) => {
                if !rtp.ports.is_empty() {
                    let ports = [rtp.ports.as_slice(), &rtp.second].concat();
                    for pair in &ports {
                        self.use_socket(pair.rtp, SocketUse::Free);
                        self.use_socket(pair.rtcp, SocketUse::Free);
                    }
                    self.outputs.push_back(Output::ClosePorts { ports });
                }
            }
            Transport::Source(_) => {}
        }
        self.free.push(index);
        Some(leg)
    }

    pub(crate) fn forget_address(
        &mut self,
        index: u32,
        socket: SocketId,
        remote: std::net::SocketAddr,
    ) {
        if self.by_address.get(&(socket, remote)) == Some(&index) {
            self.by_address.remove(&(socket, remote));
        }
    }
}
