#!/usr/bin/env python3
"""A WebSocket server that sends every message back: what stands behind the proxies, and is not counted itself.

Usage: echo_server.py PORT
"""

from __future__ import annotations

import select
import socket
import sys

from websocket import CLOSE, END_OF_HEAD, HOST, accept_key, frame, masked

READ_BYTES = 65536


class Peer:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.open = False
        self.rest = b""

    def read(self) -> bool:
        """Answers what has come; false when the connection is over."""
        try:
            data = self.connection.recv(READ_BYTES)
            if not data:
                return False
            self.rest, data = b"", self.rest + data
            if not self.open:
                return self.shake_hands(data)
            replies, used, goes_on = reply(data)
            self.rest = data[used:]
            if replies:
                self.connection.sendall(replies)
            return goes_on
        except OSError:
            return False

    def shake_hands(self, data: bytes) -> bool:
        head, end, self.rest = data.partition(END_OF_HEAD)
        if not end:
            self.rest = data
            return True
        fields = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:]]
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        if headers.get("upgrade", "").lower() != "websocket":
            self.connection.sendall(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        accept = accept_key(headers.get("sec-websocket-key", ""))
        self.connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + END_OF_HEAD
        )
        self.open = True
        return True


def reply(data: bytes) -> tuple[bytes, int, bool]:
    """The answer to all whole frames, how many bytes these took, and whether more may follow.

    Handles messages of one masked frame up to 64 KiB; anything else ends the connection.
    """
    replies: list[bytes] = []
    at = 0
    while len(data) >= at + 2:
        first, second = data[at], data[at + 1]
        length, start = second & 0x7F, at + 2
        if not second & 0x80 or not first & 0x80 or length == 127:
            return b"".join(replies), at, False
        if length == 126:
            if len(data) < start + 2:
                break
            length, start = int.from_bytes(data[start : start + 2], "big"), start + 2
        end = start + 4 + length
        if len(data) < end:
            break
        opcode = first & 0x0F
        replies.append(frame(masked(data[start + 4 : end], data[start : start + 4]), opcode=opcode))
        at = end
        if opcode == CLOSE:
            return b"".join(replies), at, False
    return b"".join(replies), at, True


def serve(port: int) -> None:
    listener = socket.create_server((HOST, port), backlog=1024)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    peers: dict[int, Peer] = {}
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(5)
                peers[connection.fileno()] = Peer(connection)
                poll.register(connection, select.EPOLLIN)
            elif not peers[number].read():
                poll.unregister(number)
                peers.pop(number).connection.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
