// Several pages and several calls: two pages of one account, page to page through the PBX, two calls of one page.
import { comesBack, presentInPackets, presentInRecording, share } from "../measure/presence.mjs";
import { PAGE, PHONE, registered } from "./lib/matrix.mjs";
import { TestPage } from "../browser/lib/browsers.mjs";
import { check, sleep, test, until } from "./lib/runner.mjs";
import { SipPhone } from "./lib/scripted.mjs";

const OTHER = { hz: 1390, db: -20 };
/** Of a tone of -20 dBFS so much is left where the other one is looked for. */
const APART_DB = -28;

test("two pages of one account ring both, the first answer wins, and the other hears FINISH", async (t) => {
  const pbx = await t.world.pbx();
  const gateway = await t.world.gateway();
  const login = pbx.user();
  const first = await registered(t, gateway, pbx, login);
  const second = await registered(t, gateway, pbx, login);
  const phone = await SipPhone.start(pbx, { ...PHONE, listen: PAGE.hz });
  t.after(() => phone.stop());
  for (const [winner, loser, name] of [[first, second, "first"], [second, first, "second"]]) {
    const began = Date.now();
    phone.say({ do: "call", to: login });
    await Promise.all([first.expect("session", "INCOMING_CALL"), second.expect("session", "INCOMING_CALL")]);
    await winner.answer();
    await winner.expect("call", "ESTABLISHED");
    await loser.expect("call", "FINISH");
    await phone.expect("established");
    await sleep(500);
    check(!(await winner.events()).slice(winner.seen).some((event) => event.of === "call" && event.status === "FINISH"), `the call of the ${name} page, which answered, ended`);
    await winner.hangup();
    await winner.expect("call", "FINISH");
    await phone.expect("closed");
    t.measure({ [name]: { ms: Date.now() - began } });
  }
}, 60);

for (const policy of ["relay", "opus"]) {
  test(`a page calls a page through the PBX under the policy ${policy}, and they hear each other`, async (t) => {
    for (let attempt = 1; ; attempt++) {
      const pbx = await t.world.pbx();
      const gateway = await t.world.gateway(policy);
      const before = gateway.records.length;
      const [caller, callee] = [pbx.user(), pbx.user()];
      const a = await registered(t, gateway, pbx, caller);
      const b = await registered(t, gateway, pbx, callee);
      await b.microphone(OTHER);
      await a.dial(callee);
      await b.expect("session", "INCOMING_CALL");
      await b.answer();
      await a.expect("call", "ESTABLISHED");
      await b.expect("call", "ESTABLISHED");
      const ended = Date.now();
      await Promise.all([a.record(), b.record()]);
      await sleep(2500);
      const heard = {};
      for (const [who, page, hz] of [["caller", a, OTHER.hz], ["callee", b, PAGE.hz]]) {
        const { samples, rate, lags } = await page.keep(`${who}-${policy}-${attempt}`);
        // The recording begins a moment after the call.
        heard[who] = comesBack(presentInRecording(samples, rate, hz, lags), { begun: ended + 800, ended: ended + 800 });
      }
      await a.hangup();
      await a.expect("call", "FINISH");
      await b.expect("call", "FINISH");
      for (const page of [a, b]) {
        await t.world.secretsOf(page);
        await page.close();
      }
      const record = await gateway.recordAfter(before);
      t.measure({ heard, record });
      const wrong = Object.entries(heard).filter(([, back]) => back.after_ms !== 0).map(([who]) => `a gap: the ${who} does not hear the other without a pause`);
      if (await t.world.again(t, wrong, record, attempt)) continue;
      check(wrong.length === 0, wrong.join("; "));
      return;
    }
  }, 90);
}

test("a page has two calls, one on hold, and changes between them", async (t) => {
  const pbx = await t.world.pbx();
  const gateway = await t.world.gateway();
  const page = await registered(t, gateway, pbx, pbx.user());
  const one = await SipPhone.start(pbx, { ...PHONE, listen: PAGE.hz });
  const two = await SipPhone.start(pbx, { ...OTHER, listen: PAGE.hz });
  t.after(() => one.stop());
  t.after(() => two.stop());
  /** Whether a phone hears the page now. */
  const hears = async (phone) => {
    const now = Date.now();
    await sleep(600);
    const { packets } = await phone.do("heard");
    return share(presentInPackets(packets), now + 100, now + 600) > 0.5;
  };
  const only = async (speaks, silent, sentence) =>
    until(sentence, 6, async () => ((await hears(speaks)) && !(await hears(silent))) || null);
  await page.dial(one.name);
  await page.expect("call", "ESTABLISHED");
  await page.run(() => { rig.one = rig.call; rig.one.hold(); });
  await page.expect("call", "HOLD");
  await page.dial(two.name);
  await page.expect("call", "ESTABLISHED");
  await page.run(() => { rig.two = rig.call; });
  await only(two, one, "the second phone hears the page and the held one does not");
  await page.run(() => rig.two.hold());
  await page.expect("call", "HOLD");
  await page.run(() => rig.one.unhold());
  await page.expect("call", "ESTABLISHED");
  await only(one, two, "the first phone hears the page again and the second does not");
  await page.run(() => rig.two.hangup());
  await two.expect("closed");
  check(await hears(one), "the end of one call took the sound of the other");
  await page.run(() => rig.one.hangup());
  await one.expect("closed");
}, 60);
