// The measuring tool, measured: tones, gaps and levels that are known exactly.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { complaints, measureTone, onlyGaps } from "./tone.mjs";
import { readWav, tone, writeWav } from "./wav.mjs";

const silence = (samples, rate, atMs, ms) => samples.fill(0, Math.round((atMs * rate) / 1000), Math.round(((atMs + ms) * rate) / 1000));

/** The same noise each time: a small linear generator, uniform in -1..1. */
function noise() {
  let state = 12345;
  return () => (((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32) * 2 - 1);
}

for (const rate of [8000, 16000, 48000]) {
  for (const hz of [440, 620, 1010]) {
    test(`a gap of 61 ms is found and one of 59 ms is not too long, ${hz} Hz at ${rate}`, () => {
      for (let shift = 0; shift < 20; shift += 1.3) {
        for (const [ms, tooLong] of [[59, false], [61, true]]) {
          const samples = tone(hz, 3, rate, -20);
          silence(samples, rate, 1500 + shift, ms);
          const measured = measureTone(samples, rate, { hz });
          assert.equal(measured.longest_gap_ms > 60, tooLong, `${ms} ms at ${shift}: ${measured.longest_gap_ms}`);
          assert.ok(Math.abs(measured.longest_gap_ms - ms) < 1, `${ms} ms: ${measured.longest_gap_ms}`);
          assert.ok(Math.abs(measured.gaps[0].at_ms - 1500 - shift) < 2, JSON.stringify(measured.gaps));
        }
      }
    });
    test(`the level is right within 0.2 dB and the frequency within half a hertz, ${hz} Hz at ${rate}`, () => {
      for (const db of [-40, -23.5, -20, -6, -3.01]) {
        const measured = measureTone(tone(hz, 3, rate, db), rate, { hz });
        assert.ok(Math.abs(measured.level_db - db) < 0.2, `${db}: ${measured.level_db}`);
        assert.ok(Math.abs(measured.hz - hz) < 0.5, `${measured.hz}`);
        assert.equal(measured.longest_gap_ms, 0);
        assert.equal(measured.phase_jumps, 0);
      }
    });
  }
}

test("noise 20 dB under the tone neither hides a gap nor makes one", () => {
  const random = noise();
  const samples = tone(620, 5, 8000, -20);
  silence(samples, 8000, 2000, 70);
  for (let i = 0; i < samples.length; i++) samples[i] += random() * Math.sqrt(3) * 10 ** (-40 / 20);
  const measured = measureTone(samples, 8000, { hz: 620 });
  assert.equal(measured.gaps.length, 1, JSON.stringify(measured.gaps));
  assert.ok(Math.abs(measured.longest_gap_ms - 70) < 3);
  assert.ok(Math.abs(measured.level_db + 20) < 0.2);
});

test("another tone is a wrong frequency, not a right one with a gap", () => {
  const measured = measureTone(tone(700, 3, 8000, -20), 8000, { hz: 620 });
  assert.ok(Math.abs(measured.hz - 700) < 0.5);
  assert.match(complaints(measured, { hz: 620, sentDb: -20, seconds: 2 })[0], /700/);
});

test("silence has no frequency and is one long gap", () => {
  const measured = measureTone(new Float32Array(24000), 8000, { hz: 620 });
  assert.equal(measured.hz, 0);
  assert.equal(measured.longest_gap_ms, 2500);
});

test("what comes before the first 500 ms is not judged, what is missing after it is", () => {
  const samples = tone(620, 3, 8000, -20);
  silence(samples, 8000, 0, 480);
  let measured = measureTone(samples, 8000, { hz: 620 });
  assert.equal(measured.longest_gap_ms, 0);
  assert.ok(Math.abs(measured.onset_ms - 480) < 8, `${measured.onset_ms}`);
  silence(samples, 8000, 0, 900);
  measured = measureTone(samples, 8000, { hz: 620 });
  assert.ok(Math.abs(measured.longest_gap_ms - 400) < 2, `${measured.longest_gap_ms}`);
});

test("a tone that stops before the end is a gap to the end", () => {
  const samples = tone(620, 3, 8000, -20);
  silence(samples, 8000, 2800, 200);
  assert.ok(Math.abs(measureTone(samples, 8000, { hz: 620 }).longest_gap_ms - 200) < 2);
});

test("only so many seconds are judged as were asked for", () => {
  const samples = tone(620, 4, 8000, -20);
  silence(samples, 8000, 3000, 500);
  const measured = measureTone(samples, 8000, { hz: 620, seconds: 2 });
  assert.equal(measured.seconds, 2);
  assert.equal(measured.longest_gap_ms, 0);
});

test("a frame left out without a pause shows as a jump of phase", () => {
  const whole = tone(620, 3, 8000, -20);
  const cut = new Float32Array([...whole.subarray(0, 12000), ...whole.subarray(12160)]);
  const measured = measureTone(cut, 8000, { hz: 620 });
  assert.equal(measured.phase_jumps, 1);
  assert.equal(measured.longest_gap_ms, 0);
});

test("complaints name what is wrong and tell a gap alone from all else", () => {
  const good = { hz: 620, level_db: -20, seconds: 20, longest_gap_ms: 12 };
  const limits = { hz: 620, sentDb: -21, seconds: 20 };
  assert.deepEqual(complaints(good, limits), []);
  assert.ok(onlyGaps(complaints({ ...good, longest_gap_ms: 80 }, limits)));
  assert.ok(!onlyGaps(complaints({ ...good, longest_gap_ms: 80, level_db: -30 }, limits)));
  assert.equal(complaints({ ...good, level_db: -24.1 }, limits).length, 1);
  assert.equal(complaints({ ...good, seconds: 12 }, limits).length, 1);
  assert.equal(complaints({ ...good, hz: NaN, level_db: -Infinity }, limits).length, 2);
});

test("a WAV file is read back as it was written, also when its recorder was killed", () => {
  const folder = mkdtempSync(join(tmpdir(), "wav-"));
  try {
    const path = join(folder, "tone.wav");
    writeWav(path, tone(1010, 2, 16000, -10), 16000);
    const { samples, rate } = readWav(path);
    assert.equal(rate, 16000);
    assert.ok(Math.abs(measureTone(samples, rate, { hz: 1010 }).level_db + 10) < 0.2);
    const bytes = readFileSync(path);
    bytes.writeUInt32LE(0, 40); // sizes are filled in when a recorder closes its file
    writeFileSync(path, bytes);
    assert.equal(readWav(path).samples.length, samples.length);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
