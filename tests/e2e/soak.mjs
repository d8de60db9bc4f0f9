// Long runs, never by default: SOAK_MINUTES (30) of one call, judged minute by minute.
import { TestPage } from "../browser/lib/browsers.mjs";
import { complaints, measureTone } from "../measure/tone.mjs";
import { Phone } from "./lib/phones.mjs";
import { check, test } from "./lib/runner.mjs";

const MINUTES = Number(process.env.SOAK_MINUTES ?? 30);

for (const [policy, phoneCodec] of [["relay", "PCMU/8000/1"], ["opus", "PCMA/8000/1"]]) {
  test(`a call of ${MINUTES} minutes under the policy ${policy} sounds as well at its end as at its beginning`, async (t) => {
    const pbx = await t.world.pbx();
    const gateway = await t.world.gateway(policy);
    const before = gateway.records.length;
    const page = await TestPage.open(await t.world.browser("chromium"), await t.world.site());
    t.after(() => page.close());
    await page.microphone({ hz: 620, db: -20 });
    await page.connect(gateway.ws, pbx.sip(pbx.user()));
    await page.expect("session", "REGISTERED");
    const phone = await Phone.start(pbx, { play: await t.world.wav(1010, MINUTES * 60 + 120, -20), codecs: phoneCodec });
    t.after(() => phone.stop());
    await page.dial(phone.name);
    await page.expect("call", "ESTABLISHED", 20);
    const bad = [];
    for (let minute = 1; minute <= MINUTES; minute++) {
      await page.record();
      await page.recorded(60);
      const { samples, rate } = await page.keep(`minute-${minute}`);
      const heard = measureTone(samples, rate, { hz: 1010, seconds: 59 });
      console.log(`# minute ${minute}: ${JSON.stringify(heard)}`);
      const wrong = complaints(heard, { hz: 1010, sentDb: -20, seconds: 59 });
      if (wrong.length) bad.push(`minute ${minute}: ${wrong.join("; ")}`);
    }
    await page.hangup();
    await page.expect("call", "FINISH");
    const dump = phone.heard();
    const record = await gateway.recordAfter(before);
    t.measure({ bad, phone_recorded_s: dump.samples.length / dump.rate, record });
    // Past the first turn of the sequence numbers, for real.
    if (MINUTES >= 23) check(record?.browser.received > 65_536 && record.browser.sent > 65_536, "the call had less than 65,536 packets");
    check(record?.browser.unauthentic === 0, `${record?.browser.unauthentic} packets failed authentication`);
    check(bad.length <= MINUTES / 30, bad.join("; "));
  }, MINUTES * 60 + 240);
}
