"""Starts the processes of a run, on the right cores, and ends exactly those."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

HOST = "127.0.0.1"


class BenchError(Exception):
    """Stops the run; the text is for the person who started it."""


class Cores:
    """Gives the proxies one core for themselves, and the load and the upstream the others."""

    def __init__(self) -> None:
        self.all = os.sched_getaffinity(0)
        self.pinned = len(self.all) > 1
        self.proxy = {max(self.all)} if self.pinned else self.all
        self.rest = self.all - self.proxy if self.pinned else self.all

    def describe(self) -> str:
        if not self.pinned:
            return "one core shared by all"
        return f"proxies on one core, load and upstream on {len(self.rest)} other(s)"


class Processes:
    """Every process has its own process group, so that its workers end with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cores = Cores()
        self.running: list[tuple[str, subprocess.Popen]] = []

    def start(self, name: str, argv: list[str], port: int, *, proxy: bool) -> int:
        """Starts a server, waits until it accepts on `port`, and returns its process id."""
        with open(self.output(name), "ab") as output:
            # A child inherits the affinity, and so do all threads that it starts later.
            os.sched_setaffinity(0, self.cores.proxy if proxy else self.cores.rest)
            try:
                process = subprocess.Popen(
                    argv,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            finally:
                os.sched_setaffinity(0, self.cores.all)
        self.running.append((name, process))
        self.wait_for_port(name, process, port)
        return process.pid

    def output(self, name: str) -> Path:
        """Where a process's standard output and error go; opened for appending, so it may be truncated."""
        return self.folder / f"{name}.out"

    def wait_for_port(self, name: str, process: subprocess.Popen, port: int, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise BenchError(f"{name} ended at start with status {process.returncode}:\n{self.tail(name)}")
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((HOST, port)) == 0:
                    return
            time.sleep(0.05)
        raise BenchError(f"{name} did not listen on port {port} within {seconds:.0f} s:\n{self.tail(name)}")

    def tail(self, name: str, lines: int = 25) -> str:
        text = self.output(name).read_text(errors="replace").splitlines()
        return "\n".join("    " + line for line in text[-lines:]) or "    (it printed nothing)"

    def stop_all(self) -> None:
        for _, process in self.running:
            signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + 3
        for _, process in self.running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
        for _, process in self.running:
            signal_group(process, signal.SIGKILL)
            process.wait()
        self.running.clear()


def signal_group(process: subprocess.Popen, number: signal.Signals) -> None:
    """Signals a group that we made; once its leader was waited for, only what is left of the group."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def free_ports(count: int) -> list[int]:
    """Picks distinct free loopback ports: all are held open until the last one is chosen."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for entry in sockets:
            entry.bind((HOST, 0))
        return [entry.getsockname()[1] for entry in sockets]
    finally:
        for entry in sockets:
            entry.close()
