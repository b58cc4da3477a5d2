"""The newest incident, picked out of the events."""

from everup.core.incident import latest
from everup.model.events import Event


def events(*names: str) -> list[Event]:
    """`"node.exited web"` and the like, numbered."""
    split = [name.partition(" ") for name in names]
    return [
        Event(name, "shop", "2026-01-01T00:00:00Z", service or None, seq=number)
        for number, (name, _, service) in enumerate(split)
    ]


def numbers(*names: str) -> list[int]:
    return [event.seq for event in latest(events(*names))]


def test_without_a_failure_there_is_no_incident():
    assert numbers("spec.applied", "node.started web", "service.healthy web", "node.stopped web") == []


def test_it_lasts_until_the_service_is_healthy():
    assert numbers(
        "service.healthy web", "node.exited web", "node.started web", "service.healthy web", "node.started web"
    ) == [1, 2, 3]


def test_a_hang_begins_one_too():
    assert numbers("node.hung web", "node.fenced web", "service.healthy web") == [0, 1, 2]


def test_while_it_lasts_it_holds_all_that_came_so_far():
    assert numbers("node.exited web", "operation.started web") == [0, 1]


def test_further_failures_belong_to_it():
    assert numbers("node.exited web", "node.exited web", "service.healthy web") == [0, 1, 2]


def test_other_services_and_the_environment_are_left_out():
    assert numbers("node.exited web", "node.started redis01", "spec.applied", "service.healthy web") == [0, 3]


def test_the_newest_counts():
    assert numbers("node.exited web", "service.healthy web", "node.exited web", "service.healthy web") == [2, 3]
    assert numbers("node.exited web", "node.exited redis01", "service.healthy redis01", "service.healthy web") == [1, 2]
