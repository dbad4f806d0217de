"""Statistics of a run, and the table on the terminal and in the documentation."""

from __future__ import annotations

import datetime
import os
import platform
import random
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from kinds import Kind

RESAMPLES = 5000
SEED = 20260101


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
    per_second: float
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
        others = {key: median(slot[key] for slot in slots) for key in ("per_second", "p50_ms", "p99_ms", "busy")}
        rows.append(Row(name, does, estimate([slot["cpu_us"] for slot in slots]), estimate(ratios), **others))
    return rows


def table(rows: list[Row], baseline: str, kind: Kind) -> list[list[str]]:
    words = ["peer", "what it does"]
    cost = [f"CPU µs/{kind.unit}", "95%", f"÷ {baseline}", "95%"]
    numbers = [*cost, f"{kind.units}/s", "p50 ms", "p99 ms", "busy"]
    return [words + numbers] + [
        [
            row.name,
            row.does,
            f"{row.cpu_us.middle:.1f}",
            f"{row.cpu_us.low:.1f}–{row.cpu_us.high:.1f}",
            f"{row.ratio.middle:.2f}",
            f"{row.ratio.low:.2f}–{row.ratio.high:.2f}",
            f"{row.per_second:,.0f}",
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


def section(rows: list[Row], baseline: str, kind: Kind, facts: dict[str, str], command: str) -> str:
    """The text between the markers."""
    return "\n".join(
        [
            as_markdown(table(rows, baseline, kind)),
            "",
            *(f"- {name}: {value}" for name, value in facts.items()),
            f"- Run again: `{command}`",
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


def write_section(path: Path, name: str, text: str) -> None:
    """Replaces what stands between the markers of that name in `path`."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = path.read_text() if path.exists() else ""
    before, found, rest = old.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{path} has no place for this table: put {begin} and {end} where it belongs")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")
