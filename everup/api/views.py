"""From the model to JSON, purely. The fields are a contract: more may be added, none renamed or removed."""

import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from everup.core.health import lag_bytes, primary_of, service_health
from everup.core.parting import grounds
from everup.core.plan import preview, view_of
from everup.core.words import incident, sentence
from everup.model.actions import Hold
from everup.model.desired import Blueprint, Node, Part
from everup.model.events import Event
from everup.model.ledger import Kept
from everup.model.observed import NodeStatus, View
from everup.model.picture import Change, Picture
from everup.model.revisions import History, Trial

Json = dict[str, Any]

SHOWN_REVISIONS = 10
"""Of each service; the store has more."""

WORST_FIRST = ("down", "degraded", "starting", "healthy")


def status(picture: Picture, host: str) -> Json:
    """An environment as `everup status --json` prints it; `host` names the machine that its nodes run on.

    `settled` is true when every service is healthy, nothing that runs differs from what is declared, and no revision of
    an app is still on its way; `pending` lists what differs, `waiting` what Everup waits for on purpose.
    """
    services = [service(blueprint, picture, host) for blueprint in picture.blueprints]
    pending = () if picture.stopped else preview(picture.blueprints, picture.observed)
    health = "down" if picture.stopped else worst(one["health"] for one in services)
    return {
        "environment": picture.environment.environment,
        "engine": picture.environment.engine,
        "health": health,
        "stopped": picture.stopped,
        "settled": health == "healthy" and not pending and not _rolling(services),
        "control_plane": {"pid": picture.control_pid, "since": picture.control_since_utc},
        "file": picture.source.file,
        "services": services,
        "hosts": {name: ground.value for name, ground in grounds(picture.observed).items()},
        "leaving": _leaving(picture, host),
        "pending": [change(one) for one in pending],
        "waiting": [
            {"service": action.service, "node": action.node_id, "because": action.because}
            for action in picture.actions
            if isinstance(action, Hold)
        ],
        "incident": incident(picture.incident),
    }


def _rolling(services: Iterable[Json]) -> bool:
    return any(one["revision"] and one["revision"]["trial"] == Trial.ROLLING for one in services)


def worst(healths: Iterable[str]) -> str:
    """The worst of several healths; healthy when there are none."""
    return min(healths, key=WORST_FIRST.index, default="healthy")


def service(blueprint: Blueprint, picture: Picture, host: str) -> Json:
    """One service with its nodes; those that run and are no longer declared come last."""
    view = view_of(blueprint, picture.observed)
    health, because = service_health(blueprint, view)
    held = next((one for one in picture.actions if isinstance(one, Hold) and one.service == blueprint.label), None)
    if picture.stopped:
        health, because = "down", "it was stopped on request"
    elif health == "down" and held:
        because = held.because
    declared = {node.id for node in blueprint.active}
    standing_in = [node for node in blueprint.stand_ins if _runs(view, node.id)]
    strays = [node_id for node_id in sorted(view.nodes) if node_id not in declared and _runs(view, node_id)]
    primary = primary_of(blueprint, view)
    return {
        "label": blueprint.label,
        "kind": blueprint.kind,
        "ha": blueprint.ha,
        "health": health,
        "because": because,
        "primary": primary,
        "primary_since": _primary_since(primary, picture.incident),
        "endpoint": hide_password(blueprint.endpoint.url) if blueprint.endpoint else None,
        "clients": list(blueprint.clients),
        "needs": list(blueprint.needs),
        "platform": blueprint.platform,
        "scale": blueprint.scale,
        "limit": blueprint.limit,
        "lost": lost_of(one for one in picture.kept if one.service == blueprint.label),
        "revision": _revision(picture.histories.get(blueprint.label)),
        "nodes": [_node(one, view, host) for one in (*blueprint.nodes, *standing_in)]
        + [_stray(one, view, host) for one in strays],
    }


def _revision(history: History | None) -> Json | None:
    """What an app or a worker runs; None of a service without revisions."""
    if history is None or history.now is None:
        return None
    known = [
        {
            "number": one.number,
            "trial": one.trial.value,
            "at": one.at_utc,
            "run": one.declared["run"],
            "image": one.declared.get("image"),
            "because": one.because,
        }
        for one in history.revisions[-SHOWN_REVISIONS:]
    ]
    return {"number": history.current, "trial": history.now.trial.value, "known": known}


def lost_of(kept: Iterable[Kept]) -> Json:
    """What is kept of lost writes, in figures: how many times something was lost, and how much in all."""
    kept = list(kept)
    return {
        "entries": len(kept),
        "writes": sum(one.writes for one in kept),
        "bytes": sum(one.size_bytes for one in kept),
    }


def ledger(picture: Picture) -> Json:
    """The ledger of lost writes as `everup lost --json` prints it, oldest entry first."""
    return {
        "environment": picture.environment.environment,
        **lost_of(picture.kept),
        "kept": [_entry(one) for one in picture.kept],
    }


def _entry(one: Kept) -> Json:
    return {
        "service": one.service,
        "node": one.node,
        "successor": one.successor,
        "at": one.at_utc,
        "writes": one.writes,
        "bytes": one.size_bytes,
        "from": one.begin,
        "to": one.end,
        "exact": one.exact,
        "waited": one.waited,
        "because": one.because,
        "folder": one.folder,
        "files": list(one.files),
        "keys": list(one.keys),
    }


def event(one: Event) -> Json:
    """One event, with a `text` for people."""
    return {
        "seq": one.seq,
        "at": one.at_utc,
        "name": one.name,
        "environment": one.environment,
        "service": one.service,
        "node": one.node,
        "fields": dict(one.fields),
        "text": sentence(one),
    }


def change(one: Change) -> Json:
    """One line of a plan."""
    return asdict(one)


def log_line(node_id: str, line: str) -> Json:
    """One line that a node printed."""
    return {"node": node_id, "line": line}


def hide_password(url: str) -> str:
    """The URL with `***` for its password; `everup env` shows it whole."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]+@", r"\1:***@", url)


def running_nodes(picture: Picture) -> list[str]:
    """The nodes of an environment of which something runs."""
    return sorted(node_id for node_id, one in picture.observed.nodes.items() if one.state.running)


def _node(node: Node, view: View, host: str) -> Json:
    listens = next(iter(node.ports.values()), None)
    return {
        **_facts(node.id, view.status(node.id), host),
        "role": _role(node, view.status(node.id)),
        "part": node.part.value,
        "address": listens.host if listens else None,
        "port": listens.port if listens else None,
        "lag_bytes": lag_bytes(node, view),
        "declared": True,
    }


def _stray(node_id: str, view: View, host: str) -> Json:
    status = view.status(node_id)
    role = status.role.value if status.role else None
    return {
        **_facts(node_id, status, host),
        "role": role,
        "part": None,
        "address": None,
        "port": None,
        "declared": False,
    }


def _facts(node_id: str, status: NodeStatus, host: str) -> Json:
    return {
        "id": node_id,
        "health": status.health.value,
        "because": status.state.failure or status.because,
        "host": status.state.host or host,
        "pid": status.state.pid if status.state.running else None,
        "restarts": status.state.restarts,
        "since": status.state.since_utc if status.state.running else None,
        "lag_bytes": None,
        "lineage": status.reading.lineage or None if status.reading else None,
        "failure": status.state.failure,
    }


def _role(node: Node, status: NodeStatus) -> str | None:
    if node.part == Part.DATA:
        return status.role.value if status.role else None
    return node.part.value


def _runs(view: View, node_id: str) -> bool:
    return view.status(node_id).state.running


def _primary_since(primary: str | None, events: Iterable[Event]) -> str | None:
    """When the primary took over, if the newest incident tells."""
    moments = [one.at_utc for one in events if one.name == "primary.changed" and one.fields.get("primary") == primary]
    return moments[-1] if primary and moments else None


def _leaving(picture: Picture, host: str) -> list[Json]:
    """Running nodes of services that are not declared any more."""
    labels = {blueprint.label for blueprint in picture.blueprints}
    declared = {node.id for blueprint in picture.blueprints for node in blueprint.active}
    return [
        _facts(node_id, one, host)
        for node_id, one in sorted(picture.observed.nodes.items())
        if one.state.running and node_id not in declared and one.state.service not in labels
    ]
