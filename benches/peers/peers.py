"""The proxies that are compared: how each is found, configured and started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import configs
import wardgate_config
from certificate import Certificate
from kinds import Kind
from processes import HOST, BenchError, Processes, free_ports
from tokens import PATIENT, Tokens

ROOT = Path(__file__).resolve().parents[2]
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
SETUP = "scripts/setup.sh bench"
BUILD = "cargo build --release --features kafka --bin wardgate --example bare_pingora"
ECHO_SERVER = Path(__file__).with_name("echo_server.py")
ROUTES = 1000


@dataclass
class Bench:
    """What all peers share while one kind of traffic is measured."""

    kind: Kind
    folder: Path
    tokens: Tokens
    certificate: Certificate
    processes: Processes
    upstream_port: int

    def subfolder(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(mode=0o700)
        return path


@dataclass
class Running:
    """A peer under way; its logs may be emptied between slots, for they are opened for appending."""

    peer: Peer
    pid: int
    port: int
    logs: list[Path] = field(default_factory=list)


@dataclass
class Peer:
    name: str
    does: str
    checks_tokens: bool
    find: Callable[[], str]
    start: Callable[[Bench, str, str], Running]
    version: Callable[[str], str]

    def launch(self, bench: Bench) -> Running:
        return self.start(bench, self.name, self.find())


def program(name: str, remedy: str, *places: Path) -> str:
    """The first executable of that name: in `places`, then on the search path."""
    for place in places:
        if place.is_file() and os.access(place, os.X_OK):
            return str(place)
    found = None if remedy == BUILD else shutil.which(name, path=SEARCH_PATH)
    if found is None:
        raise BenchError(f"{name} is missing: run `{remedy}`")
    return found


def find_nginx() -> str:
    return program("nginx", SETUP)


def find_haproxy() -> str:
    return program("haproxy", SETUP)


def find_envoy() -> str:
    return program("envoy", SETUP, ROOT / ".tools" / "envoy")


def built(name: str, *subfolder: str) -> str:
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return program(name, BUILD, ROOT.joinpath(target, "release", *subfolder, name))


def find_wardgate() -> str:
    return built("wardgate")


def find_bare_pingora() -> str:
    return built("bare_pingora", "examples")


def path_of(kind: Kind, route: object) -> str:
    return f"/svc{route}/patients/{PATIENT}/{kind.resource}"


def start_upstream(kind: Kind, processes: Processes, folder: Path) -> int:
    """Starts the server behind all proxies, whose own cost is not counted, and returns its port."""
    (port,) = free_ports(1)
    if kind.websocket:
        processes.start("upstream", [sys.executable, str(ECHO_SERVER), str(port)], port, proxy=False)
        return port
    home = folder / "upstream"
    home.mkdir(mode=0o700)
    config = configs.nginx_upstream(home, port)
    processes.start("upstream", [find_nginx(), "-e", "stderr", "-p", str(home), "-c", str(config)], port, proxy=False)
    return port


def start_nginx(bench: Bench, name: str, binary: str) -> Running:
    (port,) = free_ports(1)
    home = bench.subfolder(name)
    config = configs.nginx_proxy(home, port, bench.upstream_port, bench.kind, bench.certificate)
    argv = [binary, "-e", "stderr", "-p", str(home), "-c", str(config)]
    return Running(PEERS[name], bench.processes.start(name, argv, port, proxy=True), port)


def start_haproxy(bench: Bench, name: str, binary: str) -> Running:
    (port,) = free_ports(1)
    config = configs.haproxy(
        bench.subfolder(name), port, bench.upstream_port, bench.tokens, bench.kind, bench.certificate
    )
    pid = bench.processes.start(name, [binary, "-db", "-f", str(config)], port, proxy=True)
    return Running(PEERS[name], pid, port, [bench.processes.output(name)])


def start_envoy(bench: Bench, name: str, binary: str) -> Running:
    (port,) = free_ports(1)
    home = bench.subfolder(name)
    access_log = home / "access.log"
    config = configs.envoy(home, port, bench.upstream_port, bench.tokens, access_log, bench.kind, bench.certificate)
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    pid = bench.processes.start(name, [binary, "-c", str(config), *options], port, proxy=True)
    return Running(PEERS[name], pid, port, [access_log])


def start_bare_pingora(bench: Bench, name: str, binary: str) -> Running:
    (port,) = free_ports(1)
    argv = [binary, f"{HOST}:{port}", f"{HOST}:{bench.upstream_port}"]
    if bench.kind.tls:
        argv += [str(bench.certificate.cert), str(bench.certificate.key)]
    return Running(PEERS[name], bench.processes.start(name, argv, port, proxy=True), port)


def start_wardgate(bench: Bench, name: str, binary: str) -> Running:
    port, telemetry_port = free_ports(2)
    config = wardgate_config.write_config(
        folder=bench.subfolder(name),
        jwks=bench.tokens.jwks,
        port=port,
        telemetry_port=telemetry_port,
        upstream_port=bench.upstream_port,
        routes=ROUTES,
        kind=bench.kind,
        certificate=bench.certificate,
        tier=wardgate_config.TIERS.get(name, "moderate"),
        assertion=name != "wardgate-no-assertion",
    )
    argv = wardgate_config.command(binary, config)
    return Running(PEERS[name], bench.processes.start(name, argv, port, proxy=True), port)


def printed(pattern: str, option: str) -> Callable[[str], str]:
    """Reads a version from what `BINARY OPTION` prints."""

    def read(binary: str) -> str:
        result = subprocess.run([binary, option], capture_output=True, text=True, timeout=20, check=False)
        match = re.search(pattern, result.stdout + result.stderr)
        return match.group(1) if match else "unknown"

    return read


def pingora_version(_binary: str) -> str:
    lock = (ROOT / "Cargo.lock").read_text()
    match = re.search(r'name = "pingora"\nversion = "([^"]+)"', lock)
    return f"pingora {match.group(1)}" if match else "unknown"


NGINX_VERSION = printed(r"nginx/(\S+)", "-v")
WRK_VERSION = printed(r"wrk (?:debian/)?(\S+)", "-v")
WARDGATE_VERSION = printed(r"wardgate (\S+)", "--version")

ALL = [
    Peer("nginx", "forwards", False, find_nginx, start_nginx, NGINX_VERSION),
    Peer(
        "haproxy",
        "RS256 by jwt_verify, iss, aud, exp, patient; httplog",
        True,
        find_haproxy,
        start_haproxy,
        printed(r"version (\S+)", "-v"),
    ),
    Peer(
        "envoy",
        "RS256 by jwt_authn with its cache, RBAC; JSON log",
        True,
        find_envoy,
        start_envoy,
        printed(r"version: \w+/([^/\s]+)/", "--version"),
    ),
    Peer("bare-pingora", "forwards", False, find_bare_pingora, start_bare_pingora, pingora_version),
    Peer(
        "wardgate",
        f"{ROUTES:,} routes, RS256, patient, audit written first, signed assertion",
        True,
        find_wardgate,
        start_wardgate,
        WARDGATE_VERSION,
    ),
    Peer(
        "wardgate-low",
        "the same in tier `low`: audit buffered",
        True,
        find_wardgate,
        start_wardgate,
        WARDGATE_VERSION,
    ),
    Peer(
        "wardgate-synced",
        "the same, audit on disk first",
        True,
        find_wardgate,
        start_wardgate,
        WARDGATE_VERSION,
    ),
    Peer(
        "wardgate-no-assertion",
        "as `wardgate`, without the assertion",
        True,
        find_wardgate,
        start_wardgate,
        WARDGATE_VERSION,
    ),
]
PEERS = {peer.name: peer for peer in ALL}


def select(names: list[str], kinds: list[Kind]) -> dict[str, list[Peer]]:
    """The named peers that each kind has, in the order of the kind; says at once everything that is missing."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise BenchError(f"unknown peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    chosen = {kind.name: [PEERS[name] for name in kind.peers if name in names] for kind in kinds}
    for kind, selected in chosen.items():
        if not selected:
            raise BenchError(f"none of these peers is measured with the kind {kind}")
    finds = [peer.find for selected in chosen.values() for peer in selected]
    missing = []
    for find in [find_nginx, find_wrk, find_openssl, *finds]:
        try:
            find()
        except BenchError as error:
            missing.append(str(error))
    if missing:
        raise BenchError("\n".join(dict.fromkeys(missing)))
    return chosen


def find_wrk() -> str:
    return program("wrk", SETUP)


def find_openssl() -> str:
    return program("openssl", SETUP)
