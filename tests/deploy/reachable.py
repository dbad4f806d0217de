"""What `helm test` runs in a cluster is run here against real sockets, with BusyBox, as in its image."""

import os
import pathlib
import socket
import tempfile

from tools import CHART, fail, run

# A pod's name leads to this machine, since no cluster's DNS is here.
NC = """#!/bin/sh
[ "$3" = demo-wardgate-0.demo-wardgate-pods.clinic.svc ] || exit 2
exec busybox nc "$1" "$2" 127.0.0.1 "$4" "$5" "$6"
"""


def listen():
    """A server that accepts and never says a word."""
    server = socket.create_server(("127.0.0.1", 0))
    return server, server.getsockname()[1]


def closed():
    server, port = listen()
    server.close()
    return port


def main():
    gateway, gateway_port = listen()
    app, app_port = listen()
    cases = [
        ("an application on loopback", gateway_port, closed(), 0, "does not answer"),
        ("an application on the pod's address", gateway_port, app_port, 1, "around the gateway"),
        ("no gateway", closed(), closed(), 1, "the gateway does not answer"),
        ("an edge", gateway_port, 0, 0, "ok: the gateway answers"),
    ]
    with tempfile.TemporaryDirectory() as directory:
        nc = pathlib.Path(directory) / "nc"
        nc.write_text(NC)
        nc.chmod(0o755)
        for name, listener, application, status, said in cases:
            environment = {
                "PATH": f"{directory}:{os.environ['PATH']}",
                "PODS": "demo-wardgate",
                "DOMAIN": "demo-wardgate-pods.clinic.svc",
                "COUNT": "1",
                "GATEWAY_PORT": str(listener),
                "APP_PORT": str(application),
            }
            ended = run("busybox", "sh", CHART / "files/reachable.sh", env=environment)
            if ended.returncode != status or said not in ended.stdout:
                fail(f"{name}: {ended.returncode}, {ended.stdout}{ended.stderr}")
    gateway.close()
    app.close()
    print(f"reachable ok: {len(cases)} cases")


if __name__ == "__main__":
    main()
