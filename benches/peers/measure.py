"""Measures one running proxy: whether it answers rightly, and what a request or an echo costs it."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
from pathlib import Path

import websocket
from configs import REPLY_BYTES
from kinds import Kind
from load import MESSAGE_BYTES, Load
from peers import ROUTES, Running, path_of
from processes import HOST, BenchError
from tokens import Tokens

GOOD = {False: 200, True: 101}
REFUSALS = {401, 403}


def check_answers(running: Running, kind: Kind, tokens: Tokens) -> None:
    """A good token must reach the upstream, and a peer that checks tokens must refuse each of the bad ones."""
    name = running.peer.name
    good = GOOD[kind.websocket]
    deadline = time.monotonic() + 10
    while (status := try_once(running.port, kind, tokens.good)) != good:
        if time.monotonic() > deadline:
            raise BenchError(f"{name} answers a good token with status {status or 'none, or a wrong answer'}")
        time.sleep(0.2)
    if try_once(running.port, kind, tokens.good, route=ROUTES - 1) != good:
        raise BenchError(f"{name} does not serve its last route")
    if not running.peer.checks_tokens:
        return
    for what, token in {**tokens.bad, "no token": None}.items():
        status = try_once(running.port, kind, token)
        if status not in REFUSALS:
            raise BenchError(f"{name} does not refuse {what}: it answers with status {status}")


def try_once(port: int, kind: Kind, token: str | None, route: int = 0) -> int:
    """The status of one reply; 0 for none, and for one that is not what the upstream sent."""
    path = path_of(kind, route)
    return try_websocket(port, path, token) if kind.websocket else try_request(port, path, token, kind.tls)


def try_request(port: int, path: str, token: str | None, tls: bool) -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    if tls:
        connection = http.client.HTTPSConnection(HOST, port, timeout=5, context=only_tls13())
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        reply = connection.getresponse()
        length = len(reply.read())
        return reply.status if reply.status != 200 or length == REPLY_BYTES else 0
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def only_tls13() -> ssl.SSLContext:
    """Trusts any certificate: what is measured here is not whom a client trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def cipher_suite(port: int) -> str:
    """What the peer chooses when it is offered what OpenSSL offers, which is what wrk offers too."""
    with only_tls13().wrap_socket(socket.create_connection((HOST, port), timeout=5)) as connection:
        cipher = connection.cipher()
        return cipher[0] if cipher else "unknown"


def try_websocket(port: int, path: str, token: str | None) -> int:
    try:
        status, connection = websocket.connect(port, path, token)
        if connection is None:
            return status
        with connection:
            return status if websocket.echoes(connection, os.urandom(MESSAGE_BYTES)) else 0
    except OSError:
        return 0


def run_slot(running: Running, load: Load, seconds: int) -> dict[str, float]:
    """Loads one peer for `seconds` and returns what it cost and gave."""
    figures = load.run(running.port, seconds, lambda: cpu_seconds(running.pid))
    if figures["faults"] or not figures["count"]:
        raise BenchError(f"{running.peer.name} failed under load: {figures['faults'] or 'nothing was answered'}")
    for log in running.logs:
        if log.exists():
            os.truncate(log, 0)
    return {
        "count": figures["count"],
        "cpu_us": figures["cpu"] * 1e6 / figures["count"],
        "per_second": figures["count"] / figures["seconds"],
        "p50_ms": figures["p50_us"] / 1000,
        "p99_ms": figures["p99_us"] / 1000,
        "busy": figures["cpu"] / figures["seconds"],
    }


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
