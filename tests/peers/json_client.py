#!/usr/bin/env python3
"""A browser without a browser: speaks the JSON protocol over a WebSocket, so that a test can say which
frame goes when, and see each frame that comes. No media: its SDP is made by hand, with a fingerprint
that nobody has the key to. Standard library only.

usage: json_client.py URL [--origin O] [--insecure] [--no-pong] [--timeout S]

Commands on standard input, one a line; events on standard output, one JSON a line, each with `t`, the
seconds since the start. NAME is any word that the script gives a call; calls that come in are named in0,
in1, ... Values after = are JSON, or text where they are not.

  open [URL]                      the WebSocket (again)
  connect [FIELD=VALUE ...]       opens it if need be, and sends `connection`
  register USER PASSWORD DOMAIN [FIELD=VALUE ...]     the same with a SIP account
  resume TOKEN|last [FIELD=VALUE ...]                 the same with an authToken
  call NAME CALLEE [FIELD=VALUE ...]
  answer NAME [FIELD=VALUE ...]   to the offer that came with setRemoteSDP
  hangup | hold | unhold NAME     also for calls that are over: that is for tests to try
  transfer NAME TARGET | dtmf NAME DIGITS [RFC2833|INFO|INFO_RELAY]
  send MESSAGE [JSON]             any message; {NAME} in the JSON stands for the call's id
  raw TEXT                        a text frame as it stands
  frame OPCODE HEX [nofin]        any frame, to try what must not be
  repeat N COMMAND                a flood
  wait WHAT [NAME] [S]            until a frame that has not been waited for yet: WHAT is a message, a
                                  status (RING), `closed`, or several with | between; NAME narrows to a call
  absent WHAT [NAME] [S]          that no such frame comes for S seconds (default 1)
  pong on|off | read on|off       answer pings; read at all (a page that hangs)
  sleep S | close [CODE] | drop | quit

With `wait` and `absent` a failure is an event and makes the exit code 1, and so does a frame that would
break the SDK (event `never`, with the reason); a command that cannot be read makes it 2. At the end of
standard input it quits."""
import argparse
import asyncio
import base64
import hashlib
import json
import os
import secrets
import ssl
import stat
import struct
import sys
import time
import urllib.parse
import uuid

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
# Larger than any frame that the server has a reason to send.
FRAME_MAX = 4 * 1024 * 1024
FINGERPRINT = ":".join(["37", "F9", "11", "02"] * 8)

# The SDK feeds notifyIncomingCall to its own createCall, which takes these for a page's options.
FORBIDDEN = {"constraints", "logger", "localVideoDisplay", "remoteVideoDisplay", "receiveAudio", "receiveVideo"}
FORBIDDEN |= {"sdpHook", "stripCodecs", "sdp"}
PROGRESS = {"ring", "talk", "hold", "sessionProgress", "notifyTransferEvent"}

OFFER_CODECS = [
    (111, "opus/48000/2", "minptime=10;useinbandfec=1"),
    (9, "G722/8000", None),
    (0, "PCMU/8000", None),
    (8, "PCMA/8000", None),
    (110, "telephone-event/48000", None),
    (126, "telephone-event/8000", None),
]


def ice_lines():
    return [
        f"a=ice-ufrag:{secrets.token_hex(2)}",
        f"a=ice-pwd:{secrets.token_hex(12)}",
        "a=ice-options:trickle",
        f"a=fingerprint:sha-256 {FINGERPRINT}",
    ]


def session_lines(mids):
    return [
        "v=0",
        f"o=- {secrets.randbits(62)} 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE " + " ".join(mids),
        "a=msid-semantic: WMS *",
    ]


def offer():
    """An audio offer as Chromium writes it: no candidates, port 9."""
    lines = session_lines(["0"])
    lines += ["m=audio 9 UDP/TLS/RTP/SAVPF " + " ".join(str(pt) for pt, _, _ in OFFER_CODECS), "c=IN IP4 0.0.0.0"]
    lines += ["a=rtcp:9 IN IP4 0.0.0.0", *ice_lines(), "a=setup:actpass", "a=mid:0", "a=sendrecv", "a=rtcp-mux"]
    for pt, name, fmtp in OFFER_CODECS:
        lines.append(f"a=rtpmap:{pt} {name}")
        if fmtp:
            lines.append(f"a=fmtp:{pt} {fmtp}")
    return "\r\n".join(lines) + "\r\n"


def answer_to(remote):
    """A browser's answer: the offer's m-lines and payload types, our transport, and DTLS begun by us."""
    sections, current = [], None
    for line in remote.replace("\r", "").split("\n"):
        if line.startswith("m="):
            current = [line]
            sections.append(current)
        elif current is not None and line:
            current.append(line)
    if not sections:
        raise ValueError("the offer has no m-line")
    mids, media = [], []
    for number, section in enumerate(sections):
        mid = next((line[6:] for line in section if line.startswith("a=mid:")), str(number))
        kind = section[0].split(" ")[0]
        if kind != "m=audio":
            fields = section[0].split(" ")
            media += [" ".join([fields[0], "0", *fields[2:]]), "c=IN IP4 0.0.0.0", "a=inactive", f"a=mid:{mid}"]
            continue
        mids.append(mid)
        fields = section[0].split(" ")
        media += [" ".join([fields[0], "9", *fields[2:]]), "c=IN IP4 0.0.0.0", *ice_lines()]
        media += ["a=setup:active", f"a=mid:{mid}", "a=sendrecv", "a=rtcp-mux"]
        media += [line for line in section if line.startswith(("a=rtpmap:", "a=fmtp:"))]
    return "\r\n".join(session_lines(mids) + media) + "\r\n"


class Closed(Exception):
    pass


class WebSocket:
    """RFC 6455, the client's half: as much as the protocol needs, and ways to break it."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, url, origin, insecure, limit_s):
        parts = urllib.parse.urlsplit(url)
        tls = None
        if parts.scheme == "wss":
            tls = ssl.create_default_context()
            if insecure:
                tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        elif parts.scheme != "ws":
            raise ValueError(f"not a WebSocket URL: {url}")
        port = parts.port or (443 if tls else 80)
        opening = asyncio.open_connection(parts.hostname, port, ssl=tls, limit=FRAME_MAX)
        reader, writer = await asyncio.wait_for(opening, limit_s)
        try:
            await asyncio.wait_for(cls.shake_hands(reader, writer, parts, port, origin), limit_s)
        except BaseException:
            writer.close()
            raise
        return cls(reader, writer)

    @staticmethod
    async def shake_hands(reader, writer, parts, port, origin):
        key = base64.b64encode(os.urandom(16)).decode()
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        if origin:
            lines.append(f"Origin: {origin}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if head[0].split(" ")[1:2] != ["101"]:
            raise Closed(head[0])
        wanted = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        if fields.get("sec-websocket-accept") != wanted:
            raise Closed("Sec-WebSocket-Accept does not fit the key")
        if "sec-websocket-protocol" in fields:
            raise Closed("a subprotocol was chosen and none was offered")

    def send(self, opcode, payload, fin=True):
        mask = os.urandom(4)
        length = len(payload)
        head = bytes([(0x80 if fin else 0) | opcode])
        if length < 126:
            head += bytes([0x80 | length])
        elif length < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", length)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", length)
        keys = mask * (length // 4 + 1)
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(keys[:length], "big")).to_bytes(length, "big")
        self.writer.write(head + mask + masked)

    async def receive(self):
        """One message, control frames included: its opcode and payload."""
        opcode, message = None, b""
        while True:
            first, second = await self.reader.readexactly(2)
            length = second & 0x7F
            if second & 0x80:
                raise Closed("the server masked a frame")
            if length == 126:
                (length,) = struct.unpack(">H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", await self.reader.readexactly(8))
            if first & 0x70 or length + len(message) > FRAME_MAX:
                raise Closed("a frame with reserved bits, or too large")
            payload = await self.reader.readexactly(length)
            kind = first & 0x0F
            if kind >= 8:
                return kind, payload
            opcode, message = opcode or kind, message + payload
            if first & 0x80:
                return opcode, message


class Client:
    def __init__(self, options):
        self.options = options
        self.begun = time.monotonic()
        self.socket = self.reader_task = None
        self.pong = not options.no_pong
        self.reading = asyncio.Event()
        self.reading.set()
        self.arrived = asyncio.Event()
        self.seen = []  # what came and has not been waited for
        self.ids, self.offers, self.names = {}, {}, {}
        self.over = set()
        self.token, self.incoming, self.failed, self.asked_to_register = None, 0, False, False

    # What a test reads.

    def event(self, kind, **more):
        line = {"t": round(time.monotonic() - self.begun, 6), "event": kind, **more}
        print(json.dumps(line, ensure_ascii=False), flush=True)

    def fail(self, kind, **more):
        self.failed = True
        self.event(kind, **more)

    # The WebSocket.

    async def open(self, url=None):
        if self.socket:
            await self.drop()
        self.options.url = url or self.options.url
        try:
            self.socket = await WebSocket.open(self.options.url, self.options.origin, self.options.insecure, self.options.timeout)
        except (OSError, Closed, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            self.fail("refused", why=str(error) or type(error).__name__)
            return
        self.event("opened", url=self.options.url)
        self.reader_task = asyncio.create_task(self.read(self.socket))

    async def read(self, socket):
        code, why = None, "the connection ended"
        try:
            while True:
                await self.reading.wait()
                opcode, payload = await socket.receive()
                if opcode == TEXT:
                    self.take(payload)
                elif opcode == PING:
                    socket.send(PONG, payload)
                elif opcode == CLOSE:
                    code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
                    why = payload[2:].decode("utf-8", "replace")
                    socket.send(CLOSE, payload[:2])
                    break
                elif opcode == BINARY:
                    self.fail("binary", bytes=len(payload))
        except (asyncio.IncompleteReadError, OSError):
            pass
        except Closed as error:
            self.fail("misbehaved", why=str(error))
        finally:
            if self.socket is socket:
                self.socket = None
                self.event("closed", code=code, why=why)
                self.remember({"message": "closed", "data": []})
            socket.writer.close()

    def take(self, payload):
        try:
            frame = json.loads(payload.decode("utf-8"))
            name, data = frame["message"], frame["data"]
            assert isinstance(data, list), "data is no array"
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            # The SDK would throw inside its handler: a fault of the server, whatever the test is about.
            self.fail("unreadable", why=str(error), text=payload.decode("utf-8", "replace"))
            return
        why = self.never(name, data)
        call = self.note(name, data)
        self.event("in", message=name, **({"call": call} if call else {}), data=data)
        if why:
            self.fail("never", message=name, why=why)
        if name == "ping" and self.pong:
            self.send("pong", None)
        self.remember({"message": name, "data": data, "call": call})

    def never(self, name, data):
        """What the server must never send, since the SDK breaks on it; None if all is well."""
        first = data[0] if data else None
        fields = first if isinstance(first, dict) else {}
        if name == "setRemoteSDP":
            if len(data) != 3 or not all(isinstance(text, str) for text in data[:2]) or not isinstance(data[2], bool):
                return "not [id, sdp, initiator]"
            if data[0] in self.offers:
                return "a second setRemoteSDP for the same id"
            if "m=" not in data[1]:
                return "a description without m-line"
        elif name == "notifyIncomingCall":
            found = FORBIDDEN & fields.keys()
            if found:
                return f"carries {', '.join(sorted(found))}"
            if fields.get("incoming") is not True or fields.get("status") != "PENDING":
                return "incoming is not true, or status not PENDING"
            if fields.get("mediaProvider", "WebRTC") != "WebRTC" or not self.offers.get(fields.get("callId")):
                return "another mediaProvider, or no offer before it"
        elif name == "notifyTransferEvent" and fields.get("callId") not in self.names.keys() - self.over:
            return "a transfer of a call that the client does not know"
        elif name == "registered" and not self.asked_to_register:
            return "registered, and nobody asked to"
        elif name in ("notifyStreamStatusEvent", "notifyVideoFormat") and not fields.get("status"):
            return "no status"
        elif name == "availableStream" and fields.get("status") not in ("true", "false"):
            return "status is not the text true or false"
        elif name == "DataStatusEvent" and fields.get("status") not in ("ACCEPTED", "FAILED"):
            return "a third status"
        elif name == "getUserData" and fields.keys() & {"sipPassword", "restClientConfig", "webRTCMetricsServerDescription"}:
            return "tells the page what it must not have"
        elif name in PROGRESS and fields.get("callId") in self.over:
            return f"{name} after the call's finish"
        return None

    def note(self, name, data):
        """Keeps what later commands need; returns the name of the call that the frame is about."""
        first = data[0] if data else None
        if name == "setRemoteSDP" and len(data) == 3:
            self.offers[data[0]] = data[1]
            return self.names.get(data[0])
        if not isinstance(first, dict):
            return None
        if name == "getUserData":
            self.token = first.get("authToken") or self.token
        call_id = first.get("callId") or first.get("id")
        if name == "notifyIncomingCall" and call_id not in self.names:
            self.named(f"in{self.incoming}", call_id)
            self.incoming += 1
        if name == "finish":
            self.over.add(call_id)
        elif name == "notifyTryingResponse" and call_id in self.over:
            # The same id once more, which a page may choose for a call that comes after.
            self.over.discard(call_id)
            self.offers.pop(call_id, None)
        return self.names.get(call_id)

    def named(self, name, call_id):
        self.ids[name], self.names[call_id] = call_id, name

    def remember(self, frame):
        self.seen.append(frame)
        del self.seen[:-10000]
        self.arrived.set()

    def send(self, name, *arguments):
        self.raw(json.dumps({"message": name, "data": list(arguments)}, ensure_ascii=False), name, arguments)

    def raw(self, text, name=None, arguments=()):
        if not self.socket:
            # As a browser: what is sent before the socket is open, or after, is lost.
            self.event("lost", message=name)
            return
        shown = [{**a, "sipPassword": "…"} if isinstance(a, dict) and "sipPassword" in a else a for a in arguments]
        self.event("out", **({"message": name, "data": shown} if name else {"text": text[:1000]}))
        self.socket.send(TEXT, text.encode("utf-8", "surrogatepass"))

    async def drop(self):
        socket, self.socket = self.socket, None
        if socket:
            socket.writer.transport.abort()
            self.reader_task.cancel()
            self.event("dropped")

    # The commands.

    def call_id(self, name):
        # An unknown name goes out as it is: asking for calls that never were is a test too.
        return self.ids.get(name, name)

    async def connect(self, fields):
        if not self.socket:
            await self.open()
        base = {"appKey": "defaultApp", "mediaProviders": ["WebRTC"], "clientVersion": "2.0"}
        base.update(clientOSVersion="none", clientBrowserVersion="json_client.py", msePacketizationVersion=2)
        connection = {**base, **fields}
        wanted = connection.get("sipRegisterRequired", "sipLogin" in connection or "authToken" in connection)
        self.asked_to_register = str(wanted).lower() == "true"
        # A new socket is a new page: what was described to the old one is not known to this.
        self.offers.clear()
        self.over.clear()
        self.send("connection", connection)

    def call(self, name, callee, fields):
        call_id = fields.get("callId") or str(uuid.uuid1())
        self.named(name, call_id)
        base = {"callId": call_id, "incoming": False, "hasVideo": False, "hasAudio": True, "status": "PENDING"}
        base.update(mediaProvider="WebRTC", sdp=offer(), callee=callee)
        self.send("call", {**base, **fields})

    def answer(self, name, fields):
        call_id = self.call_id(name)
        base = {"callId": call_id, "incoming": True, "hasVideo": True, "hasAudio": True, "status": "PENDING"}
        base.update(mediaProvider="WebRTC")
        if "sdp" not in fields:
            base["sdp"] = answer_to(self.offers.get(call_id, ""))
        self.send("answer", {**base, **fields})

    def filled(self, text):
        for name, call_id in self.ids.items():
            text = text.replace("{" + name + "}", call_id)
        return text

    def match(self, what, name):
        wanted = what.split("|")
        for at, frame in enumerate(self.seen):
            first = frame["data"][0] if frame["data"] else None
            status = first.get("status") if isinstance(first, dict) else None
            if (frame["message"] in wanted or status in wanted) and (name is None or frame.get("call") == name):
                return self.seen.pop(at)
        return None

    async def wait(self, words, expected):
        limit = 1.0 if not expected else self.options.timeout
        what, name = words[0], None
        for word in words[1:]:
            try:
                limit = float(word)
            except ValueError:
                name = word
        end = time.monotonic() + limit
        while True:
            self.arrived.clear()
            frame = self.match(what, name)
            if frame:
                if not expected:
                    self.fail("unwanted", what=what, call=name, data=frame["data"])
                return
            left = end - time.monotonic()
            if left <= 0 or not self.socket:
                # Without a socket nothing will come any more: no need to sit the time out.
                if expected:
                    self.fail("timeout", what=what, call=name, open=bool(self.socket))
                return
            try:
                await asyncio.wait_for(self.arrived.wait(), left)
            except asyncio.TimeoutError:
                pass

    async def run(self, line):
        """One command; False to quit."""
        word, _, rest = line.strip().partition(" ")
        words = rest.split()
        if not word or word.startswith("#"):
            return True
        if word == "open":
            await self.open(*words[:1])
        elif word == "connect":
            await self.connect(fields_of(words))
        elif word == "register":
            user, password, domain = words[:3]
            account = {"sipLogin": user, "sipAuthenticationName": user, "sipPassword": password, "sipDomain": domain}
            account.update(sipOutboundProxy=domain, sipRegisterRequired=True)
            await self.connect({**account, **fields_of(words[3:])})
        elif word == "resume":
            token = self.token if words[0] == "last" else words[0]
            await self.connect({"authToken": token, "keepAlive": True, **fields_of(words[1:])})
        elif word == "call":
            self.call(words[0], words[1], fields_of(words[2:]))
        elif word == "answer":
            self.answer(words[0], fields_of(words[1:]))
        elif word in ("hangup", "hold", "unhold"):
            self.send(word, {"callId": self.call_id(words[0]), **fields_of(words[1:])})
        elif word == "transfer":
            self.send("transfer", {"callId": self.call_id(words[0]), "target": words[1]})
        elif word == "dtmf":
            kind = words[2] if len(words) > 2 else "RFC2833"
            self.send("sendDtmf", {"callId": self.call_id(words[0]), "type": kind, "dtmf": words[1]})
        elif word == "send":
            name, _, argument = rest.partition(" ")
            self.send(name, json.loads(self.filled(argument)) if argument else None)
        elif word == "raw":
            self.raw(self.filled(rest))
        elif word == "frame":
            payload = bytes.fromhex(words[1]) if len(words) > 1 and words[1] != "nofin" else b""
            if self.socket:
                self.event("out", opcode=int(words[0]), bytes=len(payload))
                self.socket.send(int(words[0]), payload, fin="nofin" not in words)
        elif word == "repeat":
            times, _, command = rest.partition(" ")
            for _ in range(int(times)):
                if not await self.run(command):
                    return False
        elif word in ("wait", "absent"):
            await self.wait(words, word == "wait")
        elif word in ("pong", "read"):
            on = {"on": True, "off": False}[words[0]]
            if word == "pong":
                self.pong = on
            elif on:
                self.reading.set()
            else:
                self.reading.clear()
        elif word == "sleep":
            await asyncio.sleep(float(rest))
        elif word == "close":
            if self.socket:
                self.socket.send(CLOSE, struct.pack(">H", int(words[0]) if words else 1000))
                await self.wait(["closed"], True)
        elif word == "drop":
            await self.drop()
        elif word == "quit":
            return False
        else:
            raise ValueError(f"no such command: {word}")
        if self.socket:
            try:
                await asyncio.wait_for(self.socket.writer.drain(), self.options.timeout)
            except (OSError, asyncio.TimeoutError) as error:
                self.event("stuck", why=str(error) or "the server does not read")
        return True


def fields_of(words):
    fields = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"not FIELD=VALUE: {word}")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    return fields


async def lines_of_stdin():
    if stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode):
        # asyncio waits for pipes and terminals only; a file is always ready.
        for line in sys.stdin:
            yield line
        return
    reader = asyncio.StreamReader(limit=FRAME_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode("utf-8", "surrogateescape")


async def main(options):
    client = Client(options)
    async for line in lines_of_stdin():
        try:
            if not await client.run(line):
                break
        except (ValueError, KeyError, IndexError) as error:
            client.event("bad-command", command=line.split(" ")[0].strip(), why=str(error))
            return 2
    if client.socket:
        await client.run("close")
    return 1 if client.failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--origin")
    parser.add_argument("--insecure", action="store_true", help="take any certificate")
    parser.add_argument("--no-pong", action="store_true")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds that wait, open and close take at most")
    sys.exit(asyncio.run(main(parser.parse_args())))
