#!/usr/bin/env python3
"""Debian's sipvicious against the running gateway, which has phones: svwar finds no user by any method, svcrack no
password, though the right one is in its list."""
import os, pathlib, re, select, shutil, socket, subprocess, sys, tempfile, threading, time
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bench import Gateway, tally

folder = pathlib.Path(os.environ.get("LOAD_RUN") or tempfile.mkdtemp(prefix="trunkgate-load.")) / "scanners"
shutil.rmtree(folder, ignore_errors=True)
for tool in ("svwar", "svcrack"):
    if not shutil.which(tool):
        sys.exit(f"{tool} is not here (apt: sipvicious)")
binary = os.environ.get("TRUNKGATE_BIN") or sys.exit("TRUNKGATE_BIN does not name the gateway's binary")
PASSWORD = "7319"
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("TRUNKGATE_")}
good, why = 0, []


def start(name):
    """A gateway of its own for each scan: what one was refused for would slow the next."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    config = folder / name / "phones.toml"
    config.write_text(f'data_dir = "{folder / name / "data"}"\n[registrar]\nrealm = "office.test"\n')
    for user in ("2001", "2003"):
        made = subprocess.run([binary, "add", "phone", user, "--password-file", "-", "--config", str(config)], input=PASSWORD + "\n", text=True, capture_output=True, env=ENVIRONMENT)
        if made.returncode:
            sys.exit(f"the phone could not be made: {made.stdout} {made.stderr}")
    return Gateway(folder / name, '[registrar]\nrealm = "office.test"\n')


def scan(name, tool, *args):
    """What the tool printed. Its sessions stay out of the user's home."""
    home = folder / name
    with open(home / f"{tool}.log", "w") as log:
        try:
            subprocess.run([tool, *args], stdout=log, stderr=subprocess.STDOUT, timeout=45, env=dict(os.environ, HOME=str(home), COLUMNS="200"), stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            log.write("\n(stopped after 45 s)\n")
    return (home / f"{tool}.log").read_text()


def md5_only(gateway):
    """A port before the gateway that lets through its MD5 challenge alone: svcrack breaks off at any other."""
    outer, inner = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    outer.bind(("127.0.0.1", 0))
    inner.connect(gateway)
    peer = [None]

    def relay():
        while True:
            for ready in select.select([outer, inner], [], [])[0]:
                try:
                    if ready is outer:
                        data, peer[0] = outer.recvfrom(65536)
                        inner.send(data)
                    elif peer[0]:
                        lines = inner.recv(65536).decode("latin1").split("\r\n")
                        kept = [l for l in lines if not l.startswith("WWW-Authenticate") or "algorithm=MD5" in l]
                        outer.sendto("\r\n".join(kept).encode("latin1"), peer[0])
                except OSError:
                    continue

    threading.Thread(target=relay, daemon=True).start()
    return str(outer.getsockname()[1])


for method in ("REGISTER", "INVITE", "OPTIONS"):
    gateway = start(method)
    host, port = gateway.sip().rsplit(":", 1)
    out = scan(method, "svwar", "-m", method, "-e", "2000-2005", "-p", port, "-t", "2", "--force", host)
    # A table of users with what was made of each: all alike, or none.
    found = dict(re.findall(r"^\W*(\d{4})\s*\W\s*(\w+)", out, re.M))
    if len(set(found.values())) <= 1 and len(found) in (0, 6):
        good += 1
        print(f"# svwar -m {method}: {found or 'nothing'}")
    else:
        why.append(f"svwar -m {method} tells users apart: {found}; see {folder / method}")
    gateway.stop()

gateway = start("passwords")
host, port = gateway.sip().rsplit(":", 1)
words = folder / "passwords" / "words"
words.write_text("".join(f"{n}\n" for n in range(1000, 1200)) + PASSWORD + "\n")
out = scan("passwords", "svcrack", "-u", "2001", "-d", str(words), "-p", md5_only((host, int(port))), host)
if PASSWORD in re.sub(r"(?m)^.*DEBUG.*$", "", out):
    why.append(f"svcrack found the password; see {folder / 'passwords'}")
else:
    good += 1
time.sleep(1.1)  # figures are shown twice a second
metrics = gateway.metrics()
print("# of svcrack's guesses: " + ", ".join(f"{n} {metrics.get(f'trunkgate_sip_{n}_total', 0):.0f}" for n in ("requests", "slowed", "dropped", "bans")))
gateway.stop()
tally(good, len(why), why)
