"""Is a new revision on its way, done, or broken? Pure; what was learnt so far is passed on from look to look."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from everup.model.desired import Blueprint, Node, NodeId, Part
from everup.model.observed import View
from everup.model.revisions import Trial

ENDS = 4
"""So many failed starts of one node in a row mean that the revision does not work."""


@dataclass(frozen=True)
class Progress:
    """What was seen of a revision. Monotonic seconds.

    `begun_s` is when it was declared; `grown_s` is when more instances than ever before, `most`, were ready with it;
    `ends` holds by node the moments at which it may be tried again, one for each failed start.
    """

    begun_s: float
    grown_s: float
    most: int = 0
    ends: Mapping[NodeId, frozenset[float]] = field(default_factory=dict)

    @classmethod
    def beginning(cls, now_s: float) -> "Progress":
        """Nothing was seen yet."""
        return cls(now_s, now_s)


def advance(progress: Progress, blueprint: Blueprint, view: View) -> Progress:
    """Take in one more look at the service."""
    ready = sum(view.status(node.id).ready for node in _new(blueprint, view))
    ends = dict(progress.ends)
    for node in _tried(progress, blueprint, view):
        ends[node.id] = ends.get(node.id, frozenset()) | {view.status(node.id).state.retry_at_s}
    grown = ready > progress.most
    return replace(
        progress,
        most=max(ready, progress.most),
        grown_s=view.now_s if grown else progress.grown_s,
        ends=ends,
    )


def verdict(progress: Progress, blueprint: Blueprint, view: View, patience_s: float) -> tuple[Trial, str]:
    """How the revision stands, and, if it failed, why. `patience_s` may pass until one more instance is ready."""
    if _is_done(blueprint, view):
        return Trial.GOOD, ""
    for node_id, moments in sorted(progress.ends.items()):
        if len(moments) >= ENDS:
            return Trial.FAILED, f"{node_id} {view.status(node_id).state.failure or 'ended again and again'}"
    waited_s = view.now_s - progress.grown_s
    if waited_s < patience_s:
        return Trial.ROLLING, ""
    unready = [node.id for node in _new(blueprint, view) if not view.status(node.id).ready]
    unready += [node.id for node in _tried(progress, blueprint, view)]
    if not unready:  # what it waits for is somebody else
        return Trial.ROLLING, ""
    status = view.status(unready[0])
    why = status.state.failure if unready[0] in progress.ends else status.because or "it does not run"
    return Trial.FAILED, f"{unready[0]} was not ready after {waited_s:.0f} s: {why}"


def _new(blueprint: Blueprint, view: View) -> list[Node]:
    """Instances, stand-ins included, that were last started as now declared."""
    instances = (*blueprint.of(Part.INSTANCE), *blueprint.stand_ins)
    return [node for node in instances if view.status(node.id).state.digest == node.digest]


def _tried(progress: Progress, blueprint: Blueprint, view: View) -> Iterator[Node]:
    """Instances that failed to start, or ended again, since the revision was declared; the former may still run."""
    for node in (*blueprint.of(Part.INSTANCE), *blueprint.stand_ins):
        state = view.status(node.id).state
        fresh = state.digest == node.digest
        if state.failure and state.retry_at_s > progress.begun_s and not (state.running and fresh):
            yield node


def _is_done(blueprint: Blueprint, view: View) -> bool:
    """Every instance runs as declared and is ready, and nobody stands in for one any more."""
    instances = blueprint.of(Part.INSTANCE)
    fresh = all(view.status(node.id).ready and view.status(node.id).state.digest == node.digest for node in instances)
    return fresh and not any(view.status(node.id).state.running for node in blueprint.stand_ins)


def left_behind(blueprint: Blueprint, view: View) -> list[NodeId]:
    """Instances that still run as was declared before."""
    instances = (*blueprint.of(Part.INSTANCE), *blueprint.stand_ins, *blueprint.retiring)
    states = {node.id: (view.status(node.id).state, node.digest) for node in instances}
    return [node_id for node_id, (state, digest) in states.items() if state.running and state.digest != digest]
