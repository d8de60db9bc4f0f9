#!/usr/bin/env python3
"""Phones that register and refresh: PHONES (10,000), ROUNDS of refreshes (3), PACE registrations a second (250). Each answer must be a
200, what is asked of the registrar afterwards must still be there, and memory must not grow from round to round."""
import hashlib, os, pathlib, re, select, socket, sys, tempfile, time
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bench import Gateway, tally

PHONES, ROUNDS, PACE = (int(os.environ.get(n, d)) for n, d in (("PHONES", 10_000), ("ROUNDS", 3), ("PACE", 250)))
REALM, PASSWORD, PER_SOCKET = "office.test", "Pw-of-all-phones-7", 100
EXPIRES = 600
folder = pathlib.Path(os.environ.get("LOAD_RUN") or tempfile.mkdtemp(prefix="trunkgate-load.")) / "registrations"


def digest(user):
    text = f"{user}:{REALM}:{PASSWORD}".encode()
    return hashlib.md5(text).hexdigest(), hashlib.sha256(text).hexdigest(), hashlib.new("sha512_256", text).hexdigest()


users = [f"u{n:05}" for n in range(PHONES)]
(folder / "data").mkdir(parents=True)
book = [f'realm = "{REALM}"']
for user in users:
    md5, sha256, sha512 = digest(user)
    book.append(f'[[phone]]\nuser = "{user}"\nha1_md5 = "{md5}"\nha1_sha256 = "{sha256}"\nha1_sha512_256 = "{sha512}"')
phones_file = folder / "data" / "phones.toml"
phones_file.write_text("\n".join(book) + "\n")
phones_file.chmod(0o600)
gateway = Gateway(folder, f'[registrar]\nrealm = "{REALM}"\n')
host, port = gateway.sip().rsplit(":", 1)
sockets = []
for _ in range(-(-PHONES // PER_SOCKET)):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))
    s.connect((host, int(port)))
    s.setblocking(False)
    sockets.append(s)


class Phone:
    def __init__(self, n):
        self.user, self.socket, self.cseq, self.nonce, self.nc, self.held = users[n], sockets[n // PER_SOCKET], 0, None, 0, False
        self.due, self.tries, self.text, self.challenged = None, 0, b"", 0

    def ask(self, now, binding=True):
        """A REGISTER, new; without `binding` it only asks what is there."""
        self.cseq += 1
        own = self.socket.getsockname()
        lines = [
            f"REGISTER sip:{REALM} SIP/2.0",
            f"Via: SIP/2.0/UDP {own[0]}:{own[1]};rport;branch=z9hG4bK{self.user}-{self.cseq}",
            "Max-Forwards: 70", f"From: <sip:{self.user}@{REALM}>;tag=t{self.user}", f"To: <sip:{self.user}@{REALM}>",
            f"Call-ID: {self.user}@load.test", f"CSeq: {self.cseq} REGISTER",
        ]
        if binding:
            lines += [f"Contact: <sip:{self.user}@{own[0]}:{own[1]}>", f"Expires: {EXPIRES}"]
        if self.nonce:
            self.nc += 1
            md5 = lambda text: hashlib.md5(text.encode()).hexdigest()
            answer = md5(f"{digest(self.user)[0]}:{self.nonce}:{self.nc:08x}:c{self.cseq}:auth:{md5(f'REGISTER:sip:{REALM}')}")
            lines.append(
                f'Authorization: Digest username="{self.user}", realm="{REALM}", nonce="{self.nonce}", uri="sip:{REALM}", '
                f'response="{answer}", algorithm=MD5, qop=auth, nc={self.nc:08x}, cnonce="c{self.cseq}"'
            )
        self.text, self.tries, self.binding = "\r\n".join(lines + ["Content-Length: 0", "", ""]).encode(), 0, binding
        self.send(now)

    def send(self, now):
        self.tries += 1
        self.due = now + 0.5 * 2 ** min(self.tries - 1, 3)
        try:
            self.socket.send(self.text)
        except BlockingIOError:
            pass


def round_of(phones, binding=True):
    """All of them, PACE a second; who failed."""
    waiting, failed, after, began, index = {}, [], 0, time.monotonic(), 0
    while index < len(phones) or waiting:
        now = time.monotonic()
        while index < len(phones) and index < (now - began) * PACE:
            phone = phones[index]
            phone.challenged = 0
            phone.ask(now, binding)
            waiting[phone.user] = phone
            index += 1
        for s in select.select(sockets, [], [], 0.01)[0]:
            while True:
                try:
                    text = s.recv(8192).decode(errors="replace")
                except BlockingIOError:
                    break
                if not text.startswith("SIP/2.0 "):
                    continue
                user = re.search(r"^Call-ID: (\S+)@load", text, re.M | re.I)
                cseq = re.search(r"^CSeq: (\d+)", text, re.M | re.I)
                phone = waiting.get(user[1]) if user else None
                if not phone or not cseq or int(cseq[1]) != phone.cseq:
                    continue
                status = int(text[8:11])
                if status == 401 and phone.challenged < 2:
                    phone.challenged += 1
                    phone.nonce, phone.nc = re.search(r'nonce="([^"]+)"', text)[1], 0
                    phone.ask(time.monotonic(), binding)
                elif status >= 200:
                    del waiting[phone.user]
                    if status != 200 or f"sip:{phone.user}@" not in "".join(re.findall(r"^(?:Contact|m):.*$", text, re.M | re.I)):
                        failed.append((phone.user, status))
        now = time.monotonic()
        for phone in [p for p in waiting.values() if p.due <= now]:
            if phone.tries >= 7:
                del waiting[phone.user]
                failed.append((phone.user, "nothing"))
            else:
                after += 1
                phone.send(now)
    return failed, after, time.monotonic() - began


phones = [Phone(n) for n in range(PHONES)]
why, resident = [], []
for number in range(ROUNDS + 1):
    cpu = gateway.cpu_s()
    failed, again, took = round_of(phones)
    resident.append(gateway.rss_kb())
    what = "registered" if number == 0 else "refreshed"
    print(f"# {PHONES - len(failed)} of {PHONES} {what} in {took:.0f} s, {again} sent again, {(gateway.cpu_s() - cpu) / PHONES * 1e6:.0f} µs of the "
          f"gateway's CPU each, {resident[-1] // 1024} MB resident", flush=True)
    if failed:
        why.append(f"{len(failed)} were not {what}, such as {failed[:3]}; see {folder}")
failed, _, _ = round_of(phones[:: max(1, PHONES // 500)], binding=False)
print(f"# asked afterwards: {len(failed)} of {len(phones[:: max(1, PHONES // 500)])} are not there")
if failed:
    why.append(f"not there any more: {failed[:3]}")
if resident[-1] > resident[1 if ROUNDS else 0] * 1.10:
    why.append(f"memory grew from {resident[0]} kB to {resident[-1]} kB")
gateway.stop()
tally(3 - min(len(why), 3), len(why), why)
