// What happens inside a call: the phone holds and resumes, the page holds and resumes; the sound comes back.
import { TestPage } from "../browser/lib/browsers.mjs";
import { measureTone } from "../measure/tone.mjs";
import { PjsipPhone } from "./lib/phones.mjs";
import { check, sleep, test } from "./lib/runner.mjs";

const PAGE = { hz: 620, db: -20 };
const PHONE = { hz: 1010, db: -20 };
const SECONDS = 4;

for (const { policy, road } of [{ policy: "relay", road: "relayed" }, { policy: "opus", road: "transcoded" }]) {
  test(`the phone holds and resumes, then the page does, and the sound goes on, ${road}`, async (t) => {
    const world = t.world;
    const pbx = await world.pbx();
    const gateway = await world.gateway(policy);
    const before = gateway.records.length;
    const page = await TestPage.open(await world.browser("chromium"), await world.site());
    t.after(() => page.close());
    await page.microphone(PAGE);
    await page.connect(gateway.ws, pbx.sip(pbx.user()));
    await page.expect("session", "REGISTERED");
    // PJSIP's G.722 is 6 dB quieter and louder than everybody else's, so it gets G.711.
    const phone = await PjsipPhone.start(pbx, { play: await world.wav(PHONE.hz, 60, PHONE.db), more: ["--codecs", "PCMU"] });
    t.after(() => phone.stop());
    await page.dial(phone.name);
    await page.expect("call", "ESTABLISHED", 20);
    const { n } = await phone.expect((e) => e.event === "call" && e.state === "CONFIRMED", "the call is confirmed");
    await sleep(500);

    phone.say(`hold ${n}`);
    await page.expect("call", "HOLD");
    await sleep(1000);
    phone.say(`unhold ${n}`);
    await page.expect("call", "ESTABLISHED");
    await sleep(500);
    await page.run(() => rig.call.hold());
    await page.expect("call", "HOLD");
    await sleep(1000);
    await page.run(() => rig.call.unhold());
    await page.expect("call", "ESTABLISHED");

    await page.record();
    await page.recorded(SECONDS + 1);
    const { samples, rate } = await page.keep(`midcall-${policy}`);
    await page.hangup();
    await page.expect("call", "FINISH");
    await phone.expect((e) => e.event === "call" && e.state === "DISCONNECTED", "the call is over");
    await phone.stop();
    const descriptions = (await page.received()).filter((frame) => frame.message === "setRemoteSDP").length;
    check(descriptions === 1, `the browser got ${descriptions} descriptions`);
    const dump = phone.heard();
    check(dump, "the phone recorded nothing");
    // From 300 ms after the signalling's end on, both must hear each other.
    const pageHears = measureTone(samples, rate, { hz: PHONE.hz, seconds: SECONDS, fromMs: 300 });
    const last = dump.samples.subarray(Math.max(0, dump.samples.length - (SECONDS + 0.7) * dump.rate));
    const phoneHears = measureTone(last, dump.rate, { hz: PAGE.hz, seconds: SECONDS, fromMs: 0 });
    const record = await gateway.recordAfter(before);
    t.measure({ page_hears: pageHears, phone_hears: phoneHears, record });
    for (const [who, heard, hz] of [["page", pageHears, PHONE.hz], ["phone", phoneHears, PAGE.hz]]) {
      check(Math.abs(heard.hz - hz) < 5, `the ${who} hears ${heard.hz} Hz, not ${hz}`);
      check(Math.abs(heard.level_db - -20) < 3, `the ${who} hears ${heard.level_db} dB`);
    }
    check(JSON.stringify(record).includes(`"${road}"`), `the gateway's record does not say "${road}"`);
  }, 90);
}
