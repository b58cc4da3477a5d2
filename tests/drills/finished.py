"""Drills that are over, for tests of what is shown of them."""

from dataclasses import replace

from everup.core.drill import assess, summarize
from everup.model.drill import Drill, DrillFault, Evidence, Happening, Scene, Targets, Verdict, Write

FAULT_S = 100.0


def finished(rto_s: float | None = 2.0, gap_s: float = 0.1, subject: str = "redis01-1") -> Drill:
    """A crash under steady load; the next write was acknowledged `gap_s` after the last one."""
    scene = Scene(
        "redis01",
        "redis",
        DrillFault.CRASH,
        subject,
        "sentinel",
        "redis-sentinel",
        {"URL": "redis://127.91.0.9:6399"},
        Targets(rto_s, 0),
        5.0,
    )
    ends = [FAULT_S - 1 + n * 0.01 for n in range(101)] + [FAULT_S + gap_s + n * 0.01 for n in range(200)]
    writes = tuple(Write(n, end - 0.001, end) for n, end in enumerate(ends, 1))
    failed = Write(1000, FAULT_S + 0.01, FAULT_S + 0.02, "ConnectionError: <cut> & gone")
    evidence = Evidence(
        (*writes, failed),
        frozenset(range(1, 1000)),
        FAULT_S,
        whole_at_s=FAULT_S + 1.5,
        happenings=(
            Happening("node.exited", FAULT_S + 0.003, subject),
            Happening("primary.changed", FAULT_S + 0.05, "redis01-2", {"primary": "redis01-2"}),
        ),
        load=1.5,
    )
    run = replace(assess(scene, evidence), at_utc="2026-11-22T14:03:22.000+00:00")
    return Drill(
        id="20261122T140330Z-redis01-crash",
        at_utc=run.at_utc,
        service="redis01",
        kind="redis",
        fault=DrillFault.CRASH,
        via="sentinel",
        writers=1,
        rate=200.0,
        runs=(run,),
        summary=summarize(scene.targets, [run]),
        origin={"environment": "shop", "hosts": ["one", "two"], "cpus": 2},
    )


def stuck() -> Drill:
    """A drill after which nothing was ever written again."""
    over = finished()
    run = replace(
        over.runs[0],
        verdict=Verdict.FAIL,
        because="writing did not come back",
        rto_s=None,
        lost=None,
        redundant_after_s=None,
        gaps=(),
        closeup=None,
        overview=None,
    )
    return replace(over, runs=(run,), summary=summarize(over.summary.targets, [run]))
