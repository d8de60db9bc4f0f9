// The gateway under test: the real binary with free ports everywhere, its output kept, its call records read.
import { execFileSync, spawn } from "node:child_process";
import { createWriteStream, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { sleep, until } from "./runner.mjs";

const bed = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "bed");
const READY_WITHIN_S = 20;

/** Ports for what takes no "any free one": a block that is free now. */
export function freePorts(...wanted) {
  const out = execFileSync("python3", [join(bed, "lib", "free_ports.py"), "127.0.0.1", ...wanted], { encoding: "utf8" });
  return Object.fromEntries([...out.matchAll(/\{(\w+):=([\d-]+)\}/g)].map(([, name, value]) => [name, value]));
}

/** The environment without TRUNKGATE_…: those are the gateway's settings, and the tests' own would be wrong ones. */
export const ownEnvironment = () => Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TRUNKGATE_")));

export class Gateway {
  /** `settings`: more keys, values as TOML; `more`: further arguments. */
  static async start(folder, settings = {}, more = []) {
    const binary = process.env.TRUNKGATE_BIN;
    if (!binary) throw new Error("TRUNKGATE_BIN does not name the gateway's binary");
    mkdirSync(folder, { recursive: true });
    const { WEBRTC, RTP } = freePorts("WEBRTC=8", "RTP=400");
    const all = {
      "signaling.ws": '"127.0.0.1:0"',
      "signaling.wss": '"127.0.0.1:0"',
      "sip.listen": '["udp:127.0.0.1:0", "tcp:127.0.0.1:0"]',
      "admin.listen": '"127.0.0.1:0"',
      "media.address": JSON.stringify(process.env.E2E_MEDIA_ADDRESS ?? "127.0.0.1"),
      // The phones of the bed are on loopback, whatever address the browser needs.
      "media.rtp.bind": '"127.0.0.1"',
      "media.webrtc.port": WEBRTC.split("-")[0],
      "media.rtp.ports": `"${RTP}"`,
      data_dir: JSON.stringify(join(folder, "data")),
      "log.level": '"info"',
      ...settings,
    };
    const sets = Object.entries(all).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
    const gateway = new Gateway(folder);
    gateway.child = spawn(binary, ["run", ...more, ...sets], { stdio: ["ignore", "pipe", "pipe"], env: ownEnvironment() });
    gateway.gone = new Promise((resolve) => {
      gateway.child.on("error", (error) => resolve((gateway.end = `it could not be started: ${error.message}`)));
      gateway.child.on("exit", (code, signal) => resolve((gateway.end = signal ?? `exit code ${code}`)));
    });
    for (const name of ["stdout", "stderr"]) {
      const file = createWriteStream(join(folder, `${name}.log`));
      createInterface({ input: gateway.child[name] }).on("line", (line) => {
        file.write(`${line}\n`);
        gateway.read(line);
      });
    }
    try {
      await until("the gateway says that it is ready", READY_WITHIN_S, () => gateway.ready || gateway.end);
    } catch (error) {
      await gateway.stop();
      throw new Error(`${error.message}; its output is in ${folder}`);
    }
    if (!gateway.ready) throw new Error(`the gateway ended before it was ready (${gateway.end}): ${gateway.lines.slice(-5).join(" / ")}`);
    return gateway;
  }

  constructor(folder) {
    Object.assign(this, { folder, listeners: [], lines: [], records: [], ready: false, end: null });
  }

  read(line) {
    this.lines.push(line);
    if (this.lines.length > 2000) this.lines.shift();
    const listening = /^listening (\S+) (\S+)/.exec(line);
    if (listening) this.listeners.push({ name: listening[1], address: listening[2] });
    if (/^ready\b/.test(line)) this.ready = true;
    const record = /call_record\s+(\{.*\})/.exec(line);
    if (record) {
      try {
        this.records.push(JSON.parse(record[1]));
      } catch {
        this.records.push({ unreadable: record[1] });
      }
    }
  }

  address(name, prefix = "") {
    const found = this.listeners.find((l) => l.name === name && l.address.startsWith(prefix));
    if (!found) throw new Error(`the gateway does not say where ${name} listens`);
    return found.address.slice(prefix.length);
  }
  get ws() {
    return `ws://${this.address("signaling.ws")}/`;
  }
  get page() {
    return `http://localhost:${this.address("signaling.ws").split(":").at(-1)}/`;
  }
  get securePage() {
    return `https://localhost:${this.address("signaling.wss").split(":").at(-1)}/`;
  }
  get admin() {
    return `http://${this.address("admin")}`;
  }

  /** The record of the next call to end after `since` records; null when none comes in time. */
  async recordAfter(since, seconds = 5) {
    try {
      return await until("a call record", seconds, () => this.records[since]);
    } catch {
      return null;
    }
  }

  /** Ends it as a crash would. */
  async kill() {
    this.child.kill("SIGKILL");
    await this.gone;
  }

  async stop() {
    if (!this.child || this.end) return this.end;
    this.child.kill("SIGTERM");
    // Pages get 4 s and SIP peers that answer no BYE another 4 s.
    await Promise.race([this.gone, sleep(12_000)]);
    if (!this.end) {
      this.child.kill("SIGKILL");
      await this.gone;
      return "it had to be killed";
    }
    return this.end;
  }
}

/** Every leg in a record, wherever it stands: whatever has a `longest_gap_ms`. */
export function legsOf(record) {
  const legs = [];
  const walk = (value, path) => {
    if (!value || typeof value !== "object") return;
    if ("longest_gap_ms" in value) legs.push({ where: path, ...value });
    else for (const [key, inner] of Object.entries(value)) walk(inner, path ? `${path}.${key}` : key);
  };
  walk(record, "");
  return legs;
}
