#!/usr/bin/env python3
"""A scripted SIP phone with the scripted RTP end of rtp_phone.py: does in a call what real phones do at moments of their
own choosing. UDP, G.711, one media stream. Standard library only.

usage: sip_phone.py NAME PASSWORD ADDR PBX_PORT [--hz 1010] [--db -20] [--listen 620] [--codecs 0,8] [--answer auto|manual] [--refer 603]

It registers, rings (180) and answers by itself unless --answer manual. Commands on standard input, one JSON object a line:
  {"do": "call", "to": USER}            {"do": "answer"}      {"do": "bye"}
  {"do": "reinvite", ...}  {"do": "update", ...}
        "direction": sendrecv | sendonly | recvonly | inactive, "zero": true (the connection address is 0.0.0.0),
        "late": true (no offer in the INVITE), "bare": true (an UPDATE without a description), "port": "new",
        "codecs": [8], and what "rtp" takes: it comes into effect with the answer
  {"do": "rtp", ...}       what is sent, from now on: see rtp_phone.py
  {"do": "refer", "to": URI}            {"do": "info", "type": T, "body": B}
  {"do": "heard"}          every packet that came, with its time and level
  {"do": "quit"}
`call` (a Call-ID) chooses a call where there are several; without it the newest is meant. Events on standard output, one
JSON a line, each with `at` in seconds since 1970. Each command ends in an event "done" with `begun` and `ended`, and with
`status` where there was an answer; `sip` tells each message."""
import argparse
import asyncio
import hashlib
import json
import re
import secrets
import sys
import time

from rtp_phone import RtpPhone

T1_S, ANSWER_WITHIN_S = 0.5, 8.0
COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "c": "content-type", "l": "content-length", "r": "refer-to"}
OPPOSITE = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
NAMES = {0: "PCMU", 8: "PCMA"}


class Message:
    def __init__(self, data):
        head, _, self.body = data.decode("utf-8", "replace").partition("\r\n\r\n")
        lines = re.sub(r"\r\n[ \t]+", " ", head).split("\r\n")
        self.line = lines[0]
        self.fields = []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            self.fields.append((COMPACT.get(name, name), value.strip()))
        self.status = int(self.line.split(" ")[1]) if self.line.startswith("SIP/2.0") else None
        number, self.method = self.get("cseq").split(" ", 1)
        self.number, self.method = int(number), self.method.strip()

    def all(self, name):
        return [value for key, value in self.fields if key == name]

    def get(self, name):
        return next((value for key, value in self.fields if key == name), "")

    def tag(self, name):
        found = re.search(r";tag=([^;>\s]+)", self.get(name))
        return found[1] if found else ""


def uri_of(value):
    found = re.search(r"<([^>]*)>", value)
    return found[1] if found else value.split(";")[0].strip()


class Call:
    """A dialog and what was said in it of media."""

    def __init__(self, call_id, local, remote, number=1):
        self.id, self.local, self.remote, self.number = call_id, local, remote, number
        self.target, self.routes, self.invite, self.acked = uri_of(remote), [], None, asyncio.Event()
        self.direction, self.zero, self.late = "sendrecv", False, False
        self.version, self.over = 0, False


class Phone(asyncio.DatagramProtocol):
    def __init__(self, o):
        self.o, self.codecs = o, [int(c) for c in o.codecs.split(",")]
        self.rtp = RtpPhone(o.addr, o.hz, o.db, o.listen)
        self.calls, self.waiting, self.served = {}, {}, {}
        self.newest, self.digest, self.fresh = None, 0, None
        self.mode = "tone"

    def event(self, kind, **more):
        print(json.dumps({"event": kind, "at": round(time.time(), 4), **more}), flush=True)

    # Datagrams.

    def connection_made(self, transport):
        self.transport, self.port = transport, transport.get_extra_info("sockname")[1]
        self.contact = f"<sip:{self.o.name}@{self.o.addr}:{self.port}>"

    def put(self, text):
        self.event("sip", way="out", text=text)
        self.transport.sendto(text.encode(), (self.o.addr, self.o.pbx))

    def datagram_received(self, data, _):
        if not data.strip():
            return
        message = Message(data)
        self.event("sip", way="in", text=data.decode("utf-8", "replace"))
        if message.status is None:
            asyncio.get_running_loop().create_task(self.serve(message))
            return
        branch = re.search(r";branch=([^;,\s]+)", message.get("via"))[1]
        if branch in self.waiting:
            self.waiting[branch].put_nowait(message)

    def error_received(self, _):
        pass

    # Requests of ours.

    def request(self, method, target, local, remote, call_id, number, routes=(), more=(), body="", branch=None):
        branch = branch or "z9hG4bK" + secrets.token_hex(8)
        lines = [f"{method} {target} SIP/2.0", f"Via: SIP/2.0/UDP {self.o.addr}:{self.port};branch={branch};rport", "Max-Forwards: 70"]
        lines += [f"Route: {route}" for route in routes]
        lines += [f"From: {local}", f"To: {remote}", f"Call-ID: {call_id}", f"CSeq: {number} {method}", f"Contact: {self.contact}"]
        lines += ["Allow: INVITE, ACK, BYE, CANCEL, UPDATE, INFO, REFER, NOTIFY, OPTIONS", *more]
        if body and not any(line.startswith("Content-Type") for line in more):
            lines.append("Content-Type: application/sdp")
        return branch, "\r\n".join(lines + [f"Content-Length: {len(body)}", "", body])

    async def transact(self, branch, text, heard=None):
        """The final response; `heard` is told of the provisional ones."""
        queue = self.waiting[branch] = asyncio.Queue()
        wait, end = T1_S, time.monotonic() + (60 if heard else ANSWER_WITHIN_S)
        self.put(text)
        while time.monotonic() < end:
            try:
                response = await asyncio.wait_for(queue.get(), wait)
            except asyncio.TimeoutError:
                if wait < 10:
                    self.put(text)
                    wait = min(wait * 2, 4)
                continue
            if response.status >= 200:
                return response
            wait = 10
            if heard:
                heard(response)
        raise TimeoutError(f"no answer to {text.split(' ', 1)[0]}")

    def authorization(self, response, method, uri):
        name = "www-authenticate" if response.status == 401 else "proxy-authenticate"
        said = dict(re.findall(r'(\w+)="?([^",]+)"?', response.get(name).partition(" ")[2]))
        md5 = lambda text: hashlib.md5(text.encode()).hexdigest()
        self.digest += 1
        nc, cnonce = f"{self.digest:08x}", secrets.token_hex(8)
        secret = md5(f"{self.o.name}:{said['realm']}:{self.o.password}")
        answer = md5(f"{secret}:{said['nonce']}:{nc}:{cnonce}:auth:{md5(f'{method}:{uri}')}")
        head = "Authorization" if response.status == 401 else "Proxy-Authorization"
        return (f'{head}: Digest username="{self.o.name}", realm="{said["realm"]}", nonce="{said["nonce"]}", uri="{uri}", '
                f'response="{answer}", algorithm=MD5, cnonce="{cnonce}", qop=auth, nc={nc}')

    async def register(self):
        uri, me = f"sip:{self.o.addr}:{self.o.pbx}", f"<sip:{self.o.name}@{self.o.addr}:{self.o.pbx}>"
        local, call_id, more = f"{me};tag={secrets.token_hex(4)}", secrets.token_hex(8), ["Expires: 600"]
        for number in (1, 2):
            response = await self.transact(*self.request("REGISTER", uri, local, me, call_id, number, more=more))
            if response.status != 401:
                break
            more = ["Expires: 600", self.authorization(response, "REGISTER", uri)]
        self.event("register", code=response.status)

    def ack(self, call, number, body=""):
        _, text = self.request("ACK", call.target, call.local, call.remote, call.id, number, call.routes, body=body)
        self.put(text)
        # A 2xx that comes again is answered again.
        return text

    async def dial(self, user):
        uri = f"sip:{user}@{self.o.addr}:{self.o.pbx}"
        me = f"<sip:{self.o.name}@{self.o.addr}:{self.o.pbx}>;tag={secrets.token_hex(4)}"
        call = Call(secrets.token_hex(8), me, f"<{uri}>", 0)
        self.calls[call.id] = self.newest = call
        more = []
        while True:
            call.number += 1
            branch, text = self.request("INVITE", uri, call.local, f"<{uri}>", call.id, call.number, more=more, body=self.description(call))
            response = await self.transact(branch, text, lambda r: self.event("progress", code=r.status))
            if response.status < 300:
                break
            _, ack = self.request("ACK", uri, call.local, response.get("to"), call.id, call.number, branch=branch)
            self.put(ack)
            if response.status not in (401, 407) or more:
                self.event("refused", code=response.status)
                return response.status
            more = [self.authorization(response, "INVITE", uri)]
        call.remote, call.routes = response.get("to"), list(reversed(self.routes_of(response)))
        call.target = uri_of(response.get("contact"))
        self.ack(call, response.number)
        self.take(call, response.body)
        self.event("established", call=call.id)
        return response.status

    @staticmethod
    def routes_of(message):
        return [route.strip() for value in message.all("record-route") for route in re.split(r",(?=\s*<)", value)]

    async def inside(self, call, method, more=(), body=""):
        """A request within the dialog; its final response."""
        call.number += 1
        number = call.number
        branch, text = self.request(method, call.target, call.local, call.remote, call.id, number, call.routes, more, body)
        response = await self.transact(branch, text)
        if method == "INVITE" and response.status >= 300:
            _, ack = self.request("ACK", call.target, call.local, response.get("to"), call.id, number, call.routes, branch=branch)
            self.put(ack)
        return response

    async def change(self, call, method, c):
        """A re-INVITE or UPDATE, and what it changes."""
        before = (call.direction, call.zero, self.codecs)
        call.direction, call.zero = c.get("direction", "sendrecv"), bool(c.get("zero"))
        self.codecs = c.get("codecs", self.codecs)
        if c.get("port") == "new":
            self.fresh = self.rtp.prepare()
        late = bool(c.get("late"))
        body = "" if late or c.get("bare") else self.description(call)
        response = await self.inside(call, method, body=body)
        good = response.status < 300
        if not good:
            call.direction, call.zero, self.codecs = before
        answer = ""
        if good and late:
            answer = self.answer_to(call, response.body)
        if method == "INVITE" and good:
            self.ack(call, response.number, answer)
        if good:
            if self.fresh:
                self.rtp.switch(self.fresh)
                self.fresh = None
            self.rtp.change(**{k: v for k, v in c.items() if k in ("ssrc", "seq")})
            if response.body and not late:
                self.take(call, response.body)
        return response.status

    # Descriptions.

    def description(self, call, pts=None, event_pt=101, direction=None, noise=True):
        call.version += 1
        pts = pts or self.codecs
        address = "0.0.0.0" if call.zero else self.o.addr
        port = self.fresh.getsockname()[1] if self.fresh else self.rtp.port
        lines = ["v=0", f"o=phone {abs(hash(call.id)) % 10**9} {call.version} IN IP4 {self.o.addr}", "s=-", f"c=IN IP4 {address}", "t=0 0"]
        lines.append(f"m=audio {port} RTP/AVP {' '.join(map(str, pts))}{' 13' if noise else ''} {event_pt}")
        lines += [f"a=rtpmap:{pt} {NAMES[pt]}/8000" for pt in pts]
        lines += ["a=rtpmap:13 CN/8000"] * noise
        lines += [f"a=rtpmap:{event_pt} telephone-event/8000", f"a=fmtp:{event_pt} 0-15", "a=ptime:20"]
        if not call.zero:
            lines.append(f"a={direction or call.direction}")
        return "\r\n".join(lines) + "\r\n"

    def take(self, call, text):
        """A description of theirs: where we send, what, and whether. Gives their direction, their codecs and event type."""
        address = re.findall(r"^c=IN IP4 (\S+)", text, re.M)
        media = re.search(r"^m=audio (\d+) \S+ ([\d ]+)", text, re.M)
        if not media:
            return "inactive", self.codecs, 101
        found = re.search(r"^a=(sendrecv|sendonly|recvonly|inactive)", text, re.M)
        theirs = found[1] if found else "sendrecv"
        pts = [int(pt) for pt in media[2].split() if int(pt) in self.codecs]
        event = re.search(r"^a=rtpmap:(\d+) telephone-event/8000", text, re.M)
        sends = theirs in ("sendrecv", "recvonly") and call.direction in ("sendrecv", "sendonly") and address and address[-1] != "0.0.0.0"
        self.rtp.change(codec=pts[0] if pts else None, to=(address[-1], int(media[1])), mode=self.mode if sends else "off")
        if event:
            self.rtp.telephone_event = int(event[1])
        return theirs, pts or self.codecs, int(event[1]) if event else 101

    def answer_to(self, call, offer):
        theirs, pts, event = self.take(call, offer)
        wanted = call.direction
        answer = OPPOSITE[theirs] if wanted == "sendrecv" else wanted
        noise = bool(re.search(r"^m=audio \d+ \S+ .*\b13\b", offer, re.M))
        return self.description(call, pts[:1], event, answer, noise)

    # Requests of theirs.

    def respond(self, request, status, reason, to_tag=None, more=(), body=""):
        lines = [f"SIP/2.0 {status} {reason}"]
        lines += [f"Via: {via}" for via in request.all("via")]
        lines += [f"Record-Route: {route}" for route in request.all("record-route")]
        to = request.get("to")
        if to_tag and ";tag=" not in to:
            to += f";tag={to_tag}"
        lines += [f"From: {request.get('from')}", f"To: {to}", f"Call-ID: {request.get('call-id')}", f"CSeq: {request.get('cseq')}"]
        lines += [f"Contact: {self.contact}", "Allow: INVITE, ACK, BYE, CANCEL, UPDATE, INFO, REFER, NOTIFY, OPTIONS", *more]
        if body:
            lines.append("Content-Type: application/sdp")
        text = "\r\n".join(lines + [f"Content-Length: {len(body)}", "", body])
        self.put(text)
        return text

    async def serve(self, request):
        key = (request.get("call-id"), request.number, request.method, request.get("via"))
        if request.method != "ACK" and key in self.served:
            if self.served[key]:
                self.put(self.served[key])
            return
        self.served[key] = None
        call = self.calls.get(request.get("call-id"))
        if request.method == "ACK":
            if call:
                if call.late and request.body:
                    call.late = False
                    self.take(call, request.body)
                call.acked.set()
                self.event("ack", call=call.id)
        elif request.method == "INVITE" and call and ";tag=" in request.get("to"):
            call.late = not request.body
            body = self.answer_to(call, request.body) if request.body else self.description(call)
            self.served[key] = self.respond(request, 200, "OK", body=body)
        elif request.method == "INVITE":
            await self.ring(request, key)
        elif not call and request.method != "OPTIONS":
            self.served[key] = self.respond(request, 481, "Call Does Not Exist", "x")
        elif request.method == "CANCEL":
            self.respond(request, 200, "OK")
            self.respond(call.invite, 487, "Request Terminated", call.local.partition(";tag=")[2])
            self.close(call, "CANCEL")
        elif request.method == "UPDATE":
            body = self.answer_to(call, request.body) if request.body else ""
            self.served[key] = self.respond(request, 200, "OK", body=body)
        elif request.method == "REFER":
            self.served[key] = self.respond(request, self.o.refer, "Says So")
        else:
            self.served[key] = self.respond(request, 200, "OK", "x")
            if request.method == "BYE":
                self.close(call, "BYE")
            elif request.method in ("INFO", "NOTIFY"):
                self.event(request.method.lower(), type=request.get("content-type"), body=request.body, package=request.get("event"))

    async def ring(self, request, key):
        tag = secrets.token_hex(4)
        call = Call(request.get("call-id"), f"{request.get('to')};tag={tag}", request.get("from"))
        call.target, call.routes, call.invite = uri_of(request.get("contact")), self.routes_of(request), request
        replaces = request.get("replaces")
        self.calls[call.id] = self.newest = call
        self.event("incoming", call=call.id, replaces=replaces, frm=request.get("from"))
        if not replaces:
            self.served[key] = self.respond(request, 180, "Ringing", tag)
        if replaces or self.o.answer == "auto":
            await self.accept(call, key)
        old = self.calls.get(replaces.split(";")[0]) if replaces else None
        if old:
            await self.bye(old)

    async def accept(self, call, key=None):
        request, tag = call.invite, call.local.partition(";tag=")[2]
        call.late = not request.body
        body = self.answer_to(call, request.body) if request.body else self.description(call)
        text = self.respond(request, 200, "OK", tag, body=body)
        if key:
            self.served[key] = text
        wait = T1_S
        while not call.over and wait < 8:
            try:
                await asyncio.wait_for(call.acked.wait(), wait)
                self.event("established", call=call.id)
                return
            except asyncio.TimeoutError:
                self.put(text)
                wait *= 2

    def close(self, call, why):
        if not call.over:
            call.over = True
            if call is self.newest:
                self.rtp.change(mode="off")
            self.event("closed", call=call.id, why=why)

    async def bye(self, call):
        response = await self.inside(call, "BYE")
        self.close(call, "ours")
        return response.status

    # Commands.

    async def run(self, c):
        begun, do = time.time(), c["do"]
        call = self.calls.get(c.get("call")) or self.newest
        more = {}
        if do == "call":
            more["status"] = await self.dial(c["to"])
        elif do == "answer":
            await self.accept(call)
        elif do == "bye":
            more["status"] = await self.bye(call)
        elif do in ("reinvite", "update"):
            more["status"] = await self.change(call, "INVITE" if do == "reinvite" else "UPDATE", c)
        elif do == "rtp":
            self.mode = c.get("mode", self.mode)
            self.rtp.change(**{k: v for k, v in c.items() if k not in ("do", "n", "call")})
        elif do == "refer":
            more["status"] = (await self.inside(call, "REFER", [f"Refer-To: {c['to']}", f"Referred-By: {call.local.partition(';tag=')[0]}"])).status
        elif do == "info":
            more["status"] = (await self.inside(call, "INFO", [f"Content-Type: {c['type']}"], c["body"])).status
        elif do == "heard":
            more.update(packets=self.rtp.heard, digits=self.rtp.digits)
        else:
            raise ValueError(f"no such command: {do}")
        self.event("done", n=c.get("n"), do=do, begun=round(begun, 4), ended=round(time.time(), 4), **more)


async def main(o):
    loop = asyncio.get_running_loop()
    _, phone = await loop.create_datagram_endpoint(lambda: Phone(o), local_addr=(o.addr, 0))
    await phone.register()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def one(c):
        try:
            await phone.run(c)
        except Exception as error:
            phone.event("done", n=c.get("n"), do=c.get("do"), error=f"{type(error).__name__}: {error}")

    tasks = set()
    while line := await reader.readline():
        command = json.loads(line)
        if command["do"] == "quit":
            break
        tasks.add(task := asyncio.create_task(one(command)))
        task.add_done_callback(tasks.discard)
    phone.rtp.end()


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("name", "password", "addr"):
        ap.add_argument(name)
    ap.add_argument("pbx", type=int)
    ap.add_argument("--hz", type=int, default=1010)
    ap.add_argument("--db", type=float, default=-20)
    ap.add_argument("--listen", type=int, default=620)
    ap.add_argument("--codecs", default="0,8")
    ap.add_argument("--answer", choices=["auto", "manual"], default="auto")
    ap.add_argument("--refer", type=int, default=603, help="what a REFER is answered")
    asyncio.run(main(ap.parse_args()))
