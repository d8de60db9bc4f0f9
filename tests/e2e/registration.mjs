// Registration of browser accounts at a real registrar, also when that goes away.
import { TestPage } from "../browser/lib/browsers.mjs";
import { Phone } from "./lib/phones.mjs";
import { check, sleep, test, until } from "./lib/runner.mjs";

/** So that the search for secrets has much to search. */
const TALKATIVE = { "log.level": '"debug"' };

async function open(t) {
  const page = await TestPage.open(await t.world.browser("chromium"), await t.world.site());
  t.after(async () => {
    await t.world.secretsOf(page);
    await page.close();
  });
  await page.microphone({ hz: 620, db: -30 });
  return page;
}

test("a wrong password gives the page WARN with AUTHENTICATION_FAIL, then DISCONNECTED", async (t) => {
  const pbx = await t.world.pbx();
  const gateway = await t.world.gateway("relay", TALKATIVE);
  const page = await open(t);
  await page.connect(gateway.ws, pbx.sip(pbx.user(), { password: t.world.secret("Wrong0Password0OfThisTest") }));
  await page.expect("session", "ESTABLISHED", 10);
  const warned = await page.expect("session", "WARN", 15);
  t.measure({ warned });
  check(warned.said === "AUTHENTICATION_FAIL", `WARN said ${warned.said}`);
  check(warned.apiMethod === "RegistrationStatusEvent", `apiMethod was ${warned.apiMethod}`);
  await page.expect("session", "DISCONNECTED", 10);
  check(!(await page.events()).some((event) => event.status === "REGISTERED"), "the page was told REGISTERED");
});

test("a page that leaves is not registered any more", async (t) => {
  const pbx = await t.world.pbx();
  const gateway = await t.world.gateway("relay", TALKATIVE);
  const page = await open(t);
  const login = pbx.user();
  await page.connect(gateway.ws, pbx.sip(login));
  await page.expect("session", "REGISTERED", 10);
  await page.run(() => rig.session.disconnect());
  await page.expect("session", "DISCONNECTED", 10);
  await sleep(1000);
  const phone = await Phone.start(pbx, { play: await t.world.wav(1010, 60, -30) });
  t.after(() => phone.stop());
  await phone.dial(login, pbx);
  const closed = await phone.expect("CALL_CLOSED", 10);
  t.measure({ closed: closed.param });
  check(/480/.test(closed.param ?? ""), `the PBX still knows it: ${closed.param}`);
});

test("Kamailio is killed and comes back within a minute, and the page is registered again by itself", async (t) => {
  const pbx = await t.world.pbx();
  const gateway = await t.world.gateway("relay", TALKATIVE);
  const page = await open(t);
  const login = pbx.user();
  await page.connect(gateway.ws, pbx.sip(login));
  await page.expect("session", "REGISTERED", 10);
  await pbx.kill();
  await sleep(10_000);
  await pbx.start();
  const back = Date.now();
  const phone = await Phone.start(pbx, { play: await t.world.wav(1010, 60, -30) });
  t.after(() => phone.stop());
  // Kamailio forgot everybody: only a new registration makes the page ring.
  await until("a call of the phone reaches the page", 75, async () => {
    await phone.dial(login, pbx);
    const heard = await page.expect("session", "INCOMING_CALL", 3).catch(() => null);
    await phone.command("hangup").catch(() => {});
    await phone.idle().catch(() => {});
    return heard;
  });
  t.measure({ back_after_s: (Date.now() - back) / 1000 });
  check(!(await page.events()).some((event) => event.of === "session" && ["DISCONNECTED", "FAILED"].includes(event.status)), "the page lost its session");
}, 150);
