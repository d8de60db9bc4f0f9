// Signaling and media in processes of their own: the link between them is cut, and a media process dies.
import { join } from "node:path";
import { TestPage } from "../browser/lib/browsers.mjs";
import { complaints, measureTone } from "../measure/tone.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { check, sleep, test, until } from "./lib/runner.mjs";
import { UdpRelay } from "./lib/udp_relay.mjs";

const TONE = { hz: 620, db: -20 };

/** A media process, and a signaling and trunk process that reaches it through a relay. */
async function apart(t, name, { grace }) {
  const folder = join(t.world.folder, name);
  const link = { "link.dir": JSON.stringify(join(folder, "link")), "link.grace": String(grace) };
  const startMedia = (port, n) =>
    Gateway.start(join(folder, `media-${n}`), { ...link, "link.listen": `"127.0.0.1:${port}"` }, ["--roles", "media"]);
  const media = await startMedia(0, 1);
  const port = Number(media.address("link").split(":").at(-1));
  const relay = await UdpRelay.start(port);
  const signaling = await Gateway.start(
    join(folder, "signaling"),
    { ...link, "link.peers": `["media=127.0.0.1:${relay.port}"]` },
    ["--roles", "signaling,trunk"],
  );
  const both = { signaling, media, relay, again: async () => (both.media = await startMedia(port, 2)) };
  t.after(async () => {
    check((await signaling.stop()) === "exit code 0", "the signaling process did not end in order");
    await both.media.stop();
    relay.close();
  });
  return both;
}

async function talking(t, gateway) {
  const page = await TestPage.open(await t.world.browser("chromium"), await t.world.site());
  t.after(() => page.close());
  await page.microphone(TONE);
  await page.connect(gateway.ws);
  await page.expect("session", "ESTABLISHED");
  await page.dial("echo");
  await page.expect("call", "ESTABLISHED", 20);
  return page;
}

const ready = async (gateway) => (await fetch(`${gateway.admin}/readyz`)).status === 200;

test("the link is gone and back within its grace, and the call goes on without a gap", async (t) => {
  const { signaling, relay } = await apart(t, "link-cut", { grace: 30 });
  const page = await talking(t, signaling);
  await page.record();
  await sleep(2000);
  relay.silent = true;
  await until("the link is down", 20, async () => !(await ready(signaling)));
  await sleep(2000);
  relay.silent = false;
  await until("the link is back", 20, () => ready(signaling));
  await page.recorded(16);
  const { samples, rate } = await page.keep("link-cut");
  const heard = measureTone(samples, rate, { hz: TONE.hz, seconds: 15 });
  t.measure({ heard });
  await page.hangup();
  await page.expect("call", "FINISH");
  const record = await signaling.recordAfter(0);
  t.measure({ record });
  check(record?.browser?.received > 500, "the call's record has no packets of it");
  const wrong = complaints(heard, { hz: TONE.hz, sentDb: TONE.db, seconds: 15 });
  check(wrong.length === 0, wrong.join("; "));
}, 120);

test("a media process that dies ends its calls FAILED, new calls get 503, and all works again when it is back", async (t) => {
  const both = await apart(t, "media-dies", { grace: 3 });
  const page = await talking(t, both.signaling);
  await both.media.kill();
  const failed = await page.expect("call", "FAILED", 30);
  t.measure({ failed });
  await page.dial("echo");
  const refused = await page.expect("call", "FAILED", 10);
  t.measure({ refused });
  const frames = await page.received();
  const last = frames.filter((f) => f.message === "finish").at(-1).data[0];
  check(last.sipStatus === 503, `the new call was refused with ${last.sipStatus}`);
  await both.again();
  await until("the link is up again", 20, () => ready(both.signaling));
  await page.dial("echo");
  await page.expect("call", "ESTABLISHED", 20);
  await page.record();
  await page.recorded(3);
  const { samples, rate } = await page.keep("media-dies");
  const heard = measureTone(samples, rate, { hz: TONE.hz, seconds: 2 });
  t.measure({ heard });
  check(Math.abs(heard.hz - TONE.hz) < 5, `heard ${heard.hz} Hz`);
  await page.hangup();
  await page.expect("call", "FINISH");
}, 120);
