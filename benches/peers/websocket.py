"""As much of RFC 6455 as a measurement needs: the handshake, and binary messages of one frame each."""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket

HOST = "127.0.0.1"
KEY_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
BINARY, CLOSE = 0x2, 0x8
LONGEST = 0xFFFF
END_OF_HEAD = b"\r\n\r\n"


def accept_key(key: str) -> str:
    return base64.b64encode(hashlib.sha1((key + KEY_SUFFIX).encode()).digest()).decode()


def masked(payload: bytes, mask: bytes) -> bytes:
    """Masks a payload, or takes the mask off."""
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


def frame(payload: bytes, mask: bytes = b"", opcode: int = BINARY) -> bytes:
    """One final frame. What a client sends has a mask of 4 bytes, what a server sends has none."""
    mask_bit = 0x80 if mask else 0
    if len(payload) < 126:
        head = bytes([0x80 | opcode, mask_bit | len(payload)])
    else:
        head = bytes([0x80 | opcode, mask_bit | 126]) + len(payload).to_bytes(2, "big")
    return head + mask + (masked(payload, mask) if mask else payload)


def request(path: str, token: str | None, key: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    ]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join(lines).encode() + END_OF_HEAD


def connect(port: int, path: str, token: str | None) -> tuple[int, socket.socket | None]:
    """The status of the answer to a handshake and, if that is 101 with the right key, the open connection."""
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    connection = socket.create_connection((HOST, port), timeout=5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        connection.sendall(request(path, token, key))
        head = b""
        # An echo server speaks only when spoken to: nothing follows the head of a 101.
        while END_OF_HEAD not in head:
            more = connection.recv(4096)
            if not more:
                break
            head += more
    except OSError:
        head = b""
    words = head.split(maxsplit=2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    if status == 101 and accept_key(key).encode() in head:
        return status, connection
    connection.close()
    return (0 if status == 101 else status), None


def receive(connection: socket.socket, length: int) -> bytes:
    """Exactly that many bytes, or fewer if the other side closes."""
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            break
        data += more
    return data


def echoes(connection: socket.socket, payload: bytes) -> bool:
    """Whether one message comes back as it was sent."""
    connection.sendall(frame(payload, secrets.token_bytes(4)))
    expected = frame(payload)
    return receive(connection, len(expected)) == expected
