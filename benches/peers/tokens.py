"""Makes the signing key, the key set and the tokens of one run, with the openssl command line."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ISSUER = "https://login.clinic.example"
AUDIENCE = "portal-api"
PATIENT = "p-10042"
KEY_ID = "bench-1"


@dataclass
class Tokens:
    """One good token, and bad ones that differ from it in a single respect."""

    good: str
    bad: dict[str, str]
    jwks: str
    public_key: Path


def openssl(*args: str, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *args], input=data, capture_output=True, check=True).stdout


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_tokens(folder: Path, lifetime: int) -> Tokens:
    """Signs everything with a fresh 2048-bit RSA key that never leaves `folder`."""
    private, public = folder / "key.pem", folder / "public.pem"
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(private))
    openssl("pkey", "-in", str(private), "-pubout", "-out", str(public))
    modulus = openssl("rsa", "-in", str(private), "-noout", "-modulus").decode().strip().split("=", 1)[1]
    key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, "n": b64(bytes.fromhex(modulus)), "e": "AQAB"}

    def sign(**changes: object) -> str:
        header = {"alg": "RS256", "typ": "at+jwt", "kid": KEY_ID}
        parts = [b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims(lifetime) | changes)]
        signature = openssl("dgst", "-sha256", "-sign", str(private), data=".".join(parts).encode())
        return ".".join([*parts, b64(signature)])

    good = sign()
    now = int(time.time())
    bad = {
        "a broken signature": break_signature(good),
        "an expired token": sign(iat=now - 7200, auth_time=now - 7200, exp=now - 3600),
        "another issuer": sign(iss="https://login.elsewhere.example"),
        "another audience": sign(aud="billing-api"),
        "another patient": sign(sub="patient-2", patient_id="p-20099"),
    }
    return Tokens(good, bad, json.dumps({"keys": [key]}), public)


def claims(lifetime: int) -> dict[str, object]:
    now = int(time.time())
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": now + lifetime,
        "iat": now - 2,
        "jti": secrets.token_urlsafe(16),
        "sub": "patient-1",
        "client_id": "portal",
        "auth_time": now - 2,
        "amr": ["pwd"],
        "acr": "urn:clinic:loa:1",
        "patient_id": PATIENT,
    }


def break_signature(token: str) -> str:
    """Changes one character in the middle of the signature: the length and the alphabet stay right."""
    start = token.rindex(".") + 1
    at = start + (len(token) - start) // 2
    return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
