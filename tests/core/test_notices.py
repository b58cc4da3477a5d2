"""What people are told, and how often."""

import pytest

from everup.core.notices import BARE_S, FLAP_S, HOLD_S, SETTLE_S, Announcer
from everup.model.events import Event
from everup.model.notices import Destination, Notice, Tone, Topic, scheme_of, without_secrets


def event(name: str, service: str | None = "redis01", node: str | None = "redis01-1", **fields: object) -> Event:
    return Event(name, "shop", "2026-11-22T14:00:00.000+00:00", service, node, fields)


EXIT, DOWN, HEALTHY = event("node.exited", noticed_ms=0.0), event("service.down"), event("service.healthy")
CROWNED = event("primary.changed", node="redis01-2", generation=2, because="it was in sync")
STOPPED = event("environment.stopped", service=None, node=None)


class Teller(Announcer):
    """An announcer on a clock of its own."""

    def __init__(self) -> None:
        super().__init__(lambda events: " · ".join(one.name for one in events))
        self.now_s = 1000.0

    def after(self, seconds: float, *events: Event) -> list[Notice]:
        """What it has to say once these events have come, that much later."""
        self.now_s += seconds
        for one in events:
            self.take(one, self.now_s)
        return self.due(self.now_s)


@pytest.fixture
def teller() -> Teller:
    return Teller()


def titles(notices: list[Notice]) -> list[str]:
    return [one.title for one in notices]


def test_an_incident_that_is_over_soon_is_one_message_with_its_end(teller: Teller):
    assert teller.after(0, EXIT, DOWN, CROWNED) == []
    (one,) = teller.after(2, HEALTHY)
    assert one.title == "shop: redis01 failed and is whole again"
    assert one.body == "node.exited · service.down · primary.changed · service.healthy\nIt did not work for 0.00 s."
    assert (one.topics, one.tone) == ({Topic.INCIDENT, Topic.ROLE}, Tone.SUCCESS)
    assert teller.after(1000) == []


def test_a_long_incident_is_a_message_when_it_began_and_one_when_it_is_over(teller: Teller):
    assert teller.after(0, EXIT, DOWN) == teller.after(HOLD_S - 1) == []
    (begun,) = teller.after(1)
    assert (begun.title, begun.tone) == ("shop: redis01 has failed and is not whole again", Tone.FAILURE)
    assert "It began 10 s ago." in begun.body
    assert teller.after(1000, event("node.hung")) == []
    (over,) = teller.after(5, HEALTHY)
    assert (over.title, over.tone) == ("shop: redis01 is whole again", Tone.SUCCESS)
    assert "did not work for 1015" in over.body


def test_what_flaps_is_told_once_and_then_counted(teller: Teller):
    assert len(teller.after(0, EXIT, HEALTHY)) == 1
    for _ in range(5):
        assert teller.after(9, EXIT, HEALTHY) == []
    (later,) = teller.after(FLAP_S, EXIT, HEALTHY)
    assert "The same happened 5 more times since the last message." in later.body


def test_what_flaps_all_night_is_told_ever_less_often(teller: Teller):
    told = sum(len(teller.after(20, EXIT, HEALTHY)) for _ in range(12 * 180))  # twelve hours of it
    assert 10 <= told <= 25
    teller.after(10_000)
    assert len(teller.after(0, EXIT, HEALTHY)) == 1
    assert len(teller.after(FLAP_S + 1, EXIT, HEALTHY)) == 1  # calm again: as patient as at first


def test_what_fails_again_and_stays_away_is_told(teller: Teller):
    teller.after(0, EXIT, HEALTHY)
    assert teller.after(5, EXIT, DOWN) == teller.after(FLAP_S - 1) == []
    assert titles(teller.after(1)) == ["shop: redis01 has failed and is not whole again"]


def test_a_primary_that_changes_without_an_incident_is_told_once_it_has_settled(teller: Teller):
    other = event("primary.changed", node="redis01-3", generation=3, because="the Sentinels chose it")
    back = event("primary.changed", node="redis01-2", generation=4, because="the Sentinels chose it")
    assert teller.after(0, CROWNED, other, back) == []
    (one,) = teller.after(SETTLE_S)
    assert (one.title, one.body) == ("shop: redis01-2 is the primary of redis01 now", "it was in sync")
    assert one.topics == {Topic.ROLE}
    assert teller.after(1, event("primary.changed", generation=1)) == []  # the first there ever was
    assert teller.after(1000) == []


def test_of_a_drill_only_its_failure_is_told(teller: Teller):
    drill = event("drill.started", fault="crash")
    assert teller.after(0, drill, CROWNED, EXIT, DOWN) == teller.after(30) == []
    assert teller.after(0, HEALTHY, event("drill.ended", fault="crash", verdict="pass")) == []
    (one,) = teller.after(0, event("drill.ended", fault="crash", verdict="fail", because="2 writes were lost"))
    assert (one.title, one.body) == ("shop: a drill of redis01 failed (crash)", "2 writes were lost")


def test_lost_redundancy_is_told_once_it_lasts_and_when_it_is_back(teller: Teller):
    teller.bare("shop", {"redis01": "no replica is in sync"}, teller.now_s)
    assert teller.after(BARE_S - 1) == []
    (one,) = teller.after(1)
    assert one.title == "shop: redis01 would not survive the loss of one more node"
    assert (one.body, one.topics) == ("no replica is in sync", {Topic.REDUNDANCY})
    teller.bare("shop", {"redis01": "no replica is in sync"}, teller.now_s)
    teller.bare("depot", {}, teller.now_s)
    assert teller.after(1000) == []
    teller.bare("shop", {}, teller.now_s)
    assert titles(teller.after(0)) == ["shop: redis01 is redundant again"]


def test_a_moment_without_redundancy_is_not_told(teller: Teller):
    teller.bare("shop", {"redis01": "a replica copies"}, teller.now_s)
    teller.bare("shop", {}, teller.now_s + 30)
    assert teller.after(1000) == []


def test_an_incident_is_not_told_as_lost_redundancy_as_well(teller: Teller):
    teller.after(0, EXIT)
    for _ in range(20):
        teller.bare("shop", {"redis01": "a node is away"}, teller.now_s)
        teller.after(15)
    assert titles(teller.after(15)) == []
    assert titles(teller.after(0, HEALTHY)) == ["shop: redis01 is whole again"]


def test_what_is_stopped_on_request_is_no_news(teller: Teller):
    teller.after(0, EXIT)
    teller.bare("shop", {"redis01": "a node is away"}, teller.now_s)
    assert teller.after(1, STOPPED) == teller.after(1000) == []


def test_of_a_service_that_is_no_more_nothing_is_said(teller: Teller):
    teller.after(0, EXIT)
    teller.retain("shop", ["web"])
    assert teller.after(1000) == []
    teller.after(0, EXIT)
    teller.retain("depot", [])
    teller.retain("shop", ["redis01"])
    assert titles(teller.after(1000)) == ["shop: redis01 has failed and is not whole again"]


def test_a_destination_gets_what_it_asked_for():
    notice = Notice("shop", "redis01", frozenset({Topic.INCIDENT, Topic.ROLE}), Tone.SUCCESS, "t", "b")
    assert Destination("a", "json").wants(notice)
    assert Destination("a", "json", (Topic.ROLE,), ("shop",)).wants(notice)
    assert not Destination("a", "json", (Topic.DRILL,)).wants(notice)
    assert not Destination("a", "json", (), ("depot",)).wants(notice)


def test_nothing_of_a_url_but_its_scheme_is_shown():
    url = "slack://TokenAAAA/TokenBBBB/#general?key=hunter2"
    words = without_secrets(f"Unparseable URL {url}; no TokenBBBB, key=hunter2 there", url)
    assert all(secret not in words for secret in ("TokenAAAA", "TokenBBBB", "hunter2", "general"))
    assert words.startswith("Unparseable URL slack://")
    assert scheme_of(url) == "slack"
