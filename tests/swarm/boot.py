"""The first process of a pretended host: gives it file systems of its own and keeps a dockerd running.

Usage: boot.py FOLDER NAME RESOLVER CGROUP. It waits for one line on its standard input (the network is there), and ends
when that input is closed: whoever made the rig is gone. As it is the first process of a PID namespace, the kernel ends
the whole host with it.
"""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

RESTART_S = 2.0
"""After how long a dockerd that ended is started again, as Debian's unit does."""


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def furnish(folder: Path, name: str, resolver: str) -> None:
    """Give the host what two hosts may not share: /sys, /run, Docker's folders, names."""
    Path("/proc/sys/kernel/hostname").write_text(name)
    cgroups = folder / "cgroups"
    own = {"docker": "/var/lib/docker", "etc-docker": "/etc/docker"}
    for part in (cgroups, *(folder / part for part in own)):
        part.mkdir(exist_ok=True)
    mount("--rbind", "/sys/fs/cgroup", str(cgroups))
    mount("-t", "sysfs", "sysfs", "/sys")  # with this network's interfaces, but without the cgroups
    mount("--rbind", str(cgroups), "/sys/fs/cgroup")
    subprocess.run(["umount", "-l", str(cgroups)], check=True)
    for part, where in own.items():
        Path(where).mkdir(parents=True, exist_ok=True)
        mount("--bind", str(folder / part), where)
    mount("-t", "tmpfs", "tmpfs", "/run")  # the engine's socket, its containers' state, locks
    for where, text in {
        "/etc/resolv.conf": f"nameserver {resolver}\n",
        "/etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {name}\n",
        "/etc/hostname": f"{name}\n",
    }.items():
        own_file = folder / Path(where).name
        own_file.write_text(text)
        mount("--bind", str(own_file), where)


def start_engine(folder: Path, resolver: str, cgroup: str) -> int:
    """Start dockerd, which listens where hosts have it and in the host's folder; returns its number."""
    words = ["--host=unix:///run/docker.sock", f"--host=unix://{folder}/docker.sock", f"--cgroup-parent=/{cgroup}"]
    words += ["--exec-opt=native.cgroupdriver=cgroupfs", "--userland-proxy=false", f"--dns={resolver}"]
    with (folder / "dockerd.log").open("ab") as log:
        pid = os.posix_spawnp(
            "dockerd",
            ["dockerd", *words],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
            ],
        )
    return pid


def main(folder: Path, name: str, resolver: str, cgroup: str) -> None:
    """Keep the host running until the input ends."""
    if not os.read(0, 1):
        return
    furnish(folder, name, resolver)
    engine, due_s = start_engine(folder, resolver, cgroup), None
    while not (select.select([0], [], [], 0.2)[0] and not os.read(0, 4096)):
        if engine in bury():
            due_s = time.monotonic() + RESTART_S
        if due_s and time.monotonic() > due_s:
            engine, due_s = start_engine(folder, resolver, cgroup), None


def bury() -> set[int]:
    """Reap whoever died, and say who: the first process of a namespace inherits every orphan."""
    dead: set[int] = set()
    try:
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            dead.add(pid)
    except ChildProcessError:
        pass
    return dead


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:5])
