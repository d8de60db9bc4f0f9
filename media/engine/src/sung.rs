//! Digits as tones, in the place of the sound, for a peer without telephone-event.

use crate::forward::SpeechOut;
use crate::leg::Timer;
use crate::legs::Legs;
use crate::speech::{self, Encoder};
use media_codec::chord::Chord;
use media_codec::dtmf::tones;
use media_control::MediaKind;
use media_packet::dtmf::digit_of;
use std::time::{Duration, Instant};

/// Levels of the low and the high tone, within what ITU-T Q.23 and ETSI ES 201 235-2 let a terminal send.
const LOW_DBM0: f32 = -10.0;
const HIGH_DBM0: f32 = -8.0;
/// A tone of a key is at least so long: Q.24 has 40 ms heard, networks are not all that good.
const SHORTEST: Duration = Duration::from_millis(80);
/// Silence behind each digit.
const PAUSE: Duration = Duration::from_millis(80);
/// Room for the longest payload.
const MAX_PAYLOAD: usize = 1500;

/// A digit on its way.
#[derive(Debug)]
pub(crate) struct Sung {
    chord: Option<Chord>,
    encoder: Encoder,
    out: SpeechOut,
    rate: u32,
    samples: Vec<i16>,
    every: Duration,
    step: u32,
    /// Packets of tone, then of silence, still to send.
    sounding: u32,
    pausing: u32,
}

impl Sung {
    fn new(out: SpeechOut) -> Option<Sung> {
        let (_, rate) = speech::rates(&out.codec, &out.codec)?;
        let ms = speech::packet_ms(&out.codec, out.ptime_ms);
        Some(Sung {
            chord: None,
            encoder: Encoder::new(&out.codec, rate)?,
            rate,
            samples: vec![0; usize::try_from(rate / 1000 * ms).ok()?],
            every: Duration::from_millis(ms.into()),
            step: out.clock_hz / 1000 * ms,
            out,
            sounding: 0,
            pausing: 0,
        })
    }

    fn begin(&mut self, event: u8, duration: Duration) {
        let Some((low, high)) = digit_of(event).and_then(tones) else {
            return;
        };
        let packets = |time: Duration| {
            u32::try_from(time.as_nanos().div_ceil(self.every.as_nanos().max(1))).unwrap_or(1)
        };
        self.sounding = packets(duration.max(SHORTEST));
        self.pausing = packets(PAUSE);
        self.chord = Some(Chord::new(
            &[(low, LOW_DBM0), (high, HIGH_DBM0)],
            &[],
            self.rate,
        ));
    }

    fn is_over(&self) -> bool {
        self.sounding + self.pausing == 0
    }

    /// The next packet's payload; its length.
    fn next(&mut self, payload: &mut [u8]) -> Option<usize> {
        match (&mut self.chord, self.sounding) {
            (Some(chord), 1..) => {
                self.sounding -= 1;
                chord.fill(&mut self.samples);
            }
            _ => {
                self.pausing = self.pausing.saturating_sub(1);
                self.samples.fill(0);
            }
        }
        self.encoder.encode(&self.samples, payload).ok()
    }
}

impl Legs {
    /// Sends the next packet of a tone, or begins the next digit, or lets the sound through again.
    pub(crate) fn sing_timeout(&mut self, index: u32, out: SpeechOut, now: Instant) {
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        // Another codec since: what was under way is cut short.
        let mut sung = match leg.digits.sung.take().filter(|sung| sung.out == out) {
            Some(sung) => sung,
            None if leg.digits.waiting.is_empty() => return,
            None => match Sung::new(out) {
                Some(sung) => Box::new(sung),
                None => return,
            },
        };
        if sung.is_over() {
            let Some((event, duration)) = leg.digits.waiting.pop_front() else {
                return;
            };
            sung.begin(event, duration);
        }
        let mut payload = [0; MAX_PAYLOAD];
        let made = sung.next(&mut payload);
        let (pt, step, clock_hz) = (sung.out.pt, sung.step, sung.out.clock_hz);
        leg.timers.set(Timer::Digits, now + sung.every);
        leg.digits.sung = Some(sung);
        if let Some(len) = made {
            let stamp = leg.audio_out.own(step, clock_hz, now);
            self.send_own(index, MediaKind::Audio, pt, stamp, &payload[..len]);
        }
    }
}
