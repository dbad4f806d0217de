#!/usr/bin/env python3
"""Compares Wardgate's cost per request with that of other proxies, in turn, on this machine.

Each round measures every peer once, one after the other, so that noise meets all of them alike. What a request
costs is the CPU time of the proxy's own processes; ratios are taken round by round. Needs nginx, wrk and openssl,
and the proxies that are compared: `scripts/setup.sh bench` gets them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import measure
import peers
import report
from processes import BenchError, Processes
from tokens import make_tokens

BASELINE = "bare-pingora"
STARTUP_SECONDS = 10
QUIET_LOAD = 0.5


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=15, help="how often each peer is measured (15)")
    parser.add_argument("--seconds", type=positive, default=4, help="how long each measurement lasts (4)")
    parser.add_argument("--peers", default=",".join(peers.PEERS), help="which peers, in which order (%(default)s)")
    parser.add_argument("--baseline", help=f"the peer that ratios are taken against ({BASELINE}, else the first)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this Markdown file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every slot's figures here")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main(argv: list[str]) -> int:
    options = parse_arguments(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        names = list(dict.fromkeys(filter(None, options.peers.split(","))))
        selected = peers.select(names)
        baseline = options.baseline or (BASELINE if BASELINE in names else names[0])
        if baseline not in names:
            raise BenchError(f"the baseline {baseline} is not among the peers")
        with tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
            processes = Processes(Path(folder))
            try:
                facts, rounds = run(options, selected, processes)
            finally:
                processes.stop_all()
        publish(options, selected, baseline, facts, rounds)
    except BenchError as error:
        print(f"bench-peers: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbench-peers: interrupted", file=sys.stderr)
        return 130
    return 0


def run(options: argparse.Namespace, selected: list[peers.Peer], processes: Processes) -> tuple[dict, list[dict]]:
    facts = report.machine_facts() | {
        "Placement": processes.cores.describe(),
        "Load": f"wrk {peers.WRK_VERSION(peers.find_wrk())}, 1 thread, {measure.CONNECTIONS} keep-alive connections, "
        f"{peers.ROUTES:,} paths in turn",
        "Upstream": f"nginx {peers.NGINX_VERSION(peers.find_nginx())}, a fixed reply of {measure.REPLY_BYTES} bytes",
        "Versions": ", ".join(f"{peer.name} {peer.version(peer.find())}" for peer in selected),
        "Rounds": f"{options.rounds}, {options.seconds} s for each peer",
    }
    if os.getloadavg()[0] > QUIET_LOAD:
        print(f"warning: the machine is busy (load average {os.getloadavg()[0]:.2f}): expect noise", file=sys.stderr)

    slots = len(selected) * (options.rounds + 1)
    tokens = make_tokens(processes.folder, lifetime=600 + 2 * slots * options.seconds + STARTUP_SECONDS * len(selected))
    script = measure.write_load_script(processes.folder, tokens)
    bench = peers.Bench(processes.folder, tokens, processes, peers.start_upstream(processes, processes.folder))

    running = []
    for peer in selected:
        one = peer.launch(bench)
        try:
            measure.check_answers(one, tokens)
        except BenchError as error:
            raise BenchError(f"{error}; it printed:\n{processes.tail(peer.name)}") from error
        print(f"{peer.name}: answers as it must")
        running.append(one)

    for one in running:
        measure.run_slot(one, script, max(1, options.seconds // 2), processes.cores.rest)
    rounds = []
    for number in range(1, options.rounds + 1):
        rounds.append({})
        for one in running:
            slot = measure.run_slot(one, script, options.seconds, processes.cores.rest)
            rounds[-1][one.peer.name] = slot
            show_progress(number, options.rounds, one.peer.name, slot)
    return facts, rounds


def show_progress(number: int, total: int, name: str, slot: dict[str, float]) -> None:
    print(
        f"[{number:>{len(str(total))}}/{total}] {name:<22} {slot['cpu_us']:7.1f} µs/request {slot['rps']:9,.0f}/s  "
        f"p50 {slot['p50_ms']:.2f} ms  p99 {slot['p99_ms']:.2f} ms  busy {slot['busy']:.0%}",
        flush=True,
    )


def publish(
    options: argparse.Namespace, selected: list[peers.Peer], baseline: str, facts: dict[str, str], rounds: list[dict]
) -> None:
    rows = report.summarise({peer.name: peer.does for peer in selected}, rounds, baseline)
    print("\n" + report.as_text(report.table(rows, baseline)))
    names = ",".join(peer.name for peer in selected)
    command = f"python3 benches/peers/run.py --rounds {options.rounds} --seconds {options.seconds} --peers {names}"
    if options.baseline:
        command += f" --baseline {options.baseline}"
    if options.json:
        data = {"facts": facts, "command": command, "baseline": baseline, "rounds": rounds}
        options.json.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    if options.write:
        try:
            report.write_section(options.write, report.section(rows, baseline, facts, command))
        except ValueError as error:
            raise BenchError(str(error)) from error
        print(f"\nwrote {options.write}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
