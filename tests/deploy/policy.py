"""What every manifest must hold to, whoever wrote it: least privilege, and no way to an application around the gateway."""


def pods(resources):
    """Each pod, or template of pods, with its metadata and its spec."""
    for resource in resources:
        if resource["kind"] == "Pod":
            yield resource["kind"], resource["metadata"], resource["spec"]
        elif resource["kind"] in ("StatefulSet", "Deployment", "DaemonSet", "Job"):
            template = resource["spec"]["template"]
            yield resource["kind"], template["metadata"], template["spec"]


def faults(resources, app_port=0):
    """What is wrong with the resources of one release, in words; empty where nothing is."""
    found = []
    exposed = set()
    labels = {}
    for kind, metadata, spec in pods(resources):
        found += pod_faults(kind, spec)
        if kind != "Pod":
            labels = metadata["labels"]
            exposed |= gateway_faults(spec, found)
    telemetry = {9901}
    for resource in resources:
        name = f"{resource['kind']} {resource['metadata']['name']}"
        if resource["kind"] == "Service":
            for port in resource["spec"]["ports"]:
                numbers = {port["port"], port["targetPort"]}
                if app_port and app_port in numbers:
                    found.append(f"{name} leads to the application's port {app_port}")
                if port["targetPort"] not in exposed | {"telemetry"}:
                    found.append(f"{name} leads to port {port['targetPort']}, where the gateway does not listen")
            if not resource["spec"]["selector"].items() <= labels.items():
                found.append(f"{name} selects other pods")
    policies = [it for it in resources if it["kind"] == "NetworkPolicy"]
    if not policies:
        found.append("there is no NetworkPolicy")
    for policy in policies:
        spec = policy["spec"]
        if not spec["podSelector"].get("matchLabels", {}).items() <= labels.items():
            found.append("the NetworkPolicy selects other pods")
        if sorted(spec["policyTypes"]) != ["Egress", "Ingress"]:
            found.append("the NetworkPolicy leaves a direction open")
        for rule in spec["ingress"]:
            opened = {port["port"] for port in rule.get("ports", [])}
            if not rule.get("from") or not opened:
                found.append("the NetworkPolicy lets in anybody, or to any port")
            if not opened <= exposed | telemetry:
                found.append(f"the NetworkPolicy opens {sorted(opened)}")
        for rule in spec["egress"]:
            if not rule.get("to") or not rule.get("ports"):
                found.append("the NetworkPolicy lets out to anywhere, or to any port")
    return found


def pod_faults(kind, spec):
    """What a pod and each of its containers may do that they need not."""
    found = []
    context = spec.get("securityContext", {})
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append(f"{kind}: no seccomp profile")
    if spec.get("automountServiceAccountToken") is not False:
        found.append(f"{kind}: a token of the cluster is mounted")
    for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
        if spec.get(key):
            found.append(f"{kind}: {key}")
    if any("hostPath" in volume for volume in spec.get("volumes", [])):
        found.append(f"{kind}: a directory of the node")
    for container in spec.get("initContainers", []) + spec["containers"]:
        name = f"{kind}: container {container['name']}"
        own = container.get("securityContext", {})
        if not (own.get("runAsNonRoot", context.get("runAsNonRoot")) and own.get("runAsUser", context.get("runAsUser"))):
            found.append(f"{name} may run as root")
        if own.get("readOnlyRootFilesystem") is not True:
            found.append(f"{name} writes to its root")
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            found.append(f"{name} may gain privileges")
        capabilities = own.get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
            found.append(f"{name} has capabilities")
        if any("hostPort" in port for port in container.get("ports", [])):
            found.append(f"{name} has a port of the node")
    return found


def gateway_faults(spec, found):
    """Whether the gateway is there, probed, and before the application; gives the ports that it listens on."""
    sidecars = [it for it in spec.get("initContainers", []) if it["name"] == "wardgate"]
    gateways = sidecars or [it for it in spec["containers"] if it["name"] == "wardgate"]
    if len(gateways) != 1:
        found.append("there is not one gateway in the pod")
        return set()
    gateway = gateways[0]
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        asked = gateway.get(probe, {}).get("httpGet", {})
        if asked.get("path") != path or asked.get("port") != "telemetry":
            found.append(f"the gateway has no {probe} on {path}")
    if "memory" not in gateway.get("resources", {}).get("limits", {}):
        found.append("the gateway's memory has no limit")
    if any("subPath" in mount for mount in gateway["volumeMounts"]):
        found.append("a file mounted by subPath never changes")
    if sidecars:
        if gateway.get("restartPolicy") != "Always":
            found.append("the sidecar is an init container that must end before the application starts")
        if gateway.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])[-1:] != ["drain"]:
            found.append("the sidecar does not send its clients elsewhere before the application ends")
        for app in spec["containers"]:
            if app.get("ports"):
                found.append(f"container {app['name']} declares a port")
            if not app.get("lifecycle", {}).get("preStop"):
                found.append(f"container {app['name']} ends at once")
            secrets = {"key-files", "tls", "audit", "run"} & {it["name"] for it in app.get("volumeMounts", [])}
            if secrets:
                found.append(f"container {app['name']} sees the gateway's {sorted(secrets)}")
    return {port["containerPort"] for port in gateway["ports"] if port.get("name") != "telemetry"}
