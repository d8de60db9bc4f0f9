#!/usr/bin/env python3
"""Dials `echo` as a WebRTC client that is no browser, and records what comes back.

usage: aiortc_echo.py WS_URL OUT.wav [--hz 620] [--db -20] [--seconds 21] [--setup actpass|active|passive] [--address 127.0.0.1]

It speaks the JSON protocol by itself. `--setup` is what its offer says of DTLS: `passive` leaves the gateway no choice
but to be the client of the handshake, `active` none but to be the server. The last line is JSON."""
import argparse, asyncio, fractions, json, math, sys, time, uuid, wave

import aioice.ice
import numpy
import websockets
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame, AudioResampler

RATE, SAMPLES = 48000, 960


class Tone(MediaStreamTrack):
    """A steady tone in frames of 20 ms."""
    kind = "audio"

    def __init__(self, hz, db):
        super().__init__()
        self.hz, self.amplitude = hz, math.sqrt(2) * 10 ** (db / 20) * 32767
        self.sent, self.begun = 0, None

    async def recv(self):
        self.begun = self.begun or time.monotonic()
        await asyncio.sleep(max(0, self.begun + self.sent / RATE - time.monotonic()))
        n = numpy.arange(self.sent, self.sent + SAMPLES)
        pcm = (self.amplitude * numpy.sin(2 * math.pi * self.hz * n / RATE)).astype(numpy.int16)
        # Two channels, or the encoder makes two of one and each is 3 dB weaker.
        frame = AudioFrame.from_ndarray(numpy.repeat(pcm, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.sent, fractions.Fraction(1, RATE)
        self.sent += SAMPLES
        return frame


async def record(track, out, seconds, state):
    """Writes what comes to a WAV file until there is enough of it."""
    mono = AudioResampler(format="s16", layout="mono", rate=RATE)
    with wave.open(out, "wb") as f:
        f.setnchannels(1), f.setsampwidth(2), f.setframerate(RATE)
        while state["samples"] < seconds * RATE:
            frame = await track.recv()
            state["first"] = state["first"] or time.monotonic()
            for part in mono.resample(frame):
                pcm = part.to_ndarray().reshape(-1)
                f.writeframes(pcm.tobytes())
                state["samples"] += len(pcm)
    state["took"] = time.monotonic() - state["first"]


async def run(o):
    # aiortc leaves the loopback address out; here it is the only one wanted.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [o.address]
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTrack(Tone(o.hz, o.db))
    state = {"samples": 0, "first": None, "took": None}
    recorded = asyncio.get_running_loop().create_future()

    @pc.on("track")
    def heard(track):
        task = asyncio.ensure_future(record(track, o.out, o.seconds, state))
        task.add_done_callback(lambda t: recorded.done() or (recorded.set_exception(t.exception()) if t.exception() else recorded.set_result(None)))

    call, statuses = str(uuid.uuid4()), []
    async with websockets.connect(o.url) as ws:
        def say(message, data):
            return ws.send(json.dumps({"message": message, "data": [data]}))

        finished = asyncio.get_running_loop().create_future()

        async def listen():
            async for text in ws:
                frame = json.loads(text)
                name, data = frame["message"], frame["data"]
                if name == "ping":
                    await ws.send(json.dumps({"message": "pong", "data": [None]}))
                elif name == "getUserData":
                    await pc.setLocalDescription(await pc.createOffer())
                    # The client's descriptions hold no candidates; its address is learnt from its first STUN check.
                    lines = [l for l in pc.localDescription.sdp.splitlines() if not l.startswith(("a=candidate", "a=end-of-cand"))]
                    sdp = "\r\n".join(lines) + "\r\n"
                    sdp = sdp.replace("a=setup:actpass", f"a=setup:{o.setup}")
                    await say("call", {"callId": call, "incoming": False, "hasVideo": False, "hasAudio": True, "status": "PENDING",
                                       "mediaProvider": "WebRTC", "sdp": sdp, "callee": "echo", "visibleName": "aiortc"})
                elif name == "setRemoteSDP":
                    state["answered"] = next((l.split(":", 1)[1] for l in data[1].splitlines() if l.startswith("a=setup:")), "")
                    await pc.setRemoteDescription(RTCSessionDescription(data[1], "answer"))
                elif name == "fail":
                    raise RuntimeError(f"fail: {data[0].get('info')}")
                elif data and isinstance(data[0], dict) and data[0].get("callId") == call:
                    statuses.append(data[0].get("status"))
                    if data[0].get("status") in ("FINISH", "FAILED", "BUSY") and not finished.done():
                        finished.set_result(data[0])

        listening = asyncio.ensure_future(listen())
        await say("connection", {"appKey": "defaultApp", "mediaProviders": ["WebRTC"], "clientVersion": "2.0"})
        done, _ = await asyncio.wait({recorded, finished, listening}, timeout=o.seconds + 30, return_when=asyncio.FIRST_COMPLETED)
        problem = None
        if listening in done:
            problem = str(listening.exception() or "the gateway closed the socket")
        elif finished in done:
            problem = f"the call ended by itself: {finished.result().get('info')}"
        elif not done:
            problem = f"only {state['samples'] / RATE:.1f} s came back"
        elif recorded.exception():
            problem = f"recording: {recorded.exception()!r}"
        else:
            await say("hangup", {"callId": call})
            if not await asyncio.wait_for(asyncio.shield(finished), 10):
                problem = "no finish"
        transport = pc.getTransceivers()[0].sender.transport
        role = transport._role if hasattr(transport, "_role") else None
        listening.cancel()
    await pc.close()
    print(json.dumps({"ok": problem is None, "problem": problem, "statuses": statuses, "gateway_setup": state.get("answered"),
                      "our_dtls_role": role, "seconds": round(state["samples"] / RATE, 2), "took": state["took"] and round(state["took"], 2)}))
    return 0 if problem is None else 1


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("url"), ap.add_argument("out")
    ap.add_argument("--hz", type=float, default=620), ap.add_argument("--db", type=float, default=-20)
    ap.add_argument("--seconds", type=float, default=21), ap.add_argument("--address", default="127.0.0.1")
    ap.add_argument("--setup", choices=["actpass", "active", "passive"], default="actpass")
    sys.exit(asyncio.run(run(ap.parse_args())))


main()
