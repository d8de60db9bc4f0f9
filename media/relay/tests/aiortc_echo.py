#!/usr/bin/env python3
"""aiortc as the browser of `examples/echo.rs`: a tone goes out, and has to come back.

Usage: aiortc_echo.py PATH-OF-ECHO-BINARY. Needs aiortc and numpy. Exits 0 if every cell passes: both DTLS
roles, Opus and PCMU.
"""
import asyncio
import fractions
import json
import sys

import numpy
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame

HZ = 1000
SECONDS = 4


class Tone(MediaStreamTrack):
    kind = "audio"

    def __init__(self, rate):
        super().__init__()
        self.rate, self.at, self.start = rate, 0, None

    async def recv(self):
        loop = asyncio.get_running_loop()
        self.start = self.start or loop.time()
        await asyncio.sleep(max(0, self.start + self.at / self.rate - loop.time()))
        count = self.rate // 50
        time = (numpy.arange(count) + self.at) / self.rate
        samples = (8000 * numpy.sin(2 * numpy.pi * HZ * time)).astype(numpy.int16)
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = self.rate, self.at
        frame.time_base = fractions.Fraction(1, self.rate)
        self.at += count
        return frame


def attribute(sdp, name):
    return next(line.split(":", 1)[1] for line in sdp.splitlines() if line.startswith("a=" + name + ":"))


async def cell(binary, codec, role):
    node = await asyncio.create_subprocess_exec(
        binary, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        while True:
            local = json.loads(await node.stdout.readline())
            if "ufrag" in local:
                break
        name, pt, clock, channels = codec
        pc = RTCPeerConnection()
        heard = []
        finished = asyncio.Event()

        @pc.on("track")
        def on_track(track):
            async def listen():
                while len(heard) < SECONDS * 50:
                    frame = await track.recv()
                    samples = frame.to_ndarray().reshape(-1)
                    step = len(frame.layout.channels)
                    heard.append((frame.sample_rate, samples[::step]))
                finished.set()

            asyncio.ensure_future(listen())

        pc.addTrack(Tone(clock))
        await pc.setLocalDescription(await pc.createOffer())
        offer = pc.localDescription.sdp
        algorithm, fingerprint = next(
            line[len("a=fingerprint:"):].split()
            for line in offer.splitlines()
            if line.startswith("a=fingerprint:sha-256")
        )
        remote = {
            "ufrag": attribute(offer, "ice-ufrag"),
            "pwd": attribute(offer, "ice-pwd"),
            "hash": algorithm,
            "fingerprint": fingerprint,
            "dtls": role,
            "codec": name,
            "pt": pt,
            "clock": clock,
            "channels": channels,
        }
        node.stdin.write((json.dumps(remote) + "\n").encode())
        await node.stdin.drain()
        rtpmap = f"{name}/{clock}" + (f"/{channels}" if channels > 1 else "")
        answer = [
            "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=ice-lite", "a=group:BUNDLE 0",
            f"m=audio {local['port']} UDP/TLS/RTP/SAVPF {pt}", f"c=IN IP4 {local['ip']}",
            "a=mid:" + attribute(offer, "mid"), "a=sendrecv", "a=rtcp-mux",
            f"a=ice-ufrag:{local['ufrag']}", f"a=ice-pwd:{local['pwd']}",
            f"a=fingerprint:sha-256 {local['fingerprint']}", f"a=setup:{role}",
            f"a=rtpmap:{pt} {rtpmap}",
            f"a=candidate:1 1 udp {local['priority']} {local['ip']} {local['port']} typ host",
            "a=end-of-candidates", "",
        ]
        await pc.setRemoteDescription(RTCSessionDescription("\r\n".join(answer), "answer"))
        await asyncio.wait_for(finished.wait(), 20)
        node.stdin.write(b'{"close": true}\n')
        await node.stdin.drain()
        record = ""
        while "LegClosed" not in record:
            record = (await asyncio.wait_for(node.stdout.readline(), 5)).decode()
        await pc.close()
        rate = heard[-1][0]
        sound = numpy.concatenate([samples for _, samples in heard[50:]]).astype(float)
        spectrum = numpy.abs(numpy.fft.rfft(sound * numpy.hanning(len(sound))))
        peak = numpy.argmax(spectrum) * rate / len(sound)
        good = abs(peak - HZ) < 5
        print("ok" if good else "FAILED", name, "gateway is", role, f"heard {peak:.0f} Hz")
        print("  ", record.strip())
        return good
    finally:
        node.stdin.close()
        await node.wait()


async def main():
    good = True
    for codec in [("opus", 96, 48000, 2), ("PCMU", 0, 8000, 1)]:
        for role in ["passive", "active"]:
            good &= await cell(sys.argv[1], codec, role)
    return 0 if good else 1


sys.exit(asyncio.run(main()))
