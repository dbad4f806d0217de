"""The newcomer's guide is run as printed, but for the build and the ports.

    python tests/deploy/first_steps.py WARDGATE
"""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

from tools import ROOT, fail

EXPECTED = ["401", "200", "403", "404", "401"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def main(program):
    guide = (ROOT / "docs/first-steps.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    # The first one builds what is here already.
    script = "\n".join(blocks[1:])
    for port in ("8080", "9000", "9901"):
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{(other := free_port())}")
        script = script.replace(f"http.server {port}", f"http.server {other}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        path = f"{program.parent}:{os.environ['PATH']}"
        with open(f"{directory}/said", "w+") as said:
            # A group of its own, so that what it leaves in the background can be ended.
            shell = subprocess.Popen(["bash", "-c", script], cwd=directory, env={"PATH": path, "HOME": directory},
                                     stdout=said, stderr=said, start_new_session=True)
            try:
                shell.wait(timeout=120)
            finally:
                os.killpg(shell.pid, signal.SIGKILL)
            said.seek(0)
            text = said.read()
    statuses = re.findall(r"^(\d{3})$", text, re.MULTILINE)
    promised = re.findall(r"# (\d{3}): ", guide)
    if not statuses == promised == EXPECTED:
        fail(f"the guide promises {promised}, and it was {statuses}:\n{text}")
    for part in ("gateway.yaml: ok", "insufficient_user_authentication", '"event":"outcome"', "trail"):
        if part not in text:
            fail(f"nothing says {part!r}:\n{text}")
    print(f"first steps ok: {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
