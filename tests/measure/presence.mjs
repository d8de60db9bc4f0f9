// When a tone was there, on the clock of the wall: from a recording, or from packets with the times at which they came.
import { envelope } from "./tone.mjs";

/** Sound is there from this level of its RMS on; what the tests send has -20 dBFS. */
export const PRESENT_DB = -40;
/** Windows of the envelope that lie further apart than this end an interval. */
const JOIN_MS = 10;
const PACKET_MS = 20;

/**
 * The intervals [from, to] in milliseconds since 1970 in which `samples` hold the tone.
 * @param {number[]} lags for each 200 ms of the recording: the clock's time minus the recording's, the least of them
 * @param {number} presentDb  higher where another tone may be there: the short window lets a little of it through
 */
export function presentInRecording(samples, rate, hz, lags, presentDb = PRESENT_DB) {
  const { levels, window } = envelope(samples, rate, hz);
  const step = 0.25;
  const threshold = Math.SQRT2 * 10 ** (presentDb / 20);
  // The page may be late to note a block, never early: the least lag of the next second is the right one.
  const least = lags.map((_, i) => Math.min(...lags.slice(i, i + 6)));
  const clock = (ms) => ms + least[Math.min(least.length - 1, Math.floor(ms / 200))];
  const intervals = [];
  let start = -1;
  for (let k = 0; k <= levels.length; k++) {
    const there = k < levels.length && levels[k] >= threshold;
    if (there && start < 0) start = k;
    if (there || start < 0) continue;
    add(intervals, clock(start * step + (start ? window * 1000 : 0)), clock(k * step), JOIN_MS);
    start = -1;
  }
  return intervals;
}

/** The same of packets [at (seconds), level in dB, ...]: each brings 20 ms. */
export function presentInPackets(packets) {
  const intervals = [];
  for (const [at, db] of packets) if (db >= PRESENT_DB) add(intervals, at * 1000 - PACKET_MS, at * 1000, JOIN_MS);
  return intervals;
}

function add(intervals, from, to, join) {
  const last = intervals.at(-1);
  if (last && from - last[1] <= join) last[1] = Math.max(last[1], to);
  else if (to > from) intervals.push([from, to]);
}

/**
 * How the sound came back after something that was over at `ended`: after how many ms it was there to stay until
 * `ended + withinMs + forMs` (null: it was not), and the longest gap between `begun` and then.
 */
export function comesBack(intervals, { begun, ended, withinMs = 300, forMs = 1000, maxGapMs = 60 }) {
  const until = ended + withinMs + forMs;
  const near = intervals.filter(([from, to]) => to > begun - 2000 && from < until);
  let at = begun;
  let longest = 0;
  for (const [from, to] of near) {
    if (from > at) longest = Math.max(longest, from - at);
    at = Math.max(at, Math.min(to, until));
  }
  longest = Math.max(longest, until - at);
  // Backwards from the end: as long as what is missing is short, it was there.
  let back = until;
  for (const [from, to] of near.toReversed()) {
    if (back - to > maxGapMs) break;
    back = Math.min(back, from);
  }
  const after = back >= until ? null : Math.max(0, Math.round(back - ended));
  return { after_ms: after, longest_gap_ms: Math.round(longest) };
}

/** The share of [from, to] in which the tone was there. */
export function share(intervals, from, to) {
  let there = 0;
  for (const [a, b] of intervals) there += Math.max(0, Math.min(b, to) - Math.max(a, from));
  return there / (to - from);
}
