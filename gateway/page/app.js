// The softphone on the screen: what the client says becomes words, levels and buttons, and the other way round.
import { Client, explainCall, explainRefusal } from "./client.js";

const $ = (id) => document.getElementById(id);
const KEYS = [["1", ""], ["2", "ABC"], ["3", "DEF"], ["4", "GHI"], ["5", "JKL"], ["6", "MNO"], ["7", "PQRS"], ["8", "TUV"], ["9", "WXYZ"], ["*", ""], ["0", "+"], ["#", ""]];
const KEY_NAMES = { "*": "star", "#": "hash" };
const ACCOUNT_KEY = "trunkgate.account";

const client = new Client(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/`);
/** The call on the screen, and the one that knocks. */
let current = null;
let knocking = null;

// ---- session -------------------------------------------------------------------------------------------------------

const STATES = {
  offline: "Gateway not reached, trying again…",
  connecting: "Connecting…",
  connected: "Connected",
  registering: "Registering…",
  registered: "Ready for calls",
  unregistered: "Not registered, trying again…",
};

client.addEventListener("state", () => showSession());
client.addEventListener("refused", ({ detail }) => {
  say(explainRefusal(detail), detail.sipMessageRaw, "registration");
  if (!detail.final) return;
  const field = detail.status === "AUTHENTICATION_FAIL" ? "password" : "domain";
  signOut();
  $("sign-in").elements[field].focus({ preventScroll: true });
});

// What was said of a lost registration is no longer so; what was said of a call stays.
client.addEventListener("registered", () => {
  if ($("message").dataset.about === "registration") hush();
});

function showSession() {
  const { state, account } = client;
  $("gateway-state").dataset.state = state;
  $("gateway-words").textContent = STATES[state];
  $("signed-in").hidden = !account;
  $("sign-in").hidden = !!account;
  if (account) {
    const settled = state === "registered" || state === "connected";
    // Kept until it is known to be right: who mistyped the server's name need not type the password again.
    if (settled) $("sign-in").elements.password.value = "";
    $("signed-in-title").textContent = settled ? "Signed in" : "Signing in";
    $("who").textContent = `${account.login}@${account.domain}`;
    $("registered").textContent = { registered: "Registered: this page can call and be called.", connected: "Ready to call." }[state] ?? STATES[state];
  }
  const ready = ["connected", "registered"].includes(state);
  $("dial").disabled = $("echo").disabled = !ready;
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const account = Object.fromEntries([...form].map(([name, value]) => [name, name === "password" ? value : value.trim()]));
  account.register = form.has("register");
  const split = /^([^:[\]]+|\[[^\]]+\]):(\d+)$/.exec(account.domain);
  if (split) [, account.domain, account.port] = split;
  if (account.transport) {
    const host = (account.proxy || account.domain) + (account.port ? `:${account.port}` : "");
    account.proxy = `sip:${host};transport=${account.transport}`;
  }
  // Everything but the password is there again the next time.
  const { password, ...kept } = Object.fromEntries(form);
  try {
    localStorage.setItem(ACCOUNT_KEY, JSON.stringify(kept));
  } catch { /* a browser that keeps nothing */ }
  hush();
  client.connect(account);
});

$("sign-out").addEventListener("click", signOut);
function signOut() {
  client.connect(null);
  showSession();
}

function recallAccount() {
  try {
    for (const [name, value] of Object.entries(JSON.parse(localStorage.getItem(ACCOUNT_KEY)) ?? {})) {
      const field = $("sign-in").elements[name];
      if (field && field.type !== "checkbox" && field.type !== "password") field.value = value;
    }
  } catch { /* nothing kept, or nothing readable */ }
}

// ---- calls ---------------------------------------------------------------------------------------------------------

$("dial-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const number = $("number").value.trim();
  if (!number) return $("number").focus();
  dial(number);
});
$("echo").addEventListener("click", () => dial("echo"));
$("hangup").addEventListener("click", () => current?.hangup());
$("mute").addEventListener("click", () => current?.mute(!current.muted));
$("hold").addEventListener("click", () => current?.hold(!current.holding));
$("show-tones").addEventListener("click", () => unfold($("tones").hidden ? "tones" : null));
$("show-transfer").addEventListener("click", () => {
  unfold($("transfer").hidden ? "transfer" : null);
  if (!$("transfer").hidden) $("transfer-target").focus();
});
$("transfer").addEventListener("submit", (event) => {
  event.preventDefault();
  const target = $("transfer-target").value.trim();
  if (!target) return $("transfer-target").focus();
  current?.transfer(target);
  unfold(null);
});
client.addEventListener("transferFailed", ({ detail }) => {
  say(`The call could not be transferred${detail.target ? ` to ${detail.target}` : ""}${detail.info ? `: ${detail.info}` : ""}. You are still in it.`);
});

/** Shows the keypad or the transfer's field, one at a time. */
function unfold(which) {
  for (const id of ["tones", "transfer"]) {
    $(id).hidden = id !== which;
    $(`show-${id}`).setAttribute("aria-expanded", String(id === which));
  }
}
$("accept").addEventListener("click", () => {
  const call = knocking;
  if (!call) return;
  knocking = null;
  current?.hangup();
  take(call);
  call.answer();
});
$("decline").addEventListener("click", () => knocking?.hangup());

async function dial(number) {
  if (current || $("dial").disabled) return;
  if (number !== "echo" && !client.account) {
    say("To call a telephone, sign in with a SIP account first. Only echo needs none.");
    $("sign-in").elements.login.focus();
    return;
  }
  hush();
  sounds.wake();
  const placing = client.call(number);
  take([...client.calls.values()].find((call) => !call.incoming && !call.over));
  const call = await placing;
  if (call.over) show(call);
}

/** Puts a call on the screen. */
function take(call) {
  current = call ?? null;
  unfold(null);
  $("transfer-target").value = "";
  show(call);
  $("hangup").focus();
}

client.addEventListener("incoming", ({ detail: call }) => {
  if (knocking) return call.hangup();
  knocking = call;
  const name = call.name && call.name !== call.peer ? `${call.name} (${call.peer})` : call.peer || "unknown number";
  $("incoming-who").textContent = name;
  $("incoming-what").textContent = current ? "Incoming call: accepting it ends the present one" : "Incoming call";
  $("incoming").hidden = false;
  document.title = `☎ ${name}`;
  sounds.ring();
  $("accept").focus();
});

client.addEventListener("call", ({ detail: call }) => {
  if (call === knocking && call.over) {
    knocking = null;
    if (!call.finish.byUs) say("The caller gave up before you answered.");
  }
  show(call);
});

function show(call) {
  $("incoming").hidden = !knocking;
  if (!knocking) {
    sounds.quiet();
    document.title = "Trunkgate softphone";
  }
  if (call && call === current && call.over) {
    const sentence = explainCall(call.finish);
    if (sentence) say(sentence, call.finish.sipMessageRaw);
    else if (!call.finish.byUs) say("The other side hung up.");
    current = null;
    $("sound").srcObject = null;
    sounds.unwatch();
    $("number").focus();
  }
  $("in-call").hidden = !current;
  $("dialer").hidden = !!current;
  if (!current) return sounds.stopRingback();
  const { status, peer, name, muted, remoteStream, stream, incoming } = current;
  const echo = !incoming && peer === "echo";
  $("peer").textContent = echo ? "Echo" : (incoming && name) || peer || "Unknown number";
  const words = { PENDING: incoming ? "Answering…" : "Asking for the microphone…", TRYING: "Calling…", RING: "Ringing…", RING_MEDIA: "Ringing…", SESSION_PROGRESS: "Ringing…", ESTABLISHED: "In call", HOLD: current.holding ? "On hold" : "The other side put you on hold" };
  const lost = status === "ESTABLISHED" && ["disconnected", "failed"].includes(current.mediaState);
  $("call-state").textContent = lost ? "The sound is interrupted…" : status === "PENDING" && stream ? (incoming ? "Answering…" : "Calling…") : words[status] ?? status;
  $("hint").hidden = !(echo && status === "ESTABLISHED");
  $("hint").textContent = "Say something: the gateway plays it back to you. Headphones sound best.";
  // Its name stays: "pressed" says the rest to those who hear the page.
  $("mute").setAttribute("aria-pressed", String(muted));
  $("mute").title = muted ? "Unmute the microphone" : "Mute the microphone";
  $("mute").querySelector("use").setAttribute("href", muted ? "#i-mic-off" : "#i-mic");
  $("mute").disabled = !stream;
  if (current.transferring) $("call-state").textContent = `Transferring to ${current.transferring}…`;
  const talking = ["ESTABLISHED", "HOLD"].includes(status);
  $("hold").setAttribute("aria-pressed", String(current.holding));
  $("hold").title = current.holding ? "Go on with the call" : "Hold";
  $("hold").disabled = $("show-transfer").disabled = !talking || echo;
  $("show-tones").disabled = status !== "ESTABLISHED";
  if (remoteStream && $("sound").srcObject !== remoteStream) {
    $("sound").srcObject = remoteStream;
    $("sound").play().catch(() => {});
  }
  sounds.watch("you", stream);
  sounds.watch("them", remoteStream);
  // The gateway's own ringback, or the far side's early sound, comes as a stream.
  if (status === "RING" && !incoming && !remoteStream) sounds.ringback();
  else sounds.stopRingback();
}

setInterval(() => {
  const seconds = current?.establishedAt ? Math.floor((Date.now() - current.establishedAt) / 1000) : 0;
  const clock = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  $("timer").textContent = clock[0] ? `${clock[0]}:${two(clock[1])}:${two(clock[2])}` : `${clock[1]}:${two(clock[2])}`;
}, 250);
const two = (n) => String(n).padStart(2, "0");

// ---- keypads and keyboard ------------------------------------------------------------------------------------------

for (const [id, press] of [["keys", typeDigit], ["tones", sendTone]]) {
  for (const [symbol, letters] of KEYS) {
    const key = document.createElement("button");
    key.type = "button";
    key.setAttribute("aria-label", KEY_NAMES[symbol] ?? symbol);
    key.append(symbol, Object.assign(document.createElement("small"), { textContent: letters }));
    key.addEventListener("click", () => press(symbol));
    $(id).append(key);
  }
}
// A long press on 0 writes the + of international numbers.
let zeroTimer = 0;
const zero = $("keys").children[10];
zero.addEventListener("pointerdown", () => { zeroTimer = setTimeout(() => { zeroTimer = -1; typeDigit("+"); }, 600); });
zero.addEventListener("click", (event) => { if (zeroTimer === -1) event.stopImmediatePropagation(); clearTimeout(zeroTimer); zeroTimer = 0; }, true);

function typeDigit(symbol) {
  const field = $("number");
  const at = field.selectionStart ?? field.value.length;
  field.setRangeText(symbol, at, field.selectionEnd ?? at, "end");
  sounds.key(symbol);
}
function sendTone(symbol) {
  if (current?.status !== "ESTABLISHED") return;
  current.dtmf(symbol);
  sounds.key(symbol);
}
$("erase").addEventListener("click", () => {
  $("number").value = $("number").value.slice(0, -1);
  $("number").focus();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, select, textarea")) return;
  if (/^[0-9*#]$/.test(event.key)) {
    if (current) sendTone(event.key);
    else typeDigit(event.key);
    if (!current) $("number").focus();
    event.preventDefault();
  } else if (event.key === "Escape" && knocking) {
    knocking.hangup();
  }
});

// ---- words ---------------------------------------------------------------------------------------------------------

function say(sentence, raw, about = "") {
  if (!sentence) return;
  $("message").dataset.about = about;
  $("message-words").textContent = sentence;
  $("raw").textContent = raw ?? "";
  $("message-raw").hidden = !raw;
  $("message-raw").open = false;
  $("message").hidden = false;
  // On a phone the button that was pressed may be far below.
  $("message").scrollIntoView({ block: "nearest" });
}
function hush() {
  $("message").hidden = true;
}
$("message-close").addEventListener("click", hush);

if (!window.isSecureContext || !navigator.mediaDevices) {
  $("insecure").textContent =
    "Browsers give a microphone only to pages that come over https or from localhost. On this computer open http://localhost with the gateway's port; "
    + `from others open the https address that the gateway printed at its start, usually https://${location.hostname}:8443/.`;
  $("insecure").hidden = false;
}

// ---- sound: ringing, keys, levels ----------------------------------------------------------------------------------

const sounds = (() => {
  const ROWS = [697, 770, 852, 941];
  const COLUMNS = [1209, 1336, 1477];
  let context = null;
  let ringing = 0;
  let ringbackTimer = 0;
  const watched = {};

  function wake() {
    context ??= new AudioContext();
    if (context.state === "suspended") context.resume().catch(() => {});
    return context;
  }
  function beep(frequencies, seconds, volume) {
    const audio = wake();
    const gain = new GainNode(audio, { gain: 0 });
    const now = audio.currentTime;
    gain.gain.setTargetAtTime(volume, now, 0.01);
    gain.gain.setTargetAtTime(0, now + seconds, 0.02);
    gain.connect(audio.destination);
    for (const frequency of frequencies) {
      const tone = new OscillatorNode(audio, { frequency });
      tone.connect(gain);
      tone.start(now);
      tone.stop(now + seconds + 0.2);
    }
  }
  const repeat = (sound, ms) => (sound(), setInterval(sound, ms));

  /** How loud a stream is, 0 to 100: -60 dBFS to full scale. */
  function level({ analyser, samples }) {
    analyser.getFloatTimeDomainData(samples);
    let sum = 0;
    for (const s of samples) sum += s * s;
    const db = 10 * Math.log10(sum / samples.length + 1e-12);
    return Math.max(0, Math.min(100, ((db + 60) / 60) * 100));
  }
  function draw() {
    let any = false;
    for (const [who, entry] of Object.entries(watched)) {
      any = true;
      // Up at once, down slowly: that is how a meter is read.
      entry.shown = Math.max(level(entry), entry.shown - 2);
      const meter = $(`level-${who}`);
      meter.style.setProperty("--level", `${entry.shown.toFixed(1)}%`);
      meter.setAttribute("aria-valuenow", String(Math.round(entry.shown)));
    }
    if (any) requestAnimationFrame(draw);
  }

  return {
    wake,
    key(symbol) {
      const at = KEYS.findIndex(([k]) => k === symbol);
      if (at >= 0) beep([ROWS[Math.floor(at / 3)], COLUMNS[at % 3]], 0.1, 0.05);
    },
    ring() {
      clearInterval(ringing);
      ringing = repeat(() => { beep([440, 480], 0.4, 0.12); setTimeout(() => ringing && beep([440, 480], 0.4, 0.12), 600); }, 3000);
    },
    quiet() {
      clearInterval(ringing);
      ringing = 0;
    },
    ringback() {
      if (!ringbackTimer) ringbackTimer = repeat(() => beep([425], 1, 0.06), 5000);
    },
    stopRingback() {
      clearInterval(ringbackTimer);
      ringbackTimer = 0;
    },
    watch(who, stream) {
      if (!stream || watched[who]?.stream === stream) return;
      const audio = wake();
      const source = audio.createMediaStreamSource(stream);
      const analyser = new AnalyserNode(audio, { fftSize: 1024 });
      source.connect(analyser);
      const idle = Object.keys(watched).length === 0;
      watched[who] = { stream, source, analyser, samples: new Float32Array(1024), shown: 0 };
      if (idle) requestAnimationFrame(draw);
    },
    unwatch() {
      for (const who of Object.keys(watched)) {
        watched[who].source.disconnect();
        delete watched[who];
        $(`level-${who}`).style.setProperty("--level", "0%");
      }
    },
  };
})();

window.addEventListener("pagehide", () => client.disconnect());
recallAccount();
showSession();
client.connect(null);
