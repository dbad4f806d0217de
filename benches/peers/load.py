"""Puts load on a proxy: wrk for requests, `websocket_load.py` for WebSockets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kinds import Kind
from peers import ROUTES, find_wrk, path_of
from processes import HOST, BenchError
from tokens import Tokens

CONNECTIONS = 32
MESSAGE_BYTES = 128
SLACK_SECONDS = 30
WEBSOCKET_LOAD = Path(__file__).with_name("websocket_load.py")

# The requests of all routes are made once, before the load starts: then picking the next one costs almost nothing.
LUA = """\
local requests, at = {}, 0
function init()
  wrk.headers["Authorization"] = "Bearer TOKEN"
  for route = 0, ROUTES - 1 do
    requests[#requests + 1] = wrk.format("GET", "BEFORE" .. route .. "AFTER")
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"count":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,"faults":{' ..
    '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
"""


@dataclass
class Load:
    """The load of one kind, on these cores or on all. `used` tells the CPU time that the proxy has used so far, in seconds."""

    kind: Kind
    folder: Path
    tokens: Tokens
    cores: set[int]

    def run(self, port: int, seconds: int, used: Callable[[], float]) -> dict:
        """Figures of the load, with the CPU seconds that the proxy used for it under `cpu`."""
        figures = (self.run_websockets if self.kind.websocket else self.run_wrk)(port, seconds, used)
        figures["faults"] = {name: count for name, count in figures["faults"].items() if count}
        return figures

    def run_wrk(self, port: int, seconds: int, used: Callable[[], float]) -> dict:
        url = f"{'https' if self.kind.tls else 'http'}://{HOST}:{port}/"
        argv = [find_wrk(), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(self.script()), url]
        before = used()
        with self.started(argv) as process:
            output = communicate(process, seconds)
        return result(output) | {"cpu": used() - before}

    def run_websockets(self, port: int, seconds: int, used: Callable[[], float]) -> dict:
        """The handshakes are over before the count begins, and no connection closes before it ends."""
        words = [port, seconds, CONNECTIONS, MESSAGE_BYTES, path_of(self.kind, "{}")]
        with self.started([sys.executable, str(WEBSOCKET_LOAD), *map(str, words)]) as process:
            if ask(process, self.tokens.good) != "READY\n":
                raise BenchError(f"the WebSocket load did not start:\n{communicate(process, seconds)}")
            before = used()
            line = ask(process, "go")
            cpu = used() - before
            return result(line + communicate(process, seconds)) | {"cpu": cpu}

    def started(self, argv: list[str]) -> subprocess.Popen:
        everything = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.cores or everything)
        try:
            pipe = subprocess.PIPE
            return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        finally:
            os.sched_setaffinity(0, everything)

    def script(self) -> Path:
        path = self.folder / "load.lua"
        if not path.exists():
            before, _, after = path_of(self.kind, "{}").partition("{}")
            words = {"TOKEN": self.tokens.good, "ROUTES": str(ROUTES), "BEFORE": before, "AFTER": after}
            text = LUA
            for word, value in words.items():
                text = text.replace(word, value)
            path.write_text(text)
        return path

    def describe(self, wrk_version: str) -> str:
        if self.kind.websocket:
            return (
                f"{CONNECTIONS} open connections, on each one message of {MESSAGE_BYTES} bytes at a time and its echo"
            )
        return f"wrk {wrk_version}, 1 thread, {CONNECTIONS} keep-alive connections, {ROUTES:,} paths in turn"


def ask(process: subprocess.Popen, line: str) -> str:
    """Says one line to a process and takes the line it answers; nothing if it has ended."""
    assert process.stdin and process.stdout
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    return process.stdout.readline()


def communicate(process: subprocess.Popen, seconds: int) -> str:
    try:
        return process.communicate(timeout=seconds + SLACK_SECONDS)[0]
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise BenchError("the load did not end in time") from error


def result(output: str) -> dict:
    for line in output.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise BenchError(f"the load gave no result:\n{output}")
