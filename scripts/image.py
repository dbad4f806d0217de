#!/usr/bin/env python3
"""Makes the image without any container engine: an OCI layout, from a static binary, of the same parts as deploy/Dockerfile.

    scripts/image.py BINARY SBOM FOLDER        then: skopeo copy oci:FOLDER:wardgate docker://REGISTRY/wardgate:0.1.0

The same parts give the same bytes: no clock, no user of this machine goes into it.
"""

import gzip
import hashlib
import io
import json
import pathlib
import sys
import tarfile

USER = 65532
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def fail(message):
    sys.exit(f"error: {message}")


def must_be_static(binary):
    """A program that names a loader (the ELF header PT_INTERP) would not start in an image without one."""
    if binary[:5] != b"\x7fELF\x02":
        fail("the binary is no 64-bit ELF program")
    start, size, count = (int.from_bytes(binary[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    kinds = [int.from_bytes(binary[start + n * size:start + n * size + 4], "little") for n in range(count)]
    if 3 in kinds:
        fail("the binary is not static: build it with --target x86_64-unknown-linux-musl")


def layer(files):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, content, mode, owner in files:
            entry = tarfile.TarInfo(path)
            entry.mode, entry.uid, entry.gid = mode, owner, owner
            if content is None:
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def main(binary, sbom, folder):
    program = pathlib.Path(binary).read_bytes()
    must_be_static(program)
    folders = ["etc", "etc/ssl", "etc/ssl/certs", "etc/wardgate", "usr", "usr/local", "usr/local/bin", "usr/share", "usr/share/sbom",
               "var", "var/lib"]
    plain = layer([
        *((path, None, 0o755, 0) for path in folders),
        ("var/lib/wardgate", None, 0o750, USER),
        ("var/lib/wardgate/audit", None, 0o750, USER),
        ("etc/ssl/certs/ca-certificates.crt", pathlib.Path(AUTHORITIES).read_bytes(), 0o644, 0),
        ("usr/share/sbom/wardgate.cdx.json", pathlib.Path(sbom).read_bytes(), 0o644, 0),
        ("usr/local/bin/wardgate", program, 0o755, 0),
    ])
    layout = pathlib.Path(folder)
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(kind, content):
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    packed = put("layer.v1.tar+gzip", gzip.compress(plain, mtime=0))
    image = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "ExposedPorts": {"8080/tcp": {}, "9901/tcp": {}},
            "Entrypoint": ["/usr/local/bin/wardgate"],
            "Cmd": ["run", "--config", "/etc/wardgate/gateway.yaml"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
    }
    config = put("config.v1+json", json.dumps(image).encode())
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [packed]}
    entry = put("manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": "wardgate"}
    index = {"schemaVersion": 2, "manifests": [entry]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    print(f"{folder}: {entry['digest']}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        fail(__doc__.split("\n\n")[1].strip())
    main(*sys.argv[1:])
