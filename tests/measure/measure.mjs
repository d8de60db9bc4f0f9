#!/usr/bin/env node
// measure.mjs FILE.wav HZ [SENT_DB [SECONDS]]: prints one JSON line; exit status 1 if the recording would fail a test.
import { complaints, measureTone } from "./tone.mjs";
import { readWav } from "./wav.mjs";

const [path, hz, sentDb, seconds] = process.argv.slice(2);
if (!path || !hz) {
  console.error("usage: measure.mjs FILE.wav HZ [SENT_DB [SECONDS]]");
  process.exit(2);
}
const { samples, rate } = readWav(path);
const measured = measureTone(samples, rate, { hz: Number(hz), seconds: seconds && Number(seconds) });
const limits = { hz: Number(hz), sentDb: Number(sentDb ?? measured.level_db), seconds: Number(seconds ?? measured.seconds) };
const wrong = complaints(measured, limits);
console.log(JSON.stringify({ ...measured, rate, wrong }));
process.exit(wrong.length ? 1 : 0);
