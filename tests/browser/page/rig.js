// What a test does in a page: an oscillator instead of a microphone, the calls made with the SDK as it is published,
// a log of what the SDK said, and a recording of what the page hears. Loaded before the SDK, which stays as it is: it
// finds a getUserMedia that gives a tone and a WebSocket that is also listened to.
const rig = (window.rig = {
  events: [],
  received: [],
  connections: [],
  session: null,
  call: null,
  /** Called with each frame as the SDK sends it. */
  onSent: null,

  /** From now on the microphone is a steady tone; `db` is its RMS in dBFS. */
  async microphone({ hz, db }) {
    const context = (rig.context ??= new AudioContext({ sampleRate: 48000, latencyHint: "playback" }));
    await context.resume();
    const oscillator = new OscillatorNode(context, { frequency: hz });
    const level = new GainNode(context, { gain: Math.SQRT2 * 10 ** (db / 20) });
    const speaker = new MediaStreamAudioDestinationNode(context, { channelCount: 1, channelCountMode: "explicit" });
    oscillator.connect(level).connect(speaker);
    oscillator.start();
    // A page that was given a microphone may use all addresses of its machine for media; Firefox gives no other page
    // the loopback address.
    rig.granted ??= await ownGetUserMedia({ audio: true });
    rig.give = async (constraints) => {
      const lens = constraints?.video && rig.lens ? rig.lens.getVideoTracks() : [];
      return new MediaStream([...speaker.stream.getAudioTracks(), ...lens].map((track) => track.clone()));
    };
  },
  /** From now on there is a camera too: one colour, and a bar that moves across it. */
  camera({ width, height, colour, fps = 15 }) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    let n = 0;
    const draw = () => {
      context.fillStyle = colour;
      context.fillRect(0, 0, width, height);
      context.fillStyle = "black";
      context.fillRect((n++ * 4) % width, 0, 8, height / 8);
    };
    draw();
    setInterval(draw, 1000 / fps);
    rig.lens = canvas.captureStream(fps);
  },
  /** From now on the user refuses the microphone; so it is before `microphone` too. */
  async give() {
    throw new DOMException("Permission denied", "NotAllowedError");
  },

  note(of, status, more = {}) {
    rig.events.push({ at: Math.round(performance.now()), of, status, ...more });
  },

  /** Opens a session. `sip`: the SDK's sipOptions, or nothing for a page without an account. */
  connect(urlServer, sip, more = {}) {
    const { SESSION_STATUS } = Flashphoner.constants;
    if (!rig.initialised) Flashphoner.init({ preferredMediaProviders: ["WebRTC"] });
    rig.initialised = true;
    const options = { urlServer, ...more };
    if (sip) options.sipOptions = sip;
    const session = (rig.session = Flashphoner.createSession(options));
    for (const status of Object.values(SESSION_STATUS)) {
      if (status === SESSION_STATUS.INCOMING_CALL) continue;
      session.on(status, (a, b) => {
        const info = [a, b].find((x) => x && typeof x.status === "string");
        rig.note("session", status, info ? { said: info.status, info: info.info, apiMethod: info.apiMethod } : {});
      });
    }
    session.on(SESSION_STATUS.INCOMING_CALL, (call) => {
      rig.call = call;
      rig.watch(call);
      rig.note("session", "INCOMING_CALL", { caller: call.caller(), visibleName: call.visibleName() });
    });
  },

  watch(call) {
    for (const status of Object.values(Flashphoner.constants.CALL_STATUS)) {
      call.on(status, () => rig.note("call", status, { id: call.id() }));
    }
  },

  displays() {
    const make = (id) => {
      const old = document.getElementById(id);
      const fresh = document.createElement("div");
      fresh.id = id;
      old.replaceWith(fresh);
      return fresh;
    };
    return { localVideoDisplay: make("local"), remoteVideoDisplay: make("remote") };
  },

  dial(callee, more = {}) {
    const call = (rig.call = rig.session.createCall({
      callee, visibleName: "Page", constraints: { audio: true, video: false }, receiveAudio: true, receiveVideo: false,
      ...rig.displays(), ...more,
    }));
    rig.watch(call);
    call.call();
    return call.id();
  },
  answer(more = {}) {
    rig.call.answer({ constraints: { audio: true, video: false }, receiveAudio: true, receiveVideo: false, ...rig.displays(), ...more });
  },
  hangup() {
    rig.call.hangup();
  },

  /** What the newest connection says of itself: its state, the codecs it sends and gets, packets. */
  async stats() {
    const connection = rig.connections.at(-1);
    if (!connection) return null;
    const all = [...(await connection.getStats()).values()];
    const codec = (entry) => all.find((other) => other.id === entry.codecId)?.mimeType;
    const of = (type) => all.find((entry) => entry.type === type && (entry.kind ?? entry.mediaType) === "audio");
    const [out, inward] = [of("outbound-rtp"), of("inbound-rtp")];
    return {
      state: connection.connectionState ?? connection.iceConnectionState,
      dtls: all.find((entry) => entry.type === "transport")?.tlsVersion, srtp: all.find((entry) => entry.type === "transport")?.srtpCipher,
      sends: out && codec(out), sent: out?.packetsSent, gets: inward && codec(inward), got: inward?.packetsReceived, lost: inward?.packetsLost,
      discarded: inward?.packetsDiscarded,
    };
  },

  /** What the newest connection says of its pictures. */
  async videoStats() {
    const all = [...(await rig.connections.at(-1).getStats()).values()];
    const codec = (entry) => all.find((other) => other.id === entry.codecId)?.mimeType;
    const of = (type) => all.find((entry) => entry.type === type && entry.kind === "video");
    const [out, inward] = [of("outbound-rtp"), of("inbound-rtp")];
    return {
      directions: rig.connections.at(-1).getTransceivers().map((transceiver) => transceiver.currentDirection),
      out: out && { codec: codec(out), frames: out.framesEncoded, key: out.keyFramesEncoded, pli: out.pliCount, fir: out.firCount, width: out.frameWidth, height: out.frameHeight },
      in: inward && { codec: codec(inward), frames: inward.framesDecoded, key: inward.keyFramesDecoded, pli: inward.pliCount, width: inward.frameWidth, height: inward.frameHeight, lost: inward.packetsLost },
    };
  },
  /** Notes each picture that the page shows its user, from now on: when, and its size. */
  watchPictures() {
    const pictures = (rig.pictures = []);
    const look = () => {
      if (pictures !== rig.pictures) return;
      const element = [...document.querySelectorAll("#remote video")].find((e) => e.srcObject?.getVideoTracks().length);
      if (!element) return void setTimeout(look, 5);
      const shown = (now, { width, height }) => {
        if (pictures !== rig.pictures) return;
        pictures.push({ at: Math.round(performance.now()), width, height });
        element.requestVideoFrameCallback(shown);
      };
      element.requestVideoFrameCallback(shown);
    };
    look();
  },
  /** The mean colour of what the page shows, red, green and blue. */
  colour() {
    const element = document.querySelector("#remote video");
    const canvas = new OffscreenCanvas(32, 32);
    const context = canvas.getContext("2d");
    context.drawImage(element, 0, 0, 32, 32);
    const { data } = context.getImageData(0, 0, 32, 32);
    return [0, 1, 2].map((c) => Math.round(data.filter((_, i) => i % 4 === c).reduce((sum, v) => sum + v, 0) / 1024));
  },

  /** The element that the SDK plays the far side in. It applies our description beside its events, so ESTABLISHED may come first. */
  async player(seconds = 10) {
    const given = () => [...document.querySelectorAll("#remote video, #remote audio")].find((e) => e.srcObject);
    const until = performance.now() + seconds * 1000;
    while (!given() && performance.now() < until) await new Promise((done) => setTimeout(done, 10));
    if (!given()) throw new Error("the SDK has put no sound into the page");
    return given();
  },

  /** Begins to record what the page plays to its user. */
  async record() {
    const element = await rig.player();
    const context = (rig.context ??= new AudioContext({ sampleRate: 48000, latencyHint: "playback" }));
    await context.resume();
    if (!rig.worklet) await (rig.worklet = context.audioWorklet.addModule("recorder.js"));
    await rig.worklet;
    const source = context.createMediaStreamSource(new MediaStream(element.srcObject.getAudioTracks()));
    const node = new AudioWorkletNode(context, "recorder", { numberOfInputs: 1, numberOfOutputs: 1, channelCount: 1, channelCountMode: "explicit" });
    const blocks = [];
    // For each 200 ms of the recording the least of what the wall's clock is ahead of it: the page is late now and then.
    const lags = [];
    node.port.onmessage = ({ data }) => {
      const at = (blocks.length * 128000) / context.sampleRate;
      const group = Math.floor(at / 200);
      lags[group] = Math.min(lags[group] ?? Infinity, Date.now() - at);
      blocks.push(data);
    };
    source.connect(node).connect(new GainNode(context, { gain: 0 })).connect(context.destination);
    rig.recording = { blocks, source, node, lags };
    rig.seconds = () => (blocks.length * 128) / context.sampleRate;
  },
  /** Ends the recording and hands it to the test under a name. */
  async keep(name) {
    const { blocks, source, node } = rig.recording;
    source.disconnect();
    node.disconnect();
    const all = new Float32Array(blocks.length * 128);
    blocks.forEach((block, i) => all.set(block, i * 128));
    const url = `recordings/${encodeURIComponent(name)}?rate=${rig.context.sampleRate}`;
    const response = await fetch(url, { method: "POST", body: all });
    if (!response.ok) throw new Error(`the recording was not taken: ${response.status}`);
    return all.length / rig.context.sampleRate;
  },
});

const ownGetUserMedia = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);

// Both faces of getUserMedia give what the rig gives. They cannot be set anew: a shim inside the SDK would put the
// browser's own function back.
for (const [owner, face] of [
  [navigator.mediaDevices, (constraints) => rig.give(constraints)],
  [navigator, (constraints, taken, refused) => void rig.give(constraints).then(taken, refused)],
]) {
  Object.defineProperty(owner, "getUserMedia", { get: () => face, set: () => {}, configurable: true });
}

window.RTCPeerConnection = new Proxy(window.RTCPeerConnection, {
  construct(target, args, newTarget) {
    const connection = Reflect.construct(target, args, newTarget);
    rig.connections.push(connection);
    return connection;
  },
});

// The SDK shows a page neither sipStatus nor info of a call; the wire does.
window.WebSocket = new Proxy(window.WebSocket, {
  construct(target, args) {
    const socket = new target(...args);
    socket.addEventListener("message", ({ data }) => {
      try {
        rig.received.push({ at: Math.round(performance.now()), ...JSON.parse(data) });
      } catch {
        rig.received.push({ at: Math.round(performance.now()), message: "not JSON" });
      }
    });
    const send = socket.send.bind(socket);
    socket.send = (data) => {
      send(data);
      rig.onSent?.(JSON.parse(data));
    };
    return socket;
  },
});
