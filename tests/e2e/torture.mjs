// The torture messages of RFC 4475 and RFC 5118, bytes untouched, sent to the running gateway over UDP, and what each
// deserves (bed/torture/wanted.tsv) held against what comes back. Runs in a network namespace: answers go to the port
// that a message's Via names, and there all ports are ours.
import { createSocket } from "node:dgram";
import { createConnection } from "node:net";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { check, sleep, test } from "./lib/runner.mjs";

const folder = join(dirname(fileURLToPath(import.meta.url)), "..", "bed", "torture");

/**
 * What an element like ours says instead, and why. An INVITE of a stranger gets 404 before anything in it matters, so
 * that it learns nothing; we are no registrar.
 */
const INSTEAD = { INVITE: [404], REGISTER: [405, 501] };

const table = readFileSync(join(folder, "wanted.tsv"), "utf8").trim().split("\n").slice(1).map((line) => {
  const [file, section, wanted] = line.split("\t");
  return { file, section, wanted, bytes: readFileSync(join(folder, file)) };
});

/** The responses that are right for a message; an empty set: none may come. */
function right({ wanted, bytes }) {
  const text = bytes.toString("latin1");
  const method = /^(\S+) /.exec(text)?.[1] ?? "";
  if (/\(response\)/.test(wanted) || text.startsWith("SIP/2.0")) return { none: true };
  const codes = (wanted.match(/\b[1-6]\d\d\b/g) ?? []).map(Number);
  const accepts = /accept/.test(wanted);
  return {
    method,
    // An ACK is never answered.
    silent: method === "ACK",
    fits: (code) => codes.includes(code) || (accepts && code !== 400 && code < 500) || (code !== 400 && (INSTEAD[method] ?? []).includes(code)),
  };
}

/** The port that the topmost Via wants its answers at. */
function viaPort(bytes) {
  const via = /^(?:via|v)[ \t]*:[^]*?SIP[ \t\r\n]*\/[^]*?\/[ \t\r\n]*\S+[ \t\r\n]+(\[[^\]]*\]|[^\s:;,]+)(?:[ \t]*:[ \t]*(\d+))?/im.exec(bytes.toString("latin1"));
  return Number(via?.[2] ?? 5060);
}

/** Each message comes from a stranger of its own: one who rings again and again is answered ever more slowly. */
let strangers = 0;
const stranger = () => `127.1.${(++strangers >> 7) + 1}.${(strangers & 127) + 1}`;

function exchange(bytes, local, remote, waitMs) {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    const codes = [];
    const done = () => { try { socket.close(); } catch { /* closed by its error */ } resolve(codes); };
    socket.on("error", (error) => { codes.push(error.code); done(); });
    socket.on("message", (message) => {
      const code = Number(/^SIP\/2\.0 (\d{3})/.exec(message.toString("latin1"))?.[1]);
      if (code) codes.push(code);
    });
    socket.bind(local, stranger(), () => socket.send(bytes, remote, "127.0.0.1"));
    const end = Date.now() + waitMs;
    const timer = setInterval(() => {
      if (codes.some((code) => code >= 200) || Date.now() > end) { clearInterval(timer); done(); }
    }, 10);
  });
}

let pings = 0;
function options(port, transport) {
  const n = ++pings;
  return Buffer.from([
    `OPTIONS sip:127.0.0.1:${port} SIP/2.0`, `Via: SIP/2.0/${transport} 127.0.0.1:9;branch=z9hG4bKping${n};rport`, "Max-Forwards: 70",
    `From: <sip:ping@127.0.0.1>;tag=p${n}`, `To: <sip:127.0.0.1:${port}>`, `Call-ID: ping${n}@127.0.0.1`, "CSeq: 1 OPTIONS", "Content-Length: 0", "", "",
  ].join("\r\n"));
}

test("each torture message sent to the running gateway is answered as it deserves", async (t) => {
  const gateway = await t.world.gateway("relay");
  const port = Number(gateway.address("sip", "udp:").split(":").at(-1));
  const wrong = [];
  const results = {};
  check(table.length === 60, `${table.length} messages, not 60`);
  for (const row of table) {
    const { none, silent, fits, method } = right(row);
    const codes = await exchange(row.bytes, viaPort(row.bytes), port, none || silent ? 150 : 1000);
    const final = codes.find((code) => code >= 200);
    results[row.file] = final ?? codes[0] ?? 0;
    if (none || silent) {
      if (final !== undefined) wrong.push(`${row.file} (${row.section}): answered ${final}, must get no answer`);
    } else if (final === undefined) {
      wrong.push(`${row.file} (${row.section}): ${method} got no answer, wanted: ${row.wanted}`);
    } else if (!fits(final)) {
      wrong.push(`${row.file} (${row.section}): ${method} got ${final}, wanted: ${row.wanted}`);
    }
    const alive = await exchange(options(port, "UDP"), 0, port, 1000);
    check(alive.some((code) => code >= 200), `after ${row.file} the gateway answers no OPTIONS any more`);
  }
  t.measure({ results });
  check(wrong.length === 0, `${wrong.length} of ${table.length}:\n${wrong.join("\n")}`);
}, 150);

test("each torture message over TCP, byte by byte or whole, leaves the gateway answering others", async (t) => {
  const gateway = await t.world.gateway("relay");
  const port = Number(gateway.address("sip", "tcp:").split(":").at(-1));
  const results = {};
  for (const row of table) {
    const said = [];
    for (const split of [false, true]) {
      const socket = createConnection({ port, host: "127.0.0.1", localAddress: stranger(), noDelay: true });
      let heard = "";
      let closed = false;
      socket.on("data", (data) => (heard += data.toString("latin1")));
      socket.on("error", () => (closed = true));
      socket.on("close", () => (closed = true));
      await new Promise((resolve) => socket.once("connect", resolve).once("error", resolve));
      if (split) for (let i = 0; i < row.bytes.length && !closed; i++) socket.write(row.bytes.subarray(i, i + 1));
      else socket.write(row.bytes);
      const end = Date.now() + 250;
      while (!closed && !/^SIP\/2\.0 [2-6]/m.test(heard) && Date.now() < end) await sleep(5);
      said.push(Number(/^SIP\/2\.0 ([2-6]\d\d)/m.exec(heard)?.[1] ?? 0) || (closed ? "closed" : "none"));
      socket.destroy();
    }
    // Refused and closed while we were still writing: the system may throw the refusal away unread.
    if (said[1] === "closed" && said[0] >= 400) said[1] = said[0];
    results[row.file] = said[0] === said[1] ? said[0] : said;
  }
  t.measure({ results });
  const differ = Object.entries(results).filter(([, said]) => Array.isArray(said)).map(([file]) => file);
  const alive = await exchange(options(port, "UDP"), 0, Number(gateway.address("sip", "udp:").split(":").at(-1)), 1000);
  check(alive.some((code) => code >= 200), "the gateway answers no OPTIONS any more");
  check(differ.length === 0, `framed otherwise when split: ${differ.map((f) => `${f} ${results[f]}`).join(", ")}`);
}, 150);
