"""Measures one running proxy: whether it answers rightly, and what a request costs it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from pathlib import Path

from configs import REPLY_BYTES
from peers import ROUTES, Running, find_wrk
from processes import HOST, BenchError
from tokens import PATIENT, Tokens

CONNECTIONS = 32
REFUSALS = {401, 403}

# The requests of all routes are made once, before the load starts: then picking the next one costs almost nothing.
LUA = """\
local requests, at = {}, 0
function init()
  wrk.headers["Authorization"] = "Bearer TOKEN"
  for route = 0, ROUTES - 1 do
    requests[#requests + 1] = wrk.format("GET", "/svc" .. route .. "/patients/PATIENT/results")
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,' ..
    '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
"""
FAULTS = ("connect", "read", "write", "status", "timeout")


def write_load_script(folder: Path, tokens: Tokens) -> Path:
    path = folder / "load.lua"
    path.write_text(LUA.replace("TOKEN", tokens.good).replace("ROUTES", str(ROUTES)).replace("PATIENT", PATIENT))
    return path


def check_answers(running: Running, tokens: Tokens) -> None:
    """A good token must reach the upstream, and a peer that checks tokens must refuse each of the bad ones."""
    name = running.peer.name
    deadline = time.monotonic() + 10
    while (answer := get(running.port, tokens.good)) != (200, REPLY_BYTES):
        if time.monotonic() > deadline:
            raise BenchError(f"{name} answers a good token with status {answer[0]} and {answer[1]} bytes")
        time.sleep(0.2)
    if get(running.port, tokens.good, route=ROUTES - 1) != (200, REPLY_BYTES):
        raise BenchError(f"{name} does not serve its last route")
    if not running.peer.checks_tokens:
        return
    for what, token in {**tokens.bad, "no token": None}.items():
        status, _ = get(running.port, token)
        if status not in REFUSALS:
            raise BenchError(f"{name} does not refuse {what}: it answers with status {status}")


def get(port: int, token: str | None, route: int = 0) -> tuple[int, int]:
    """The status and body length of one reply; a connection closed without a reply is status 0."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", f"/svc{route}/patients/{PATIENT}/results", headers=headers)
        reply = connection.getresponse()
        return reply.status, len(reply.read())
    except (OSError, http.client.HTTPException):
        return 0, 0
    finally:
        connection.close()


def run_slot(running: Running, script: Path, seconds: int, cores: set[int]) -> dict[str, float]:
    """Loads one peer for `seconds` and returns what it cost and gave."""
    before = cpu_seconds(running.pid)
    load = run_wrk(running.port, script, seconds, cores)
    cpu = cpu_seconds(running.pid) - before
    faults = {name: load[name] for name in FAULTS if load[name]}
    if faults or not load["requests"]:
        raise BenchError(f"{running.peer.name} failed requests under load: {faults or 'none was answered'}")
    for log in running.logs:
        if log.exists():
            os.truncate(log, 0)
    return {
        "requests": load["requests"],
        "cpu_us": cpu * 1e6 / load["requests"],
        "rps": load["requests"] / load["seconds"],
        "p50_ms": load["p50_us"] / 1000,
        "p99_ms": load["p99_us"] / 1000,
        "busy": cpu / load["seconds"],
    }


def run_wrk(port: int, script: Path, seconds: int, cores: set[int]) -> dict[str, float]:
    argv = [find_wrk(), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), f"http://{HOST}:{port}/"]
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        result = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 30, check=False)
    finally:
        os.sched_setaffinity(0, everything)
    for line in result.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise BenchError(f"wrk gave no result:\n{result.stdout}{result.stderr}")


def cpu_seconds(pid: int) -> float:
    """CPU time that a process, all its threads and all its descendants used so far.

    The kernel has a clock for each process that counts nanoseconds, where /proc/PID/stat counts in steps of
    10 ms. Its number is made from the process id: see `clock_getcpuclockid` in the C library.
    """
    scheduler_clock = 2
    return sum(time.clock_gettime((~process << 3) | scheduler_clock) for process in descendants(pid))


def descendants(pid: int) -> list[int]:
    """The process and all its descendants, from the parent field of /proc/*/stat."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                # The second field is a name in parentheses that may hold anything: count from its end.
                parents[int(entry)] = int(Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family
