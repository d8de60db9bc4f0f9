#!/usr/bin/env python3
"""Talks to baresip's ctrl_tcp module (netstrings of JSON).

  ctl.py --port P cmd COMMAND [ARGUMENT]   one command, prints its answer: dial URI, hangup,
                                             accept, hold, resume, transfer URI, sndcode DIGIT,
                                             reginfo, listcalls, callstat, ...
  ctl.py --port P events SECONDS           prints the events of that time, one JSON a line
  ctl.py --port P expect TYPE SECONDS      waits for one event of TYPE, e.g. CALL_ESTABLISHED
  ctl.py --port P run                      reads steps from standard input, one a line, on one connection:
                                             "cmd COMMAND ARG", "expect TYPE SECONDS", "sleep SECONDS"
  ctl.py --port P --log F wait-registered SECONDS

ctrl_tcp serves one connection at a time (a later one takes its place), so a test that
both commands and watches one agent uses "run". Colour codes are taken out of the answers."""
import argparse, json, re, socket, sys, time


def frames(sock, end):
    buf = b""
    while time.monotonic() < end:
        sock.settimeout(max(0.01, min(0.2, end - time.monotonic())))
        try:
            got = sock.recv(65536)
            if not got:
                return
            buf += got
        except socket.timeout:
            continue
        while True:
            m = re.match(rb"(\d+):", buf)
            if not m or len(buf) < m.end() + int(m[1]) + 1:
                break
            a, b = m.end(), m.end() + int(m[1])
            yield json.loads(buf[a:b])
            buf = buf[b + 1:]


def run(s):
    for n, line in enumerate(sys.stdin):
        w = line.split()
        if not w or w[0].startswith("#"):
            continue
        print("#", line.strip(), flush=True)
        seconds = 5.0
        if w[0] == "cmd":
            body = json.dumps({"command": w[1], "params": " ".join(w[2:]), "token": f"t{n}"}).encode()
            s.sendall(b"%d:%s," % (len(body), body))
        elif w[0] == "sleep":
            seconds = float(w[1])
        elif w[0] == "expect":
            seconds = float(w[2])
        done = False
        for f in frames(s, time.monotonic() + seconds):
            if f.get("event"):
                print(json.dumps(f), flush=True)
                done = w[0] == "expect" and f.get("type") == w[1]
            elif f.get("response"):
                print(re.sub(r"\x1b\[[0-9;]*m", "", f.get("data", "")).strip(), flush=True)
                done = w[0] == "cmd"
            if done:
                break
        if not done and w[0] != "sleep":
            print("NOT SEEN:", line.strip(), flush=True)
            return 1
    return 0


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--addr", default="127.0.0.1")
    ap.add_argument("--port", type=int, required=True)
    ap.add_argument("--log")
    ap.add_argument("what", choices=["cmd", "events", "expect", "run", "wait-registered"])
    ap.add_argument("rest", nargs="*")
    o = ap.parse_args()
    if o.what == "wait-registered":
        end = time.monotonic() + float(o.rest[0])
        while time.monotonic() < end:
            try:
                t = open(o.log, errors="replace").read()
            except OSError:
                t = ""
            if re.search(r"200 OK.*\[\d+ binding|registered successfully", t):
                print("registered")
                return 0
            time.sleep(0.1)
        return 1
    s = None
    for _ in range(50):
        try:
            s = socket.create_connection((o.addr, o.port), 1)
            break
        except OSError:
            time.sleep(0.1)
    if s is None:
        print("no control port", file=sys.stderr)
        return 2
    if o.what == "cmd":
        body = json.dumps({"command": o.rest[0], "params": " ".join(o.rest[1:]), "token": "t1"}).encode()
        s.sendall(b"%d:%s," % (len(body), body))
        for f in frames(s, time.monotonic() + 5):
            if f.get("response"):
                print(re.sub(r"\x1b\[[0-9;]*m", "", f.get("data", "")).strip())
                return 0 if f.get("ok") else 1
        return 3
    if o.what == "run":
        return run(s)
    seconds = float(o.rest[-1])
    for f in frames(s, time.monotonic() + seconds):
        if f.get("event"):
            print(json.dumps(f), flush=True)
            if o.what == "expect" and f.get("type") == o.rest[0]:
                return 0
    return 0 if o.what == "events" else 1


sys.exit(main())
