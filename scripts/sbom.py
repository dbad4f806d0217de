#!/usr/bin/env python3
"""Writes to standard output what the program is made of: a CycloneDX 1.6 list of the crates that Cargo.lock pins.

    scripts/sbom.py [cargo's features, as in --features NAME] >wardgate.cdx.json

Only what is linked or run in the build is listed, no tools of the tests. The same sources give the same bytes.
"""

import json
import subprocess
import sys
import tomllib


def metadata(arguments):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def reached(graph, root):
    """The crates that the root needs to run or to be built, each with those that it needs."""
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    found, waiting = {}, [root]
    while waiting:
        crate = waiting.pop()
        if crate in found:
            continue
        needs = [it["pkg"] for it in nodes[crate]["deps"] if any(kind["kind"] != "dev" for kind in it["dep_kinds"])]
        found[crate] = sorted(needs)
        waiting += needs
    return found


def component(package, checksums):
    name, version = package["name"], package["version"]
    address = f"pkg:cargo/{name}@{version}"
    part = {"type": "library", "bom-ref": address, "name": name, "version": version, "purl": address}
    if package["license"]:
        part["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := checksums.get((name, version)):
        part["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return part


def main():
    graph = metadata(sys.argv[1:])
    with open("Cargo.lock", "rb") as file:
        locked = tomllib.load(file)["package"]
    checksums = {(it["name"], it["version"]): it.get("checksum") for it in locked}
    packages = {it["id"]: it for it in graph["packages"]}
    root = graph["resolve"]["root"]
    needed = reached(graph, root)
    parts = {crate: component(packages[crate], checksums) for crate in needed}
    application = {**parts.pop(root), "type": "application"}
    reference = {crate: part["bom-ref"] for crate, part in parts.items()} | {root: application["bom-ref"]}
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": application},
        "components": sorted(parts.values(), key=lambda part: part["bom-ref"]),
        "dependencies": sorted(
            ({"ref": reference[crate], "dependsOn": sorted(reference[it] for it in needs)} for crate, needs in needed.items()),
            key=lambda entry: entry["ref"],
        ),
    }
    json.dump(bill, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
