//! Whole pictures: asked of a sender when a road opens, when its stream changes, and when the far end wants one.
//!
//! A decoder shows nothing before a key frame. Whoever can send one is asked by PLI (RFC 4585 §6.3.1) or FIR (RFC 5104
//! §4.3.1) as its description allows, else signalling is told, which has SIP INFO (RFC 5168). What the far end's decoder
//! wants is passed on within the limits here; a road that has just opened is watched until a key frame has passed.

use crate::datagram::{Datagram, Path};
use crate::forward::Line;
use crate::leg::{Leg, Timer};
use crate::legs::Legs;
use media_control::{Codec, Event, MediaKind, RemoteMedia};
use media_packet::picture::{h264_key_frame_begins, vp8_key_frame_begins};
use media_packet::rtcp::Writer;
use std::time::{Duration, Instant};

/// One peer is asked by RTCP at most so often: a key frame is some ten times the size of another.
const RTCP_INTERVAL: Duration = Duration::from_millis(500);
/// And by signalling at most so often.
const SIGNALLED_INTERVAL: Duration = Duration::from_secs(1);
/// Requests for a road that has opened; a sender that never makes a key frame (it may refresh its picture bit by bit) is
/// let be after so many.
const TRIES: u8 = 6;
/// After a pause this long a stream is watched as a new one is: an encoder that was not listened to may have gone on
/// without it, so that what comes next shows nothing.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
/// A receiver report, a CNAME and a request are less.
const MAX_REQUEST: usize = 128;

/// What is known of the pictures that a leg's peer sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pictures {
    asked_at: Option<Instant>,
    /// No key frame has passed since the road opened: so often it may still be asked for.
    tries: u8,
    /// Of the last FIR (RFC 5104 §4.3.1.1).
    fir_number: u8,
}

/// How a peer takes requests.
enum Way {
    Pli,
    Fir,
    Signalling,
}

impl Legs {
    /// Asks the peer of `index` for a whole picture; too soon after the last time, a little later.
    pub(crate) fn request_picture(&mut self, index: u32, now: Instant) {
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        let Some(media) = leg.video().filter(|media| media.direction.receives()) else {
            return;
        };
        let way = way_of(media);
        // Nothing came yet: what comes first will be a whole picture, and until then its SSRC is unknown.
        let Some(ssrc) = leg.inbound.pictures() else {
            return;
        };
        let interval = match way {
            Way::Pli | Way::Fir => RTCP_INTERVAL,
            Way::Signalling => SIGNALLED_INTERVAL,
        };
        if let Some(at) = leg.pictures.asked_at
            && now.saturating_duration_since(at) < interval
        {
            leg.timers.set(Timer::Picture, at + interval);
            self.arm(index);
            return;
        }
        leg.timers.stop(Timer::Picture);
        leg.pictures.asked_at = Some(now);
        leg.pictures.tries = leg.pictures.tries.saturating_sub(1);
        let mut packet = [0u8; MAX_REQUEST + 32];
        let written = match way {
            Way::Pli => leg.write_request(&mut packet[..MAX_REQUEST], ssrc, None),
            Way::Fir => {
                leg.pictures.fir_number = leg.pictures.fir_number.wrapping_add(1);
                let number = leg.pictures.fir_number;
                leg.write_request(&mut packet[..MAX_REQUEST], ssrc, Some(number))
            }
            Way::Signalling => {
                let id = leg.id;
                self.tell(Event::KeyFrameWanted { leg: id });
                return;
            }
        };
        let line = Line::of(MediaKind::Video, leg.is_split());
        if let Some(path) = leg.report_path(line)
            && let Some(len) = leg.seal_rtcp(&mut packet, written)
        {
            self.transmit(path, &packet[..len]);
        }
    }

    /// The decoder behind `index` wants a whole picture: its sender is the leg at the other end of the join.
    pub(crate) fn picture_wanted(&mut self, index: u32, now: Instant) {
        if let Some(from) = self.sender_for(index) {
            self.request_picture(from, now);
        }
    }

    /// Pictures can flow out of `index` from now on (again, or to another place).
    pub(crate) fn shows_from_now(&mut self, index: u32, now: Instant) {
        let Some(from) = self.sender_for(index) else {
            return;
        };
        if self.leg(index).is_none_or(|leg| !leg.connected) {
            return;
        }
        if let Some(leg) = self.leg_mut(from)
            && leg.forward().is_some_and(|forward| forward.shows())
        {
            leg.pictures.tries = TRIES;
            self.request_picture(from, now);
        }
    }

    /// Whose pictures leave from `index`: the joined leg's, or its own where it is joined with an echo.
    fn sender_for(&self, index: u32) -> Option<u32> {
        let joined = self.leg(index)?.joined?;
        if self.leg(joined)?.is_echo() {
            Some(index)
        } else {
            Some(joined)
        }
    }

    /// A packet of a picture is about to leave from `target`. `fresh`: the first of its stream, or after a pause.
    pub(crate) fn watch_picture(
        &mut self,
        index: u32,
        target: u32,
        fresh: bool,
        datagram: &Datagram,
        now: Instant,
    ) {
        let leaves = self.leg(target).is_some_and(Leg::can_show);
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        if fresh {
            leg.pictures.tries = TRIES;
        }
        let waiting = leg.timers.get(Timer::Picture).is_some();
        if !leaves || (leg.pictures.tries == 0 && !waiting) {
            return;
        }
        let pt = datagram.header.pt;
        let codec = leg
            .video()
            .and_then(|media| media.formats.iter().find(|f| f.receive_pt == pt))
            .map(|format| &format.codec);
        let payload = datagram.header.payload(datagram.buf.data());
        let begins = match (codec, payload) {
            (Some(Codec::Vp8), Ok(payload)) => vp8_key_frame_begins(payload),
            (Some(Codec::H264), Ok(payload)) => h264_key_frame_begins(payload),
            _ => return,
        };
        if begins {
            leg.pictures.tries = 0;
            leg.timers.stop(Timer::Picture);
        } else if leg.pictures.tries > 0 && !waiting {
            self.request_picture(index, now);
        }
    }
}

fn way_of(media: &RemoteMedia) -> Way {
    if media.key_frame.pli {
        Way::Pli
    } else if media.key_frame.fir {
        Way::Fir
    } else {
        Way::Signalling
    }
}

impl Leg {
    fn video(&self) -> Option<&RemoteMedia> {
        self.media.iter().find(|m| m.kind == MediaKind::Video)
    }

    /// Where pictures of this leg go, if they can leave now.
    pub(crate) fn picture_path(&self) -> Option<Path> {
        self.path(MediaKind::Video).filter(|_| self.connected)
    }

    fn can_show(&self) -> bool {
        self.picture_path().is_some()
    }

    /// A PLI, or a FIR of that number, in a compound of its own (RFC 3550 §6.1); its length.
    fn write_request(&self, packet: &mut [u8], ssrc: u32, fir: Option<u8>) -> usize {
        let sender = self.video_out.ssrc();
        let mut writer = Writer::new(packet);
        writer.receiver_report(sender, &[]);
        writer.sdes_cname(sender, &self.cname);
        match fir {
            Some(number) => writer.fir(sender, ssrc, number),
            None => writer.pli(sender, ssrc),
        };
        writer.len()
    }
}
