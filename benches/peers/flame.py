#!/usr/bin/env python3
"""Shows where Wardgate's time goes under the plain load: a flame graph, and a table of the parts.

Needs perf, llvm-symbolizer, nginx, wrk and openssl, which `scripts/setup.sh flame` gets, and the right to look into
the kernel: root, or kernel.perf_event_paranoid=1 and kernel.kptr_restrict=0.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import flame_svg
import measure
import parts
import peers
import report
import stacks
from certificate import make_certificate
from kinds import PLAIN
from load import Load
from processes import BenchError, Processes
from tokens import make_tokens

SETUP = "scripts/setup.sh flame"
# An odd rate keeps out of step with whatever happens every millisecond. Stacks are recorded as deep as perf can.
RATE, STACK_BYTES = 297, 65528
PEER = "wardgate"
TITLE = "Wardgate under plain HTTP/1.1: where CPU time goes"


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=12, help="how long it is watched (12)")
    parser.add_argument("--picture", type=Path, default=Path("flame.svg"), metavar="FILE", help="the graph (flame.svg)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this Markdown file")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    options = parse_arguments(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        for tool in ("perf", "llvm-symbolizer"):
            peers.program(tool, SETUP)
        with tempfile.TemporaryDirectory(prefix="flame-") as name:
            seen, slot = watch(Path(name), options.seconds)
        table = as_markdown(seen)
        print(table)
        options.picture.write_text(flame_svg.draw(seen, TITLE))
        print(f"\nwrote {options.picture}: {options.picture.stat().st_size // 1024} KiB")
        if options.write:
            try:
                report.write_section(options.write, "flame", table + "\n\n" + facts(seen, slot, options.seconds))
            except ValueError as error:
                raise BenchError(str(error)) from error
            print(f"wrote {options.write}")
    except BenchError as error:
        print(f"flame: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nflame: interrupted", file=sys.stderr)
        return 130
    return 0


def watch(folder: Path, seconds: int) -> tuple[stacks.Counter[stacks.Stack], dict[str, float]]:
    """Runs Wardgate under load with perf beside it; what perf saw, and what the load gave."""
    tokens = make_tokens(folder, lifetime=600 + 4 * seconds)
    processes = Processes(folder)
    # A copy of its own: a build that ends meanwhile would put another program in its place.
    binary = folder / "wardgate-measured"
    shutil.copy(peers.find_wardgate(), binary)
    try:
        upstream_port = peers.start_upstream(PLAIN, processes, folder)
        bench = peers.Bench(PLAIN, folder, tokens, make_certificate(folder), processes, upstream_port)
        running = peers.start_wardgate(bench, PEER, str(binary))
        measure.check_answers(running, PLAIN, tokens)
        load = Load(PLAIN, folder, tokens, processes.cores.rest)
        measure.run_slot(running, load, 2)
        record = folder / "perf.data"
        perf = start_perf(record, running.pid, seconds, processes.cores.rest)
        try:
            slot = measure.run_slot(running, load, seconds + 2)
        finally:
            output = perf.communicate(timeout=60)[0]
        if perf.returncode != 0:
            raise BenchError(f"perf could not record:\n{output}\nBe root, or set kernel.perf_event_paranoid=1")
    finally:
        processes.stop_all()
    return stacks.read_stacks(record, binary), slot


def start_perf(record: Path, pid: int, seconds: int, cores: set[int]) -> subprocess.Popen:
    argv = ["perf", "record", "-q", "-o", str(record), "-e", "cpu-clock", "-F", str(RATE)]
    argv += ["--call-graph", f"dwarf,{STACK_BYTES}", "-p", str(pid), "--", "sleep", str(seconds)]
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    finally:
        os.sched_setaffinity(0, everything)


def as_markdown(seen: stacks.Counter[stacks.Stack]) -> str:
    shares = parts.shares(seen)
    lines = ["| part | share of CPU time | of it for Wardgate's own work |", "| --- | ---: | ---: |"]
    lines += [f"| {one.part} | {one.share:.1%} | {one.asked_by_wardgate:.1%} |" for one in shares]
    asked = sum(one.asked_by_wardgate for one in shares)
    return "\n".join([*lines, f"| all | 100% | {asked:.1%} |"])


def facts(seen: stacks.Counter[stacks.Stack], slot: dict[str, float], seconds: int) -> str:
    wanted = ("Date", "CPU", "Kernel", "Load average at the start")
    machine = {name: value for name, value in report.machine_facts().items() if name in wanted}
    machine["Samples"] = f"{sum(seen.values()):,} in {seconds} s, {RATE} a second; busy {slot['busy']:.0%}"
    return "\n".join(f"- {name}: {value}" for name, value in machine.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
