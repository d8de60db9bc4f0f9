// SRTP with phones, keyed by SDP (RFC 4568): baresip and PJSIP encrypt, and both sides hear each other.
import { TestPage } from "../browser/lib/browsers.mjs";
import { complaints, measureTone } from "../measure/tone.mjs";
import { Phone } from "./lib/phones.mjs";
import { check, sleep, test } from "./lib/runner.mjs";

/** Frequencies of which 20 ms hold no whole number of periods: a frame left out shows as a jump of phase. */
const PAGE = { hz: 620, db: -20 };
const PHONE = { hz: 1010, db: -20 };
const SECONDS = 6;

/** What the operator says, what baresip says, and whether the sound is encrypted then. */
const CELLS = [
  { srtp: "require", mediaenc: "srtp-mand", direction: "out", encrypted: true },
  { srtp: "require", mediaenc: "srtp-mand", direction: "in", encrypted: true },
  { srtp: "off", mediaenc: "srtp-mand", direction: "in", encrypted: true },
  { srtp: "offer", mediaenc: "srtp", direction: "out", encrypted: true },
  { srtp: "offer", mediaenc: "", direction: "out", encrypted: false },
  { srtp: "off", mediaenc: "srtp-mand", direction: "in", encrypted: true, policy: "opus" },
];

for (const cell of CELLS) {
  const who = cell.direction === "out" ? "the page calls baresip" : "baresip calls the page";
  const how = `srtp ${cell.srtp} here, ${cell.mediaenc || "no SRTP"} there${cell.policy === "opus" ? ", transcoded" : ""}`;
  test(`${who}, ${how}: ${cell.encrypted ? "the sound is encrypted" : "the sound is plain"} and both hear each other`, async (t) => {
    for (let attempt = 1; ; attempt++) {
      const { wrong, record } = await talk(t, cell, attempt);
      if (await t.world.again(t, wrong, record, attempt)) continue;
      check(wrong.length === 0, wrong.join("; "));
      return;
    }
  }, 90);
}

// baresip does ICE by its module of that name: it checks our ports before it sends there.
for (const direction of ["out", "in"]) {
  test(`${direction === "out" ? "the page calls baresip" : "baresip calls the page"} with ICE on the phone's side, and both hear each other`, async (t) => {
    for (let attempt = 1; ; attempt++) {
      const { wrong, record } = await talk(t, { srtp: "off", mediaenc: "", ice: true, direction, encrypted: false }, attempt);
      if (await t.world.again(t, wrong, record, attempt)) continue;
      check(wrong.length === 0, wrong.join("; "));
      return;
    }
  }, 90);
}

test("srtp require here: a phone without SRTP is not called through and cannot call", async (t) => {
  const { page, phone, login, pbx } = await both(t, { srtp: "require", mediaenc: "" });
  await page.dial(phone.name);
  await page.expect("call", "FAILED", 20);
  phone.seen = phone.events.length;
  await phone.dial(login, pbx);
  const closed = await phone.expect("CALL_CLOSED");
  check(/488/.test(JSON.stringify(closed)), `baresip was told ${JSON.stringify(closed)}, not 488`);
}, 60);

async function both(t, { srtp, mediaenc, ice = false, policy = "relay" }) {
  const { world } = t;
  const pbx = await world.pbx();
  const gateway = await world.gateway(policy, { "accounts.srtp": JSON.stringify(srtp), "accounts.ice": String(ice) });
  const login = pbx.user();
  const page = await TestPage.open(await world.browser("chromium"), await world.site());
  t.after(() => page.close());
  await page.microphone(PAGE);
  await page.connect(gateway.ws, pbx.sip(login));
  await page.expect("session", "REGISTERED");
  const account = (mediaenc ? `;mediaenc=${mediaenc}` : "") + (ice ? ";medianat=ice" : "");
  const modules = [mediaenc && "srtp", ice && "ice"].filter(Boolean).join(" ");
  const phone = await Phone.start(pbx, { play: await world.wav(PHONE.hz, 60, PHONE.db), modules, account });
  t.after(() => phone.stop());
  return { pbx, gateway, login, page, phone };
}

async function talk(t, cell, attempt) {
  const { world } = t;
  const { pbx, gateway, login, page, phone } = await both(t, cell);
  const before = gateway.records.length;
  if (cell.direction === "out") {
    await page.dial(phone.name);
  } else {
    await phone.dial(login, pbx);
    await page.expect("session", "INCOMING_CALL");
    await page.answer();
  }
  await page.expect("call", "ESTABLISHED", 20);
  await phone.expect("CALL_ESTABLISHED");
  await page.record();
  await page.recorded(SECONDS + 1);
  const { samples, rate } = await page.keep(`srtp-${login}-${attempt}`);
  await page.hangup();
  await page.expect("call", "FINISH");
  await phone.expect("CALL_CLOSED");
  await sleep(200);
  const [dump, said] = [phone.heard(), phone.said()];
  const frames = await page.received();
  const raw = frames.map((frame) => frame.data?.[0]?.sipMessageRaw ?? "").join("");
  await world.secretsOf(page);
  const record = await gateway.recordAfter(before);
  await page.close();
  await phone.stop();
  const sentDb = said ? measureTone(said.samples, said.rate, { hz: PHONE.hz }).level_db : PHONE.db;
  const pageHears = measureTone(samples, rate, { hz: PHONE.hz, seconds: SECONDS });
  const phoneHears = dump ? measureTone(dump.samples, dump.rate, { hz: PAGE.hz, seconds: SECONDS }) : null;
  t.measure({ page_hears: pageHears, phone_hears: phoneHears, record });
  const wrong = complaints(pageHears, { hz: PHONE.hz, sentDb, seconds: SECONDS }).map((c) => `the page hears ${c}`);
  if (!dump) wrong.push("the phone recorded nothing");
  else wrong.push(...complaints(phoneHears, { hz: PAGE.hz, sentDb: PAGE.db, seconds: SECONDS }).map((c) => `the phone hears ${c}`));
  const suite = record?.sip?.srtp ?? "";
  if (cell.encrypted !== /^A/.test(suite)) wrong.push(`the record says ${suite || "plain RTP"} of the phone's side`);
  if (cell.ice && !/^a=ice-pwd:/m.test(raw)) wrong.push("baresip did no ICE");
  // baresip's first report may leave before it has its keys.
  if (record?.sip?.unauthentic > 2) wrong.push(`${record.sip.unauthentic} packets of the phone were not authentic`);
  return { wrong, record };
}
