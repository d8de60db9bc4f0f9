//! A batch of datagrams on its way through: each step takes the whole batch, so that code and tables of
//! one step stay in the cache (measured, this halves what the crypto costs).

use crate::datagram::{Buf, Datagram, Path, Step};
use crate::forward::{Line, Road};
use crate::ice::{Verdict, parse_check};
use crate::latch::Origin;
use crate::leg::Leg;
use crate::legs::{Legs, MAX_WAITING_PACKETS, Output, SocketUse};
use crate::pictures::PAUSE;
use crate::rewrite::SourceKey;
use crate::transport::{Crypto, RtpPort, Transport};
use media_control::{Event, MediaKind};
use media_packet::demux::{Class, classify};
use media_packet::rtp::{self, RtpHeader};
use std::time::Instant;

impl Legs {
    pub(crate) fn batch(&mut self, batch: &mut [Datagram], now: Instant) {
        for datagram in batch.iter_mut() {
            if datagram.step == Step::Received {
                self.totals.received += 1;
                datagram.step = self.sort(datagram, now);
            }
        }
        self.touch(batch);
        for datagram in batch.iter_mut() {
            match datagram.step {
                Step::Rtp { leg, line } => datagram.step = self.open(leg, line, datagram, now),
                Step::Rtcp { leg, line } => {
                    self.open_rtcp(leg, line, datagram, now);
                    datagram.step = Step::Done;
                }
                _ => {}
            }
        }
        for datagram in batch.iter_mut() {
            if let Step::Opened { leg, line } = datagram.step {
                datagram.step = self.forward(leg, line, datagram, now);
            }
        }
        for datagram in batch.iter_mut() {
            if let Step::Leaving { leg, kind } = datagram.step {
                datagram.step = self.seal(leg, kind, datagram);
            }
        }
    }

    /// Fetches what the steps to come will need of each packet's legs, see [`Leg::touch`].
    fn touch(&self, batch: &[Datagram]) {
        let touched: u64 = batch
            .iter()
            .filter_map(|datagram| match datagram.step {
                Step::Rtp { leg, .. } => self.leg(leg),
                _ => None,
            })
            .map(|leg| {
                let joined = leg.joined.and_then(|joined| self.leg(joined));
                leg.touch().wrapping_add(joined.map_or(0, Leg::touch))
            })
            .fold(0, u64::wrapping_add);
        std::hint::black_box(touched);
    }

    /// Whose a datagram is. What is no media is dealt with here.
    fn sort(&mut self, datagram: &mut Datagram, now: Instant) -> Step {
        let path = datagram.path;
        let class = classify(datagram.buf.data());
        match self.socket_use(path.socket) {
            SocketUse::Free => Step::Done,
            SocketUse::Browsers => {
                if class == Class::Stun {
                    self.check(datagram.buf.data(), path, now);
                    return Step::Done;
                }
                let Some(leg) = self.by_address.get(&(path.socket, path.remote)).copied() else {
                    self.totals.strangers += 1;
                    return Step::Done;
                };
                match class {
                    Class::Dtls => {
                        self.dtls(leg, datagram.buf.data(), now);
                        Step::Done
                    }
                    Class::Rtp => Step::Rtp {
                        leg,
                        line: Line::First,
                    },
                    Class::Rtcp => Step::Rtcp {
                        leg,
                        line: Line::First,
                    },
                    Class::Stun | Class::Unknown => Step::Done,
                }
            }
            SocketUse::Rtp { leg, line } => match class {
                Class::Rtp => Step::Rtp { leg, line },
                Class::Rtcp => Step::Rtcp { leg, line },
                Class::Stun => self.phone_checks(leg, line, false, datagram.buf.data(), path, now),
                Class::Dtls | Class::Unknown => self.stranger(leg),
            },
            SocketUse::Rtcp { leg, line } => match class {
                Class::Rtcp => Step::Rtcp { leg, line },
                Class::Stun => self.phone_checks(leg, line, true, datagram.buf.data(), path, now),
                Class::Dtls | Class::Rtp | Class::Unknown => self.stranger(leg),
            },
        }
    }

    /// A STUN message on a port of a SIP leg: a check, where the leg does ICE (RFC 8445 §7.3). One that comes before
    /// the peer's description is answered too (§7.3.1.4).
    fn phone_checks(
        &mut self,
        index: u32,
        line: Line,
        rtcp: bool,
        packet: &[u8],
        path: Path,
        now: Instant,
    ) -> Step {
        let mut reply = std::mem::take(&mut self.reply);
        let ice = match self.leg_mut(index).map(|leg| &mut leg.transport) {
            Some(Transport::Rtp(rtp)) if line == Line::First => rtp.ice.as_mut(),
            _ => None,
        };
        let verdict = match (ice, parse_check(packet)) {
            (Some(ice), Some(check)) => Some(
                ice.component_mut(rtcp)
                    .handle_check(&check, path, now, &mut reply),
            ),
            // A keep-alive of a peer whose checks we answer (RFC 8445 §11) is no stranger's.
            (Some(ice), None) if ice.component(rtcp).last_check(&path).is_some() => {
                self.reply = reply;
                return Step::Done;
            }
            _ => None,
        };
        if verdict.is_some() && !reply.is_empty() {
            self.transmit(path, &reply);
        }
        self.reply = reply;
        match verdict {
            None => return self.stranger(index),
            Some(Verdict::Ignored) => return self.unauthentic(index),
            Some(Verdict::Refused) => {}
            Some(Verdict::Valid { .. }) => {
                if let Some(leg) = self.leg_mut(index) {
                    leg.renew_paths();
                }
            }
        }
        Step::Done
    }

    fn stranger(&mut self, index: u32) -> Step {
        self.totals.strangers += 1;
        if let Some(leg) = self.leg_mut(index) {
            leg.inbound.strangers += 1;
        }
        Step::Done
    }

    fn unauthentic(&mut self, index: u32) -> Step {
        self.totals.unauthentic += 1;
        if let Some(leg) = self.leg_mut(index) {
            leg.inbound.unauthentic += 1;
        }
        Step::Done
    }

    /// From encrypted, and perhaps a stranger's, to open and the peer's.
    fn open(&mut self, index: u32, line: Line, datagram: &mut Datagram, now: Instant) -> Step {
        let path = datagram.path;
        let Some(leg) = self.leg_mut(index) else {
            return Step::Done;
        };
        let Ok(header) = RtpHeader::parse(datagram.buf.data()) else {
            return Step::Done;
        };
        let known = leg.look_up(line, header.pt).map(|recent| recent.known);
        let origin = match &mut leg.transport {
            Transport::WebRtc(_) => Origin::Peer,
            Transport::Rtp(rtp) => {
                let latched = |rtp: &mut RtpPort| rtp.remote_mut(line).and_then(|r| r.rtp.path());
                let before = latched(rtp);
                let origin = rtp.judge(line, false, path, known.map(|_| header.ssrc));
                if before != latched(rtp) {
                    leg.renew_paths();
                }
                origin
            }
            Transport::Source(_) => Origin::Stranger,
        };
        if origin == Origin::Stranger {
            return self.stranger(index);
        }
        let opened = match leg.transport.crypto() {
            Crypto::Plain => Ok(datagram.buf.len()),
            Crypto::Srtp(keys) => keys.inbound.open_rtp(datagram.buf.data_mut(), &header),
            Crypto::NotYet => return Step::Done,
        };
        let Ok(len) = opened else {
            return self.unauthentic(index);
        };
        datagram.buf.set_len(len);
        if origin == Origin::Unproven
            && let Transport::Rtp(rtp) = &mut leg.transport
            && let Some(remote) = rtp.remote_mut(line)
        {
            remote.rtp.proven(path);
            leg.renew_paths();
        }
        let Some(known) = known else {
            return Step::Done;
        };
        datagram.header = header;
        let first = leg
            .inbound
            .count(&header, len, (known.kind, known.clock_hz), now);
        if first {
            let id = leg.id;
            self.tell(Event::MediaStarted { leg: id });
        }
        if known.event {
            self.hear_event(index, datagram, known.clock_hz, now);
        }
        Step::Opened { leg: index, line }
    }

    /// Takes the road chosen at set-up.
    fn forward(&mut self, index: u32, line: Line, datagram: &mut Datagram, now: Instant) -> Step {
        let Some(leg) = self.leg_mut(index) else {
            return Step::Done;
        };
        let header = datagram.header;
        let Some(recent) = leg.look_up(line, header.pt) else {
            return Step::Done;
        };
        let (road, target, clock_hz) = (recent.road, recent.to, recent.known.clock_hz);
        match road {
            Road::Relay {
                kind: MediaKind::Audio,
                ..
            } => {
                leg.road = "relayed";
                if leg.pace.is_some() {
                    // The peer changed to a codec that needs no help.
                    leg.end_pace();
                }
            }
            Road::Relay {
                kind: MediaKind::Video,
                ..
            } => {}
            Road::Transcode => leg.road = "transcoded",
            Road::Event { .. } | Road::Noise | Road::Drop => {}
        }
        let source = SourceKey {
            leg: index,
            ssrc: header.ssrc,
        };
        if let Road::Relay {
            kind: MediaKind::Video,
            ..
        } = road
        {
            let fresh = self.leg(target).is_some_and(|to| {
                let idle = to.video_out.idle(now);
                to.video_out.source() != Some(source) || idle.is_none_or(|idle| idle >= PAUSE)
            });
            self.watch_picture(index, target, fresh, datagram, now);
        }
        let Some(to) = self.leg_mut(target) else {
            return Step::Done;
        };
        match road {
            // Nowhere to send it (0.0.0.0 of an old hold): it must not look lost when there is again.
            Road::Relay { kind, .. } if to.rtp_path.is_none() => {
                to.out(kind).skip(source, header.seq);
                Step::Done
            }
            Road::Relay {
                out_pt: _,
                kind: MediaKind::Audio,
            } if to.digits.is_sending() => {
                to.audio_out.skip(source, header.seq);
                Step::Done
            }
            Road::Relay { out_pt, kind } => {
                let Some(stamp) = to.out(kind).place(source, &header, clock_hz, now) else {
                    return Step::Done;
                };
                let mut header = header;
                // Extensions are numbered per peer, and none is negotiated between the two.
                let Ok(start) = rtp::strip_extension(datagram.buf.data_mut(), &mut header) else {
                    return Step::Done;
                };
                datagram.buf.advance(start);
                header.pt = out_pt;
                header.ssrc = stamp.ssrc;
                header.seq = stamp.seq;
                header.timestamp = stamp.timestamp;
                header.marker = stamp.marker;
                if header.store(datagram.buf.data_mut()).is_err() {
                    return Step::Done;
                }
                datagram.header = header;
                to.out(kind)
                    .count(datagram.buf.len().saturating_sub(header.header_len));
                Step::Leaving { leg: target, kind }
            }
            Road::Event {
                out_pt,
                in_clock,
                out_clock,
            } => self.forward_event(source, target, (out_pt, in_clock, out_clock), datagram, now),
            Road::Transcode => {
                self.transcode(index, datagram, now);
                Step::Done
            }
            Road::Noise => {
                self.transcode_noise(index, datagram, now);
                Step::Done
            }
            Road::Drop => {
                // Sound of which nothing goes out (comfort noise that the far side did not ask for) must
                // not look lost there.
                to.out(recent.known.kind).skip(source, header.seq);
                Step::Done
            }
        }
    }

    /// Closes a packet for the leg that it leaves from.
    fn seal(&mut self, index: u32, kind: MediaKind, datagram: &mut Datagram) -> Step {
        let Some(leg) = self.leg_mut(index) else {
            return Step::Done;
        };
        match leg.seal(kind, &mut datagram.buf, &datagram.header) {
            Some(path) => {
                datagram.path = path;
                self.totals.sent += 1;
                Step::Ready
            }
            None => Step::Done,
        }
    }

    fn open_rtcp(&mut self, index: u32, line: Line, datagram: &mut Datagram, now: Instant) {
        let path = datagram.path;
        let muxed = matches!(self.socket_use(path.socket), SocketUse::Rtp { .. });
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        let ssrc = rtcp_sender(datagram.buf.data());
        let origin = match &mut leg.transport {
            Transport::WebRtc(_) => Origin::Peer,
            Transport::Rtp(rtp) => rtp.judge(line, !muxed, path, ssrc),
            Transport::Source(_) => Origin::Stranger,
        };
        if origin == Origin::Stranger {
            self.stranger(index);
            return;
        }
        let opened = match leg.transport.crypto() {
            Crypto::Plain => Ok(datagram.buf.len()),
            Crypto::Srtp(keys) => keys.inbound.open_rtcp(datagram.buf.data_mut()),
            Crypto::NotYet => return,
        };
        let Ok(len) = opened else {
            self.unauthentic(index);
            return;
        };
        datagram.buf.set_len(len);
        if let Transport::Rtp(rtp) = &mut leg.transport
            && let Some(remote) = rtp.remote_mut(line)
            && origin == Origin::Unproven
        {
            let latch = if muxed {
                &mut remote.rtp
            } else {
                &mut remote.rtcp
            };
            latch.proven(path);
        }
        leg.renew_paths();
        self.reported(index, line, datagram.buf.data(), now);
    }

    pub(crate) fn transmit_buf(&mut self, path: Path, buf: Buf) {
        if self.waiting_packets >= MAX_WAITING_PACKETS {
            self.recycle(buf);
            return;
        }
        self.waiting_packets += 1;
        self.outputs.push_back(Output::Transmit { path, buf });
    }
}

fn rtcp_sender(packet: &[u8]) -> Option<u32> {
    packet.get(4..8)?.try_into().ok().map(u32::from_be_bytes)
}

impl Leg {
    /// Closes an RTP packet in its buffer and says where it goes; `None` if it cannot leave.
    pub(crate) fn seal(
        &mut self,
        kind: MediaKind,
        buf: &mut Buf,
        header: &RtpHeader,
    ) -> Option<Path> {
        let path = self.path(kind)?;
        let len = buf.len();
        match self.transport.crypto() {
            Crypto::Plain => {}
            Crypto::Srtp(keys) => {
                let sealed = keys.outbound.seal_rtp(buf.with_tail(), len, header).ok()?;
                buf.set_len(sealed);
            }
            Crypto::NotYet => return None,
        }
        self.sent += 1;
        self.sent_bytes += u64::try_from(len).unwrap_or(0);
        if kind == MediaKind::Audio {
            self.sending_pt = Some(header.pt);
        }
        Some(path)
    }
}
