"""Campaigns: an order of faults that can be had again, and what must hold after each."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.core.campaign import FAULTS, Standing, Step, Target, breaches, steps
from everup.model.drill import DrillFault, Run, Verdict

REDIS = Target("redis01", ("sentinel", "endpoint"), frozenset(FAULTS))
WEB = Target("web", ("endpoint",), frozenset(FAULTS) - {DrillFault.SWITCHOVER})
CRASH = Step("redis01", DrillFault.CRASH, "sentinel")
RUN = Run(Verdict.PASS, "rto kept", "redis01-1", 0.1, 0, 100, 2, "failover", 1.0)
WHOLE = Standing({"redis01": ["redis01-2"], "db01": ["db01-1"]}, [], [], [])


def test_an_order_is_the_same_wherever_it_is_drawn():
    assert [(one.label, one.fault.value, one.via) for one in islice(steps(1, [REDIS, WEB]), 4)] == FIRST


FIRST = [
    ("web", "node-loss", "endpoint"),
    ("web", "node-loss", "endpoint"),
    ("web", "crash", "endpoint"),
    ("web", "hang", "endpoint"),
]


@given(seed=st.integers(0, 10_000))
def test_no_service_is_asked_for_what_it_cannot_survive(seed: int):
    by_label = {one.label: one for one in (REDIS, WEB)}
    for step in islice(steps(seed, [REDIS, WEB]), 30):
        assert step.fault in by_label[step.label].faults
        assert step.via in by_label[step.label].ways


def test_seeds_differ_and_every_fault_comes_the_harmful_ones_more_often():
    assert list(islice(steps(1, [REDIS]), 10)) != list(islice(steps(2, [REDIS]), 10))
    drawn = Counter(one.fault for one in islice(steps(3, [REDIS, WEB]), 2000))
    assert set(drawn) == set(FAULTS)
    assert drawn[DrillFault.CRASH] > 1.3 * drawn[DrillFault.CONTROL_PLANE]


def test_without_services_there_is_nothing_to_do():
    assert list(steps(1, [])) == []


def test_a_whole_environment_breaks_no_rule():
    assert breaches(CRASH, RUN, WHOLE) == []


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (replace(WHOLE, primaries={"db01": ["db01-1", "db01-2"]}), "db01 has 2 primaries: db01-1, db01-2"),
        (replace(WHOLE, primaries={"db01": []}), "db01 has 0 primaries: none"),
        (replace(WHOLE, strays=["redis01-9"]), "redis01-9 runs and is not declared"),
        (replace(WHOLE, pending=["start web-2, it is declared"]), "a second apply would change something: start web-2"),
        (replace(WHOLE, lineages={"db01": {"7", "8"}}), "the servers of db01 have data of 2 histories: 7, 8"),
        (replace(WHOLE, lineages={"db01": {"7"}, "db02": {"7"}}), "db01 and db02 have data of the same history: 7"),
        (replace(WHOLE, unwell=["web is degraded: web-1 is down"]), "web is degraded: web-1 is down"),
    ],
)
def test_every_rule_that_is_broken_is_told(after: Standing, words: str):
    found = breaches(CRASH, RUN, after)
    assert len(found) == 1 and found[0].startswith(words)


def test_a_failed_run_is_a_breach_and_one_that_proves_nothing_is_none():
    failed = replace(RUN, verdict=Verdict.FAIL, because="2 acknowledged writes were lost")
    assert breaches(CRASH, failed, WHOLE) == ["redis01, crash: 2 acknowledged writes were lost"]
    assert breaches(CRASH, replace(RUN, verdict=Verdict.INCONCLUSIVE), WHOLE) == []


def test_the_endpoint_leads_to_the_primary_and_clients_of_sentinels_find_it_themselves():
    astray = replace(RUN, misrouted=3)
    assert breaches(CRASH, astray, WHOLE) == []
    found = breaches(replace(CRASH, via="endpoint"), astray, WHOLE)
    assert found == ["redis01's endpoint led 3 writes to a server that was no primary"]


@pytest.mark.parametrize("felt", [{"errors": 1}, {"path": "failover", "errors": 0}])
def test_clients_must_not_notice_the_death_of_the_control_plane(felt: dict[str, object]):
    step = Step("redis01", DrillFault.CONTROL_PLANE, "sentinel")
    calm = replace(RUN, errors=0, path="none", subject=None)
    assert breaches(step, calm, WHOLE) == []
    assert len(breaches(step, replace(calm, **felt), WHOLE)) == 1  # type: ignore[arg-type]
