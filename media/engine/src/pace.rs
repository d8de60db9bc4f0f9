//! Sound that we make ourselves, a packet every packet time: transcoded, or of a tone or silence.

use crate::datagram::Datagram;
use crate::forward::{Road, SpeechOut};
use crate::leg::{Leg, Timer};
use crate::legs::Legs;
use crate::rewrite::Stamp;
use crate::speech::{self, Encoder};
use crate::transcode::Transcoder;
use media_codec::chord::{Chord, MAX_TONES};
use media_control::{Codec, Event, MediaKind, Source};
use media_packet::rtp::{FIXED_LEN, RtpHeader};
use std::time::{Duration, Instant};

/// A leg gets another transcoder at most so often: a peer that mixes its payload types shall not make
/// us build codecs all day.
const MIN_AGE: Duration = Duration::from_millis(100);
/// How long an event lasts that stands for a tone: the event is sent as soon as the tone is certain, so that its end
/// is not known yet.
const HEARD_DIGIT: Duration = Duration::from_millis(100);
/// Room for the longest payload made.
const MAX_MADE: usize = 1500;

/// What a leg makes out of its own peer's sound, or out of nothing, for the leg that it is joined with.
pub(crate) enum Pace {
    Transcoding(Box<Transcoding>),
    Generating(Box<Generator>),
}

pub(crate) struct Transcoding {
    transcoder: Transcoder,
    from: Codec,
    to: u32,
    out: SpeechOut,
}

pub(crate) struct Generator {
    chord: Option<Chord>,
    encoder: Encoder,
    to: u32,
    out: SpeechOut,
    /// One packet: samples, ticks and time.
    samples: Vec<i16>,
    step: u32,
    every: Duration,
    next: Instant,
}

/// A payload that was made.
struct Made {
    len: usize,
    step: u32,
    marker: bool,
}

impl Pace {
    fn to(&self) -> (u32, u8, u32) {
        let (to, out) = match self {
            Pace::Transcoding(transcoding) => (transcoding.to, &transcoding.out),
            Pace::Generating(generator) => (generator.to, &generator.out),
        };
        (to, out.pt, out.clock_hz)
    }

    fn poll(&mut self, now: Instant, out: &mut [u8]) -> Option<Made> {
        match self {
            Pace::Transcoding(transcoding) => {
                let made = transcoding.transcoder.poll(now, out)?;
                Some(Made {
                    len: made.len,
                    step: made.step,
                    marker: made.marker,
                })
            }
            Pace::Generating(generator) => generator.poll(now, out),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Pace::Transcoding(transcoding) => transcoding.transcoder.poll_timeout(),
            Pace::Generating(generator) => Some(generator.next),
        }
    }

    /// Frames that were made up for lost ones.
    /// What the leg that hears it reports to lose, in percent.
    fn expect_loss(&mut self, percent: u8) {
        if let Pace::Transcoding(transcoding) = self {
            transcoding.transcoder.expect_loss(percent);
        }
    }

    pub fn concealed(&self) -> u64 {
        match self {
            Pace::Transcoding(transcoding) => transcoding.transcoder.stats().jitter.lost,
            Pace::Generating(_) => 0,
        }
    }
}

impl Generator {
    fn new(source: &Source, to: u32, out: SpeechOut, now: Instant) -> Option<Generator> {
        let (_, rate) = speech::rates(&out.codec, &out.codec)?;
        let ms = speech::packet_ms(&out.codec, out.ptime_ms);
        let chord = match source {
            Source::Tone { hz, dbm0 } => Some(Chord::new(&[(*hz, *dbm0)], &[], rate)),
            Source::Ringback {
                tones_hz,
                on_off_ms,
                dbm0,
            } => {
                // The level is that of all tones together.
                let count = tones_hz.len().clamp(1, MAX_TONES);
                let each = dbm0 - 10.0 * (count as f32).log10();
                let tones: Vec<_> = tones_hz.iter().map(|hz| (*hz, each)).collect();
                Some(Chord::new(&tones, on_off_ms, rate))
            }
            Source::Silence | Source::Echo => None,
        };
        Some(Generator {
            chord,
            encoder: Encoder::new(&out.codec, rate)?,
            to,
            samples: vec![0; usize::try_from(rate / 1000 * ms).ok()?],
            step: out.clock_hz / 1000 * ms,
            every: Duration::from_millis(ms.into()),
            out,
            next: now,
        })
    }

    fn poll(&mut self, now: Instant, out: &mut [u8]) -> Option<Made> {
        if now < self.next {
            return None;
        }
        self.next += self.every;
        if self.next + self.every * 10 < now {
            // The worker stood still; what it missed is over.
            self.next = now + self.every;
        }
        if let Some(chord) = &mut self.chord {
            chord.fill(&mut self.samples);
        }
        let len = self.encoder.encode(&self.samples, out).ok()?;
        Some(Made {
            len,
            step: self.step,
            marker: false,
        })
    }
}

impl Legs {
    /// Takes a packet on the road to the transcoder.
    pub(crate) fn transcode(&mut self, index: u32, datagram: &Datagram, now: Instant) {
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        let header = &datagram.header;
        let Ok(payload) = header.payload(datagram.buf.data()) else {
            return;
        };
        let known = leg.look_up(header.pt).map(|recent| recent.known);
        let codec = known.and_then(|known| {
            let line = leg.media.get(usize::from(known.media))?;
            Some(&line.formats.get(usize::from(known.format))?.codec)
        });
        if let Some(Pace::Transcoding(transcoding)) = &mut leg.pace
            && codec == Some(&transcoding.from)
        {
            transcoding.transcoder.push(header, payload, now);
        } else if !leg.begin_transcoding(header, payload, now) {
            return;
        }
        // Once begun, each packet sets the time of the next.
        if leg.timers.get(Timer::Pace).is_none() {
            let next = leg.pace.as_ref().and_then(Pace::poll_timeout);
            leg.timers.put(Timer::Pace, next);
            self.arm(index);
        }
    }

    /// Takes a packet of comfort noise beside speech that is transcoded; without any yet there is no silence to fill.
    pub(crate) fn transcode_noise(&mut self, index: u32, datagram: &Datagram, now: Instant) {
        let header = &datagram.header;
        let Ok(payload) = header.payload(datagram.buf.data()) else {
            return;
        };
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        if let Some(Pace::Transcoding(transcoding)) = &mut leg.pace {
            transcoding.transcoder.push_noise(header, payload, now);
            if leg.timers.get(Timer::Pace).is_none() {
                let next = leg.pace.as_ref().and_then(Pace::poll_timeout);
                leg.timers.put(Timer::Pace, next);
                self.arm(index);
            }
        }
    }

    /// Digits heard in the sound of a leg: told, and sent on as events where the joined leg takes them.
    fn digits_heard(&mut self, index: u32, now: Instant) {
        while let Some(leg) = self.leg_mut(index)
            && let Some(Pace::Transcoding(transcoding)) = &mut leg.pace
            && let Some(digit) = transcoding.transcoder.take_digit()
        {
            let (id, to) = (leg.id, transcoding.to);
            let cut = leg.forward().is_some_and(|f| f.ear == Some(true));
            if cut && to != index {
                self.queue_digit(to, digit, HEARD_DIGIT, now);
            }
            self.tell(Event::Digit {
                leg: id,
                digit,
                duration_ms: u32::try_from(HEARD_DIGIT.as_millis()).unwrap_or(0),
            });
        }
    }

    pub(crate) fn pace_timeout(&mut self, index: u32, now: Instant) {
        let to = self
            .leg(index)
            .and_then(|leg| Some(leg.pace.as_ref()?.to().0));
        let loss = to.and_then(|to| Some(self.leg(to)?.far_loss_percent));
        if let Some(loss) = loss
            && let Some(pace) = self.leg_mut(index).and_then(|leg| leg.pace.as_mut())
        {
            pace.expect_loss(loss);
        }
        loop {
            let mut buf = self.spare.pop().unwrap_or_default();
            buf.clear();
            let made = self.leg_mut(index).and_then(|leg| {
                let pace = leg.pace.as_mut()?;
                let area = buf
                    .receive_area()
                    .get_mut(FIXED_LEN..FIXED_LEN + MAX_MADE)?;
                Some((pace.to(), pace.poll(now, area)?))
            });
            let Some(((to, pt, clock_hz), made)) = made else {
                self.recycle(buf);
                break;
            };
            let path = self.leg_mut(to).and_then(|leg| {
                if !leg.connected {
                    return None;
                }
                if leg.rtp_path.is_none() {
                    leg.audio_out.pass(made.step, now);
                    return None;
                }
                if leg.digits.is_sending() {
                    // Tones are packets of this stream themselves, and bring its time with them.
                    if !leg.digits.is_sounding() {
                        leg.audio_out.pass(made.step, now);
                    }
                    return None;
                }
                let stamp = leg.audio_out.own(made.step, clock_hz, now);
                let Stamp {
                    ssrc,
                    seq,
                    timestamp,
                    marker,
                } = stamp;
                let mut header = RtpHeader::new(pt, seq, timestamp, ssrc);
                header.marker = marker || made.marker;
                header.write(buf.receive_area()).ok()?;
                buf.set_received(FIXED_LEN + made.len);
                leg.out(MediaKind::Audio).count(made.len);
                leg.seal(&mut buf, &header)
            });
            match path {
                Some(path) => {
                    self.totals.sent += 1;
                    self.transmit_buf(path, buf);
                }
                None => self.recycle(buf),
            }
        }
        if let Some(leg) = self.leg_mut(index) {
            let next = leg.pace.as_ref().and_then(Pace::poll_timeout);
            leg.timers.put(Timer::Pace, next);
        }
        self.digits_heard(index, now);
    }

    /// Begins to generate out of `index`, a tone or silence, for the leg `to`.
    pub(crate) fn generate(&mut self, index: u32, to: u32, out: Option<SpeechOut>, now: Instant) {
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        if let Some(Pace::Generating(generator)) = &leg.pace
            && generator.to == to
            && Some(&generator.out) == out.as_ref()
        {
            return;
        }
        leg.end_pace();
        let source = match &leg.transport {
            crate::transport::Transport::Source(state) => state.source.clone(),
            _ => return,
        };
        if let Some(generator) = out.and_then(|out| Generator::new(&source, to, out, now)) {
            leg.pace = Some(Pace::Generating(Box::new(generator)));
            leg.timers.set(Timer::Pace, now);
            self.arm(index);
        }
    }
}

impl Leg {
    fn begin_transcoding(&mut self, header: &RtpHeader, payload: &[u8], now: Instant) -> bool {
        if self
            .transcoding_since
            .is_some_and(|at| now.saturating_duration_since(at) < MIN_AGE)
        {
            return false;
        }
        let Some(recent) = self.look_up(header.pt) else {
            return false;
        };
        let Some(out) = self.forward().and_then(|forward| forward.speech.as_ref()) else {
            return false;
        };
        if recent.road != Road::Transcode {
            return false;
        }
        let (known, to) = (recent.known, recent.to);
        let line = self.media.get(usize::from(known.media));
        let Some(format) = line.and_then(|line| line.formats.get(usize::from(known.format))) else {
            return false;
        };
        let Some(mut transcoder) = Transcoder::new(&format.codec, &out.codec, out.ptime_ms) else {
            return false;
        };
        if let Some(cuts) = self.forward().and_then(|forward| forward.ear) {
            transcoder.listen_for_digits(cuts);
        }
        transcoder.push(header, payload, now);
        let transcoding = Transcoding {
            transcoder,
            from: format.codec.clone(),
            to,
            out: out.clone(),
        };
        self.end_pace();
        self.transcoding_since = Some(now);
        self.pace = Some(Pace::Transcoding(Box::new(transcoding)));
        true
    }

    pub fn end_pace(&mut self) {
        if let Some(pace) = self.pace.take() {
            self.concealed_before += pace.concealed();
            self.timers.stop(Timer::Pace);
        }
    }
}
