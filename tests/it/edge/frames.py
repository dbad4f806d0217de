"""Sends HTTP/2 frames that no well-behaved client sends, and tells what comes back.

Reads from standard input {"address": "ip:port", "do": [...]}; each step is one of
  {"headers": [[name, value], ...], "stream": 1, "end": true, "more": false}   HEADERS; `more` leaves the section open
  {"continuation": 5, "stream": 1, "bytes": 100}                              so many CONTINUATION frames
  {"data": 5, "stream": 1, "bytes": 0}                                        so many DATA frames
Prints {"streams": {"1": {"status": 200} or {"reset": 1}}, "goaway": code or null}.
"""

import json
import socket
import ssl
import sys

from hpack import Decoder, Encoder
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame, SettingsFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frames(step, encoder):
    if "headers" in step:
        block = encoder.encode([(name.encode("latin-1"), value.encode("latin-1")) for name, value in step["headers"]])
        frame = HeadersFrame(step["stream"], block)
        if step.get("end", True):
            frame.flags.add("END_STREAM")
        if not step.get("more", False):
            frame.flags.add("END_HEADERS")
        yield frame.serialize()
    elif "continuation" in step:
        # Literal header fields without indexing, whole in each frame.
        size = step["bytes"]
        field = b"\x00\x03x-a" + bytes([size]) + b"y" * size if size else b""
        one = ContinuationFrame(step["stream"], field).serialize()
        for _ in range(step["continuation"] // 100):
            yield one * 100
    elif "data" in step:
        one = DataFrame(step["stream"], b"x" * step["bytes"]).serialize()
        for _ in range(step["data"] // 100):
            yield one * 100


def main():
    task = json.load(sys.stdin)
    host, port = task["address"].rsplit(":", 1)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    raw = socket.create_connection((host, int(port)), timeout=20)
    connection = context.wrap_socket(raw, server_hostname="portal.example")
    encoder, decoder = Encoder(), Decoder()
    seen = {"streams": {}, "goaway": None}
    try:
        connection.sendall(PREFACE + SettingsFrame(0).serialize())
        for step in task["do"]:
            for bytes_ in frames(step, encoder):
                connection.sendall(bytes_)
    except OSError:
        pass  # The other end has had enough; what it said is read below.
    wanted = {str(step["stream"]) for step in task["do"] if "headers" in step}
    connection.settimeout(10)
    pending = b""
    try:
        while not wanted <= seen["streams"].keys() and seen["goaway"] is None:
            chunk = connection.recv(65536)
            if not chunk:
                break
            pending += chunk
            while len(pending) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(pending[:9]))
                if len(pending) < 9 + length:
                    break
                frame.parse_body(memoryview(pending[9 : 9 + length]))
                pending = pending[9 + length :]
                kind, stream = type(frame).__name__, str(frame.stream_id)
                if kind == "HeadersFrame":
                    headers = dict(decoder.decode(frame.data))
                    seen["streams"].setdefault(stream, {"status": int(headers.get(":status", 0))})
                elif kind == "RstStreamFrame":
                    seen["streams"].setdefault(stream, {"reset": frame.error_code})
                elif kind == "GoAwayFrame":
                    seen["goaway"] = frame.error_code
    except OSError:
        pass
    print(json.dumps(seen))


main()
