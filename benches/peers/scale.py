#!/usr/bin/env python3
"""Measures 1, 2 and 4 gateways that share one Redis, for the model of docs/capacity.md.

All are on this machine and want its processors, so what is told is what a request costs: CPU time of the gateways and of
Redis, in turn, round by round. Were there something that gateways wait for among themselves, or that Redis does more of for
each of many, it would show there.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import peers
import report
import wardgate_config
from certificate import make_certificate
from kinds import PLAIN
from load import Load
from measure import cpu_seconds, try_once
from processes import HOST, BenchError, Processes, free_ports
from tokens import make_tokens

COUNTS = (1, 2, 4)
SETUP = "scripts/setup.sh test"
STATE = """\
state:
  store: redis
  redis: {{ urls: ["redis://127.0.0.1:{port}"], timeout: 1s }}
  encryption_keys: [{{ id: k1, file: "{key}" }}]
"""


@dataclass
class Figures:
    gateway_us: list[float]
    redis_us: list[float]
    commands: list[float]
    journal_bytes: list[float]
    per_second: list[float]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each number of gateways is measured (7)")
    parser.add_argument("--seconds", type=int, default=3, help="how long each measurement lasts (3)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this Markdown file")
    options = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="scale-") as name:
            table = as_markdown(measure(Path(name), options.rounds, options.seconds))
        table += f"\n\n- Rounds: {options.rounds}, {options.seconds} s each; 32 connections to each gateway"
        print(table)
        if options.write:
            report.write_section(options.write, "scale", table)
    except BenchError as error:
        print(f"scale: {error}", file=sys.stderr)
        return 1
    return 0


def measure(folder: Path, rounds: int, seconds: int) -> dict[int, Figures]:
    tokens = make_tokens(folder, lifetime=600 + rounds * len(COUNTS) * (seconds + 5))
    processes = Processes(folder)
    # Everything may run everywhere: with several gateways there is no processor for each.
    processes.cores.proxy = processes.cores.rest = processes.cores.all
    try:
        upstream = peers.start_upstream(PLAIN, processes, folder)
        redis_port, redis = start_redis(processes, folder)
        gateways = [start_gateway(processes, folder, tokens, upstream, redis_port, number) for number in range(max(COUNTS))]
        for port, _ in gateways:
            if try_once(port, PLAIN, tokens.good) != 200:
                raise BenchError("a gateway does not serve")
        found = {count: Figures([], [], [], [], []) for count in COUNTS}
        for number in range(rounds):
            for count in COUNTS:
                one(found[count], gateways[:count], (redis_port, redis), folder, tokens, seconds)
                print(f"[{number + 1}/{rounds}] {count}: {found[count].gateway_us[-1]:.1f} µs", file=sys.stderr)
        return found
    finally:
        processes.stop_all()


def start_redis(processes: Processes, folder: Path) -> tuple[int, int]:
    (port,) = free_ports(1)
    home = folder / "redis"
    home.mkdir()
    argv = [peers.program("redis-server", SETUP), "--port", str(port), "--bind", HOST, "--dir", str(home)]
    argv += ["--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"]
    return port, processes.start("redis", argv, port, proxy=False)


def start_gateway(
    processes: Processes, folder: Path, tokens, upstream: int, redis_port: int, number: int
) -> tuple[int, int]:
    port, telemetry = free_ports(2)
    home = folder / f"gateway-{number}"
    home.mkdir()
    key = folder / "k1"
    key.write_text("1" * 64)
    config = wardgate_config.write_config(
        folder=home,
        jwks=tokens.jwks,
        port=port,
        telemetry_port=telemetry,
        upstream_port=upstream,
        routes=peers.ROUTES,
        kind=PLAIN,
        certificate=make_certificate(home),
        tier="moderate",
        assertion=True,
    )
    state = STATE.format(port=redis_port, key=key)
    config.write_text(config.read_text().replace("routes:\n", state + "routes:\n", 1))
    name = f"gateway-{number}"
    pid = processes.start(name, wardgate_config.command(peers.find_wardgate(), config), port, proxy=True)
    return port, pid


def commands(port: int) -> int:
    """How many commands Redis has carried out."""
    asked = subprocess.run(
        ["redis-cli", "-p", str(port), "INFO", "stats"], capture_output=True, text=True, check=True, timeout=10
    )
    (line,) = (line for line in asked.stdout.splitlines() if line.startswith("total_commands_processed:"))
    return int(line.split(":")[1])


def journal_bytes(folder: Path) -> int:
    """How long the audit trails of all gateways are."""
    return sum(path.stat().st_size for path in folder.glob("gateway-*/audit/*.jsonl"))


def one(figures: Figures, gateways: list, redis: tuple[int, int], folder: Path, tokens, seconds: int) -> None:
    """Loads so many gateways at once."""
    redis_port, redis_pid = redis
    before = (sum(cpu_seconds(pid) for _, pid in gateways), cpu_seconds(redis_pid), commands(redis_port))
    recorded = journal_bytes(folder)
    results: list[dict] = []

    def load(port: int) -> None:
        results.append(Load(PLAIN, folder, tokens, set()).run(port, seconds, lambda: 0.0))

    clients = [threading.Thread(target=load, args=(port,)) for port, _ in gateways]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    if len(results) < len(gateways) or any(any(result["faults"].values()) for result in results):
        raise BenchError(f"requests failed: {results}")
    count = sum(result["count"] for result in results)
    figures.gateway_us.append((sum(cpu_seconds(pid) for _, pid in gateways) - before[0]) * 1e6 / count)
    figures.redis_us.append((cpu_seconds(redis_pid) - before[1]) * 1e6 / count)
    figures.commands.append((commands(redis_port) - before[2]) / count)
    figures.journal_bytes.append((journal_bytes(folder) - recorded) / count)
    figures.per_second.append(sum(result["count"] / result["seconds"] for result in results))


def as_markdown(found: dict[int, Figures]) -> str:
    lines = [
        "| gateways | CPU µs/request, gateways | ÷ one gateway | CPU µs/request, Redis | Redis commands/request | audit bytes/request | requests/s in all |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    alone = found[COUNTS[0]].gateway_us
    for count, figures in found.items():
        ratio = statistics.median(each / one for each, one in zip(figures.gateway_us, alone, strict=True))
        values = [statistics.median(each) for each in (figures.gateway_us, figures.redis_us, figures.commands, figures.journal_bytes, figures.per_second)]
        lines.append(f"| {count} | {values[0]:.1f} | {ratio:.2f} | {values[1]:.1f} | {values[2]:.2f} | {values[3]:,.0f} | {values[4]:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
