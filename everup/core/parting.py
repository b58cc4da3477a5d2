"""What it would cost to switch a host off: who leads there, what leaves by itself, what stays, and what must not go."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from everup.core.health import service_health
from everup.core.plan import view_of
from everup.model.desired import Blueprint, Node, NodeId, Part
from everup.model.observed import EVERYWHERE, Ground, Host, Observed, Role, View


@dataclass(frozen=True)
class Occupants:
    """What of one environment runs on a host.

    Attributes:
        leads: primaries.
        moves: what holds nothing, and can run elsewhere.
        stays: other members of groups.
        alone: servers whose data nobody else has.
        unwell: labels of services, wherever they run, that have to get well first, such as one that has just moved.
    """

    leads: tuple[NodeId, ...] = ()
    moves: tuple[NodeId, ...] = ()
    stays: tuple[NodeId, ...] = ()
    alone: tuple[NodeId, ...] = ()
    unwell: tuple[str, ...] = ()


@dataclass(frozen=True)
class Site:
    """A host, and what of each environment runs on it, by the environment's name."""

    host: Host
    occupants: Mapping[str, Occupants]


def occupants(blueprints: Sequence[Blueprint], observed: Observed, host: str) -> Occupants:
    """What runs on the host, but for what runs on every host; each node is named once."""
    leads: list[NodeId] = []
    moves: list[NodeId] = []
    stays: list[NodeId] = []
    alone: list[NodeId] = []
    unwell: list[str] = []
    for blueprint in blueprints:
        view = view_of(blueprint, observed)
        if service_health(blueprint, view)[0] != "healthy":
            unwell.append(blueprint.label)
        for node in blueprint.active:
            if not _is_at(node, view, {host}) or not view.status(node.id).state.running:
                continue
            if node.part == Part.INSTANCE:
                moves.append(node.id)
            elif node.part == Part.DATA and len(blueprint.of(Part.DATA)) == 1:
                alone.append(node.id)
            elif view.status(node.id).role == Role.PRIMARY:
                leads.append(node.id)
            else:
                stays.append(node.id)
    return Occupants(tuple(leads), tuple(moves), tuple(stays), tuple(alone), tuple(unwell))


def obstacles(blueprints: Sequence[Blueprint], observed: Observed, away: Collection[str]) -> Iterator[str]:
    """Why the services of an environment would not go on without these hosts, in words.

    Single servers are no obstacle: they hand over to nobody, which `occupants` tells of.
    """
    for blueprint in blueprints:
        view = view_of(blueprint, observed)
        for part, word in ((Part.VOTER, "voters"), (Part.DATA, "servers")):
            group = blueprint.of(part)
            if len(group) < 2 or not any(_is_at(node, view, away) for node in group):
                continue
            left = sum(view.status(node.id).ready and not _is_at(node, view, away) for node in group)
            needed = len(group) // 2 + 1 if part == Part.VOTER else 1
            if left < needed:
                yield f"{blueprint.label} would have {left} of {len(group)} {word}, and needs {needed}"


def too_few(hosts: Sequence[Host], away: Collection[str]) -> Iterator[str]:
    """Why the hosts that are left would not do, in words: for those who keep the state of all, and as places."""
    staying = [host for host in hosts if host.ground == Ground.SOUND and host.name not in away]
    voters = [host for host in hosts if host.votes]
    left, needed = sum(host.votes for host in staying), len(voters) // 2 + 1
    if not staying:
        yield "no other host is left"
    elif voters and left < needed:
        yield f"the Swarm would have {left} of {len(voters)} managers, and needs {needed}"


def unsound(hosts: Sequence[Host]) -> set[str]:
    """The names of hosts that are lost, or may be switched off at any moment."""
    return {host.name for host in hosts if host.ground != Ground.SOUND}


def grounds(observed: Observed) -> dict[str, Ground]:
    """The hosts that nodes are on, by name, and how they stand; nothing on an engine that has only one."""
    states = [status.state for status in observed.nodes.values() if status.state.address and status.state.host]
    return {one.host: one.ground for one in sorted(states, key=lambda one: one.host)}


def _is_at(node: Node, view: View, hosts: Collection[str]) -> bool:
    where = view.status(node.id).state.host
    return where != EVERYWHERE and where in hosts
