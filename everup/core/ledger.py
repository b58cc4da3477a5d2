"""Who is still to be compared with the primary that followed: the record of a group as primaries come and go."""

from collections.abc import Mapping
from dataclasses import replace

from everup.model.desired import NodeId
from everup.model.observed import Group


def crowned(before: Group, node_id: NodeId, newest: int, known: Mapping[str, int] | None) -> Group:
    """The record once `node_id` leads.

    Args:
        newest: the newest generation on record or on any disk; the new one is one more.
        known: what was noted of where the histories part; None when the former primary handed over all it had.
    """
    deposed = dict(before.deposed)
    if before.primary is not None and known is not None:
        deposed[before.primary] = known
    deposed.pop(node_id, None)
    return replace(before, primary=node_id, generation=newest + 1, deposed=deposed)


def compared(before: Group, node_id: NodeId) -> Group:
    """The record once `node_id` was compared with its successor, or follows it and cannot be any more."""
    return replace(before, deposed={former: noted for former, noted in before.deposed.items() if former != node_id})


def marked(before: Group, node_id: NodeId, generation: int) -> Group:
    """The record once the data of `node_id` was marked with `generation`: it has nothing alone any more."""
    after = compared(before, node_id)
    return replace(after, marked=max(before.marked, generation))


def to_be_compared(group: Group, node_id: NodeId) -> bool:
    """It was primary, is none now, and may have what its successor lacks."""
    return node_id in group.deposed and group.primary not in (None, node_id)
