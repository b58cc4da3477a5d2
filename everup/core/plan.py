"""What to do next: rules propose, one guard disposes; and what `up` would change, as a preview."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from everup.core.health import begun_anew
from everup.core.rules import proposals
from everup.model.actions import Accept, Action, Fence, Hold, Mark, Operate, StartNode, StopNode
from everup.model.desired import Blueprint, NodeId, Part
from everup.model.observed import Group, Health, NodeStatus, Observed, Role, View
from everup.model.picture import Change
from everup.model.spec import RESERVED


def view_of(blueprint: Blueprint, observed: Observed) -> View:
    """The part of a snapshot that belongs to one service: its declared nodes, and those once started for it.

    A member that is to be rebuilt on another host than the one it was seen on is, for all rules, one that never ran.
    """
    declared = {node.id: node for node in blueprint.active}
    group = observed.groups.get(blueprint.label, Group())
    nodes = {
        node_id: begun_anew(declared.get(node_id), status) if node_id != group.primary else status
        for node_id, status in observed.nodes.items()
        if node_id in declared or status.state.service == blueprint.label
    }
    return View(
        observed.now_s,
        nodes,
        group,
        observed.attempts.get(blueprint.label, {}),
        Counter(
            status.state.host
            for node_id, status in observed.nodes.items()
            if node_id not in nodes and status.state.host and status.role == Role.PRIMARY
        ),
        {node_id: why for node_id, why in observed.stays.items() if node_id in declared},
    )


def plan(desired: Sequence[Blueprint], observed: Observed) -> tuple[Action, ...]:
    """The next actions for a snapshot; empty when all is as declared.

    An engine that does not answer yields only `Hold`: its silence says nothing about the nodes.
    """
    if not observed.engine_answers:
        because = f"{observed.engine_says or 'the engine does not answer'}; nothing is touched"
        return tuple(Hold(blueprint.label, because) for blueprint in desired)
    by_label = {blueprint.label: blueprint for blueprint in desired}
    actions: list[Action] = []
    for blueprint in desired:
        view = view_of(blueprint, observed)
        allowed = [_unless_unseen(action, view) for action in guard(proposals(blueprint, view))]
        actions.extend(wait_for_needs(blueprint, view, allowed, by_label, observed))
    actions.extend(_orphans(set(by_label), desired, observed))
    return tuple(actions)


def _unless_unseen(action: Action, view: View) -> Action:
    """Nothing is started before the engine was asked what runs: the node may be there already."""
    if isinstance(action, StartNode) and view.status(action.node.id).health == Health.UNKNOWN:
        return Hold(action.node.service, "it was not looked at yet", action.node.id)
    return action


def guard(proposed: Iterable[Action]) -> list[Action]:
    """Keep the first proposal per node, and one disruptive action per service at a time.

    Starting what does not run disrupts nothing; every operation does.
    """
    taken: set[NodeId] = set()
    kept: list[Action] = []
    operating = False
    for action in proposed:
        node_id = action.node.id if isinstance(action, StartNode) else getattr(action, "node_id", None)
        if isinstance(action, Operate):
            if operating or (action.subject and action.subject in taken):
                continue
            operating = True
            if action.subject:
                taken.add(action.subject)
        elif isinstance(action, Mark | Accept):
            pass
        elif node_id is not None:
            if node_id in taken:
                continue
            taken.add(node_id)
        kept.append(action)
    return kept


def wait_for_needs(
    blueprint: Blueprint,
    view: View,
    actions: list[Action],
    by_label: Mapping[str, Blueprint],
    observed: Observed,
) -> list[Action]:
    """Hold the first start of a service's instances until what it needs has once been able to serve."""
    instances = blueprint.of(Part.INSTANCE)
    if not blueprint.needs or any(view.status(node.id).good_s for node in instances):
        return actions
    waits = [label for label in blueprint.needs if label in by_label and not _serves(by_label[label], observed)]
    if not waits:
        return actions
    reason = f"it needs {', '.join(waits)}, which is not ready yet"
    return [
        Hold(blueprint.label, reason, action.node.id)
        if isinstance(action, StartNode)
        and action.node.part == Part.INSTANCE
        and not view.status(action.node.id).state.running
        else action
        for action in actions
    ]


STAGES: tuple[tuple[Part, ...], ...] = ((Part.INSTANCE,), (Part.ENDPOINT, Part.FRONT), (Part.VOTER,), (Part.DATA,))
"""The order of stopping: nobody loses what it still uses, and no Sentinel takes a stop for a death."""


def wind_down(desired: Sequence[Blueprint], observed: Observed) -> tuple[Action, ...]:
    """What to stop next when the whole environment is to stop: one stage at a time, primaries after their replicas.

    What others stand on (`Blueprint.platform`) stops after them.
    """
    because = "the environment is being stopped"
    groups = [_parts(one for one in desired if one.platform == platform) for platform in (False, True)]
    known = {node_id for group in groups for node_id in group}
    running = {node_id: status for node_id, status in sorted(observed.nodes.items()) if status.state.running}
    primaries = {group.primary for group in observed.groups.values()}
    for parts, stage in itertools.product(groups, STAGES):
        here = [node_id for node_id in running if parts.get(node_id) in stage or node_id not in known]
        here = [node_id for node_id in here if node_id not in primaries] or here
        if here:
            return tuple(StopNode(node_id, running[node_id].state.service, because) for node_id in here)
    return ()


def _parts(blueprints: Iterable[Blueprint]) -> dict[NodeId, Part]:
    return {node.id: node.part for one in blueprints for node in one.known}


def _serves(blueprint: Blueprint, observed: Observed) -> bool:
    view = view_of(blueprint, observed)
    ends = blueprint.of(Part.ENDPOINT)
    workers = blueprint.of(Part.DATA) + blueprint.of(Part.INSTANCE)
    if blueprint.of(Part.DATA):
        primary = view.group.primary
        return primary is not None and all(
            view.status(node_id).ready for node_id in [primary, *(end.id for end in ends)]
        )
    return all(view.status(node.id).ready for node in ends) and any(view.status(node.id).ready for node in workers)


def _is_leaving(node_id: NodeId, status: NodeStatus, desired: Sequence[Blueprint]) -> bool:
    """It is not declared, or runs as it was declared earlier."""
    nodes = [node for one in desired if one.label == status.state.service for node in one.active if node.id == node_id]
    state = status.state
    return not nodes or (state.digest, state.files_digest) != (nodes[0].digest, nodes[0].files_digest)


def _orphans(labels: set[str], desired: Sequence[Blueprint], observed: Observed) -> Iterable[Action]:
    """Nodes of services that are no longer declared at all; what others stood on goes once nothing else has to go."""
    leaving = [
        node_id
        for node_id, status in observed.nodes.items()
        if status.state.running
        and not status.state.service.startswith(RESERVED)
        and _is_leaving(node_id, status, desired)
    ]
    for node_id, status in sorted(observed.nodes.items()):
        if not status.state.running or status.state.service in labels:
            continue
        if status.state.service.startswith(RESERVED) and leaving:
            yield Hold(status.state.service, f"it is used until {', '.join(sorted(leaving))} is as declared", node_id)
        else:
            yield StopNode(node_id, status.state.service, f"service {status.state.service} is no longer declared")


def preview(desired: Sequence[Blueprint], observed: Observed) -> tuple[Change, ...]:
    """What applying `desired` would do to the nodes that exist now, one line per node; nothing is simulated."""
    changes: list[Change] = []
    declared = {node.id for blueprint in desired for node in blueprint.active}
    for blueprint in desired:
        for node in blueprint.nodes:
            state = observed.nodes.get(node.id, NodeStatus()).state
            if not state.running:
                changes.append(Change("start", node.id, "it does not run" if state.digest else "it is declared"))
            elif state.digest != node.digest:
                changes.append(Change("replace", node.id, "its declaration changed"))
            elif state.files_digest != node.files_digest:
                action = "reload" if node.reload_signal else "replace"
                changes.append(Change(action, node.id, "its configuration changed"))
    for node_id, status in sorted(observed.nodes.items()):
        if status.state.running and node_id not in declared:
            changes.append(Change("stop", node_id, "it is no longer declared"))
    return tuple(changes)


def summary(action: Action) -> tuple[str, str]:
    """An action in two words for events and displays: (verb, subject)."""
    match action:
        case StartNode(node=node):
            return "start", node.id
        case StopNode(node_id=node_id):
            return "stop", node_id
        case Fence(node_id=node_id):
            return "fence", node_id
        case Operate(operation=operation, subject=subject, service=service):
            return operation, subject or service
        case Mark(node_id=node_id):
            return "mark", node_id
        case Accept(node_id=node_id):
            return "accept", node_id
        case Hold(service=service, node_id=held):
            return "hold", held or service


def service_of(action: Action) -> str:
    """The label of the service that an action is about."""
    return action.node.service if isinstance(action, StartNode) else action.service
