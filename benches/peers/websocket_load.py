#!/usr/bin/env python3
"""Sends messages over open WebSockets, one at a time on each, and waits for the echo: a closed loop.

Usage: websocket_load.py PORT SECONDS CONNECTIONS BYTES PATH, where PATH has `{}` for the number of a route; the token
comes on the first line of standard input. It opens all connections, prints READY, begins at the next line of standard
input, and prints RESULT and its figures as JSON while the connections are still open.
"""

from __future__ import annotations

import json
import secrets
import select
import sys
import time

import websocket


class Channel:
    """One connection with the message that it sends again and again."""

    def __init__(self, port: int, path: str, token: str, length: int) -> None:
        payload = secrets.token_bytes(length)
        status, connection = websocket.connect(port, path, token)
        if connection is None:
            raise SystemExit(f"the handshake was answered with status {status}")
        if not websocket.echoes(connection, payload):
            raise SystemExit("the first message did not come back")
        self.connection = connection
        self.message = websocket.frame(payload, secrets.token_bytes(4))
        self.expected = websocket.frame(payload)
        self.got = b""
        self.sent_ns = 0

    def send(self) -> None:
        self.sent_ns = time.perf_counter_ns()
        self.connection.sendall(self.message)


def run(channels: list[Channel], seconds: float) -> dict[str, object]:
    poll = select.epoll()
    by_number = {channel.connection.fileno(): channel for channel in channels}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    waits: list[int] = []
    faults = {"wrong": 0, "closed": 0, "timeout": 0}
    begin = time.perf_counter_ns()
    end = begin + int(seconds * 1e9)
    now = begin
    for channel in channels:
        channel.send()
    waiting = len(channels)
    while waiting and not any(faults.values()):
        events = poll.poll(5)
        if not events:
            faults["timeout"] += 1
        for number, _ in events:
            channel = by_number[number]
            data = channel.connection.recv(65536)
            got = channel.got + data
            if got == channel.expected:
                now = time.perf_counter_ns()
                waits.append(now - channel.sent_ns)
                channel.got = b""
                if now < end:
                    channel.send()
                else:
                    waiting -= 1
            elif not data:
                faults["closed"] += 1
                break
            elif channel.expected.startswith(got):
                channel.got = got
            else:
                faults["wrong"] += 1
                break
    waits.sort()
    return {
        "count": len(waits),
        "seconds": (now - begin) / 1e9,
        "p50_us": waits[len(waits) // 2] / 1000 if waits else 0,
        "p99_us": waits[len(waits) * 99 // 100] / 1000 if waits else 0,
        "faults": {name: count for name, count in faults.items() if count},
    }


def main(argv: list[str]) -> None:
    port, seconds, connections, length, path = int(argv[0]), float(argv[1]), int(argv[2]), int(argv[3]), argv[4]
    token = sys.stdin.readline().strip()
    channels = [Channel(port, path.format(number), token, length) for number in range(connections)]
    print("READY", flush=True)
    sys.stdin.readline()
    print("RESULT", json.dumps(run(channels, seconds)), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1:])
