#!/usr/bin/env python3
"""Thousands of slow clients and very large bodies, against the real program.

5,000 connections of each kind drip their headers or bodies, in HTTP/1.1 and HTTP/2. The gateway must stay under 256 MiB,
end every one of them on schedule (of bodies those beyond limits.slow_bodies before it), and go on answering /healthz and
a healthy client. Then 1 GiB goes up and 1 GiB comes
down through it, and it may grow by 4 MiB at most. Exits with 1 where any of that does not hold; prints the figures as
JSON. Needs Python's h2 (`scripts/setup.sh test`), which makes the frames.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import time

import h2.config
import h2.connection

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEADLINE = 10  # seconds for a header, and of grace for a body
SLACK = 15  # seconds that a loaded machine may be late
# HTTP/2 forgives a slow body for longer: a slow upstream looks the same there.
H2_PATIENCE = 60
# Of so many slow bodies the slowest are ended early (the default of limits.slow_bodies).
SLOW_BODIES = 1_000
# What slow clients do, and how long after they began they must be ended.
KINDS = {
    "h1-header": DEADLINE,
    "h1-body": DEADLINE,
    "h2-nothing": DEADLINE,  # nothing after the preface
    "h2-header": DEADLINE,  # a header section in ever more frames
    "h2-body": DEADLINE + H2_PATIENCE,
}
MEBIBYTE = 1024 * 1024
CHUNK = b"x" * (64 * 1024)

CONFIG = """
version: 1
listeners:
  - name: portal
    address: 127.0.0.1:{port}
    limits: &limits {{ header_deadline: {deadline}s, body_min_rate: 500B, body_grace: {deadline}s, body_bytes: 2GiB,
              connections: 20000, connections_per_client: 20000 }}
  - name: h2
    address: 127.0.0.1:{h2}
    h2c: true
    limits: *limits
telemetry: {{ address: "127.0.0.1:{telemetry}" }}
issuers:
  - name: patients
    issuer: https://login.clinic.example
    audiences: [portal-api]
    jwks: {{ file: jwks.json }}
    assurance: {{ aal1: {{ any_of: {{ amr: [pwd] }} }} }}
    claims: {{ patient: patient_id }}
upstreams: {{ app: {{ endpoints: ["127.0.0.1:{upstream}"] }} }}
audit: {{ dir: ./audit }}
routes:
  - {{ id: home, match: {{ path: "/", methods: [GET] }}, upstream: app, access: public }}
  - {{ id: study, match: {{ path: /study, methods: [GET, POST] }}, upstream: app, access: public }}
"""
JWKS = {"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256",
                  "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                  "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def memory(pid, field):
    """A figure of the process's memory, in bytes."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field}")


async def upstream(large):
    """Takes whatever is sent and answers; /study comes down as `large` bytes."""

    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.split(b"\r\n"):
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                while length > 0:
                    chunk = await reader.read(min(length, len(CHUNK)))
                    if not chunk:
                        return
                    length -= len(chunk)
                if head.startswith(b"GET /study"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % large)
                    for _ in range(large // len(CHUNK)):
                        writer.write(CHUNK)
                        await writer.drain()
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    # All slow bodies come at once: a short queue would make the gateway say 502.
    return await asyncio.start_server(serve, "127.0.0.1", 0, backlog=8_192)


async def get(port, path):
    """One request on a connection of its own: its status, and how long it took."""
    begun = time.monotonic()
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 10)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    status = int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else 0
    return status, time.monotonic() - begun


def begin(kind):
    """What a slow client sends first, and a function that gives what it drips."""
    if kind == "h1-header":
        return b"GET / HTTP/1.1\r\nHost: portal.example\r\nX-Slow: ", lambda: b"x"
    if kind == "h1-body":
        head = (b"POST /study HTTP/1.1\r\nHost: portal.example\r\nContent-Type: application/dicom\r\n"
                b"Content-Length: 1000000\r\n\r\n")
        return head, lambda: b"x"
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    if kind == "h2-nothing":
        return connection.data_to_send(), lambda: b""
    headers = [(":method", "POST"), (":scheme", "http"), (":authority", "portal.example"), (":path", "/study"),
               ("content-type", "application/dicom")]
    if kind == "h2-body":
        connection.send_headers(1, headers)
        first = connection.data_to_send()

        def more():
            connection.send_data(1, b"x")
            return connection.data_to_send()

        return first, more
    # The library makes whole sections only: all but their last bytes drip out one by one.
    preface = connection.data_to_send()
    connection.send_headers(1, [*headers, ("x-slow", "x" * 100)])
    section = connection.data_to_send()
    rest = iter(section[20:-1])
    return preface + section[:20], lambda: bytes([next(rest)])


async def slow_client(port, kind, ended):
    """Drips until the gateway has had enough; says after how long that was, and what it was told."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        ended.append((kind, None, "not opened"))
        return
    begun = time.monotonic()
    first, more = begin(kind)
    writer.write(first)

    async def drip():
        while True:
            await asyncio.sleep(2)
            writer.write(more())

    dripping = asyncio.create_task(drip())
    answer = b""
    try:
        answer = await reader.read()
    except ConnectionError:
        pass
    ended.append((kind, time.monotonic() - begun, told(kind, answer)))
    dripping.cancel()
    writer.close()


def told(kind, answer):
    if kind.startswith("h1"):
        return answer[9:12].decode() or "closed"
    seen = "closed"
    while len(answer) >= 9:
        length, frame = int.from_bytes(answer[:3], "big"), answer[3]
        seen = {7: "goaway", 3: "reset"}.get(frame, seen)
        answer = answer[9 + length:]
    return seen


async def soak_slow(gateway, ports, kind, count, faults):
    ended, seen, peak = [], {"/healthz": [], "/": []}, 0
    tasks = []
    limit = KINDS[kind]
    port = ports["h2" if kind.startswith("h2") else "port"]
    at_rest = memory(gateway.pid, "VmRSS")
    begun = time.monotonic()
    for number in range(count):
        tasks.append(asyncio.create_task(slow_client(port, kind, ended)))
        if number % 100 == 99:
            await asyncio.sleep(0.05)
    opened = time.monotonic() - begun
    while len(ended) < count and time.monotonic() - begun < opened + limit + SLACK + 30:
        peak = max(peak, memory(gateway.pid, "VmRSS"))
        for path, healthy in (("/healthz", ports["telemetry"]), ("/", ports["port"])):
            try:
                status, took = await get(healthy, path)
            except (OSError, asyncio.TimeoutError):
                status, took = 0, 10
            seen[path].append(took)
            if status != 200:
                faults.append(f"{path} answered {status} while slow clients were connected ({kind})")
        await asyncio.sleep(0.25)
    for task in tasks:
        task.cancel()
    times = sorted(took for _, took, _ in ended if took is not None)
    if len(times) < count:
        faults.append(f"only {len(times)} of {count} slow connections were opened and ended ({kind})")
    else:
        crowd = max(0, count - SLOW_BODIES) if kind.endswith("body") else 0
        early = sum(took < 0.75 * limit for took in times)
        if early > crowd or times[-1] > limit + SLACK:
            faults.append(f"{early} of {count} slow connections ended early, not {crowd} at most, and the last one after "
                          f"{times[-1]:.1f} s, not {limit} s ({kind})")
    if peak > 256 * MEBIBYTE:
        faults.append(f"the gateway took {peak / MEBIBYTE:.0f} MiB with {count} slow connections ({kind})")
    endings = {}
    for _, _, ending in ended:
        endings[ending] = endings.get(ending, 0) + 1
    return {
        "connections": count,
        "opened_in_s": round(opened, 1),
        "ended_after_s": [round(times[0], 1), round(times[-1], 1)] if times else None,
        "ended_early": sum(took < 0.75 * limit for took in times),
        "told": endings,
        "rss_mib": {"before": round(at_rest / MEBIBYTE, 1), "peak": round(peak / MEBIBYTE, 1)},
        "checks": {path: len(took) for path, took in seen.items()},
        "slowest_check_s": {path: round(max(took, default=0), 2) for path, took in seen.items()},
    }


async def transfer(port, bytes_up, bytes_down):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if bytes_up:
        writer.write(b"POST /study HTTP/1.1\r\nHost: portal.example\r\nContent-Type: application/dicom\r\n"
                     b"Content-Length: %d\r\nConnection: close\r\n\r\n" % bytes_up)
        for _ in range(bytes_up // len(CHUNK)):
            writer.write(CHUNK)
            await writer.drain()
    else:
        writer.write(b"GET /study HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\r\n")
        await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    got = 0
    while chunk := await reader.read(len(CHUNK)):
        got += len(chunk)
    writer.close()
    return head.startswith(b"HTTP/1.1 200 ") and (bytes_up > 0 or got == bytes_down)


async def soak_large(gateway, port, large, faults):
    figures = {"bytes": large}
    for name, up in (("upload", True), ("download", False)):
        # What a first body needs once is not what a large one adds.
        if up:
            await transfer(port, 16 * MEBIBYTE, 0)
        else:
            await transfer(port, 0, large)
        before = memory(gateway.pid, "VmRSS")
        # Makes the kernel forget the peak (proc(5)).
        pathlib.Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")
        begun = time.monotonic()
        if not await transfer(port, large if up else 0, large):
            faults.append(f"the {name} of {large} bytes did not come through whole")
        grown = memory(gateway.pid, "VmHWM") - before
        if grown > 4 * MEBIBYTE:
            faults.append(f"the {name} made the gateway grow by {grown / MEBIBYTE:.1f} MiB")
        figures[name] = {"grown_mib": round(grown / MEBIBYTE, 2), "took_s": round(time.monotonic() - begun, 1)}
    return figures


async def run(program, kinds, count, large):
    faults, slow = [], {}
    server = await upstream(large)
    figures = {}
    for kind in kinds:
        # Each kind with a program of its own: memory that one kind took once is not another's.
        async with program_running(program, server) as (gateway, ports, folder):
            slow[kind] = await soak_slow(gateway, ports, kind, count, faults)
            sizes = {name: os.path.getsize(folder / name) for name in ("log", "audit/audit.jsonl")}
            if sizes["log"] > MEBIBYTE:
                faults.append(f"slow connections made {sizes['log']} bytes of log ({kind})")
            slow[kind]["bytes_written"] = sizes
    if large:
        async with program_running(program, server) as (gateway, ports, _):
            figures["large"] = await soak_large(gateway, ports["port"], large, faults)
    server.close()
    print(json.dumps({"slow": slow, **figures, "faults": faults}, indent=2))
    return 1 if faults else 0


@contextlib.asynccontextmanager
async def program_running(program, server):
    ports = {name: free_port() for name in ("port", "h2", "telemetry")}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "jwks.json").write_text(json.dumps(JWKS))
        ports["upstream"] = server.sockets[0].getsockname()[1]
        (folder / "gateway.yaml").write_text(CONFIG.format(deadline=DEADLINE, **ports))
        with open(folder / "log", "w") as log:
            gateway = subprocess.Popen([program, "run", "--config", str(folder / "gateway.yaml")],
                                       stdout=log, stderr=log)
        try:
            for _ in range(600):
                try:
                    if (await get(ports["telemetry"], "/readyz"))[0] == 200:
                        break
                except (OSError, asyncio.TimeoutError):
                    pass
                if gateway.poll() is not None:
                    raise SystemExit((folder / "log").read_text())
                await asyncio.sleep(0.1)
            yield gateway, ports, folder
        finally:
            gateway.kill()
            gateway.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default=str(ROOT / "target/release/wardgate"))
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--large", type=int, default=1024, help="MiB of the large bodies; 0 for none")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < options.connections + 200:
        sys.exit(f"only {hard} files may be open: raise the limit (ulimit -Hn), or lower --connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.exit(asyncio.run(run(options.program, options.kinds, options.connections, options.large * MEBIBYTE)))


if __name__ == "__main__":
    main()
