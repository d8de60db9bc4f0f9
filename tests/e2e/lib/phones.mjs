// Kamailio and the baresip phones of the test bed, as objects. Each is ended by the process id that it wrote.
import { execFile, spawn } from "node:child_process";
import { createConnection } from "node:net";
import { dirname, join } from "node:path";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createInterface } from "node:readline";
import { readWav } from "../../measure/wav.mjs";
import { sleep, until } from "./runner.mjs";
import { freePorts } from "./gateway.mjs";

const bed = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "bed");
const call = promisify(execFile);

/** Runs a script of the bed; what it printed is the error's text. */
async function script(path, args, env, seconds = 30) {
  try {
    // Output goes to a file of the script's own: a server that it leaves behind must not hold our pipe.
    return await call("bash", ["-c", '"$0" "$@" >"$TESTBED_RUN/script.log" 2>&1 </dev/null', join(bed, path), ...args], { env, timeout: seconds * 1000 });
  } catch {
    const log = existsSync(join(env.TESTBED_RUN, "script.log")) ? readFileSync(join(env.TESTBED_RUN, "script.log"), "utf8") : "";
    throw new Error(`${path} ${args.join(" ")} failed: ${log.trim().split("\n").slice(-5).join(" / ")}`);
  }
}

/** The processes that `pid` has started, and those that they have. */
function descendants(pid) {
  const parents = new Map();
  for (const name of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      // "pid (name) state ppid …"; the name may hold anything.
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    } catch {
      // It has ended meanwhile.
    }
  }
  const of = (parent) => [...parents].filter(([, p]) => p === parent).flatMap(([child]) => [child, ...of(child)]);
  return of(pid);
}

export class Pbx {
  /**
   * `users` accounts with one password, numbered from 1001. With `uac` ({gateway: "ADDR:PORT", user, password, realm}) it
   * registers there as a trunk does, and telephone numbers of its phones go out that way.
   */
  constructor(folder, password, users = 400, uac = null) {
    this.folder = folder;
    this.password = password;
    this.next = 1001;
    const names = Array.from({ length: users }, (_, i) => String(1001 + i)).join(" ");
    const ports = freePorts("PBX_SIP_PORT", "PBX_SIPS_PORT", "PBX_XCAP_PORT", "PBX_MSRP_PORT", "SIPP_UAS_PORT");
    this.env = { ...process.env, ...ports, TESTBED_RUN: folder, PBX_USERS: names, PBX_PASSWORD: password };
    if (uac) {
      Object.assign(this.env, { PBX_UAC_GATEWAY: uac.gateway, PBX_UAC_USER: uac.user, PBX_UAC_PASSWORD: uac.password, PBX_UAC_REALM: uac.realm });
    }
    this.port = Number(ports.PBX_SIP_PORT);
    this.securePort = Number(ports.PBX_SIPS_PORT);
    /** Who signed its certificate: made anew at each start. */
    this.ca = join(folder, "kamailio", "ca.pem");
    this.domain = "pbx.test";
  }
  start() {
    return script("kamailio/start.sh", [], this.env);
  }
  stop() {
    return script("kamailio/stop.sh", [], this.env);
  }
  /** Ends it without a goodbye, as a crash would: its workers too, which would go on serving without their parent. */
  kill() {
    const main = Number(readFileSync(join(this.folder, "kamailio", "main.pid"), "utf8"));
    for (const pid of [main, ...descendants(main)]) process.kill(pid, "SIGKILL");
    return script("kamailio/stop.sh", [], this.env);
  }
  /** An account nobody has used in this run: bindings of other tests cannot ring it. */
  user() {
    return String(this.next++);
  }
  /** The port for a transport. */
  at(transport) {
    return transport === "tls" ? this.securePort : this.port;
  }
  /** The SDK's sipOptions for an account. */
  sip(login, { transport = "udp", password = this.password } = {}) {
    const proxy = transport === "udp" ? "127.0.0.1" : `sip:127.0.0.1:${this.at(transport)};transport=${transport}`;
    return { login, authenticationName: login, password, domain: this.domain, outboundProxy: proxy, port: String(this.port), registerRequired: true };
  }
}

/** One baresip with its control connection. */
export class Phone {
  /** `video`: "vp8" or "h264"; `account`: more parameters of its account, such as ";mediaenc=srtp". */
  static async start(pbx, { play, codecs = "PCMU/8000/1", modules = "", answer = "auto", transport = "udp", video = "", account = "" }) {
    const phone = new Phone();
    const ports = freePorts("CTRL", "RTP=100");
    phone.name = pbx.user();
    phone.transport = transport;
    phone.folder = join(pbx.folder, `baresip-${phone.name}`);
    phone.env = {
      ...pbx.env, BARESIP_CTRL_PORT: ports.CTRL, BARESIP_RTP_PORTS: ports.RTP, BARESIP_PLAY: play, BARESIP_CODECS: codecs,
      BARESIP_MODULES: modules, BARESIP_ANSWER: answer, BARESIP_TRANSPORT: transport, BARESIP_VIDEO: video, BARESIP_ACCOUNT: account,
    };
    try {
      await script("baresip/start.sh", [phone.name], phone.env);
      await phone.attach(Number(ports.CTRL));
    } catch (error) {
      await phone.stop();
      throw error;
    }
    return phone;
  }

  events = [];
  answers = new Map();
  seen = 0;

  async attach(port) {
    this.socket = createConnection({ host: "127.0.0.1", port });
    await new Promise((resolve, reject) => this.socket.once("connect", resolve).once("error", reject));
    this.socket.on("error", () => {});
    let buffer = Buffer.alloc(0);
    this.socket.on("data", (data) => {
      buffer = Buffer.concat([buffer, data]);
      for (;;) {
        const colon = buffer.indexOf(58);
        const length = Number(buffer.toString("latin1", 0, Math.max(colon, 0)));
        if (colon < 0 || buffer.length < colon + length + 2) return;
        const frame = JSON.parse(buffer.toString("utf8", colon + 1, colon + 1 + length));
        buffer = buffer.subarray(colon + length + 2);
        if (frame.event) this.events.push(frame);
        if (frame.response) this.answers.get(frame.token)?.(frame);
      }
    });
  }

  command(command, params = "") {
    const token = `t${Math.random()}`;
    const body = Buffer.from(JSON.stringify({ command, params, token }));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`baresip did not answer ${command}`)), 5000);
      this.answers.set(token, (frame) => {
        clearTimeout(timer);
        this.answers.delete(token);
        resolve(String(frame.data ?? "").replace(/\x1b\[[0-9;]*m/g, ""));
      });
      this.socket.write(Buffer.concat([Buffer.from(`${body.length}:`), body, Buffer.from(",")]));
    });
  }

  async expect(types, seconds = 10) {
    const wanted = [types].flat();
    let found;
    await until(`baresip says ${wanted.join(" or ")}; it said ${this.events.slice(this.seen).map((e) => e.type).join(", ") || "nothing"}`, seconds, () => {
      const at = this.events.findIndex((event, i) => i >= this.seen && wanted.includes(event.type));
      if (at < 0) return null;
      this.seen = at + 1;
      found = this.events[at];
      return true;
    });
    return found;
  }

  dial(user, pbx) {
    const parameter = this.transport === "tls" ? ";transport=tls" : "";
    return this.command("dial", `sip:${user}@127.0.0.1:${pbx.at(this.transport)}${parameter}`);
  }

  /** The next picture that it decodes, as a PNG of that name, with the moment in which it was there. */
  async picture(name, seconds = 5) {
    const path = join(this.folder, name);
    await this.command("snapshot_recv", path);
    return until("baresip has decoded a picture", seconds, () => {
      try {
        // Written piece by piece: whole once it ends as a PNG does.
        const png = readFileSync(path);
        return png.subarray(-8, -4).toString("latin1") === "IEND" ? { path, png, at: statSync(path).mtimeMs } : null;
      } catch {
        return null;
      }
    });
  }

  /** Whether it is in no call at all. */
  async idle(seconds = 5) {
    await until("baresip has no call left", seconds, async () => /no active calls|\(0\)|^\s*$/i.test(await this.command("listcalls")) || null);
  }

  /** The newest recording of what it heard, null if there is none. */
  heard() {
    return this.recording("-dec.wav");
  }
  /** What it really sent: its resampler does not keep the level of the file that it plays. */
  said() {
    return this.recording("-enc.wav");
  }
  recording(end) {
    const folder = join(this.folder, "rec");
    const files = readdirSync(folder).filter((f) => f.endsWith(end)).map((f) => join(folder, f));
    if (!files.length) return null;
    files.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
    return readWav(files[0]);
  }

  async stop() {
    this.socket?.destroy();
    await script("baresip/stop.sh", [this.name], this.env).catch(() => {});
    await sleep(50);
  }
}

/** A PJSIP phone: commands in, events out. It answers by itself, and records anew whenever its media begin anew. */
export class PjsipPhone {
  static async start(pbx, { play, answer = "200", more = [] }) {
    const phone = new PjsipPhone();
    phone.name = pbx.user();
    phone.file = join(pbx.folder, `pjsip-${phone.name}.wav`);
    const python = join(bed, "..", "peers", ".venv", "bin", "python3");
    if (!existsSync(python)) throw new Error(`PJSIP is not installed: ${python} does not exist`);
    const args = [join(bed, "pjsip", "agent.py"), phone.name, pbx.password, "127.0.0.1", String(pbx.port), "--answer", answer, "--play", play, "--record", phone.file, ...more];
    phone.child = spawn(python, args, { stdio: ["pipe", "pipe", "ignore"] });
    phone.gone = new Promise((resolve) => phone.child.on("exit", resolve).on("error", resolve));
    createInterface({ input: phone.child.stdout }).on("line", (line) => {
      try {
        phone.events.push(JSON.parse(line));
      } catch {
        // Not an event.
      }
    });
    await phone.expect((event) => event.event === "register" && event.code === 200, "it registered");
    return phone;
  }

  events = [];
  seen = 0;

  say(command) {
    this.child.stdin.write(`${command}\n`);
  }

  /** The next event of that kind since the last one that was expected. */
  async expect(is, what, seconds = 10) {
    let found;
    await until(`the PJSIP phone says that ${what}`, seconds, () => {
      const at = this.events.findIndex((event, n) => n >= this.seen && is(event));
      if (at < 0) return false;
      this.seen = at + 1;
      found = this.events[at];
      return true;
    });
    return found;
  }

  /** The newest recording, whole once the phone has been stopped. */
  heard() {
    const last = this.events.filter((event) => event.event === "recording").at(-1);
    return last ? readWav(last.file) : null;
  }

  async stop() {
    if (this.child.exitCode !== null) return;
    this.child.stdin.end("quit\n");
    await Promise.race([this.gone, sleep(4000)]);
    if (this.child.exitCode === null) this.child.kill("SIGKILL");
    await this.gone;
  }
}
