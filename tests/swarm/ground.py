"""What the hosts of a rig stand on: the network between them, a resolver that knows no name, and the last one to leave.

Usage: ground.py FOLDER GROUP ADDRESS. It holds the network namespace of the bridge. When its standard input is closed,
whoever made the rig has finished or is dead, however it died: then everything of the rig is ended and removed.
"""

import contextlib
import select
import socket
import subprocess
import sys
from pathlib import Path

from tests.swarm import cgroups

BURIED_S = 60.0
NO_SUCH_NAME = b"\x81\x83"


def main(folder: Path, group: str, address: str) -> None:
    """Answer until the input ends, then remove the rig."""
    sys.stdin.readline()  # the address exists now
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.bind((address, 53))
        while True:
            ready, _, _ = select.select([sys.stdin, resolver], [], [])
            if sys.stdin in ready:
                break
            with contextlib.suppress(OSError):
                question, asker = resolver.recvfrom(4096)
                resolver.sendto(refusal(question), asker)
    clean(folder, group)


def refusal(question: bytes) -> bytes:
    """The answer NXDOMAIN to a DNS question: the same header and question, and nothing else."""
    end = 12
    while end < len(question) and question[end]:
        end += question[end] + 1
    return question[:2] + NO_SUCH_NAME + question[4:6] + bytes(6) + question[12 : end + 5]


def clean(folder: Path, group: str) -> None:
    """End the processes of a rig and remove its cgroups and its folder; raises OSError where something stays."""
    if not cgroups.clear(group, BURIED_S):
        raise OSError(f"processes of {group} do not end: {sorted(cgroups.members(group))}")
    removed = subprocess.run(["rm", "--recursive", "--force", "--one-file-system", str(folder)])  # quicker than shutil
    if removed.returncode != 0:
        raise OSError(f"{folder} cannot be removed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4])
