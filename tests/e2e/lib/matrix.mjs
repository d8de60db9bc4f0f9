// One call between a page and a scripted phone in which one thing after another happens; after each, both must hear each
// other within 300 ms. What was measured becomes rows of a table.
import { TestPage } from "../../browser/lib/browsers.mjs";
import { comesBack, presentInPackets, presentInRecording, share } from "../../measure/presence.mjs";
import { check, sleep } from "./runner.mjs";
import { SipPhone } from "./scripted.mjs";

export const PAGE = { hz: 620, db: -20 };
export const PHONE = { hz: 1010, db: -20 };
/** Both hear each other again within this, and it stays so for as long as that. */
export const WITHIN_MS = 300;
export const STAYS_MS = 1000;
export const ROADS = { relayed: { policy: "relay", page: "PCMU" }, transcoded: { policy: "opus", page: "Opus" } };

/**
 * The longest pause in which a phone still hears the page: 60 ms, or as long as the page itself had nothing to say by the
 * gateway's record of what came from it, where the machine let the browser wait. A lost sound is longer than 200 ms.
 */
export const patience = (record) => Math.min(200, Math.max(60, (record?.browser?.longest_gap_ms ?? 0) + 20));

/** All rows of this run, for the table. */
const rows = [];
export const row = (cell) => rows.push(cell);

/** A page with an account, its tone on. */
export async function registered(t, gateway, pbx, login, { transport = "udp" } = {}) {
  const page = await TestPage.open(await t.world.browser("chromium"), await t.world.site());
  t.after(() => page.close());
  await page.microphone(PAGE);
  await page.connect(gateway.ws, pbx.sip(login, { transport }));
  await page.expect("session", "REGISTERED");
  return page;
}

export class Scene {
  /** A call that stands, with the sound of both sides on the record. */
  static async open(t, { road, direction, phone: options = {} }) {
    const scene = new Scene();
    Object.assign(scene, { t, road, direction, cells: [], wrong: [] });
    const pbx = (scene.pbx = await t.world.pbx());
    const gateway = (scene.gateway = await t.world.gateway(ROADS[road].policy));
    scene.before = gateway.records.length;
    scene.browser = await t.world.browser("chromium");
    scene.logged = scene.browser.log.length;
    scene.login = pbx.user();
    scene.page = await registered(t, gateway, pbx, scene.login);
    scene.phone = await SipPhone.start(pbx, { ...PHONE, listen: PAGE.hz, ...options });
    t.after(() => scene.phone.stop());
    if (direction === "outgoing") {
      await scene.page.dial(scene.phone.name);
    } else {
      scene.phone.say({ do: "call", to: scene.login });
      await scene.page.expect("session", "INCOMING_CALL");
      await scene.page.answer();
    }
    await scene.page.expect("call", "ESTABLISHED", 20);
    await scene.phone.expect("established");
    await scene.page.record();
    await sleep(1200);
    return scene;
  }

  /** The page's clock in milliseconds since 1970 for an event of its. */
  async clock(event) {
    this.offset ??= await this.page.run(() => Date.now() - performance.now());
    return event.at + this.offset;
  }

  /** Does something and remembers when it was over; `what` gives { begun, ended } in milliseconds. */
  async cell(name, what, more = {}) {
    const begun = Date.now();
    let times;
    try {
      times = { begun, ended: Date.now(), ...(await what()) };
    } catch (error) {
      this.wrong.push(`${name}: ${error.message}`);
      row({ cell: name, road: this.road, direction: this.direction, page: "failed", phone: error.message });
      return;
    }
    await sleep(Math.max(0, times.ended + WITHIN_MS + STAYS_MS + 100 - Date.now()));
    const { lost = 0, got } = (await this.page.stats()) ?? {};
    this.cells.push({ name, ...times, ...more, lost, got });
  }

  /** Ends the call and judges each cell. */
  async close() {
    const { page, phone, t } = this;
    const stats = await page.stats();
    const { samples, rate, lags } = await page.keep(`matrix-${this.login}`);
    const { packets } = await phone.do("heard");
    await page.hangup();
    await page.expect("call", "FINISH");
    await phone.expect("closed");
    const frames = await page.received();
    await t.world.secretsOf(page);
    const record = await this.gateway.recordAfter(this.before);
    await page.close();
    await phone.stop();
    const heard = { page: presentInRecording(samples, rate, PHONE.hz, lags), phone: presentInPackets(packets) };
    const mine = [];
    let lost = 0;
    for (const cell of this.cells) {
      const told = { cell: cell.name, road: this.road, direction: this.direction };
      // Of packets that the phone did not send nobody may say that they were lost.
      if (cell.lost > lost) this.wrong.push(`a gap: ${cell.name}: the browser lost ${cell.lost - lost} packets`);
      lost = cell.lost;
      for (const who of ["page", "phone"]) {
        const maxGapMs = who === "phone" ? patience(record) : 60;
        const back = comesBack(heard[who], { begun: cell.begun, ended: cell.ended, withinMs: WITHIN_MS, forMs: STAYS_MS, maxGapMs });
        told[who] = back.after_ms;
        told[`${who}_gap`] = back.longest_gap_ms;
        if (back.after_ms === null) this.wrong.push(`a gap: ${cell.name}: the ${who} does not hear the other ${WITHIN_MS} ms later for ${STAYS_MS} ms`);
        else if (back.after_ms > WITHIN_MS) this.wrong.push(`a gap: ${cell.name}: the ${who} hears the other only after ${back.after_ms} ms`);
        // A change that takes nobody's sound away is not to be heard at all.
        else if (cell.seamless?.includes(who) && back.longest_gap_ms > maxGapMs) this.wrong.push(`a gap: ${cell.name}: of ${back.longest_gap_ms} ms as the ${who} hears it`);
      }
      for (const { who, from, to, least, most, why } of cell.also ?? []) {
        const there = share(heard[who], from, to);
        if (there < (least ?? 0) || there > (most ?? 1)) this.wrong.push(`${least ? "a gap: " : ""}${cell.name}: ${why}: the ${who} hears the other for ${Math.round(there * 100)}% of that time`);
      }
      const others = packets.filter(([at, , , pt]) => at * 1000 > cell.ended + WITHIN_MS && at * 1000 < cell.ended + WITHIN_MS + STAYS_MS && pt !== cell.pt);
      if (cell.pt !== undefined && others.length) this.wrong.push(`${cell.name}: the phone gets payload type ${others[0][3]} and not ${cell.pt}`);
      mine.push(told);
    }
    const descriptions = frames.filter((frame) => frame.message === "setRemoteSDP").length;
    if (descriptions !== 1) this.wrong.push(`the browser got ${descriptions} descriptions`);
    // Chromium's own word for each packet that its SRTP could not open; that it speaks at all is seen by its transports.
    const log = this.browser.log.slice(this.logged);
    const failed = log.filter((line) => /failed to (un)?protect|authentication failure|replay/i.test(line));
    if (!log.some((line) => /DTLS setup complete|SRTP/.test(line))) this.wrong.push("Chromium's log says nothing of SRTP");
    if (failed.length) this.wrong.push(`Chromium's SRTP log shows ${failed.length} failed packets: ${failed[0]}`);
    const unauthentic = [...JSON.stringify(record ?? {}).matchAll(/"unauthentic":(\d+)/g)].reduce((sum, [, n]) => sum + Number(n), 0);
    if (unauthentic) this.wrong.push(`the gateway's record has ${unauthentic} packets that failed authentication`);
    if (!record) this.wrong.push("the gateway wrote no record of the call");
    t.measure({ cells: mine, page: stats, record });
    return { wrong: this.wrong, record, rows: mine };
  }
}

/** Runs a scene, once more where the world says that the machine and not the gateway was late. */
export async function measured(t, options, script) {
  for (let attempt = 1; ; attempt++) {
    const scene = await Scene.open(t, options);
    await script(scene);
    const { wrong, record, rows: mine } = await scene.close();
    if (await t.world.again(t, wrong, record, attempt)) continue;
    mine.forEach(row);
    check(wrong.length === 0, wrong.join("; "));
    return;
  }
}

/** The table of all that was measured in this run, as tests/README.md keeps it. */
export function table(notPossible = []) {
  const columns = ["relayed", "transcoded"].flatMap((road) => ["outgoing", "incoming"].map((direction) => ({ road, direction })));
  const names = [...new Set([...rows.map((r) => r.cell), ...notPossible.map((n) => n.cell)])];
  const value = (name, { road, direction }) => {
    const found = rows.filter((r) => r.cell === name && r.road === road && r.direction === direction).at(-1);
    const not = notPossible.find((n) => n.cell === name && (!n.road || n.road === road) && (!n.direction || n.direction === direction));
    if (found) return found.page === "failed" ? "failed" : `${found.page ?? "never"} / ${found.phone ?? "never"}`;
    return not ? "n/a" : "";
  };
  const head = `| ms until the page / the phone hears again | ${columns.map((c) => `${c.road}, ${c.direction}`).join(" | ")} |`;
  const lines = names.map((name) => `| ${name} | ${columns.map((c) => value(name, c)).join(" | ")} |`);
  return [head, `| --- |${" --- |".repeat(columns.length)}`, ...lines].join("\n");
}
