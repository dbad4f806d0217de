"""Draws call stacks as a flame graph: the wider a box, the more of the time; what it calls stands on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from html import escape

from parts import FRAMEWORK, HEADERS, MEMORY, part_of_frame
from stacks import KERNEL, Frame, Stack

WIDTH, ROW, MARGIN, HEAD = 980, 18, 10, 62
FONT = 11
LETTER = 6.2  # how wide a letter of that size is, on average
NARROWEST = 2.5
COLOURS = {
    "Wardgate": "#6fc3a8",
    FRAMEWORK: "#f3b46f",
    HEADERS: "#f4de86",
    MEMORY: "#cbaadb",
    "kernel": "#a9bfcc",
    "helpers": "#dcdcd6",
}


@dataclass
class Box:
    frame: Frame | None
    count: int = 0
    children: dict[Frame, Box] = field(default_factory=dict)


def draw(stacks: Counter[Stack], title: str) -> str:
    root = Box(None)
    for stack, count in stacks.items():
        box = root
        box.count += count
        for frame in stack:
            box = box.children.setdefault(frame, Box(frame))
            box.count += count
    scale = (WIDTH - 2 * MARGIN) / root.count
    rows = height(root, scale)
    bottom = HEAD + rows * ROW
    font = f'font-family="system-ui, sans-serif" font-size="{FONT}"'
    size = f'viewBox="0 0 {WIDTH} {bottom + MARGIN}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="t" {font}>',
        f'<title id="t">{escape(title)}</title>',
        f'<rect width="{WIDTH}" height="{bottom + MARGIN}" fill="#fff"/>',
        f'<text x="{MARGIN}" y="22" font-size="14">{escape(title)}</text>',
        *legend(),
        *boxes(root, MARGIN, bottom, scale, root.count),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def height(box: Box, scale: float) -> int:
    wide = [child for child in box.children.values() if child.count * scale >= NARROWEST]
    return 1 + max((height(child, scale) for child in wide), default=-1)


def legend() -> list[str]:
    lines, x = [], MARGIN
    for name, colour in COLOURS.items():
        lines.append(f'<rect x="{x}" y="34" width="12" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{x + 17}" y="44">{escape(name)}</text>')
        x += 40 + round(len(name) * LETTER)
    return lines


def boxes(parent: Box, left: float, bottom: float, scale: float, total: int) -> list[str]:
    """The boxes that stand on `parent`, by name, and what stands on them."""
    lines = []
    for frame, box in sorted(parent.children.items(), key=lambda item: item[0].label):
        width = box.count * scale
        if width < NARROWEST:
            continue
        top = bottom - ROW
        text = fitting(frame, width)
        lines.append(
            f"<g><title>{escape(frame.label)}: {box.count / total:.1%}</title>"
            f'<rect x="{left:.1f}" y="{top}" width="{max(width - 0.6, 0.6):.1f}" height="{ROW - 1}" rx="1" '
            f'fill="{colour_of(frame)}"/>'
            + (f'<text x="{left + 3:.1f}" y="{top + 12.5}">{escape(text)}</text>' if text else "")
            + "</g>"
        )
        lines += boxes(box, left, top, scale, total)
        left += width
    return lines


def fitting(frame: Frame, width: float) -> str:
    """The label, or the name, or the end of the name, or as much of that as there is room for."""
    room = int((width - 6) / LETTER)
    end = frame.name.rpartition("::")[2]
    for text in (frame.label, frame.name, end):
        if len(text) <= room:
            return text
    return end[: room - 1] + "…" if room >= 4 else ""


def colour_of(frame: Frame) -> str:
    if frame.path == KERNEL:
        return COLOURS["kernel"]
    part = part_of_frame(frame) or "helpers"
    return COLOURS.get(part.partition(":")[0], COLOURS["helpers"])
