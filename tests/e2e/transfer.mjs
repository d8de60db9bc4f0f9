// Transfers: the phone (PJSIP) sends the page on to somebody else, and the page sends the phone on; what is heard after it.
import { comesBack, presentInPackets, presentInRecording } from "../measure/presence.mjs";
import { PAGE, PHONE, ROADS, STAYS_MS, WITHIN_MS, patience, registered, row } from "./lib/matrix.mjs";
import { PjsipPhone } from "./lib/phones.mjs";
import { check, sleep, test, until } from "./lib/runner.mjs";
import { SipPhone } from "./lib/scripted.mjs";

/** The one that the call is transferred to sounds otherwise than the one that transfers it. */
const THIRD = { hz: 1390, db: -20 };
/** Of a tone of -20 dBFS so much is left where the other one is looked for. */
const APART_DB = -28;

const confirmed = (event) => event.event === "call" && event.state === "CONFIRMED";
const over = (event) => event.event === "call" && event.state === "DISCONNECTED";

for (const road of ["relayed", "transcoded"]) {
  for (const direction of ["outgoing", "incoming"]) {
    test(`the phone transfers an ${direction} call, ${road}, blindly and attended, and the page hears the third within 300 ms`, async (t) => {
      for (let attempt = 1; ; attempt++) {
        const wrong = [];
        const rows = [];
        let record;
        for (const kind of ["blind", "attended"]) record = await byPhone(t, { road, direction, kind, wrong, rows });
        if (await t.world.again(t, wrong, record, attempt)) continue;
        rows.forEach(row);
        check(wrong.length === 0, wrong.join("; "));
        return;
      }
    }, 120);
  }
}

async function byPhone(t, { road, direction, kind, wrong, rows }) {
  const pbx = await t.world.pbx();
  const gateway = await t.world.gateway(ROADS[road].policy);
  const before = gateway.records.length;
  const login = pbx.user();
  const page = await registered(t, gateway, pbx, login);
  const phone = await PjsipPhone.start(pbx, { play: await t.world.wav(PHONE.hz, 60, PHONE.db), more: ["--codecs", "PCMU"] });
  t.after(() => phone.stop());
  const third = await SipPhone.start(pbx, { ...THIRD, listen: PAGE.hz });
  t.after(() => third.stop());
  if (direction === "outgoing") {
    await page.dial(phone.name);
  } else {
    phone.say(`call sip:${login}@127.0.0.1:${pbx.port}`);
    await page.expect("session", "INCOMING_CALL");
    await page.answer();
  }
  await page.expect("call", "ESTABLISHED", 20);
  const { n } = await phone.expect(confirmed, "the call is confirmed");
  await page.record();
  await sleep(800);

  const target = `sip:${third.name}@127.0.0.1:${pbx.port}`;
  let begun;
  if (kind === "blind") {
    begun = Date.now();
    phone.say(`refer ${n} ${target}`);
  } else {
    phone.say(`call ${target}`);
    const consult = (await phone.expect(confirmed, "the consultation is confirmed")).n;
    await third.expect("established");
    await sleep(300);
    begun = Date.now();
    phone.say(`attended ${n} ${consult}`);
  }
  const invited = await third.expect("incoming", 10, (event) => kind === "blind" || event.replaces);
  const ended = (await third.expect("established", 10, (event) => event.call === invited.call)).at * 1000;
  const told = await phone.expect((event) => event.event === "transfer" && event.final, "the transfer is over");
  if (told.code !== 200) wrong.push(`${kind}: the phone was told ${told.code} at the end`);
  await phone.expect(over, "its call is over");
  await sleep(Math.max(0, ended + WITHIN_MS + STAYS_MS + 200 - Date.now()));

  const { samples, rate, lags } = await page.keep(`transfer-${login}`);
  const { packets } = await third.do("heard");
  const events = (await page.events()).map((event) => event.status);
  await page.hangup();
  await page.expect("call", "FINISH");
  await third.expect("closed");
  const frames = await page.received();
  await t.world.secretsOf(page);
  await page.close();
  await Promise.all([phone.stop(), third.stop()]);
  const record = await gateway.recordAfter(before);
  const heard = { page: presentInRecording(samples, rate, THIRD.hz, lags, APART_DB), phone: presentInPackets(packets) };
  const cell = { cell: `${kind} transfer by the phone`, road, direction };
  for (const who of ["page", "phone"]) {
    const back = comesBack(heard[who], { begun: ended, ended, withinMs: WITHIN_MS, forMs: STAYS_MS, maxGapMs: who === "phone" ? patience(record) : 60 });
    cell[who] = back.after_ms;
    if (back.after_ms === null || back.after_ms > WITHIN_MS) wrong.push(`a gap: ${kind}: the ${who === "phone" ? "third" : who} hears the other ${back.after_ms === null ? "not to stay" : `only after ${back.after_ms} ms`}`);
  }
  rows.push(cell);
  const descriptions = frames.filter((frame) => frame.message === "setRemoteSDP").length;
  if (descriptions !== 1) wrong.push(`${kind}: the browser got ${descriptions} descriptions`);
  if (frames.some((frame) => frame.message === "notifyTransferEvent")) wrong.push(`${kind}: a page of API 2.0 was told of their transfer`);
  if (events.some((status) => ["FINISH", "FAILED"].includes(status))) wrong.push(`${kind}: the page's call ended`);
  t.measure({ [kind]: { ...cell, took_ms: Math.round(ended - begun), record } });
  return record;
}

/** A page in a call with a PJSIP phone, and a third phone that is to hear that phone in the end. */
async function scene(t, { refer } = {}) {
  const pbx = await t.world.pbx();
  const gateway = await t.world.gateway("relay");
  const page = await registered(t, gateway, pbx, pbx.user());
  const third = await SipPhone.start(pbx, { ...THIRD, listen: PHONE.hz });
  t.after(() => third.stop());
  let phone;
  if (refer) {
    phone = await SipPhone.start(pbx, { ...PHONE, listen: PAGE.hz, refer });
  } else {
    phone = await PjsipPhone.start(pbx, { play: await t.world.wav(PHONE.hz, 60, PHONE.db), more: ["--codecs", "PCMU", "--proxy"] });
  }
  t.after(() => phone.stop());
  await page.dial(phone.name);
  await page.expect("call", "ESTABLISHED", 20);
  await sleep(500);
  return { pbx, gateway, page, phone, third };
}

const transfers = async (page) => (await page.received()).filter((frame) => frame.message === "notifyTransferEvent").map((frame) => frame.data[0].status);

/** Whether the third hears the phone that was sent to it. */
async function thirdHears(third, sentence) {
  await until(sentence, 5, async () => {
    const { packets } = await third.do("heard");
    return packets.slice(-40).filter(([, db]) => db > APART_DB).length > 35 || null;
  });
}

test("the page transfers a call blindly, and is told ACCEPTED, TRYING, COMPLETED and FINISH", async (t) => {
  const { page, third } = await scene(t);
  await page.run((target) => rig.call.transfer(target), third.name);
  await third.expect("established");
  await page.expect("call", "FINISH");
  const said = await transfers(page);
  t.measure({ said });
  for (const status of ["ACCEPTED", "TRYING", "COMPLETED"]) check(said.includes(status), `the page was not told ${status}, but ${said.join(", ")}`);
  await thirdHears(third, "the third hears the phone that was transferred");
}, 60);

test("the page transfers a held call to the far end of its other call, by a REFER with Replaces", async (t) => {
  const { page, third } = await scene(t);
  await page.run(() => { rig.first = rig.call; rig.first.hold(); });
  await page.expect("call", "HOLD");
  await page.dial(third.name);
  await page.expect("call", "ESTABLISHED");
  await third.expect("established");
  await page.run((target) => rig.first.transfer(target), third.name);
  const replaced = await third.expect("incoming", 10, (event) => event.replaces);
  await third.expect("established", 10, (event) => event.call === replaced.call);
  await page.expect("call", "FINISH");
  await page.expect("call", "FINISH");
  const said = await transfers(page);
  t.measure({ said });
  check(said.includes("COMPLETED"), `the page was told ${said.join(", ")}`);
  await thirdHears(third, "the third hears the phone that was transferred");
}, 60);

for (const refer of [405, 603]) {
  test(`a phone that refuses to be transferred with ${refer} stays in its call, and the page is told FAILED`, async (t) => {
    const { page, phone, third } = await scene(t, { refer });
    await page.run((target) => rig.call.transfer(target), third.name);
    await until("the page is told FAILED", 10, async () => (await transfers(page)).includes("FAILED") || null);
    const refusedAt = Date.now();
    await sleep(WITHIN_MS + STAYS_MS + 100);
    const { packets } = await phone.do("heard");
    const back = comesBack(presentInPackets(packets), { begun: refusedAt, ended: refusedAt });
    t.measure({ said: await transfers(page), phone: back });
    const warned = (await page.received()).filter((frame) => frame.message === "fail").map((frame) => frame.data[0].apiMethod);
    check(warned.includes("TransferStatusEvent"), `the page was warned with ${warned.join(", ") || "nothing"}`);
    check(!(await page.events()).some((event) => event.of === "call" && ["FINISH", "FAILED"].includes(event.status)), "the call ended");
    check(back.after_ms !== null, "the phone does not hear the page any more");
    await page.hangup();
    await page.expect("call", "FINISH");
  }, 60);
}
