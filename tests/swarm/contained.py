"""The seed's client examples in a container of their own, as an app that is not Everup's would be."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.swarm.host import Host
from tests.swarm.image import SYSTEM_PATH
from tests.writers import Client, Writer, node_packages

_LIBRARIES, _PACKAGES, _NODE = "/machine/lib", "/machine/node_modules", "/machine/node"
_BASE = ("libc.so", "libm.so", "libdl.so", "libpthread.so", "librt.so", "ld-linux")
"""The C library: every base of the same distribution has it."""


def contained(client: Client, variables: Mapping[str, str], host: Host, image: str, folder: Path) -> Writer:
    """Start an example, unchanged but for its write loop, in a container on `host`, with an app's variables.

    It runs from `image`, which has Python and redis-py; the machine's Node.js and its packages are mounted for the
    others.
    """
    file, name = folder / client.file, f"contained-{client.name}"
    file.write_text(client.source)
    mounts, program = {str(file): f"/srv/{client.file}"}, "python"
    environ = {**variables, "WRITES_KEY": name}
    if client.program == "node":
        mounts |= _node()
        program = _NODE
        environ |= {"NODE_PATH": _PACKAGES, "LD_LIBRARY_PATH": _LIBRARIES}
    words = ["docker", "run", "--rm", "--init", "--network", "host"]
    words += [word for source, place in mounts.items() for word in ("--volume", f"{source}:{place}:ro")]
    words += [word for variable in environ for word in ("--env", variable)]
    command = host.command(["env", f"PATH={SYSTEM_PATH}", *words, image, program, f"/srv/{client.file}"])
    return Writer(command, environ, folder, name)


def _node() -> dict[str, str]:
    """The machine's Node.js with its packages and libraries -> where a container has them."""
    node = shutil.which("node")
    assert node
    needed = subprocess.run(["ldd", node], capture_output=True, text=True, check=True).stdout
    found = dict(line.split("=>") for line in needed.splitlines() if "=>" in line)
    libraries = {
        path.split()[0]: f"{_LIBRARIES}/{name.strip()}"
        for name, path in found.items()
        if not name.strip().startswith(_BASE)
    }
    return {**libraries, node: _NODE, str(node_packages()): _PACKAGES}
