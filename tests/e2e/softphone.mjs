// The softphone page that the gateway serves, used as a person would: by its buttons, read by its words.
import { Phone } from "./lib/phones.mjs";
import { check, test, until } from "./lib/runner.mjs";

/** Opens the page; its microphone is the browser's own fake one, which beeps. */
async function open(t, address = "page") {
  const gateway = await t.world.gateway("relay");
  const { browser } = await t.world.browser("chromium");
  const context = await browser.createBrowserContext();
  t.after(() => context.close());
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && !/favicon/.test(message.location()?.url ?? "") && errors.push(message.text()));
  await page.goto(gateway[address]);
  await page.waitForSelector("#echo:not(:disabled)", { timeout: 10_000 });
  return { page, errors };
}

const words = (page, id) => page.$eval(`#${id}`, (e) => (e.checkVisibility() ? e.textContent : ""));
const level = (page, who) => page.$eval(`#level-${who}`, (e) => Number(e.getAttribute("aria-valuenow")));

for (const [address, over] of [["page", "http on localhost"], ["securePage", "https"]]) {
  test(`the softphone page dials echo with one click over ${over} and both its levels move`, async (t) => {
    const { page, errors } = await open(t, address);
    await page.click("#echo");
    await until("the page says that it is in a call", 15, async () => (await words(page, "call-state")) === "In call" || null);
    let [you, them] = [0, 0];
    await until("both levels move", 15, async () => {
      you = Math.max(you, await level(page, "you"));
      them = Math.max(them, await level(page, "them"));
      return (you > 20 && them > 20) || null;
    });
    t.measure({ you, them });
    await until("the clock runs", 5, async () => (await words(page, "timer")) !== "0:00" || null);
    await page.click("#hangup");
    await until("the dialer is back", 5, async () => (await page.$eval("#dialer", (e) => e.checkVisibility())) || null);
    check(errors.length === 0, `errors in the page: ${errors.join(" | ")}`);
  });
}

test("the softphone page signs in, calls a phone, is called by it, and says in words what a wrong number is", async (t) => {
  const pbx = await t.world.pbx();
  const { page, errors } = await open(t);
  const login = pbx.user();
  await page.type("[name=login]", login);
  await page.type("[name=password]", pbx.password);
  await page.type("[name=domain]", pbx.domain);
  await page.click("#sign-in details summary");
  await page.type("[name=proxy]", "127.0.0.1");
  await page.type("[name=port]", String(pbx.port));
  await page.click("#sign-in button[type=submit]");
  await until("the page is registered", 10, async () => (await words(page, "gateway-words")) === "Ready for calls" || null);
  const phone = await Phone.start(pbx, { play: await t.world.wav(1010, 60, -20) });
  t.after(() => phone.stop());
  await page.type("#number", phone.name);
  await page.click("#dial");
  await until("the page says that it is in a call", 15, async () => (await words(page, "call-state")) === "In call" || null);
  await until("the phone's tone moves the level", 10, async () => (await level(page, "them")) > 20 || null);
  await phone.command("hangup");
  await until("the page says who hung up", 10, async () => /other side hung up/.test(await words(page, "message-words")) || null);
  await phone.idle();
  await phone.dial(login, pbx);
  await until("the page shows who calls", 10, async () => (await words(page, "incoming-who")).includes(phone.name) || null);
  await page.click("#accept");
  await until("the page says that it is in a call again", 15, async () => (await words(page, "call-state")) === "In call" || null);
  await page.click("#hold");
  await until("the page says that it holds", 10, async () => (await words(page, "call-state")) === "On hold" || null);
  await page.click("#hold");
  await until("the page goes on with the call", 10, async () => (await words(page, "call-state")) === "In call" || null);
  await page.click("#hangup");
  await phone.idle();
  await page.$eval("#number", (e) => { e.value = "99999"; });
  await page.click("#dial");
  await until("the page says why there is no call", 15, async () => /no such number|Nobody can be reached/.test(await words(page, "message-words")) || null);
  check(errors.length === 0, `errors in the page: ${errors.join(" | ")}`);
});
