"""Drills that are over, for tests of what is shown of them."""

from dataclasses import replace

from everup.core.drill import assess, summarize
from everup.core.reconnect import summarize_app, with_app
from everup.model.drill import AppScene, Drill, DrillFault, Evidence, Happening, Scene, Targets, Verdict, Write

FAULT_S = 100.0
CRASH = Scene(
    "redis01",
    "redis",
    DrillFault.CRASH,
    "redis01-1",
    "sentinel",
    "redis-sentinel",
    {"URL": "redis://127.91.0.9:6399"},
    Targets(2.0, 0),
    5.0,
)
DEATH = (Happening("node.exited", FAULT_S + 0.003, "redis01-1"),)


def finished(rto_s: float | None = 2.0, gap_s: float = 0.1, subject: str = "redis01-1") -> Drill:
    """A crash under steady load; the next write was acknowledged `gap_s` after the last one."""
    scene = replace(CRASH, subject=subject, targets=Targets(rto_s, 0))
    ends = [FAULT_S - 1 + n * 0.01 for n in range(101)] + [FAULT_S + gap_s + n * 0.01 for n in range(200)]
    writes = tuple(Write(n, end - 0.001, end) for n, end in enumerate(ends, 1))
    failed = Write(1000, FAULT_S + 0.01, FAULT_S + 0.02, "ConnectionError: <cut> & gone")
    evidence = Evidence(
        (*writes, failed),
        frozenset(range(1, 1000)),
        FAULT_S,
        whole_at_s=FAULT_S + 1.5,
        back_at_s=FAULT_S + gap_s,
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


def watched(*, stays: bool) -> Drill:
    """The same, while an app of two instances wrote too; the second stayed on the old primary, or not."""
    over = finished()
    steady = [FAULT_S - 1 + n * 0.05 for n in range(20)]
    again = [FAULT_S + 0.3 + n * 0.05 for n in range(300)]
    well = tuple(Write(n, end - 0.001, end) for n, end in enumerate([*steady, *again], 1))
    late = Write(999, FAULT_S + 0.01, FAULT_S + 0.2, "Unacknowledged: HTTP 500")
    lost = tuple(replace(one, error="ReadTimeout: <waited>") for one in well[20:])
    app = AppScene("web", {"web-1": "", "web-2": ""}, {"METHOD": "POST", "PATH": "/orders"}, 10.0)
    scene = replace(CRASH, subject="redis01-1", targets=over.summary.targets, app=app)
    told = {"web-1": (*well[:20], late, *well[20:]), "web-2": (*well[:20], *lost) if stays else well}
    evidence = Evidence((), None, FAULT_S, happenings=DEATH, app_writes=told, back_at_s=FAULT_S + 0.1)
    run = with_app(scene, evidence, over.runs[0])
    return replace(over, runs=(run,), summary=summarize(scene.targets, [run]), app=summarize_app(app, [run]))


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
