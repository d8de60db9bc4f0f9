"""What the load tests share: the gateway under test with a configuration of its own, SIPp beside it, and memory over time."""
import atexit, os, pathlib, re, signal, socket, subprocess, sys, threading, time, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
FREE_PORTS = HERE.parent / "bed" / "lib" / "free_ports.py"


def port(host, kind=socket.SOCK_DGRAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


class Gateway:
    """The binary with `config` (TOML) beside what every test needs."""

    def __init__(self, folder, config):
        binary = os.environ.get("TRUNKGATE_BIN") or sys.exit("TRUNKGATE_BIN does not name the gateway's binary")
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        found = subprocess.run(["python3", FREE_PORTS, "127.0.0.1", "WEBRTC=8", "RTP=4000"], capture_output=True, text=True, check=True).stdout
        ports = dict(re.findall(r"\{(\w+):=([\d-]+)\}", found))
        file = self.folder / "trunkgate.toml"
        file.write_text(config)
        sets = {
            "signaling.ws": '"127.0.0.1:0"', "signaling.wss": '"127.0.0.1:0"', "sip.listen": '["udp:127.0.0.1:0", "tcp:127.0.0.1:0"]',
            "admin.listen": '"127.0.0.1:0"', "media.address": '"127.0.0.1"', "media.rtp.bind": '"127.0.0.1"',
            "media.webrtc.port": ports["WEBRTC"].split("-")[0], "media.rtp.ports": f'"{ports["RTP"]}"',
            "data_dir": f'"{self.folder / "data"}"', "log.level": '"warn"',
        }
        args = [binary, "run", "--config", str(file)] + [a for k, v in sets.items() for a in ("--set", f"{k}={v}")]
        self.log = open(self.folder / "stderr.log", "w")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TRUNKGATE_")}
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment)
        atexit.register(self.stop)
        self.listening = {}
        ready = threading.Event()

        def read():
            with open(self.folder / "stdout.log", "w") as out:
                for line in self.process.stdout:
                    out.write(line)
                    out.flush()
                    # "listening sip udp:127.0.0.1:5060", "listening admin 127.0.0.1:9090"
                    if found := re.match(r"listening (\S+) (?:(udp|tcp|tls):)?(\S+)", line):
                        self.listening.setdefault(".".join(filter(None, found.group(1, 2))), found[3])
                    if line.startswith("ready"):
                        ready.set()
            ready.set()

        threading.Thread(target=read, daemon=True).start()
        if not ready.wait(30) or self.process.poll() is not None:
            self.stop()
            sys.exit(f"the gateway did not start: {(self.folder / 'stderr.log').read_text()[-2000:]}")

    def rss_kb(self):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1])

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metrics(self):
        with urllib.request.urlopen(f"http://{self.listening['admin']}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return {name: float(value) for name, value in re.findall(r"^(\S+) (\S+)$", text, re.M)}

    def sip(self, transport="udp"):
        return self.listening[f"sip.{transport}"]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()


class Memory:
    """Resident memory of a gateway, read every few seconds."""

    def __init__(self, gateway, every=2.0):
        self.gateway, self.samples, self.over = gateway, [], threading.Event()
        self.thread = threading.Thread(target=self.run, args=(every,), daemon=True)
        self.thread.start()

    def run(self, every):
        start = time.monotonic()
        while not self.over.wait(every):
            try:
                self.samples.append((time.monotonic() - start, self.gateway.rss_kb()))
            except (OSError, TypeError):
                return

    def stop(self):
        self.over.set()
        self.thread.join()
        return self.samples

    def growth(self, after_s):
        """Of the second half of what comes after `after_s` over its first half, as a ratio of the peaks."""
        rest = [kb for at, kb in self.samples if at >= after_s]
        half = len(rest) // 2
        return max(rest[half:]) / max(rest[:half]) if half else 1.0


def sipp(folder, name, args, **more):
    log = open(pathlib.Path(folder) / f"{name}.log", "w")
    return subprocess.Popen(["sipp", *map(str, args), "-nostdin", "-trace_err", "-error_file", str(pathlib.Path(folder) / f"{name}.err")],
                            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **more)


def tally(good, bad, why=()):
    for line in why:
        print(f"# {line}")
    print(f"{good} passed, {bad} failed")
    sys.exit(1 if bad else 0)
