// Calls through Kamailio between a page and a phone: each codec, each direction, the sound of both sides measured.
import { TestPage } from "../browser/lib/browsers.mjs";
import { complaints, measureTone } from "../measure/tone.mjs";
import { Phone } from "./lib/phones.mjs";
import { check, sleep, test } from "./lib/runner.mjs";

/** Frequencies of which 20 ms hold no whole number of periods: a frame left out shows as a jump of phase. */
const PAGE = { hz: 620, db: -20 };
const PHONE = { hz: 1010, db: -20 };
const SECONDS = 20;

/** What each phone can do, and what both ends then send. */
const CODECS = {
  PCMU: { codecs: "PCMU/8000/1", modules: "", name: "PCMU" },
  PCMA: { codecs: "PCMA/8000/1", modules: "", name: "PCMA" },
  G722: { codecs: "G722/16000/1", modules: "g722", name: "G722" },
  Opus: { codecs: "opus/48000/2", modules: "opus", name: "opus" },
};

const cells = [
  { page: "PCMU", phone: "PCMU", policy: "relay", road: "relayed" },
  { page: "Opus", phone: "Opus", policy: "relay", road: "relayed" },
  { page: "Opus", phone: "PCMU", policy: "opus", road: "transcoded" },
  { page: "Opus", phone: "PCMA", policy: "opus", road: "transcoded" },
  { page: "Opus", phone: "G722", policy: "opus", road: "transcoded" },
];
for (const cell of cells) for (const direction of ["out", "in"]) define({ ...cell, direction, transport: "udp" });
define({ ...cells[0], direction: "out", transport: "tcp" });
define({ ...cells[0], direction: "in", transport: "tcp" });

function define(cell) {
  const { page, phone, road, direction, transport } = cell;
  const who = direction === "out" ? "the page calls the phone" : "the phone calls the page";
  const over = transport === "udp" ? "" : ` over SIP ${transport.toUpperCase()}`;
  callIn("chromium", `${who}, ${page} to ${phone} ${road}${over}, and both hear each other for 20 s`, cell);
}

/** A call in one of the browsers, as a test; of 20 s, or of as many as the cell says. */
export function callIn(browser, name, cell) {
  test(name, async (t) => {
    for (let attempt = 1; ; attempt++) {
      t.measure({ attempt });
      const { wrong, record } = await once(t, browser, cell, attempt);
      if (await t.world.again(t, wrong, record, attempt)) continue;
      check(wrong.length === 0, wrong.join("; "));
      return;
    }
  }, 150);
}

async function once(t, browser, { page: pageCodec, phone: phoneCodec, policy, road, direction, transport, seconds = SECONDS }, attempt) {
  const world = t.world;
  const pbx = await world.pbx();
  const secure = transport === "tls";
  const gateway = await world.gateway(policy, secure ? overTls(pbx) : {});
  const before = gateway.records.length;
  const login = pbx.user();
  const page = await TestPage.open(await world.browser(browser), await world.site());
  t.after(() => page.close());
  await page.microphone(PAGE);
  await page.connect(gateway.ws, pbx.sip(login, { transport }));
  await page.expect("session", "REGISTERED");
  const phone = await Phone.start(pbx, {
    play: await world.wav(PHONE.hz, 60, PHONE.db), ...CODECS[phoneCodec], ...(secure ? { transport } : {}),
  });
  t.after(() => phone.stop());

  if (direction === "out") {
    await page.dial(phone.name);
    await page.expect("call", "ESTABLISHED", 20);
  } else {
    await phone.dial(login, pbx);
    await page.expect("session", "INCOMING_CALL", 10);
    await page.answer();
    await page.expect("call", "ESTABLISHED", 20);
  }
  await phone.expect("CALL_ESTABLISHED");
  const established = Date.now();
  await page.record();
  await page.recorded(seconds + 1);
  const stats = await page.stats();
  const { samples, rate } = await page.keep(`${login}-${attempt}`);
  // A recording of packets knows no time without packets; the clock does.
  const talked = (Date.now() - established) / 1000;
  await page.hangup();
  await page.expect("call", "FINISH");
  await phone.expect("CALL_CLOSED");
  await sleep(200);
  const dump = phone.heard();
  const said = phone.said();
  await world.secretsOf(page);
  const vias = JSON.stringify(await page.received()).match(/SIP\/2\.0\/\w+/g) ?? [];
  const record = await gateway.recordAfter(before);
  await page.close();
  await phone.stop();

  const phoneSent = said ? measureTone(said.samples, said.rate, { hz: PHONE.hz }).level_db : PHONE.db;
  const pageHears = measureTone(samples, rate, { hz: PHONE.hz, seconds });
  const phoneHears = dump ? measureTone(dump.samples, dump.rate, { hz: PAGE.hz, seconds }) : null;
  t.measure({ phone_sent_db: phoneSent, page_hears: pageHears, phone_hears: phoneHears, page: stats, talked_s: talked, phone_recorded_s: dump && dump.samples.length / dump.rate, record });
  const wrong = complaints(pageHears, { hz: PHONE.hz, sentDb: phoneSent, seconds }).map((c) => withOwner("page", c));
  if (!dump) wrong.push("the phone recorded nothing");
  else {
    wrong.push(...complaints(phoneHears, { hz: PAGE.hz, sentDb: PAGE.db, seconds }).map((c) => withOwner("phone", c)));
    const missing = talked - dump.samples.length / dump.rate;
    if (missing > 0.56) wrong.push(`a gap: the phone recorded ${missing.toFixed(2)} s less than the call lasted`);
  }
  for (const way of ["sends", "gets"]) {
    const wanted = `audio/${CODECS[pageCodec].name}`.toLowerCase();
    if (stats?.[way]?.toLowerCase() !== wanted) wrong.push(`the page ${way} ${stats?.[way]}, not ${wanted}`);
  }
  if (secure && (!vias.length || vias.some((via) => via !== "SIP/2.0/TLS"))) wrong.push(`the page was told of ${vias.join(", ") || "no Via at all"}`);
  if (record && !JSON.stringify(record).includes(`"${road}"`)) wrong.push(`the gateway's record does not say "${road}"`);
  return { wrong, record };
}

/** A gateway that speaks TLS and believes this PBX. */
export const overTls = (pbx) => ({ "sip.listen": '["udp:127.0.0.1:0", "tcp:127.0.0.1:0", "tls:127.0.0.1:0"]', "sip.ca": JSON.stringify(pbx.ca) });

/** Keeps "a gap" in front: that is how a gap is told from all else. */
const withOwner = (who, complaint) => `${complaint} (as the ${who} hears it)`;
