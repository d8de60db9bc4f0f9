// What the tests of one run share: the PBX, one gateway for each codec policy, one browser of each kind, the page's
// server. Each is started when the first test asks for it and ended at the end; the run's folder keeps what they wrote.
import { randomBytes } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { launch, servePage } from "../../browser/lib/browsers.mjs";
import { onlyGaps } from "../../measure/tone.mjs";
import { tone, writeWav } from "../../measure/wav.mjs";
import { Gateway, legsOf } from "./gateway.mjs";
import { Pbx } from "./phones.mjs";

/** A call of one browser, one phone and the gateway by itself stays well under this on two cores. */
const BUSY = 0.6;

/** Microseconds that tasks have waited for a processor since the start of the machine; null where the kernel does not say. */
function pressure() {
  try {
    const [, waited] = /^some .*total=(\d+)/m.exec(readFileSync("/proc/pressure/cpu", "utf8"));
    return { waited: Number(waited), at: performance.now() * 1000 };
  } catch {
    return null;
  }
}

export class World {
  started = new Map();
  closing = [];

  constructor(folder) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  once(key, make) {
    if (!this.started.has(key)) this.started.set(key, make());
    return this.started.get(key);
  }

  /** The gateway with this codec policy and further settings; a new one if the last has ended. */
  async gateway(policy = "relay", settings = {}) {
    this.pressure = pressure();
    const key = ["gateway", policy, ...Object.values(settings)].join("-").replace(/[^\w-]+/g, "");
    const old = await this.started.get(key)?.catch(() => null);
    if (old?.end) this.started.delete(key);
    return this.once(key, async () => {
      const folder = join(this.folder, `${key}-${this.closing.length}`);
      const gateway = await Gateway.start(folder, { "calls.codec_policy": JSON.stringify(policy), ...settings });
      this.closing.push(async () => {
        const end = await gateway.stop();
        if (end !== "exit code 0") this.complaints.push(`the gateway (${policy}) ended with ${end}; its output is in ${folder}`);
      });
      return gateway;
    });
  }
  complaints = [];

  pbx() {
    return this.once("pbx", async () => {
      const pbx = new Pbx(join(this.folder, "bed"), this.secret(`Pw${randomBytes(9).toString("hex")}`));
      mkdirSync(pbx.folder, { recursive: true });
      this.closing.push(() => pbx.stop());
      await pbx.start();
      return pbx;
    });
  }

  browser(name) {
    return this.once(name, async () => {
      const browser = await launch(name);
      this.closing.push(() => browser.close());
      return browser;
    });
  }

  site() {
    return this.once("site", async () => {
      const site = await servePage();
      this.closing.push(() => site.close());
      return site;
    });
  }

  /** A WAV file of a tone for a phone to play. */
  wav(hz, seconds, db) {
    return this.once(`wav-${hz}-${seconds}-${db}`, async () => {
      const path = join(this.folder, `tone-${hz}-${seconds}s${db}dB.wav`);
      writeWav(path, tone(hz, seconds, 8000, db), 8000);
      return path;
    });
  }

  /** Remembers a secret of this run: no_secrets.sh looks for it in all that the gateway wrote. */
  secret(value) {
    if (value && value.length >= 8) appendFileSync(join(this.folder, "secrets"), `${value}\n`, { mode: 0o600 });
    return value;
  }
  /** The secrets that a page was told: its token, and the ICE password of each description. */
  async secretsOf(page) {
    for (const frame of await page.received().catch(() => [])) {
      if (frame.message === "getUserData") this.secret(frame.data?.[0]?.authToken);
      if (frame.message === "setRemoteSDP") for (const [, password] of String(frame.data?.[1]).matchAll(/^a=ice-pwd:(\S+)/gm)) this.secret(password);
    }
  }

  /**
   * Whether a test may be run once more: only a gap is wrong, and it was not the gateway's. Either its own record of
   * the call shows none, or the machine was so busy with other things that everybody waited for a processor. Said aloud;
   * the first done once, the second twice at most.
   */
  async again(t, wrong, record, attempt) {
    if (!onlyGaps(wrong) || attempt > 2) return false;
    const busy = this.waited();
    if (busy > BUSY) {
      t.note(`${wrong.join("; ")}, but for ${Math.round(busy * 100)}% of the time something waited for a processor: once more`);
      return true;
    }
    const legs = legsOf(record);
    if (attempt > 1 || !legs.length || legs.some((leg) => leg.longest_gap_ms > 60)) return false;
    t.note(`${wrong.join("; ")}, but the gateway's record of the call shows at most ${Math.max(...legs.map((l) => l.longest_gap_ms))} ms: once more`);
    return true;
  }

  /** The share of the time since the last gateway was asked for in which some task of the machine waited for a processor. */
  waited() {
    const now = pressure();
    if (!now || !this.pressure) return 0;
    return (now.waited - this.pressure.waited) / (now.at - this.pressure.at);
  }

  async close() {
    for (const step of this.closing.reverse()) {
      try {
        await step();
      } catch (error) {
        this.complaints.push(`while ending: ${error.message}`);
      }
    }
    return this.complaints;
  }
}
