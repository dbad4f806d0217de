#!/usr/bin/env python3
"""Compares Wardgate's cost per request with that of other proxies, in turn, on this machine.

Kinds of traffic are measured one after the other, each with a table of its own. Each round measures every peer once,
one after the other, so that noise meets all of them alike. What a request or an echo costs is the CPU time of the
proxy's own processes; ratios are taken round by round. Needs nginx, wrk and openssl, and the proxies that are
compared: `scripts/setup.sh bench` gets them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import measure
import peers
import report
from certificate import Certificate, make_certificate
from configs import REPLY_BYTES
from kinds import KINDS, Kind
from load import Load
from processes import BenchError, Processes
from tokens import Tokens, make_tokens

BASELINE = "bare-pingora"
STARTUP_SECONDS = 10
QUIET_LOAD = 0.5


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=15, help="how often each peer is measured (15)")
    parser.add_argument("--seconds", type=positive, default=2, help="how long each measurement lasts (2)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which kinds of traffic (%(default)s)")
    parser.add_argument("--peers", default=",".join(peers.PEERS), help="which peers (%(default)s)")
    parser.add_argument("--baseline", help=f"the peer that ratios are taken against ({BASELINE}, else the first)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this Markdown file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every slot's figures here")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def listed(text: str) -> list[str]:
    return list(dict.fromkeys(filter(None, text.split(","))))


@dataclass
class Measured:
    """What one kind of traffic gave."""

    kind: Kind
    selected: list[peers.Peer]
    baseline: str
    facts: dict[str, str]
    rounds: list[dict]


def main(argv: list[str]) -> int:
    options = parse_arguments(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        chosen = choose(options)
        if os.getloadavg()[0] > QUIET_LOAD:
            load = f"{os.getloadavg()[0]:.2f}"
            print(f"warning: the machine is busy (load average {load}): expect noise", file=sys.stderr)
        slots = sum(map(len, chosen.values())) * (options.rounds + 1)
        everything = []
        with tempfile.TemporaryDirectory(prefix="bench-peers-") as name:
            folder = Path(name)
            tokens = make_tokens(folder, lifetime=600 + slots * (2 * options.seconds + STARTUP_SECONDS))
            certificate = make_certificate(folder)
            for kind, selected in chosen.items():
                everything.append(measure_kind(options, KINDS[kind], selected, folder, tokens, certificate))
                publish(options, everything)
    except BenchError as error:
        print(f"bench-peers: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbench-peers: interrupted", file=sys.stderr)
        return 130
    return 0


def choose(options: argparse.Namespace) -> dict[str, list[peers.Peer]]:
    names, kinds = listed(options.peers), listed(options.kinds)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise BenchError(f"unknown kind {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if options.baseline and options.baseline not in names:
        raise BenchError(f"the baseline {options.baseline} is not among the peers")
    return peers.select(names, [KINDS[kind] for kind in kinds])


def measure_kind(
    options: argparse.Namespace,
    kind: Kind,
    selected: list[peers.Peer],
    folder: Path,
    tokens: Tokens,
    certificate: Certificate,
) -> Measured:
    names = [peer.name for peer in selected]
    baseline = next((name for name in (options.baseline, BASELINE) if name in names), names[0])
    print(f"\n{kind.title}:")
    home = folder / kind.name
    home.mkdir(mode=0o700)
    processes = Processes(home)
    load = Load(kind, home, tokens, processes.cores.rest)
    try:
        upstream_port = peers.start_upstream(kind, processes, home)
        bench = peers.Bench(kind, home, tokens, certificate, processes, upstream_port)
        running = [start(peer, bench) for peer in selected]
        facts = facts_of(options, bench, load, running)
        rounds = measure_rounds(options, load, running)
    finally:
        processes.stop_all()
    return Measured(kind, selected, baseline, facts, rounds)


def start(peer: peers.Peer, bench: peers.Bench) -> peers.Running:
    running = peer.launch(bench)
    try:
        measure.check_answers(running, bench.kind, bench.tokens)
    except BenchError as error:
        raise BenchError(f"{error}; it printed:\n{bench.processes.tail(peer.name)}") from error
    print(f"{peer.name}: answers as it must")
    return running


def measure_rounds(options: argparse.Namespace, load: Load, running: list[peers.Running]) -> list[dict]:
    for one in running:
        measure.run_slot(one, load, max(1, options.seconds // 2))
    rounds: list[dict] = []
    for number in range(1, options.rounds + 1):
        rounds.append({})
        for one in running:
            slot = measure.run_slot(one, load, options.seconds)
            rounds[-1][one.peer.name] = slot
            show_progress(f"[{number:>{len(str(options.rounds))}}/{options.rounds}]", load.kind, one.peer.name, slot)
    return rounds


def show_progress(where: str, kind: Kind, name: str, slot: dict[str, float]) -> None:
    print(
        f"{where} {name:<22} {slot['cpu_us']:7.1f} µs/{kind.unit} {slot['per_second']:9,.0f}/s  "
        f"p50 {slot['p50_ms']:.2f} ms  p99 {slot['p99_ms']:.2f} ms  busy {slot['busy']:.0%}",
        flush=True,
    )


def facts_of(
    options: argparse.Namespace, bench: peers.Bench, load: Load, running: list[peers.Running]
) -> dict[str, str]:
    facts = report.machine_facts() | {
        "Placement": bench.processes.cores.describe(),
        "Load": load.describe(peers.WRK_VERSION(peers.find_wrk())),
    }
    if bench.kind.websocket:
        facts["Upstream"] = "an echo server in Python"
    else:
        version = peers.NGINX_VERSION(peers.find_nginx())
        facts["Upstream"] = f"nginx {version}, without TLS, a fixed reply of {REPLY_BYTES} bytes"
    if bench.kind.tls:
        suites = {one.peer.name: measure.cipher_suite(one.port) for one in running}
        names = ", ".join(f"{name} {suite}" for name, suite in suites.items())
        facts["TLS"] = f"1.3, ECDSA P-256; {names if len(set(suites.values())) > 1 else next(iter(suites.values()))}"
    versions = {one.peer.name: one.peer.version(one.peer.find()) for one in running}
    facts["Versions"] = ", ".join(
        f"{name} {version}" for name, version in versions.items() if not name.startswith("wardgate-")
    )
    facts["Rounds"] = f"{options.rounds}, {options.seconds} s for each peer"
    return facts


def publish(options: argparse.Namespace, everything: list[Measured]) -> None:
    """Shows and writes what was measured last, so that a run that is broken off loses no more than it must."""
    last = everything[-1]
    rows = report.summarise({peer.name: peer.does for peer in last.selected}, last.rounds, last.baseline)
    print("\n" + report.as_text(report.table(rows, last.baseline, last.kind)))
    if options.json:
        data = {
            one.kind.name: {"facts": one.facts, "baseline": one.baseline, "rounds": one.rounds} for one in everything
        }
        options.json.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    if options.write:
        text = report.section(rows, last.baseline, last.kind, last.facts, command(options, last.kind))
        try:
            report.write_section(options.write, f"bench-peers:{last.kind.name}", text)
        except ValueError as error:
            raise BenchError(str(error)) from error
        print(f"\nwrote {options.write}")


def command(options: argparse.Namespace, kind: Kind) -> str:
    words = f"python3 benches/peers/run.py --rounds {options.rounds} --seconds {options.seconds} --kinds {kind.name}"
    if options.peers != ",".join(peers.PEERS):
        words += f" --peers {options.peers}"
    if options.baseline:
        words += f" --baseline {options.baseline}"
    return words


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
