"""Configurations of the other proxies and of the upstream that all of them forward to."""

from __future__ import annotations

import json
import os
from pathlib import Path

from certificate import Certificate
from kinds import Kind
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
        listen 127.0.0.1:{port} backlog=1024{listen};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "{connection}";
            proxy_set_header Host $host;{more}
        }}
    }}"""
NGINX_TLS = """ ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate {cert};
        ssl_certificate_key {key}"""
NGINX_UPGRADE = """
            proxy_set_header Upgrade $http_upgrade;"""

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
    timeout tunnel 60s
frontend bench
    bind 127.0.0.1:{port}{tls}
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


def nginx_proxy(folder: Path, port: int, upstream_port: int, kind: Kind, certificate: Certificate) -> Path:
    body = NGINX_PROXY.format(
        port=port,
        upstream_port=upstream_port,
        forever=FOREVER,
        listen=NGINX_TLS.format(cert=certificate.cert, key=certificate.key) if kind.tls else "",
        connection="upgrade" if kind.websocket else "",
        more=NGINX_UPGRADE if kind.websocket else "",
    )
    return nginx(folder, body)


def haproxy(folder: Path, port: int, upstream_port: int, tokens: Tokens, kind: Kind, certificate: Certificate) -> Path:
    path = folder / "haproxy.cfg"
    path.write_text(
        HAPROXY.format(
            port=port,
            upstream_port=upstream_port,
            tls=f" ssl crt {certificate.both} ssl-min-ver TLSv1.3 alpn http/1.1" if kind.tls else "",
            public_key=tokens.public_key,
            issuer=ISSUER,
            audience=AUDIENCE,
        )
    )
    return path


def envoy(
    folder: Path,
    port: int,
    upstream_port: int,
    tokens: Tokens,
    access_log: Path,
    kind: Kind,
    certificate: Certificate,
) -> Path:
    manager = {
        "stat_prefix": "bench",
        "access_log": [extension("envoy.access_loggers.file", FILE_LOG, path=str(access_log), log_format=LOG_FORMAT)],
        "http_filters": [
            extension("envoy.filters.http.jwt_authn", JWT_AUTHN, **envoy_jwt(tokens)),
            extension("envoy.filters.http.rbac", RBAC, rules=envoy_rbac(kind)),
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
    if kind.websocket:
        manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    network_filter = extension("envoy.filters.network.http_connection_manager", MANAGER, **manager)
    filter_chain: dict[str, object] = {"filters": [network_filter]}
    if kind.tls:
        filter_chain["transport_socket"] = envoy_tls(certificate)
    endpoint = {"endpoint": {"address": envoy_address(upstream_port)}}
    bootstrap = {
        "static_resources": {
            "listeners": [{"name": "bench", "address": envoy_address(port), "filter_chains": [filter_chain]}],
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


def envoy_tls(certificate: Certificate) -> dict:
    files = {
        "certificate_chain": {"filename": str(certificate.cert)},
        "private_key": {"filename": str(certificate.key)},
    }
    common = {
        "tls_certificates": [files],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["http/1.1"],
    }
    return extension("envoy.transport_sockets.tls", TLS_CONTEXT, common_tls_context=common)


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


def envoy_rbac(kind: Kind) -> dict:
    """Allows one patient what is their own. Comparing a claim with a path segment would need CEL."""
    path = {"safe_regex": {"regex": f"/svc[0-9]+/patients/{PATIENT}/{kind.resource}"}}
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
TLS_CONTEXT = "transport_sockets.tls.v3.DownstreamTlsContext"
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
