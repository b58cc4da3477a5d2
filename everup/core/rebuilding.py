"""Members of groups that have waited long enough for a lost host: which of them are rebuilt on another one.

That gives up what they have there, so it waits until somebody else leads, and enough others can elect.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from everup.core.plan import view_of
from everup.model.desired import Blueprint, Node, NodeId, Part, Tcp
from everup.model.observed import Observed, Role, View

NO_PLACE = "no host is available that has none of its group"


@dataclass(frozen=True)
class Due:
    """Addresses that members wait for no longer, and why others that have waited as long stay there, in words."""

    forsaken: frozenset[Tcp] = frozenset()
    stays: Mapping[NodeId, str] = field(default_factory=dict)


def due(blueprints: Sequence[Blueprint], observed: Observed, lost_for_s: Mapping[str, float]) -> Due:
    """Who has waited long enough by what each service says.

    Args:
        lost_for_s: address of each lost host -> for how many seconds it has been lost without interruption.
    """
    forsaken: set[Tcp] = set()
    stays: dict[NodeId, str] = {}
    for blueprint in blueprints:
        after_s = blueprint.replaces_after_s
        late = [] if after_s is None else _at(blueprint, {host for host, s in lost_for_s.items() if s >= after_s})
        if not late:
            continue
        view = view_of(blueprint, observed)
        why = _alive(view, late) or _under_way(blueprint, observed, view, late)
        if why := why or _indispensable(blueprint, view, _at(blueprint, set(lost_for_s))):
            stays |= {node.id: why for node in late}
        else:
            forsaken |= {to for node in late for to in node.ports.values()}
    return Due(frozenset(forsaken), stays)


def homeless_in(blueprints: Sequence[Blueprint], forsaken: Set[Tcp]) -> dict[NodeId, str]:
    """Those that are still declared at addresses which they need not wait for: there is no other place for them."""
    members = (node for blueprint in blueprints for node in blueprint.nodes)
    return {node.id: NO_PLACE for node in members if not forsaken.isdisjoint(node.ports.values())}


def _at(blueprint: Blueprint, hosts: Set[str]) -> list[Node]:
    """Members that are declared for one of these hosts, by their addresses."""
    return [node for node in blueprint.nodes if node.rebuilds and hosts & {to.host for to in node.ports.values()}]


def _alive(view: View, late: Sequence[Node]) -> str:
    """Who is well on a host that is held for lost, in words, as where only its Docker has died; "" where nobody is.

    The electors could choose such a one, and those that are made to forget it would learn of it anew.
    """
    names = ", ".join(node.id for node in late if view.status(node.id).ready)
    return f"{names} still answers where it was" if names else ""


def _under_way(blueprint: Blueprint, observed: Observed, view: View, late: Sequence[Node]) -> str:
    """Who is declared elsewhere and not started there yet, in words: until then its new host looks free to others."""
    others = [node.id for node in blueprint.nodes if node not in late and node.id in observed.nodes]
    names = ", ".join(name for name in others if view.status(name) is not observed.nodes[name])
    return f"{names} is rebuilt first" if names else ""


def _indispensable(blueprint: Blueprint, view: View, away: Sequence[Node]) -> str:
    """Why what is on lost hosts cannot be given up yet, in words; "" where it can."""
    voters = blueprint.of(Part.VOTER)
    left = sum(view.status(node.id).ready for node in voters if node not in away)
    if voters and left <= len(voters) // 2:
        return f"{left} of {len(voters)} voters answer elsewhere, which is no majority"
    if not blueprint.of(Part.DATA):
        return ""
    primary = view.group.primary
    lead = view.status(primary or "")
    if primary is None or primary in {node.id for node in away} or lead.role != Role.PRIMARY or not lead.ready:
        return "nobody leads elsewhere, and what it has may be all there is"
    return ""
