#!/usr/bin/env python3
"""Tests of json_client.py against a server of a few lines: `python3 tests/peers/json_client_test.py`."""
import asyncio
import base64
import hashlib
import json
import pathlib
import struct
import sys
import unittest

CLIENT = pathlib.Path(__file__).with_name("json_client.py")
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 3 UDP/TLS/RTP/SAVPF 0\r\na=mid:7\r\na=rtpmap:0 PCMU/8000\r\n"


class Server:
    """Answers each message by the frames that `replies` has for its name."""

    def __init__(self, replies):
        self.replies, self.got = replies, []

    async def serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        key = next(line.split(": ")[1] for line in head if line.lower().startswith("sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        writer.write(f"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        try:
            while True:
                first, second = await reader.readexactly(2)
                length = second & 0x7F
                if length == 126:
                    (length,) = struct.unpack(">H", await reader.readexactly(2))
                elif length == 127:
                    (length,) = struct.unpack(">Q", await reader.readexactly(8))
                mask = await reader.readexactly(4)
                payload = bytes(b ^ mask[i % 4] for i, b in enumerate(await reader.readexactly(length)))
                if first & 0x0F == 8:
                    writer.write(b"\x88" + bytes([len(payload)]) + payload)
                    break
                message = json.loads(payload)
                self.got.append(message)
                for reply in self.replies.get(message["message"], []):
                    text = json.dumps(reply(message) if callable(reply) else reply).encode()
                    size = bytes([len(text)]) if len(text) < 126 else b"\x7e" + struct.pack(">H", len(text))
                    writer.write(b"\x81" + size + text)
        except asyncio.IncompleteReadError:
            pass
        writer.close()


async def play(replies, script, *arguments):
    server = Server(replies)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = await asyncio.create_subprocess_exec(
        sys.executable, CLIENT, f"ws://127.0.0.1:{port}/any/path", *arguments, stdin=-1, stdout=-1
    )
    out, _ = await asyncio.wait_for(client.communicate(script.encode()), 20)
    listening.close()
    return client.returncode, [json.loads(line) for line in out.decode().splitlines()], server.got


def told(name, **fields):
    return lambda message: {"message": name, "data": [{"callId": message["data"][0]["callId"], **fields}]}


class JsonClient(unittest.TestCase):
    def play(self, replies, script, *arguments):
        return asyncio.run(play(replies, script, *arguments))

    def test_a_call_goes_from_ring_to_finish(self):
        replies = {
            "connection": [{"message": "getUserData", "data": [{"authToken": "t"}]}, {"message": "ping", "data": []}],
            "call": [
                told("notifyTryingResponse", status="TRYING"),
                lambda m: {"message": "setRemoteSDP", "data": [m["data"][0]["callId"], OFFER, True]},
                told("talk", status="ESTABLISHED"),
            ],
            "hangup": [told("finish", status="FINISH")],
        }
        script = """
            register 1001 hunter2 pbx.example sipPort=5060
            wait getUserData
            call a echo custom={"x":1}
            wait TRYING a
            wait ESTABLISHED a
            hangup a
            wait finish a
            absent finish a 0.1
        """
        code, events, got = self.play(replies, script)
        self.assertEqual(code, 0, events)
        # The pong goes when the ping comes, whatever the script is at.
        pongs = [m for m in got if m["message"] == "pong"]
        got = [m for m in got if m["message"] != "pong"]
        self.assertEqual(pongs, [{"message": "pong", "data": [None]}])
        self.assertEqual([m["message"] for m in got], ["connection", "call", "hangup"])
        self.assertEqual(got[0]["data"][0]["sipPassword"], "hunter2")
        self.assertEqual(got[0]["data"][0]["sipPort"], 5060)
        self.assertIn("a=fingerprint:sha-256 ", got[1]["data"][0]["sdp"])
        self.assertEqual(got[1]["data"][0]["callId"], got[2]["data"][0]["callId"])
        self.assertNotIn("hunter2", json.dumps(events))
        self.assertEqual([e["call"] for e in events if e.get("message") == "talk"], ["a"])

    def test_an_incoming_call_is_answered_by_its_offer(self):
        incoming = {"callId": "x@y", "incoming": True, "status": "PENDING", "caller": "a", "visibleName": "A"}
        replies = {
            "connection": [
                {"message": "setRemoteSDP", "data": ["x@y", OFFER, False]},
                {"message": "notifyIncomingCall", "data": [incoming]},
            ],
            "answer": [told("talk", status="ESTABLISHED")],
        }
        code, events, got = self.play(replies, "connect\nwait notifyIncomingCall in0\nanswer in0\nwait talk in0\n")
        self.assertEqual(code, 0, events)
        sdp = got[1]["data"][0]["sdp"]
        self.assertEqual(got[1]["data"][0]["callId"], "x@y")
        for line in ("m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:7", "a=setup:active", "a=group:BUNDLE 7"):
            self.assertIn(line + "\r\n", sdp)

    def test_what_would_break_the_sdk_fails_the_run(self):
        sdp = {"message": "setRemoteSDP", "data": ["c", OFFER, True]}
        late = {"message": "notifyIncomingCall", "data": [{"callId": "d", "incoming": True, "status": "PENDING"}]}
        for replies, why in [
            ([sdp, sdp], "a second setRemoteSDP"),
            ([late], "no offer before it"),
            ([{"message": "registered", "data": [{"status": "REGISTERED"}]}], "nobody asked"),
            ([{"message": "notifyTransferEvent", "data": [{"callId": "n", "status": "TRYING"}]}], "does not know"),
            ([{"message": "getUserData", "data": [{"sipPassword": "x"}]}], "must not have"),
            ([{"message": "ping"}], "'data'"),
        ]:
            code, events, _ = self.play({"connection": replies}, "connect\nsleep 0.2\n")
            self.assertEqual(code, 1, events)
            self.assertIn(why, json.dumps(events))

    def test_waiting_in_vain_is_told(self):
        code, events, _ = self.play({}, "connect\nwait getUserData 0.1\n")
        self.assertEqual((code, [e["event"] for e in events][2]), (1, "timeout"))
        code, events, _ = self.play({"connection": [{"message": "pong", "data": []}]}, "connect\nabsent pong 1\n")
        self.assertEqual((code, [e["event"] for e in events if e["event"] == "unwanted"]), (1, ["unwanted"]))

    def test_a_socket_can_be_dropped_and_opened_again(self):
        replies = {"connection": [{"message": "getUserData", "data": [{"authToken": "tok"}]}]}
        code, events, got = self.play(replies, "connect keepAlive=true\nwait getUserData\ndrop\nresume last\nwait getUserData\n")
        self.assertEqual(code, 0, events)
        self.assertEqual(got[1]["data"][0]["authToken"], "tok")

    def test_large_frames_and_nonsense_are_sent_as_they_stand(self):
        big = "x" * 70000
        code, _, got = self.play({}, f'connect\nsend pushLogs {{"logs":"{big}"}}\nraw {{"message":"q"}}\nrepeat 3 send ping\n')
        self.assertEqual(code, 0)
        self.assertEqual(len(got[1]["data"][0]["logs"]), 70000)
        self.assertEqual([m["message"] for m in got[2:]], ["q", "ping", "ping", "ping"])

    def test_a_command_that_is_none_is_refused(self):
        for script in ("fly\n", "call\n", "connect x\n"):
            code, events, _ = self.play({}, script)
            self.assertEqual((code, events[-1]["event"]), (2, "bad-command"))


if __name__ == "__main__":
    unittest.main()
