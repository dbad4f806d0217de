"""Configurations of the other proxies and of the upstream that all of them forward to."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tokens import AUDIENCE, ISSUER, PATIENT, Tokens

REPLY_BYTES = 1024
FOREVER = 1_000_000_000

NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests {forever};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{body}
}}
"""

NGINX_UPSTREAM = """\
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{ return 200 "{reply}"; }}
    }}"""

NGINX_PROXY = """\
    upstream backend {{
        server 127.0.0.1:{upstream_port};
        keepalive 64;
        keepalive_requests {forever};
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
        }}
    }}"""

# jwt_verify checks the signature alone: the claims take a rule each. `date()` is the time in seconds.
HAPROXY = """\
global
    nbthread 1
    maxconn 4096
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend bench
    bind 127.0.0.1:{port}
    http-request set-var(txn.token) http_auth_bearer
    http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
    http-request deny deny_status 401 unless {{ var(txn.alg) -m str RS256 }}
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify(txn.alg,"{public_key}") -m int 1 }}
    http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
    http-request set-var(txn.now) date()
    http-request deny deny_status 401 unless {{ var(txn.exp),sub(txn.now) -m int gt 0 }}
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.iss') -m str {issuer} }}
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.aud') -m str {audience} }}
    http-request set-var(txn.patient) var(txn.token),jwt_payload_query('$.patient_id')
    http-request deny deny_status 403 unless {{ method GET }} {{ path,field(4,/),strcmp(txn.patient) eq 0 }}
    default_backend backend
backend backend
    http-reuse always
    server upstream 127.0.0.1:{upstream_port}
"""


def nginx(folder: Path, body: str) -> Path:
    # A worker that dropped root could not use the run's private folder. Without root the line is not allowed.
    user = "user root;" if os.geteuid() == 0 else ""
    path = folder / "nginx.conf"
    path.write_text(NGINX.format(folder=folder, user=user, forever=FOREVER, body=body))
    return path


def nginx_upstream(folder: Path, port: int) -> Path:
    return nginx(folder, NGINX_UPSTREAM.format(port=port, reply="x" * REPLY_BYTES))


def nginx_proxy(folder: Path, port: int, upstream_port: int) -> Path:
    return nginx(folder, NGINX_PROXY.format(port=port, upstream_port=upstream_port, forever=FOREVER))


def haproxy(folder: Path, port: int, upstream_port: int, tokens: Tokens) -> Path:
    path = folder / "haproxy.cfg"
    path.write_text(
        HAPROXY.format(
            port=port, upstream_port=upstream_port, public_key=tokens.public_key, issuer=ISSUER, audience=AUDIENCE
        )
    )
    return path


def envoy(folder: Path, port: int, upstream_port: int, tokens: Tokens, access_log: Path) -> Path:
    manager = {
        "stat_prefix": "bench",
        "access_log": [extension("envoy.access_loggers.file", FILE_LOG, path=str(access_log), log_format=LOG_FORMAT)],
        "http_filters": [
            extension("envoy.filters.http.jwt_authn", JWT_AUTHN, **envoy_jwt(tokens)),
            extension("envoy.filters.http.rbac", RBAC, rules=envoy_rbac()),
            extension("envoy.filters.http.router", ROUTER),
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}],
                }
            ]
        },
    }
    network_filter = extension("envoy.filters.network.http_connection_manager", MANAGER, **manager)
    endpoint = {"endpoint": {"address": envoy_address(upstream_port)}}
    bootstrap = {
        "static_resources": {
            "listeners": [
                {"name": "bench", "address": envoy_address(port), "filter_chains": [{"filters": [network_filter]}]}
            ],
            "clusters": [
                {
                    "name": "backend",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }
    path = folder / "envoy.json"
    path.write_text(json.dumps(bootstrap, indent=2))
    return path


def envoy_jwt(tokens: Tokens) -> dict:
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": tokens.jwks},
        # The filter overwrites these headers if the client sends them. Metadata would cost Envoy somewhat more.
        "claim_to_headers": [{"header_name": PATIENT_HEADER, "claim_name": "patient_id"}],
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    return {
        "providers": {"patients": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "patients"}}],
    }


def envoy_rbac() -> dict:
    """Allows one patient to read their own results. Comparing a claim with a path segment would need CEL."""
    path = {"safe_regex": {"regex": f"/svc[0-9]+/patients/{PATIENT}/results"}}
    method = {"name": ":method", "string_match": {"exact": "GET"}}
    patient = {"name": PATIENT_HEADER, "string_match": {"exact": PATIENT}}
    policy = {
        "permissions": [{"and_rules": {"rules": [{"url_path": {"path": path}}, {"header": method}]}}],
        "principals": [{"header": patient}],
    }
    return {"action": "ALLOW", "policies": {"own-results": policy}}


def envoy_address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def extension(name: str, type_name: str, **settings: object) -> dict:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.{type_name}", **settings}}


PATIENT_HEADER = "x-patient"
FILE_LOG = "access_loggers.file.v3.FileAccessLog"
JWT_AUTHN = "filters.http.jwt_authn.v3.JwtAuthentication"
RBAC = "filters.http.rbac.v3.RBAC"
ROUTER = "filters.http.router.v3.Router"
MANAGER = "filters.network.http_connection_manager.v3.HttpConnectionManager"
LOG_FORMAT = {
    "json_format": {
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(:PATH)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "bytes": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "upstream": "%UPSTREAM_HOST%",
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
}
