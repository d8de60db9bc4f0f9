// The program's beginning and end, with a call in it.
import { join } from "node:path";
import { TestPage } from "../browser/lib/browsers.mjs";
import { Gateway } from "./lib/gateway.mjs";
import { check, test } from "./lib/runner.mjs";

async function inACall(t, name) {
  const begun = Date.now();
  const gateway = await Gateway.start(join(t.world.folder, name));
  const ready = (Date.now() - begun) / 1000;
  t.after(() => gateway.stop());
  t.measure({ ready_s: ready });
  const page = await TestPage.open(await t.world.browser("chromium"), await t.world.site());
  t.after(() => page.close());
  await page.microphone({ hz: 620, db: -30 });
  await page.connect(gateway.ws);
  await page.expect("session", "ESTABLISHED");
  await page.dial("echo");
  await page.expect("call", "ESTABLISHED", 20);
  return { gateway, page, ready };
}

test("the program is ready within 5 s, and SIGTERM ends its calls politely", async (t) => {
  const { gateway, page, ready } = await inACall(t, "start");
  check(ready < 5, `it took ${ready} s`);
  const end = gateway.stop();
  await page.expect("call", "FINISH");
  await page.expect("session", "DISCONNECTED");
  check((await end) === "exit code 0", `it ended with ${await end}`);
  check(gateway.records.length === 1, "the call's record was not written");
});

test("a second SIGTERM ends the program at once", async (t) => {
  const { gateway } = await inACall(t, "start-twice");
  gateway.child.kill("SIGTERM");
  gateway.child.kill("SIGTERM");
  await gateway.gone;
  check(gateway.end === "exit code 0", `it ended with ${gateway.end}`);
});
