"""Rules that change the instances of an app or a worker one at a time, beside a stand-in where requests need one."""

from collections.abc import Iterator

from everup.core.rules import homeless, start
from everup.kinds import _haproxy
from everup.kinds._draining import is_fresh, stand_in_of
from everup.kinds._process import instance_number
from everup.model.actions import Action, Hold, Operate, StartNode, StopNode
from everup.model.desired import Blueprint, Node, NodeId, Part
from everup.model.findings import Finding, Level, Topic
from everup.model.observed import Ground, Health, NodeStatus, View

SETTLED_S = 2.0
"""An instance that nobody can ask how it is must run this long before the next is replaced."""

TRIED_S = 1.0
"""How long a stand-in, the first of a new revision, must be ready before anybody leaves on its account."""

RETRY_S = 1.0


def admit_ready(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """A ready instance that HAProxy keeps out is let in at once, instead of when a check next succeeds."""
    if blueprint.endpoint is None:
        return
    end, servers = view.status(blueprint.endpoint.node), _haproxy.servers_of(view, blueprint.endpoint.node)
    last = view.attempts.get("admit")
    kept_out = []
    for node in _crew(blueprint, view):
        if not (is_fresh(node, view) and view.status(node.id).ready) or _is_to_leave(view.status(node.id)):
            continue
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
    """An instance that is not wanted any more ends its requests and is stopped; a dead or hung one has none to end."""
    wanted = {node.id for node in (*blueprint.nodes, *_crew(blueprint, view))}
    extra = stand_in_of(blueprint)
    if extra and extra.id in wanted and is_fresh(extra, view) and view.status(extra.id).health != Health.HUNG:
        yield Hold(blueprint.label, f"{extra.id} serves until every instance does", extra.id)
    for node_id, status in sorted(view.nodes.items()):
        stands_in = extra is not None and node_id == extra.id
        if node_id in wanted or not status.state.running:
            continue
        if not stands_in and instance_number(blueprint.label, node_id) is None:
            continue
        because = "no instance is being replaced any more" if stands_in else "it is no longer declared"
        if status.health in (Health.HUNG, Health.DOWN) or not _may_get_requests(blueprint, view, node_id):
            yield StopNode(node_id, blueprint.label, f"{because}, and it has no requests left")
        else:
            yield from _drain(blueprint, view, node_id, because)


def leave_lost(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """What ran on a host that is lost is started on another, once it is granted a place there."""
    for node in _crew(blueprint, view):
        state = view.status(node.id).state
        if state.running and state.ground == Ground.LOST:
            why = f"its host {state.host} is lost"
            if homeless(node, view):
                yield Hold(blueprint.label, f"{why}; it waits for a place on another one", node.id)
            else:
                yield start(view, node, why)


def replace_stale(blueprint: Blueprint, view: View) -> Iterator[Action]:
    """Instances of an earlier declaration are replaced one at a time, each while all the others can serve.

    Where requests need them, a stand-in as now declared serves first: so there is never one less, and a declaration
    that does not work is found out before anybody has left.
    """
    crew = _crew(blueprint, view)
    stale = [node for node in crew if _is_stale(node, view.status(node.id))]
    stale.sort(key=lambda node: (_serves(blueprint, view, node), node not in blueprint.stand_ins))
    for place, node in enumerate(stale):
        because = _why_stale(node, view)
        if place:
            yield Hold(blueprint.label, f"{node.id} is replaced after {stale[0].id}", node.id)
        elif not _serves(blueprint, view, node):
            yield _replaced(blueprint, view, node, f"{because}, and it serves nobody meanwhile")
        elif waits := _unsettled(blueprint, view, node):
            yield from _stand_in(crew[len(blueprint.of(Part.INSTANCE)) :], view)
            yield Hold(blueprint.label, f"{node.id} is due for replacement, but waits for {', '.join(waits)}", node.id)
        elif blueprint.endpoint:
            yield from _drain(blueprint, view, node.id, because)
        else:
            yield StartNode(node, because)


def _stand_in(extra: list[Node], view: View) -> Iterator[Action]:
    """Have the stand-in started, as soon as its back-off allows."""
    for node in extra:
        if view.status(node.id).state.running:
            continue
        if why := homeless(node, view):
            yield Hold(node.service, f"{why}; it waits for a place on another one", node.id)
        else:
            yield start(view, node, "it serves while others are replaced")


def _crew(blueprint: Blueprint, view: View) -> list[Node]:
    """The declared instances; and last the stand-in, while one that serves is to be replaced, and until all serve."""
    instances, extra = list(blueprint.of(Part.INSTANCE)), stand_in_of(blueprint)
    if extra is None:
        return instances
    due = any(_is_stale(node, view.status(node.id)) and _serves(blueprint, view, node) for node in instances)
    needed = due or any(_unsettled_one(blueprint, view, node) for node in instances)
    there = is_fresh(extra, view) or _serves(blueprint, view, extra)
    return [*instances, extra] if due or (needed and there) else instances


def _is_stale(node: Node, status: NodeStatus) -> bool:
    alive = status.health in (Health.STARTING, Health.READY, Health.SUSPECT)
    return status.state.running and alive and (status.state.digest != node.digest or _is_to_leave(status))


def _is_to_leave(status: NodeStatus) -> bool:
    """Its host is about to be switched off."""
    return status.state.ground == Ground.DRAINED


def _why_stale(node: Node, view: View) -> str:
    state = view.status(node.id).state
    return "its declaration changed" if state.digest != node.digest else f"its host {state.host} is drained"


def _replaced(blueprint: Blueprint, view: View, node: Node, because: str) -> Action:
    """Start it anew; or end it, where it can only start once it is granted a place elsewhere."""
    return StopNode(node.id, blueprint.label, because) if homeless(node, view) else StartNode(node, because)


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
    end = blueprint.endpoint
    waits = [end.node] if end and not view.status(end.node).ready else []
    crew = [node for node in _crew(blueprint, view) if node.id != leaving.id]
    return waits + [node.id for node in crew if _unsettled_one(blueprint, view, node)]


def _unsettled_one(blueprint: Blueprint, view: View, node: Node) -> bool:
    """It can't be relied upon yet."""
    status, end = view.status(node.id), blueprint.endpoint
    if not status.ready:
        return True
    if end is None:
        return view.now_s - status.since_s < SETTLED_S
    if node in blueprint.stand_ins and not (is_fresh(node, view) and view.now_s - status.since_s >= TRIED_S):
        return True
    server = _haproxy.servers_of(view, end.node).get(node.id)
    return server is None or not server.serves or view.status(end.node).read_s < status.since_s


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
