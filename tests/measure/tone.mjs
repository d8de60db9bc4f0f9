// Measures a steady tone in a recording: is it the right one, how loud, and where is it missing.
//
// Every recording of the end-to-end tests goes through this one function, whether a page made it or a phone,
// so that "a gap" means the same on both sides. Nothing here knows of files or browsers: samples in, numbers out.

/** A window is silent when the tone in it is this much weaker than in the recording's median window. */
export const SILENT_DB = 20;
/** The envelope is looked at so often; also the error of a gap's length. */
const STEP_S = 0.00025;
/** The envelope's window is the least whole number of periods that lasts so long. */
const WINDOW_S = 0.004;
/** Of a window that lies across an edge, this share must hold tone to be at the silence threshold. */
const EDGE = 10 ** (-SILENT_DB / 20);

/**
 * @param {Float32Array} samples full scale is 1
 * @param {number} rate samples a second
 * @param {{hz: number, fromMs?: number, seconds?: number}} options `hz`: the tone that was sent; `fromMs`: where to
 *   begin (500: what comes before is not judged); `seconds`: how much to judge after that, all when absent
 * @returns all that is known of it; levels in dBFS of the tone's RMS (a full-scale sine has -3.01)
 */
export function measureTone(samples, rate, options) {
  const fromMs = options.fromMs ?? 500;
  const first = Math.min(samples.length, Math.round((fromMs / 1000) * rate));
  const wanted = options.seconds === undefined ? samples.length - first : Math.round(options.seconds * rate);
  const judged = samples.subarray(first, Math.min(samples.length, first + wanted));
  const result = {
    hz: 0, level_db: -Infinity, noise_db: -Infinity, seconds: round(judged.length / rate, 3), onset_ms: null,
    gaps: [], longest_gap_ms: 0, phase_jumps: 0,
  };
  if (judged.length < rate / 5) return result;
  result.hz = round(frequency(judged, rate), 2);
  const whole = envelope(samples, rate, options.hz);
  const inside = envelope(judged, rate, options.hz);
  const middle = median(inside.levels);
  result.level_db = round(decibels(middle / Math.SQRT2), 2);
  result.noise_db = round(decibels(Math.sqrt(Math.max(0, power(judged) - tonePower(inside.levels)))), 2);
  if (middle <= 1e-6) {
    result.longest_gap_ms = Math.round(result.seconds * 1000);
    result.gaps = [{ at_ms: fromMs, ms: result.longest_gap_ms }];
    return result;
  }
  const threshold = middle * EDGE;
  const onset = whole.levels.findIndex((level) => level >= threshold);
  result.onset_ms = onset < 0 ? null : round(onset * STEP_S * 1000, 1);
  for (const gap of silences(inside, threshold)) {
    result.gaps.push({ at_ms: round(fromMs + gap.at * 1000, 1), ms: round(gap.length * 1000, 1) });
    result.longest_gap_ms = Math.max(result.longest_gap_ms, round(gap.length * 1000, 1));
  }
  result.gaps = result.gaps.filter((gap) => gap.ms >= 10).slice(0, 20);
  result.phase_jumps = phaseJumps(inside, threshold);
  return result;
}

/** What is wrong with a measurement, in words; empty when nothing is. `sentDb`: the level that was sent. */
export function complaints(measured, { hz, sentDb, seconds, maxGapMs = 60, maxLevelDb = 3 }) {
  const wrong = [];
  if (measured.seconds < seconds - 0.02) wrong.push(`only ${measured.seconds} s of ${seconds} s were recorded`);
  if (!(Math.abs(measured.hz - hz) <= 2)) wrong.push(`the tone is ${measured.hz} Hz, not ${hz} Hz`);
  const off = measured.level_db - sentDb;
  if (!(Math.abs(off) <= maxLevelDb)) wrong.push(`the level is ${off.toFixed(2)} dB from what was sent`);
  if (measured.longest_gap_ms > maxGapMs) wrong.push(`a gap of ${measured.longest_gap_ms} ms`);
  return wrong;
}

/** Whether a gap is all that is wrong: then another witness decides whose it was. */
export const onlyGaps = (wrong) => wrong.length > 0 && wrong.every((text) => text.startsWith("a gap"));

/** The tone's amplitude and phase each STEP_S, by complex demodulation over a few whole periods. */
export function envelope(samples, rate, hz) {
  const periods = Math.max(2, Math.ceil(WINDOW_S * hz));
  const window = Math.round((periods / hz) * rate);
  const step = STEP_S * rate;
  const turn = (2 * Math.PI * hz) / rate;
  const re = new Float64Array(samples.length + 1);
  const im = new Float64Array(samples.length + 1);
  for (let i = 0; i < samples.length; i++) {
    re[i + 1] = re[i] + samples[i] * Math.cos(turn * i);
    im[i + 1] = im[i] - samples[i] * Math.sin(turn * i);
  }
  const count = Math.max(0, Math.floor((samples.length - window) / step) + 1);
  const levels = new Float64Array(count);
  const phases = new Float64Array(count);
  for (let k = 0; k < count; k++) {
    const at = Math.round(k * step);
    const a = re[at + window] - re[at];
    const b = im[at + window] - im[at];
    levels[k] = (2 * Math.hypot(a, b)) / window;
    phases[k] = Math.atan2(b, a);
  }
  return { levels, phases, window: window / rate };
}

/**
 * Runs of silence. A window of length W across an edge is silent while less than EDGE of it holds tone, so a run is
 * W * (1 - EDGE) shorter than its silence at an edge that it slides into, and EDGE * W longer at the other one.
 */
function* silences({ levels, window }, threshold) {
  let start = -1;
  for (let k = 0; k <= levels.length; k++) {
    const silent = k < levels.length && levels[k] < threshold;
    if (silent && start < 0) start = k;
    if (silent || start < 0) continue;
    const before = start > 0 ? EDGE * window : 0;
    const after = k < levels.length ? window * (1 - EDGE) : window;
    yield { at: start * STEP_S + before, length: (k - start) * STEP_S + after - before };
    start = -1;
  }
}

/** Sudden changes of phase where the tone goes on: frames left out, doubled, or patched without a pause. */
function phaseJumps({ levels, phases, window }, threshold) {
  const apart = Math.ceil(window / STEP_S) + 1;
  let jumps = 0;
  let quietUntil = 0;
  for (let k = apart; k < levels.length; k++) {
    if (levels[k] < threshold || levels[k - apart] < threshold) { quietUntil = k + apart; continue; }
    if (k < quietUntil) continue;
    const turned = Math.atan2(Math.sin(phases[k] - phases[k - apart]), Math.cos(phases[k] - phases[k - apart]));
    if (Math.abs(turned) > 0.5) { jumps++; quietUntil = k + 2 * apart; }
  }
  return jumps;
}

/** The strongest frequency of all, wherever it lies: the median of several spectra. */
function frequency(samples, rate) {
  let size = 1;
  while (size * 2 <= Math.min(samples.length, rate * 0.8)) size *= 2;
  const peaks = [];
  const places = Math.min(9, Math.floor(samples.length / size));
  for (let i = 0; i < places; i++) {
    const at = Math.floor((i * (samples.length - size)) / Math.max(1, places - 1));
    const peak = spectrumPeak(samples.subarray(at, at + size), rate);
    if (peak > 0) peaks.push(peak);
  }
  return median(peaks);
}

function spectrumPeak(part, rate) {
  const n = part.length;
  const re = new Float64Array(n);
  const im = new Float64Array(n);
  for (let i = 0; i < n; i++) re[i] = part[i] * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / (n - 1)));
  fft(re, im);
  let best = 0;
  const size = (k) => re[k] * re[k] + im[k] * im[k];
  for (let k = 2; k < n / 2 - 1; k++) if (size(k) > size(best) || best === 0) best = k;
  if (size(best) < 1e-9) return 0;
  const [a, b, c] = [best - 1, best, best + 1].map((k) => Math.log(size(k) + 1e-30));
  return ((best + (a - c) / (2 * (a - 2 * b + c))) * rate) / n;
}

function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) { [re[i], re[j]] = [re[j], re[i]]; [im[i], im[j]] = [im[j], im[i]]; }
  }
  for (let length = 2; length <= n; length <<= 1) {
    const half = length / 2;
    for (let k = 0; k < half; k++) {
      const c = Math.cos((2 * Math.PI * k) / length);
      const s = -Math.sin((2 * Math.PI * k) / length);
      for (let i = k; i < n; i += length) {
        const x = re[i + half] * c - im[i + half] * s;
        const y = re[i + half] * s + im[i + half] * c;
        re[i + half] = re[i] - x; im[i + half] = im[i] - y;
        re[i] += x; im[i] += y;
      }
    }
  }
}

function power(samples) {
  let sum = 0;
  for (const s of samples) sum += s * s;
  return sum / samples.length;
}

function tonePower(levels) {
  let sum = 0;
  for (const level of levels) sum += (level * level) / 2;
  return levels.length ? sum / levels.length : 0;
}

function median(values) {
  const sorted = Float64Array.from(values).sort();
  return sorted.length ? sorted[sorted.length >> 1] : 0;
}

const decibels = (ratio) => 20 * Math.log10(Math.max(ratio, 1e-9));
const round = (value, digits) => Number(value.toFixed(digits));
