// Before the answer: early media of one branch, and an answer that comes with another description or from another branch.
// SIPp signals (bed/sipp/answers.xml), two scripted RTP ends are the two places from which media come.
import { comesBack, presentInPackets, presentInRecording, share } from "../measure/presence.mjs";
import { TestPage } from "../browser/lib/browsers.mjs";
import { PAGE, ROADS, STAYS_MS, WITHIN_MS, patience, row } from "./lib/matrix.mjs";
import { check, sleep, test } from "./lib/runner.mjs";
import { RtpPhone, Sipp } from "./lib/scripted.mjs";

const EARLY = { hz: 1010, db: -20 };
const FINAL = { hz: 1390, db: -20 };
/** Of a tone of -20 dBFS so much is left where the other one is looked for. */
const APART_DB = -28;

for (const road of ["relayed", "transcoded"]) {
  test(`early media is heard, and then the answer's, from another address or another branch, ${road}`, async (t) => {
    for (let attempt = 1; ; attempt++) {
      const wrong = [];
      const rows = [];
      let record;
      for (const [cell, number] of [["183, then 200 with another description", "7183"], ["183 of one branch, 200 of another", "7184"]]) {
        record = await once(t, { road, cell, number, wrong, rows });
      }
      if (await t.world.again(t, wrong, record, attempt)) continue;
      rows.forEach(row);
      check(wrong.length === 0, wrong.join("; "));
      return;
    }
  }, 90);
}

async function once(t, { road, cell, number, wrong, rows }) {
  const gateway = await t.world.gateway(ROADS[road].policy);
  const before = gateway.records.length;
  const early = await RtpPhone.start(t.world.folder, { ...EARLY, listen: PAGE.hz });
  const final = await RtpPhone.start(t.world.folder, { ...FINAL, listen: PAGE.hz });
  t.after(() => early.stop());
  t.after(() => final.stop());
  const sipp = await Sipp.start(t, "answers", { rtp_port: early.port, rtp_port_b: final.port });
  const page = await TestPage.open(await t.world.browser("chromium"), await t.world.site());
  t.after(() => page.close());
  await page.microphone(PAGE);
  await page.connect(gateway.ws, sipp.sip("page"));
  await page.expect("session", "ESTABLISHED");
  await page.dial(number);
  await page.expect("call", "SESSION_PROGRESS");
  const to = sipp.media();
  // Both speak at once, as a branch does that does not know yet that it has lost.
  await early.do("rtp", { mode: "tone", to });
  await final.do("rtp", { mode: "tone", to });
  await page.record();
  const offset = await page.run(() => Date.now() - performance.now());
  const began = Date.now();
  const ended = (await page.expect("call", "ESTABLISHED")).at + offset;
  await sleep(WITHIN_MS + STAYS_MS + 200);
  const { samples, rate, lags } = await page.keep(`early-${road}-${number}`);
  const { packets } = await final.do("heard");
  await page.hangup();
  await page.expect("call", "FINISH");
  const descriptions = (await page.received()).filter((frame) => frame.message === "setRemoteSDP").length;
  await t.world.secretsOf(page);
  await page.close();
  await Promise.all([early.stop(), final.stop(), sipp.stop()]);
  const record = await gateway.recordAfter(before);
  const pageHears = presentInRecording(samples, rate, FINAL.hz, lags, APART_DB);
  const pageHeard = presentInRecording(samples, rate, EARLY.hz, lags, APART_DB);
  const back = { page: comesBack(pageHears, { begun: ended, ended }), phone: comesBack(presentInPackets(packets), { begun: ended, ended, maxGapMs: patience(record) }) };
  for (const who of ["page", "phone"]) {
    const after = back[who].after_ms;
    if (after === null || after > WITHIN_MS) wrong.push(`a gap: ${cell}: the ${who} hears the other ${after === null ? "not to stay" : `only after ${after} ms`}`);
  }
  if (share(pageHeard, began + 500, ended - 100) < 0.8) wrong.push(`a gap: ${cell}: the page hears only ${Math.round(100 * share(pageHeard, began + 500, ended - 100))}% of the early media`);
  if (share(pageHears, began, ended - 100) > 0.1) wrong.push(`${cell}: the page hears before the answer who has not answered yet`);
  if (share(pageHeard, ended + WITHIN_MS, ended + WITHIN_MS + STAYS_MS) > 0.1) wrong.push(`${cell}: the page goes on hearing the branch that has lost`);
  if (descriptions !== 1) wrong.push(`${cell}: the browser got ${descriptions} descriptions`);
  if (!JSON.stringify(record ?? {}).includes(`"${road}"`)) wrong.push(`${cell}: the gateway's record does not say "${road}"`);
  rows.push({ cell, road, direction: "outgoing", page: back.page.after_ms, phone: back.phone.after_ms });
  t.measure({ [cell]: { ...back, record } });
  return record;
}
