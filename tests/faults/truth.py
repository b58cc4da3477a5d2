"""What really is, seen past Everup: processes by their markers, roles by asking each Redis, views of each Sentinel."""

import contextlib
import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import redis

from tests.everup_cli import Everup, Json

REPEAT = int(os.environ.get("EVERUP_REPEAT", "1"))
"""How often a test with a random instant is repeated; 10 for figures that go on record."""

FIGURES: dict[str, list[float]] = defaultdict(list)
"""Name -> what was measured; `conftest` prints n, median and maximum at the end."""

T = TypeVar("T")

SYNCED_S = 1.2
"""After so long what was written is on the disk: the append-only file is synced every second."""

BUSY = 5.0
"""How much longer everything may take while the machine's disk and processors serve others too."""


def until(ask: Callable[[], T], within_s: float, what: str = "") -> T:
    """The first true answer; raises AssertionError when there is none in `BUSY` times that time."""
    give_up_s = time.monotonic() + within_s * BUSY
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < give_up_s, f"not within {within_s} s: {what or ask}"
        time.sleep(0.05)


def note(figure: str, value: float) -> None:
    """Keep a measured value for the table at the end."""
    FIGURES[figure].append(value)


def table() -> Iterator[str]:
    """One line per figure."""
    for name, values in sorted(FIGURES.items()):
        yield f"{name}: n={len(values)} median {statistics.median(values):.3f} max {max(values):.3f}"


def events(everup: Everup, after: int = 0) -> list[Json]:
    """Every event with a higher number than `after`, oldest first."""
    lines = everup("events", "--json", "--lines", "2000").stdout.splitlines()
    return [event for event in map(json.loads, lines) if event["seq"] > after]


@dataclass(frozen=True)
class Runs:
    """A live process that bears a node's marker. `leader`: it leads its session, so it is the node's main process."""

    pid: int
    node: str
    leader: bool


def marked(everup: Everup) -> list[Runs]:
    """Every live process of a node of this home, from /proc: by its marker, or, as Redis writes its title over its
    environment, by where it works."""
    found = []
    needle = str(everup.home)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "environ").read_bytes().split(b"\0")
            marker = next((word.decode() for word in words if word.startswith(b"EVERUP_NODE=")), "")
            place = str((folder / "cwd").readlink())
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            home, _, node = place.partition("/nodes/")
            if home.startswith(needle) and stat[0] != "Z" and (node or marker):
                name = node.removesuffix(" (deleted)").partition("/")[0] or marker.partition("/")[2]
                found.append(Runs(int(folder.name), name, stat[3] == folder.name))
    return found


def leaders(everup: Everup) -> dict[str, int]:
    """Node id -> pid of its main process; raises AssertionError when a node runs twice."""
    found: dict[str, int] = {}
    for one in marked(everup):
        if one.leader:
            assert one.node not in found, f"{one.node} runs twice: {found[one.node]} and {one.pid}"
            found[one.node] = one.pid
    return found


class Truth:
    """One Redis service, asked node by node."""

    def __init__(self, everup: Everup, label: str) -> None:
        self.everup, self.label = everup, label
        self.variables = everup.variables(label)
        self.password = self.variables.get("REDIS_PASSWORD")
        self.nodes: dict[str, Json] = {}
        self.read()

    def read(self) -> None:
        """Take the nodes and their addresses from Everup."""
        body = self.everup.look()
        assert body, "no control plane answers"
        service = next(one for one in body["services"] if one["label"] == self.label)
        self.nodes = {node["id"]: node for node in service["nodes"]}

    def part(self, part: str) -> list[Json]:
        """The nodes with that part."""
        return [node for node in self.nodes.values() if node["part"] == part]

    def connect(self, node: Json, timeout_s: float = 2.0) -> "redis.Redis[Any]":
        """A client of a data node or of a Sentinel itself."""
        return redis.Redis(
            node["address"],
            node["port"],
            password=self.password,
            socket_timeout=timeout_s,
            decode_responses=True,
            retry=None,
        )

    def by_url(self, timeout_s: float = 2.0) -> "redis.Redis[Any]":
        """A client that knows REDIS_URL only."""
        return redis.Redis.from_url(self.variables["REDIS_URL"], socket_timeout=timeout_s, decode_responses=True)

    def replication(self, node: Json) -> Json:
        """INFO replication and server of a data node; empty when it does not answer."""
        with contextlib.suppress(redis.RedisError, OSError), self.connect(node) as client:
            return {**client.info("replication"), "run_id": client.info("server")["run_id"]}
        return {}

    def numbers(self, key: str) -> set[int]:
        """The members of a set that a writer filled, read from the primary."""
        with self.by_url(10) as client:
            return {int(member) for member in client.smembers(key)}

    def masters(self) -> list[str]:
        """The nodes that call themselves primary."""
        return [node["id"] for node in self.part("data") if self.replication(node).get("role") == "master"]

    def flaws(self) -> list[str]:
        """Everything that is not as it should be in a whole group; empty when it is whole."""
        body = self.everup.look()
        if body is None:
            return ["no control plane answers"]
        self.read()
        service = next(one for one in body["services"] if one["label"] == self.label)
        flaws = [] if body["settled"] else [f"Everup says: {service['health']}, {service['because']} {body['pending']}"]
        flaws += [f"node {node['id']} is not declared" for node in self.nodes.values() if not node["declared"]]
        seen = {node["id"]: self.replication(node) for node in self.part("data")}
        masters = [node_id for node_id, facts in seen.items() if facts.get("role") == "master"]
        if masters != [service["primary"]]:
            return [*flaws, f"primaries are {masters}, Everup says {service['primary']}"]
        primary = self.nodes[masters[0]]
        flaws += self._replica_flaws(seen, primary)
        for voter in self.part("voter"):
            flaws += self._voter_flaws(voter, primary)
        with contextlib.suppress(redis.RedisError, OSError), self.by_url() as client:
            if client.info("server")["run_id"] == seen[primary["id"]]["run_id"]:
                return [*flaws, *self._process_flaws()]
        return [*flaws, "REDIS_URL does not lead to the primary"]

    def _replica_flaws(self, seen: dict[str, Json], primary: Json) -> Iterator[str]:
        for node_id, facts in seen.items():
            if node_id != primary["id"] and facts.get("master_link_status") != "up":
                yield f"{node_id} does not follow: {facts}"
            elif node_id != primary["id"] and facts["master_host"] != primary["address"]:
                yield f"{node_id} follows {facts['master_host']}"
        count = seen[primary["id"]].get("connected_slaves")
        if count != len(seen) - 1:
            yield f"{primary['id']} has {count} replicas"

    def _voter_flaws(self, voter: Json, primary: Json) -> Iterator[str]:
        try:
            with self.connect(voter) as client:
                view = client.sentinel_master(self.label)
                replicas = client.sentinel_slaves(self.label)
                peers = client.sentinel_sentinels(self.label)
        except (redis.RedisError, OSError) as error:
            yield f"{voter['id']} does not answer: {error}"
            return
        at = f"{primary['address']}:{primary['port']}"
        if f"{view['ip']}:{view['port']}" != at:
            yield f"{voter['id']} names {view['ip']}:{view['port']}, the primary is at {at}"
        declared = {f"{node['address']}:{node['port']}" for node in self.part("data")} - {at}
        if {f"{one['ip']}:{one['port']}" for one in replicas} != declared or len(replicas) != len(declared):
            yield f"{voter['id']} lists replicas {[one['name'] for one in replicas]}"
        others = {f"{one['address']}:{one['port']}" for one in self.part("voter")} - {
            f"{voter['address']}:{voter['port']}"
        }
        if {f"{one['ip']}:{one['port']}" for one in peers} != others or len(peers) != len(others):
            yield f"{voter['id']} lists Sentinels {[one['name'] for one in peers]}"
        flags = {flag for one in (view, *replicas, *peers) for flag in one["flags"].split(",")}
        if bad := flags & {"s_down", "o_down", "master_down", "disconnected", "failover_in_progress"}:
            yield f"{voter['id']} notes {sorted(bad)}"

    def _process_flaws(self) -> Iterator[str]:
        running = leaders(self.everup)
        for node_id, node in self.nodes.items():
            if running.get(node_id) != node["pid"]:
                yield f"{node_id}: Everup says pid {node['pid']}, the marker says {running.get(node_id)}"

    def whole(self, within_s: float = 20.0) -> float:
        """Wait until there is nothing to object to; returns the seconds it took."""
        began_s = time.monotonic()
        while flaws := self.flaws():
            if time.monotonic() - began_s > within_s * BUSY:
                raise AssertionError(f"not whole after {within_s} s: {flaws}\n{self.story()}")
            time.sleep(0.1)
        return time.monotonic() - began_s

    def story(self) -> str:
        """The newest events, for messages."""
        return self.everup("events", "--lines", "60", codes=(0, 1)).stdout[-6000:]
