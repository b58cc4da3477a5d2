"""The one sentence that matters, for every state that an environment can be in."""

from dataclasses import replace

import pytest

from everup.api.verdicts import verdict
from everup.api.views import status
from everup.model.observed import Ground, Health, NodeStatus, Observed
from everup.model.picture import Picture
from everup.web.headline import Headline, headline
from tests.api.small_desk import on_hosts, redis, web, world


def of(picture: Picture) -> Headline:
    return headline(status(picture, "here"), verdict(picture))


def without(picture: Picture, *node_ids: str) -> Picture:
    """The same world with these nodes dead."""
    nodes = {
        name: replace(one, health=Health.DOWN, because="its process ended", state=replace(one.state, running=False))
        if name in node_ids
        else one
        for name, one in picture.observed.nodes.items()
    }
    return replace(picture, observed=replace(picture.observed, nodes=nodes))


def test_a_healthy_environment_says_what_can_be_lost():
    found = of(world(web()))
    assert (found.tone, found.sentence) == ("healthy", "All services are healthy; any one node can be lost.")
    assert found.rest == ("There is one machine only: its loss would take everything with it.",)
    assert found.next == ()


def test_a_service_that_would_not_survive_is_named_with_what_to_do():
    found = of(world(web(1)))
    assert found.sentence == "All services are healthy, but web would not survive the loss of a node."
    assert found.next == ("everup scale web 2",)


def test_several_hosts_are_no_single_point():
    told = status(world(web()), "here")
    judged = {**verdict(world(web())), "survives": {"node": True, "host": True}, "hosts": ["one", "two"]}
    assert headline(told, judged).sentence == "All services are healthy; any one node or host can be lost."
    assert headline(told, judged).rest == ()


@pytest.mark.parametrize(
    ("ground", "told", "step"),
    [
        (
            Ground.DRAINED,
            "The host node2 is drained: while it is switched off, no other one may be lost.",
            "everup undrain node2",
        ),
        (Ground.LOST, "The host node2 is lost: until it is back, no other one may be.", "start node2 again"),
    ],
)
def test_a_host_that_is_drained_or_lost_is_told_of(ground: Ground, told: str, step: str):
    found = of(on_hosts(world(redis(), web()), node1=Ground.SOUND, node2=ground, node3=Ground.SOUND))
    assert (found.rest[-1], found.next[-1]) == (told, step)
    sound = of(on_hosts(world(redis(), web()), node1=Ground.SOUND, node2=Ground.SOUND))
    assert not [one for one in sound.rest if "node2" in one]


def test_a_dead_instance_makes_it_degraded_and_says_that_it_is_being_replaced():
    found = of(without(world(web()), "web-1"))
    assert (found.tone, found.sentence) == ("degraded", "web works with less than it should.")
    assert found.rest[0].startswith("web: web-1 is down: its process ended")
    assert found.rest[-1] == "Everup is on it: start web-1"
    assert found.next == ()


def test_what_is_down_comes_before_what_is_degraded():
    found = of(without(world(redis(), web()), "web-1", "web-2", "redis01-2"))
    assert (found.tone, found.sentence) == ("down", "web is down.")


def test_several_are_listed():
    found = of(without(world(redis(), web()), "web-1", "redis01-2"))
    assert found.sentence == "redis01 and web work with less than they should."


def test_a_first_start_is_no_trouble():
    picture = world(web())
    found = of(replace(picture, observed=Observed(1.0, dict.fromkeys(picture.observed.nodes, NodeStatus()))))
    assert (found.tone, found.sentence, found.next) == ("starting", "web is starting.", ())


def test_a_stopped_environment_says_how_to_start_it():
    found = of(replace(world(web()), stopped=True))
    assert (found.tone, found.sentence, found.next) == ("stopped", "shop is stopped. Its data is kept.", ("everup up",))


def test_without_services_there_is_nothing_to_lose():
    assert of(world()).sentence == "shop declares no services."


@pytest.mark.parametrize("answers", [True, False])
def test_an_engine_that_does_not_answer_is_never_called_healthy(answers):
    picture = world(web())
    found = of(replace(picture, observed=replace(picture.observed, engine_answers=answers)))
    assert ("can be lost" in found.sentence) == answers
