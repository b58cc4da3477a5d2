"""Changing the instances of an app or a worker one at a time: rules that propose, recipes that do."""

from collections.abc import Generator, Iterator, Mapping
from typing import Any

from everup.kinds import _haproxy
from everup.kinds._process import instance_number
from everup.model.actions import Action, Hold, Operate, StartNode, StopNode
from everup.model.desired import Blueprint, Node, NodeId, Outcome, Part, Pause, Recipe, Silence, Step, Together
from everup.model.findings import Finding, Level, Topic
from everup.model.observed import Health, NodeStatus, View

SETTLED_S = 2.0
"""An instance that nobody can ask how it is must run this long before the next is replaced."""

RETRY_S = 1.0
POLL_S = 0.05

Run = Generator[Step, Any, Outcome]


def admit_ready(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A ready instance that HAProxy keeps out is let in at once, instead of when a check next succeeds."""
    if blueprint.endpoint is None:
        return
    end, servers = view.status(blueprint.endpoint.node), _haproxy.servers_of(view, blueprint.endpoint.node)
    last = view.attempts.get("admit")
    kept_out = []
    for node in _admissible(blueprint, view):
        server, since_s = servers.get(node.id), view.status(node.id).since_s
        if server is None or server.serves or end.read_s < since_s:
            continue
        # Where HAProxy's own check objects it is told once, not again and again.
        if server.admin != "ready" or last is None or last.at_s < since_s:
            kept_out.append(node.id)
    if kept_out and not _asked_since(view, "admit", end) and not _failed_lately(view, "admit"):
        reason = f"{', '.join(kept_out)} can serve, and {blueprint.endpoint.node} sends no requests there yet"
        yield Operate(blueprint.label, "admit", reason, kept_out[0] if len(kept_out) == 1 else None)


def shut_out(blueprint: Blueprint, view: View) -> Iterator[Finding]:
    """Ready instances that get no requests: those who are left may be fewer than the health of the nodes tells."""
    servers = _haproxy.servers_of(view, blueprint.endpoint.node) if blueprint.endpoint else {}
    ready = [node.id for node in blueprint.of(Part.INSTANCE) if view.status(node.id).ready]
    serving = [name for name in ready if name in servers and servers[name].serves]
    idle = [name for name in ready if name in servers and name not in serving]
    if not idle:
        return
    level = Level.NO if len(serving) < 2 else Level.WARNING
    left = f"only {', '.join(serving)} does" if serving else "nobody does"
    because = f"{', '.join(idle)} is ready and gets no requests" + (f"; {left}" if level == Level.NO else "")
    yield Finding(level, Topic.ENDPOINT, because, idle[0], f"everup logs {blueprint.label}")


def reload_endpoint(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A changed configuration of the endpoint costs nothing and is never kept waiting."""
    for node in blueprint.of(Part.ENDPOINT):
        state = view.status(node.id).state
        if state.running and state.digest == node.digest and state.files_digest != node.files_digest:
            yield StartNode(node, "its configuration changed; it reloads without a failed request")


def retire(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """An instance that is no longer declared ends its requests and is stopped; a dead or hung one has none to end."""
    declared = {node.id for node in blueprint.nodes}
    for node_id, status in sorted(view.nodes.items()):
        if node_id in declared or not status.state.running or instance_number(blueprint.label, node_id) is None:
            continue
        if status.health in (Health.HUNG, Health.DOWN) or not _may_get_requests(blueprint, view, node_id):
            yield StopNode(node_id, blueprint.label, "it is no longer declared, and has no requests left")
        else:
            yield from _drain(blueprint, view, node_id, "it is no longer declared")


def replace_stale(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Instances of an earlier declaration are replaced one at a time, each while all the others can serve."""
    stale = [node for node in blueprint.of(Part.INSTANCE) if _is_stale(node, view.status(node.id))]
    stale.sort(key=lambda node: _serves(blueprint, view, node))
    for place, node in enumerate(stale):
        if place:
            yield Hold(blueprint.label, f"{node.id} is replaced after {stale[0].id}", node.id)
        elif not _serves(blueprint, view, node):
            yield StartNode(node, "its declaration changed, and it serves nobody meanwhile")
        elif waits := _unsettled(blueprint, view, node):
            reason = f"{node.id} is due for replacement, but waits for {', '.join(waits)}"
            yield Hold(blueprint.label, reason, node.id)
        elif blueprint.endpoint:
            yield from _drain(blueprint, view, node.id, _why_replace(blueprint))
        else:
            yield StartNode(node, _why_replace(blueprint))


def _is_stale(node: Node, status: NodeStatus) -> bool:
    alive = status.health in (Health.STARTING, Health.READY, Health.SUSPECT)
    return status.state.running and alive and status.state.digest != node.digest


def _why_replace(blueprint: Blueprint) -> str:
    if blueprint.endpoint and len(blueprint.of(Part.INSTANCE)) == 1:
        return "its declaration changed; it is the only instance, so requests fail until it is back"
    return "its declaration changed"


def _serves(blueprint: Blueprint, view: View, node: Node) -> bool:
    """Ending it now would be noticed."""
    in_use = view.status(node.id).health in (Health.READY, Health.SUSPECT)
    return in_use and (blueprint.endpoint is None or _may_get_requests(blueprint, view, node.id))


def _may_get_requests(blueprint: Blueprint, view: View, node_id: NodeId) -> bool:
    """The endpoint may send it requests, or still waits for its answers."""
    if blueprint.endpoint is None or view.status(blueprint.endpoint.node).health == Health.DOWN:
        return False
    if not view.status(blueprint.endpoint.node).ready:
        return True
    server = _haproxy.servers_of(view, blueprint.endpoint.node).get(node_id)
    return server is not None and server.admin != "maint"


def _unsettled(blueprint: Blueprint, view: View, leaving: Node) -> list[str]:
    """Who must be well before `leaving` may go."""
    waits = []
    end = blueprint.endpoint
    if end and not view.status(end.node).ready:
        waits.append(end.node)
    servers: Mapping[str, _haproxy.Server] = _haproxy.servers_of(view, end.node) if end else {}
    for node in blueprint.of(Part.INSTANCE):
        status, server = view.status(node.id), servers.get(node.id)
        if node.id == leaving.id:
            continue
        if end:
            settled = server is not None and server.serves and view.status(end.node).read_s >= status.since_s
        else:
            settled = view.now_s - status.since_s >= SETTLED_S
        if not status.ready or not settled:
            waits.append(node.id)
    return waits


def _drain(blueprint: Blueprint, view: View, node_id: NodeId, because: str) -> Iterator[Action]:
    """Propose to drain it, and keep every other rule away from it until that is done."""
    end = view.status(blueprint.endpoint.node) if blueprint.endpoint else NodeStatus()
    if end.ready and not _asked_since(view, "drain", end) and not _failed_lately(view, "drain"):
        yield Operate(blueprint.label, "drain", because, node_id)
    yield Hold(blueprint.label, f"{node_id} is ending its requests: {because}", node_id)


def _asked_since(view: View, operation: str, end: NodeStatus) -> bool:
    """The operation ended after the endpoint was last read: look again first."""
    last = view.attempts.get(operation)
    return last is not None and last.at_s >= end.read_s


def _failed_lately(view: View, operation: str) -> bool:
    last = view.attempts.get(operation)
    return last is not None and not last.done and view.now_s - last.at_s < RETRY_S


def _admissible(blueprint: Blueprint, view: View) -> list[Node]:
    return [
        node
        for node in blueprint.of(Part.INSTANCE)
        if view.status(node.id).ready and view.status(node.id).state.digest == node.digest
    ]


def drain(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Send `subject` nothing new, wait for its requests to end, at most its stop grace, and take it out altogether."""
    node = blueprint.node(subject) if subject else None
    if blueprint.endpoint is None or subject is None:
        return Outcome(False, "only an instance behind an endpoint can be drained")
    end, grace_s = blueprint.endpoint.node, node.stop.grace_s if node else 10.0
    (reply,) = yield Together((_haproxy.drain(end, subject),))
    if objection := _objection(reply):
        return Outcome(False, objection)
    left: int | None = None
    for _ in range(int(grace_s / POLL_S) + 1):
        (reply,) = yield Together((_haproxy.look(end),))
        left = _sessions(reply, subject)
        if left == 0:
            break
        yield Pause(POLL_S)
    (reply,) = yield Together((_haproxy.rest(end, subject),))
    if objection := _objection(reply):
        return Outcome(False, objection)
    if left == 0:
        return Outcome(True, f"{subject} has no requests left")
    return Outcome(True, f"{subject} was still busy with {left or 'some'} requests after {grace_s:g} s")


def admit(blueprint: Blueprint, view: View, subject: NodeId | None) -> Run:
    """Send requests to `subject`, or to every instance that is ready and as declared."""
    names = [subject] if subject else [node.id for node in _admissible(blueprint, view)]
    if blueprint.endpoint is None or not names:
        return Outcome(False, "there is nobody to admit")
    (reply,) = yield Together((_haproxy.admit(blueprint.endpoint.node, names),))
    if objection := _objection(reply):
        return Outcome(False, objection)
    return Outcome(True, f"{', '.join(names)} gets requests")


def _objection(reply: Any) -> str:
    if isinstance(reply, Silence):
        return f"the endpoint did not answer: {reply.because}"
    return _haproxy.problem(reply)


def _sessions(reply: Any, name: NodeId) -> int | None:
    """Requests that `name` is working on; None when the answer does not say."""
    if isinstance(reply, Silence):
        return None
    server = _haproxy.read_servers(reply).facts.get("servers", {}).get(name)
    return server.sessions if server else None


OPERATIONS: Mapping[str, Recipe] = {"drain": drain, "admit": admit}
