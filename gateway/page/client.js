// The gateway's JSON protocol as a page speaks it: one session, its calls, their media. Knows nothing of the screen;
// tells what happens through events: "state", "registered", "refused", "incoming", "call".

/** After the socket is lost we try again so soon, then ever more slowly. */
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 15000;

export class Client extends EventTarget {
  #socket = null;
  #account = null;
  #token = null;
  #retryMs = FIRST_RETRY_MS;
  #retry = 0;
  #wanted = false;
  /** Whether this account has been registered once: then a failure is the server's, and it is tried again. */
  #proven = false;
  #unregistered = false;
  #offers = new Map();
  calls = new Map();
  /** "connecting", "connected", "registering", "registered", "unregistered" (tried again) or "offline". */
  state = "offline";

  constructor(url) {
    super();
    this.url = url;
  }

  get account() {
    return this.#account;
  }

  /** Opens a session: with an account the gateway registers it at its SIP server, without one `echo` still answers. */
  connect(account = null) {
    this.disconnect();
    this.#account = account;
    this.#wanted = true;
    this.#proven = this.#unregistered = false;
    this.#retryMs = FIRST_RETRY_MS;
    this.#open();
  }

  disconnect() {
    this.#wanted = false;
    clearTimeout(this.#retry);
    this.#token = null;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.#endAll({ status: "FAILED", info: "Disconnected" });
    this.#become("offline");
  }

  async call(callee) {
    const call = new Call(this, newId(), { incoming: false, peer: callee });
    this.calls.set(call.id, call);
    try {
      const sdp = await call.offer();
      if (call.over) return call;
      const { login } = this.#account ?? {};
      this.send("call", {
        callId: call.id, incoming: false, hasVideo: false, hasAudio: true, status: "PENDING", mediaProvider: "WebRTC",
        sdp, caller: login, callee, visibleName: this.#account?.displayName || login, custom: {},
      });
    } catch (error) {
      call.end({ status: "FAILED", error });
    }
    return call;
  }

  send(message, data) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify({ message, data: [data] }));
    return true;
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #open() {
    this.#become("connecting");
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    socket.onopen = () => this.#greet();
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      let frame;
      try {
        frame = JSON.parse(data);
      } catch {
        return;
      }
      this.#hear(frame.message, frame.data ?? []);
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      this.#socket = null;
      this.#endAll({ status: "FAILED", info: "Connection lost" });
      this.#become(this.#unregistered ? "unregistered" : "offline");
      if (!this.#wanted) return;
      this.#retry = setTimeout(() => this.#open(), this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
    };
  }

  #greet() {
    const a = this.#account;
    const sip = a && {
      sipLogin: a.login, sipAuthenticationName: a.authenticationName || a.login, sipPassword: a.password,
      sipDomain: a.domain, sipOutboundProxy: a.proxy || a.domain, sipRegisterRequired: a.register !== false,
      ...(a.port ? { sipPort: a.port } : {}), ...(a.displayName ? { sipVisibleName: a.displayName } : {}),
    };
    this.send("connection", {
      appKey: "defaultApp", mediaProviders: ["WebRTC"], keepAlive: false, clientVersion: "2.0",
      clientOSVersion: navigator.appVersion, clientBrowserVersion: navigator.userAgent, msePacketizationVersion: 2,
      custom: {}, ...sip,
    });
  }

  #hear(message, [first, second]) {
    switch (message) {
      case "ping":
        this.#socket.send('{"message":"pong","data":[null]}');
        break;
      case "getUserData":
        if (this.#account && this.#account.register !== false) return this.#become("registering");
        this.#retryMs = FIRST_RETRY_MS;
        this.#become("connected");
        break;
      case "registered":
        this.#retryMs = FIRST_RETRY_MS;
        this.#proven = true;
        this.#unregistered = false;
        this.#become("registered");
        this.tell("registered");
        break;
      case "fail":
        this.#refused(first ?? {});
        break;
      case "setRemoteSDP": {
        const call = this.calls.get(first);
        if (call) call.description(second);
        else if (this.#offers.size < 8) this.#offers.set(first, second);
        break;
      }
      case "notifyIncomingCall": {
        const call = new Call(this, first.callId, {
          incoming: true, peer: first.caller, name: first.visibleName, remote: this.#offers.get(first.callId),
        });
        this.#offers.delete(first.callId);
        this.calls.set(call.id, call);
        this.tell("incoming", call);
        break;
      }
      case "notifyTransferEvent":
        this.calls.get(first?.callId)?.transferTold(first);
        break;
      case "notifyTryingResponse":
      case "ring":
      case "talk":
      case "hold":
      case "finish":
        this.calls.get(first?.callId)?.hear(first);
        break;
    }
  }

  #refused(failure) {
    if (!["RegistrationStatusEvent", "ConnectionStatusEvent"].includes(failure.apiMethod)) return;
    // What was refused would be refused again: no retry, unless it has worked before.
    if (failure.status === "AUTHENTICATION_FAIL" || failure.apiMethod === "ConnectionStatusEvent" || !this.#proven) this.#wanted = false;
    else this.#unregistered = true;
    this.tell("refused", { ...failure, final: !this.#wanted });
  }

  #endAll(end) {
    for (const call of [...this.calls.values()]) call.end(end);
    this.#offers.clear();
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.tell("state", state);
  }
}

/** One call. `status` is the protocol's; "call" events of the client tell of each change. */
export class Call {
  #client;
  #connection = null;
  #remoteOffer;
  stream = null;
  remoteStream = null;
  status = "PENDING";
  establishedAt = null;
  muted = false;
  /** Whether we asked for hold: HOLD says not who did. */
  holding = false;
  /** Whom the other side was asked to call instead of us, until that is settled. */
  transferring = null;
  finish = null;

  constructor(client, id, { incoming, peer, name, remote }) {
    this.#client = client;
    this.#remoteOffer = remote;
    Object.assign(this, { id, incoming, peer, name });
  }

  get over() {
    return this.finish !== null;
  }

  async #connect() {
    const stream = await microphone();
    if (this.over) {
      for (const track of stream.getTracks()) track.stop();
      throw new DOMException("The call has ended", "AbortError");
    }
    this.stream = stream;
    const connection = new RTCPeerConnection({ bundlePolicy: "max-compat" });
    this.#connection = connection;
    connection.ontrack = ({ streams, track }) => {
      this.remoteStream = streams[0] ?? new MediaStream([track]);
      this.#changed();
    };
    connection.onconnectionstatechange = () => this.#changed();
    for (const track of stream.getAudioTracks()) connection.addTrack(track, stream);
    return connection;
  }

  /** Our offer; the gateway learns our address by itself, so no candidates go with it. */
  async offer() {
    const connection = await this.#connect();
    await connection.setLocalDescription(await connection.createOffer());
    return connection.localDescription.sdp.replace(/^a=(candidate|end-of-candidates).*\r\n/gm, "");
  }

  async answer() {
    try {
      const connection = await this.#connect();
      await connection.setRemoteDescription({ type: "offer", sdp: this.#remoteOffer });
      await connection.setLocalDescription(await connection.createAnswer());
      if (this.over) return;
      this.#client.send("answer", {
        callId: this.id, incoming: true, hasVideo: false, hasAudio: true, status: "PENDING", mediaProvider: "WebRTC",
        sdp: connection.localDescription.sdp.replace(/^a=(candidate|end-of-candidates).*\r\n/gm, ""), custom: {},
      });
    } catch (error) {
      this.#client.send("hangup", { callId: this.id });
      this.end({ status: "FAILED", error });
    }
  }

  description(sdp) {
    this.#connection?.setRemoteDescription({ type: "answer", sdp }).catch((error) => this.fail(error));
  }

  hear(told) {
    if (["FINISH", "FAILED", "BUSY"].includes(told.status)) return this.end(told);
    if (told.status) this.status = told.status;
    // A hold of ours that was refused, or that is over.
    if (told.status === "ESTABLISHED") this.holding = false;
    if (told.status === "ESTABLISHED") this.establishedAt ??= Date.now();
    this.#changed();
  }

  /** Always said aloud, also when nothing was heard of the call yet: the gateway ignores what it does not know. */
  hangup() {
    if (this.over) return;
    this.#client.send("hangup", { callId: this.id });
    this.end({ status: "FINISH", info: "", byUs: true });
  }

  fail(error) {
    this.#client.send("hangup", { callId: this.id });
    this.end({ status: "FAILED", error });
  }

  dtmf(symbol) {
    this.#client.send("sendDtmf", { callId: this.id, type: "RFC2833", dtmf: symbol });
  }

  /** Asks for hold or for its end; HOLD or ESTABLISHED tells what came of it. */
  hold(held) {
    this.holding = held;
    this.#client.send(held ? "hold" : "unhold", { callId: this.id });
    this.#changed();
  }

  /** Asks the other side to call `target` in our place. When that works the gateway ends this call. */
  transfer(target) {
    this.transferring = target;
    this.#client.send("transfer", { callId: this.id, target });
    this.#changed();
  }

  transferTold({ status, info }) {
    if (status !== "FAILED") return;
    const target = this.transferring;
    this.transferring = null;
    this.#client.tell("transferFailed", { target, info });
    this.#changed();
  }

  mute(muted) {
    this.muted = muted;
    for (const track of this.stream?.getAudioTracks() ?? []) track.enabled = !muted;
    this.#changed();
  }

  get mediaState() {
    return this.#connection?.connectionState ?? "new";
  }

  end(finish) {
    if (this.over) return;
    this.finish = finish;
    this.status = finish.status;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.#connection?.close();
    this.#client.calls.delete(this.id);
    this.#changed();
  }

  #changed() {
    this.#client.tell("call", this);
  }
}

async function microphone() {
  if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("No microphone for this page", "SecurityError");
  return navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true } });
}

/** A random UUID; `crypto.randomUUID` is not there without https. */
function newId() {
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, "$1-$2-4$3-a$4-$5");
}

const BY_STATUS = {
  401: "The telephone server refused the name or the password.",
  402: "The telephone server wants a payment for this call.",
  403: "The telephone server does not allow this call.",
  404: "There is no such number.",
  407: "The telephone server refused the name or the password.",
  408: "Nobody answered in time.",
  410: "This number is not in use any more.",
  415: "The other side cannot do what this call needs.",
  480: "Nobody can be reached at this number right now.",
  484: "The number is incomplete.",
  486: "The line is busy.",
  487: "The call was cancelled.",
  488: "The two sides found no common way to speak: no codec suits both.",
  500: "The telephone server had a fault of its own.",
  502: "The telephone server got no proper answer from the next one.",
  503: "The telephone server is not available right now.",
  504: "The telephone server got no answer from the next one in time.",
  600: "The line is busy.",
  603: "The call was declined.",
  604: "There is no such number.",
  606: "The two sides found no common way to speak: no codec suits both.",
};

const BY_INFO = [
  [/ICE|keep alive/i, "No sound could get through between this browser and the gateway. Most often a firewall stops UDP to the gateway's media port."],
  [/DTLS/i, "The browser and the gateway could not agree on the encryption of the sound."],
  [/RTP activity/i, "The call ended because no sound came any more."],
  [/request timeout/i, "Nobody answered in time."],
  [/common codecs|transcoding/i, "The two sides found no common way to speak: no codec suits both."],
  [/connection lost/i, "The connection to the gateway was lost."],
  [/no address found/i, "There is no telephone server of that name."],
  [/cannot be reached/i, "The telephone server cannot be reached. Is its address right, and does it run?"],
  [/gateway itself/i, "That is the gateway's own address. Give the address and port of your PBX; on one computer the two need different ports."],
  [/target|not allowed|allowed_targets/i, "The gateway may not send anything to that address. Its operator can allow it with the setting sip.allowed_targets."],
];

/** Why a call ended, in a sentence; "" when there is nothing to explain. */
export function explainCall({ status, sipStatus, info, error, byUs }) {
  if (error) return explainMicrophone(error);
  if (status === "FINISH" || byUs) return "";
  if (BY_STATUS[sipStatus]) return BY_STATUS[sipStatus];
  for (const [pattern, sentence] of BY_INFO) if (pattern.test(info ?? "")) return sentence;
  if (status === "BUSY") return BY_STATUS[486];
  if (sipStatus >= 500) return `The telephone server could not do it (${sipStatus}).`;
  if (sipStatus >= 400) return `The telephone server refused the call (${sipStatus}).`;
  return info ? `The call failed: ${info}.` : "The call failed.";
}

/** Why an account was not registered, in a sentence. */
export function explainRefusal({ status, info, apiMethod }) {
  if (apiMethod === "ConnectionStatusEvent") return `The gateway refused this page${info ? `: ${info}` : ""}.`;
  if (status === "AUTHENTICATION_FAIL") return "The telephone server does not accept this login and password.";
  const sip = Number(/SIP (\d{3})/.exec(info ?? "")?.[1]);
  if (sip === 404) return "The telephone server does not know this login.";
  if (sip === 408 || /timeout/i.test(info ?? "")) return "The telephone server does not answer. Is its address right, and can the gateway reach it?";
  if (BY_STATUS[sip]) return BY_STATUS[sip].replace("this call", "this account");
  for (const [pattern, sentence] of BY_INFO) if (pattern.test(info ?? "")) return sentence;
  return `Signing in failed${info ? `: ${info}` : ""}.`;
}

export function explainMicrophone(error) {
  switch (error?.name) {
    case "NotAllowedError":
      return "The browser did not give this page the microphone. Allow it at the lock sign beside the address and dial again.";
    case "NotFoundError":
      return "This computer has no microphone that the browser can find.";
    case "NotReadableError":
      return "The microphone is in use by another program, or the system keeps it from the browser.";
    case "SecurityError":
      return "Browsers give a microphone only to pages that come over https or from localhost.";
    case "AbortError":
      return "";
    default:
      return `The call could not be set up in this browser: ${error?.message ?? error}`;
  }
}
