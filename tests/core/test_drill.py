"""What a drill proves: figures and verdicts from hand-made writes and events. Times are seconds after the fault."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.core.drill import BARS, FEWEST, assess, bars, caution_of, is_over, latency, stalled, summarize
from everup.model.drill import (
    DrillFault,
    Evidence,
    Happening,
    Pulse,
    Run,
    Scene,
    Targets,
    Verdict,
    Write,
)

FAULT_S = 1000.0
DIED = Happening("node.exited", 0.003, "redis01-1")
TOOK_OVER = Happening("primary.changed", 0.04, "redis01-2", {"primary": "redis01-2"})


def scene(fault: DrillFault = DrillFault.CRASH, rto_s: float | None = 2.0, lost: int | None = 0) -> Scene:
    targets = Targets(rto_s, lost)
    return Scene("redis01", "redis", fault, "redis01-1", "sentinel", "redis-sentinel", {}, targets, 5.0)


def writes(
    ends: Iterable[float], errors: Iterable[float] = (), writer: int = 0, took_s: float = 0.001
) -> tuple[Write, ...]:
    """Attempts that end at these moments, numbered in order."""
    told = [(end, None) for end in ends] + [(end, "ConnectionError: cut") for end in errors]
    attempts = sorted(told, key=lambda attempt: attempt[0])
    first = writer * 1_000_000 + 1
    return tuple(
        Write(first + n, FAULT_S + end - took_s, FAULT_S + end, error, writer)
        for n, (end, error) in enumerate(attempts)
    )


def steady(begin_s: float, end_s: float, every_s: float = 0.005) -> list[float]:
    return [begin_s + number * every_s for number in range(round((end_s - begin_s) / every_s))]


BACK_S = 0.1
AROUND = (*steady(-1.0, 0.0), *steady(0.1, 2.0))
"""The last write before the fault ends 5 ms before it, the next one 100 ms after it."""


def seen(
    attempts: tuple[Write, ...] | None = None,
    *,
    gone: Iterable[int] = (),
    happenings: tuple[Happening, ...] = (DIED, TOOK_OVER),
    whole_s: float | None = 1.5,
) -> Evidence:
    attempts = writes(AROUND) if attempts is None else attempts
    numbers = {write.n for write in attempts if write.error is None}
    return Evidence(
        writes=attempts,
        survivors=frozenset(numbers - set(gone)),
        fault_at_s=FAULT_S,
        whole_at_s=None if whole_s is None else FAULT_S + whole_s,
        back_at_s=FAULT_S + BACK_S,
        happenings=tuple(replace(one, at_s=FAULT_S + one.at_s) for one in happenings),
    )


def test_the_time_without_a_write_is_from_the_last_one_before_the_fault_to_the_next():
    run = assess(scene(), seen())
    assert run.rto_s == pytest.approx(0.105)
    assert (run.verdict, run.path, run.lost, run.errors) == (Verdict.PASS, "failover", 0, 0)
    assert run.redundant_after_s == pytest.approx(1.5)


def test_a_longer_gap_later_on_counts_instead():
    run = assess(scene(), seen(writes([*steady(-1.0, 0.0), *steady(0.1, 0.5), *steady(1.3, 2.0)])))
    assert run.rto_s == pytest.approx(0.805, abs=0.001)


def test_gaps_before_the_fault_do_not_count():
    run = assess(scene(), seen(writes([*steady(-3.0, -2.0), *steady(-1.0, 0.0), *steady(0.01, 1.0)])))
    assert run.rto_s == pytest.approx(0.015)


def test_the_writer_that_waited_longest_decides():
    quick, slow = writes(AROUND), writes([*steady(-1.0, 0.0), *steady(0.7, 2.0)], writer=1)
    assert assess(scene(), seen(quick + slow)).rto_s == pytest.approx(0.705)


def test_a_writer_that_never_came_back_is_a_failure_although_another_did():
    run = assess(scene(), seen(writes(AROUND) + writes(steady(-1.0, 0.0), writer=1)))
    assert (run.rto_s, run.verdict, run.because) == (None, Verdict.FAIL, "writing did not come back")


def test_a_write_between_the_command_and_the_fault_is_not_the_next_one():
    evidence = replace(seen(writes([*steady(-1.0, 0.0), 0.002, 0.007])), back_at_s=None)
    run = assess(scene(), evidence)
    assert (run.rto_s, run.verdict, run.because) == (None, Verdict.FAIL, "writing did not come back")


def test_an_acknowledged_write_that_is_gone_is_lost_and_misses_a_target_of_none():
    attempts = writes(AROUND)
    run = assess(scene(), seen(attempts, gone=[attempts[150].n, attempts[199].n]))
    assert (run.lost, run.verdict) == (2, Verdict.FAIL)
    assert "2 acknowledged writes were lost" in run.because


def look(at_s: float, count: int, error: str | None = None) -> Write:
    """A reader's answer: sent at that moment, it saw so many numbers."""
    return Write(count, FAULT_S + at_s, FAULT_S + at_s + 0.001, error)


def acknowledged_until(at_s: float) -> int:
    return sum(end <= at_s for end in AROUND)


def test_a_read_that_misses_what_was_acknowledged_before_it_is_stale_and_fails_the_run():
    old = acknowledged_until(0.0)
    told = [look(-0.5, acknowledged_until(-0.5)), look(0.05, old), look(1.0, old), look(1.5, old, "TimeoutError")]
    run = assess(scene(), replace(seen(), reads=tuple(told)))
    assert (run.reads, run.stale, run.verdict) == (3, 1, Verdict.FAIL)
    assert run.because == "1 read was stale: writes acknowledged before were missing"


def test_a_read_without_what_was_lost_is_not_stale_nor_one_that_sees_writes_still_in_flight():
    attempts = writes(AROUND)
    told = (look(1.0, acknowledged_until(1.0) - 2), look(1.2, acknowledged_until(1.2) + 1))
    run = assess(scene(lost=5), replace(seen(attempts, gone=[attempts[150].n, attempts[199].n]), reads=told))
    assert (run.lost, run.stale, run.verdict) == (2, 0, Verdict.PASS)


def test_writes_that_reached_a_replica_are_counted():
    refused = replace(writes([], errors=[0.05])[0], error="ReadOnlyError: You can't write against a read only replica.")
    run = assess(scene(), seen((*writes(AROUND, errors=[0.06]), refused)))
    assert (run.errors, run.misrouted) == (2, 1)


def test_nothing_read_is_nothing_stale():
    run = assess(scene(), seen())
    assert (run.reads, run.stale) == (0, 0)


def test_a_lost_write_is_told_and_not_judged_where_nothing_was_promised():
    attempts = writes(AROUND)
    run = assess(scene(lost=None), seen(attempts, gone=[attempts[150].n]))
    assert (run.lost, run.verdict) == (1, Verdict.PASS)


def test_a_failed_write_is_an_error_and_never_lost():
    attempts = writes(AROUND, errors=[0.02, 0.03])
    run = assess(scene(), seen(attempts))
    assert (run.errors, run.lost, run.first_error) == (2, 0, "ConnectionError: cut")
    assert run.acknowledged == len(AROUND)


def test_an_unacknowledged_write_that_survived_is_no_loss_either():
    attempts = writes(AROUND, errors=[0.02])
    evidence = replace(seen(attempts), survivors=frozenset(write.n for write in attempts))
    assert assess(scene(), evidence).lost == 0


def test_a_missed_target_fails_with_both_figures():
    run = assess(scene(rto_s=0.1), seen())
    assert (run.verdict, run.because) == (Verdict.FAIL, "writes stood still for 0.105 s, longer than 0.1 s")


def test_a_target_missed_because_the_machine_stood_still_proves_nothing():
    evidence = replace(seen(), pulses=(Pulse(FAULT_S + 0.09, 0.08),))
    run = assess(scene(rto_s=0.1), evidence)
    assert run.verdict == Verdict.INCONCLUSIVE
    assert run.stalled_s == pytest.approx(0.08)


def test_a_machine_that_stood_still_elsewhere_is_no_excuse():
    evidence = replace(seen(), pulses=(Pulse(FAULT_S + 1.9, 1.0), Pulse(FAULT_S - 0.5, 0.4)))
    assert assess(scene(rto_s=0.1), evidence).verdict == Verdict.FAIL


def test_a_machine_that_stood_still_takes_no_pass_away():
    assert assess(scene(), replace(seen(), pulses=(Pulse(FAULT_S + 0.09, 0.08),))).verdict == Verdict.PASS


def test_without_targets_coming_back_is_enough_and_said_so():
    run = assess(scene(rto_s=None, lost=None), seen())
    assert (run.verdict, run.because) == (Verdict.PASS, "writing came back; no target was set")


@pytest.mark.parametrize("before", [0, 1, FEWEST - 1])
def test_without_a_steady_load_before_the_fault_it_proves_nothing(before: int):
    ends = [*steady(-1.0, 0.0)[:before], *steady(0.1, 2.0)]
    run = assess(scene(), seen(writes(ends)))
    assert (run.verdict, run.because) == (
        Verdict.INCONCLUSIVE,
        f"only {before} writes were acknowledged before the fault",
    )


def test_a_run_without_any_write_proves_nothing_and_breaks_nothing():
    run = assess(scene(), seen(()))
    assert (run.verdict, run.rto_s, run.acknowledged, run.overview) == (Verdict.INCONCLUSIVE, None, 0, None)


@pytest.mark.parametrize("fault", [DrillFault.CRASH, DrillFault.NODE_LOSS])
def test_a_kill_of_which_no_event_speaks_proves_nothing(fault: DrillFault):
    for happenings in ((), (replace(DIED, node="redis01-2"),), (Happening("node.suspect", 0.1, "redis01-1"),)):
        run = assess(scene(fault), seen(happenings=happenings))
        assert (run.verdict, run.because) == (Verdict.INCONCLUSIVE, "no event says that redis01-1 died")


def test_a_hang_takes_hold_when_everup_or_a_client_notices():
    hang = scene(DrillFault.HANG)
    for name in ("node.suspect", "node.hung", "node.fenced"):
        assert assess(hang, seen(happenings=(Happening(name, 0.1, "redis01-1"),))).verdict == Verdict.PASS
    assert assess(hang, seen(happenings=())).verdict == Verdict.INCONCLUSIVE
    felt = writes([*steady(-1.0, 0.0), *steady(1.0, 2.0)])
    assert assess(hang, seen(felt, happenings=())).verdict == Verdict.PASS


def test_a_hang_that_nobody_noticed_and_no_client_survived_is_a_failure_not_a_doubt():
    run = assess(scene(DrillFault.HANG), seen(writes(steady(-1.0, 0.0)), happenings=()))
    assert run.verdict == Verdict.FAIL


def test_a_switchover_proves_something_only_when_somebody_else_leads():
    switchover = scene(DrillFault.SWITCHOVER)
    run = assess(switchover, seen(happenings=(TOOK_OVER,)))
    assert (run.verdict, run.path) == (Verdict.PASS, "switchover")
    again = replace(TOOK_OVER, node="redis01-1")
    assert assess(switchover, seen(happenings=(again,))).because == "redis01-1 did not hand over"


def test_a_control_plane_that_dies_must_be_seen_to_start_again():
    fault = scene(DrillFault.CONTROL_PLANE)
    run = assess(fault, seen(happenings=(Happening("control.started", 3.5),)))
    assert (run.verdict, run.path) == (Verdict.PASS, "none")
    assert assess(fault, seen(happenings=())).verdict == Verdict.INCONCLUSIVE


def test_a_fault_that_was_refused_proves_nothing_and_says_why():
    run = assess(scene(), replace(seen(), refused="redis01-1 does not run"))
    assert (run.verdict, run.because) == (
        Verdict.INCONCLUSIVE,
        "the fault could not be caused: redis01-1 does not run",
    )


def test_redundancy_that_does_not_come_back_is_a_failure():
    run = assess(scene(), seen(whole_s=None))
    assert (run.verdict, run.because, run.redundant_after_s) == (
        Verdict.FAIL,
        "redundancy did not come back in time",
        None,
    )


def test_what_cannot_be_read_back_is_never_a_pass():
    evidence = replace(seen(), survivors=None, unread="the service does not do what a drill needs: cut")
    run = assess(scene(lost=None), evidence)
    assert (run.verdict, run.lost) == (Verdict.INCONCLUSIVE, None)


def test_what_is_never_read_back_is_judged_by_time_alone():
    run = assess(scene(lost=None), replace(seen(), survivors=None))
    assert (run.verdict, run.lost) == (Verdict.PASS, None)


def test_a_node_that_is_started_again_without_a_new_primary_came_back_by_restart():
    run = assess(scene(), seen(happenings=(DIED, Happening("node.started", 0.01, "redis01-1"))))
    assert run.path == "restart"
    assert assess(scene(), seen(happenings=(DIED,))).path == "none"


def test_latencies_are_told_apart_by_fault_and_redundancy():
    attempts = writes(steady(-1.0, 0.0)) + writes([0.5], took_s=0.4) + writes([1.8], took_s=0.002)
    parts = assess(scene(), seen(attempts)).latency
    assert {part: one.n for part, one in parts.items()} == {"before": 200, "during": 1, "after": 1}
    assert parts["during"].max_ms == pytest.approx(400)
    assert parts["before"].median_ms == pytest.approx(1)


def test_percentiles_are_taken_from_what_was_measured():
    one = latency([float(value) for value in range(1, 101)])
    assert (one.n, one.median_ms, one.p99_ms, one.max_ms) == (100, 50.5, 99.0, 100.0)
    assert latency([]).median_ms is None


def test_the_timeline_goes_from_the_fault_to_redundancy_each_event_once():
    twice = (DIED, Happening("node.fenced", 0.01, "redis01-1"), TOOK_OVER, DIED)
    moments = assess(scene(), seen(happenings=twice)).moments
    assert [one.name for one in moments] == ["fault", "node.exited", "node.fenced", "primary.changed", "write", "whole"]
    assert moments[3].what == "redis01-2 is the primary"
    assert moments[4].at_s == pytest.approx(0.1)


def test_delays_count_as_far_as_they_lie_in_the_longest_gap():
    pulses = [Pulse(1.0, 0.5), Pulse(3.0, 0.25), Pulse(5.0, 2.0)]
    assert stalled(pulses, [(0.0, 0.1), (0.75, 3.5)]) == pytest.approx(0.25 + 0.25 + 0.5)
    assert stalled(pulses, []) == 0.0


def run(verdict: Verdict, rto_s: float | None = 0.1, lost: int | None = 0, because: str = "so") -> Run:
    return Run(verdict, because, "redis01-1", rto_s, lost, 100, 1, "failover", 1.0)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("ppp", Verdict.PASS),
        ("ppi", Verdict.INCONCLUSIVE),
        ("ifp", Verdict.FAIL),
        ("f", Verdict.FAIL),
        ("", Verdict.INCONCLUSIVE),
    ],
)
def test_a_drill_is_as_good_as_its_worst_run(verdicts: str, expected: Verdict):
    by_letter = {"p": Verdict.PASS, "i": Verdict.INCONCLUSIVE, "f": Verdict.FAIL}
    runs = [run(by_letter[letter]) for letter in verdicts]
    assert summarize(Targets(), runs).verdict == expected


def test_a_summary_names_the_first_run_that_decides():
    summary = summarize(Targets(2.0, 0), [run(Verdict.PASS), run(Verdict.FAIL, None, 3, "writing did not come back")])
    assert summary.because == "1 of 2 runs, first run 2: writing did not come back"
    assert (summary.lost, summary.acknowledged, summary.errors) == (3, 200, 2)
    assert (summary.rto_s.median, summary.rto_s.max) == (0.1, 0.1)


def test_nothing_is_known_of_losses_where_nothing_was_read_back():
    assert summarize(Targets(), [run(Verdict.PASS, lost=None)]).lost is None


moments = st.lists(st.floats(-5, 20, allow_nan=False), max_size=60)


@given(good=moments, bad=moments, whole_s=st.none() | st.floats(0, 20))
def test_every_verdict_keeps_its_word_whatever_was_seen(good: list[float], bad: list[float], whole_s: float | None):
    found = assess(scene(), seen(writes(good, bad), whole_s=whole_s))
    assert found.acknowledged + found.errors == len(good) + len(bad)
    if found.verdict == Verdict.PASS:
        assert sum(end <= 0 for end in good) >= FEWEST
        assert found.rto_s is not None and found.rto_s <= 2.0
        assert found.redundant_after_s is not None and found.lost == 0
    for drawn in (found.overview, found.closeup):
        assert drawn is None or len(drawn.acknowledged) == len(drawn.errors) == BARS
    assert found.overview is None or sum(found.overview.acknowledged) == len(good)


@given(ends=st.lists(st.floats(-1, 9.99), min_size=1, max_size=200))
def test_bars_hold_every_write_between_their_ends(ends: list[float]):
    drawn = bars(writes(ends), FAULT_S - 1.0, FAULT_S + 10.0, FAULT_S)
    assert sum(drawn.acknowledged) == len(ends)
    assert drawn.begin_s == -1.0


FELL_SILENT = Happening("host.silent", 1.2, None, {"host": "node1"})
HEARD_AGAIN = Happening("host.heard", 9.0, None, {"host": "node1"})


def cut(alone_s: float | None = 3.0, fault: DrillFault = DrillFault.PARTITION) -> Scene:
    return replace(scene(fault, rto_s=5.0), host="node1", alone_s=alone_s)


@pytest.mark.parametrize("fault", [DrillFault.PARTITION, DrillFault.HOST_LOSS])
def test_a_cut_takes_hold_when_its_own_host_falls_silent(fault: DrillFault):
    assert assess(cut(fault=fault), seen(happenings=(FELL_SILENT, TOOK_OVER))).verdict == Verdict.PASS
    another = replace(FELL_SILENT, fields={"host": "node2"})
    for happenings in ((), (DIED, TOOK_OVER), (another,), (HEARD_AGAIN,)):
        run = assess(cut(fault=fault), seen(happenings=happenings))
        assert (run.verdict, run.because) == (Verdict.INCONCLUSIVE, "no event says that node1 fell silent")


def test_a_cut_is_over_when_its_own_host_is_heard_again():
    assert not is_over(cut(), (FELL_SILENT,))
    assert not is_over(cut(), (FELL_SILENT, replace(HEARD_AGAIN, fields={"host": "node2"})))
    assert is_over(cut(), (FELL_SILENT, HEARD_AGAIN))


@pytest.mark.parametrize("fault", [one for one in DrillFault if one not in ("partition", "host-loss")])
def test_other_faults_are_over_without_a_word_of_a_host(fault: DrillFault):
    assert is_over(scene(fault), ())


def test_the_timeline_names_the_host_that_was_cut_off():
    run = assess(cut(), seen(happenings=(FELL_SILENT, TOOK_OVER, HEARD_AGAIN), whole_s=12.0))
    told = {one.name: one.what for one in run.moments}
    assert told["host.silent"] == "noticed: the host node1 does not answer"
    assert told["host.heard"] == "the host node1 answers again"


def test_what_clients_beside_the_cut_off_primary_may_have_lost_is_said():
    assert "up to 3 s of the cut" in caution_of(cut())
    assert caution_of(cut(0.0)).startswith("no client on the host of redis01-1 could")
    assert caution_of(cut(None)) == caution_of(scene()) == ""
