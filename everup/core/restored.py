"""What a restored record of a primary is worth, compared with the generations on the disks."""

from collections.abc import Iterable
from dataclasses import replace

from everup.model.observed import Group, NodeState


def corrected(record: Group, states: Iterable[NodeState]) -> Group | None:
    """The record to keep where a disk holds a newer generation than it knows; None where it may stand as it is.

    The primary changed after that record was made. Nobody is primary then, until those who run, or the newest data, say
    who it is; older data is never started as primary.
    """
    newest = max((state.generation or 0 for state in states), default=0)
    if newest <= record.generation:
        return None
    return replace(record, primary=None, generation=newest, marked=newest, deposed={})
