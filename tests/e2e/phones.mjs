// Phones that register to the gateway itself: no PBX is there.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Gateway, ownEnvironment } from "./lib/gateway.mjs";
import { Phone } from "./lib/phones.mjs";
import { check, test, until } from "./lib/runner.mjs";

const REALM = "office.test";
const RULES = `
[[route]]
name = "inside"
from = ["phone:*"]
match = ["2XX"]
to = ["phone:*"]
`;

const trunkgate = (args) => execFileSync(process.env.TRUNKGATE_BIN, args, { stdio: "pipe", env: ownEnvironment() });

/** A gateway with phones of these names; what stands in for a PBX where a phone asks for one. */
async function office(t, names) {
  const folder = join(t.world.folder, `office-${names.join("-")}`);
  mkdirSync(join(folder, "data"), { recursive: true });
  const password = t.world.secret(`Pw${Math.random().toString(36).slice(2)}Phone`);
  writeFileSync(join(folder, "password"), `${password}\n`);
  writeFileSync(join(folder, "rules.toml"), RULES);
  const place = ["--set", `data_dir=${JSON.stringify(join(folder, "data"))}`, "--set", `registrar.realm="${REALM}"`];
  for (const name of names) {
    trunkgate(["add", "phone", name, "--password-file", join(folder, "password"), ...place]);
  }
  const settings = {
    data_dir: JSON.stringify(join(folder, "data")),
    "registrar.realm": `"${REALM}"`,
    "registrar.min_expires": "10",
    "log.level": '"debug"',
  };
  const gateway = await Gateway.start(folder, settings, ["--config", join(folder, "rules.toml")]);
  t.after(() => gateway.stop());
  const port = gateway.address("sip", "udp:127.0.0.1:");
  const waiting = [...names];
  return {
    gateway,
    folder,
    place,
    password,
    port,
    /** One more, while the gateway runs. */
    async add(name) {
      trunkgate(["add", "phone", name, "--password-file", join(folder, "password"), ...place]);
      waiting.push(name);
      await until("the gateway has taken the phone up", 10, () => gateway.lines.some((line) => /phones are others/.test(line)));
    },
    env: { ...process.env, TESTBED_RUN: folder, PBX_SIP_PORT: port, PBX_SIPS_PORT: "5061", PBX_PASSWORD: password, BARESIP_REGINT: "15" },
    at: () => port,
    user: () => waiting.shift(),
  };
}

test("baresip registers to the gateway by digest, is refreshed, and calls another phone", async (t) => {
  const here = await office(t, ["201"]);
  await here.add("202");
  const file = join(here.folder, "data", "phones.toml");
  check((statSync(file).mode & 0o777) === 0o600, "phones.toml is not its owner's alone");
  check(!readFileSync(file, "utf8").includes(here.password), "phones.toml holds the password");
  const one = await Phone.start(here, { play: await t.world.wav(1010, 60, -30) });
  t.after(() => one.stop());
  const two = await Phone.start(here, { play: await t.world.wav(620, 60, -30) });
  t.after(() => two.stop());
  await one.expect("REGISTER_OK", 25);
  await one.dial("202", here);
  await one.expect("CALL_ESTABLISHED", 10);
  await two.expect("CALL_ESTABLISHED", 10);
  await one.command("hangup");
  await two.expect("CALL_CLOSED", 10);
}, 90);

test("another realm than that of the phones is refused with a sentence, by check-config too", async (t) => {
  const here = await office(t, ["203"]);
  const other = here.place.map((word) => word.replace(REALM, "other.test"));
  let told = "";
  try {
    trunkgate(["check-config", ...other]);
  } catch (error) {
    told = String(error.stderr);
  }
  check(told.includes(`Set registrar.realm back to "${REALM}"`), `it said: ${told}`);
});

test("svwar and svcrack find nothing at a registrar with phones", async (t) => {
  const here = await office(t, ["201", "202"]);
  const run = (tool, ...args) => {
    const { stdout, stderr } = spawnSync(tool, [...args, "-p", here.port, "127.0.0.1"], { encoding: "utf8", timeout: 60_000 });
    return `${stdout}\n${stderr}`;
  };
  for (const method of ["REGISTER", "INVITE", "OPTIONS"]) {
    const told = run("svwar", "-e199-204", "-m", method);
    t.measure({ [method]: told.trim().split("\n").at(-1) });
    check(!/\|\s*20[12]\s*\|/.test(told), `svwar by ${method} found one: ${told}`);
  }
  for (const user of ["201", "210"]) {
    const told = run("svcrack", `-u${user}`, "-r", "100-110");
    check(!/\|\s*2\d\d\s*\|/.test(told), `svcrack found a password: ${told}`);
  }
}, 120);
