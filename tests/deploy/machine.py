"""What runs without a cluster: the unit of systemd, the Compose file, the image and its list of parts.

    python tests/deploy/machine.py WARDGATE
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tools import ROOT, check_configuration, fail, must, run

UNIT = ROOT / "deploy/systemd/wardgate.service"
COMPOSE = ROOT / "deploy/compose"
# On systemd's scale of 0 to 10, where 10 is a service that may do everything.
MOST_EXPOSED = 2.0


def try_unit(program, directory):
    copy = directory / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/wardgate", str(program)))
    must("systemd-analyze", "verify", copy)
    said = must("systemd-analyze", "security", "--offline=true", "--no-pager", copy)
    exposed = float(re.search(r"exposure level for \S+: ([0-9.]+)", said).group(1))
    if exposed > MOST_EXPOSED:
        fail(f"the unit's exposure is {exposed}")
    return exposed


def try_compose(program, directory):
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    published = {name for name, service in services.items() if service.get("ports")}
    if published != {"idp"}:
        fail(f"{sorted(published)} can be reached from outside")
    if any(not port.startswith("127.0.0.1:") for port in services["idp"]["ports"]):
        fail("a port with passwords for trying is open to others than this machine")
    for name in ("wardgate", "app", "redis"):
        service = services[name]
        if service["cap_drop"] != ["ALL"] or "cap_add" in service or service.get("privileged"):
            fail(f"{name} has capabilities")
    if not services["wardgate"]["read_only"]:
        fail("the gateway writes to its root")
    for mount in (mount for service in services.values() for mount in service.get("volumes", [])):
        if mount["type"] == "bind" and not (COMPOSE / mount["source"]).exists():
            fail(f"there is no {mount['source']}")
    realm = json.loads((COMPOSE / "realm.json").read_text())
    text = (COMPOSE / "config/gateway.yaml").read_text()
    if f"/realms/{realm['realm']}\n" not in text:
        fail("the gateway trusts another realm")
    (directory / "seal-key").write_text("3f" * 32 + "\n")
    check_configuration(program, "compose", text, directory)


def try_image(directory):
    """The program itself is linked dynamically for tests, so another static one stands in for it."""
    sbom = directory / "wardgate.cdx.json"
    sbom.write_text(must("scripts/sbom.py"))
    bill = json.loads(sbom.read_text())
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom.read_text()):
        fail(f"the list of parts: {error}")
    names = {part["name"] for part in bill["components"]}
    if not {"pingora", "rustls", "aws-lc-sys"} <= names or "proptest" in names:
        fail("the list of parts holds what is not linked, or lacks what is")
    static, dynamic = directory / "static", directory / "dynamic"
    for target, options in ((static, ["-static"]), (dynamic, [])):
        subprocess.run(["cc", *options, "-x", "c", "-", "-o", target], input="int main(void) { return 0; }", text=True, check=True)
    layout = directory / "image"
    refused = run("scripts/image.py", dynamic, sbom, layout)
    if refused.returncode == 0 or "not static" not in refused.stderr:
        fail("a program that needs a loader went into an image without one")
    first = must("scripts/image.py", static, sbom, layout)
    if must("scripts/image.py", static, sbom, layout) != first:
        fail("the same parts give another image")
    image = json.loads(must("skopeo", "inspect", "--config", f"oci:{layout}:wardgate"))
    if image["config"]["User"] != "65532:65532" or image["config"]["Entrypoint"] != ["/usr/local/bin/wardgate"]:
        fail(f"the image runs {image['config']}")
    # Copying reads each piece and compares its digest.
    must("skopeo", "copy", "--quiet", "--insecure-policy", f"oci:{layout}:wardgate", f"dir:{directory}/copy")
    docker = (ROOT / "deploy/Dockerfile").read_text()
    taken = set(re.findall(r"^COPY (?!--)(.+) \S+$", docker, re.MULTILINE))
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    if {name for names in taken for name in names.split()} != allowed:
        fail(f"the Dockerfile copies {sorted(taken)}, and the context holds {sorted(allowed)}")
    # What the program includes when it is compiled must be in the build as well.
    if "templates" not in allowed or "FROM scratch" not in docker or "\nUSER 65532:65532\n" not in docker:
        fail("the Dockerfile lacks templates, a last stage without a system, or a user")


def try_archive(program, directory):
    """Whoever unpacks it has a program that runs, and an example that it takes."""
    made = pathlib.Path(must("scripts/archive.py", program, directory / "wardgate.cdx.json", directory / "release").strip())
    first = made.read_bytes()
    must("scripts/archive.py", program, directory / "wardgate.cdx.json", directory / "release")
    if made.read_bytes() != first:
        fail("the same parts give another archive")
    subprocess.run(["sha256sum", "--check", "--quiet", f"{made.name}.sha256"], cwd=made.parent, check=True)
    must("tar", "-xzf", made, "-C", directory)
    unpacked = directory / made.name.removesuffix(".tar.gz")
    check_configuration(unpacked / "bin/wardgate", "release archive", (unpacked / "gateway.yaml").read_text(), directory)
    if not (unpacked / "docs/first-steps.md").exists() or not (unpacked / "systemd/wardgate.service").exists():
        fail("the archive lacks documents or the unit")


def main(program):
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        exposed = try_unit(program, directory)
        try_compose(program, directory)
        try_image(directory)
        try_archive(program, directory)
    print(f"machine ok: the unit's exposure is {exposed}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
