"""Reads call stacks from what `perf record` wrote, with inlined functions, under names that a person can read."""

from __future__ import annotations

import re
import struct
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from processes import BenchError

KERNEL, LIBC, ALLOCATOR, UNKNOWN = "kernel", "libc", "allocator", ""

# Below these there is only what every task of every program has.
OUTERMOST = re.compile(r"^(wardgate|pingora)")
# Nearly every stack begins with these, or ends before them where it is too deep to be recorded whole.
TRUNK = re.compile(r"(^|::)(run_endpoint|process_new(_http)?|block_on|enter_runtime|set|call_once|start)$")
# What says nothing about where time goes: its own time counts for its caller.
SILENT = {"core", "alloc", "std", "hashbrown", "smallvec", "memchr", "itoa", UNKNOWN}
ALLOCATORS = re.compile(r"^(mi_|_mi_|__rust_|__rg_|__rustc|malloc|free|calloc|realloc|cfree|_int_(malloc|free))")
FRAMEWORK = re.compile(r"^(tokio|pingora)")
# Layers of streams and futures that only hand a call on.
HANDED_ON = re.compile(r"(^|::)(poll|poll_flush|poll_write|poll_read|poll_write_vectored|flush_buf)$")
# The kernel's functions that are worth a box, in words. All other functions count for the one around them.
KERNEL_NAMES = {
    "tcp_sendmsg": "TCP: send",
    "tcp_recvmsg": "TCP: receive",
    "__ip_queue_xmit": "IP: send",
    "tcp_v4_rcv": "TCP: deliver to the other side",
    "sock_def_readable": "wake the other side",
    "ext4_buffered_write_iter": "ext4: write",
    "ep_send_events": "epoll: collect events",
    "schedule": "wait",
}
SYSTEM_CALL = re.compile(r"^(?:__x64_sys_|__arm64_sys_|__sys_|ksys_)(\w+)$")
INTERRUPT = re.compile(r"^asm_(sysvec|common_interrupt|exc)")
LINE = re.compile(r"^\s+([0-9a-f]+) (.*) \((.*)\)$")
CRATE_FILE = re.compile(r"/registry/src/[^/]+/([A-Za-z0-9_-]+?)-\d[^/]*/(?:src/)?(.*)$")
LIBRARY_FILE = re.compile(r"/library/(core|alloc|std)/src/(.*)$")
DEPENDENCY_OF_STD = re.compile(r"/rust/deps/([A-Za-z0-9_-]+?)-\d")
OWN_FILE = re.compile(r"/src/((?:[^/]+/)*[^/]+\.rs)$")


@dataclass(frozen=True)
class Frame:
    """`path` is the crate and its modules, like `wardgate::policy::index`; or KERNEL, LIBC, ALLOCATOR."""

    path: str
    name: str
    inlined: bool = False

    @property
    def crate(self) -> str:
        return self.path.partition("::")[0]

    @property
    def label(self) -> str:
        if self.path in (KERNEL, LIBC, ALLOCATOR):
            return self.name
        if self.crate == "wardgate":
            return f"{self.path.removeprefix('wardgate::')}::{self.name}"
        return f"{self.crate}::{self.name}"


Stack = tuple[Frame, ...]


def read_stacks(record: Path, binary: Path) -> Counter[Stack]:
    """How often each stack was seen, the outermost frame first."""
    printed = run(["perf", "script", "-i", str(record), "--no-inline", "-F", "ip,sym,dso"])
    raw = [
        [match.groups() for line in block.splitlines() if (match := LINE.match(line))]
        for block in printed.split("\n\n")
    ]
    inside = symbolise(
        binary, {address: symbol for stack in raw for address, symbol, where in stack if where == str(binary)}
    )
    stacks: Counter[Stack] = Counter()
    for stack in raw:
        frames: list[Frame] = []
        for address, symbol, where in stack:
            frames += inside[address] if where == str(binary) else [outside(symbol, where)]
        if frames:
            stacks[tidy(frames[::-1])] += 1
    return stacks


def run(argv: list[str], data: str = "") -> str:
    result = subprocess.run(argv, input=data, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BenchError(f"{argv[0]} failed:\n{result.stderr.strip()}")
    return result.stdout


def symbolise(binary: Path, places: dict[str, str]) -> dict[str, list[Frame]]:
    """The frames at each offset of the file, the innermost first: inlined functions, then the one they are in.

    `places` has the symbol that perf found at each offset. It names the outermost function in full; the debug
    information of a release build has bare names.
    """
    segments = executable_segments(binary)
    addresses = [hex(virtual_address(int(offset, 16), segments)) for offset in places]
    printed = run(["llvm-symbolizer", f"--obj={binary}", "--inlines", "--functions"], "\n".join(addresses) + "\n")
    blocks = [block.splitlines() for block in printed.strip("\n").split("\n\n")]
    if len(blocks) != len(places):
        raise BenchError(f"llvm-symbolizer answered {len(blocks)} of {len(places)} questions")
    frames = {}
    for (offset, symbol), lines in zip(places.items(), blocks):
        pairs = list(zip(lines[::2], lines[1::2]))
        inlined = [inlined_frame(name, re.sub(r"(:\d+)+$", "", file)) for name, file in pairs[:-1]]
        frames[offset] = [*inlined, symbol_frame(symbol)]
    return frames


def executable_segments(binary: Path) -> list[tuple[int, int, int]]:
    """Offset, address and size of what is loaded to be executed (64-bit little-endian ELF)."""
    data = binary.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise BenchError(f"{binary.name} is not a 64-bit ELF file")
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    headers = (struct.unpack_from("<IIQQQQ", data, table + index * size) for index in range(count))
    return [(offset, address, length) for kind, flags, offset, address, _, length in headers if kind == 1 and flags & 1]


def virtual_address(offset: int, segments: list[tuple[int, int, int]]) -> int:
    """perf names places by their offset in the file, debug information by their address."""
    for start, address, length in segments:
        if start <= offset < start + length:
            return offset - start + address
    return offset


def inlined_frame(name: str, file: str) -> Frame:
    """Inlined functions come with their bare name: their file tells where they belong."""
    if ALLOCATORS.match(name) or "mimalloc" in file:
        return Frame(ALLOCATOR, "allocate and free", True)
    return Frame(path_of_file(file), bare(name), True)


def symbol_frame(name: str) -> Frame:
    if ALLOCATORS.match(name):
        return Frame(ALLOCATOR, "allocate and free")
    if "::" not in name:
        crypto = re.match(r"(aws_lc)_\d+_\d+_\d+_|ring_core_", name)
        return Frame("aws_lc" if crypto else UNKNOWN, bare(name))
    return Frame(*split_name(name))


def path_of_file(file: str) -> str:
    if match := LIBRARY_FILE.search(file):
        return match.group(1)
    if match := DEPENDENCY_OF_STD.search(file):
        return match.group(1).replace("-", "_")
    if match := CRATE_FILE.search(file):
        return "::".join([match.group(1).replace("-", "_"), *modules(match.group(2))])
    if match := OWN_FILE.search(file):
        return "::".join(["wardgate", *modules(match.group(1))])
    return UNKNOWN


def modules(file: str) -> list[str]:
    parts = file.removesuffix(".rs").split("/")
    return parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts


def bare(name: str) -> str:
    """Without type parameters, closures and what compilers add to names."""
    name = re.sub(r"aws_lc_\d+_\d+_\d+_", "", name)
    name = re.sub(r"::h[0-9a-f]{16}$|\.llvm\.\d+|\{\{?[^{}]*\}?\}|@.*$", "", without_angles(name))
    return re.sub(r"(::)+", "::", name).strip(":_ ")


def without_angles(name: str) -> str:
    kept, depth = [], 0
    for before, letter in zip(" " + name, name):
        if letter == "<":
            depth += 1
        elif letter == ">" and before != "-":
            depth -= 1
        elif depth == 0:
            kept.append(letter)
    return "".join(kept)


def split_name(name: str) -> tuple[str, str]:
    """`<a::b::C<T> as d::E>::f::{{closure}}` is `C::f` of `a::b`; for a type parameter it is `E::f` of `d`."""
    for _ in range(4):
        if not name.startswith("<"):
            break
        inner, rest = first_group(name)
        kind, found, interface = split_outside(inner, " as ")
        if not found:
            kind, found, interface = split_outside(inner.removeprefix("impl "), " for ")
            kind = interface if found else kind
        elif "::" not in without_angles(kind) and not kind.startswith("<"):
            kind = interface
        name = re.sub(r"^(&(mut )?|dyn |\(dyn )+", "", kind) + rest
    # `a::b::<impl d::E for c::C>::f` is written in module b: what C is called is enough.
    name = re.sub(r"<impl (?:.* for )?([\w:]+)[^>]*>+(?=::|$)", lambda match: match.group(1).rpartition("::")[2], name)
    parts = [part for part in bare(name).split("::") if part not in ("", "_")]
    if not parts:
        return UNKNOWN, ""
    types = [index for index, part in enumerate(parts) if part[:1].isupper()]
    cut = types[-1] if types else len(parts) - 1
    return "::".join(parts[:cut]) or parts[0], "::".join(parts[cut:])


def first_group(name: str) -> tuple[str, str]:
    depth = 0
    for index, letter in enumerate(name):
        if letter == "<":
            depth += 1
        elif letter == ">" and name[index - 1] != "-":
            depth -= 1
            if depth == 0:
                return name[1:index], name[index + 1 :]
    return name[1:], ""


def split_outside(text: str, word: str) -> tuple[str, str, str]:
    """Splits at the first `word` that stands in no angle brackets."""
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == "<") - (letter == ">" and text[index - 1] != "-")
        if depth == 0 and text.startswith(word, index):
            return text[:index], word, text[index + len(word) :]
    return text, "", ""


def outside(symbol: str, where: str) -> Frame:
    """A frame of the kernel or of a shared library."""
    name = symbol.partition("+")[0]
    if "kernel" in where or where.endswith(".ko"):
        return Frame(KERNEL, name)
    if "vdso" in where:
        return Frame(LIBC, "read the clock")
    if ALLOCATORS.match(name):
        return Frame(ALLOCATOR, "allocate and free")
    if match := re.search(r"mem(cpy|move|set|cmp|chr)", name):
        return Frame(LIBC, match.group(0))
    return Frame(UNKNOWN, "")


def tidy(frames: list[Frame]) -> Stack:
    """Leaves out what every stack has and what says nothing; the outermost frame comes first."""
    start = next((index for index, frame in enumerate(frames) if OUTERMOST.match(frame.crate)), 0)
    kept: list[Frame] = []
    for frame in frames[start:]:
        if frame.path == KERNEL:
            frame = kernel_frame(frame.name)
        if frame.crate in SILENT or not frame.name:
            continue
        # Of other crates' inlined functions the first is enough: it says what was asked of the crate.
        if frame.inlined and frame.crate != "wardgate" and kept and kept[-1].crate == frame.crate:
            continue
        frame = Frame(frame.path, frame.name)
        if not kept or kept[-1] != frame:
            kept.append(frame)
        if frame.path == ALLOCATOR:
            break
    if frames[-1].path == KERNEL and kept and kept[-1].path != KERNEL:
        kept.append(Frame(KERNEL, "enter or leave the kernel"))
    last = len(kept) - 1
    kept = [
        frame
        for index, frame in enumerate(kept)
        if index == last or not (FRAMEWORK.match(frame.crate) and HANDED_ON.search(frame.name))
    ]
    while len(kept) > 1 and TRUNK.search(kept[0].name):
        kept.pop(0)
    return tuple(kept) or (Frame(LIBC, "other"),)


def kernel_frame(name: str) -> Frame:
    if match := SYSTEM_CALL.match(name):
        return Frame(KERNEL, f"system call {match.group(1)}")
    if INTERRUPT.match(name):
        return Frame(KERNEL, "interrupt")
    return Frame(KERNEL if name in KERNEL_NAMES else UNKNOWN, KERNEL_NAMES.get(name, ""))
