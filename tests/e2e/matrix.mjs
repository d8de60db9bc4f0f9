// Sound that never breaks: everything that can happen in a call, measured. One call for each road and direction, in which
// one cell follows another; what happens before the answer and at a transfer is in before_answer.mjs and transfer.mjs.
import { comesBack, presentInPackets } from "../measure/presence.mjs";
import { ROADS, STAYS_MS, WITHIN_MS, measured, table } from "./lib/matrix.mjs";
import { check, sleep, test } from "./lib/runner.mjs";
import { AiortcPage, SipPhone } from "./lib/scripted.mjs";

/** How long a hold lasts. */
const HELD_MS = 700;
/** A re-INVITE with nothing new for the sound may be heard as little as a network's own jitter. */
const SEAMLESS = { seamless: ["page", "phone"], maxGapMs: 60 };

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
      also.push({ who: "phone", from: begun, to: Date.now(), least: 0.9, why: "while it is silent itself" });
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
    const row = { name };
    for (const who of ["page", "phone"]) {
      const back = comesBack(presentInPackets(said[who].packets), { begun, ended, withinMs: WITHIN_MS, forMs: STAYS_MS });
      row[who] = back.after_ms;
      if (back.after_ms === null || back.after_ms > WITHIN_MS) wrong.push(`a gap: ${name}: the ${who} hears the other ${back.after_ms === null ? "not to stay" : `only after ${back.after_ms} ms`}`);
    }
    told.push(row);
  }
  t.measure({ cells: told, srtp_failed: said.page.srtp_failed, record });
  if (said.page.handshakes !== 1) wrong.push("aiortc's log does not speak of its handshake");
  if (said.page.srtp_failed) wrong.push(`aiortc could not open ${said.page.srtp_failed} packets`);
  if (said.page.descriptions !== 1) wrong.push(`aiortc got ${said.page.descriptions} descriptions`);
  return { wrong, record };
}

test("the table of the matrix", async () => {
  console.log(table().split("\n").map((line) => `# ${line}`).join("\n"));
  check(true, "");
});
