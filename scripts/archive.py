#!/usr/bin/env python3
"""Makes the release archive for machines without Kubernetes: the program, its list of parts, unit, example and documents.

    scripts/archive.py BINARY SBOM FOLDER      makes FOLDER/wardgate-VERSION-TARGET.tar.gz and a .sha256 beside it

The same parts give the same bytes: no clock, no user of this machine goes into it.
"""

import gzip
import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Under the archive's one folder.
FILES = {
    "LICENSE": "LICENSE",
    "README.md": "README.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "gateway.yaml": "gateway.yaml",
    "systemd/wardgate.service": "deploy/systemd/wardgate.service",
    "systemd/wardgate.sysusers": "deploy/systemd/wardgate.sysusers",
}
# Of the ELF header's `e_machine`.
MACHINES = {62: "x86_64", 183: "aarch64"}


def fail(message):
    sys.exit(f"error: {message}")


def target(program):
    machine = MACHINES.get(int.from_bytes(program[18:20], "little")) if program[:5] == b"\x7fELF\x02" else None
    return f"{machine}-linux" if machine else fail("the binary is no ELF program for x86_64 or aarch64")


def main(binary, sbom, folder):
    program = pathlib.Path(binary).read_bytes()
    said = subprocess.run([pathlib.Path(binary).resolve(), "--version"], check=True, capture_output=True, text=True).stdout
    name = f"wardgate-{said.split()[1]}-{target(program)}"
    parts = {"bin/wardgate": (program, 0o755), "wardgate.cdx.json": (pathlib.Path(sbom).read_bytes(), 0o644)}
    parts |= {path: ((ROOT / source).read_bytes(), 0o644) for path, source in FILES.items()}
    documents = sorted(path for path in (ROOT / "docs").rglob("*") if path.is_file())
    parts |= {str(path.relative_to(ROOT)): (path.read_bytes(), 0o644) for path in documents}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, (content, mode) in sorted(parts.items()):
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    compressed = gzip.compress(archive.getvalue(), mtime=0)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.tar.gz").write_bytes(compressed)
    digest = hashlib.sha256(compressed).hexdigest()
    (folder / f"{name}.tar.gz.sha256").write_text(f"{digest}  {name}.tar.gz\n")
    print(folder / f"{name}.tar.gz")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        fail("three arguments are needed: the binary, its list of parts, the folder to write to")
    main(*sys.argv[1:])
