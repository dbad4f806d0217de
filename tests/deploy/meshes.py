"""What is shipped for Istio and the Gateway API, which ask by Envoy: judged by their published schemas, and by Envoy itself.

    python tests/deploy/meshes.py WARDGATE
"""

import pathlib
import sys
import tempfile

import yaml

from tools import ROOT, check_configuration, fail, must, resources, validate

ISTIO = ROOT / "deploy/istio/ext-authz.yaml"
GATEWAY_API = ROOT / "deploy/gateway-api/external-auth.yaml"
MANAGER = "envoy.filters.network.http_connection_manager"
ROUTER = "envoy.filters.http.router"
# What the comment at a file's head says that Wardgate listens with needs around it.
AROUND = """
version: 1
state: { single_replica: true }
upstreams: { app: { endpoints: ["127.0.0.1:8081"] } }
routes: [{ id: home, match: { path: /, methods: [GET] }, upstream: app, access: public }]
"""


def patches(found):
    """By what each is applied to."""
    [resource] = found
    return {it["applyTo"]: it["patch"]["value"] for it in resource["spec"]["configPatches"]}


def try_envoy(directory):
    """The patches, put where Istio puts them, are a configuration that Envoy takes."""
    patched = patches(resources(ISTIO.read_text()))
    shipped = yaml.safe_load((ROOT / "deploy/envoy/ext-authz-grpc.yaml").read_text())["static_resources"]
    [manager] = shipped["listeners"][0]["filter_chains"][0]["filters"]
    [shipped_filter] = [it for it in manager["typed_config"]["http_filters"] if it["name"] != ROUTER]
    for name, value in patched["HTTP_FILTER"]["typed_config"].items():
        if shipped_filter["typed_config"].get(name) != value:
            fail(f"{ISTIO.name}: `{name}` is not that of deploy/envoy, which is tested")
    router = {"name": ROUTER, "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
    routes = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 204}}]}]}
    http = {"stat_prefix": "in", "route_config": routes, "http_filters": [patched["HTTP_FILTER"], router]}
    chain = {"filters": [{"name": MANAGER, "typed_config": http | patched["NETWORK_FILTER"]["typed_config"]}]}
    listener = {"name": "in", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}, "filter_chains": [chain]}
    file = directory / "envoy.yaml"
    file.write_text(yaml.safe_dump({"static_resources": {"listeners": [listener], "clusters": [patched["CLUSTER"]]}}))
    must(ROOT / ".tools/envoy", "--mode", "validate", "-c", file)


def listener_of(file):
    """The listener that the comment at the head of a file names."""
    head = [line[1:] for line in file.read_text().splitlines() if line.startswith("#")]
    start = next(n for n, line in enumerate(head) if line.startswith("   - name:"))
    end = next(n for n, line in enumerate(head) if n > start and not line.startswith("     "))
    return yaml.safe_load("\n".join(head[start:end]))


def main(program):
    for file in (ISTIO, GATEWAY_API):
        validate(file.name, resources(file.read_text()))
    found = resources(GATEWAY_API.read_text())
    [listener] = listener_of(GATEWAY_API)
    [route] = [it for it in found if it["kind"] == "HTTPRoute"]
    for rule in route["spec"]["rules"]:
        [asks] = [it["externalAuth"] for it in rule["filters"] if it["type"] == "ExternalAuth"]
        if f":{asks['backendRef']['port']}" not in listener["address"]:
            fail(f"{GATEWAY_API.name}: it asks where Wardgate does not listen")
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        text = AROUND + yaml.safe_dump({"listeners": [listener]})
        text = text.replace("/peers/ca.crt", f"{ROOT}/tests/config/tls/clients-ca.pem")
        check_configuration(program, "gateway-api", text, directory)
        try_envoy(directory)
    print("meshes ok")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
