"""Targets become timings that keep them; a target that nothing can keep is refused with the reason."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.core.health import Patience, judge
from everup.core.targets import CALM, LEAST_HANG_S, SECOND_LOOK_S, Watch, least_rto_s, watch_for
from everup.kinds import postgres, redis
from everup.model.desired import Part
from everup.model.observed import Health, NodeState, NodeStatus
from tests.kinds.shapes import blueprint

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "set-targets.md"
TAKEOVERS_S = st.floats(0.05, 1.0)


def noticed_s(watch: Watch) -> float:
    """A node hangs just after a good answer; when is it called hung, asked as the prober asks?"""
    status = NodeStatus(Health.READY, NodeState(running=True))
    now_s = watch.interval_s
    while True:
        sent_s, now_s = now_s, now_s + watch.timeout_s
        status = judge(status, None, now_s, sent_s, Patience(watch.hang_s))
        if status.health == Health.HUNG:
            return now_s
        now_s += SECOND_LOOK_S


@given(st.floats(0.0, 60.0), TAKEOVERS_S)
def test_a_target_that_is_accepted_is_kept_in_the_worst_case(spare_s: float, takeover_s: float):
    rto_s = least_rto_s(takeover_s) + spare_s
    watch = watch_for(rto_s, takeover_s)
    assert noticed_s(watch) + takeover_s == pytest.approx(watch.worst_s(takeover_s))
    assert watch.worst_s(takeover_s) <= rto_s + 0.002
    assert watch.noticed_s >= LEAST_HANG_S and watch.hang_s > watch.timeout_s


def test_without_a_target_a_hang_is_noticed_as_foretold():
    assert noticed_s(CALM) == pytest.approx(CALM.worst_s(0.0)) == pytest.approx(3.7)


@given(TAKEOVERS_S)
def test_a_little_less_than_the_least_is_refused(takeover_s: float):
    with pytest.raises(ValueError, match="or more: a node that hangs"):
        watch_for(least_rto_s(takeover_s) - 0.1, takeover_s)


@given(st.floats(2.5, 100.0), st.floats(2.5, 100.0))
def test_more_time_never_means_less_patience(one_s: float, other_s: float):
    less, more = (watch_for(rto_s, 0.3) for rto_s in sorted((one_s, other_s)))
    assert less.noticed_s <= more.noticed_s <= CALM.noticed_s
    assert less.hang_s <= more.hang_s <= CALM.hang_s
    assert less.interval_s <= more.interval_s <= CALM.interval_s
    assert less.timeout_s <= more.timeout_s <= CALM.timeout_s


@pytest.mark.parametrize("kind", ["redis", "postgres"])
@pytest.mark.parametrize("ha", [True, False])
def test_a_target_changes_how_nodes_are_asked_and_restarts_none(kind: str, ha: bool):
    calm, close = blueprint(kind, ha=ha), blueprint(kind, ha=ha, rto="2s")
    for before, after in zip(calm.nodes, close.nodes, strict=True):
        assert (before.digest, before.files_digest) == (after.digest, after.files_digest)
        if after.part in (Part.DATA, Part.ENDPOINT):
            assert (after.probe.interval_s, after.probe.timeout_s) == (0.2, 0.7 if kind == "redis" else 0.5)
            assert after.probe.hang_s < before.probe.hang_s == 3.0
            assert after.probe.commands == before.probe.commands


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| (none|\d+s) \|", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row[0]))
def test_the_table_in_the_docs_is_what_the_code_does(row: list[str]):
    takeovers = {"redis": redis.TAKEOVER_S, "postgres": postgres.TAKEOVER_S}
    calm = {"redis": CALM, "postgres": postgres.CALM_GROUP}
    watches = {k: calm[k] if row[0] == "none" else watch_for(float(row[0][:-1]), t) for k, t in takeovers.items()}
    both = [watches["redis"], watches["postgres"]]
    cells = [[f"{watch.interval_s:g} s", f"{watch.timeout_s:g} s", f"{watch.hang_s:g} s"] for watch in both]
    shown = [one if one == other else f"{one} / {other}" for one, other in zip(*cells, strict=True)]
    worst = [f"{round(watches[kind].worst_s(takeovers[kind]), 1):g} s" for kind in ("redis", "postgres")]
    assert row[1:] == [*shown, " / ".join(worst)]


def test_the_least_targets_in_the_docs_are_those_of_the_code():
    least = (least_rto_s(redis.TAKEOVER_S), least_rto_s(postgres.TAKEOVER_S))
    assert f"Less than {least[0]:g} s for redis, or {least[1]:g} s for postgres" in PAGE.read_text()
