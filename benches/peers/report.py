"""Statistics of a run, and the table on the terminal and in the documentation."""

from __future__ import annotations

import datetime
import os
import platform
import random
from dataclasses import dataclass
from pathlib import Path
from statistics import median

BEGIN, END = "<!-- bench-peers:begin -->", "<!-- bench-peers:end -->"
RESAMPLES = 5000
SEED = 20260101
NEW_FILE = "# Performance\n"
NEW_SECTION = "\n## Compared with other proxies\n\n"


@dataclass
class Estimate:
    """A median over the rounds with its bootstrap 95% interval."""

    middle: float
    low: float
    high: float


@dataclass
class Row:
    name: str
    does: str
    cpu_us: Estimate
    ratio: Estimate
    rps: float
    p50_ms: float
    p99_ms: float
    busy: float


def estimate(values: list[float]) -> Estimate:
    """Resamples the rounds with a fixed seed: the same data give the same interval."""
    chance = random.Random(SEED)
    middles = sorted(median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return Estimate(median(values), middles[int(0.025 * RESAMPLES)], middles[int(0.975 * RESAMPLES) - 1])


def summarise(peers: dict[str, str], rounds: list[dict[str, dict]], baseline: str) -> list[Row]:
    """`peers` maps a name to what it does; `rounds` holds the slot of each name. Ratios pair slots of one round."""
    rows = []
    for name, does in peers.items():
        slots = [slots[name] for slots in rounds]
        ratios = [slots[name]["cpu_us"] / slots[baseline]["cpu_us"] for slots in rounds]
        others = {key: median(slot[key] for slot in slots) for key in ("rps", "p50_ms", "p99_ms", "busy")}
        rows.append(Row(name, does, estimate([slot["cpu_us"] for slot in slots]), estimate(ratios), **others))
    return rows


def table(rows: list[Row], baseline: str) -> list[list[str]]:
    words = ["peer", "what it does"]
    numbers = ["CPU µs/request", "95%", f"÷ {baseline}", "95%", "requests/s", "p50 ms", "p99 ms", "busy"]
    return [words + numbers] + [
        [
            row.name,
            row.does,
            f"{row.cpu_us.middle:.1f}",
            f"{row.cpu_us.low:.1f}–{row.cpu_us.high:.1f}",
            f"{row.ratio.middle:.2f}",
            f"{row.ratio.low:.2f}–{row.ratio.high:.2f}",
            f"{row.rps:,.0f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.busy:.0%}",
        ]
        for row in rows
    ]


def as_text(lines: list[list[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(map(align, range(len(line)), line, widths)) for line in lines)


def align(column: int, cell: str, width: int) -> str:
    """The first two columns are words, the others numbers."""
    return cell.ljust(width) if column < 2 else cell.rjust(width)


def as_markdown(lines: list[list[str]]) -> str:
    rule = ["---", "---"] + ["---:"] * (len(lines[0]) - 2)
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def section(rows: list[Row], baseline: str, facts: dict[str, str], command: str) -> str:
    """The text between the markers."""
    return "\n".join(
        [
            as_markdown(table(rows, baseline)),
            "",
            "CPU time counts every thread and worker of the proxy, in user and kernel. Figures are medians over the",
            "rounds with bootstrap 95% intervals; a ratio compares slots of the same round, so noise that slows all",
            "peers cancels. `busy` is the share of one core that the proxy got: well below 100%, something else was",
            "the limit (the load generator, the upstream, other programs), and requests/s and latency say little about",
            "the proxy. The load is a closed loop, so latency is that of a proxy under all the load it can take.",
            "",
            *(f"- {name}: {value}" for name, value in facts.items()),
            "",
            "Measured with:",
            "",
            "```sh",
            command,
            "```",
        ]
    )


def machine_facts() -> dict[str, str]:
    return {
        "Date": datetime.date.today().isoformat(),
        "CPU": f"{cpu_model()}, {len(os.sched_getaffinity(0))} core(s)",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Load average at the start": f"{os.getloadavg()[0]:.2f}",
    }


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def write_section(path: Path, text: str) -> None:
    """Replaces what stands between the markers in `path`, or adds a section with markers at its end."""
    old = path.read_text() if path.exists() else NEW_FILE
    block = f"{BEGIN}\n{text}\n{END}"
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        new = before + block + after
    elif begin or END in old:
        raise ValueError(f"{path} has only one of the markers {BEGIN} and {END}")
    else:
        new = old.rstrip("\n") + "\n" + NEW_SECTION + block + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(new)
