"""The manifests without Helm: what the chart renders, for kustomize.

    python tests/deploy/manifests.py WARDGATE             checks that they are current, valid, and hold to the policy
    python tests/deploy/manifests.py WARDGATE --write     writes them anew from the chart
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import policy
from tools import CHART, ROOT, check_configuration, fail, must, resources, template, validate

KUBERNETES = ROOT / "deploy/kubernetes"
# Folder: the release's name, what the chart is told, the application's port.
RENDERED = {
    "edge": ("wardgate", ["--set", "image.repository=wardgate"], 0),
    "sidecar": ("results", ["-f", CHART / "examples/sidecar.yaml", "--set", "image.repository=wardgate"], 3000),
}
HELM_ONLY = re.compile(r"^ *(app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)
RESTART = re.compile(r"^ *annotations:\n *# Only what[^\n]*\n *wardgate/restart: .*\n", re.MULTILINE)


def render(folder):
    """The resources as text, and the gateway.yaml in them, which kustomize puts into a ConfigMap itself."""
    release, arguments, _ = RENDERED[folder]
    rendered = template(release, *arguments)
    if rendered.returncode:
        fail(rendered.stderr)
    kept, configuration = [], None
    for text in re.split(r"^---\n", rendered.stdout, flags=re.MULTILINE):
        text = re.sub(r"^# Source: .*\n", "", text, flags=re.MULTILINE)
        for resource in resources(text):
            if resource["kind"] == "ConfigMap":
                configuration = resource["data"]["gateway.yaml"]
            elif resource["kind"] != "Pod":
                kept.append(RESTART.sub("", HELM_ONLY.sub("", text)).strip("\n") + "\n")
    return "---\n".join(kept), configuration


def check_podman(folder):
    """What `podman kube play` is given has the same pods, but for what it doesn't know."""
    [stateful] = [it for it in resources(must(".tools/bin/kubectl", "kustomize", KUBERNETES / folder)) if it["kind"] == "StatefulSet"]
    found = resources(must(".tools/bin/kubectl", "kustomize", KUBERNETES / "podman" / folder))
    [played] = [it for it in found if it["kind"] == "Deployment"]
    before, after = (it["spec"]["template"]["spec"] for it in (stateful, played))
    wanted = before.get("initContainers", []) + before["containers"]
    for container in wanted + after["containers"]:
        container.pop("restartPolicy", None)
        for port in container.get("ports", []):
            port.pop("hostPort", None)
    if after["containers"] != wanted or "initContainers" in after:
        fail(f"podman/{folder}: not the containers of {folder}")
    if not {mount["name"] for it in wanted for mount in it.get("volumeMounts", [])} <= {it["name"] for it in after["volumes"]}:
        fail(f"podman/{folder}: a volume is missing")


def check_guide(program, directory):
    """The overlays of the guide, made as it prints them, but for what needs Podman."""
    guide = (ROOT / "docs/first-steps-kubernetes.md").read_text()
    steps = re.findall(r"^```sh\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    script = "\n".join(step for step in steps if "issuer.pem" in step or "kustomize" in step)
    script = re.sub(r"^(podman|sleep|curl|ask|pod=|python3 -m).*$", "", script, flags=re.MULTILINE)
    (directory / "deploy").symlink_to(ROOT / "deploy")
    (directory / "first-steps").mkdir()
    path = f"{ROOT / '.tools/bin'}:{os.environ['PATH']}"
    ran = subprocess.run(["bash", "-euc", script], cwd=directory / "first-steps", env={"PATH": path}, capture_output=True, text=True)
    if ran.returncode:
        fail(f"the guide's overlays: {ran.stderr}")
    for folder in RENDERED:
        found = resources((directory / f"first-steps/{folder}.yaml").read_text())
        validate(f"guide/{folder}", [it for it in found if it["kind"] != "Deployment"])
        [data] = [it["data"] for it in found if it["kind"] == "ConfigMap"]
        (directory / folder).mkdir()
        (directory / folder / "keys.json").write_text(data["keys.json"])
        check_configuration(program, folder, data["gateway.yaml"], directory / folder)


def main(program, write):
    with tempfile.TemporaryDirectory() as directory:
        for folder, (_, _, port) in RENDERED.items():
            text, configuration = render(folder)
            target = KUBERNETES / folder / "wardgate.yaml"
            if write:
                target.write_text(text)
                (KUBERNETES / folder / "gateway.yaml").write_text(configuration.strip("\n") + "\n")
            if target.read_text() != text:
                fail(f"{target} is not what the chart renders: run this with --write")
            found = resources(must(".tools/bin/kubectl", "kustomize", KUBERNETES / folder))
            validate(folder, found)
            faults = policy.faults(found, app_port=port)
            if faults:
                fail(f"{folder}: {faults}")
            named = {it["metadata"]["name"] for it in found if it["kind"] == "ConfigMap"}
            [pods] = [spec for _, _, spec in policy.pods(found)]
            mounted = {it["configMap"]["name"] for it in pods["volumes"] if "configMap" in it}
            # A name with a digest would replace the pods with each change, instead of loading it.
            if named != mounted or not named:
                fail(f"{folder}: the pods mount {mounted}, and kustomize makes {named}")
            shipped = (KUBERNETES / folder / "gateway.yaml").read_text()
            check_configuration(program, folder, shipped, pathlib.Path(directory))
            check_podman(folder)
        check_guide(program, pathlib.Path(directory))
    print("manifests ok")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve(), "--write" in sys.argv)
