"""A PostgreSQL group as tests and benchmarks handle it: who is primary, what runs below a node, how to break it."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.everup_cli import Everup, Json

SPEC = """
environment: pg
services:
  db01: {{kind: postgres{more}}}
"""

SINGLE, GROUP, ASYNC = (SPEC.format(more=more) for more in ("", ", ha: true", ", ha: true, rpo: async"))

ETCD = "everup-etcd"


@dataclass(frozen=True)
class Group:
    """The group `db01` of a running Everup."""

    everup: Everup

    def primary(self) -> Json:
        """The node that leads."""
        return self.everup.primary("db01")

    def home(self, node_id: str) -> Path:
        """Where a node lives."""
        return self.everup.home / "state" / "environments" / "pg" / "nodes" / node_id

    def postmaster(self, node_id: str) -> int:
        """The pid of a node's postmaster."""
        return int((self.home(node_id) / "data" / "postmaster.pid").read_text().splitlines()[0])

    def patroni(self, node: Json) -> int:
        """The pid of a node's Patroni: the child of the keeper that is no postmaster."""
        postmaster = self.postmaster(node["id"])
        return next(pid for pid in children(node["pid"]) if pid != postmaster)

    def child(self, node_id: str, title: str) -> int:
        """The pid of the process of a node's postgres whose title holds this."""
        titles = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(self.postmaster(node_id))}
        return next(pid for pid, own in titles.items() if title.encode() in own)

    def kill_server(self, node: Json) -> float:
        """kill -9 of Patroni and postgres; returns the moment (monotonic seconds)."""
        victims = [self.patroni(node), self.postmaster(node["id"])]
        now_s = time.monotonic()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        return now_s

    def kill_postgres(self, node: Json) -> float:
        """kill -9 of postgres alone."""
        pid = self.postmaster(node["id"])
        now_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return now_s

    def lose(self, node: Json, for_s: float = 6.0) -> float:
        """End the node and keep it down."""
        return self.everup.inject(node["id"], "node-loss", for_s)

    def hang(self, node: Json) -> float:
        """Stop everything of the node where it stands."""
        return self.everup.inject(node["id"], "hang")

    def empty(self, node_id: str) -> None:
        """Take a node's data away."""
        shutil.rmtree(self.home(node_id) / "data", ignore_errors=True)  # Everup may have given it up

    def wait_redundant(self, within_s: float = 180.0) -> None:
        """Wait until every node is ready and commits wait for a standby."""
        self.everup.wait_healthy(within_s)

    def wait_for(self, true: Callable[[], bool], within_s: float = 90.0) -> None:
        """Wait for a condition."""
        end_s = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < end_s, f"not in {within_s} s: {self.everup.status()}"
            time.sleep(0.05)

    def says(self, text: str) -> bool:
        """`everup status` says so somewhere."""
        return text in str(self.everup.status())


def children(pid: int) -> list[int]:
    """The pids of a process's children."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z" and int(fields[1]) == pid:
            found.append(int(process.name))
    return sorted(found)
