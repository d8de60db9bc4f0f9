// Each status of a call, of a registration and of a transfer, produced by its SIP cause and told to a page with the
// unmodified SDK. SIPp answers as the dialled number says (bed/sipp/answers.xml).
import { TestPage } from "../browser/lib/browsers.mjs";
import { check, sleep, test, until } from "./lib/runner.mjs";
import { Sipp, SipPhone } from "./lib/scripted.mjs";

const QUIET = { hz: 620, db: -30 };

async function open(t) {
  const page = await TestPage.open(await t.world.browser("chromium"), await t.world.site());
  t.after(async () => {
    await t.world.secretsOf(page);
    await page.close();
  });
  await page.microphone(QUIET);
  return page;
}

/** What a page is told from a dialled number to the call's end: the SDK's events and the last frame. */
async function told(page, number, { hangupAfter = null, seconds = 15 } = {}) {
  const [from, frames] = await page.run(() => [rig.events.length, rig.received.length]);
  await page.dial(number);
  if (hangupAfter) {
    await page.expect("call", hangupAfter, seconds);
    await page.hangup();
  }
  await page.expect("call", ["FINISH", "FAILED", "BUSY"], seconds);
  const events = (await page.events()).slice(from).filter((event) => event.of === "call").map((event) => event.status);
  const received = (await page.received()).slice(frames);
  const finish = received.filter((frame) => frame.message === "finish");
  check(finish.length === 1, `${number}: ${finish.length} finish messages`);
  const wire = received.filter((frame) => frame.data?.[0]?.callId).map((frame) => `${frame.message} ${frame.data[0].status ?? ""}`.trim());
  return { events, wire, last: finish[0].data[0] };
}

test("every status of a call is told to the page for its SIP cause", async (t) => {
  const gateway = await t.world.gateway();
  const sipp = await Sipp.start(t, "answers", { rtp_port: 40000, rtp_port_b: 40002 });
  const page = await open(t);
  await page.connect(gateway.ws, sipp.sip("page"));
  await page.expect("session", "ESTABLISHED");
  const seen = {};
  const wrong = [];
  // Beside all the others, since it takes as long as a transaction may: the far side says nothing to an INVITE.
  const silent = await Sipp.start(t, "silent");
  const waiting = await open(t);
  await waiting.connect(gateway.ws, silent.sip("waiting"));
  await waiting.expect("session", "ESTABLISHED");
  const unheard = told(waiting, "7000", { seconds: 45 }).catch((error) => ({ last: { info: error.message } }));

  const want = (number, holds, sentence) => holds || wrong.push(`${number}: ${sentence}: ${JSON.stringify(seen[number])}`);
  const dial = async (number, more) => {
    const { events, wire, last } = await told(page, number, more).catch((error) => ({ events: [], wire: [], last: { info: error.message } }));
    seen[number] = { events, wire, last: `${last.status} ${last.sipStatus} ${last.info}` };
    return { events, wire, last };
  };

  const order = (events, ...statuses) => {
    let at = -1;
    return statuses.every((status) => (at = events.indexOf(status, at + 1)) >= 0);
  };
  let said = await dial("7180", { hangupAfter: "ESTABLISHED" });
  want("7180", order(said.events, "TRYING", "RING", "ESTABLISHED", "FINISH"), "a 180 and a 200 are TRYING, RING, ESTABLISHED, and our BYE is FINISH");
  said = await dial("7181", { hangupAfter: "ESTABLISHED" });
  want("7181", order(said.events, "TRYING", "RING_MEDIA", "ESTABLISHED", "FINISH"), "a 180 with a description is RING_MEDIA");
  said = await dial("7183", { hangupAfter: "ESTABLISHED" });
  want("7183", order(said.events, "TRYING", "SESSION_PROGRESS", "ESTABLISHED", "FINISH"), "a 183 is SESSION_PROGRESS");
  said = await dial("7185", { hangupAfter: "ESTABLISHED" });
  want("7185", order(said.events, "TRYING", "RING", "ESTABLISHED", "FINISH") , "181 and 182 do not end the ringing");
  said = await dial("7200");
  want("7200", order(said.events, "ESTABLISHED", "FINISH") && said.last.status === "FINISH", "their BYE is FINISH");
  said = await dial("7190", { hangupAfter: "RING" });
  want("7190", order(said.events, "RING", "FINISH") && said.last.status === "FINISH", "our CANCEL is FINISH");
  for (const code of [486, 600]) {
    said = await dial(`7${code}`);
    want(`7${code}`, said.last.status === "BUSY" && said.last.sipStatus === code, `${code} is BUSY`);
  }
  for (const code of [400, 403, 404, 408, 410, 415, 480, 484, 488, 500, 501, 503, 504, 603, 604, 606]) {
    said = await dial(`7${code}`);
    want(`7${code}`, said.last.status === "FAILED" && said.last.sipStatus === code, `${code} is FAILED`);
    want(`7${code}`, new RegExp(`^SIP ${code}\\b`).test(said.last.info ?? ""), "its info is the status as SIP writes it");
    want(`7${code}`, said.last.sipMessageRaw?.startsWith(`SIP/2.0 ${code} `), "its raw message is the response");
  }
  const { last } = await unheard;
  seen.silence = `${last.status} ${last.info}`;
  want("silence", last.status === "FAILED" && last.info === "Failed by request timeout", "no answer at all is FAILED");
  t.measure({ seen });
  check(wrong.length === 0, wrong.join("\n"));
}, 120);

test("every status of a registration is told to the page for its SIP cause", async (t) => {
  const pbx = await t.world.pbx();
  const gateway = await t.world.gateway();
  const registered = await open(t);
  const login = pbx.user();
  await registered.connect(gateway.ws, pbx.sip(login));
  await registered.expect("session", "REGISTERED");
  await registered.run(() => rig.session.disconnect());
  await registered.expect("session", "DISCONNECTED");

  const refused = await open(t);
  await refused.connect(gateway.ws, pbx.sip(pbx.user(), { password: t.world.secret("Another0Wrong0Password") }));
  const first = await refused.expect("session", "WARN");
  check(first.said === "AUTHENTICATION_FAIL", `a refused password is told as ${first.said}`);

  const seen = {};
  for (const [status, wanted] of [["403 Says So", "AUTHENTICATION_FAIL"], ["404 Says So", "FAILED"], ["600 Says So", "FAILED"], ["503 Says So", "FAILED"]]) {
    const sipp = await Sipp.start(t, "registrar", { status });
    const page = await open(t);
    await page.connect(gateway.ws, sipp.sip("page", { registerRequired: true, password: t.world.secret("Some0Password0Of0Mine") }));
    const warned = await page.expect("session", "WARN", 20);
    seen[status] = `${warned.said} ${warned.info}`;
    check(warned.said === wanted && warned.apiMethod === "RegistrationStatusEvent", `${status} is told as ${warned.apiMethod} ${warned.said}`);
    await page.expect("session", "DISCONNECTED");
    await page.close();
    await sipp.stop();
  }
  t.measure({ seen });
}, 90);
