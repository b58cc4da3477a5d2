"""The PostgreSQL groups that are measured side by side: each is broken in the same ways, and is well again later."""

import os
import signal
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from itertools import cycle

from psycopg import Error as PsycopgError
from psycopg import connect

from benchmarks.stock_patroni import StockPatroni
from tests.everup_cli import Everup
from tests.faults.truth import until
from tests.postgres.group import ETCD, GROUP, Group, children

HELD_S = {"node-loss": 3.0, "etcd-member": 3.0, "etcd-quorum": 25.0}
"""How long what is lost stays away."""

WAKES_AFTER_S = 2.0
"""How long after others took over a hung server goes on with what it was doing."""


class SqlGroup(ABC):
    """A PostgreSQL group under Patroni, entered with nothing there, measured on the way up.

    `writable_s` and `streaming_s` are the seconds it took until clients could write and both standbys streamed.
    """

    writable_s = 0.0
    streaming_s = 0.0

    @abstractmethod
    def __enter__(self) -> "SqlGroup": ...
    @abstractmethod
    def __exit__(self, *_: object) -> None: ...
    @abstractmethod
    def url(self) -> str:
        """Where clients write, whoever leads."""

    @abstractmethod
    def lead(self) -> tuple[int, int]:
        """The pids of Patroni and of the postmaster of the primary."""

    @abstractmethod
    def lose_primary(self) -> float:
        """End everything of the primary, and keep it down; returns the moment (monotonic seconds)."""

    @abstractmethod
    def hand_over(self) -> float:
        """Make another the primary, as planned; returns the moment before."""

    @abstractmethod
    def settle(self) -> None:
        """Wait until it is whole again."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Every process of the group."""

    def inject(self, fault: str) -> float:
        """Break the group; returns the moment (monotonic seconds)."""
        if fault == "node-loss":
            return self.lose_primary()
        if fault == "switchover":
            return self.hand_over()
        patroni, postmaster = self.lead()
        if fault == "postgres-killed":
            return send(signal.SIGKILL, postmaster)
        if fault == "killed":
            return send(signal.SIGKILL, patroni, postmaster)
        hung = [patroni, postmaster, *children(postmaster)]
        self._hung = [os.pidfd_open(pid) for pid in hung]
        return send(signal.SIGSTOP, *hung)

    def end(self, fault: str, fault_s: float) -> None:
        """Wait for the end of a fault that lasts, or wake what hung, if it still is there."""
        time.sleep(max(0.0, fault_s + HELD_S.get(fault, 0.0) - time.monotonic()))
        if fault != "hang":
            return
        time.sleep(WAKES_AFTER_S)
        for descriptor in self._hung:
            with suppress(ProcessLookupError):  # it was ended before anybody else took over
                signal.pidfd_send_signal(descriptor, signal.SIGCONT)
            os.close(descriptor)


class EverupPostgres(SqlGroup):
    """PostgreSQL HA as `everup up` brings it up."""

    def __init__(self) -> None:
        self.everup = Everup(GROUP)
        self.group = Group(self.everup)
        self._voters = cycle(range(1, 4))

    def __enter__(self) -> "EverupPostgres":
        try:
            began_s = time.monotonic()
            up = self.everup.start("up")
            until(self.everup.look, 60)
            with self.everup.api() as api:
                self._url = str(api.get("/v1/environments/pg/variables").json()["db01"]["DATABASE_URL"])
            until(lambda: writable(self._url), 60)
            self.writable_s = time.monotonic() - began_s
            until(self._streaming, 60)
            self.streaming_s = time.monotonic() - began_s
            up.communicate(timeout=240)
            self.settle()
        except BaseException:
            self.everup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.everup.close()

    def url(self) -> str:
        return self._url

    def lead(self) -> tuple[int, int]:
        primary = self.group.primary()
        return self.group.patroni(primary), self.group.postmaster(primary["id"])

    def lose_primary(self) -> float:
        return self.group.lose(self.group.primary(), HELD_S["node-loss"])

    def hand_over(self) -> float:
        now_s = time.monotonic()
        self.everup("switchover", "db01")
        return now_s

    def settle(self) -> None:
        self.group.wait_redundant()

    def pids(self) -> list[int]:
        control = self.everup.control_plane()
        return [pid for pid in self.everup.processes() if pid != control]

    def inject(self, fault: str) -> float:
        if not fault.startswith("etcd"):
            return super().inject(fault)
        lost = [f"{ETCD}-{next(self._voters)}" for _ in range(1 if fault == "etcd-member" else 2)]  # others each time
        return max(self.everup.inject(node_id, "node-loss", HELD_S[fault]) for node_id in lost)

    def _streaming(self) -> bool:
        body = self.everup.look() or {"services": []}
        nodes = [node for service in body["services"] if service["label"] == "db01" for node in service["nodes"]]
        return [(node["role"], node["health"]) for node in nodes].count(("replica", "ready")) == 2


class StockPostgres(SqlGroup):
    """A stock group; what was ended is started again after the measuring."""

    def __init__(self) -> None:
        self.group = StockPatroni("127.61.1")

    def __enter__(self) -> "StockPostgres":
        try:
            began_s = time.monotonic()
            self.group.start()
            until(lambda: writable(self.url()), 60)
            self.writable_s = time.monotonic() - began_s
            until(self.group.streaming, 60)
            self.streaming_s = time.monotonic() - began_s
        except BaseException:
            self.group.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.group.stop()

    def url(self) -> str:
        return self.group.url

    def lead(self) -> tuple[int, int]:
        host = self.group.leader()
        return self.group.patroni(host), self.group.postmaster(host)

    def lose_primary(self) -> float:
        patroni, postmaster = self.lead()
        return send(signal.SIGKILL, patroni, postmaster, *children(postmaster))

    def hand_over(self) -> float:
        now_s = time.monotonic()
        self.group.switch_over()
        return now_s

    def settle(self) -> None:
        self.group.revive()
        until(self.group.streaming, 60)

    def pids(self) -> list[int]:
        return self.group.pids()


def send(number: signal.Signals, *pids: int) -> float:
    """Send a signal to all of them, where they still are; returns the moment before (monotonic seconds)."""
    now_s = time.monotonic()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    return now_s


def writable(url: str) -> bool:
    """Whether a client can write there now."""
    try:
        with connect(url, autocommit=True, connect_timeout=2) as connection:
            connection.execute("create table if not exists everup_probe (n int)")
            connection.execute("insert into everup_probe values (1)")
    except PsycopgError:
        return False
    return True


GROUPS: dict[str, type[SqlGroup]] = {"everup": EverupPostgres, "stock": StockPostgres}
