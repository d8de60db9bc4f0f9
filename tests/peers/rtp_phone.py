#!/usr/bin/env python3
"""A scripted RTP end: does on command what no phone does on demand. Standard library only.

usage: rtp_phone.py ADDR REMOTE_PORT [--port N] [--hz 1010] [--db -20] [--listen 620] [--codec 0|8]
Commands on standard input, JSON objects, one a line; each is answered with an event "done" on standard output:
  {"do": "rtp", ...}    changes what is sent: "mode" tone | silence | off | dtx, "ssrc": "new", "seq": STEP (added to the
                        next number, may be negative), "codec": 0 | 8, "socket": "new", "to": [ADDR, PORT], "dtmf": "5"
  {"do": "heard"}       "packets": [[AT, DB, BYTES, PT], ...], each packet that came: AT in seconds since 1970, DB the level
                        in it of the tone that is listened for; "digits": [[AT, DIGIT, MARKER], ...], telephone-events
  {"do": "quit"}
`dtx` is silence suppression as RFC 3389 has it: one packet of comfort noise each 200 ms and nothing else.

As a module: RtpPhone, which sip_phone.py gives a signalling."""
import argparse
import json
import math
import random
import socket
import sys
import threading
import time

RATE, SAMPLES, PACKET_S = 8000, 160, 0.02
PCMU, PCMA, COMFORT_NOISE = 0, 8, 13
COMFORT_NOISE_EVERY = 10  # packets
# An hour of packets: no test is longer.
HEARD_MAX = 200_000


def ulaw(sample):
    """G.711 µ-law of a 16-bit sample."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32635) + 132
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | (magnitude >> (exponent + 3)) & 15) & 0xFF


def alaw(sample):
    """G.711 A-law of a 16-bit sample."""
    mask, magnitude = (0xD5, sample >> 3) if sample >= 0 else (0x55, max(0, (-sample >> 3) - 1))
    segment = max(0, min(magnitude, 0xFFF).bit_length() - 5)
    return (segment << 4 | min(magnitude, 0xFFF) >> max(1, segment) & 15) ^ mask


def from_ulaw(byte):
    byte = ~byte & 0xFF
    magnitude = (((byte & 15) << 3) + 132 << (byte >> 4 & 7)) - 132
    return -magnitude if byte & 0x80 else magnitude


def from_alaw(byte):
    byte ^= 0x55
    exponent, magnitude = byte >> 4 & 7, (byte & 15) << 4
    magnitude = magnitude + 8 if exponent == 0 else magnitude + 264 << (exponent - 1)
    return magnitude if byte & 0x80 else -magnitude


ENCODE = {PCMU: ulaw, PCMA: alaw}
DECODE = {PCMU: [from_ulaw(b) for b in range(256)], PCMA: [from_alaw(b) for b in range(256)]}


class Tone:
    """A tone in frames of 20 ms: as many as until it begins again at the same phase."""

    def __init__(self, hz, db, codec):
        count = next(n for n in range(1, 401) if (hz * SAMPLES * n) % RATE == 0)
        top = math.sqrt(2) * 10 ** (db / 20) * 32767
        encode = ENCODE[codec]
        turn = 2 * math.pi * hz / RATE
        self.frames = [bytes(encode(round(top * math.sin(turn * (f * SAMPLES + i)))) for i in range(SAMPLES)) for f in range(count)]

    def frame(self, n):
        return self.frames[n % len(self.frames)]


class RtpPhone:
    """Sends each 20 ms from a thread of its own, and notes with its time what comes."""

    def __init__(self, address, hz=1010, db=-20, listen=620, port=0):
        self.address, self.socket = address, None
        turn = 2 * math.pi * listen / RATE
        self.cos = [math.cos(turn * i) for i in range(SAMPLES * 3)]
        self.sin = [math.sin(turn * i) for i in range(SAMPLES * 3)]
        self.tones = {codec: Tone(hz, db, codec) for codec in (PCMU, PCMA)}
        self.lock = threading.Lock()
        self.heard, self.digits = [], []
        self.to, self.codec, self.mode, self.telephone_event = None, PCMU, "off", 101
        self.ssrc, self.seq, self.stamp = random.getrandbits(32), random.getrandbits(15), random.getrandbits(31)
        self.marker, self.quiet, self.queue = True, 0, []
        self.switch(self.prepare(port))
        self.ended = False
        threading.Thread(target=self.send_all, daemon=True).start()

    def prepare(self, port=0):
        """A further port that is already listened to, and not yet sent from."""
        fresh = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        fresh.bind((self.address, port))
        fresh.settimeout(0.1)
        threading.Thread(target=self.hear, args=(fresh,), daemon=True).start()
        return fresh

    def switch(self, fresh):
        """From here on at that port; what still comes to the old one is lost."""
        with self.lock:
            old, self.socket, self.port = self.socket, fresh, fresh.getsockname()[1]
        if old:
            old.close()

    def change(self, mode=None, ssrc=None, seq=None, codec=None, to=None, dtmf=None, ms=100, **_):
        with self.lock:
            if ssrc == "new":
                self.ssrc = random.getrandbits(32)
            if seq:
                self.seq = self.seq + seq & 0xFFFF
            if codec is not None:
                self.codec = codec
            if to:
                self.to = tuple(to)
            if mode and mode != self.mode:
                # The first packet after a pause has the marker (RFC 3551 §4.1).
                self.marker = self.marker or self.mode in ("off", "dtx")
                self.mode, self.quiet = mode, 0
            for digit in dtmf or "":
                self.queue += events(digit, ms)

    def send_all(self):
        due = time.monotonic()
        frame, begun = 0, 0
        while not self.ended:
            with self.lock:
                payload, pt, marker, stamp = None, self.codec, self.marker, self.stamp
                if self.queue:
                    kind, payload, age = self.queue.pop(0)
                    pt = self.telephone_event
                    begun = self.stamp if kind == "first" else begun
                    marker, stamp = kind == "first", begun
                    if payload is None:
                        pt = None
                elif self.mode == "tone":
                    payload = self.tones[self.codec].frame(frame)
                elif self.mode == "silence":
                    payload = (b"\xff" if self.codec == PCMU else b"\xd5") * SAMPLES
                elif self.mode == "dtx":
                    if self.quiet % COMFORT_NOISE_EVERY == 0:
                        payload, pt = bytes([70]), COMFORT_NOISE
                    self.quiet += 1
                if payload is not None and self.to:
                    self.packet(pt, marker, stamp, payload)
                    if pt == self.codec:
                        self.marker = False
                self.stamp = self.stamp + SAMPLES & 0xFFFFFFFF
            frame += 1
            due += PACKET_S
            time.sleep(max(0.0, due - time.monotonic()))

    def packet(self, pt, marker, stamp, payload):
        head = bytes([0x80, (0x80 if marker else 0) | pt]) + self.seq.to_bytes(2, "big")
        head += (stamp & 0xFFFFFFFF).to_bytes(4, "big") + self.ssrc.to_bytes(4, "big")
        self.seq = self.seq + 1 & 0xFFFF
        try:
            self.socket.sendto(head + payload, self.to)
        except OSError:
            pass  # The far port may be closed: then nobody hears it.

    def hear(self, sock):
        last = None
        while True:
            try:
                packet = sock.recv(2048)
            except (ConnectionError, TimeoutError):
                continue
            except OSError:
                return
            at = time.time()
            if len(packet) < 12 or packet[0] >> 6 != 2 or 72 <= packet[1] & 0x7F <= 79:
                continue
            pt = packet[1] & 0x7F
            if pt == self.telephone_event and len(packet) >= 16:
                stamp = packet[4:8]
                if stamp != last:
                    last = stamp
                    self.digits.append([round(at, 4), "0123456789*#ABCD"[packet[12] & 15], packet[1] >> 7])
                continue
            if pt in DECODE and len(self.heard) < HEARD_MAX:
                self.heard.append((at, self.level(packet[12:], DECODE[pt]), len(packet) - 12, pt))

    def level(self, payload, decode):
        count = min(len(payload), len(self.cos))
        re = im = 0.0
        for i in range(count):
            sample = decode[payload[i]]
            re += sample * self.cos[i]
            im += sample * self.sin[i]
        return round(20 * math.log10(max(math.sqrt(2) * math.hypot(re, im) / max(count, 1) / 32768, 1e-6)), 1)

    def end(self):
        self.ended = True
        self.socket.close()


def events(digit, ms):
    """RFC 4733: a packet each 20 ms with the duration so far, the last one three times; then as much silence."""
    code = "0123456789*#ABCD".index(digit)
    count = max(2, ms // 20)
    packets = []
    for n in range(1, count + 3):
        end = n >= count
        duration = min(n, count) * SAMPLES
        packets.append(("first" if n == 1 else "next", bytes([code, (0x80 if end else 0) | 10]) + duration.to_bytes(2, "big"), n))
    return packets + [("next", None, 0)] * 3


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("address")
    ap.add_argument("remote", type=int)
    ap.add_argument("--port", type=int, default=0)
    ap.add_argument("--hz", type=int, default=1010)
    ap.add_argument("--db", type=float, default=-20)
    ap.add_argument("--listen", type=int, default=620)
    ap.add_argument("--codec", type=int, default=PCMU)
    o = ap.parse_args()
    phone = RtpPhone(o.address, o.hz, o.db, o.listen, o.port)
    phone.change(mode="tone" if o.remote else "off", codec=o.codec, to=(o.address, o.remote) if o.remote else None)
    print(json.dumps({"event": "ready", "port": phone.port}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        begun, more = time.time(), {}
        if command["do"] == "quit":
            break
        if command["do"] == "rtp":
            if command.get("socket") == "new":
                phone.switch(phone.prepare())
            phone.change(**{k: v for k, v in command.items() if k not in ("do", "n", "socket")})
        elif command["do"] == "heard":
            more = {"packets": phone.heard, "digits": phone.digits}
        done = {"event": "done", "n": command.get("n"), "do": command["do"], "begun": begun, "ended": time.time(), "port": phone.port}
        print(json.dumps({**done, **more}), flush=True)
    phone.end()


if __name__ == "__main__":
    main()
