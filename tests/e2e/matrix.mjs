// Sound that never breaks: everything that can happen in a call, measured. One call for each road and direction, in which
// one cell follows another; what happens before the answer and at a transfer is in before_answer.mjs and transfer.mjs.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { TestPage } from "../browser/lib/browsers.mjs";
import { comesBack, presentInPackets, presentInRecording } from "../measure/presence.mjs";
import { measureTone } from "../measure/tone.mjs";
import { PAGE, PHONE, ROADS, STAYS_MS, WITHIN_MS, measured, patience, registered, row, table } from "./lib/matrix.mjs";
import { Phone } from "./lib/phones.mjs";
import { check, sleep, test } from "./lib/runner.mjs";
import { AiortcPage, RtpPhone, SipPhone, Sipp } from "./lib/scripted.mjs";

/** How long a hold lasts. */
const HELD_MS = 700;
/** A re-INVITE with nothing new for the sound may be heard as little as a network's own jitter. */
const SEAMLESS = { seamless: ["page", "phone"] };

for (const road of ["relayed", "transcoded"]) {
  for (const direction of ["outgoing", "incoming"]) {
    test(`whatever happens in an ${direction} call, ${road}, both hear each other again within 300 ms`, async (t) => {
      await measured(t, { road, direction }, script);
    }, 150);
  }
}

async function script(scene) {
  const { page, phone } = scene;

  await scene.cell("hold by the page", async () => {
    await page.run(() => rig.call.hold());
    await page.expect("call", "HOLD");
    const held = Date.now();
    await sleep(HELD_MS);
    const until = Date.now();
    await page.run(() => rig.call.unhold());
    const { ended } = { ended: await scene.clock(await page.expect("call", "ESTABLISHED")) };
    scene.held = { who: "phone", from: held + 100, to: until, most: 0.2, why: "while it is on hold" };
    return { ended };
  });

  for (const [name, how, alone] of [
    ["hold by the phone, sendonly", { direction: "sendonly" }, true],
    ["hold by the phone, inactive", { direction: "inactive" }, false],
    ["hold by the phone, 0.0.0.0", { zero: true }, true],
  ]) {
    const also = [];
    await scene.cell(name, async () => {
      await phone.do("reinvite", how);
      await page.expect("call", "HOLD");
      const held = Date.now();
      await sleep(HELD_MS);
      // Music on hold is heard; who is on hold is not.
      if (alone) also.push({ who: "page", from: held + 300, to: Date.now(), least: 0.8, why: "music on hold" });
      also.push({ who: "phone", from: held + 300, to: Date.now(), most: 0.2, why: "while the page is on hold" });
      const { ended } = await phone.do("reinvite");
      await page.expect("call", "ESTABLISHED");
      return { ended };
    }, { also });
  }

  await scene.cell("re-INVITE with a new port", () => phone.do("reinvite", { port: "new" }));
  await scene.cell("re-INVITE with a new codec", () => phone.do("reinvite", { codecs: [8] }), { pt: 8 });
  await scene.cell("re-INVITE with the old codec", () => phone.do("reinvite", { codecs: [0, 8] }), { pt: 0 });
  await scene.cell("re-INVITE, new SSRC, same sequence", () => phone.do("reinvite", { ssrc: "new" }));
  await scene.cell("re-INVITE, same SSRC, new sequence", () => phone.do("reinvite", { seq: 20_000 }));
  await scene.cell("same SSRC, sequence back by 30,000", () => phone.do("rtp", { seq: -30_000 }));
  await scene.cell("new SSRC, no re-INVITE", () => phone.do("rtp", { ssrc: "new" }));
  for (const [name, mode, ms] of [["3 s of silence, then sound", "off", 3000], ["DTX (comfort noise), then sound", "dtx", 1000]]) {
    const also = [];
    await scene.cell(name, async () => {
      const { begun } = await phone.do("rtp", { mode });
      await sleep(ms);
      also.push({ who: "phone", from: begun, to: Date.now(), least: 0.8, why: "while it is silent itself" });
      return phone.do("rtp", { mode: "tone" });
    }, { also });
  }
  await scene.cell("UPDATE refresh with a description", () => phone.do("update"), SEAMLESS);
  await scene.cell("UPDATE refresh without one", () => phone.do("update", { bare: true }), SEAMLESS);
  await scene.cell("late-offer re-INVITE", () => phone.do("reinvite", { late: true }), SEAMLESS);
}

for (const road of ["relayed", "transcoded"]) {
  test(`aiortc's SRTP opens every packet through holds, a new SSRC and a new sequence, ${road}`, async (t) => {
    for (let attempt = 1; ; attempt++) {
      const { wrong, record } = await withAiortc(t, road);
      if (await t.world.again(t, wrong, record, attempt)) continue;
      check(wrong.length === 0, wrong.join("; "));
      return;
    }
  }, 90);
}

async function withAiortc(t, road) {
  const pbx = await t.world.pbx();
  const gateway = await t.world.gateway(ROADS[road].policy);
  const before = gateway.records.length;
  const page = await AiortcPage.start(t, gateway, pbx);
  const phone = await SipPhone.start(pbx);
  t.after(() => phone.stop());
  await page.do("call", { to: phone.name });
  await page.status("ESTABLISHED", 20);
  await sleep(1500);
  const cells = [];
  const cell = async (name, what) => {
    const begun = Date.now();
    cells.push({ name, begun, ended: await what() });
    await sleep(WITHIN_MS + STAYS_MS + 100);
  };
  await cell("hold by the page", async () => {
    await page.do("hold");
    await page.status("HOLD");
    await sleep(HELD_MS);
    await page.do("unhold");
    return (await page.status("ESTABLISHED")).at * 1000;
  });
  await cell("hold by the phone, inactive", async () => {
    await phone.do("reinvite", { direction: "inactive" });
    await page.status("HOLD");
    await sleep(HELD_MS);
    return (await phone.do("reinvite")).ended;
  });
  await cell("re-INVITE, new SSRC, same sequence", async () => (await phone.do("reinvite", { ssrc: "new" })).ended);
  await cell("re-INVITE, same SSRC, new sequence", async () => (await phone.do("reinvite", { seq: 20_000 })).ended);
  await cell("same SSRC, sequence back by 30,000", async () => (await phone.do("rtp", { seq: -30_000 })).ended);
  await cell("new SSRC, no re-INVITE", async () => (await phone.do("rtp", { ssrc: "new" })).ended);
  const said = { page: await page.do("heard"), phone: await phone.do("heard") };
  await page.do("hangup");
  await phone.expect("closed");
  await Promise.all([page.stop(), phone.stop()]);
  const record = await gateway.recordAfter(before);
  const wrong = [];
  const told = [];
  for (const { name, begun, ended } of cells) {
    const cell = { name };
    for (const who of ["page", "phone"]) {
      const back = comesBack(presentInPackets(said[who].packets), { begun, ended, withinMs: WITHIN_MS, forMs: STAYS_MS, maxGapMs: who === "phone" ? patience(record) : 60 });
      cell[who] = back.after_ms;
      if (back.after_ms === null || back.after_ms > WITHIN_MS) wrong.push(`a gap: ${name}: the ${who} hears the other ${back.after_ms === null ? "not to stay" : `only after ${back.after_ms} ms`}`);
    }
    told.push(cell);
  }
  t.measure({ cells: told, srtp_failed: said.page.srtp_failed, record });
  if (said.page.handshakes !== 1) wrong.push("aiortc's log does not speak of its handshake");
  if (said.page.srtp_failed) wrong.push(`aiortc could not open ${said.page.srtp_failed} packets`);
  if (said.page.descriptions !== 1) wrong.push(`aiortc got ${said.page.descriptions} descriptions`);
  return { wrong, record };
}

for (const road of ["relayed", "transcoded"]) {
  test(`SIPp holds and resumes a call, refreshes it and asks for an offer, and both hear each other again, ${road}`, async (t) => {
    for (let attempt = 1; ; attempt++) {
      const { wrong, record, rows } = await withSipp(t, road);
      if (await t.world.again(t, wrong, record, attempt)) continue;
      rows.forEach(row);
      check(wrong.length === 0, wrong.join("; "));
      return;
    }
  }, 90);
}

async function withSipp(t, road) {
  const gateway = await t.world.gateway(ROADS[road].policy);
  const before = gateway.records.length;
  const phone = await RtpPhone.start(t.world.folder, { ...PHONE, listen: PAGE.hz });
  t.after(() => phone.stop());
  const sipp = await Sipp.start(t, "holds", { rtp_port: phone.port });
  const page = await TestPage.open(await t.world.browser("chromium"), await t.world.site());
  t.after(() => page.close());
  await page.microphone(PAGE);
  await page.connect(gateway.ws, sipp.sip("page"));
  await page.expect("session", "ESTABLISHED");
  await page.dial("7000");
  await page.expect("call", "ESTABLISHED");
  await phone.do("rtp", { mode: "tone", to: sipp.media() });
  await page.record();
  const offset = await page.run(() => Date.now() - performance.now());
  const cells = [];
  for (const name of ["hold by SIPp, sendonly", "hold by SIPp, inactive", "hold by SIPp, 0.0.0.0"]) {
    const begun = (await page.expect("call", "HOLD")).at + offset;
    cells.push({ name, begun, ended: (await page.expect("call", "ESTABLISHED")).at + offset });
  }
  const last = cells.at(-1).ended + WITHIN_MS + STAYS_MS;
  await sleep(last + 2500 - Date.now());
  const { samples, rate, lags } = await page.keep(`sipp-${road}`);
  const { packets } = await phone.do("heard");
  await page.hangup();
  await page.expect("call", "FINISH");
  const descriptions = (await page.received()).filter((frame) => frame.message === "setRemoteSDP").length;
  const signalled = readFileSync(join(sipp.folder, "messages.log"), "latin1");
  await t.world.secretsOf(page);
  await page.close();
  await Promise.all([phone.stop(), sipp.stop()]);
  const record = await gateway.recordAfter(before);
  const heard = { page: presentInRecording(samples, rate, PHONE.hz, lags), phone: presentInPackets(packets) };
  const wrong = [];
  const rows = [];
  for (const { name, begun, ended } of cells) {
    const told = { cell: name, road, direction: "outgoing" };
    for (const who of ["page", "phone"]) {
      told[who] = comesBack(heard[who], { begun, ended, maxGapMs: who === "phone" ? patience(record) : 60 }).after_ms;
      if (told[who] === null || told[who] > WITHIN_MS) wrong.push(`a gap: ${name}: the ${who} hears the other ${told[who] === null ? "not to stay" : `only after ${told[who]} ms`}`);
    }
    rows.push(told);
  }
  // The UPDATE and the re-INVITE without an offer come after the last hold, and nobody hears anything of them.
  for (const who of ["page", "phone"]) {
    const { longest_gap_ms: gap } = comesBack(heard[who], { begun: last, ended: last + 700 });
    if (gap > (who === "phone" ? patience(record) : 60)) wrong.push(`a gap: of ${gap} ms as the ${who} hears the UPDATE and the late offer`);
  }
  if (!/CSeq: 7 UPDATE/.test(signalled) || !/CSeq: 8 ACK/.test(signalled)) wrong.push("SIPp did not get as far as its UPDATE and its late offer");
  if (descriptions !== 1) wrong.push(`the browser got ${descriptions} descriptions`);
  t.measure({ cells: rows, record });
  return { wrong, record, rows };
}

for (const [road, direction] of [["relayed", "outgoing"], ["transcoded", "incoming"]]) {
  test(`baresip holds and resumes an ${direction} call, ${road}, and both hear each other again`, async (t) => {
    for (let attempt = 1; ; attempt++) {
      const { wrong, record, rows } = await withBaresip(t, road, direction);
      if (await t.world.again(t, wrong, record, attempt)) continue;
      rows.forEach(row);
      check(wrong.length === 0, wrong.join("; "));
      return;
    }
  }, 90);
}

async function withBaresip(t, road, direction) {
  const pbx = await t.world.pbx();
  const gateway = await t.world.gateway(ROADS[road].policy);
  const before = gateway.records.length;
  const login = pbx.user();
  const page = await registered(t, gateway, pbx, login);
  const phone = await Phone.start(pbx, { play: await t.world.wav(PHONE.hz, 60, PHONE.db) });
  t.after(() => phone.stop());
  if (direction === "outgoing") {
    await page.dial(phone.name);
  } else {
    await phone.dial(login, pbx);
    await page.expect("session", "INCOMING_CALL");
    await page.answer();
  }
  await page.expect("call", "ESTABLISHED", 20);
  await phone.expect("CALL_ESTABLISHED");
  await page.record();
  await sleep(1200);
  const offset = await page.run(() => Date.now() - performance.now());
  const begun = Date.now();
  await phone.command("hold");
  await page.expect("call", "HOLD");
  await sleep(HELD_MS);
  await phone.command("resume");
  const ended = (await page.expect("call", "ESTABLISHED")).at + offset;
  await sleep(WITHIN_MS + STAYS_MS + 300);
  const { samples, rate, lags } = await page.keep(`baresip-${login}`);
  await page.hangup();
  await page.expect("call", "FINISH");
  await phone.expect("CALL_CLOSED");
  const dump = phone.heard();
  await t.world.secretsOf(page);
  await page.close();
  await phone.stop();
  const record = await gateway.recordAfter(before);
  const back = comesBack(presentInRecording(samples, rate, PHONE.hz, lags), { begun, ended });
  const wrong = [];
  if (back.after_ms === null || back.after_ms > WITHIN_MS) wrong.push(`a gap: the page hears the phone ${back.after_ms === null ? "not to stay" : `only after ${back.after_ms} ms`}`);
  // Its recording is made of the packets that came and has no clock; the last second of it came after the resumption.
  const last = measureTone(dump.samples.subarray(Math.max(0, dump.samples.length - dump.rate)), dump.rate, { hz: PAGE.hz, fromMs: 0 });
  if (Math.abs(last.hz - PAGE.hz) > 5 || Math.abs(last.level_db - PAGE.db) > 3) wrong.push(`the phone hears ${last.hz} Hz at ${last.level_db} dB at the end`);
  t.measure({ page: back, phone: last, record });
  return { wrong, record, rows: [{ cell: "hold by baresip", road, direction, page: back.after_ms, phone: "heard" }] };
}

/** What the table cannot have, and why. */
const NOT_POSSIBLE = [
  { cell: "183, then 200 with another description", direction: "incoming", why: "the gateway answers, and a page has one description" },
  { cell: "183 of one branch, 200 of another", direction: "incoming", why: "branches are the callee's; here that is one page" },
];

test("the table of the matrix is printed", async () => {
  const lines = table(NOT_POSSIBLE).split("\n");
  const whys = NOT_POSSIBLE.map(({ cell, direction, why }) => `n/a: ${cell}, ${direction}: ${why}`);
  console.log([...lines, ...whys].map((line) => `# ${line}`).join("\n"));
  check(lines.length > 2, "no cell was measured in this run");
});
