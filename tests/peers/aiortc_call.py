#!/usr/bin/env python3
"""A page that is no browser: speaks the JSON protocol with an account, its media are aiortc's.

usage: aiortc_call.py WS_URL LOGIN PASSWORD DOMAIN PBX_PORT [--hz 620] [--db -20] [--listen 1010]
Commands on standard input, one JSON object a line; events on standard output, one JSON a line, as sip_phone.py has it:
  {"do": "call", "to": USER}   {"do": "hold"}   {"do": "unhold"}   {"do": "hangup"}   {"do": "quit"}
  {"do": "heard"}     "packets": [[AT, DB], ...], each frame that came out of the decoder; "srtp_failed": how many packets
                      aiortc could not open, by its own log; "descriptions": how many the gateway sent;
                      "digits": [[AT, PT, EVENT, END], ...], telephone-events
Each status of the call is an event "status"."""
import argparse
import asyncio
import fractions
import json
import logging
import math
import sys
import time
import uuid

import aioice.ice
import numpy
import websockets

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame, AudioResampler

RATE, SAMPLES = 48000, 960


class Failures(logging.Handler):
    """aiortc speaks of a packet that it cannot open, and drops it."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.count, self.handshakes = 0, 0

    def emit(self, record):
        text = record.getMessage()
        self.count += "unprotect failed" in text
        self.handshakes += "handshake complete" in text


class Tone(MediaStreamTrack):
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
        frame = AudioFrame.from_ndarray(numpy.repeat(pcm, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.sent, fractions.Fraction(1, RATE)
        self.sent += SAMPLES
        return frame


class Page:
    def __init__(self, o, failures):
        self.o, self.failures = o, failures
        self.heard, self.digits, self.descriptions, self.call = [], [], 0, None
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pc.addTrack(Tone(o.hz, o.db))
        self.pc.on("track", lambda track: setattr(self, "task", asyncio.ensure_future(self.listen_to(track))))

    def event(self, kind, **more):
        print(json.dumps({"event": kind, "at": round(time.time(), 4), **more}), flush=True)

    async def listen_to(self, track):
        mono = AudioResampler(format="s16", layout="mono", rate=RATE)
        turn = -2j * math.pi * self.o.listen / RATE
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return  # The call is over.
            at = time.time()
            for part in mono.resample(frame):
                pcm = part.to_ndarray().reshape(-1) / 32768
                tone = abs(numpy.dot(pcm, numpy.exp(turn * numpy.arange(len(pcm))))) * math.sqrt(2) / max(len(pcm), 1)
                self.heard.append([round(at, 4), round(20 * math.log10(max(tone, 1e-6)), 1)])

    def spy(self):
        """Telephone-events: aiortc knows none and drops them, so they are looked at where packets are opened."""
        transport = self.pc.getTransceivers()[0].receiver.transport
        route = transport._handle_rtp_data

        async def look(data, arrival_time_ms):
            pt = data[1] & 0x7F
            head = 12 + 4 * (data[0] & 15)
            if data[0] & 0x10:
                head += 4 + 4 * int.from_bytes(data[head + 2:head + 4], "big")
            if pt in self.event_types and len(data) - head >= 4:
                self.digits.append([round(time.time(), 4), pt, "0123456789*#ABCD"[data[head] & 15], data[head + 1] >> 7, int.from_bytes(data[4:8], "big")])
            await route(data, arrival_time_ms)

        transport._handle_rtp_data = look

    async def say(self, message, data):
        await self.socket.send(json.dumps({"message": message, "data": [data]}))

    async def take(self, name, data):
        if name == "ping":
            await self.say("pong", None)
        elif name == "registered":
            self.event("registered")
        elif name == "setRemoteSDP":
            self.descriptions += 1
            sdp = data[1]
            self.event_types = [int(l.split(":")[1].split()[0]) for l in sdp.splitlines() if l.startswith("a=rtpmap:") and "telephone-event" in l]
            self.event("description", event_types=self.event_types)
            if self.descriptions == 1:
                await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
                self.spy()
        elif name == "fail":
            self.event("fail", info=data[0].get("info"))
        elif self.call and data and isinstance(data[0], dict) and data[0].get("callId") == self.call and data[0].get("status"):
            self.event("status", status=data[0]["status"])

    async def run(self, c):
        begun, more = time.time(), {}
        if c["do"] == "call":
            self.call = str(uuid.uuid4())
            await self.pc.setLocalDescription(await self.pc.createOffer())
            lines = [l for l in self.pc.localDescription.sdp.splitlines() if not l.startswith(("a=candidate", "a=end-of-cand"))]
            # It offers no telephone-events; browsers do.
            lines = [f"{l} 126" if l.startswith("m=audio") else l for l in lines] + ["a=rtpmap:126 telephone-event/8000"]
            await self.say("call", {"callId": self.call, "incoming": False, "hasVideo": False, "hasAudio": True, "status": "PENDING", "mediaProvider": "WebRTC",
                                    "sdp": "\r\n".join(lines) + "\r\n", "callee": c["to"], "visibleName": "aiortc"})
        elif c["do"] in ("hold", "unhold", "hangup"):
            await self.say(c["do"], {"callId": self.call})
        elif c["do"] == "heard":
            more = {"packets": self.heard, "digits": self.digits, "srtp_failed": self.failures.count, "handshakes": self.failures.handshakes, "descriptions": self.descriptions}
        self.event("done", n=c.get("n"), do=c["do"], begun=begun, ended=time.time(), **more)


async def main(o):
    # aiortc leaves the loopback address out; here it is the only one wanted.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    failures = Failures()
    log = logging.getLogger("aiortc.rtcdtlstransport")
    log.setLevel(logging.DEBUG), log.addHandler(failures)
    log.propagate = False
    page = Page(o, failures)
    async with websockets.connect(o.url) as page.socket:
        async def listen():
            async for text in page.socket:
                frame = json.loads(text)
                await page.take(frame["message"], frame["data"])

        listening = asyncio.ensure_future(listen())
        await page.say("connection", {"appKey": "defaultApp", "mediaProviders": ["WebRTC"], "clientVersion": "2.0", "sipLogin": o.login, "sipAuthenticationName": o.login,
                                      "sipPassword": o.password, "sipDomain": o.domain, "sipOutboundProxy": "127.0.0.1", "sipPort": str(o.pbx), "sipRegisterRequired": True})
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            command = json.loads(line)
            if command["do"] == "quit":
                break
            try:
                await page.run(command)
            except Exception as error:
                page.event("done", n=command.get("n"), do=command["do"], error=repr(error))
        listening.cancel()
    await page.pc.close()


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("url", "login", "password", "domain"):
        ap.add_argument(name)
    ap.add_argument("pbx", type=int)
    ap.add_argument("--hz", type=float, default=620)
    ap.add_argument("--db", type=float, default=-20)
    ap.add_argument("--listen", type=float, default=1010)
    asyncio.run(main(ap.parse_args()))
