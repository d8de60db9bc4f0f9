// Starts the browsers of the tests, serves them the test page, and gives each test a page that it can talk to.
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, extname, join, normalize } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";

const here = dirname(fileURLToPath(import.meta.url));
const pageFolder = join(here, "..", "page");
const sdkFolder = join(here, "..", "node_modules", "@flashphoner", "websdk");
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8" };
/** A recording of some minutes; a page that sends more has gone wrong. */
const MAX_RECORDING_BYTES = 64 << 20;

const CHROMIUM_FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
  "--autoplay-policy=no-user-gesture-required", "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
];
/** WebRTC's SRTP and DTLS tell of each packet that fails, and of each transport that they set up. */
const VMODULE = "srtp_session=3,srtp_transport=3,dtls_srtp_transport=3,dtls_transport=3";
/** Of which this much is kept. */
const MAX_LOG_LINES = 20_000;
const FIREFOX_PREFERENCES = {
  "media.navigator.streams.fake": true,
  "media.navigator.permission.disabled": true,
  "media.peerconnection.ice.loopback": true,
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "media.autoplay.default": 0,
  "media.autoplay.blocking_policy": 0,
  "media.autoplay.block-webaudio": false,
};

/** Serves the test page and the SDK as it came, and takes recordings. */
export async function servePage() {
  const recordings = new Map();
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, "http://localhost");
    try {
      if (request.method === "POST" && url.pathname.startsWith("/recordings/")) {
        const chunks = [];
        let size = 0;
        for await (const chunk of request) {
          size += chunk.length;
          if (size > MAX_RECORDING_BYTES) throw new Error("too long a recording");
          chunks.push(chunk);
        }
        const bytes = Buffer.concat(chunks);
        const samples = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
        recordings.set(decodeURIComponent(url.pathname.slice(12)), { samples, rate: Number(url.searchParams.get("rate")) });
        response.writeHead(204).end();
        return;
      }
      const sdk = url.pathname.startsWith("/sdk/");
      const folder = sdk ? sdkFolder : pageFolder;
      const path = normalize(join(folder, sdk ? url.pathname.slice(4) : url.pathname === "/" ? "index.html" : url.pathname));
      if (!path.startsWith(folder)) throw new Error("outside");
      const body = await readFile(path);
      response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://localhost:${server.address().port}/`,
    recordings,
    close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }),
  };
}

/**
 * A sound card that is not there: Firefox runs no AudioContext without one. PulseAudio with a sink that goes nowhere,
 * reached by a socket in `folder`.
 */
async function soundCard(folder) {
  const socket = join(folder, "sound");
  const child = spawn("pulseaudio", [
    "-n", "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=yes", "--log-level=error",
    "--load=module-null-sink rate=48000", `--load=module-native-protocol-unix auth-anonymous=1 socket=${socket}`,
  ], { stdio: "ignore", env: { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder } });
  let failure = null;
  child.on("error", (error) => (failure = error));
  child.on("exit", (code) => (failure ??= new Error(`exit code ${code}`)));
  for (let i = 0; i < 100 && !existsSync(socket) && !failure; i++) await new Promise((resolve) => setTimeout(resolve, 50));
  if (!existsSync(socket)) {
    child.kill();
    throw new Error(`pulseaudio, which Firefox needs, does not start: ${failure?.message ?? "no socket"}`);
  }
  return { server: `unix:${socket}`, close: () => child.kill() };
}

/** Starts "chromium" or "firefox" with a profile of its own. */
export async function launch(name) {
  const executablePath = { chromium: process.env.CHROMIUM ?? "/usr/bin/chromium", firefox: process.env.FIREFOX ?? "/usr/bin/firefox-esr" }[name];
  if (!existsSync(executablePath)) throw new Error(`${name} is not installed (${executablePath})`);
  const folder = mkdtempSync(join(tmpdir(), `${name}-`));
  const profile = join(folder, "profile");
  mkdirSync(profile);
  // The gateway's certificate is its own; its page is to work once the user has said so.
  const common = { acceptInsecureCerts: true, executablePath, headless: true, userDataDir: profile, protocolTimeout: 120_000 };
  const log = [];
  let card = null;
  let browser;
  try {
    if (name === "firefox") {
      card = await soundCard(folder);
      browser = await puppeteer.launch({ ...common, browser: "firefox", extraPrefsFirefox: FIREFOX_PREFERENCES, env: { ...process.env, PULSE_SERVER: card.server, HOME: folder } });
    } else {
      const args = [...CHROMIUM_FLAGS, "--enable-logging=stderr", `--vmodule=${VMODULE}`];
      browser = await puppeteer.launch({ ...common, browser: "chrome", args });
      createInterface({ input: browser.process().stderr }).on("line", (line) => {
        if (/webrtc\/\S*(srtp|dtls)/.test(line) && log.length < MAX_LOG_LINES) log.push(line);
      });
    }
  } catch (error) {
    card?.close();
    throw error;
  }
  return {
    name,
    version: await browser.version(),
    browser,
    /** What its SRTP and DTLS have said so far; Chromium only. */
    log,
    async close() {
      await browser.close().catch(() => browser.process()?.kill("SIGKILL"));
      card?.close();
      rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    },
  };
}

/** One page with the rig and the SDK in it, in a browser context of its own. */
export class TestPage {
  static async open({ browser }, site) {
    const context = await browser.createBrowserContext();
    const page = await context.newPage();
    const test = new TestPage(page, context, site);
    page.on("pageerror", (error) => test.errors.push(String(error?.message ?? error)));
    await page.goto(site.url);
    await page.waitForFunction("window.rig && rig.ready", { timeout: 20_000 });
    return test;
  }

  constructor(page, context, site) {
    Object.assign(this, { page, context, site, errors: [], seen: 0 });
  }

  run(script, ...args) {
    return this.page.evaluate(script, ...args);
  }
  microphone(tone) {
    return this.run((tone) => rig.microphone(tone), tone);
  }
  connect(url, sip, more) {
    return this.run((url, sip, more) => rig.connect(url, sip, more ?? {}), url, sip ?? null, more ?? null);
  }
  dial(callee, more) {
    return this.run((callee, more) => rig.dial(callee, more ?? {}), callee, more ?? null);
  }
  answer() {
    return this.run(() => rig.answer());
  }
  hangup() {
    return this.run(() => rig.hangup());
  }
  events() {
    return this.run(() => rig.events);
  }
  received() {
    return this.run(() => rig.received);
  }

  /** Waits for the first event of that kind among those not waited for yet, and goes on behind it. */
  async expect(of, statuses, seconds = 10) {
    const wanted = [statuses].flat();
    const end = Date.now() + seconds * 1000;
    for (;;) {
      const events = await this.events();
      for (let i = this.seen; i < events.length; i++) {
        if (events[i].of === of && wanted.includes(events[i].status)) {
          this.seen = i + 1;
          return events[i];
        }
      }
      if (Date.now() > end) {
        const told = events.map((e) => `${e.of} ${e.status}${e.info ? ` (${e.info})` : ""}`).join(", ") || "nothing";
        const errors = this.errors.length ? `; errors in the page: ${this.errors.join(" | ")}` : "";
        throw new Error(`the page did not hear ${of} ${wanted.join(" or ")} within ${seconds} s; it heard: ${told}${errors}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  }

  /** The last frame of that name that came over the wire, its first argument. */
  async lastFrame(name) {
    return (await this.received()).filter((frame) => frame.message === name).at(-1)?.data?.[0];
  }

  stats() {
    return this.run(() => rig.stats());
  }
  record() {
    return this.run(() => rig.record());
  }
  /** Waits until so much is recorded. */
  async recorded(seconds) {
    await this.page.waitForFunction((seconds) => rig.seconds() >= seconds, { timeout: (seconds + 15) * 1000, polling: 100 }, seconds);
  }
  /** Ends the recording: its samples and their rate, and how it lies on the wall's clock (measure/presence.mjs). */
  async keep(name) {
    const lags = await this.run(() => rig.recording.lags);
    await this.run((name) => rig.keep(name), name);
    const recording = this.site.recordings.get(name);
    this.site.recordings.delete(name);
    return { ...recording, lags };
  }

  async close() {
    await this.context.close().catch(() => {});
  }
}
