"""Hand-made snapshots of environments, each one sentence: what check and explain are judged by."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from everup.model.desired import Blueprint, Part
from everup.model.observed import Health, NodeStatus, Observed, View
from everup.model.picture import Picture
from everup.model.spec import Environment, Source
from tests.kinds import postgres_words as postgres
from tests.kinds import test_etcd as etcd
from tests.kinds.shapes import blueprint
from tests.kinds.test_app_rules import World
from tests.worlds import redis, world

GROUP = redis()
SINGLE = redis(False)
SAFE = redis(durability="safe")
DB = postgres.group()
ASYNC_DB = postgres.group(rpo="async")
LONE_DB = blueprint("postgres")
ETCD = replace(etcd.ETCD, platform=True)
MB = 1_000_000

SOURCE = Source(file="everup.yaml", text="", directory="/", path="")

Snapshot = tuple[tuple[Blueprint, ...], Observed]


def picture(snapshot: Snapshot, **changes: Any) -> Picture:
    """The environment `shop` at that moment."""
    blueprints, observed = snapshot
    return Picture(Environment(environment="shop"), SOURCE, blueprints, observed, **changes)


def group(one: Blueprint = GROUP, **differences: Any) -> Snapshot:
    """A Redis service that differs so from one in which all is well."""
    return (one,), world(one, **differences)


def around(one: Blueprint, view: View) -> Snapshot:
    """A service seen so, alone in its environment."""
    return (one,), Observed(view.now_s, view.nodes, {one.label: view.group}, {one.label: view.attempts})


def db(one: Blueprint = DB, **differences: Any) -> Snapshot:
    """A PostgreSQL service that differs so; one of a single server says what its own server would."""
    if one is ASYNC_DB:
        differences = {"says": LAZY, **differences}
    if one.of(Part.DATA)[1:]:
        return around(one, postgres.seen(one, **differences))
    never_ran = tuple(node.id for node in one.retiring)
    view = postgres.seen(one, says={"web-1": ([["f", "5000", "1", "18.0", "77"]],)}, down=never_ran, **differences)
    return around(one, view)


def members(**differences: Any) -> Snapshot:
    """etcd, on which groups stand."""
    return around(ETCD, etcd.seen(**differences))


def app(scale: int, limit: int = 6, kind: str = "app") -> Blueprint:
    """So many instances, of so many allowed."""
    return blueprint(kind, scale=scale, limit=limit)


def instances(one: Blueprint, change: Callable[[World], World] = lambda around: around) -> Snapshot:
    """An app as changed."""
    return (one,), change(World.of(one)).observed()


def with_state(snapshot: Snapshot, states: Mapping[str, Mapping[str, Any]]) -> Snapshot:
    """The engine says this of some nodes: node -> fields of its state."""
    blueprints, observed = snapshot
    changed = {
        node_id: replace(observed.nodes[node_id], state=replace(observed.nodes[node_id].state, **fields))
        for node_id, fields in states.items()
    }
    return blueprints, replace(observed, nodes={**observed.nodes, **changed})


def on_hosts(snapshot: Snapshot, hosts: Mapping[str, str]) -> Snapshot:
    """Spread over hosts: the last word of a node's id -> host; `rest` for all others."""
    places = {node_id: hosts.get(node_id, hosts["rest"]) for node_id in snapshot[1].nodes}
    return with_state(snapshot, {node_id: {"host": host} for node_id, host in places.items()})


def unseen(snapshot: Snapshot) -> Snapshot:
    """Nobody has looked yet: a control plane that starts."""
    blueprints, observed = snapshot
    return blueprints, replace(observed, nodes={node_id: NodeStatus() for node_id in observed.nodes})


def silent(snapshot: Snapshot) -> Snapshot:
    """The engine does not answer."""
    return snapshot[0], replace(snapshot[1], engine_answers=False)


def offsets(lead: int, **replicas: int) -> dict[str, dict[str, Any]]:
    """What the primary says of its replicas: `r2=...` is the offset that redis01-2 has confirmed."""
    addresses = {str(GROUP.node(f"redis01-{name[1:]}").ports["redis"]): at for name, at in replicas.items()}  # type: ignore[union-attr]
    return {"redis01-1": {"offset": lead, "replicas": addresses}}


def suspect(snapshot: Snapshot, node_id: str) -> Snapshot:
    """One node gave no good answer lately."""
    blueprints, observed = snapshot
    status = replace(observed.nodes[node_id], health=Health.SUSPECT, because="it did not answer")
    return blueprints, replace(observed, nodes={**observed.nodes, node_id: status})


def spread(scale: int = 3) -> dict[str, str]:
    """One data node, one Sentinel and its front on each host; the endpoint on the first."""
    numbers = range(1, scale + 1)
    return {f"redis01-{part}{n}": f"h{n}" for n in numbers for part in ("", "sentinel-", "front-")} | {"rest": "h1"}


FAILSAFE = postgres.patroni(
    "primary", replication=postgres.streams("web-2", sync="web-2"), failsafe_mode_is_active=True
)
BEHIND = postgres.patroni(sync_standby=True, latest_end_lsn=5000 + 20 * MB)
NOBODY_WAITED_FOR = {
    "web-1": postgres.patroni("primary", replication=postgres.streams("web-2", "web-3")),
    "web-2": postgres.patroni(),
}
ASYNC = {"synchronous_mode": False}
LAZY = {
    name: postgres.patroni(*role, shared=ASYNC)
    for name, role in (("web-1", ("primary",)), ("web-2", ()), ("web-3", ()))
}
