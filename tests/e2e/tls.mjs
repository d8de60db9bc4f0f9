// SIP over TLS with Kamailio and baresip, and certificates that are changed while calls go on.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { TestPage } from "../browser/lib/browsers.mjs";
import { complaints, measureTone } from "../measure/tone.mjs";
import { callIn } from "./calls.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { Phone, PjsipPhone } from "./lib/phones.mjs";
import { check, sleep, test, until } from "./lib/runner.mjs";

for (const direction of ["out", "in"]) {
  const who = direction === "out" ? "the page calls the phone" : "the phone calls the page";
  const cell = { page: "PCMU", phone: "PCMU", policy: "relay", road: "relayed", direction, transport: "tls", seconds: 8 };
  callIn("chromium", `${who} through Kamailio, over TLS on both legs, and both hear each other for 8 s`, cell);
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

const openssl = (...args) => execFileSync("openssl", args, { stdio: "ignore" });

/** An authority and a certificate of its own for this computer: ca.pem, cert.pem, key.pem in `folder`. */
function authority(folder) {
  mkdirSync(folder, { recursive: true });
  const at = (name) => join(folder, name);
  const key = ["-newkey", "rsa:2048", "-nodes"];
  openssl("req", "-x509", ...key, "-days", "30", "-subj", "/CN=office CA", "-keyout", at("ca.key"), "-out", at("ca.pem"));
  openssl("req", ...key, "-subj", "/CN=office", "-keyout", at("key.pem"), "-out", at("csr.pem"));
  writeFileSync(at("names"), "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n");
  openssl("x509", "-req", "-in", at("csr.pem"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "30", "-extfile", at("names"), "-out", at("cert.pem"));
}

const INSIDE = `
[[route]]
name = "inside"
from = ["phone:*"]
match = ["2XX"]
to = ["phone:*"]
`;

test("baresip and PJSIP register here over TLS, and each calls the other over it, and both hear each other", async (t) => {
  const folder = join(t.world.folder, "tls-office");
  // Where the bed's phones look for who signed the PBX's certificate.
  authority(join(folder, "kamailio"));
  mkdirSync(join(folder, "data"), { recursive: true });
  const password = t.world.secret(`Pw${Math.random().toString(36).slice(2)}Phone`);
  writeFileSync(join(folder, "password"), `${password}\n`);
  writeFileSync(join(folder, "rules.toml"), INSIDE);
  const data = JSON.stringify(join(folder, "data"));
  const place = ["--set", `data_dir=${data}`, "--set", 'registrar.realm="office.test"'];
  // The binary's own variables are its settings; the tests' would be wrong ones.
  const { TRUNKGATE_BIN: binary, ...env } = process.env;
  for (const name of ["201", "202"]) execFileSync(binary, ["add", "phone", name, "--password-file", join(folder, "password"), ...place], { env });
  const at = (name) => join(folder, "kamailio", name);
  const gateway = await Gateway.start(folder, {
    data_dir: data, "registrar.realm": '"office.test"', "registrar.min_expires": "10", "sip.listen": '["tls:127.0.0.1:0"]',
    "sip.certificate": JSON.stringify(at("cert.pem")), "sip.key": JSON.stringify(at("key.pem")), "sip.ca": JSON.stringify(at("ca.pem")),
  }, ["--config", join(folder, "rules.toml")]);
  t.after(() => gateway.stop());
  const port = Number(gateway.address("sip", "tls:127.0.0.1:"));
  const names = ["201", "202"];
  const here = {
    folder, password, port, at: () => port, user: () => names.shift(),
    env: { ...process.env, TESTBED_RUN: folder, PBX_SIP_PORT: String(port), PBX_SIPS_PORT: String(port), PBX_PASSWORD: password, BARESIP_REGINT: "15" },
  };
  const baresip = await Phone.start(here, { play: await t.world.wav(1010, 60, -20), transport: "tls" });
  t.after(() => baresip.stop());
  const pjsip = await PjsipPhone.start(here, { play: await t.world.wav(620, 60, -20), more: ["--transport", "tls", "--ca", at("ca.pem"), "--codecs", "PCMU"] });
  t.after(() => pjsip.stop());

  await baresip.dial("202", here);
  await pjsip.expect((event) => event.event === "incoming", "it rings");
  await baresip.expect("CALL_ESTABLISHED", 10);
  await sleep(6000);
  await baresip.command("hangup");
  await pjsip.expect((event) => event.event === "call" && event.state === "DISCONNECTED", "the call is over");
  const ofBaresip = baresip.heard();

  pjsip.say(`call sip:201@127.0.0.1:${port};transport=tls`);
  await baresip.expect("CALL_ESTABLISHED", 10);
  await sleep(6000);
  await baresip.command("hangup");
  await pjsip.expect((event) => event.event === "call" && event.state === "DISCONNECTED", "the second call is over");
  await pjsip.stop();
  const wrong = [];
  for (const [who, heard, hz] of [["baresip", ofBaresip, 620], ["PJSIP", pjsip.heard(), 1010]]) {
    if (!heard) wrong.push(`${who} recorded nothing`);
    else {
      const measured = measureTone(heard.samples, heard.rate, { hz, seconds: 4 });
      t.measure({ [who]: measured });
      // Levels are the phones' own; that the tone is there without a hole is ours.
      wrong.push(...complaints(measured, { hz, sentDb: measured.level_db, seconds: 4 }).map((c) => `${c} (as ${who} hears it)`));
    }
  }
  check(wrong.length === 0, wrong.join("; "));
}, 120);
