"""Alerts and dashboards: they read, alerts fire when they should, and every metric in them is one that Wardgate has."""

import json
import re

from tools import CHART, ROOT, fail, must, resources, template

METRIC = re.compile(r"\bwardgate_[a-z0-9_]+")


def main():
    known = set(re.findall(r'"(wardgate_[a-z0-9_]+)"', (ROOT / "src/telemetry/definitions.rs").read_text()))
    if len(known) < 50:
        fail(f"only {len(known)} metrics were found in the program")
    known |= {f"{name}_bucket" for name in known if name.endswith("_seconds")}
    alerts = CHART / "files/alerts.yaml"
    must("promtool", "check", "rules", alerts)
    must("promtool", "test", "rules", "tests/deploy/alerts_test.yaml")
    used = {alerts.name: set(METRIC.findall(alerts.read_text()))}
    for file in sorted((CHART / "files/dashboards").glob("*.json")):
        board = json.loads(file.read_text())
        panels = board["panels"]
        if len({panel["id"] for panel in panels}) != len(panels):
            fail(f"{file.name}: two panels have one id")
        if any(not target["expr"] for panel in panels for target in panel["targets"]):
            fail(f"{file.name}: a panel asks nothing")
        used[file.name] = set(METRIC.findall(file.read_text()))
    for name, metrics in used.items():
        if not metrics or metrics - known:
            fail(f"{name}: no such metrics: {sorted(metrics - known)}")
    # Helm passes both on as they are: what is in braces there is Prometheus's and Grafana's.
    arguments = ["--set", "prometheusRule.enabled=true,dashboards.enabled=true"]
    rendered = resources(template("demo", *arguments).stdout)
    [rules] = [it["spec"] for it in rendered if it["kind"] == "PrometheusRule"]
    if "{{ $labels.instance }} serves nobody" not in json.dumps(rules):
        fail("the alerts changed on their way through Helm")
    [boards] = [it["data"] for it in rendered if it["kind"] == "ConfigMap" and "gateway.yaml" not in it["data"]]
    for name, text in boards.items():
        if json.loads(text) != json.loads((CHART / "files/dashboards" / name).read_text()):
            fail(f"{name} changed on its way through Helm")
    print(f"monitoring ok: {sum(len(it) for it in used.values())} uses of metrics")


if __name__ == "__main__":
    main()
