"""What would become of a service that lost a node now: a loss is put into the snapshot, and the rules are asked.

Nothing here knows a kind. That the answer is what the rules would do is why it can be trusted.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

from everup.core.health import service_health
from everup.core.plan import plan
from everup.model.actions import Hold, Operate, StartNode
from everup.model.desired import Blueprint, Node, NodeId, Part
from everup.model.findings import Loss, Path
from everup.model.observed import Confirmed, Health, Observed, View

STATELESS = (Part.ENDPOINT, Part.FRONT)
"""What holds nothing, and so is started again anywhere, with nothing to wait for."""


def works(blueprint: Blueprint, view: View) -> bool:
    """It does its work, perhaps with less than it should have."""
    return service_health(blueprint, view)[0] in ("healthy", "degraded")


def lost(view: View, node_ids: Collection[NodeId]) -> View:
    """The same moment, but nothing of these nodes can run any more, and the engine has confirmed it."""
    nodes = dict(view.nodes)
    for node_id in node_ids:
        status, dead = view.status(node_id), Confirmed(node_id, view.now_s, None)
        state = replace(status.state, running=False, pid=None, dead=dead)
        nodes[node_id] = replace(status, state=state, health=Health.DOWN, since_s=view.now_s, because="it was lost")
    return replace(view, nodes=nodes)


def loss_of(blueprint: Blueprint, view: View, node_ids: Collection[NodeId]) -> Loss:
    """What would become of a service that works, if these nodes of it were lost now."""
    after = lost(view, node_ids)
    names = tuple(sorted(node_ids))
    if works(blueprint, after):
        return Loss(names, Path.GOES_ON, "the others do its work")
    alone = Observed(after.now_s, after.nodes, {blueprint.label: after.group}, {blueprint.label: after.attempts})
    actions = plan([blueprint], alone)
    for action in actions:
        if isinstance(action, Operate) and action.operation == "failover":
            obstacle = blueprint.election(blueprint, after).obstacle if blueprint.election else ""
            return Loss(names, Path.RESTART if obstacle else Path.FAILOVER, obstacle or action.because)
    # A replica that starts once there is a primary says nothing of what is waited for: the primary, or an only node.
    concerned = [node_id for node_id in names if node_id == view.group.primary] or names
    for action in actions:
        if isinstance(action, StartNode) and action.node.id in concerned:
            return Loss(names, Path.RESTART, _why_away(action.node, action.because))
    holds = [action.because for action in actions if isinstance(action, Hold) and action.node_id in (*concerned, None)]
    return Loss(names, Path.STUCK, "; ".join(holds) or service_health(blueprint, after)[1])


def _why_away(node: Node, because: str) -> str:
    """Why the service waits until `node` has started again."""
    if node.part in STATELESS:
        return "it holds nothing: it is started again at once, and its clients connect again"
    if node.part == Part.INSTANCE:
        return "no other instance is ready"
    return because.removeprefix("restarted in place: ")


def losses(blueprint: Blueprint, view: View) -> Iterator[Loss]:
    """The loss of each node that runs, one at a time, in the order of the declaration; a retiring primary last."""
    declared = [node.id for node in blueprint.nodes]
    primary = view.group.primary
    for node_id in [*declared, *([primary] if primary and primary not in declared else [])]:
        if view.status(node_id).state.running:
            yield loss_of(blueprint, view, [node_id])
