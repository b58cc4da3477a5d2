"""What Patroni and etcd say, for tests of decisions; and groups seen through it."""

import json
from collections.abc import Mapping
from typing import Any

from everup.model.desired import Blueprint, Node, Part
from everup.model.observed import Attempt, Confirmed, Group, Health, NodeState, NodeStatus, View
from tests.kinds.shapes import blueprint

NOW_S = 1000.0
GENERATION = 3


def patroni(role: str = "replica", **said: Any) -> tuple[tuple[int, str], tuple[int, str]]:
    """Patroni's two answers. `shared` is what etcd holds; all other words go into the first answer."""
    shared = said.pop("shared", {"synchronous_mode": True})
    body: dict[str, Any] = {"state": "running", "role": role, "timeline": 5, "server_version": 180006}
    if role == "primary":
        body["xlog"] = {"location": 5000}
    else:
        body |= {"xlog": {"received_location": 5000, "replayed_location": 4000}, "replication_state": "streaming"}
    config = (502, "") if shared is None else (200, json.dumps(shared))
    return (200, json.dumps(body | said)), config


def streams(*names: str, sync: str = "") -> list[dict[str, str]]:
    """A primary's list of its standbys."""
    states = {name: "sync" if name == sync else "async" for name in names}
    return [{"application_name": name, "state": "streaming", "sync_state": state} for name, state in states.items()]


def group(**keys: Any) -> Blueprint:
    """A group `web` of three."""
    return blueprint("postgres", ha=True, **keys)


def whole(one: Blueprint) -> dict[str, Any]:
    """All is well: web-1 leads, commits wait for web-2."""
    shared = {"synchronous_mode": True}
    return {
        "web-1": patroni("primary", replication=streams("web-2", "web-3", sync="web-2"), shared=shared),
        "web-2": patroni(sync_standby=True, shared=shared),
        "web-3": patroni(shared=shared),
    }


def seen(
    one: Blueprint,
    *,
    says: Mapping[str, Any] | None = None,
    down: tuple[str, ...] = (),
    emptied: tuple[str, ...] = (),
    marks: Mapping[str, int] | None = None,
    primary: str | None = "web-1",
    marked: int = GENERATION,
    attempts: Mapping[str, Attempt] | None = None,
    changed: tuple[str, ...] = (),
    good_s: Mapping[str, float] | None = None,
) -> View:
    """The group at second 1000; the keywords say how it differs from one in which all is well."""
    words = {**whole(one), **(says or {})}
    nodes = {}
    for node in (*one.nodes, *one.retiring):
        nodes[node.id] = _status(node, words.get(node.id), node.id in down, node.id in changed)
        has_data = node.part == Part.DATA and node.id not in emptied
        generation = (marks or {}).get(node.id, GENERATION) if has_data else None
        state = nodes[node.id].state
        fields = {**state.__dict__, "has_data": has_data, "generation": generation}
        nodes[node.id] = NodeStatus(**{**nodes[node.id].__dict__, "state": NodeState(**fields)})
        if node.id in (good_s or {}):
            nodes[node.id] = NodeStatus(**{**nodes[node.id].__dict__, "good_s": (good_s or {})[node.id]})
    return View(NOW_S, nodes, Group(primary, GENERATION if primary else 0, marked), attempts or {})


def _status(node: Node, said: Any, is_down: bool, is_changed: bool) -> NodeStatus:
    dead = Confirmed(node.id, NOW_S - 0.01, -9) if is_down else None
    digest = "earlier" if is_changed else node.digest
    state = NodeState(not is_down, node.service, digest, digest if is_changed else node.files_digest, dead=dead)
    reading = node.probe.read(said) if said is not None else None
    ready = reading is None or reading.ready
    health = Health.DOWN if is_down else Health.READY if ready else Health.SUSPECT
    return NodeStatus(health, state, reading, NOW_S - 0.2, NOW_S - 0.2 if ready else NOW_S - 1.0, NOW_S - 100)
