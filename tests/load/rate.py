#!/usr/bin/env python3
"""Calls at a rate, SIPp to us to SIPp: no failed call, flat memory. RATE (200 calls a second), SECONDS (120), HOLD_MS (1000).

One trunk calls in from 127.0.0.2, the dial plan sends it on to another at 127.0.0.3."""
import os, pathlib, sys, tempfile, time
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bench import Gateway, Memory, port, sipp, tally

RATE, SECONDS, HOLD = (int(os.environ.get(n, d)) for n, d in (("RATE", 200), ("SECONDS", 120), ("HOLD_MS", 1000)))
folder = pathlib.Path(os.environ.get("LOAD_RUN") or tempfile.mkdtemp(prefix="trunkgate-load."))
callee = port("127.0.0.3")
gateway = Gateway(folder / "rate", f"""
[trunk.caller]
mode = "address"
servers = ["127.0.0.2:5060"]
sources = ["127.0.0.2/32"]
probe = 0
[trunk.callee]
mode = "address"
servers = ["127.0.0.3:{callee}"]
probe = 0
[[inbound]]
trunk = "caller"
match = "*"
to = ["trunk:callee"]
""")
calls = RATE * SECONDS
uas = sipp(folder / "rate", "uas", ["-sn", "uas", "-i", "127.0.0.3", "-p", callee])
memory = Memory(gateway)
start, cpu = time.monotonic(), gateway.cpu_s()
uac = sipp(folder / "rate", "uac", ["-sn", "uac", gateway.sip(), "-s", "+4930123456", "-i", "127.0.0.2", "-r", RATE, "-m", calls, "-d", HOLD, "-trace_stat", "-stf", folder / "rate" / "uac.csv", "-fd", "5", "-l", RATE * 20])
status = uac.wait(SECONDS + HOLD / 1000 + 120)
took, cpu = time.monotonic() - start, gateway.cpu_s() - cpu
uas.kill()
memory.stop()
rows = (folder / "rate" / "uac.csv").read_text().splitlines()
names, last = rows[0].split(";"), rows[-1].split(";")
told = dict(zip(names, last))
good, bad = int(told["SuccessfulCall(C)"]), int(told["FailedCall(C)"])
growth = memory.growth(40)
print(f"# {calls} calls, {RATE} a second, in {took:.0f} s: {good} well, {bad} failed; {cpu / max(good, 1) * 1e6:.0f} µs of the gateway's CPU each")
print("# resident MB over time: " + " ".join(f"{at:.0f}s:{kb // 1024}" for at, kb in memory.samples[::5]))
gateway.stop()
why = []
if bad or good != calls or status:
    why.append(f"{bad} calls failed, {good} of {calls} went well (sipp's status {status}); see {folder}")
if growth > 1.15:
    why.append(f"memory grew by {growth - 1:.0%} in the second half")
tally(2 - len(why), len(why), why)
