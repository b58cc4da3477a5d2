"""Does the app itself write again? From the writes of each of its instances beside those of the service's own. Pure."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace

from everup.core.drill import doubt_of, longest_gap, spread, worst_of
from everup.model.desired import NodeId
from everup.model.drill import (
    AppRun,
    AppScene,
    AppSummary,
    Evidence,
    InstanceRun,
    InstanceSummary,
    Moment,
    Run,
    Scene,
    Verdict,
    Write,
)

STREAK = 5
"""So many acknowledged writes in a row mean that an instance writes: a pool has several connections, and one or another
may be dead. As many are wanted before the fault."""

ABSENT = ("ConnectError", "ConnectTimeout")
"""Errors of a request that met nobody: the instance is gone, and its pool with it."""

WAITED = 3.0
WAITED_OF_GAP = 0.25
"""A write had to wait when it took so many times longer than they usually do, and so much of the service's gap."""

WORST_FIRST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def again_at(writes: Iterable[Write], since_s: float) -> float | None:
    """When the first of `STREAK` writes that were acknowledged one after the other ended, from `since_s` on.

    Args:
        writes: every attempt of one instance, in order; monotonic seconds, like `since_s`.
    """
    streak: list[Write] = []
    for write in writes:
        if write.ended_at_s >= since_s:
            streak = [*streak, write] if write.error is None else []
        if len(streak) == STREAK:
            return streak[0].ended_at_s
    return None


def with_app(scene: Scene, seen: Evidence, run: Run) -> Run:
    """The run with what the app saw of it, which is part of its verdict; the run itself where no app is watched."""
    app = scene.app
    if app is None:
        return run
    found = tuple(_instance(scene, run, seen, node) for node in app.instances)
    doubt = seen.refused or doubt_of(scene, seen, run.rto_s)
    if not doubt and (seen.back_at_s is None or not run.gaps):
        doubt = f"{scene.service} itself took no writes again"
    if doubt:
        found = tuple(replace(one, verdict=Verdict.INCONCLUSIVE, because=doubt, stayed=False) for one in found)
    verdict = _worst(one.verdict for one in found)
    because = doubt or "; ".join(one.because for one in found if one.verdict == verdict)
    if verdict == Verdict.PASS:
        verdict, because = _all_well(app, scene, run, seen)
    joined = _worst((run.verdict, verdict))
    return replace(
        run,
        verdict=joined,
        because=run.because if joined == run.verdict else because,
        moments=_with_moment(run, seen, found, because) if verdict == Verdict.PASS else run.moments,
        app=AppRun(app.label, verdict, because, found),
    )


def _all_well(app: AppScene, scene: Scene, run: Run, seen: Evidence) -> tuple[Verdict, str]:
    """The verdict on an app all of whose instances write again, unless none of them met the fault at all."""
    if run.path == "none" or any(_met(run, seen, own) for own in seen.app_writes.values()):
        return Verdict.PASS, f"every instance of {app.label} writes again"
    words = f"no write of {app.label} failed or waited while {scene.service} took none"
    return Verdict.INCONCLUSIVE, f"{words}: does {app.request} write there?"


def _with_moment(run: Run, seen: Evidence, found: Sequence[InstanceRun], what: str) -> tuple[Moment, ...]:
    assert seen.back_at_s is not None
    last_s = max((one.again_after_s for one in found if one.again_after_s is not None), default=0.0)
    moment = Moment("app", what, seen.back_at_s + last_s - seen.fault_at_s)
    return tuple(sorted((*run.moments, moment), key=lambda one: one.at_s))


def summarize_app(app: AppScene, runs: Sequence[Run]) -> AppSummary:
    """All runs together, instance by instance, and what to do about those that stayed behind."""
    told = [run.app for run in runs if run.app is not None]
    verdict, because = worst_of([(run.verdict, run.because) for run in told])
    instances = []
    for node in app.instances:
        own = [one for run in told for one in run.instances if one.node == node]
        errors, stayed = sum(one.errors for one in own), sum(one.stayed for one in own)
        instances.append(InstanceSummary(node, spread(one.rto_s for one in own), errors, stayed))
    next_step = (
        "Let its pool replace broken connections, and connect by the variables that it is given, never to a node's own"
        f" address: docs/how-to/connect-clients.md. For now: everup restart {app.label}"
    )
    stays = any(one.stayed for one in instances)
    return AppSummary(
        app.label, app.request, app.within_s, verdict, because, next_step if stays else "", tuple(instances)
    )


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    return min(verdicts, key=WORST_FIRST.index, default=Verdict.INCONCLUSIVE)


def _instance(scene: Scene, run: Run, seen: Evidence, node: NodeId) -> InstanceRun:
    """One instance, by its own writes; judged as if the fault took hold and the service came back."""
    assert scene.app is not None
    within_s, service, fault_at_s = scene.app.within_s, scene.service, seen.fault_at_s
    writes = seen.app_writes.get(node, ())
    gap = longest_gap(writes, fault_at_s)
    back_at_s = fault_at_s if seen.back_at_s is None else seen.back_at_s
    again_at_s = again_at(writes, back_at_s)
    again_after_s = None if again_at_s is None else again_at_s - back_at_s
    failed = [write for write in writes if write.error is not None]
    error = failed[-1].error or "" if failed else ""
    before = sum(write.error is None and write.ended_at_s <= fault_at_s for write in writes)
    stayed = (again_after_s is None or again_after_s > within_s) and not error.startswith(ABSENT) and before >= STREAK
    verdict, because = Verdict.PASS, f"{node} writes again"
    if before < STREAK:
        verdict, because = Verdict.INCONCLUSIVE, f"only {before} writes of {node} were acknowledged before the fault"
    elif stayed:
        held = "the old primary" if run.path in ("failover", "switchover") else "a broken connection"
        said = f" ({error})" if error else ""
        because = f"{node} stayed on {held}: its writes failed for {within_s:g} s after {service} took writes again"
        verdict, because = Verdict.FAIL, because + said
    elif again_after_s is None or again_after_s > within_s:
        verdict, because = Verdict.FAIL, f"{node} was not there {within_s:g} s after {service} took writes again"
    return InstanceRun(
        node=node,
        verdict=verdict,
        because=because,
        rto_s=gap[1] - gap[0] if gap and again_at_s is not None else None,
        again_after_s=again_after_s,
        acknowledged=len(writes) - len(failed),
        errors=len(failed),
        stayed=stayed,
        error=error,
    )


def _met(run: Run, seen: Evidence, writes: Sequence[Write]) -> bool:
    """Whether one of an instance's writes failed since the fault, or waited while the service took no writes."""
    begin, end = max(run.gaps, key=lambda pair: pair[1] - pair[0])
    good = [
        (write.sent_at_s - seen.fault_at_s, write.ended_at_s - seen.fault_at_s) for write in writes if not write.error
    ]
    usual_s = statistics.median(ended - sent for sent, ended in good if ended <= 0)
    long_s = max(WAITED * usual_s, WAITED_OF_GAP * (end - begin))
    waited = any(sent <= end and ended >= begin and ended - sent > long_s for sent, ended in good)
    return waited or any(write.error and write.ended_at_s >= seen.fault_at_s for write in writes)
