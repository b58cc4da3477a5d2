"""What a drill proves: from what writers and events say of a fault to figures, a timeline and a verdict. Pure."""

import statistics
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from everup.model.drill import (
    Bars,
    DrillFault,
    Evidence,
    Happening,
    Latency,
    Moment,
    Pulse,
    Run,
    Scene,
    Spread,
    Summary,
    Targets,
    Verdict,
    Write,
)

FEWEST = 20
"""Writes that must have been acknowledged before the fault: fewer are no steady load."""

STANDSTILL_S = 0.25
"""A gap in the acknowledgements that a hung node must leave at least, where no event speaks of it."""

BARS = 160
"""Into how many spans of time the pictures of a run are cut."""

READ_ONLY = "ReadOnly"
"""How the errors begin, in redis-py and in psycopg, of a write that reached a replica."""

NOTICED = ("node.exited", "node.suspect", "node.hung")
DEATHS = ("node.exited", "node.fenced")

_MOMENTS: Mapping[str, str] = {
    "node.exited": "noticed: the kernel says that {node} ended",
    "node.suspect": "noticed: {node} gives no good answer",
    "node.hung": "{node} counts as hung",
    "node.fenced": "{node} was ended by force",
    "failover.voted": "the Sentinels voted",
    "failover.released": "the claim of the dead primary was removed",
    "failover.promoted": "promoted: {primary}",
    "primary.changed": "{primary} is the primary",
    "failover.pointed": "the endpoint leads to {primary}",
    "node.started": "{node} was started",
    "control.started": "the control plane is back",
    "host.silent": "noticed: the host {host} does not answer",
    "host.heard": "the host {host} answers again",
}
"""Events that stand on the timeline, the first of each name; `{primary}` and `{host}` are fields, `{node}` its node."""


def assess(scene: Scene, seen: Evidence) -> Run:
    """Draw the figures of one run and judge it.

    A run proves something only when there was a steady load before the fault and the fault took hold. A run that
    misses the target for the time that the machine itself stood still proves nothing either.
    """
    acknowledged = [write for write in seen.writes if write.error is None]
    before = [write for write in acknowledged if write.ended_at_s <= seen.fault_at_s]
    gaps = _longest_gaps(seen) if seen.back_at_s is not None or seen.refused else None
    rto_s = None if gaps is None else max((end - begin for begin, end in gaps), default=None)
    path = path_of(scene, seen.happenings)
    failures = [write for write in seen.writes if write.error is not None]
    stalled_s = stalled(seen.pulses, gaps or ())
    lost = None if seen.survivors is None else sum(write.n not in seen.survivors for write in acknowledged)
    doubt = doubt_of(scene, seen, rto_s)
    if len(before) < FEWEST:
        doubt = f"only {len(before)} writes were acknowledged before the fault"
    if seen.refused:
        doubt = f"the fault could not be caused: {seen.refused}"
    stale = stale_reads(seen.reads, acknowledged, lost or 0)
    verdict = (Verdict.INCONCLUSIVE, doubt) if doubt else judge(scene.targets, rto_s, lost, stalled_s)
    if stale and not doubt:
        words = "1 read was" if stale == 1 else f"{stale} reads were"
        verdict = Verdict.FAIL, f"{words} stale: writes acknowledged before were missing"
    if verdict[0] == Verdict.PASS and seen.whole_at_s is None:
        verdict = Verdict.FAIL, "redundancy did not come back in time"
    elif verdict[0] == Verdict.PASS and seen.unread:
        verdict = Verdict.INCONCLUSIVE, seen.unread
    return Run(
        verdict=verdict[0],
        because=verdict[1],
        subject=scene.subject,
        rto_s=rto_s,
        lost=lost,
        acknowledged=len(acknowledged),
        errors=len(failures),
        path=path,
        redundant_after_s=None if seen.whole_at_s is None else seen.whole_at_s - seen.fault_at_s,
        latency=_latencies(acknowledged, seen),
        moments=moments_of(seen, gaps),
        gaps=tuple((begin - seen.fault_at_s, end - seen.fault_at_s) for begin, end in gaps or ()),
        overview=_overview(seen),
        closeup=_closeup(seen, gaps),
        stalled_s=stalled_s,
        load=seen.load,
        first_error=next((write.error or "" for write in failures), ""),
        reads=sum(read.error is None for read in seen.reads),
        stale=stale,
        misrouted=sum((write.error or "").startswith(READ_ONLY) for write in failures),
    )


def stale_reads(reads: Iterable[Write], acknowledged: Iterable[Write], lost: int) -> int:
    """How many reads saw fewer numbers than had been acknowledged before they were sent, and were not lost.

    None is counted wrongly; a read that misses as many writes as have failed and were applied all the same is not seen.
    """
    ends = sorted(write.ended_at_s for write in acknowledged)
    return sum(read.error is None and read.n < bisect_right(ends, read.sent_at_s) - lost for read in reads)


def judge(targets: Targets, rto_s: float | None, lost: int | None, stalled_s: float) -> tuple[Verdict, str]:
    """Hold the figures of one run, whose fault took hold, against the targets: (verdict, because)."""
    if rto_s is None:
        return Verdict.FAIL, "writing did not come back"
    if targets.lost is not None and lost is not None and lost > targets.lost:
        return Verdict.FAIL, f"{lost} acknowledged writes were lost, and {targets.lost or 'none'} may be"
    if targets.rto_s is not None and rto_s > targets.rto_s:
        if rto_s - stalled_s <= targets.rto_s:
            words = f"the machine itself stood still for {stalled_s:.2f} s of the {rto_s:.2f} s without a write"
            return Verdict.INCONCLUSIVE, words
        return Verdict.FAIL, f"writes stood still for {rto_s:.3g} s, longer than {targets.rto_s:g} s"
    kept = [words for words, target in (("rto", targets.rto_s), ("rpo", targets.lost)) if target is not None]
    return Verdict.PASS, f"{' and '.join(kept)} kept" if kept else "writing came back; no target was set"


def doubt_of(scene: Scene, seen: Evidence, rto_s: float | None) -> str:
    """Why this run may not have met the fault at all; "" when it did."""
    if scene.fault in (DrillFault.CRASH, DrillFault.NODE_LOSS):
        died = any(one.name in DEATHS and one.node == scene.subject for one in seen.happenings)
        return "" if died else f"no event says that {scene.subject} died"
    if scene.fault == DrillFault.HANG:
        noticed = any(one.name in NOTICED + DEATHS and one.node == scene.subject for one in seen.happenings)
        felt = rto_s is None or rto_s >= STANDSTILL_S
        return "" if noticed or felt else f"neither an event nor a client noticed that {scene.subject} hung"
    if scene.fault == DrillFault.SWITCHOVER:
        moved = any(one.name == "primary.changed" and one.node != scene.subject for one in seen.happenings)
        return "" if moved else f"{scene.subject} did not hand over"
    if scene.fault == DrillFault.CONTROL_PLANE:
        again = any(one.name == "control.started" for one in seen.happenings)
        return "" if again else "no event says that the control plane was started again"
    if scene.host:
        silent = _told_of(scene, "host.silent", seen.happenings)
        return "" if silent else f"no event says that {scene.host} fell silent"
    return f"nobody knows how to tell whether {scene.fault} took hold"


def is_over(scene: Scene, happenings: Iterable[Happening]) -> bool:
    """Nothing keeps the fault going any more: a host that was cut off answers again."""
    return not scene.host or _told_of(scene, "host.heard", happenings)


def caution_of(scene: Scene) -> str:
    """What clients may lose that stood elsewhere than those of the drill, in words; "" where that is no question."""
    if scene.alone_s is None:
        return ""
    if not scene.alone_s:
        return f"no client on the host of {scene.subject} could have a write acknowledged while it was cut off"
    return (
        f"clients on the host of {scene.subject} may have had writes acknowledged for up to {scene.alone_s:g} s of the"
        " cut that are lost; those of the drill were on the other side"
    )


def _told_of(scene: Scene, name: str, happenings: Iterable[Happening]) -> bool:
    return any(one.name == name and one.fields.get("host") == scene.host for one in happenings)


def path_of(scene: Scene, happenings: Sequence[Happening]) -> str:
    """How the service came back: switchover, failover, restart; none when no other node had to take over."""
    if any(one.name == "primary.changed" and one.node != scene.subject for one in happenings):
        return "switchover" if scene.fault == DrillFault.SWITCHOVER else "failover"
    started = any(one.name == "node.started" and one.node == scene.subject for one in happenings)
    return "restart" if started and scene.subject else "none"


def _longest_gaps(seen: Evidence) -> list[tuple[float, float]] | None:
    """The longest time without an acknowledgement of each writer, from its last one before the fault onwards.

    None when a writer was not acknowledged again; empty when none was acknowledged before the fault.
    """
    gaps = []
    for writer in sorted({write.writer for write in seen.writes}):
        own = [write for write in seen.writes if write.writer == writer and write.error is None]
        if min((write.ended_at_s for write in own), default=float("inf")) <= seen.fault_at_s:
            gap = longest_gap(own, seen.fault_at_s)
            if gap is None:
                return None
            gaps.append(gap)
    return gaps


def longest_gap(writes: Iterable[Write], fault_at_s: float) -> tuple[float, float] | None:
    """The longest time without an acknowledgement of one writer, from its last one before the fault onwards.

    None when it had none before the fault, or none after it.
    """
    ends = sorted(write.ended_at_s for write in writes if write.error is None)
    earlier = [end for end in ends if end <= fault_at_s]
    later = [end for end in ends if end > fault_at_s]
    return max(pairwise([earlier[-1], *later]), key=lambda pair: pair[1] - pair[0]) if earlier and later else None


def stalled(pulses: Iterable[Pulse], gaps: Iterable[tuple[float, float]]) -> float:
    """Seconds that the machine stood still during the longest of the gaps; a delay ends at its `at_s`."""
    begin, end = max(gaps, key=lambda pair: pair[1] - pair[0], default=(0.0, 0.0))
    return sum(max(0.0, min(end, pulse.at_s) - max(begin, pulse.at_s - pulse.late_s)) for pulse in pulses)


def moments_of(seen: Evidence, gaps: Sequence[tuple[float, float]] | None) -> tuple[Moment, ...]:
    """The timeline of a run, in order: the fault, what Everup noticed and did, the first write, redundancy."""
    moments = [Moment("fault", "fault", 0.0)]
    told: set[str] = set()
    for one in seen.happenings:
        if one.name in _MOMENTS and one.name not in told:
            told.add(one.name)
            primary, host = one.fields.get("primary", one.node or "?"), one.fields.get("host", "?")
            words = {"node": one.node or "?", "primary": str(primary), "host": str(host)}
            moments.append(Moment(one.name, _MOMENTS[one.name].format(**words), one.at_s - seen.fault_at_s))
    if gaps:
        first = max(end for _, end in gaps) - seen.fault_at_s
        moments.append(Moment("write", "the first write after the longest gap is acknowledged", first))
    if seen.whole_at_s is not None:
        moments.append(Moment("whole", "every node is ready", seen.whole_at_s - seen.fault_at_s))
    return tuple(sorted(moments, key=lambda moment: moment.at_s))


def bars(writes: Iterable[Write], begin_at_s: float, end_at_s: float, fault_at_s: float) -> Bars:
    """The writes that ended between two moments, counted in `BARS` equal spans of time."""
    width_s = max(end_at_s - begin_at_s, 0.001) / BARS
    counts = [0] * BARS, [0] * BARS
    for write in writes:
        if begin_at_s <= write.ended_at_s <= end_at_s:
            at = min(int((write.ended_at_s - begin_at_s) / width_s), BARS - 1)
            counts[write.error is not None][at] += 1
    return Bars(begin_at_s - fault_at_s, width_s, tuple(counts[0]), tuple(counts[1]))


def _overview(seen: Evidence) -> Bars | None:
    ends = [write.ended_at_s for write in seen.writes]
    return bars(seen.writes, min(ends), max(ends), seen.fault_at_s) if ends else None


def _closeup(seen: Evidence, gaps: Sequence[tuple[float, float]] | None) -> Bars | None:
    """The longest gap, the fault, and half as much again on both sides."""
    if not gaps:
        return None
    begin, end = max(gaps, key=lambda pair: pair[1] - pair[0])
    first = min(begin, seen.fault_at_s)
    margin = max(0.05, (end - first) / 2)
    return bars(seen.writes, first - margin, end + margin, seen.fault_at_s)


def _latencies(acknowledged: Sequence[Write], seen: Evidence) -> dict[str, Latency]:
    """How long writes took before the fault, from it until redundancy was back, and after that."""
    whole_at_s = float("inf") if seen.whole_at_s is None else seen.whole_at_s
    parts: dict[str, list[float]] = {"before": [], "during": [], "after": []}
    for write in acknowledged:
        part = (
            "before" if write.ended_at_s <= seen.fault_at_s else "during" if write.sent_at_s <= whole_at_s else "after"
        )
        parts[part].append((write.ended_at_s - write.sent_at_s) * 1000)
    return {part: latency(values) for part, values in parts.items()}


def latency(values_ms: Sequence[float]) -> Latency:
    """The middle, the 99th percentile and the worst of several latencies."""
    if not values_ms:
        return Latency(0)
    ordered = sorted(values_ms)
    at = min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))
    return Latency(len(ordered), statistics.median(ordered), ordered[at], ordered[-1])


def spread(values: Iterable[float | None]) -> Spread:
    """The middle and the worst of those values that there are."""
    known = [value for value in values if value is not None]
    return Spread(statistics.median(known), max(known)) if known else Spread()


def worst_of(outcomes: Sequence[tuple[Verdict, str]]) -> tuple[Verdict, str]:
    """The verdict over several runs, each with its reason, and the first of them that decides it."""
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        bad = [(number, because) for number, (one, because) in enumerate(outcomes, 1) if one == verdict]
        if bad:
            return verdict, f"{len(bad)} of {len(outcomes)} runs, first run {bad[0][0]}: {bad[0][1]}"
    return outcomes[0] if outcomes else (Verdict.INCONCLUSIVE, "there was no run")


def summarize(targets: Targets, runs: Sequence[Run]) -> Summary:
    """All runs together: one failure fails the drill, and no drill passes while a run of it proves nothing."""
    losses = [run.lost for run in runs if run.lost is not None]
    verdict, because = worst_of([(run.verdict, run.because) for run in runs])
    return Summary(
        verdict=verdict,
        because=because,
        targets=targets,
        rto_s=spread(run.rto_s for run in runs),
        redundant_after_s=spread(run.redundant_after_s for run in runs),
        lost=sum(losses) if losses else None,
        acknowledged=sum(run.acknowledged for run in runs),
        errors=sum(run.errors for run in runs),
    )
