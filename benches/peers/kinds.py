"""The kinds of traffic that are measured, each with a table of its own."""

from __future__ import annotations

from dataclasses import dataclass

ALL_PROXIES = ("nginx", "haproxy", "envoy", "bare-pingora", "wardgate")


@dataclass(frozen=True)
class Kind:
    """`unit` is what is counted; `resource` ends the paths, so that no rule fits two kinds by accident."""

    name: str
    title: str
    unit: str
    units: str
    peers: tuple[str, ...]
    resource: str = "results"
    tls: bool = False
    websocket: bool = False


VARIANTS = ("wardgate-low", "wardgate-synced", "wardgate-no-assertion")
PLAIN = Kind("plain", "plain HTTP/1.1", "request", "requests", (*ALL_PROXIES, *VARIANTS))
TLS = Kind("tls", "HTTP/1.1 over TLS 1.3", "request", "requests", ALL_PROXIES, tls=True)
WEBSOCKET = Kind("websocket", "WebSocket", "echo", "echoes", ALL_PROXIES, resource="live", websocket=True)

KINDS = {kind.name: kind for kind in (PLAIN, TLS, WEBSOCKET)}
