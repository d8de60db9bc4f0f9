// The ends of calls: from either side, at every moment, and what the other side and the page are told.
import { TestPage } from "../browser/lib/browsers.mjs";
import { Phone } from "./lib/phones.mjs";
import { check, sleep, test } from "./lib/runner.mjs";

const QUIET = { hz: 620, db: -30 };

/** So that the search for secrets has much to search. */
const TALKATIVE = { "log.level": '"debug"' };

/** A registered page and a phone that answers by itself, or not. */
async function scene(t, { answer = "auto" } = {}) {
  const pbx = await t.world.pbx();
  const gateway = await t.world.gateway("relay", TALKATIVE);
  const login = pbx.user();
  const page = await TestPage.open(await t.world.browser("chromium"), await t.world.site());
  t.after(async () => {
    await t.world.secretsOf(page);
    await page.close();
  });
  await page.microphone(QUIET);
  await page.connect(gateway.ws, pbx.sip(login));
  await page.expect("session", "REGISTERED");
  const phone = await Phone.start(pbx, { play: await t.world.wav(1010, 60, -30), answer });
  t.after(() => phone.stop());
  return { pbx, gateway, login, page, phone };
}

/** The one finish of a call; a second one is a fault. */
async function finish(page) {
  await sleep(300);
  const frames = (await page.received()).filter((frame) => frame.message === "finish");
  check(frames.length === 1, `${frames.length} finish messages`);
  return frames[0].data[0];
}

test("the page hangs up before TRYING, and the phone that answered a ghost is freed", async (t) => {
  const { page, phone } = await scene(t);
  await page.run(() => {
    // The SDK says nothing of a hangup in this moment: only missing media tells the gateway.
    rig.onSent = (frame) => { if (frame.message === "call") queueMicrotask(() => rig.call.hangup()); };
  });
  await page.dial(phone.name);
  await page.expect("call", "FAILED", 10);
  const begun = Date.now();
  await phone.expect("CALL_CLOSED", 45);
  await phone.idle();
  t.measure({ freed_after_s: (Date.now() - begun) / 1000 });
}, 90);

test("the page hangs up while it rings, and the phone's ringing is cancelled", async (t) => {
  const { page, phone } = await scene(t, { answer: "manual" });
  await page.dial(phone.name);
  await page.expect("call", "RING", 10);
  await phone.expect("CALL_INCOMING");
  await page.hangup();
  await page.expect("call", "FINISH", 10);
  await phone.expect("CALL_CLOSED", 10);
  await phone.idle();
  t.measure({ finish: await finish(page) });
});

test("the page hangs up an answered call, and the phone is told", async (t) => {
  const { page, phone, gateway } = await scene(t);
  const before = gateway.records.length;
  await page.dial(phone.name);
  await page.expect("call", "ESTABLISHED", 15);
  await phone.expect("CALL_ESTABLISHED");
  await sleep(500);
  await page.hangup();
  await page.expect("call", "FINISH", 10);
  await phone.expect("CALL_CLOSED", 10);
  t.measure({ finish: await finish(page), record: await gateway.recordAfter(before) });
});

test("the phone hangs up an answered call, and the page hears FINISH", async (t) => {
  const { page, phone } = await scene(t);
  await page.dial(phone.name);
  await page.expect("call", "ESTABLISHED", 15);
  await phone.expect("CALL_ESTABLISHED");
  await sleep(500);
  await phone.command("hangup");
  await page.expect("call", "FINISH", 10);
  t.measure({ finish: await finish(page) });
});

test("both hang up at once, ten times, and each time nothing is left", async (t) => {
  const { page, phone } = await scene(t);
  for (let i = 0; i < 10; i++) {
    await page.run(() => { rig.received.length = 0; });
    await page.dial(phone.name);
    await page.expect("call", "ESTABLISHED", 15);
    await phone.expect("CALL_ESTABLISHED");
    await Promise.all([page.hangup(), phone.command("hangup")]);
    await page.expect("call", "FINISH", 10);
    await phone.idle();
    await finish(page);
  }
}, 120);

test("the page hangs up around the moment of the answer, twelve times, and each time nothing is left", async (t) => {
  const { page, phone } = await scene(t, { answer: "manual" });
  const ends = {};
  for (let i = 0; i < 12; i++) {
    await page.run(() => { rig.received.length = 0; });
    await page.dial(phone.name);
    await page.expect("call", "RING", 15);
    await phone.expect("CALL_INCOMING");
    // From 10 ms before the answer to 12 ms after it.
    const wait = (i - 5) * 2;
    await Promise.all([
      sleep(Math.max(0, wait)).then(() => page.hangup()),
      sleep(Math.max(0, -wait)).then(() => phone.command("accept")),
    ]);
    await page.expect("call", "FINISH", 10);
    await phone.idle(10);
    const { status } = await finish(page);
    const answered = (await page.received()).some((frame) => frame.message === "talk");
    ends[`${status}${answered ? " after talk" : ""}`] = (ends[`${status}${answered ? " after talk" : ""}`] ?? 0) + 1;
  }
  t.measure({ ends });
}, 150);

test("a busy phone gives the page BUSY", async (t) => {
  const { page, phone } = await scene(t, { answer: "manual" });
  await page.dial(phone.name);
  await page.expect("call", "RING", 10);
  await phone.expect("CALL_INCOMING");
  await phone.command("hangup");
  await page.expect("call", ["BUSY", "FAILED", "FINISH"], 10);
  const said = await finish(page);
  t.measure({ finish: { ...said, sipMessageRaw: undefined } });
  check(said.status === "BUSY" && said.sipStatus === 486, `the page was told ${said.status} with sipStatus ${said.sipStatus}`);
});

test("a wrong number gives the page FAILED with the response's status", async (t) => {
  const { page } = await scene(t);
  await page.dial("99999");
  await page.expect("call", "FAILED", 15);
  const said = await finish(page);
  t.measure({ finish: { ...said, sipMessageRaw: undefined } });
  check(said.sipStatus >= 400 && said.sipStatus < 500, `sipStatus is ${said.sipStatus}`);
  check(/^SIP\/2\.0 4\d\d/.test(said.sipMessageRaw ?? ""), "sipMessageRaw is not the response");
});

test("the page rejects an incoming call, and the phone is told at once", async (t) => {
  const { page, phone, login, pbx } = await scene(t);
  await phone.dial(login, pbx);
  await page.expect("session", "INCOMING_CALL", 10);
  await page.expect("call", "RING", 5);
  const begun = Date.now();
  await page.hangup();
  const closed = await phone.expect("CALL_CLOSED", 10);
  await page.expect("call", ["FINISH", "FAILED"], 10);
  t.measure({ phone: closed.param, after_ms: Date.now() - begun });
  await finish(page);
});

test("the caller gives up while the page rings, and the page hears FINISH", async (t) => {
  const { page, phone, login, pbx } = await scene(t);
  await phone.dial(login, pbx);
  await page.expect("session", "INCOMING_CALL", 10);
  await page.expect("call", "RING", 5);
  await sleep(300);
  await phone.command("hangup");
  await page.expect("call", "FINISH", 10);
  await phone.idle();
  await finish(page);
});

test("a page that vanishes in a call frees the phone", async (t) => {
  const { page, phone } = await scene(t);
  await page.dial(phone.name);
  await page.expect("call", "ESTABLISHED", 15);
  await phone.expect("CALL_ESTABLISHED");
  await t.world.secretsOf(page);
  await page.close();
  await phone.expect("CALL_CLOSED", 15);
});
