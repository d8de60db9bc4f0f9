#!/usr/bin/env node
// run.mjs [WORDS ...]: the end-to-end tests, or those whose name or file holds one of WORDS. --list prints the names.
// TRUNKGATE_BIN names the binary. What a run wrote stays in E2E_RUN (a new folder where it is not set).
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { list, run } from "./lib/runner.mjs";
import { World } from "./lib/world.mjs";

const files = [
  "start", "echo", "softphone", "aiortc", "calls", "hangups", "midcall", "video", "before_answer", "transfer", "matrix", "srtp", "sharing", "digits", "statuses", "tls",
  "registration", "numbers", "trunks", "phones", "hooks", "roles", "firefox", "torture", "soak",
];
/** Only when asked for: these need namespace.sh, or take long. */
const apart = ["firefox", "torture", "soak"];
const fileOf = new Map();
for (const file of files) {
  const before = list().length;
  await import(`./${file}.mjs`);
  for (const name of list().slice(before)) fileOf.set(name, file);
}
const words = process.argv.slice(2);
if (words[0] === "--list") {
  console.log(list().join("\n"));
  process.exit(0);
}
if (!process.env.TRUNKGATE_BIN) {
  console.error("TRUNKGATE_BIN must name the gateway's binary, as in TRUNKGATE_BIN=target/debug/trunkgate");
  process.exit(2);
}
const folder = process.env.E2E_RUN || mkdtempSync(join(tmpdir(), "e2e-"));
console.log(`# what this run writes is in ${folder}`);
const world = new World(folder);
const end = async (signal) => {
  console.log(`# ${signal}: ending what was started`);
  await world.close();
  process.exit(1);
};
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => end(signal));
process.on("unhandledRejection", (error) => console.log(`# unhandled: ${error?.stack ?? error}`));

const wanted = (name) => (words.length ? words.some((w) => (files.includes(w) ? fileOf.get(name) === w : name.includes(w))) : !apart.includes(fileOf.get(name)));
const { passed, failed, failures } = await run(wanted, world);
const complaints = await world.close();
for (const complaint of complaints) console.log(`not ok - ${complaint}`);
if (failures.length) console.log(`# failed:\n${failures.map((f) => `#   ${f}`).join("\n")}`);
console.log(`${passed} passed, ${failed + complaints.length} failed`);
process.exit(failed + complaints.length ? 1 : 0);
