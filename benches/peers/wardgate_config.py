"""Writes the configuration that Wardgate is measured with. The only file to change when its schema does."""

from __future__ import annotations

from pathlib import Path

from certificate import Certificate
from kinds import Kind
from tokens import AUDIENCE, ISSUER

IDENTITY = ", identity: { header: x-wardgate-assertion, audience: backend, ttl: 60s }"
TLS = ', tls: {{ cert_file: "{cert}", key_file: "{key}", min_version: "1.3" }}'

# The tier of those that are not measured in `moderate`.
TIERS = {"wardgate-low": "low", "wardgate-synced": "synced"}

HEAD = """\
version: 1
listeners: [{{ name: bench, address: "127.0.0.1:{port}"{tls} }}]
telemetry: {{ address: "127.0.0.1:{telemetry_port}" }}
issuers:
  - name: patients
    issuer: {issuer}
    audiences: [{audience}]
    algorithms: [RS256]
    jwks: {{ file: "{jwks}" }}
    assurance: {{ aal1: {{ any_of: {{ amr: [pwd] }} }} }}
    claims: {{ patient: patient_id, roles: groups }}
upstreams:
  backend: {{ endpoints: ["127.0.0.1:{upstream_port}"]{identity} }}
audit: {{ dir: "{audit}" }}
# Two rows of the shipped gateway.yaml, and one that waits for the disk and asks for no more than they do.
tiers:
  - {{ name: low, assurance: aal1, audit: buffered }}
  - {{ name: moderate, assurance: aal1, max_age: 8h, audit: written }}
  - {{ name: synced, assurance: aal1, max_age: 8h, audit: synced }}
routes:
"""

ROUTE = """\
  - id: r{number}
    match: {{ path: "/svc{number}/patients/{{patient}}/{resource}", {how} }}
    upstream: backend
    patient: {{ from: path.patient }}
    tier: {tier}
    any_of: [{{ issuer: patients, patient: self }}]
"""


def command(binary: str, config: Path) -> list[str]:
    return [binary, "run", "--config", str(config)]


def write_config(
    folder: Path,
    jwks: str,
    port: int,
    telemetry_port: int,
    upstream_port: int,
    routes: int,
    kind: Kind,
    certificate: Certificate,
    tier: str,
    assertion: bool,
) -> Path:
    """Fills `folder` with a key set, an empty audit folder and a configuration, whose path it returns."""
    audit = folder / "audit"
    audit.mkdir(mode=0o700, parents=True)
    key_set = folder / "jwks.json"
    key_set.write_text(jwks)
    head = HEAD.format(
        port=port,
        tls=TLS.format(cert=certificate.cert, key=certificate.key) if kind.tls else "",
        telemetry_port=telemetry_port,
        upstream_port=upstream_port,
        issuer=ISSUER,
        audience=AUDIENCE,
        jwks=key_set,
        audit=audit,
        identity=IDENTITY if assertion else "",
    )
    config = folder / "gateway.yaml"
    how = "upgrade: websocket" if kind.websocket else "methods: [GET]"
    entries = (ROUTE.format(number=number, resource=kind.resource, how=how, tier=tier) for number in range(routes))
    config.write_text(head + "".join(entries))
    return config
