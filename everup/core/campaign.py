"""A campaign: faults in an order that a seed decides, and what must hold after each of them. Pure."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from everup.model.drill import DrillFault, Run, Verdict

FAULTS: tuple[DrillFault, ...] = (
    *(DrillFault.CRASH, DrillFault.HANG, DrillFault.NODE_LOSS) * 2,
    DrillFault.SWITCHOVER,
    DrillFault.CONTROL_PLANE,
)
"""What is drawn from: every other fault of a primary twice as often as a planned one or one of Everup's own."""


ENDPOINT = "endpoint"
"""The path to the primary that is Everup's own."""


@dataclass(frozen=True)
class Target:
    """A service that takes part: the paths of its clients, and the faults that it can be asked to survive."""

    label: str
    ways: tuple[str, ...]
    faults: frozenset[DrillFault]


@dataclass(frozen=True)
class Step:
    """One fault of a campaign."""

    label: str
    fault: DrillFault
    via: str


@dataclass(frozen=True)
class Standing:
    """What an environment looks like once it is whole again, as far as invariants speak of it.

    Attributes:
        primaries: label -> the nodes that call themselves primary, of every service with servers.
        strays: nodes that run and are not declared.
        pending: what a second apply would change, in words.
        unwell: services that are not healthy, with the reason.
        lineages: label -> the histories that its servers' data belong to.
    """

    primaries: Mapping[str, Sequence[str]]
    strays: Sequence[str]
    pending: Sequence[str]
    unwell: Sequence[str]
    lineages: Mapping[str, Collection[str]] = field(default_factory=dict)


def steps(seed: int, targets: Sequence[Target]) -> Iterator[Step]:
    """An endless order of faults. The same seed and the same services give the same order, on every machine."""
    number = 0
    while targets:
        digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
        target = targets[int.from_bytes(digest[:8], "big") % len(targets)]
        faults = [fault for fault in FAULTS if fault in target.faults]
        fault = faults[int.from_bytes(digest[8:16], "big") % len(faults)]
        yield Step(target.label, fault, target.ways[int.from_bytes(digest[16:24], "big") % len(target.ways)])
        number += 1


def breaches(step: Step, run: Run, after: Standing) -> list[str]:
    """The invariants that do not hold after a step, in words; empty when all do.

    Acknowledged writes survive as far as promised, no read is stale, and writing and redundancy come back in time (the
    run's verdict); the endpoint leads no write elsewhere; each group has one primary; every declared node is back and
    well, the old primary among them; nothing runs that is not declared; a second apply is empty; clients notice nothing
    of the death of the control plane; the servers of a group have one history, which no other group has.
    """
    found = []
    if run.verdict == Verdict.FAIL:
        found.append(f"{step.label}, {step.fault.value}: {run.because}")
    if step.fault == DrillFault.CONTROL_PLANE and (run.errors or run.path != "none"):
        found.append(f"{step.label} felt the death of the control plane: {run.errors} errors, {run.path}")
    if step.via == ENDPOINT and run.misrouted:
        found.append(f"{step.label}'s endpoint led {run.misrouted} writes to a server that was no primary")
    for label, primaries in after.primaries.items():
        if len(primaries) != 1:
            found.append(f"{label} has {len(primaries)} primaries: {', '.join(primaries) or 'none'}")
    found += [f"{node} runs and is not declared" for node in after.strays]
    found += [f"a second apply would change something: {words}" for words in after.pending]
    found += list(after.unwell)
    return [*found, *_mixed(after.lineages)]


def _mixed(lineages: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Groups whose servers' data have several histories, or one that another group has as well."""
    for label, own in lineages.items():
        if len(own) > 1:
            yield f"the servers of {label} have data of {len(own)} histories: {', '.join(sorted(own))}"
    for (one, own), (other, its) in combinations(lineages.items(), 2):
        if shared := set(own) & set(its):
            yield f"{one} and {other} have data of the same history: {', '.join(sorted(shared))}"
