//! DTMF as sound (ITU-T Q.23): made, and heard within the limits of Q.24.
//!
//! [`Ear`] looks at 20 ms of sound every 5 ms. A digit is one strong tone of each group, near its frequency,
//! with next to nothing beside them, for six looks in a row: 35 ms are heard always, 29 ms never (Q.24: 40 and
//! 20 to 23 ms). The frequency is judged by how the phase goes on from look to look, which tells 1.5 % from
//! 3.5 % where a filter of this length could not.

use std::f32::consts::TAU;

/// Rows, then columns, in hertz.
const HERTZ: [f32; 8] = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];
const KEYS: [[char; 4]; 4] = [
    ['1', '2', '3', 'A'],
    ['4', '5', '6', 'B'],
    ['7', '8', '9', 'C'],
    ['*', '0', '#', 'D'],
];

/// Length of a look, and from one to the next.
const LOOK_MS: usize = 20;
const HOP_MS: usize = 5;
/// Looks in a row that make a digit.
const LOOKS: u32 = 6;
/// Looks without the digit that end it: Q.24 wants 10 ms bridged and 40 ms kept apart.
const MISSES: u32 = 5;
/// The weaker tone, at least: Q.24 wants -25 dBm0 heard and -55 not.
const FAINTEST_DBM0: f32 = -30.0;
/// High over low group and the reverse, as power: Q.24's 4 and 8 dB and one more.
const HIGH_OVER_LOW: f32 = 3.16;
const LOW_OVER_HIGH: f32 = 7.94;
/// Part of all power that the two tones have to hold. Speech does so hardly ever, and not for 35 ms.
const PURE: f32 = 0.78;
/// How far each stands out of its group, as power: 6 dB.
const STANDS_OUT: f32 = 4.0;
/// Between what has to be heard (1.5 %) and what must not (3.5 %).
const OFF_FREQUENCY: f32 = 0.023;
/// How far a tone may glide from look to look, in hertz: a key's tone does not, what is beyond noise and the
/// tone's edges is a voice.
const GLIDES: f32 = 12.0;
/// A look whose power is less than half of the strongest so far saw only a part of the tone.
const WHOLE: f32 = 0.5;
/// One that is told goes on while there is an eighth of it.
const GOES_ON: f32 = 0.125;

/// The two frequencies of a digit (`0-9*#A-D`, any case).
pub fn tones(digit: char) -> Option<(f32, f32)> {
    let digit = digit.to_ascii_uppercase();
    let row = KEYS.iter().position(|row| row.contains(&digit))?;
    let column = KEYS[row].iter().position(|key| *key == digit)?;
    Some((HERTZ[row], HERTZ[4 + column]))
}

/// What an [`Ear`] makes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Begin(char),
    /// A digit is over that lasted so long.
    End(char, u32),
}

/// Hears digits in one direction of sound, and cuts them out of it on demand. What comes out is
/// [`Ear::DELAY_MS`] late, so that the cut begins where the tone did.
#[derive(Debug)]
pub struct Ear {
    per_ms: usize,
    window: Vec<f32>,
    /// Sums of the window and of its square.
    weight: f32,
    weight_squared: f32,
    /// Cosine and sine of each frequency at each sample of a look.
    waves: Vec<[(f32, f32); 8]>,
    /// The turn of each frequency in a hop.
    turns: [f32; 8],
    /// The newest sound; what is looked at and what is delayed are parts of it.
    past: Vec<i16>,
    /// Samples until the next look.
    until_look: usize,
    /// Samples until none that were made up are in a look.
    blind: usize,
    faintest: f32,
    before: [f32; 8],
    run: Option<Run>,
    told: Option<Told>,
    ready: [Option<Heard>; 2],
    /// Samples in front of the newest that are to be silent: (from, to) back from the newest.
    cut: Option<(usize, usize)>,
}

/// Looks in a row that saw the same digit whole.
#[derive(Clone, Copy, Debug)]
struct Run {
    row: usize,
    column: usize,
    looks: u32,
    strongest: f32,
    /// How far the phase of each went off: sum, least and most in a hop.
    low: Drift,
    high: Drift,
}

#[derive(Clone, Copy, Debug)]
struct Drift {
    sum: f32,
    least: f32,
    most: f32,
}

impl Drift {
    const NONE: Drift = Drift {
        sum: 0.0,
        least: f32::MAX,
        most: f32::MIN,
    };

    /// `whole`: neither look of the hop is at the tone's edge.
    fn and(self, off: f32, whole: bool) -> Drift {
        Drift {
            sum: self.sum + off,
            least: if whole {
                self.least.min(off)
            } else {
                self.least
            },
            most: if whole { self.most.max(off) } else { self.most },
        }
    }

    /// Near enough to `hz` after so many hops, and steady.
    fn is_in_tune(self, hz: f32, hops: u32) -> bool {
        let hertz = |off: f32| off / TAU / (HOP_MS as f32 / 1000.0);
        hertz(self.sum / hops as f32).abs() <= hz * OFF_FREQUENCY
            && hertz(self.most - self.least) <= GLIDES
    }
}

#[derive(Clone, Copy, Debug)]
struct Told {
    row: usize,
    column: usize,
    strongest: f32,
    /// Looks it was seen in, the missing ones between them included, and those missing since.
    looks: u32,
    missing: u32,
}

/// What one look saw.
#[derive(Clone, Copy, Debug)]
struct Look {
    row: usize,
    column: usize,
    power: f32,
    phases: [f32; 8],
}

impl Ear {
    /// Longer than it takes to be sure of a digit.
    pub const DELAY_MS: usize = 60;

    pub fn new(sample_rate: u32) -> Ear {
        let per_ms = usize::try_from(sample_rate / 1000)
            .unwrap_or(8)
            .clamp(8, 48);
        let len = LOOK_MS * per_ms;
        let window: Vec<f32> = (0..len)
            .map(|n| 0.5 - 0.5 * (TAU * (n as f32 + 0.5) / len as f32).cos())
            .collect();
        let rate = per_ms as f32 * 1000.0;
        let waves = (0..len)
            .map(|n| {
                HERTZ.map(|hz| {
                    let (sin, cos) = (TAU * hz / rate * n as f32).sin_cos();
                    (cos, sin)
                })
            })
            .collect();
        Ear {
            per_ms,
            weight: window.iter().sum(),
            weight_squared: window.iter().map(|w| w * w).sum(),
            window,
            waves,
            turns: HERTZ.map(|hz| (hz * HOP_MS as f32 / 1000.0).fract() * TAU),
            past: vec![0; Ear::DELAY_MS * per_ms],
            until_look: HOP_MS * per_ms,
            blind: 0,
            faintest: power_of(FAINTEST_DBM0),
            before: [0.0; 8],
            run: None,
            told: None,
            ready: [None; 2],
            cut: None,
        }
    }

    /// Takes the next samples and gives back, in their place, those of [`Ear::DELAY_MS`] before; digits among
    /// them are silent if `cuts`. Ask [`Ear::poll`] afterwards.
    pub fn listen(&mut self, samples: &mut [i16], cuts: bool) {
        let mut rest = samples;
        while !rest.is_empty() {
            let (now, later) = rest.split_at_mut(self.until_look.min(rest.len()));
            self.exchange(now, cuts);
            self.until_look -= now.len();
            if self.until_look == 0 {
                self.until_look = HOP_MS * self.per_ms;
                let look = self.look();
                self.judge(look);
            }
            rest = later;
        }
    }

    /// The next so many samples stand for lost ones: a digit that is under way does not end by them.
    pub fn distrust(&mut self, samples: usize) {
        self.blind = samples + self.window.len();
    }

    pub fn poll(&mut self) -> Option<Heard> {
        let [first, second] = &mut self.ready;
        first.take().or_else(|| second.take())
    }

    /// At most a hop of samples in, the oldest ones out.
    fn exchange(&mut self, samples: &mut [i16], cuts: bool) {
        let count = samples.len();
        let total = self.past.len();
        for (at, (old, new)) in self.past.iter_mut().zip(samples.iter_mut()).enumerate() {
            let back = total - at;
            let silent = cuts && self.cut.is_some_and(|(from, to)| back <= from && back > to);
            let leaving = if silent { 0 } else { *old };
            *old = std::mem::replace(new, leaving);
        }
        self.past.rotate_left(count);
        self.cut = self
            .cut
            .map(|(from, to)| (from + count, to + count))
            .filter(|(_, to)| *to < total);
    }

    fn look(&self) -> Option<Look> {
        let start = self.past.len() - self.window.len();
        let mut sums = [(0.0f32, 0.0f32); 8];
        let mut all = 0.0f32;
        for ((sample, window), waves) in
            self.past[start..].iter().zip(&self.window).zip(&self.waves)
        {
            let x = f32::from(*sample) * window;
            all += x * x;
            for (sum, (cos, sin)) in sums.iter_mut().zip(waves) {
                sum.0 += x * cos;
                sum.1 -= x * sin;
            }
        }
        let all = all / self.weight_squared;
        // Mean square of a sine of that amplitude.
        let powers = sums.map(|(re, im)| 2.0 * (re * re + im * im) / (self.weight * self.weight));
        let row = strongest(&powers[..4])?;
        let column = 4 + strongest(&powers[4..])?;
        let (low, high) = (powers[row], powers[column]);
        let seen = low.min(high) >= self.faintest
            && high <= low * HIGH_OVER_LOW
            && low <= high * LOW_OVER_HIGH
            && low + high >= all * PURE;
        seen.then(|| Look {
            row,
            column,
            power: low + high,
            phases: sums.map(|(re, im)| im.atan2(re)),
        })
    }

    fn judge(&mut self, look: Option<Look>) {
        let hop = HOP_MS * self.per_ms;
        if let Some(told) = &mut self.told {
            let same = look.is_some_and(|look| {
                (look.row, look.column) == (told.row, told.column)
                    && look.power >= told.strongest * GOES_ON
            });
            if same {
                told.looks += told.missing + 1;
                told.missing = 0;
                if let Some((_, to)) = &mut self.cut {
                    *to = 0;
                }
            } else if self.blind > 0 {
                told.looks += 1;
                if let Some((_, to)) = &mut self.cut {
                    *to = 0;
                }
            } else {
                told.missing += 1;
                if told.missing >= MISSES {
                    self.end();
                }
            }
        }
        self.blind = self.blind.saturating_sub(hop);
        let Some(look) = look else {
            self.run = None;
            return;
        };
        // How far each tone turned since the look before, beyond what its frequency would.
        let off = |which: usize| {
            let turned = look.phases[which] - self.before[which] - self.turns[which];
            (turned + TAU / 2.0).rem_euclid(TAU) - TAU / 2.0
        };
        let off = (off(look.row), off(look.column));
        self.before = look.phases;
        self.run = match self.run.take() {
            Some(run)
                if (run.row, run.column) == (look.row, look.column)
                    && look.power * WHOLE <= run.strongest =>
            {
                (look.power >= run.strongest * WHOLE).then(|| Run {
                    looks: run.looks + 1,
                    strongest: run.strongest.max(look.power),
                    low: run.low.and(off.0, run.looks > 1),
                    high: run.high.and(off.1, run.looks > 1),
                    ..run
                })
            }
            _ => None,
        }
        .or(Some(Run {
            row: look.row,
            column: look.column,
            looks: 1,
            strongest: look.power,
            low: Drift::NONE,
            high: Drift::NONE,
        }));
        let Some(run) = self.run.filter(|run| run.looks >= LOOKS) else {
            return;
        };
        let known = self
            .told
            .is_some_and(|told| (told.row, told.column) == (run.row, run.column));
        if known || !run.is_in_tune() {
            return;
        }
        self.end();
        let _ = self.told.insert(Told {
            row: run.row,
            column: run.column,
            strongest: run.strongest,
            looks: run.looks,
            missing: 0,
        });
        // The first whole look may have begun up to a hop and a bit after the tone.
        let from = hop * usize::try_from(run.looks).unwrap_or(0) + LOOK_MS * self.per_ms;
        self.cut = Some((from.min(self.past.len()), 0));
        self.tell(Heard::Begin(KEYS[run.row][run.column - 4]));
    }

    fn end(&mut self) {
        if let Some(told) = self.told.take() {
            let key = KEYS[told.row][told.column - 4];
            // The first and the last look see a little less than all of it.
            let ms = told.looks.saturating_sub(1) * HOP_MS as u32 + LOOK_MS as u32 - 12;
            self.tell(Heard::End(key, ms));
        }
    }

    fn tell(&mut self, heard: Heard) {
        if let Some(free) = self.ready.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(heard);
        }
    }
}

impl Run {
    fn is_in_tune(&self) -> bool {
        let hops = self.looks - 1;
        self.low.is_in_tune(HERTZ[self.row], hops) && self.high.is_in_tune(HERTZ[self.column], hops)
    }
}

/// The one that stands out of the four.
fn strongest(powers: &[f32]) -> Option<usize> {
    let best = (0..powers.len()).max_by(|a, b| powers[*a].total_cmp(&powers[*b]))?;
    powers
        .iter()
        .enumerate()
        .all(|(n, power)| n == best || powers[best] >= power * STANDS_OUT)
        .then_some(best)
}

/// Mean square of a sine at this level.
fn power_of(dbm0: f32) -> f32 {
    let below = dbm0 - crate::level::FULL_SCALE_DBM0 as f32;
    32_767.0 * 32_767.0 / 2.0 * 10f32.powf(below / 10.0)
}

#[cfg(test)]
#[path = "dtmf/tests.rs"]
mod tests;
