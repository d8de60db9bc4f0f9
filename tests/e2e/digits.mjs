// DTMF end to end: what the page sends, as PJSIP and the scripted phone get it; what the phone sends, as it reaches the page.
import { PAGE, PHONE, ROADS, registered } from "./lib/matrix.mjs";
import { PjsipPhone } from "./lib/phones.mjs";
import { check, sleep, test, until } from "./lib/runner.mjs";
import { AiortcPage, SipPhone } from "./lib/scripted.mjs";

const SIXTEEN = "0123456789*#ABCD";

for (const road of ["relayed", "transcoded"]) {
  test(`a page's sixteen digits reach PJSIP once each and in order, by RFC2833 and by INFO_RELAY, ${road}`, async (t) => {
    const pbx = await t.world.pbx();
    const gateway = await t.world.gateway(ROADS[road].policy);
    const page = await registered(t, gateway, pbx, pbx.user());
    const phone = await PjsipPhone.start(pbx, { play: await t.world.wav(PHONE.hz, 60, PHONE.db), more: ["--codecs", "PCMU"] });
    t.after(() => phone.stop());
    await page.dial(phone.name);
    await page.expect("call", "ESTABLISHED", 20);
    await sleep(500);
    for (const type of ["RFC2833", "INFO_RELAY"]) {
      const from = phone.events.length;
      const heard = () => phone.events.slice(from).filter((event) => event.event === "dtmf").map((event) => event.digit).join("");
      // All at once: fast digits keep their order.
      await page.run((digits, type) => { for (const digit of digits) rig.call.sendDTMF(digit, type); }, SIXTEEN, type);
      await until(`PJSIP has sixteen digits by ${type}`, 12, () => heard().length >= SIXTEEN.length || null).catch(() => {});
      await sleep(500);
      t.measure({ [type]: heard() });
      check(heard() === SIXTEEN, `by ${type} PJSIP heard "${heard()}"`);
    }
    await page.hangup();
    await page.expect("call", "FINISH");
  }, 60);
}

test("a page's digits by INFO come as application/dtmf, and by INFO_RELAY as application/dtmf-relay", async (t) => {
  const pbx = await t.world.pbx();
  const gateway = await t.world.gateway();
  const page = await registered(t, gateway, pbx, pbx.user());
  const phone = await SipPhone.start(pbx, { ...PHONE, listen: PAGE.hz });
  t.after(() => phone.stop());
  await page.dial(phone.name);
  await page.expect("call", "ESTABLISHED", 20);
  for (const [type, wanted, body] of [["INFO", "application/dtmf", /^\s*5\s*$/], ["INFO_RELAY", "application/dtmf-relay", /Signal=\s*5\b/]]) {
    await page.run((type) => rig.call.sendDTMF("5", type), type);
    const info = await phone.expect("info");
    t.measure({ [type]: info });
    check(info.type.split(";")[0].trim() === wanted && body.test(info.body), `${type} came as ${info.type}: ${JSON.stringify(info.body)}`);
  }
  await page.hangup();
  await phone.expect("closed");
}, 60);

for (const road of ["relayed", "transcoded"]) {
  test(`a phone's digits, by RFC 4733 and by INFO, reach the page as telephone-events, ${road}`, async (t) => {
    const pbx = await t.world.pbx();
    const gateway = await t.world.gateway(ROADS[road].policy);
    const page = await AiortcPage.start(t, gateway, pbx);
    const phone = await SipPhone.start(pbx);
    t.after(() => phone.stop());
    await page.do("call", { to: phone.name });
    await page.status("ESTABLISHED", 20);
    await sleep(800);
    /** Each event counts once, by its timestamp. */
    const digits = async () => {
      const seen = new Map();
      for (const [, , digit, , stamp] of (await page.do("heard")).digits) seen.set(stamp, digit);
      return [...seen.values()].join("");
    };
    await phone.do("rtp", { dtmf: SIXTEEN, ms: 80 });
    await until("the page has sixteen digits", 8, async () => (await digits()).length >= 16 || null).catch(() => {});
    await sleep(300);
    check((await digits()) === SIXTEEN, `by RFC 4733 the page got "${await digits()}"`);
    for (const digit of "159") await phone.do("info", { type: "application/dtmf-relay", body: `Signal=${digit}\r\nDuration=160\r\n` });
    for (const digit of "#0") await phone.do("info", { type: "application/dtmf", body: digit });
    await until("the page has the digits of INFO", 5, async () => (await digits()).length >= 21 || null).catch(() => {});
    await sleep(300);
    t.measure({ digits: await digits() });
    check((await digits()) === `${SIXTEEN}159#0`, `with INFO the page got "${await digits()}"`);
    await page.do("hangup");
    await phone.expect("closed");
  }, 60);
}
