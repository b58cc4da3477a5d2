"""What a writer saw: one entry per attempt to write, and what it says about the service."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Write:
    """One attempt. Times are monotonic seconds; `error` is None when it was acknowledged."""

    n: int
    sent_s: float
    ended_s: float
    error: str | None = None


def read_journal(text: str) -> list[Write]:
    """Turn a writer's output into writes; a last line that is still being written is left out."""
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [Write(**json.loads(line)) for line in lines if line.startswith("{")]


def acknowledged(writes: Sequence[Write]) -> list[Write]:
    """Those that the service said it had taken."""
    return [write for write in writes if write.error is None]


def longest_gap_s(writes: Sequence[Write], fault_s: float) -> float:
    """Seconds that writing stood still: the longest gap between acknowledgements, from the last before the fault on.

    Raises:
        ValueError: nothing was acknowledged before the fault, or nothing after it.
    """
    ends = sorted(write.ended_s for write in acknowledged(writes))
    before = [end_s for end_s in ends if end_s <= fault_s]
    after = [end_s for end_s in ends if end_s > fault_s]
    if not before or not after:
        raise ValueError(
            f"{len(before)} writes acknowledged before the fault, {len(after)} after it: nothing to measure"
        )
    marks = [before[-1], *after]
    return max(later - earlier for earlier, later in pairwise(marks))


def lost(writes: Sequence[Write], survivors: Collection[int]) -> list[int]:
    """The acknowledged writes that are not among `survivors`."""
    return [write.n for write in acknowledged(writes) if write.n not in survivors]
