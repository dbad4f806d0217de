"""The programs that judge what is shipped: `scripts/setup.sh test` installs them."""

import json
import pathlib
import subprocess
import sys

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/wardgate"
EXTENSIONS = ("cert-manager.io/", "gateway.networking.k8s.io/", "networking.istio.io/", "monitoring.coreos.com/")


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, **options)


def fail(message):
    sys.exit(f"FAILED: {message}")


def must(*command, **options):
    """What a command says; it must succeed."""
    ended = run(*command, **options)
    if ended.returncode:
        fail(f"{' '.join(str(part) for part in command)}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def helm(*arguments):
    return run(".tools/bin/helm", *arguments)


def template(release, *arguments, namespace="clinic"):
    return helm("template", release, CHART, "--namespace", namespace, *arguments)


def resources(text):
    return [it for it in yaml.safe_load_all(text) if it]


def validate(name, found):
    """Against the schemas of Kubernetes and of its extensions."""
    extensions = [it for it in found if it["apiVersion"].startswith(EXTENSIONS)]
    for resource in found:
        if resource in extensions:
            continue
        try:
            kubernetes_validate.validate(resource, "1.37", strict=True)
        except kubernetes_validate.ValidationError as error:
            fail(f"{name}: {resource['kind']} {resource['metadata']['name']}: {error.message} at {list(error.path)}")
    if extensions:
        node = ROOT / ".tools/bin/node"
        ended = run(node if node.exists() else "node", "tests/deploy/extensions.mjs", input=json.dumps(extensions))
        if ended.returncode:
            fail(f"{name}: {ended.stderr}")


def check_configuration(program, name, text, directory):
    """`wardgate check` of a gateway.yaml, with keys where it looks for them."""
    keys = directory / "secrets"
    keys.mkdir(exist_ok=True)
    for key in ("redis", "k1", "pseudonyms"):
        (keys / key).write_text("3f" * 32 + "\n")
    text = text.replace("/secrets/", f"{keys}/").replace("/tls/tls.crt", f"{ROOT}/tests/config/tls/portal.pem")
    text = text.replace("/tls/tls.key", f"{ROOT}/tests/config/tls/portal.key")
    file = directory / f"{name}.yaml"
    file.write_text(text)
    must(program, "check", file)
