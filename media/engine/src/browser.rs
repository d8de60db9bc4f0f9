//! What turns aside from a browser's packets: connectivity checks, and the handshake.

use crate::datagram::{Buf, Path};
use crate::dtls::{HANDSHAKE_TIMEOUT, Handshake, Progress};
use crate::ice::{CONSENT_TIMEOUT, Verdict, parse_check};
use crate::leg::{Leg, Timer};
use crate::legs::Legs;
use crate::transport::{Keys, Transport, WebRtc};
use media_control::{DtlsRole, Event, LegFailure};
use media_packet::stun::binding_request_ufrag;
use std::time::{Duration, Instant};

/// An address that checked for another leg within this time is not taken from it: whoever can forge a
/// source address could else take a stranger's packets away.
const ADDRESS_GUARD: Duration = Duration::from_secs(15);

impl Legs {
    /// A STUN message on a browsers' socket. Only an authentic binding request changes anything.
    pub(crate) fn check(&mut self, packet: &[u8], path: Path, now: Instant) {
        // A look at the name first: what names nobody here is not worth more.
        let index = binding_request_ufrag(packet).and_then(|ufrag| self.by_ufrag.get(ufrag));
        let Some(index) = index.copied() else {
            self.totals.strangers += 1;
            return;
        };
        let Some(message) = parse_check(packet) else {
            return;
        };
        let key = (path.socket, path.remote);
        if let Some(owner) = self.by_address.get(&key).copied()
            && owner != index
            && self.is_guarded(owner, &path, now)
        {
            return;
        }
        let mut reply = std::mem::take(&mut self.reply);
        let verdict = match self.webrtc_mut(index) {
            Some(webrtc) => webrtc.ice.handle_check(&message, path, now, &mut reply),
            None => Verdict::Ignored,
        };
        if !reply.is_empty() {
            self.transmit(path, &reply);
        }
        self.reply = reply;
        match verdict {
            Verdict::Ignored => {
                if let Some(leg) = self.leg_mut(index) {
                    leg.inbound.unauthentic += 1;
                }
                self.totals.unauthentic += 1;
            }
            Verdict::Refused => {}
            Verdict::Valid { forget, .. } => {
                if let Some(path) = forget {
                    self.forget_address(index, path.socket, path.remote);
                }
                self.by_address.insert(key, index);
                if let Some(leg) = self.leg_mut(index) {
                    leg.renew_paths();
                }
                self.begin_handshake(index, now);
                self.arm(index);
            }
        }
    }

    fn is_guarded(&self, owner: u32, path: &Path, now: Instant) -> bool {
        match self.leg(owner).map(|leg| &leg.transport) {
            Some(Transport::WebRtc(webrtc)) => webrtc
                .ice
                .last_check(path)
                .is_some_and(|at| now.saturating_duration_since(at) < ADDRESS_GUARD),
            _ => false,
        }
    }

    fn webrtc_mut(&mut self, index: u32) -> Option<&mut WebRtc> {
        match self.leg_mut(index) {
            Some(Leg {
                transport: Transport::WebRtc(webrtc),
                ..
            }) => Some(webrtc),
            _ => None,
        }
    }

    /// Makes the handshake's object once the peer is described and an address of its has checked.
    pub(crate) fn begin_handshake(&mut self, index: u32, now: Instant) {
        let identity = self.config.identity.clone();
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        if leg.connected {
            return;
        }
        let Transport::WebRtc(webrtc) = &mut leg.transport else {
            return;
        };
        let Some(expected) = &webrtc.expected else {
            return;
        };
        // A server may begin with the first address that checked; a client waits for the nomination,
        // lest its flight goes where the answer cannot come from.
        let may_begin = match expected.role {
            DtlsRole::Active => webrtc.ice.is_nominated(),
            DtlsRole::Passive => webrtc.ice.last_valid().is_some(),
        };
        if webrtc.handshake.is_some() || !may_begin {
            return;
        }
        webrtc.handshake = Some(Handshake::new(
            &identity,
            expected.role,
            expected.fingerprints.clone(),
            now,
        ));
        leg.timers.set(Timer::Connect, now + HANDSHAKE_TIMEOUT);
        leg.timers.set(Timer::Consent, now + CONSENT_TIMEOUT);
        self.drive_handshake(index, now, Handshake::start);
    }

    /// A DTLS datagram. It comes from an address that ICE has authenticated, or it does not get here:
    /// a ClientHello from elsewhere could else spoil the handshake of a leg that it has nothing to do with.
    pub(crate) fn dtls(&mut self, index: u32, packet: &[u8], now: Instant) {
        self.drive_handshake(index, now, |handshake, now, send| {
            handshake.handle_packet(packet, now, send)
        });
    }

    pub(crate) fn handshake_timeout(&mut self, index: u32, now: Instant) {
        if let Some(webrtc) = self.webrtc_mut(index)
            && webrtc
                .handshake
                .as_ref()
                .is_some_and(|h| h.may_be_forgotten(now))
        {
            webrtc.handshake = None;
            return;
        }
        self.drive_handshake(index, now, Handshake::handle_timeout);
    }

    fn drive_handshake(
        &mut self,
        index: u32,
        now: Instant,
        step: impl FnOnce(&mut Handshake, Instant, &mut dyn FnMut(&[u8])) -> Progress,
    ) {
        let mut flight: Vec<Buf> = Vec::new();
        let mut spare = std::mem::take(&mut self.spare);
        let mut path = None;
        let progress = match self.leg_mut(index) {
            Some(leg) => match &mut leg.transport {
                Transport::WebRtc(webrtc) => {
                    path = webrtc.ice.nominated_path();
                    let Some(handshake) = &mut webrtc.handshake else {
                        self.spare = spare;
                        return;
                    };
                    let progress = step(handshake, now, &mut |packet| {
                        let mut buf = spare.pop().unwrap_or_default();
                        buf.fill(packet);
                        flight.push(buf);
                    });
                    let next = match (handshake.poll_timeout(), handshake.forget_at()) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                    leg.timers.put(Timer::Handshake, next);
                    progress
                }
                _ => Progress::Going,
            },
            None => Progress::Going,
        };
        self.spare = spare;
        for buf in flight {
            if let Some(path) = path {
                self.transmit_buf(path, buf);
            }
        }
        match progress {
            Progress::Going => {}
            // The page closed its connection. Signaling hears of it too, and decides.
            Progress::Closed => {}
            Progress::Failed(reason) => {
                self.fail(index, reason, now);
                return;
            }
            Progress::Done(exported) => match Keys::exported(&exported) {
                Ok(keys) => self.up(index, keys, now),
                Err(_) => {
                    self.fail(index, LegFailure::DtlsFailed, now);
                    return;
                }
            },
        }
        self.arm(index);
    }

    fn up(&mut self, index: u32, keys: Keys, now: Instant) {
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        let Transport::WebRtc(webrtc) = &mut leg.transport else {
            return;
        };
        webrtc.keys = Some(keys);
        leg.connected = true;
        leg.timers.stop(Timer::Connect);
        let id = leg.id;
        self.tell(Event::LegConnected { leg: id });
        self.listen(index, now);
        self.shows_from_now(index, now);
    }

    pub(crate) fn connect_timeout(&mut self, index: u32, now: Instant) {
        let Some(webrtc) = self.webrtc_mut(index) else {
            return;
        };
        let reason = match webrtc.handshake {
            Some(_) => LegFailure::DtlsFailed,
            None => LegFailure::IceTimeout,
        };
        self.fail(index, reason, now);
    }

    pub(crate) fn consent_timeout(&mut self, index: u32, now: Instant) {
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        let Transport::WebRtc(webrtc) = &leg.transport else {
            return;
        };
        let expires = webrtc
            .ice
            .last_valid()
            .map_or(now, |at| at + CONSENT_TIMEOUT);
        if expires > now {
            leg.timers.set(Timer::Consent, expires);
        } else {
            self.fail(index, LegFailure::ConsentLost, now);
        }
    }
}
