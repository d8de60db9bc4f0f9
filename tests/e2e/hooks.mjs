// Applications and their backends: every hook at a real HTTP server, what its answers do, and what its faults do not.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestPage } from "../browser/lib/browsers.mjs";
import { Backend, change, command, ExampleBackend, SILENCE } from "./lib/backend.mjs";
import { Phone } from "./lib/phones.mjs";
import { check, sleep, test, until } from "./lib/runner.mjs";

/** Short, so that a backend that says nothing costs a test a second. */
const SETTINGS = { "backend.request_timeout": "1" };
let made = 0;

async function open(t, url) {
  const page = await TestPage.open(await t.world.browser("chromium"), await t.world.site());
  t.after(async () => {
    await t.world.secretsOf(page);
    await page.close();
  });
  await page.microphone({ hz: 620, db: -30 });
  return page;
}

async function backend(t, options) {
  const started = await Backend.start(options);
  t.after(() => started.close());
  return started;
}

/** An application of its own for a test, with these hooks on. */
async function application(t, gateway, url, methods, ...more) {
  const key = `app${++made}`;
  await change(gateway, "add", "app", key, key, url, ...more);
  for (const method of methods) await change(gateway, "add", "app-rest-method", ...(method === "-a" ? ["-a", key] : [key, method]));
  return key;
}

const origin = (page) => new URL(page.site.url).origin;

test("each hook of a session and its calls reaches the backend signed, with node, session, application and origin", async (t) => {
  const [pbx, gateway] = [await t.world.pbx(), await t.world.gateway("relay", SETTINGS)];
  const secret = t.world.secret("Hook0Secret0Of0This0Test");
  const told = await backend(t, { secret });
  const key = await application(t, gateway, told.url, ["-a"], "--hook-secret", secret);
  const phone = await Phone.start(pbx, { play: await t.world.wav(1010, 60, -30) });
  t.after(() => phone.stop());
  const page = await open(t);
  const login = pbx.user();
  await page.connect(gateway.ws, pbx.sip(login), { appKey: key, custom: { shoe: 42 } });
  await page.expect("session", "REGISTERED");
  const connect = await told.expect("connect");
  check(connect.sipLogin === login && connect.sipPassword === pbx.password, "connect does not hold the account that the page sent");
  check(connect.custom?.shoe === 42, `connect's custom is ${JSON.stringify(connect.custom)}`);
  await told.expect("ConnectionStatusEvent", (body) => body.status === "ESTABLISHED");
  await told.expect("RegistrationStatusEvent", (body) => body.status === "REGISTERED");

  await page.dial(phone.name);
  await page.expect("call", "ESTABLISHED", 20);
  const call = await told.expect("call");
  check(call.callee === phone.name && call.incoming === false && typeof call.sdp === "string", `call is told as ${JSON.stringify({ ...call, sdp: undefined })}`);
  await told.expect("CallStatusEvent", (body) => body.callId === call.callId && body.status === "ESTABLISHED");
  await page.run(() => rig.call.hold());
  await page.expect("call", "HOLD");
  await told.expect("hold", (body) => body.callId === call.callId);
  await told.expect("CallStatusEvent", (body) => body.status === "HOLD");
  await page.run(() => rig.call.unhold());
  await page.expect("call", "ESTABLISHED");
  await told.expect("unhold", (body) => body.callId === call.callId);
  await page.run(() => rig.call.sendDTMF("5", "RFC2833"));
  const digit = await told.expect("sendDtmf");
  check(digit.dtmf === "5" && digit.callId === call.callId, `sendDtmf is told as ${JSON.stringify(digit)}`);
  await page.hangup();
  await page.expect("call", "FINISH");
  await told.expect("hangup", (body) => body.callId === call.callId);
  await told.expect("CallStatusEvent", (body) => body.callId === call.callId && body.status === "FINISH");

  await phone.idle();
  await phone.dial(login, pbx);
  await page.expect("session", "INCOMING_CALL");
  const offered = await told.expect("OnCallEvent");
  check(offered.incoming === true && offered.sipMessageRaw?.startsWith("INVITE "), `OnCallEvent is told as ${JSON.stringify({ ...offered, sdp: undefined })}`);
  await page.answer();
  await page.expect("call", "ESTABLISHED", 20);
  await told.expect("answer", (body) => body.callId === offered.callId);
  await page.hangup();
  await page.expect("call", "FINISH");
  await page.run(() => rig.session.disconnect());
  await told.expect("ConnectionStatusEvent", (body) => body.status === "DISCONNECTED");

  check(told.forged.length === 0, told.forged.join("; "));
  const { authToken } = await page.lastFrame("getUserData");
  for (const { method, body } of told.hooks) {
    check(/^[A-Za-z0-9]{32}@\S+$/.test(body.nodeId), `${method}: nodeId ${body.nodeId}`);
    check(body.sessionId === connect.sessionId, `${method} names another session`);
    check(body.appKey === key && body.origin === origin(page), `${method}: appKey ${body.appKey}, origin ${body.origin}`);
    check(method === "connect" || !("sipPassword" in body), `${method} holds the password`);
  }
  const tail = (id) => id.slice(id.lastIndexOf("-") + 1);
  check(authToken && tail(authToken) !== tail(connect.sessionId), "the session's name tells its token");
  const order = told.hooks.map((hook) => hook.method);
  check(order[0] === "connect" && order.slice(1, 3).join() === "ConnectionStatusEvent,RegistrationStatusEvent", `in this order: ${order.join(", ")}`);
  t.measure({ hooks: order.length, kinds: [...new Set(order)] });
});

test("a transfer is put to the backend, which is told of it what the page is told", async (t) => {
  const [pbx, gateway] = [await t.world.pbx(), await t.world.gateway("relay", SETTINGS)];
  const told = await backend(t);
  const key = await application(t, gateway, told.url, ["transfer", "TransferStatusEvent"]);
  const phones = [];
  for (let i = 0; i < 2; i++) {
    phones.push(await Phone.start(pbx, { play: await t.world.wav(1010, 60, -30) }));
    t.after(() => phones[i].stop());
  }
  const page = await open(t);
  await page.connect(gateway.ws, pbx.sip(pbx.user()), { appKey: key });
  await page.expect("session", "REGISTERED");
  await page.dial(phones[0].name);
  await page.expect("call", "ESTABLISHED", 20);
  await page.run((target) => rig.call.transfer(target), phones[1].name);
  const asked = await told.expect("transfer");
  check(asked.target === phones[1].name && asked.callId, `transfer is told as ${JSON.stringify(asked)}`);
  const last = await told.expect("TransferStatusEvent", (body) => ["COMPLETED", "FAILED"].includes(body.status), 20);
  check(last.callId === asked.callId && last.incoming === false, `its end is told as ${JSON.stringify(last)}`);
  const frames = await until("the page is told the end", 5, async () => {
    const all = (await page.received()).filter((frame) => frame.message === "notifyTransferEvent").map((frame) => frame.data[0].status);
    return all.includes(last.status) ? all : null;
  });
  const statuses = told.of("TransferStatusEvent").map((body) => body.status);
  check(statuses.join() === frames.join(), `the backend: ${statuses.join(", ")}; the page: ${frames.join(", ")}`);
  t.measure({ statuses });
});

test("the backend's answer to call puts another callee in the place of the page's, and what it excludes stays from the page", async (t) => {
  const gateway = await t.world.gateway("relay", SETTINGS);
  const told = await backend(t);
  told.answers.connect = { restClientConfig: { call: { restPolicy: "OVERWRITE", restOverwrite: "callee" }, CallStatusEvent: { clientExclude: "visibleName" } } };
  told.answers.call = (body) => ({ ...body, callee: "echo", callId: "another" });
  const key = await application(t, gateway, told.url, ["connect", "call"]);
  const page = await open(t);
  await page.connect(gateway.ws, null, { appKey: key });
  await page.expect("session", "ESTABLISHED");
  await page.dial("nobody");
  await page.expect("call", "ESTABLISHED", 20);
  check((await told.expect("call")).callee === "nobody", "the backend was not told what the page dialled");
  const talk = await page.lastFrame("talk");
  check(talk.callee && !("visibleName" in talk), `what the backend excludes reached the page: ${JSON.stringify({ ...talk, sdp: undefined })}`);
  await page.hangup();
  await page.expect("call", "FINISH");
});

const FAULTS = { 403: 403, 404: 404, 500: 500, "no answer": SILENCE, "no connection": null };
for (const onError of ["LOG", "FAIL"]) {
  const ends = onError === "LOG" ? "goes on" : "is refused and the page told why";
  test(`call under ${onError} ${ends} when the backend answers 403, 404, 500, not at all, or is gone`, async (t) => {
    const gateway = await t.world.gateway("relay", SETTINGS);
    const told = await backend(t);
    told.answers.connect = { restClientConfig: { call: { restOnError: onError } } };
    const key = await application(t, gateway, told.url, ["connect", "call"]);
    const heard = {};
    for (const [fault, answer] of Object.entries(FAULTS)) {
      const page = await open(t);
      await page.connect(gateway.ws, null, { appKey: key });
      await page.expect("session", "ESTABLISHED");
      told.answers.call = answer;
      if (answer === null) await told.close();
      await page.dial("echo");
      if (onError === "LOG") {
        await page.expect("call", "ESTABLISHED", 20);
        await page.hangup();
        await page.expect("call", "FINISH");
      } else {
        await page.expect("call", "FAILED");
        const warning = await page.expect("session", "WARN");
        check(warning.apiMethod === "CallStatusEvent", `${fault}: apiMethod ${warning.apiMethod}`);
        const wanted = { 403: /^Forbidden$/, 404: /^Not Found$/, 500: /^Internal Server Error$/ }[fault] ?? /./;
        check(wanted.test(warning.info), `${fault}: the page was told "${warning.info}"`);
        heard[fault] = warning.info;
      }
      await page.close();
    }
    t.measure({ heard });
  });
}

test("a page that connect is refused to hears WARN with the backend's reason, then DISCONNECTED", async (t) => {
  const gateway = await t.world.gateway("relay", SETTINGS);
  const told = await backend(t);
  const key = await application(t, gateway, told.url, ["connect"]);
  for (const [answer, info] of [
    [403, "Forbidden"],
    [{ status: 402, json: { status: 402, reason: "no money" } }, JSON.stringify({ status: 402, reason: "no money" })],
    [{ status: 307, json: {} }, "Temporary Redirect"],
  ]) {
    told.answers.connect = answer;
    const page = await open(t);
    await page.connect(gateway.ws, null, { appKey: key });
    const warning = await page.expect("session", "WARN");
    check(warning.info === info && warning.apiMethod === "ConnectionStatusEvent", `told ${JSON.stringify(warning)}`);
    await page.expect("session", "DISCONNECTED");
    check(!(await page.events()).some((event) => event.status === "ESTABLISHED"), "the page was let in");
  }
});

test("an incoming call that the backend refuses ends with 403 and the page hears of none", async (t) => {
  const [pbx, gateway] = [await t.world.pbx(), await t.world.gateway("relay", SETTINGS)];
  const told = await backend(t);
  told.answers.connect = { restClientConfig: { OnCallEvent: { restOnError: "FAIL" } } };
  told.answers.OnCallEvent = 404;
  const key = await application(t, gateway, told.url, ["connect", "OnCallEvent"]);
  const page = await open(t);
  const login = pbx.user();
  await page.connect(gateway.ws, pbx.sip(login), { appKey: key });
  await page.expect("session", "REGISTERED");
  const phone = await Phone.start(pbx, { play: await t.world.wav(1010, 60, -30) });
  t.after(() => phone.stop());
  await phone.dial(login, pbx);
  const closed = await phone.expect("CALL_CLOSED");
  check(/403/.test(closed.param ?? ""), `the phone heard ${closed.param}`);
  check(!(await page.events()).some((event) => event.status === "INCOMING_CALL"), "the page was told of the call");
});

test("a click-to-call page whose account comes from the example of a backend calls through the PBX", async (t) => {
  const [pbx, gateway] = [await t.world.pbx(), await t.world.gateway("relay", SETTINGS)];
  const login = pbx.user();
  const secretFile = join(t.world.folder, "hook-of-an-example");
  writeFileSync(secretFile, t.world.secret("Example0Secret0Of0This0Test"), { mode: 0o600 });
  const passwordFile = join(t.world.folder, "password-of-an-example");
  writeFileSync(passwordFile, pbx.password, { mode: 0o600 });
  const account = ["--account", `${login}@${pbx.domain}:${pbx.port}`, "--account-password-file", passwordFile, "--account-proxy", "127.0.0.1"];
  const example = await ExampleBackend.start("--secret-file", secretFile, ...account);
  t.after(() => example.stop());
  await change(gateway, "update", "app", "-l", example.url, "--hook-secret-file", secretFile, "clickToCallApp");
  t.after(() => change(gateway, "update", "app", "-l", "", "clickToCallApp"));
  const phone = await Phone.start(pbx, { play: await t.world.wav(1010, 60, -30) });
  t.after(() => phone.stop());
  const page = await open(t);
  await page.connect(gateway.ws, null, { appKey: "clickToCallApp" });
  await page.expect("session", "REGISTERED");
  await page.dial(phone.name);
  await page.expect("call", "ESTABLISHED", 20);
  await phone.expect("CALL_ESTABLISHED");
  await page.hangup();
  await page.expect("call", "FINISH");
  const refused = example.lines.filter((line) => line.startsWith("!"));
  check(refused.length === 0, refused.join("; "));
  for (const method of ["connect", "call", "CallStatusEvent"]) check(example.lines.some((line) => line.startsWith(`${method} (`)), `the example did not print ${method}`);
  check(!example.lines.join("\n").includes(pbx.password), "the example prints the password");
  const frames = JSON.stringify(await page.received());
  check(!frames.includes(pbx.password), "the page was told the password");
});

test("an application is taken up while the gateway runs, an unknown appKey and a strange origin are refused", async (t) => {
  const gateway = await t.world.gateway("relay", SETTINGS);
  const attempt = async (appKey, wanted) => {
    const page = await open(t);
    await page.connect(gateway.ws, null, appKey ? { appKey } : {});
    const heard = await page.expect("session", ["ESTABLISHED", "WARN"]);
    if (heard.status === "WARN") await page.expect("session", "DISCONNECTED");
    await page.close();
    check((heard.info ?? heard.status) === wanted || heard.status === wanted, `${appKey}: ${JSON.stringify(heard)}, not ${wanted}`);
  };
  await attempt(null, "ESTABLISHED");
  await attempt("roomApp", "ESTABLISHED");
  await attempt("lateKey", "Application not found");
  const told = await change(gateway, "add", "app", "late", "lateKey", "http://127.0.0.1:9/");
  check(told.includes("No hook is on yet") && told.includes("add app-rest-method"), told);
  await attempt("lateKey", "ESTABLISHED");
  await change(gateway, "update", "app", "--origin", "https://elsewhere.example", "late");
  await attempt("lateKey", "Origin not allowed");
  const own = new URL((await t.world.site()).url).origin;
  await change(gateway, "update", "app", "--origin", "https://elsewhere.example", "--origin", own, "late");
  await attempt("lateKey", "ESTABLISHED");
  await change(gateway, "remove", "app", "late");
  await attempt("lateKey", "Application not found");
  check((await command(gateway, "show", "apps")).includes("defaultApp"), "defaultApp is not there any more");
});

test("a backend that says nothing opens its breaker, delays no other application, and is asked again when it is back", async (t) => {
  const gateway = await t.world.gateway("relay", SETTINGS);
  const told = await backend(t);
  told.answers.connect = SILENCE;
  const key = await application(t, gateway, told.url, ["connect"]);
  const page = await open(t);
  // Sessions by hand: many at once from one page.
  const connect = (appKey) => page.run((url, appKey) => new Promise((resolve) => {
    const begun = performance.now();
    const socket = new WebSocket(url);
    socket.onopen = () => socket.send(JSON.stringify({ message: "connection", data: [{ appKey, mediaProviders: ["WebRTC"] }] }));
    socket.onmessage = ({ data }) => {
      const { message } = JSON.parse(data);
      if (message === "ping") return;
      resolve({ message, ms: performance.now() - begun });
      socket.close();
    };
  }), gateway.ws, appKey);
  const slow = Promise.all(Array.from({ length: 5 }, () => connect(key)));
  await until("the backend is asked", 5, () => told.of("connect").length > 0 || null);
  const other = await connect("defaultApp");
  check(other.message === "getUserData" && other.ms < 500, `meanwhile another application: ${JSON.stringify(other)}`);
  const refused = await slow;
  check(refused.every((one) => one.message === "fail" && one.ms > 900), `behind the silence: ${JSON.stringify(refused)}`);
  const atOnce = await connect(key);
  check(atOnce.message === "fail" && atOnce.ms < 500, `with the breaker open: ${JSON.stringify(atOnce)}`);
  const breaker = async () => {
    const metrics = await (await fetch(`${gateway.admin}/metrics`)).text();
    return new RegExp(`trunkgate_hook_breaker_open\\{app="${key}"\\} (\\d)`).exec(metrics)?.[1];
  };
  check((await breaker()) === "1", "the metrics do not tell of the open breaker");
  const lines = (what) => gateway.lines.filter((line) => line.includes(key) && line.includes(what)).length;
  check(lines("does not answer") === 1, `the log tells ${lines("does not answer")} times that the backend does not answer`);

  told.answers.connect = {};
  const again = await until("the backend is asked again", 10, async () => {
    const one = await connect(key);
    if (one.message === "getUserData") return one;
    await sleep(100);
    return null;
  });
  check((await breaker()) === "0", "the metrics do not tell of the closed breaker");
  check(lines("answers again") === 1, "the log does not tell that the backend answers again");
  t.measure({ other_ms: other.ms, at_once_ms: atOnce.ms, again_ms: again.ms });
});
