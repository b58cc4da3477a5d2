"""From what a spec promises to how its nodes are watched: the one place where `rto` becomes timings.

An end is noticed at once, so `rto` is spent on the worst fault: a node that hangs. It is asked `interval_s` after its
last good answer, twice at least, and is hung once it was silent for `hang_s` and the question under way got no answer
either; then it is ended by force, and another takes over. While the control plane is dead, the electors' own timers
count instead.
"""

import math
from dataclasses import dataclass, replace

from everup.model.desired import Node

LEAST_HANG_S = 1.0
"""A silence shorter than this is not told from a slow command, a fork or a busy machine."""

SECOND_LOOK_S = 0.1
"""How soon a node that gave no good answer is asked again."""

MARGIN_S = 0.01
"""The second answer that does not come is late by this much, whatever the clock's grain."""


@dataclass(frozen=True)
class Watch:
    """How a node is asked: how often, how long an answer may take, how long a silence makes it hung. Seconds."""

    interval_s: float = 0.5
    timeout_s: float = 1.0
    hang_s: float = 3.0

    @property
    def noticed_s(self) -> float:
        """How long after the first question without an answer a node is called hung, at most."""
        questions = max(2, math.ceil((self.hang_s + SECOND_LOOK_S) / (self.timeout_s + SECOND_LOOK_S)))
        return questions * self.timeout_s + (questions - 1) * SECOND_LOOK_S

    def worst_s(self, takeover_s: float) -> float:
        """How long writing may stand still when a node hangs and the next needs `takeover_s` to take over."""
        return self.interval_s + self.noticed_s + takeover_s

    def over(self, node: Node) -> Node:
        """The node, asked like this."""
        probe = replace(node.probe, interval_s=self.interval_s, timeout_s=self.timeout_s, hang_s=self.hang_s)
        return replace(node, probe=probe)


CALM = Watch()
"""Without a target: the most patient one; no target makes it more patient than this."""


def watch_for(rto_s: float, takeover_s: float) -> Watch:
    """How to watch the nodes of a service so that writing stands still for `rto_s` at most.

    Args:
        rto_s: the target.
        takeover_s: how long its kind needs from a confirmed death to the next write, at most, as measured.

    Raises:
        ValueError: nothing that can be told from a busy machine is that fast; with a hint.
    """
    watch = _patient(rto_s, takeover_s)
    if watch.noticed_s < LEAST_HANG_S:
        raise ValueError(
            f"must be {least_rto_s(takeover_s):g}s or more: a node that hangs is told from a slow one after"
            f" {LEAST_HANG_S:g} s of silence, and it takes up to {takeover_s:g} s more to take over",
            "A node that ends is replaced sooner than any target; leave rto out for the calmest watch.",
        )
    return watch


def least_rto_s(takeover_s: float) -> float:
    """The shortest target that can be kept, in tenths of a second."""
    tenths = 1
    while _patient(tenths / 10, takeover_s).noticed_s < LEAST_HANG_S:
        tenths += 1
    return tenths / 10


def _patient(rto_s: float, takeover_s: float) -> Watch:
    """As patient as the target allows: a tenth of it until a node is asked, and what is left for two answers."""
    interval_s = min(CALM.interval_s, rto_s / 10)
    left_s = rto_s - interval_s - takeover_s
    if left_s >= CALM.noticed_s:
        return Watch(round(interval_s, 3))
    timeout_s = max(MARGIN_S, min(CALM.timeout_s, (left_s - SECOND_LOOK_S) / 2))
    return Watch(round(interval_s, 3), round(timeout_s, 3), round(2 * timeout_s + SECOND_LOOK_S - MARGIN_S, 3))
