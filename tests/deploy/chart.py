"""Lints the chart, renders it over a matrix of values, judges what comes of it, and tries what it must refuse.

    python tests/deploy/chart.py WARDGATE      with the program that checks each gateway.yaml
"""

import copy
import itertools
import pathlib
import sys
import tempfile

import yaml

import policy
from tools import CHART, check_configuration, fail, helm, resources, template, validate

EDGE = ["-f", CHART / "examples/edge.yaml"]
SIDECAR = ["-f", CHART / "examples/sidecar.yaml"]
SOCKET = [*SIDECAR, "--set", "app.port=0,app.socketDir=/run/app", "--set", "gateway.upstreams.results.endpoints={unix:/run/app/app.sock}"]
REDIS = ["--set", "gateway.state.store=redis,gateway.state.redis.urls={rediss://redis.iam:6379}",
         "--set", "gateway.state.encryption_keys[0].id=k1,gateway.state.encryption_keys[0].file=/secrets/k1",
         "--set", "gateway.audit.pseudonyms.key_file=/secrets/pseudonyms,keyFiles.secretName=keys"]

# Of each row one is chosen, and each choice is tried with each of the others.
BASES = {"edge": [], "edge-several": EDGE, "sidecar": SIDECAR, "sidecar-socket": SOCKET}
KEYS = {"": [], "-csi": ["--set", "keyFiles.secretName=,keyFiles.secretProviderClass=keys"]}
VOLUMES = {"": [], "-ephemeral": ["--set", "auditVolume.ephemeral=true,auditVolume.size=1Gi"],
           "-class": ["--set", "auditVolume.storageClassName=fast"]}
WATCHED = {"": [], "-watched": ["--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true,dashboards.enabled=true"]}
# And alone.
MORE = {
    "ingress": ["--set", "ingress.enabled=true,ingress.hosts={portal.clinic.example},ingress.tlsSecretName=portal,ingress.className=nginx"],
    "http-route": ["--set", "httpRoute.enabled=true,httpRoute.hostnames={portal.clinic.example}",
                   "--set", "httpRoute.parentRefs[0].name=public,httpRoute.parentRefs[0].namespace=gateways"],
    "three": ["--set", "replicaCount=3", *REDIS],
    "none": ["--set", "replicaCount=0"],
    "operators": ["--set", "gateway.operators.address=unix:/run/wardgate/operators.sock"],
    "embedded": ["--set", "gateway.state.data_dir=/var/lib/wardgate/audit/state,gateway.state.single_replica=true"],
    "tls-secret": ["--set", "tls.secretName=portal,gateway.listeners[0].tls.cert_file=/tls/tls.crt,gateway.listeners[0].tls.key_file=/tls/tls.key",
                   "--set", "gateway.listeners[0].name=edge,gateway.listeners[0].address=0.0.0.0:8443"],
    "digest": ["--set", f"image.digest=sha256:{'ab' * 32}"],
    "node-port": ["--set", "service.type=NodePort"],
}
REFUSED = [
    ("replicaCount must be 1", ["--set", "replicaCount=2"]),
    ("replicaCount must be 1", ["--set", "replicaCount=2,gateway.state.store=embedded"]),
    ("replicaCount must be 1", ["--set", "autoscaling.enabled=true"]),
    ("pseudonyms.key_file must name a key", ["--set", "replicaCount=2,gateway.state.store=redis"]),
    ("needs a directory that all pods share", ["--set", "replicaCount=2", *REDIS, "--set", "gateway.audit.pseudonyms.rotate=90d"]),
    ("says that there is one gateway", ["--set", "replicaCount=2,gateway.state.single_replica=true", *REDIS]),
    ("nothing outside the pod can reach", ["--set", "gateway.telemetry.address=127.0.0.1:9901"]),
    ("on no volume", ["--set", "gateway.state.data_dir=/var/lib/other"]),
    ("both a secretName and", ["--set", "keyFiles.secretName=a,keyFiles.secretProviderClass=b"]),
    ("needs issuerRef.name", ["--set", "tls.certManager.enabled=true"]),
    ("needs app.image", ["--set", "mode=sidecar"]),
    ("no upstream of gateway.upstreams", [*SIDECAR, "--set", "app.port=3001"]),
    ("has an endpoint in app.socketDir", [*SIDECAR, "--set", "app.socketDir=/run/app"]),
    ("has the application's port", [*SIDECAR, "--set", "app.port=9901"]),
    ("are for mode edge", [*SIDECAR, "--set", "ingress.enabled=true,ingress.hosts={a.example}"]),
    ("no listener of gateway.listeners", ["--set", "ingress.enabled=true,ingress.hosts={a.example},ingress.listener=none"]),
    ("mode", ["--set", "mode=daemon"]),
    ("resourcs", ["--set", "resourcs.limits.memory=1Gi"]),
]


def matrix():
    for parts in itertools.product(BASES.items(), KEYS.items(), VOLUMES.items(), WATCHED.items()):
        yield "".join(name for name, _ in parts), [it for _, arguments in parts for it in arguments]
    yield from MORE.items()


def digest(*arguments):
    rendered = resources(template("demo", *arguments).stdout)
    [pods] = [it for it in rendered if it["kind"] == "StatefulSet"]
    return pods["spec"]["template"]["metadata"]["annotations"]["wardgate/restart"]


def main(program):
    linted = helm("lint", "--strict", "--quiet", CHART)
    if linted.returncode:
        fail(linted.stdout + linted.stderr)
    count = 0
    seen = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, arguments in matrix():
            rendered = template("demo", *arguments)
            if rendered.returncode:
                fail(f"{name}: {rendered.stderr}")
            found = resources(rendered.stdout)
            validate(name, found)
            faults = policy.faults(found, app_port=3000 if name.startswith("sidecar") else 0)
            if faults:
                fail(f"{name}: {faults}")
            [text] = [it["data"]["gateway.yaml"] for it in found if it["kind"] == "ConfigMap" and "gateway.yaml" in it["data"]]
            if text not in seen:
                check_configuration(program, name, text, pathlib.Path(directory))
                seen[text] = name
            count += 1
    if yaml.safe_load(next(iter(seen))) != yaml.safe_load((CHART / "values.yaml").read_text())["gateway"]:
        fail("gateway.yaml changed on its way")
    for text, arguments in REFUSED:
        ended = template("demo", *arguments)
        if not ended.returncode or text not in ended.stderr:
            fail(f"the chart must refuse {arguments} and say {text!r}; it said {ended.stderr!r}")
    several = resources(template("demo", *EDGE).stdout)
    kinds = {it["kind"] for it in several}
    if not {"HorizontalPodAutoscaler", "PodDisruptionBudget", "Certificate", "ServiceMonitor", "PrometheusRule"} <= kinds:
        fail(f"several gateways come with {sorted(kinds)}")
    # A changed rule is loaded by the running gateways; a changed grace period replaces them.
    if digest() != digest("--set", "gateway.routes[0].tier=high") or digest() == digest("--set", "gateway.shutdown.grace=20s"):
        fail("pods are replaced where they need not be, or are not where they must")
    try_the_policy()
    print(f"chart ok: {count} renderings, {len(seen)} configurations, {len(REFUSED)} refusals")


def try_the_policy():
    """A policy test that can't fail says nothing: each of these changes must be found."""
    found = resources(template("demo", *SIDECAR).stdout)
    of = {}
    for position, resource in enumerate(found):
        of.setdefault(resource["kind"], position)

    def pod(changed):
        return changed[of["StatefulSet"]]["spec"]["template"]["spec"]

    changes = {
        "root": lambda it: pod(it)["securityContext"].pop("runAsNonRoot"),
        "seccomp": lambda it: pod(it)["securityContext"].pop("seccompProfile"),
        "writable": lambda it: pod(it)["initContainers"][0]["securityContext"].update(readOnlyRootFilesystem=False),
        "capability": lambda it: pod(it)["containers"][0]["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
        "host": lambda it: pod(it).update(hostNetwork=True),
        "token": lambda it: pod(it).pop("automountServiceAccountToken"),
        "probe": lambda it: pod(it)["initContainers"][0].pop("readinessProbe"),
        "not native": lambda it: pod(it)["initContainers"][0].pop("restartPolicy"),
        "no drain": lambda it: pod(it)["initContainers"][0].pop("lifecycle"),
        "app port": lambda it: pod(it)["containers"][0].update(ports=[{"containerPort": 3000}]),
        "service": lambda it: it[of["Service"]]["spec"]["ports"].append({"port": 80, "targetPort": 3000}),
        "network": lambda it: it[of["NetworkPolicy"]]["spec"]["ingress"].append({"from": [{"podSelector": {}}], "ports": [{"port": 3000}]}),
        "open": lambda it: it[of["NetworkPolicy"]]["spec"]["egress"].append({}),
        "no policy": lambda it: it.pop(of["NetworkPolicy"]),
    }
    for name, change in changes.items():
        changed = copy.deepcopy(found)
        change(changed)
        if not policy.faults(changed, app_port=3000):
            fail(f"the policy does not see: {name}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
