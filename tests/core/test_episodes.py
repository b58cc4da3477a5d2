"""Incidents as they happen: what began when, when it worked again, and when it was over."""

import pytest

from everup.core.episodes import LONGEST, REHEARSED_S, Episode, Episodes
from everup.core.incident import latest
from everup.core.tally import Histogram, Tally
from everup.model.events import Event


def event(name: str, service: str | None = "redis01", node: str | None = None, **fields: object) -> Event:
    return Event(name, "shop", "2026-11-22T14:00:00.000+00:00", service, node, fields)


EXIT = event("node.exited", node="redis01-1", exit_code=-9, noticed_ms=20.0)
DOWN, DEGRADED, HEALTHY = event("service.down"), event("service.degraded"), event("service.healthy")
BEGUN = event("operation.started", operation="failover")
ENDED = event("operation.ended", operation="failover", done=True)
REFUSED = event("operation.ended", operation="failover", done=False)
CROWNED = event("primary.changed", primary="redis01-2", generation=2)


def told(*events: Event, at_s: float = 100.0) -> list[Episode | None]:
    """What each makes of the incident, a second after the other."""
    episodes = Episodes()
    return [episodes.take(one, at_s + number) for number, one in enumerate(events)]


@pytest.mark.parametrize(
    ("events", "standstill_s"),
    [
        ([EXIT, DOWN, BEGUN, CROWNED, ENDED, DEGRADED, HEALTHY], 4.02),  # by Everup: until the endpoint leads there
        ([EXIT, DOWN, CROWNED, DEGRADED, HEALTHY], 2.02),  # by the elector
        ([EXIT, DOWN, BEGUN, REFUSED, event("node.ready"), HEALTHY], 5.02),  # by a restart in place
        ([EXIT, DOWN, BEGUN, REFUSED, DEGRADED, DOWN, HEALTHY], 6.02),  # it came back, and went again
        ([EXIT, BEGUN, CROWNED, ENDED, HEALTHY], 3.02),  # quicker than anybody could call it down
        ([EXIT, DEGRADED, HEALTHY], None),  # the others went on
        ([event("node.hung", silent_s=3.1), DOWN, HEALTHY], 5.1),
    ],
)
def test_how_long_a_service_stood_still(events: list[Event], standstill_s: float | None):
    last = told(*events)[-1]
    assert last and last.ended_s is not None
    assert last.standstill_s == (None if standstill_s is None else pytest.approx(standstill_s))
    assert last.events == latest(events)


def test_while_it_stands_still_nothing_is_measured():
    episode = told(EXIT, DOWN)[-1]
    assert episode and (episode.standstill_s, episode.ended_s) == (None, None)


def test_nothing_is_an_incident_that_fails_for_nobody():
    assert (
        told(event("node.exited", stand_in=True), DOWN, HEALTHY, event("control.started", service=None)) == [None] * 4
    )


def test_incidents_of_several_services_are_kept_apart():
    first, _, second, _ = told(EXIT, event("node.exited", "web"), HEALTHY, event("service.healthy", "web"))
    assert first and second and second.ended_s and second.events == (EXIT, HEALTHY)


def test_stopping_an_environment_ends_its_incidents_without_an_end():
    episodes = Episodes()
    episodes.take(EXIT, 1.0)
    episodes.take(event("environment.stopped", service=None), 2.0)
    assert not episodes.open and episodes.take(HEALTHY, 3.0) is None


def test_what_a_drill_broke_is_known_as_such():
    drill, over = event("drill.started", fault="crash"), event("drill.ended", verdict="pass")
    _, during, _, _, after = told(drill, EXIT, HEALTHY, over, EXIT)
    assert during and during.rehearsed and after and not after.rehearsed
    episodes = Episodes()
    episodes.take(drill, 0.0)  # whoever conducted it died
    late = episodes.take(EXIT, REHEARSED_S + 1)
    assert late and not late.rehearsed


def test_an_incident_without_end_takes_no_room_without_end():
    last = told(EXIT, *[event("service.held")] * (3 * LONGEST))[-1]
    assert last and len(last.events) == LONGEST


def test_what_is_counted():
    tally = Tally()
    first = event("primary.changed", primary="redis01-1", generation=1)
    for at_s, one in enumerate([first, EXIT, DOWN, CROWNED, HEALTHY]):
        tally.take(one, float(at_s))
    measured = [0.03, None, 0.2]
    tally.take(event("drill.ended", fault="crash", verdict="pass", runs_rto_s=measured), 9.0)
    assert dict(tally.role_changes) == {("shop", "redis01"): 1}  # the first primary is no change
    assert dict(tally.incidents) == {("shop", "redis01", "exited", False): 1}
    assert dict(tally.drills) == {("shop", "redis01", "crash", "pass"): 1}
    assert tally.rto["shop", "redis01", "incident"].total == pytest.approx(2.02)
    assert (tally.rto["shop", "redis01", "drill"].count, tally.whole["shop", "redis01"].count) == (2, 1)
    assert tally.events["shop", "primary.changed"] == 2


def test_the_incident_of_a_drill_counts_as_the_drills_alone():
    tally = Tally()
    for at_s, one in enumerate([event("drill.started", fault="crash"), EXIT, DOWN, CROWNED, HEALTHY]):
        tally.take(one, float(at_s))
    assert dict(tally.incidents) == {("shop", "redis01", "exited", True): 1}
    assert not tally.rto and not tally.whole


def test_a_histogram_counts_up_to_each_bound():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.5, 9.0):
        histogram.observe(value)
    assert list(histogram.cumulated()) == [(1.0, 2), (2.0, 3), (float("inf"), 5)]
    assert (histogram.count, histogram.total) == (5, 14.5)
