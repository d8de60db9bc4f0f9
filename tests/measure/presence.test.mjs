import assert from "node:assert/strict";
import { test } from "node:test";
import { comesBack, presentInPackets, presentInRecording, share } from "./presence.mjs";
import { tone } from "./wav.mjs";

const RATE = 48000;
const BEGAN = 1_700_000_000_000;

/** Three seconds of tone with nothing from 1.0 s to 1.5 s. */
function withHole() {
  const samples = Float32Array.from(tone(1010, 3, RATE, -20));
  samples.fill(0, RATE, RATE * 1.5);
  return samples;
}

test("a recording's tone is found on the clock of the wall, its hole too", () => {
  const lags = Array(15).fill(BEGAN);
  const intervals = presentInRecording(withHole(), RATE, 1010, lags);
  assert.equal(intervals.length, 2);
  assert.ok(Math.abs(intervals[0][1] - BEGAN - 1000) < 6, `ends at ${intervals[0][1] - BEGAN}`);
  assert.ok(Math.abs(intervals[1][0] - BEGAN - 1500) < 6, `begins at ${intervals[1][0] - BEGAN}`);
});

test("a page that notes a block late does not move the sound", () => {
  const lags = Array(15).fill(BEGAN);
  lags[3] += 120;
  lags[4] += 80;
  const intervals = presentInRecording(withHole(), RATE, 1010, lags);
  assert.ok(Math.abs(intervals[0][1] - BEGAN - 1000) < 6);
});

test("sound that comes back is told with the time that it took, and what was missing", () => {
  const intervals = [[0, 10_000], [10_700, 20_000]];
  assert.deepEqual(comesBack(intervals, { begun: 9_900, ended: 10_500 }), { after_ms: 200, longest_gap_ms: 700 });
  assert.deepEqual(comesBack(intervals, { begun: 5_000, ended: 5_100 }), { after_ms: 0, longest_gap_ms: 0 });
});

test("sound that comes and goes again has not come back before it stays", () => {
  const intervals = [[0, 1000], [1100, 1200], [1500, 1600]];
  assert.equal(comesBack(intervals, { begun: 900, ended: 1000 }).after_ms, null);
  assert.equal(comesBack([...intervals.slice(0, 2), [1290, 5000]], { begun: 900, ended: 1000 }).after_ms, 290);
  assert.equal(comesBack([], { begun: 900, ended: 1000 }).after_ms, null);
});

test("packets with a pause between them give two intervals, and those without the tone give none", () => {
  const packets = [];
  for (let i = 0; i < 50; i++) packets.push([100 + i * 0.02, i === 20 ? -80 : -20]);
  for (let i = 0; i < 50; i++) packets.push([102 + i * 0.02, -20]);
  const intervals = presentInPackets(packets);
  assert.equal(intervals.length, 3);
  assert.ok(Math.abs(share(intervals, 99_980, 100_980) - 0.98) < 0.001);
});
