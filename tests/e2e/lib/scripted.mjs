// The scripted phones of tests/peers as objects: commands go in and come back done, with the times at which they began and ended.
import { spawn } from "node:child_process";
import { createWriteStream, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { freePorts } from "./gateway.mjs";
import { until } from "./runner.mjs";

const tests = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const peers = join(tests, "peers");
const bed = join(tests, "bed");
/** A virtual environment with what peers/requirements.txt names. */
const venv = process.env.PEERS_PYTHON ?? join(peers, ".venv", "bin", "python3");

/** A process that takes JSON lines and gives JSON lines; all that it said is kept in a file. */
class Scripted {
  events = [];
  seen = 0;
  number = 0;

  run(script, args, log, python = "python3") {
    const file = createWriteStream(log);
    this.child = spawn(python, [join(peers, script), ...args.map(String)], { stdio: ["pipe", "pipe", "pipe"] });
    this.gone = new Promise((resolve) => this.child.on("exit", resolve).on("error", resolve));
    this.child.stderr.on("data", (data) => file.write(data));
    this.child.stdin.on("error", () => {});
    createInterface({ input: this.child.stdout }).on("line", (line) => {
      if (line.length < 4000) file.write(`${line}\n`);
      try {
        this.events.push(JSON.parse(line));
      } catch {
        // Not an event.
      }
    });
  }

  say(command) {
    this.child.stdin.write(`${JSON.stringify(command)}\n`);
  }

  /** Has a command done; times are in milliseconds. */
  async do(what, more = {}, seconds = 10) {
    const n = ++this.number;
    this.say({ do: what, n, ...more });
    let done;
    await until(`the scripted phone has done ${what}`, seconds, () => {
      done = this.events.find((event) => event.event === "done" && event.n === n);
      return done ?? (this.child.exitCode !== null ? {} : null);
    });
    if (!done) throw new Error("the scripted phone has ended");
    if (done.error) throw new Error(`the scripted phone could not ${what}: ${done.error}`);
    if (done.status >= 300) throw new Error(`the phone's ${what} was answered ${done.status}`);
    return { ...done, begun: done.begun * 1000, ended: done.ended * 1000 };
  }

  /** The next event of that kind since the last that was waited for. */
  async expect(kind, seconds = 10, is = () => true) {
    let found;
    await until(`the scripted phone says ${kind}`, seconds, () => {
      const at = this.events.findIndex((event, i) => i >= this.seen && event.event === kind && is(event));
      if (at < 0) return null;
      this.seen = at + 1;
      found = this.events[at];
      return true;
    });
    return found;
  }

  async stop() {
    if (this.child.exitCode !== null) return;
    this.child.stdin.end('{"do": "quit"}\n');
    const timer = setTimeout(() => this.child.kill("SIGKILL"), 3000);
    await this.gone;
    clearTimeout(timer);
  }
}

/** A phone at the PBX: SIP and RTP of tests/peers/sip_phone.py. */
export class SipPhone extends Scripted {
  static async start(pbx, { hz = 1010, db = -20, listen = 620, codecs = "0,8", answer = "auto", refer = 603 } = {}) {
    const phone = new SipPhone();
    phone.name = pbx.user();
    phone.run("sip_phone.py", [
      phone.name, pbx.password, "127.0.0.1", pbx.port, "--hz", hz, "--db", db, "--listen", listen, "--codecs", codecs, "--answer", answer, "--refer", refer,
    ], join(pbx.folder, `sip-phone-${phone.name}.log`));
    const { code } = await phone.expect("register");
    if (code !== 200) throw new Error(`the scripted phone's REGISTER was answered ${code}`);
    return phone;
  }
}

/** Only the RTP of one, for a phone that SIPp signals. */
export class RtpPhone extends Scripted {
  static async start(folder, { remote = 0, hz = 1010, db = -20, listen = 620, codec = 0 } = {}) {
    const phone = new RtpPhone();
    phone.run("rtp_phone.py", ["127.0.0.1", remote, "--hz", hz, "--db", db, "--listen", listen, "--codec", codec], join(folder, `rtp-phone-${Date.now()}-${hz}.log`));
    phone.port = (await phone.expect("ready")).port;
    return phone;
  }
}

/** A scenario with its @NAMES@ filled in, and what stands between "for NAME in A B" and "end" once for each. */
const filled = (text, names) =>
  text
    .replace(/ *<!-- for (\w+) in ([\w ]+) -->\n(.*?) *<!-- end -->\n/gs, (_, name, each, body) => each.split(" ").map((one) => body.replaceAll(`@${name}@`, one)).join(""))
    .replace(/@(\w+)@/g, (whole, name) => names[name] ?? whole);

/** SIPp as the answering side, at a port of its own, with a scenario of tests/bed/sipp. */
export class Sipp {
  static async start(t, scenario, names = {}) {
    const { UAS } = freePorts("UAS");
    const folder = join(t.world.folder, `sipp-${scenario}-${UAS}`);
    mkdirSync(folder, { recursive: true });
    const sipp = new Sipp();
    Object.assign(sipp, { port: Number(UAS), folder, own: Object.values(names).map(String) });
    const file = join(folder, `${scenario}.xml`);
    writeFileSync(file, filled(readFileSync(join(bed, "sipp", `${scenario}.xml`), "utf8"), names));
    const args = ["-sf", file, "-i", "127.0.0.1", "-p", UAS, "-mi", "127.0.0.1", "-nostdin", "-trace_err", "-error_file", join(folder, "errors.log"), "-trace_msg", "-message_file", join(folder, "messages.log")];
    sipp.child = spawn("sipp", args, { cwd: folder, stdio: "ignore" });
    sipp.gone = new Promise((resolve) => sipp.child.on("exit", resolve).on("error", resolve));
    t.after(() => sipp.stop());
    await until("SIPp listens", 5, () => {
      if (sipp.child.exitCode !== null) throw new Error(`SIPp ended at once: see ${folder}`);
      // An IPv4 socket of that port: 0100007F:PORT.
      const wanted = `0100007F:${sipp.port.toString(16).toUpperCase().padStart(4, "0")}`;
      return readFileSync("/proc/net/udp", "utf8").includes(wanted) || null;
    });
    return sipp;
  }

  /** The SDK's sipOptions of an account that sends its calls here and registers nowhere. */
  sip(login, more = {}) {
    return { login, authenticationName: login, password: "", domain: "127.0.0.1", outboundProxy: "127.0.0.1", port: String(this.port), registerRequired: false, ...more };
  }

  /** Where the last offer that came wants its media: [ADDRESS, PORT]. */
  media() {
    const said = readFileSync(join(this.folder, "messages.log"), "latin1");
    return ["127.0.0.1", Number([...said.matchAll(/^m=audio (\d+) /gm)].map((found) => found[1]).find((port) => !this.own.includes(port)))];
  }

  async stop() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill("SIGKILL");
    await this.gone;
  }
}

/** A page whose media are aiortc's: tests/peers/aiortc_call.py. */
export class AiortcPage extends Scripted {
  static async start(t, gateway, pbx, { hz = 620, db = -20, listen = 1010 } = {}) {
    const page = new AiortcPage();
    page.login = pbx.user();
    page.run("aiortc_call.py", [gateway.ws, page.login, pbx.password, pbx.domain, pbx.port, "--hz", hz, "--db", db, "--listen", listen], join(pbx.folder, `aiortc-${page.login}.log`), venv);
    t.after(() => page.stop());
    await page.expect("registered");
    return page;
  }
  status(wanted, seconds) {
    return this.expect("status", seconds, (event) => event.status === wanted);
  }
}
