//! One direction of a transcoded join: packets of one codec in, packets of another out, one every packet
//! time.
//!
//! ```text
//! packet → jitter buffer → decoder (with concealment) → 8 ↔ 16 kHz, G.711 with G.722 only → encoder
//! ```
//!
//! Levels are left as they are. All buffers are made at the start; the jitter buffer's slots grow to the
//! stream's packets and stay so.

use crate::jitter::{self, JitterBuffer, Pop};
use crate::speech::{self, Decoder, Encoder, MAX_SAMPLES};
use media_codec::dtmf::{Ear, Heard};
use media_codec::noise::Noise;
use media_codec::resample::{Down, Up};
use media_control::Codec;
use media_packet::rtp::RtpHeader;
use std::time::{Duration, Instant};

/// Silence that is still sent when nothing comes any more; then the stream pauses, as with DTX.
const MAX_SILENCE: Duration = Duration::from_secs(10);
/// How far behind a caller may be; what is older is not made up for.
const MAX_BEHIND: Duration = Duration::from_millis(200);
/// Where a frame was let out, the two sides are blended over this.
const BLEND_MS: usize = 5;

/// Digits heard in one packet, at most: it would have to be 240 ms long for more.
const MAX_HEARD: usize = 4;
/// An Opus frame of this many bytes or less says that silence goes on (RFC 6716 §2.1.9).
const DTX_BYTES: usize = 2;

/// A packet's payload that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// Bytes written.
    pub len: usize,
    /// Ticks of the outgoing clock since the packet before, or since the start.
    pub step: u32,
    /// The first packet, and the first after a pause (RFC 3551 §4.1).
    pub marker: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TranscodeStats {
    pub jitter: jitter::Counters,
    /// Payloads that were no frames of their codec.
    pub malformed: u64,
}

#[derive(Debug)]
enum Resample {
    No,
    Up(Box<Up>),
    Down(Box<Down>),
}

#[derive(Debug)]
pub(crate) struct Transcoder {
    jitter: JitterBuffer,
    ssrc: Option<u32>,
    in_clock: u32,
    in_rate: u32,
    decoder: Decoder,
    resample: Resample,
    encoder: Encoder,
    /// One packet's samples at the encoder's rate, and its length in ticks and time.
    frame: usize,
    step: u32,
    every: Duration,
    due: Option<Instant>,
    /// At the decoder's rate.
    decoded: Box<[i16]>,
    /// At the encoder's rate, `ready` of them.
    fifo: Box<[i16]>,
    ready: usize,
    /// What would have followed the sound now played, had no frame been let out.
    blend: Box<[i16]>,
    blending: bool,
    /// When the last packet was due, and when there last was something to hear.
    last: Option<Instant>,
    heard_at: Option<Instant>,
    marker: bool,
    malformed: u64,
    expected_loss: u8,
    /// What the sender says its silence sounds like, until it speaks again.
    noise: Option<Noise>,
    /// The last frame was one of Opus DTX: its decoder knows what the silence sounds like.
    dtx: bool,
    /// Listens for digits; `true`: cuts them out.
    ear: Option<(Box<Ear>, bool)>,
    heard: [Option<char>; MAX_HEARD],
}

impl Transcoder {
    /// `ptime_ms` is the packet length out. `None` if either is no codec that we speak.
    pub fn new(from: &Codec, to: &Codec, ptime_ms: u32) -> Option<Transcoder> {
        let (in_rate, out_rate) = speech::rates(from, to)?;
        let ms = speech::packet_ms(to, ptime_ms);
        let resample = match in_rate.cmp(&out_rate) {
            std::cmp::Ordering::Equal => Resample::No,
            std::cmp::Ordering::Less => Resample::Up(Box::default()),
            std::cmp::Ordering::Greater => Resample::Down(Box::default()),
        };
        let frame = usize::try_from(out_rate / 1000 * ms).ok()?;
        let blend = usize::try_from(in_rate / 1000).ok()? * BLEND_MS;
        Some(Transcoder {
            jitter: JitterBuffer::new(speech::clock_hz(from)),
            ssrc: None,
            in_clock: speech::clock_hz(from),
            in_rate,
            decoder: Decoder::new(from, in_rate)?,
            resample,
            encoder: Encoder::new(to, out_rate)?,
            frame,
            step: speech::clock_hz(to) / 1000 * ms,
            every: Duration::from_millis(u64::from(ms)),
            due: None,
            decoded: vec![0; MAX_SAMPLES].into(),
            // Less than a packet is left over when the longest frame comes, at twice the rate at most.
            fifo: vec![0; frame + 2 * MAX_SAMPLES].into(),
            ready: 0,
            blend: vec![0; blend].into(),
            blending: false,
            last: None,
            heard_at: None,
            marker: true,
            malformed: 0,
            expected_loss: 0,
            noise: None,
            dtx: false,
            ear: None,
            heard: [None; MAX_HEARD],
        })
    }

    /// Listens for digits in the sound, and takes them out of it if `cuts`.
    pub fn listen_for_digits(&mut self, cuts: bool) {
        self.ear = Some((Box::new(Ear::new(self.in_rate)), cuts));
    }

    /// A digit that was heard. Ask after each packet, until `None`.
    pub fn take_digit(&mut self) -> Option<char> {
        self.heard.iter_mut().find_map(Option::take)
    }

    /// Takes an incoming packet of the codec, padding already taken off.
    pub fn push(&mut self, header: &RtpHeader, payload: &[u8], now: Instant) {
        if self.ssrc.is_some_and(|ssrc| ssrc != header.ssrc) {
            self.jitter.reset();
        }
        self.ssrc = Some(header.ssrc);
        self.jitter.push(header.seq, header.timestamp, payload, now);
        if self.due.is_none() {
            self.due = Some(now);
            self.heard_at = Some(now);
        }
    }

    /// Takes a packet of comfort noise (RFC 3389) of the same stream.
    pub fn push_noise(&mut self, header: &RtpHeader, payload: &[u8], now: Instant) {
        if self.ssrc == Some(header.ssrc) {
            self.jitter
                .push_noise(header.seq, header.timestamp, payload, now);
            if self.due.is_none() {
                self.due = Some(now);
                self.heard_at = Some(now);
            }
        }
    }

    /// What the far end's receiver reports say it loses, in percent.
    pub fn expect_loss(&mut self, percent: u8) {
        if std::mem::replace(&mut self.expected_loss, percent) != percent {
            self.encoder.expect_loss(percent);
        }
    }

    /// When the next packet is to be made; `None` until something came, and in a pause.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Makes the next packet if it is time; ask until `None`. `out` is to hold a packet of 1,500 bytes.
    pub fn poll(&mut self, now: Instant, out: &mut [u8]) -> Option<Made> {
        let mut due = self.due.filter(|due| *due <= now)?;
        if now.saturating_duration_since(due) > MAX_BEHIND {
            // The worker stood still; what it missed is over.
            due = now;
        }
        let heard = self.fill(due);
        if heard {
            self.heard_at = Some(due);
        }
        let silence = self
            .heard_at
            .map_or(Duration::MAX, |at| due.saturating_duration_since(at));
        if silence > MAX_SILENCE && self.last.is_some() {
            self.ready = 0;
            self.marker = true;
            self.due = None;
            return None;
        }
        self.due = Some(due + self.every);
        let made = self.encoder.encode(&self.fifo[..self.frame], out);
        self.fifo.copy_within(self.frame..self.ready, 0);
        self.ready -= self.frame;
        // Fails only if `out` is too small.
        let len = made.ok()?;
        let step = match self.last.replace(due) {
            Some(last) => self.ticks(due.saturating_duration_since(last)),
            None => self.step,
        };
        Some(Made {
            len,
            step,
            marker: std::mem::take(&mut self.marker),
        })
    }

    /// The outgoing clock's ticks in a time, which is a whole number of packets unless there was a pause.
    fn ticks(&self, time: Duration) -> u32 {
        let ticks = time.as_nanos() * u128::from(self.step) / self.every.as_nanos().max(1);
        // The timestamp goes around as clocks do.
        u32::try_from(ticks & u128::from(u32::MAX)).unwrap_or(0)
    }

    /// Brings the samples of one packet together; `false` if nothing but silence came.
    fn fill(&mut self, now: Instant) -> bool {
        let mut heard = false;
        while self.ready < self.frame {
            let lost_len = samples(self.jitter.frame_ticks(), self.in_clock, self.in_rate);
            match self.jitter.pop(now) {
                Pop::Frame { payload, skip } => {
                    heard = true;
                    self.noise = None;
                    self.dtx =
                        payload.len() <= DTX_BYTES && matches!(self.decoder, Decoder::Opus(_));
                    match self.decoder.decode(payload, &mut self.decoded) {
                        Ok(len) if len > 0 => {
                            let ticks = ticks_of(len, self.in_rate, self.in_clock);
                            self.jitter.played(ticks);
                            if skip {
                                self.keep_for_blend(len);
                            } else {
                                self.take(len);
                            }
                        }
                        _ => {
                            self.malformed += 1;
                            self.decoder.conceal(&mut self.decoded[..lost_len], None);
                            self.take(lost_len);
                        }
                    }
                }
                Pop::Noise(payload) => {
                    heard = true;
                    let level = payload.first().copied().unwrap_or(u8::MAX);
                    let noise = self.noise.get_or_insert_with(|| Noise::new(level));
                    noise.set(level);
                    noise.fill(&mut self.decoded[..lost_len]);
                    self.take(lost_len);
                }
                Pop::Lost { next } => {
                    match &mut self.noise {
                        Some(noise) => noise.fill(&mut self.decoded[..lost_len]),
                        None => self.decoder.conceal(&mut self.decoded[..lost_len], next),
                    }
                    self.take(lost_len);
                }
                Pop::Nothing => {
                    // The rest of this packet, so that the next one asks anew.
                    let rest = self.frame.min(self.fifo.len()) - self.ready;
                    let len = match &self.resample {
                        Resample::No => rest,
                        Resample::Up(_) => rest.div_ceil(2),
                        Resample::Down(_) => rest * 2,
                    };
                    self.blending = false;
                    let silence = &mut self.decoded[..len];
                    match &mut self.noise {
                        Some(noise) => noise.fill(silence),
                        None if self.dtx => self.decoder.conceal(silence, None),
                        None => silence.fill(0),
                    }
                    self.take(len);
                }
            }
        }
        heard
    }

    /// Appends decoded samples, at the encoder's rate.
    fn take(&mut self, len: usize) {
        let decoded = &mut self.decoded[..len];
        if std::mem::take(&mut self.blending) {
            let steps = self.blend.len() + 1;
            for (n, (sample, old)) in decoded.iter_mut().zip(&self.blend).enumerate() {
                let share = (n + 1) as f32 / steps as f32;
                let blended = f32::from(*sample) * share + f32::from(*old) * (1.0 - share);
                *sample = blended.round() as i16;
            }
        }
        if let Some((ear, cuts)) = &mut self.ear {
            ear.listen(decoded, *cuts);
            while let Some(heard) = ear.poll() {
                if let Heard::Begin(digit) = heard
                    && let Some(free) = self.heard.iter_mut().find(|slot| slot.is_none())
                {
                    *free = Some(digit);
                }
            }
        }
        let room = &mut self.fifo[self.ready..];
        self.ready += match &mut self.resample {
            Resample::No => {
                let len = decoded.len().min(room.len());
                room[..len].copy_from_slice(&decoded[..len]);
                len
            }
            Resample::Up(up) => up.process(decoded, room),
            Resample::Down(down) => down.process(decoded, room),
        };
    }

    fn keep_for_blend(&mut self, len: usize) {
        let len = len.min(self.blend.len());
        self.blend[..len].copy_from_slice(&self.decoded[..len]);
        self.blend[len..].fill(0);
        self.blending = true;
    }

    pub fn stats(&self) -> TranscodeStats {
        TranscodeStats {
            jitter: self.jitter.counters,
            malformed: self.malformed,
        }
    }
}

/// Samples of a frame of so many ticks, at least one and at most the longest packet's.
fn samples(ticks: u32, clock_hz: u32, sample_rate: u32) -> usize {
    let samples = u64::from(ticks) * u64::from(sample_rate) / u64::from(clock_hz.max(1));
    usize::try_from(samples)
        .unwrap_or(MAX_SAMPLES)
        .clamp(2, MAX_SAMPLES)
}

fn ticks_of(samples: usize, sample_rate: u32, clock_hz: u32) -> u32 {
    let samples = u64::try_from(samples).unwrap_or(0);
    let ticks = samples * u64::from(clock_hz) / u64::from(sample_rate.max(1));
    u32::try_from(ticks).unwrap_or(0)
}

#[cfg(test)]
#[path = "transcode/tests.rs"]
mod tests;
