// Kamailio as a trunk in both directions: it registers to the gateway by its uac module, and the gateway registers to it.
// A page of the unmodified SDK without a SIP account has a telephone number; a baresip is behind the PBX.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestPage } from "../browser/lib/browsers.mjs";
import { complaints, measureTone } from "../measure/tone.mjs";
import { change } from "./lib/backend.mjs";
import { freePorts, Gateway, ownEnvironment } from "./lib/gateway.mjs";
import { Pbx, Phone } from "./lib/phones.mjs";
import { check, sleep, test, until } from "./lib/runner.mjs";

const PAGE = { hz: 620, db: -20 };
const PHONE = { hz: 1010, db: -20 };
const SECONDS = 8;
/** The page's number; the telephone's is +4930 and its name at the PBX. */
const NUMBER = "+4940999000";
const REALM = "gateway.test";

const rules = (trunk) => `
${trunk}

[[route]]
name = "out"
match = ["+4930*"]
to = ["trunk:pbx"]

[[inbound]]
name = "in"
trunk = "pbx"
match = ["+4940*"]
to = ["number"]
`;

/** The PBX registers to us as the phone `pbx`, whose contact is the trunk. */
async function itRegisters(t, folder) {
  const password = t.world.secret(`Pw${Math.random().toString(36).slice(2)}Trunk`);
  writeFileSync(join(folder, "password"), `${password}\n`);
  writeFileSync(join(folder, "trunkgate.toml"), rules(`
[registrar]
realm = "${REALM}"

[trunk.pbx]
mode = "accept"
numbers = "+e164"
`));
  const data = join(folder, "gateway", "data");
  mkdirSync(data, { recursive: true });
  const place = ["--config", join(folder, "trunkgate.toml"), "--set", `data_dir=${JSON.stringify(data)}`];
  execFileSync(process.env.TRUNKGATE_BIN, ["add", "phone", "pbx", "--trunk", "pbx", "--password-file", join(folder, "password"), ...place], {
    stdio: "pipe", env: ownEnvironment(),
  });
  const gateway = await Gateway.start(join(folder, "gateway"), { "log.level": '"debug"' }, ["--config", join(folder, "trunkgate.toml")]);
  t.after(() => gateway.stop());
  const uac = { gateway: gateway.address("sip", "udp:"), user: "pbx", password, realm: REALM };
  const pbx = new Pbx(join(folder, "bed"), t.world.secret("PwOfPhonesBehindIt1"), 4, uac);
  mkdirSync(pbx.folder, { recursive: true });
  await pbx.start();
  t.after(() => pbx.stop());
  return { gateway, pbx };
}

/** We register to the PBX as its account 1001, which rings for the page's number. */
async function weRegister(t, folder) {
  const password = t.world.secret("PwOfPhonesBehindIt2");
  const { SIP } = freePorts("SIP");
  // The gateway as the way out for telephone numbers; the registration there is ours alone.
  const uac = { gateway: `127.0.0.1:${SIP}`, user: "nobody", password: "unused-password", realm: "unused.test" };
  const pbx = new Pbx(join(folder, "bed"), password, 4, uac);
  mkdirSync(pbx.folder, { recursive: true });
  await pbx.start();
  t.after(() => pbx.stop());
  writeFileSync(join(folder, "trunkgate.toml"), rules(`
[trunk.pbx]
mode = "register"
servers = ["127.0.0.1:${pbx.port}"]
domain = "${pbx.domain}"
login = "${pbx.user()}"
password = "${password}"
numbers = "+e164"
`));
  const gateway = await Gateway.start(join(folder, "gateway"), {
    "sip.listen": `["udp:127.0.0.1:${SIP}", "tcp:127.0.0.1:0"]`, "log.level": '"debug"',
  }, ["--config", join(folder, "trunkgate.toml")]);
  t.after(() => gateway.stop());
  return { gateway, pbx };
}

async function talk(t, page, phone, name) {
  await page.record();
  await page.recorded(SECONDS + 1);
  const { samples, rate } = await page.keep(name);
  await page.hangup();
  await page.expect("call", "FINISH");
  await phone.expect("CALL_CLOSED");
  await sleep(200);
  const dump = phone.heard();
  const pageHears = measureTone(samples, rate, { hz: PHONE.hz, seconds: SECONDS });
  const phoneHears = dump && measureTone(dump.samples, dump.rate, { hz: PAGE.hz, seconds: SECONDS });
  t.measure({ page_hears: pageHears, phone_hears: phoneHears });
  const wrong = complaints(pageHears, { hz: PHONE.hz, sentDb: PHONE.db, seconds: SECONDS }).map((c) => `page: ${c}`);
  if (dump) wrong.push(...complaints(phoneHears, { hz: PAGE.hz, sentDb: PAGE.db, seconds: SECONDS }).map((c) => `phone: ${c}`));
  else wrong.push("the phone recorded nothing");
  return wrong;
}

for (const [sentence, name, make] of [
  ["Kamailio registers to us by its uac module", "accept", itRegisters],
  ["we register to Kamailio", "register", weRegister],
]) {
  test(`${sentence}: a page dials a number behind it and is dialled from there, and both hear each other each time`, async (t) => {
    const { world } = t;
    const folder = join(world.folder, `trunk-${name}`);
    mkdirSync(folder, { recursive: true });
    const { gateway, pbx } = await make(t, folder);
    await change(gateway, "update", "app", "--number", NUMBER, "--display", "Shop", "defaultApp");
    const phone = await Phone.start(pbx, { play: await world.wav(PHONE.hz, 60, PHONE.db) });
    t.after(() => phone.stop());
    const page = await TestPage.open(await world.browser("chromium"), await world.site());
    t.after(() => page.close());
    await page.microphone(PAGE);
    await page.connect(gateway.ws);
    await page.expect("session", "ESTABLISHED", 10);
    await until("the trunk is up", 15, () => gateway.lines.some((line) => /trunk pbx is up/.test(line)));

    await page.dial(`+4930${phone.name}`);
    await page.expect("call", "ESTABLISHED", 20);
    await phone.expect("CALL_ESTABLISHED");
    const wrong = (await talk(t, page, phone, `${name}-out`)).map((c) => `out: ${c}`);

    await phone.dial(NUMBER, pbx);
    await page.expect("session", "INCOMING_CALL", 15);
    await page.answer();
    await page.expect("call", "ESTABLISHED", 20);
    wrong.push(...(await talk(t, page, phone, `${name}-in`)).map((c) => `in: ${c}`));
    check(wrong.length === 0, wrong.join("; "));
  }, 120);
}
