"""Makes the certificate of one run, with the openssl command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokens import openssl


@dataclass
class Certificate:
    """PEM files; `both` holds the certificate and then its key, as HAProxy wants them."""

    cert: Path
    key: Path
    both: Path


def make_certificate(folder: Path) -> Certificate:
    """Signs itself, with a fresh ECDSA P-256 key that never leaves `folder`."""
    made = Certificate(folder / "tls-cert.pem", folder / "tls-key.pem", folder / "tls-both.pem")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(made.key)]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    openssl("req", "-x509", *new_key, "-out", str(made.cert), "-days", "2", *names)
    made.both.write_text(made.cert.read_text() + made.key.read_text())
    return made
