// Telephone numbers without a PBX account: a page of the unmodified SDK, a trunk by address, and a phone behind it.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestPage } from "../browser/lib/browsers.mjs";
import { complaints, measureTone } from "../measure/tone.mjs";
import { change } from "./lib/backend.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { Pbx, Phone } from "./lib/phones.mjs";
import { check, sleep, test } from "./lib/runner.mjs";

const PAGE = { hz: 620, db: -20 };
const PHONE = { hz: 1010, db: -20 };
const SECONDS = 10;
const NUMBER = "+4930123456";
const CALLED = "+15551234567";

/** A gateway whose pages have a number, with Kamailio as its trunk by address, and a phone behind that. */
async function office(t) {
  const { world } = t;
  const folder = join(world.folder, `numbers-${Date.now()}`);
  // A trunk knows its callers by their address: no digest for calls.
  const pbx = new Pbx(join(folder, "bed"), world.secret("PwOfTheTrunksPhones1"), 10);
  pbx.env.PBX_TRUST_CALLS = "1";
  mkdirSync(pbx.folder, { recursive: true });
  await pbx.start();
  t.after(() => pbx.stop());
  const phone = await Phone.start(pbx, { play: await world.wav(PHONE.hz, 60, PHONE.db) });
  t.after(() => phone.stop());
  const settings = join(folder, "trunkgate.toml");
  writeFileSync(settings, `
[trunk.dead]
mode = "address"
servers = ["127.0.0.1:9"]
probe = 0
attempt_ms = 500

[trunk.carrier]
mode = "address"
servers = ["127.0.0.1:${pbx.port}"]
domain = "${pbx.domain}"
numbers = "as-is"
probe = 2

[[route]]
name = "abroad"
match = ["+1*"]
to = ["trunk:dead", "trunk:carrier"]
strip = 11
prefix = "${phone.name}"

[[inbound]]
name = "in"
trunk = "carrier"
match = ["+4930*"]
to = ["number"]
`);
  const gateway = await Gateway.start(join(folder, "gateway"), {}, ["--config", settings]);
  t.after(async () => check((await gateway.stop()) === "exit code 0", "the gateway did not end well"));
  await change(gateway, "update", "app", "--number", NUMBER, "--display", "Shop", "defaultApp");
  return { pbx, phone, gateway };
}

test("a page without a SIP account dials a number, the telephone behind the trunk rings, and both hear each other", async (t) => {
  const { world } = t;
  const { phone, gateway } = await office(t);
  const page = await TestPage.open(await world.browser("chromium"), await world.site());
  t.after(() => page.close());
  await page.microphone(PAGE);
  await page.connect(gateway.ws);
  await page.expect("session", "ESTABLISHED", 10);
  await page.dial(CALLED);
  await page.expect("call", "ESTABLISHED", 20);
  await phone.expect("CALL_ESTABLISHED");
  await page.record();
  await page.recorded(SECONDS + 1);
  const { samples, rate } = await page.keep("numbers");
  await page.hangup();
  await page.expect("call", "FINISH");
  await phone.expect("CALL_CLOSED");
  await sleep(200);
  const dump = phone.heard();
  const record = await gateway.recordAfter(0);
  const pageHears = measureTone(samples, rate, { hz: PHONE.hz, seconds: SECONDS });
  const phoneHears = dump && measureTone(dump.samples, dump.rate, { hz: PAGE.hz, seconds: SECONDS });
  t.measure({ page_hears: pageHears, phone_hears: phoneHears, record });
  const wrong = complaints(pageHears, { hz: PHONE.hz, sentDb: PHONE.db, seconds: SECONDS }).map((c) => `page: ${c}`);
  if (dump) wrong.push(...complaints(phoneHears, { hz: PAGE.hz, sentDb: PAGE.db, seconds: SECONDS }).map((c) => `phone: ${c}`));
  else wrong.push("the phone recorded nothing");
  check(record?.route === "abroad", `the record's route is ${record?.route}`);
  const tried = (record?.attempts ?? []).map((attempt) => attempt.to).join(", ");
  check(tried === "trunk:dead, trunk:carrier", `tried were ${tried}`);
  check(record?.caller === NUMBER, `the caller was ${record?.caller}`);
  check(wrong.length === 0, wrong.join("; "));
}, 90);
