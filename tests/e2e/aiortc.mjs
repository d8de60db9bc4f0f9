// The echo call with aiortc as the client, in both DTLS roles.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { complaints, measureTone } from "../measure/tone.mjs";
import { readWav } from "../measure/wav.mjs";
import { check, test } from "./lib/runner.mjs";

const peers = join(dirname(fileURLToPath(import.meta.url)), "..", "peers");
/** A virtual environment with what peers/requirements.txt names. */
const python = process.env.PEERS_PYTHON ?? join(peers, ".venv", "bin", "python3");
const SENT = { hz: 620, db: -20 };
const SECONDS = 20;

function dial(args) {
  return new Promise((resolve) => {
    execFile(python, [join(peers, "aiortc_echo.py"), ...args], { timeout: 80_000 }, (error, stdout, stderr) => {
      const line = stdout.trim().split("\n").at(-1) ?? "";
      try {
        resolve(JSON.parse(line));
      } catch {
        resolve({ ok: false, problem: `${error?.message ?? "no result"}: ${stderr.trim().split("\n").slice(-3).join(" / ")}` });
      }
    });
  });
}

for (const [setup, sentence] of [
  ["active", "aiortc dials echo as the DTLS client and hears itself for 20 s"],
  ["passive", "aiortc dials echo as the DTLS server and hears itself for 20 s"],
]) {
  test(sentence, async (t) => {
    check(existsSync(python), `aiortc is not installed: ${python} does not exist`);
    const gateway = await t.world.gateway();
    for (let attempt = 1; ; attempt++) {
      const before = gateway.records.length;
      const wav = join(t.world.folder, `aiortc-${setup}-${attempt}.wav`);
      const said = await dial([gateway.ws, wav, "--hz", SENT.hz, "--db", SENT.db, "--seconds", SECONDS + 1, "--setup", setup].map(String));
      t.measure({ aiortc: said });
      check(said.ok, said.problem);
      check(said.gateway_setup === (setup === "active" ? "passive" : "active"), `the gateway answered ${setup} with ${said.gateway_setup}`);
      const { samples, rate } = readWav(wav);
      const heard = measureTone(samples, rate, { hz: SENT.hz, seconds: SECONDS });
      const record = await gateway.recordAfter(before);
      t.measure({ heard, record, attempt });
      const wrong = complaints(heard, { hz: SENT.hz, sentDb: SENT.db, seconds: SECONDS });
      // A recording by packets has no gaps in it, but it takes longer than it lasts.
      if (said.took - said.seconds > 0.5) wrong.push(`a gap: ${said.seconds} s took ${said.took} s to come`);
      if (await t.world.again(t, wrong, record, attempt)) continue;
      check(wrong.length === 0, wrong.join("; "));
      return;
    }
  }, 180);
}
