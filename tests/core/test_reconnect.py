"""Whether an app writes again, from hand-made writes of its instances. Times are seconds after the fault."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.core.drill import assess
from everup.core.reconnect import STREAK, again_at, summarize_app, with_app
from everup.model.drill import AppScene, DrillFault, Evidence, Run, Verdict, Write
from tests.core.test_drill import AROUND, BACK_S, DIED, FAULT_S, TOOK_OVER, scene, seen, steady, writes

APP = AppScene("web", {"web-1": "http://a", "web-2": "http://b"}, {"METHOD": "POST", "PATH": "/orders"}, 10.0)
WELL = writes(steady(-1.0, 0.0, 0.05)) + writes([0.12], took_s=0.1) + writes(steady(0.15, 12.0, 0.05))
"""The write that met the fault had to wait for 100 ms."""

STUCK = writes(steady(-1.0, 0.0, 0.05), errors=steady(0.05, 12.0, 0.05))
REFUSED = "Unacknowledged: HTTP 500"


def failing(attempts: Iterable[Write], error: str) -> tuple[Write, ...]:
    return tuple(replace(one, error=error) if one.error else one for one in attempts)


def judged(
    *instances: tuple[Write, ...], fault: DrillFault = DrillFault.CRASH, evidence: Evidence | None = None
) -> Run:
    drilled = replace(scene(fault, rto_s=None), app=APP)
    evidence = replace(evidence or seen(), app_writes=dict(zip(APP.instances, instances, strict=True)))
    return with_app(drilled, evidence, assess(drilled, evidence))


def test_a_run_without_an_app_is_left_as_it_is():
    run = assess(scene(), seen())
    assert with_app(scene(), seen(), run) is run


def test_an_app_whose_instances_all_write_again_passes():
    run = judged(WELL, WELL)
    assert run.app
    assert (run.verdict, run.app.verdict, run.app.because) == (
        Verdict.PASS,
        Verdict.PASS,
        "every instance of web writes again",
    )
    one = run.app.instances[0]
    assert one.rto_s == pytest.approx(0.17) and one.again_after_s == pytest.approx(0.02)
    assert (one.stayed, one.errors, one.acknowledged) == (False, 0, len(WELL))
    assert [moment.what for moment in run.moments if moment.name == "app"] == [run.app.because]


def test_the_instance_that_stayed_on_the_old_primary_is_named_and_fails_the_drill():
    run = judged(WELL, failing(STUCK, REFUSED))
    assert run.app
    because = (
        "web-2 stayed on the old primary: its writes failed for 10 s after redis01 took writes again"
        " (Unacknowledged: HTTP 500)"
    )
    assert (run.verdict, run.because, run.app.verdict) == (Verdict.FAIL, because, Verdict.FAIL)
    assert [(one.node, one.stayed, one.rto_s is None) for one in run.app.instances] == [
        ("web-1", False, False),
        ("web-2", True, True),
    ]
    assert "app" not in [moment.name for moment in run.moments]


def test_without_a_new_primary_it_stayed_on_a_broken_connection():
    run = judged(WELL, STUCK, evidence=seen(happenings=(DIED,)))
    assert "web-2 stayed on a broken connection" in run.because


def test_a_write_between_the_command_and_the_fault_is_not_the_next_one():
    run = judged(WELL, writes([*steady(-1.0, 0.0, 0.05), 0.01], errors=steady(0.05, 12.0, 0.05)))
    assert run.app and (run.app.instances[1].stayed, run.app.instances[1].rto_s) == (True, None)


def test_an_instance_that_hangs_for_good_stayed_too():
    run = judged(WELL, writes(steady(-1.0, 0.0, 0.05)))
    assert run.app and run.app.instances[1].stayed
    assert run.because.endswith("after redis01 took writes again")


def test_an_instance_that_is_not_there_did_not_stay_anywhere():
    run = judged(WELL, failing(STUCK, "ConnectError: refused"))
    assert run.app and not run.app.instances[1].stayed
    assert (run.verdict, run.because) == (Verdict.FAIL, "web-2 was not there 10 s after redis01 took writes again")


def test_an_instance_that_comes_back_too_late_stayed_until_then():
    late = writes([*steady(-1.0, 0.0, 0.05), *steady(10.5, 12.0, 0.05)], errors=steady(0.05, 10.5, 0.05))
    run = judged(WELL, late)
    assert run.app and run.app.instances[1].stayed
    assert run.app.instances[1].again_after_s == pytest.approx(10.4)
    assert run.verdict == Verdict.FAIL


def test_a_pool_with_one_dead_connection_does_not_write_again_until_it_is_replaced():
    mixed = [0.15 + number * 0.05 for number in range(40)]
    dead = mixed[2::4]
    limping = writes(
        [*steady(-1.0, 0.0, 0.05), *(at for at in mixed if at not in dead), *steady(2.2, 4.0, 0.05)], errors=dead
    )
    run = judged(WELL, limping)
    assert run.app and run.verdict == Verdict.PASS
    assert run.app.instances[1].again_after_s == pytest.approx(dead[-1] + 0.05 - BACK_S)


def test_an_app_whose_writes_never_met_the_fault_proves_nothing():
    without = replace(seen(writes([*steady(-1.0, 0.0), *steady(3.0, 5.0)])), back_at_s=FAULT_S + 3.0)
    on = writes(steady(-1.0, 6.0, 0.05))
    words = "no write of web failed or waited while redis01 took none: does POST /orders write there?"
    run = judged(on, on, evidence=without)
    assert run.app and (run.verdict, run.because) == (Verdict.INCONCLUSIVE, words)
    hiccup = tuple(replace(one, sent_at_s=one.ended_at_s - 0.02) if n == 40 else one for n, one in enumerate(on))
    assert judged(on, hiccup, evidence=without).because == words, "twenty times as long, and nothing beside the gap"
    assert judged(on, on, evidence=seen(happenings=(DIED,))).verdict == Verdict.PASS, "nothing had to come back"
    failed_once = writes([*steady(-1.0, 0.0, 0.05), *steady(1.0, 6.0, 0.05)], errors=[0.5])
    waited_once = writes([*steady(-1.0, 0.0, 0.05), *steady(3.2, 6.0, 0.05)]) + writes([3.1], took_s=2.5)
    for met in (failed_once, tuple(sorted(waited_once, key=lambda one: one.ended_at_s))):
        assert judged(on, met, evidence=without).verdict == Verdict.PASS


@pytest.mark.parametrize("before", [0, STREAK - 1])
def test_an_instance_that_hardly_wrote_before_the_fault_proves_nothing(before: int):
    few = writes([*steady(-1.0, 0.0, 0.05)[:before], *steady(0.2, 2.0, 0.05)])
    run = judged(WELL, few)
    assert (run.verdict, run.because) == (
        Verdict.INCONCLUSIVE,
        f"only {before} writes of web-2 were acknowledged before the fault",
    )


def test_a_fault_that_did_not_take_hold_says_nothing_of_the_app():
    run = judged(WELL, STUCK, evidence=seen(happenings=()))
    assert run.app
    assert (run.verdict, run.app.verdict, run.app.because) == (
        Verdict.INCONCLUSIVE,
        Verdict.INCONCLUSIVE,
        "no event says that redis01-1 died",
    )
    refused = judged(WELL, STUCK, evidence=replace(seen(), refused="it does not run"))
    assert refused.app and refused.app.because == "it does not run"


def test_a_service_that_never_took_writes_again_is_not_the_fault_of_the_app():
    run = judged(STUCK, STUCK, evidence=seen(writes(steady(-1.0, 0.0))))
    assert run.app
    assert (run.verdict, run.because) == (Verdict.FAIL, "writing did not come back")
    assert (run.app.verdict, run.app.because) == (Verdict.INCONCLUSIVE, "redis01 itself took no writes again")


def test_a_failure_of_the_service_is_told_before_that_of_the_app():
    run = judged(WELL, STUCK, evidence=seen(writes(AROUND), gone=[writes(AROUND)[3].n]))
    assert "acknowledged writes were lost" in run.because
    assert run.app and "stayed" in run.app.because


def test_all_runs_together_name_each_instance_and_say_what_to_do():
    runs = [judged(WELL, WELL), judged(WELL, STUCK)]
    told = summarize_app(APP, runs)
    assert (told.verdict, told.request) == (Verdict.FAIL, "POST /orders")
    assert told.because.startswith("1 of 2 runs, first run 2: web-2 stayed on the old primary")
    assert [(one.node, one.stayed, one.errors > 0) for one in told.instances] == [
        ("web-1", 0, False),
        ("web-2", 1, True),
    ]
    assert "docs/how-to/connect-clients.md" in told.next and "everup restart web" in told.next
    assert told.instances[0].rto_s.max == pytest.approx(0.17)


def test_there_is_nothing_to_do_where_nobody_stayed():
    assert summarize_app(APP, [judged(WELL, WELL)]).next == ""
    assert summarize_app(APP, []).verdict == Verdict.INCONCLUSIVE


@given(outcomes=st.lists(st.booleans(), max_size=60), since=st.integers(0, 60))
def test_writing_again_is_the_first_streak_and_nothing_less(outcomes: list[bool], since: int):
    attempts = [Write(n, n - 0.5, float(n), None if good else "cut") for n, good in enumerate(outcomes)]
    starts = [n for n in range(since, len(outcomes) - STREAK + 1) if all(outcomes[n : n + STREAK])]
    assert again_at(attempts, float(since)) == (starts[0] if starts else None)


moments = st.lists(st.floats(-2, 15, allow_nan=False), max_size=60)


@given(good=moments, bad=moments)
def test_whoever_stayed_never_passes_and_whoever_passes_wrote_in_time(good: list[float], bad: list[float]):
    run = judged(WELL, writes(good, bad))
    assert run.app
    one = run.app.instances[1]
    assert not (one.stayed and one.verdict != Verdict.FAIL)
    if one.verdict == Verdict.PASS:
        assert one.again_after_s is not None and one.again_after_s <= APP.within_s and one.rto_s is not None
    assert run.verdict != Verdict.PASS or one.verdict == Verdict.PASS


def test_a_switchover_is_told_alike():
    run = judged(WELL, STUCK, fault=DrillFault.SWITCHOVER, evidence=seen(happenings=(TOOK_OVER,)))
    assert "stayed on the old primary" in run.because
    assert run.app and run.app.instances[1].error == "ConnectionError: cut"
