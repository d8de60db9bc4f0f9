//! One side of a call: its peer, its roads and its streams.

use crate::datagram::Path;
use crate::digits::{Digits, Translated};
use crate::forward::{Forward, PayloadTypes, Recent, Road};
use crate::pace::Pace;
use crate::rewrite::OutStream;
use crate::stats::Inbound;
use crate::transport::{Keys, Transport};
use media_control::{Codec, GroupId, LegId, LegSpec, LegStats, MediaKind, RemoteMedia};
use media_packet::dtmf::Detector;
use std::time::Instant;

/// What a leg may be waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// A first check, or the end of the handshake.
    Connect,
    /// A flight of the handshake to repeat.
    Handshake,
    Consent,
    Report,
    Silence,
    Digits,
    /// The end of an incoming event whose end packets were lost.
    Detect,
    /// The next packet of a tone, or of transcoded sound.
    Pace,
}

const TIMERS: [Timer; 8] = [
    Timer::Connect,
    Timer::Handshake,
    Timer::Consent,
    Timer::Report,
    Timer::Silence,
    Timer::Digits,
    Timer::Detect,
    Timer::Pace,
];

#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    at: [Option<Instant>; TIMERS.len()],
}

impl Timers {
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.at[timer as usize] = Some(at);
    }

    pub fn put(&mut self, timer: Timer, at: Option<Instant>) {
        self.at[timer as usize] = at;
    }

    pub fn stop(&mut self, timer: Timer) {
        self.at[timer as usize] = None;
    }

    pub fn get(&self, timer: Timer) -> Option<Instant> {
        self.at[timer as usize]
    }

    pub fn next(&self) -> Option<Instant> {
        self.at.iter().flatten().min().copied()
    }

    /// Takes one that is due.
    pub fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let timer = TIMERS
            .into_iter()
            .find(|t| self.get(*t).is_some_and(|at| at <= now))?;
        self.stop(timer);
        Some(timer)
    }
}

pub(crate) struct Leg {
    pub id: LegId,
    pub group: GroupId,
    pub spec: LegSpec,
    pub transport: Transport,
    /// The peer's m-lines; empty until they are known.
    pub media: Vec<RemoteMedia>,
    types: Box<PayloadTypes>,
    /// ICE and DTLS are up, or a SIP remote is known.
    pub connected: bool,
    /// The leg at the other end of the join.
    pub joined: Option<u32>,
    forward: Option<Forward>,
    recent: Option<Recent>,
    /// What incoming sound last took: "relayed", "transcoded", or nothing yet.
    pub road: &'static str,
    pub audio_out: OutStream,
    pub video_out: OutStream,
    pub inbound: Inbound,
    pub sent: u64,
    pub sent_bytes: u64,
    pub sending_pt: Option<u8>,
    /// Where packets of this leg go; renewed whenever that may have changed.
    pub rtp_path: Option<Path>,
    pub rtcp_path: Option<Path>,
    pub timers: Timers,
    /// When the leg stands in the queue of timers.
    pub armed: Option<Instant>,
    /// Since when silence is counted, and how often it was told.
    pub listening_since: Option<Instant>,
    pub silence_told: usize,
    /// Round trip by the peer's reports, in milliseconds.
    pub round_trip_ms: f32,
    /// What the peer's last report says it lost of our sound, in percent.
    pub far_loss_percent: u8,
    /// Packets of the audio and the video stream at the last report.
    pub reported_packets: [u32; 2],
    /// RFC 7022 §4.2.
    pub cname: String,
    pub digits: Digits,
    pub detector: Detector,
    pub detector_clock_hz: u32,
    /// The event that comes in, and the one before it, whose last packets may come late.
    pub translated: [Option<Translated>; 2],
    /// Sound that is made here for the joined leg.
    pub pace: Option<Pace>,
    pub transcoding_since: Option<Instant>,
    pub concealed_before: u64,
}

impl Leg {
    pub fn new(
        id: LegId,
        group: GroupId,
        spec: LegSpec,
        transport: Transport,
        audio_out: OutStream,
        video_out: OutStream,
        cname: String,
    ) -> Leg {
        Leg {
            id,
            group,
            spec,
            transport,
            media: Vec::new(),
            types: Box::new([None; 128]),
            connected: false,
            joined: None,
            forward: None,
            recent: None,
            road: "",
            audio_out,
            video_out,
            inbound: Inbound::new(),
            sent: 0,
            sent_bytes: 0,
            sending_pt: None,
            rtp_path: None,
            rtcp_path: None,
            timers: Timers::default(),
            armed: None,
            listening_since: None,
            silence_told: 0,
            round_trip_ms: 0.0,
            far_loss_percent: 0,
            reported_packets: [0; 2],
            cname,
            digits: Digits::default(),
            detector: Detector::new(),
            detector_clock_hz: 8000,
            translated: [None; 2],
            pace: None,
            transcoding_since: None,
            concealed_before: 0,
        }
    }

    pub fn out(&mut self, kind: MediaKind) -> &mut OutStream {
        match kind {
            MediaKind::Audio => &mut self.audio_out,
            MediaKind::Video => &mut self.video_out,
        }
    }

    pub fn set_types(&mut self, types: PayloadTypes) {
        *self.types = types;
        self.recent = None;
    }

    pub fn set_forward(&mut self, forward: Option<Forward>) {
        self.forward = forward;
        self.recent = None;
    }

    pub fn forward(&self) -> Option<&Forward> {
        self.forward.as_ref()
    }

    /// What an incoming payload type is and where it goes; `None` if it was not negotiated.
    pub fn look_up(&mut self, pt: u8) -> Option<Recent> {
        if let Some(recent) = self.recent.filter(|recent| recent.pt == pt) {
            return Some(recent);
        }
        let known = self.types.get(usize::from(pt)).copied().flatten()?;
        let (road, to) = match &self.forward {
            Some(forward) => (forward.road(pt), forward.to),
            None => (Road::Drop, u32::MAX),
        };
        let recent = Recent {
            pt,
            known,
            road,
            to,
        };
        self.recent = Some(recent);
        Some(recent)
    }

    /// Looks at the memory that a packet of this leg will need. Done for a whole batch, the waits for
    /// memory overlap; in the steps themselves each would be waited for in turn.
    pub fn touch(&self) -> u64 {
        let transport = match &self.transport {
            Transport::WebRtc(webrtc) => webrtc.keys.as_ref().map_or(0, Keys::touch),
            Transport::Rtp(rtp) => rtp
                .keys
                .as_ref()
                .map_or(u64::from(rtp.remote.is_some()), Keys::touch),
            Transport::Source(_) => 0,
        };
        transport
            + self.sent
            + self.inbound.touch()
            + u64::from(self.audio_out.state().highest_seq)
            + u64::from(self.recent.is_some())
            + u64::from(self.rtp_path.is_some())
    }

    pub fn renew_paths(&mut self) {
        match &self.transport {
            Transport::WebRtc(webrtc) => {
                self.rtp_path = webrtc.ice.nominated_path();
                self.rtcp_path = self.rtp_path;
            }
            Transport::Rtp(rtp) => {
                self.rtp_path = rtp.rtp_path();
                self.rtcp_path = rtp.rtcp_path();
            }
            Transport::Source(_) => {}
        }
    }

    /// Something should be arriving here.
    pub fn expects_media(&self) -> bool {
        self.connected && self.media.iter().any(|media| media.direction.receives())
    }

    /// Echo, tone or silence.
    pub fn is_source(&self) -> bool {
        matches!(self.transport, Transport::Source(_))
    }

    pub fn is_echo(&self) -> bool {
        matches!(&self.transport, Transport::Source(source) if source.is_echo())
    }

    pub fn stats(&self) -> LegStats {
        LegStats {
            received: self.inbound.packets,
            received_bytes: self.inbound.bytes,
            sent: self.sent,
            sent_bytes: self.sent_bytes,
            lost: self.inbound.lost(),
            jitter_ms: self.inbound.jitter_ms(),
            round_trip_ms: self.round_trip_ms,
            longest_gap_ms: u32::try_from(self.inbound.longest_gap.as_millis()).unwrap_or(u32::MAX),
            unauthentic: self.inbound.unauthentic,
            strangers: self.inbound.strangers,
            concealed: self.concealed_before + self.pace.as_ref().map_or(0, Pace::concealed),
            road: self.road.to_owned(),
            receiving: self.codec_name(self.inbound.last_pt, |f| f.receive_pt),
            sending: self.codec_name(self.sending_pt, |f| f.send_pt),
            srtp: self.transport.profile_name().to_owned(),
        }
    }

    /// The codec behind a payload type; of sound, not of the events beside it.
    fn codec_name(&self, pt: Option<u8>, number: impl Fn(&media_control::Format) -> u8) -> String {
        let Some(pt) = pt else { return String::new() };
        self.media
            .iter()
            .flat_map(|media| &media.formats)
            .find(|format| number(format) == pt && format.codec != Codec::TelephoneEvent)
            .map(|format| format.codec.name().to_owned())
            .unwrap_or_default()
    }
}
