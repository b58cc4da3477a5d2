"""When to do what to a PostgreSQL service of one node. Pure rules, most urgent first, each with its reason in words.

There is nobody to fail over to: what died starts again where it was, and only with its data there. An emptied or older
data directory is never started, for then clients would find an empty database where theirs had been.
"""

from collections.abc import Generator, Iterator
from typing import Any

from everup.core.rules import start
from everup.kinds._haproxy import astray, point
from everup.kinds._scene import holds_newest, why_old
from everup.model.actions import Accept, Action, Hold, Mark, Operate, StartNode
from everup.model.desired import Blueprint, Milestone, Node, NodeId, Outcome, Part, Silence, Step, Together
from everup.model.observed import Health, Role, View

FOUND = "--found"
"""What a keeper must be told before it makes a data directory."""


def _only(blueprint: Blueprint) -> Node:
    return blueprint.of(Part.DATA)[0]


def accept_only(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """The only node is the primary; it is recorded as such at the founding, or when the record was lost."""
    node = _only(blueprint)
    if view.group.primary is None and view.status(node.id).health != Health.UNKNOWN:
        because = "it has the data" if view.status(node.id).state.has_data else "the service is new"
        yield Accept(blueprint.label, node.id, because)


def restart_only(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """The node does not run: it is founded once, and later started only with its newest data."""
    node = _only(blueprint)
    status = view.status(node.id)
    if status.state.running or view.group.primary not in (None, node.id):
        return
    if status.health == Health.UNKNOWN or view.group.primary is None:
        yield Hold(blueprint.label, "it was not looked at yet", node.id)
    elif view.group.marked == 0:
        yield start(view, node, "the service is new", FOUND)
    elif holds_newest(status, view):
        yield start(view, node, "restarted in place: it is the only node, and its data is there")
    elif status.state.has_data:
        yield Hold(blueprint.label, f"{why_old(status, view)}; it is not started: bring its data back", node.id)
    else:
        yield Hold(blueprint.label, "its data is gone; it is not started empty: bring the data back", node.id)


def lead_to_only(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """The endpoint leads to the node as soon as that is primary and answers."""
    node, end = _only(blueprint), blueprint.endpoint
    status = view.status(node.id)
    if end is None or not status.ready or status.role != Role.PRIMARY:
        return
    last, read_s = view.attempts.get("lead"), view.status(end.node).read_s
    if last is not None and last.at_s >= read_s:
        return  # look again first
    if because := astray(view, end.node, node.ports["postgres"]):
        yield Operate(blueprint.label, "lead", f"{because}; the primary is {node.id}")


def mark_only(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Note in the data directory that it holds the newest data."""
    node = _only(blueprint)
    status, group = view.status(node.id), view.group
    if group.primary != node.id or not status.ready or status.role != Role.PRIMARY or not status.state.has_data:
        return
    if status.state.generation != group.generation or group.marked != group.generation:
        yield Mark(node.id, blueprint.label, group.generation)


def replace_only(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A changed declaration restarts the only node; clients wait until it is back."""
    node = _only(blueprint)
    state = view.status(node.id).state
    if not state.running or state.digest == node.digest:
        return
    unready = [other.id for other in blueprint.nodes if other.id != node.id and not view.status(other.id).ready]
    if unready:
        yield Hold(blueprint.label, f"it is due for replacement, but waits for {', '.join(unready)}", node.id)
    elif not holds_newest(view.status(node.id), view):
        yield Hold(blueprint.label, "it is due for replacement, once its data is marked as the newest", node.id)
    else:
        yield StartNode(node, "its declaration changed; it is the only node, so clients wait until it is back")


SINGLE_RULES = (accept_only, restart_only, lead_to_only, mark_only, replace_only)


def lead(blueprint: Blueprint, view: View, subject: NodeId | None) -> Generator[Step, Any, Outcome]:
    """Point the endpoint at the recorded primary, cutting sessions that lead elsewhere."""
    primary = blueprint.node(view.group.primary or "")
    if primary is None or blueprint.endpoint is None:
        return Outcome(False, "there is no primary to point at")
    (reply,) = yield Together((point(blueprint.endpoint.node, primary.ports["postgres"]),))
    if isinstance(reply, Silence):
        return Outcome(False, f"the endpoint did not answer: {reply.because}")
    yield Milestone("failover.pointed", {"primary": primary.id})
    return Outcome(True, f"the endpoint leads to {primary.id}")
