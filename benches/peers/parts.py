"""Says to which part of the work a call stack belongs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from stacks import ALLOCATOR, KERNEL, Frame, Stack

SOCKETS, FILES, WAITING = "kernel: sockets", "kernel: the journal's file", "kernel: epoll, interrupts and the rest"
FRAMEWORK, HEADERS, MEMORY, TLS, OTHER = "Pingora and tokio", "HTTP headers", "allocator", "TLS", "other"

# The first line that a frame begins with decides, so narrow ones stand before wide ones.
RULES = [
    ("wardgate::request", "Wardgate: facts of the request"),
    ("wardgate::policy::index", "Wardgate: finding the route"),
    ("wardgate::policy::tree", "Wardgate: finding the route"),
    ("wardgate::policy", "Wardgate: decision"),
    ("wardgate::decision", "Wardgate: decision"),
    ("wardgate::identity", "Wardgate: token"),
    ("wardgate::keys", "Wardgate: token"),
    ("wardgate::state", "Wardgate: token"),
    ("wardgate::serve::assertion", "Wardgate: signed assertion"),
    ("wardgate::enforce::record", "Wardgate: audit record"),
    ("wardgate::enforce::settle", "Wardgate: audit record"),
    ("wardgate::audit", "Wardgate: audit record"),
    ("wardgate::serve::trace", "Wardgate: trace context"),
    ("wardgate::serve::otlp", "Wardgate: trace context"),
    ("wardgate::telemetry", "Wardgate: metrics"),
    ("wardgate::serve::telemetry", "Wardgate: metrics"),
    ("prometheus", "Wardgate: metrics"),
    ("wardgate::serve::upstream", "Wardgate: request to the upstream"),
    ("wardgate::serve::delivery", "Wardgate: request to the upstream"),
    ("wardgate::serve::watched", "Wardgate: watched connections"),
    ("wardgate::serve::edge", "Wardgate: watched connections"),
    ("wardgate::serve::pace", "Wardgate: watched connections"),
    ("wardgate::serve::goodbye", "Wardgate: watched connections"),
    ("wardgate::serve::request_line", "Wardgate: watched connections"),
    ("wardgate::enforce", "Wardgate: gate"),
    ("wardgate", "Wardgate: the rest"),
    ("pingora_http", HEADERS),
    ("httparse", HEADERS),
    ("http", HEADERS),
    ("rustls", TLS),
    ("tokio_rustls", TLS),
    ("pingora", FRAMEWORK),
    ("tokio", FRAMEWORK),
    ("mio", FRAMEWORK),
]
# Wardgate's wrappers around what Pingora does anyway: a call through them is still Pingora's own.
WRAPPERS = (
    "wardgate::serve::watched",
    "wardgate::serve::edge",
    "wardgate::serve::door",
    "wardgate::serve::http1",
    "wardgate::app",
    "wardgate::main",
    "wardgate::cli",
)
SOCKET_CALLS = ("send", "recv", "write", "read", "sock", "peername", "accept", "shutdown")
WHOLE_CRATES = {"http", "httparse", "rustls", "tokio", "mio", "prometheus"}


@dataclass
class Share:
    part: str
    share: float
    asked_by_wardgate: float


def part_of(stack: Stack) -> str:
    """What the innermost frame that belongs anywhere belongs to; helpers count for who called them."""
    if stack[-1].path == KERNEL:
        return kernel_part(stack)
    return next((part for frame in reversed(stack) if (part := part_of_frame(frame))), OTHER)


def part_of_frame(frame: Frame) -> str | None:
    if frame.path == ALLOCATOR:
        return MEMORY
    return next((part for prefix, part in RULES if begins(frame, prefix)), None)


def kernel_part(stack: Stack) -> str:
    names = " ".join(frame.name for frame in stack if frame.path == KERNEL)
    if names.startswith("interrupt") or "epoll" in names:
        return WAITING
    if any(frame.path.startswith("wardgate::audit") for frame in stack):
        return FILES
    return SOCKETS if any(word in names for word in SOCKET_CALLS) else WAITING


def begins(frame: Frame, prefix: str) -> bool:
    if prefix in WHOLE_CRATES:
        return frame.crate == prefix
    return frame.path.startswith(prefix)


def asked_by_wardgate(stack: Stack) -> bool:
    """Whether it is Wardgate's own work, or was called by it, and not by Pingora, which does it in a bare proxy too."""
    if part_of(stack).startswith("Wardgate"):
        return True
    for frame in reversed(stack):
        if frame.crate == "wardgate" and not frame.path.startswith(WRAPPERS):
            return True
        if frame.crate.startswith("pingora") and frame.crate not in ("pingora_http", "pingora_error"):
            return False
    return False


def shares(stacks: Counter[Stack]) -> list[Share]:
    """Each part's share of all samples, and how much of it Wardgate's own work asked for; the largest first."""
    total = sum(stacks.values())
    whole: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for stack, count in stacks.items():
        part = part_of(stack)
        whole[part] += count
        asked[part] += count if asked_by_wardgate(stack) else 0
    return [Share(part, count / total, asked[part] / total) for part, count in whole.most_common()]
