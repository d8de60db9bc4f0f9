#!/usr/bin/env python3
"""An application's backend for Trunkgate, in one file and nothing but Python's own library (3.9 or later).

Trunkgate asks an application's backend before it does what a page wants, and tells it what has happened: each of these
hooks is an HTTP POST to URL/<method> with a JSON object. This one prints each hook, answers it, checks the signatures,
gives pages of one application a SIP account, and refuses what it is told to refuse. Take what you need of it.

Try it:

    python3 deploy/examples/backend.py --listen 127.0.0.1:8090 --secret-file secret.txt \\
        --account 1001@pbx.example --account-password-file account.txt &
    trunkgate update app -l http://127.0.0.1:8090/hooks --hook-secret-file secret.txt clickToCallApp
    trunkgate show app-rest-methods clickToCallApp

A page that connects with the appKey clickToCallApp and without an account now calls as 1001. Other applications are
made by `trunkgate add app`, and their hooks turned on one by one by `trunkgate add app-rest-method`.

What to know of the answers:
  * 2xx with a JSON object: go on. For `connect` its fields (sipLogin, sipPassword, sipDomain, custom, ...) take the place
    of the page's, and `restClientConfig` in it says for each method of this session what the other answers mean.
  * Any other status: an error. `connect` is then refused. For the other hooks it is only logged, unless restClientConfig
    says restOnError FAIL for the method: then what the page wanted is not done, and the page is told the reason.
  * The fields of other answers count only where restClientConfig says restPolicy OVERWRITE and names them in
    restOverwrite.
  * Answer soon: `call` waits for you. Hooks of one session come one after the other.

`connect` holds the user's SIP password where the page sent one: treat it as such. Over http:// it reaches you only on
the gateway's own computer.
"""

import argparse
import base64
import hashlib
import hmac
import json
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What the gateway may ask, before it does what a page or the network wants ...
ASKED = {
    "connect": "a page has opened a session",
    "call": "the page dials `callee`",
    "answer": "the page takes an incoming call",
    "hangup": "the page ends a call",
    "hold": "the page holds a call",
    "unhold": "the page takes a call up again",
    "transfer": "the page transfers a call to `target`",
    "sendDtmf": "the page sends the digit `dtmf`",
    "sendMessage": "the page sends an instant message",
    "sendIMDN": "the page says that a message was shown",
    "subscribe": "the page subscribes to an event",
    "sendXcapRequest": "the page asks an XCAP server",
    "publishStream": "the page publishes a stream",
    "unPublishStream": "... and ends it",
    "playStream": "the page plays a stream",
    "stopStream": "... and ends it",
    "sendData": "the page sends data to the application",
    "sendStreamEvent": "the page tells something to a stream's players",
    "submitBugReport": "the page reports a fault",
    "snapshot": "the page wants a picture of a stream",
    "sessionDebug": "the page wants its session logged",
    "pushLogs": "the page sends its own log",
    "playHLS": "a player wants a stream by HLS",
    "playRTSP": "a player wants a stream by RTSP",
    "OnCallEvent": "somebody calls the page",
    "OnMessageEvent": "somebody writes to the page",
    "OnDataEvent": "data for the page",
}
# ... and what it tells when it has happened.
TOLD = {
    "ConnectionStatusEvent": "a session is there, or gone",
    "RegistrationStatusEvent": "the page's account is registered, or not",
    "CallStatusEvent": "a call rings, talks, is held, has ended, ...",
    "TransferStatusEvent": "how far a transfer is",
    "MessageStatusEvent": "what became of a message",
    "SubscriptionStatusEvent": "what became of a subscription",
    "XcapStatusEvent": "what the XCAP server said",
    "StreamStatusEvent": "a stream is published, played, stopped, ...",
    "StreamEvent": "what a stream's publisher told its players",
    "StreamKeepAliveEvent": "a stream still runs",
    "DataStatusEvent": "what became of data",
    "BugReportStatusEvent": "where a report was put",
    "SessionDebugStatusEvent": "where a session is logged",
    "ErrorEvent": "an earlier hook failed",
    "OnDtmfEvent": "the far side sent the digit `dtmf`",
}
# A body that is longer is no hook.
BODY_MAX = 1 << 20
# Signatures older than this are repetitions by somebody else, or of a computer whose clock is wrong.
AGE_MAX_S = 300
# Printed without their content.
SECRET_FIELDS = {"sipPassword", "authToken"}


class Backend:
    """What to answer; a method of its own for a hook that wants more than {}."""

    def __init__(self, options):
        self.options = options

    def answer(self, method, body):
        """Returns an HTTP status, its reason and a JSON object."""
        if method in self.options.refuse:
            status, reason = self.options.refuse[method]
            return status, reason, {"status": status, "reason": reason}
        if method in self.options.answer:
            return 200, "OK", self.options.answer[method]
        if method == "connect":
            return 200, "OK", self.connect(body)
        # Here an application would do its own: look a callee up, write a bill, wake a colleague.
        return 200, "OK", {}

    def connect(self, body):
        """The account is the backend's to give: the page never needs to know its password."""
        reply = {}
        if self.options.account and body.get("appKey") == self.options.account_app and not body.get("sipLogin"):
            reply.update(self.options.account)
        if self.options.policies:
            reply["restClientConfig"] = self.options.policies
        return reply


def wrong_with(options, headers, body):
    """Why the request is not the gateway's own; None where it is."""
    authorization = headers.get("Authorization", "")
    if options.user:
        wanted = "Basic " + base64.b64encode(f"{options.user}:{options.password}".encode()).decode()
        if not hmac.compare_digest(authorization.encode(), wanted.encode()):
            return "user or password"
    if not options.secret:
        return None
    # WCS's own signature says nothing about when; it is there unless HTTP Basic is.
    if not options.user:
        wanted = "WCS " + hmac.new(options.secret, body, hashlib.md5).hexdigest()
        if not hmac.compare_digest(authorization.encode(), wanted.encode()):
            return "WCS signature"
    stamp = headers.get("X-Trunkgate-Timestamp", "")
    wanted = "sha256=" + hmac.new(options.secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(headers.get("X-Trunkgate-Signature", "").encode(), wanted.encode()):
        return "signature"
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > AGE_MAX_S:
        return "time stamp"
    return None


def shown(body):
    """A hook's fields for the screen: no secrets, no long texts."""

    def short(name, value):
        if name in SECRET_FIELDS and value:
            return "(not shown)"
        if isinstance(value, str) and len(value) > 80:
            return f"{value[:60]}... ({len(value)} characters)"
        return value

    return json.dumps({name: short(name, value) for name, value in body.items()}, ensure_ascii=False)


class Handler(BaseHTTPRequestHandler):
    # Connections stay open: the gateway uses them again.
    protocol_version = "HTTP/1.1"
    # A connection on which nothing comes is closed.
    timeout = 75
    printing = threading.Lock()

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_MAX:
            self.close_connection = True
            return self.reply(413, "Content Too Large", {})
        raw = self.rfile.read(int(length))
        method = self.path.rsplit("/", 1)[-1]
        wrong = wrong_with(self.server.options, self.headers, raw)
        if wrong:
            self.say(f"! {method}: wrong {wrong}; refused")
            return self.reply(401, "Unauthorized", {})
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return self.reply(400, "Bad Request", {})
        if method not in ASKED and method not in TOLD:
            self.say(f"! {method}: unknown")
            return self.reply(404, "Not Found", {})
        status, reason, reply = Backend(self.server.options).answer(method, body)
        verdict = "" if status == 200 else f" -> {status} {reason}"
        self.say(f"{method} ({ASKED.get(method) or TOLD[method]}){verdict} {shown(body)}")
        self.reply(status, reason, reply)

    def reply(self, status, reason, body):
        data = json.dumps(body).encode()
        self.send_response(status, reason)
        self.send_header("Content-Type", "application/json;charset=UTF-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def say(self, line):
        with self.printing:
            print(line, flush=True)

    def log_message(self, *_):
        """Every hook is printed already."""


def main():
    options = read_options()
    host, _, port = options.listen.rpartition(":")
    server = ThreadingHTTPServer((host.strip("[]") or "127.0.0.1", int(port)), Handler)
    server.daemon_threads = True
    server.options = options
    host, port = server.server_address[:2]
    print(f"listening http://{host}:{port}/hooks", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


def read_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="hooks:\n" + "".join(f"  {name:24} {what}\n" for name, what in {**ASKED, **TOLD}.items()),
    )
    parser.add_argument("--listen", default="127.0.0.1:8090", metavar="ADDR:PORT", help="port 0 takes a free one (default: %(default)s)")
    parser.add_argument("--secret-file", metavar="FILE", help="the application's hook secret: both signatures are checked with it")
    parser.add_argument("--user", default="", help="for HTTP Basic, as `trunkgate add app -u`")
    parser.add_argument("--password-file", metavar="FILE", help="the password that belongs to it, as -p")
    parser.add_argument("--account", metavar="LOGIN@DOMAIN[:PORT]", help="a SIP account for pages that bring none")
    parser.add_argument("--account-password-file", metavar="FILE", help="its password")
    parser.add_argument("--account-proxy", metavar="HOST", help="where its requests go, if not to the domain")
    parser.add_argument("--account-app", default="clickToCallApp", metavar="APPKEY", help="whose pages get it (default: %(default)s)")
    parser.add_argument("--refuse", action="append", default=[], metavar="METHOD[=STATUS[:REASON]]", help="answer this hook with an error (default: 403)")
    parser.add_argument("--answer", action="append", default=[], metavar="METHOD=JSON", help="answer this hook with these fields")
    parser.add_argument("--policies", metavar="FILE", help="restClientConfig (JSON) for every session")
    options = parser.parse_args()

    def first_line(path):
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")

    options.secret = first_line(options.secret_file).encode() if options.secret_file else None
    options.password = first_line(options.password_file) if options.password_file else ""
    refuse = {}
    for text in options.refuse:
        method, _, rest = text.partition("=")
        status, _, reason = rest.partition(":")
        status = int(status or 403)
        refuse[method] = (status, reason or HTTPStatus(status).phrase)
    options.refuse = refuse
    options.answer = {method: json.loads(text) for method, _, text in (text.partition("=") for text in options.answer)}
    for method in [*options.refuse, *options.answer]:
        if method not in ASKED and method not in TOLD:
            parser.error(f"{method} is no hook; --help lists them")
    if options.account:
        login, _, domain = options.account.rpartition("@")
        domain, _, port = domain.partition(":")
        if not login or not domain or not options.account_password_file:
            parser.error("--account wants LOGIN@DOMAIN[:PORT], and --account-password-file beside it")
        password = first_line(options.account_password_file)
        options.account = {
            "sipLogin": login, "sipAuthenticationName": login, "sipPassword": password, "sipDomain": domain,
            "sipOutboundProxy": options.account_proxy or domain, "sipPort": int(port or 5060), "sipRegisterRequired": True,
        }
    if options.policies:
        with open(options.policies, encoding="utf-8") as file:
            options.policies = json.load(file)
    return options


if __name__ == "__main__":
    sys.exit(main())
