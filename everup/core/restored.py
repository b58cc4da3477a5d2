"""What a restored record of a primary is worth, compared with the generations on the disks."""

from collections.abc import Iterable
from dataclasses import replace

from everup.model.observed import Group, NodeState


def corrected(record: Group, former: Group | None, states: Iterable[NodeState]) -> Group | None:
    """The record to keep where a disk holds a newer generation than it knows; None where it may stand as it is.

    The primary changed after that record was made. The `former` record, that of the store which is replaced, says who
    it is, where it could be read and knows that generation. Else nobody is primary, until those who run, or the newest
    data, say who it is; older data is never started as primary.
    """
    newest = max((state.generation or 0 for state in states), default=0)
    if newest <= record.generation:
        return None
    if former is not None and former.generation >= newest:
        return former
    return replace(record, primary=None, generation=newest, marked=newest, deposed={})
