// Pictures: a page and a phone that share VP8 or H.264 see each other, soon after the answer and soon after a hold.
import { TestPage } from "../browser/lib/browsers.mjs";
import { readPng } from "../measure/png.mjs";
import { Phone } from "./lib/phones.mjs";
import { check, sleep, test } from "./lib/runner.mjs";

const SIZE = { width: 320, height: 240 };
const CAMERA = { ...SIZE, colour: "rgb(200, 30, 30)" };
const WITH_VIDEO = { constraints: { audio: true, video: { ...SIZE } }, receiveAudio: true, receiveVideo: true };
/** The first picture is to be there so soon. */
const SOON_MS = 1000;
const SECONDS = 4;

const cells = ["vp8", "h264"].flatMap((codec) => ["out", "in"].map((direction) => ({ codec, direction })));
for (const { codec, direction } of cells) {
  const who = direction === "out" ? "the page calls the phone" : "the phone calls the page";
  test(`${who} with ${codec.toUpperCase()}, both see each other within a second of the answer, and again after each side's hold`, (t) => seen(t, codec, direction), 90);
}

async function seen(t, codec, direction) {
  const { pbx, gateway, page, login } = await opened(t);
  const phone = await Phone.start(pbx, { play: await t.world.wav(1010, 60, -20), video: codec });
  t.after(() => phone.stop());
  await page.run(() => rig.watchPictures());
  const before = gateway.records.length;
  if (direction === "out") {
    await page.dial(phone.name, WITH_VIDEO);
  } else {
    await phone.dial(login, pbx);
    await page.expect("session", "INCOMING_CALL");
    const told = await page.lastFrame("notifyIncomingCall");
    check(told.hasVideo === true, "the page was not told of pictures");
    await page.answer(WITH_VIDEO);
  }
  const established = await page.expect("call", "ESTABLISHED", 20);
  const { hasVideo } = await page.lastFrame("talk");
  await phone.expect("CALL_ESTABLISHED");
  const [phoneFirst, pageFirst] = await Promise.all([phoneSees(phone, "first", Date.now()), pageSees(page, established.at)]);
  await sleep(SECONDS * 1000);
  const stats = await page.run(() => rig.videoStats());
  const colour = await page.run(() => rig.colour());
  const fps = await page.run((seconds) => rig.pictures.filter((p) => p.at > performance.now() - seconds * 1000).length / seconds, SECONDS);

  // The page holds and resumes, then the phone does.
  await page.run(() => rig.call.hold());
  await page.expect("call", "HOLD");
  await sleep(1500);
  const holding = await page.run(() => rig.pictures.filter((p) => p.at > performance.now() - 500).length);
  await page.run(() => rig.call.unhold());
  const resumed = await page.expect("call", "ESTABLISHED");
  const [phoneAgain, pageAgain] = await Promise.all([phoneSees(phone, "again", Date.now()), pageSees(page, resumed.at)]);
  await phone.command("hold");
  await page.expect("call", "HOLD");
  await sleep(1500);
  await phone.command("resume");
  const back = await page.expect("call", "ESTABLISHED");
  const [phoneBack, pageBack] = await Promise.all([phoneSees(phone, "back", Date.now()), pageSees(page, back.at)]);
  const after = await page.run(() => rig.videoStats());
  const descriptions = (await page.received()).filter((frame) => frame.message === "setRemoteSDP").length;

  await page.hangup();
  await page.expect("call", "FINISH");
  await phone.expect("CALL_CLOSED");
  const record = await gateway.recordAfter(before);
  t.measure({
    first_ms: { page: pageFirst.ms, phone: phoneFirst.ms }, after_page_held_ms: { page: pageAgain.ms, phone: phoneAgain.ms },
    after_phone_held_ms: { page: pageBack.ms, phone: phoneBack.ms }, fps, page_shows: colour, phone_shows: phoneBack.picture, stats, after, record,
  });
  check(hasVideo === true, "ESTABLISHED does not say hasVideo");
  check(descriptions === 1, `the browser got ${descriptions} descriptions`);
  check(new RegExp(codec, "i").test(stats.in?.codec ?? "") && new RegExp(codec, "i").test(stats.out?.codec ?? ""), `the page gets ${stats.in?.codec} and sends ${stats.out?.codec}`);
  check(stats.in.width === SIZE.width && stats.in.height === SIZE.height, `the page is shown ${stats.in.width} by ${stats.in.height}`);
  check(fps > 8, `the page shows ${fps} pictures a second`);
  check(holding === 0, "a page that holds is shown pictures");
  for (const [who, when, { ms }] of [
    ["page", "the answer", pageFirst], ["phone", "the answer", phoneFirst], ["page", "its own hold", pageAgain],
    ["phone", "the page's hold", phoneAgain], ["page", "the phone's hold", pageBack], ["phone", "its own hold", phoneBack],
  ]) check(ms <= SOON_MS, `the ${who} sees nothing until ${ms} ms after ${when}`);
  for (const { picture } of [phoneFirst, phoneAgain, phoneBack]) {
    check(picture.width === SIZE.width && picture.height === SIZE.height, `the phone is shown ${picture.width} by ${picture.height}`);
    const [red, green, blue] = picture.colour;
    check(red > 140 && green < 90 && blue < 90, `the phone is shown the colour ${picture.colour}`);
  }
}

async function opened(t) {
  const { world } = t;
  const pbx = await world.pbx();
  const gateway = await world.gateway("relay");
  const login = pbx.user();
  const page = await TestPage.open(await world.browser("chromium"), await world.site());
  t.after(() => page.close());
  await page.microphone({ hz: 620, db: -20 });
  await page.run((camera) => rig.camera(camera), CAMERA);
  await page.connect(gateway.ws, pbx.sip(login));
  await page.expect("session", "REGISTERED");
  return { pbx, gateway, page, login };
}

/** How long after `since` (the page's clock) the page shows a picture; 0 if one was there at once. */
async function pageSees(page, since) {
  await page.page.waitForFunction((since) => rig.pictures.some((p) => p.at >= since), { timeout: 10_000, polling: 20 }, since);
  const { at } = await page.run((since) => rig.pictures.find((p) => p.at >= since), since);
  return { ms: at - since };
}

/** The same of the phone, which is asked for the next picture that it decodes. */
async function phoneSees(phone, name, since) {
  const { png, at } = await phone.picture(`${name}.png`, 10);
  return { ms: Math.max(0, Math.round(at - since)), picture: readPng(png) };
}
