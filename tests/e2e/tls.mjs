// SIP over TLS with Kamailio and baresip, and certificates that are changed while calls go on.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { TestPage } from "../browser/lib/browsers.mjs";
import { callIn } from "./calls.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { check, sleep, test, until } from "./lib/runner.mjs";

for (const direction of ["out", "in"]) {
  const who = direction === "out" ? "the page calls the phone" : "the phone calls the page";
  const cell = { page: "PCMU", phone: "PCMU", policy: "relay", road: "relayed", direction, transport: "tls" };
  callIn("chromium", `${who} through Kamailio, over TLS on both legs, and both hear each other for 20 s`, cell);
}

/** A self-signed certificate of its own number, as files in `folder`. */
function certificate(folder, number) {
  mkdirSync(folder, { recursive: true });
  const args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"];
  execFileSync("openssl", [
    ...args, "-subj", `/CN=certificate ${number}`, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", join(folder, `${number}.key`),
    "-out", join(folder, `${number}.pem`),
  ], { stdio: "ignore" });
}

/** Whose certificate a new handshake shows. */
function shown(address) {
  const [host, port] = address.split(":");
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false, timeout: 5000 }, () => {
      resolve(socket.getPeerCertificate().subject.CN);
      socket.destroy();
    });
    socket.on("error", reject).on("timeout", () => socket.destroy(new Error("no handshake")));
  });
}

test("new certificates of SIP, wss and https are shown within seconds, without a restart, and a call goes on", async (t) => {
  const folder = join(t.world.folder, "certificates");
  for (const number of [1, 2]) certificate(folder, number);
  const use = (number) => {
    for (const kind of ["pem", "key"]) copyFileSync(join(folder, `${number}.${kind}`), join(folder, `now.${kind}`));
  };
  use(1);
  const [chain, key] = ["pem", "key"].map((kind) => JSON.stringify(join(folder, `now.${kind}`)));
  const gateway = await Gateway.start(join(folder, "gateway"), {
    "sip.listen": '["udp:127.0.0.1:0", "tls:127.0.0.1:0"]', "sip.certificate": chain, "sip.key": key, "signaling.certificate": chain, "signaling.key": key,
  });
  t.after(() => gateway.stop());
  const places = { sip: gateway.address("sip", "tls:"), wss: gateway.address("signaling.wss") };
  const all = async () => Object.fromEntries(await Promise.all(Object.entries(places).map(async ([name, at]) => [name, await shown(at)])));
  const both = (number) => ({ sip: `certificate ${number}`, wss: `certificate ${number}` });
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  check(same(await all(), both(1)), `at first ${JSON.stringify(await all())} is shown`);

  const page = await TestPage.open(await t.world.browser("chromium"), await t.world.site());
  t.after(() => page.close());
  await page.microphone({ hz: 620, db: -20 });
  await page.connect(gateway.ws);
  await page.expect("session", "ESTABLISHED");
  await page.dial("echo");
  await page.expect("call", "ESTABLISHED", 20);

  const begun = Date.now();
  use(2);
  await until("both show the new certificate", 15, async () => same(await all(), both(2)));
  t.measure({ seconds_until_shown: (Date.now() - begun) / 1000 });
  writeFileSync(join(folder, "now.pem"), "-----BEGIN CERTIFICATE-----\nMIIB");
  await until("the log names the file that does not serve", 15, () => gateway.lines.some((line) => /sip\.certificate.*now\.pem.*stays/.test(line)));
  check(same(await all(), both(2)), `with a broken file ${JSON.stringify(await all())} is shown`);
  const over = (await page.received()).some((frame) => frame.message === "finish");
  check(!over, "the call did not go on");
  await page.hangup();
  await page.expect("call", "FINISH");
  await sleep(100);
});
