// Dialling `echo`: no account, no PBX; the caller's own tone comes back.
import { TestPage } from "../browser/lib/browsers.mjs";
import { complaints, measureTone } from "../measure/tone.mjs";
import { check, test } from "./lib/runner.mjs";

const SENT = { hz: 620, db: -20 };
const SECONDS = 20;

/** A page without an account dials `echo` and judges what it hears. */
async function echo(t, page, url) {
  await page.microphone(SENT);
  await page.connect(url);
  await page.expect("session", "ESTABLISHED");
  await page.dial("echo");
  await page.expect("call", "ESTABLISHED", 20);
  await page.record();
  await page.recorded(SECONDS + 1);
  t.measure({ page: await page.stats() });
  const { samples, rate } = await page.keep("echo");
  await page.hangup();
  await page.expect("call", "FINISH");
  const heard = measureTone(samples, rate, { hz: SENT.hz, seconds: SECONDS });
  t.measure({ heard });
  return complaints(heard, { hz: SENT.hz, sentDb: SENT.db, seconds: SECONDS });
}

/** The whole test, in whichever browser. */
export function echoIn(browser, sentence) {
  test(sentence, async (t) => {
    const gateway = await t.world.gateway();
    for (let attempt = 1; ; attempt++) {
      const before = gateway.records.length;
      const page = await TestPage.open(await t.world.browser(browser), await t.world.site());
      t.after(() => page.close());
      t.measure({ browser: (await t.world.browser(browser)).version });
      const wrong = await echo(t, page, gateway.ws);
      await t.world.secretsOf(page);
      const record = await gateway.recordAfter(before);
      t.measure({ record, attempt });
      if (await t.world.again(t, wrong, record, attempt)) continue;
      check(wrong.length === 0, wrong.join("; "));
      return;
    }
  }, 120);
}

echoIn("chromium", "a page without an account dials echo in Chromium and hears itself for 20 s");
