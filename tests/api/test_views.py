"""The status as JSON, and events in words."""

from dataclasses import replace

import pytest

from everup.api import views
from everup.core.words import SENTENCES, duration, ending, incident, sentence
from everup.model.actions import Hold
from everup.model.events import CATALOGUE, Event
from everup.model.observed import Health, NodeState, NodeStatus, Observed
from tests.api.small_desk import kept, redis, web, world

TOP = {"environment", "engine", "health", "control_plane", "services"}
SERVICE = {"label", "kind", "ha", "health", "primary", "endpoint", "scale", "limit", "lost", "revision", "nodes"}
NODE = {"id", "role", "health", "host", "address", "port", "pid", "restarts", "since", "lag_bytes"}


def with_node(picture, node_id, status):
    observed = Observed(1.0, {**picture.observed.nodes, node_id: status}, picture.observed.groups)
    return replace(picture, observed=observed)


def test_the_status_has_every_promised_field():
    body = views.status(world(redis(), web()), "laptop")
    assert body.keys() >= TOP
    assert body["control_plane"] == {"pid": 1, "since": "2026-11-22T13:00:00Z"}
    assert all(one.keys() >= SERVICE for one in body["services"])
    assert all(one.keys() >= NODE for service in body["services"] for one in service["nodes"])


def test_a_healthy_world_is_settled_and_names_primary_roles_and_addresses():
    body = views.status(world(redis(), web()), "laptop")
    first, second, sentinel, endpoint = body["services"][0]["nodes"]
    assert (body["health"], body["settled"], body["pending"]) == ("healthy", True, [])
    assert body["services"][0]["primary"] == "redis01-1"
    assert [first["role"], second["role"], sentinel["role"], endpoint["role"]] == [
        "primary",
        "replica",
        "voter",
        "endpoint",
    ]
    assert (first["address"], first["port"], first["host"], first["lag_bytes"]) == ("127.91.0.9", 6379, "laptop", None)
    assert (second["lag_bytes"], sentinel["lag_bytes"]) == (17, None)


def test_the_status_never_shows_a_password():
    body = views.status(world(redis()), "laptop")
    assert body["services"][0]["endpoint"] == "redis://:***@127.91.0.9:6399"
    assert views.hide_password("postgresql://me:se:cret@h:1/db") == "postgresql://me:***@h:1/db"
    assert views.hide_password("http://127.0.0.1:80/a@b:c@d") == "http://127.0.0.1:80/a@b:c@d"


def test_the_environment_is_as_healthy_as_its_worst_service():
    picture = world(redis(), web())
    dead = NodeStatus(Health.DOWN, NodeState(running=False, service="web", failure="exited with code 1, 4 times"))
    body = views.status(with_node(picture, "web-1", dead), "laptop")
    node = body["services"][1]["nodes"][0]
    assert (body["health"], body["services"][1]["health"]) == ("degraded", "degraded")
    assert (node["pid"], node["because"]) == (None, "exited with code 1, 4 times")
    assert not body["settled"]


def test_nodes_that_are_no_longer_declared_are_shown_until_they_are_gone():
    stray = NodeStatus(Health.READY, NodeState(running=True, service="web", pid=7))
    orphan = NodeStatus(Health.READY, NodeState(running=True, service="old", pid=8))
    picture = with_node(with_node(world(web()), "web-9", stray), "old-1", orphan)
    body = views.status(picture, "laptop")
    assert [(one["id"], one["declared"]) for one in body["services"][0]["nodes"]][-1] == ("web-9", False)
    assert [one["id"] for one in body["leaving"]] == ["old-1"]


def test_what_everup_waits_for_is_said():
    picture = replace(world(web()), actions=(Hold("web", "it needs redis01", "web-1"),))
    assert views.status(picture, "laptop")["waiting"] == [
        {"service": "web", "node": "web-1", "because": "it needs redis01"}
    ]


def test_a_stopped_environment_wants_nothing():
    body = views.status(replace(world(web()), stopped=True, observed=Observed(1.0)), "laptop")
    assert (body["health"], body["stopped"], body["pending"], body["settled"]) == ("down", True, [], False)


def test_every_event_of_the_catalogue_has_a_sentence():
    assert SENTENCES.keys() == CATALOGUE.keys()


def test_a_sentence_survives_missing_and_strange_fields():
    for name in [*CATALOGUE, "some.other"]:
        for fields in ({}, {"exit_code": "x", "took_ms": None, "because": {"a": 1}, "after_s": "soon"}):
            text = sentence(Event(name, "shop", "2026-11-22T14:00:00Z", fields=fields))
            assert text and "{" not in text.replace("{'a': 1}", "")


def test_what_an_event_does_not_carry_is_left_out_of_its_sentence():
    bare = Event("node.exited", "shop", "2026-11-22T14:00:00Z", "web", "web-1", {"exit_code": 3})
    assert sentence(bare) == "web-1 ended with exit code 3"
    told = Event("node.exited", "shop", "2026-11-22T14:00:00Z", "web", "web-1", {"exit_code": 3, "noticed_ms": 2.4})
    assert sentence(told) == "web-1 ended with exit code 3, noticed in 2 ms"


def test_exits_are_told_apart():
    assert ending(-9) == "was killed"
    assert ending(-11) == "was ended by SIGSEGV"
    assert ending(3) == "ended with exit code 3"
    assert ending(None) == "ended"
    assert ending(-9, 512 << 20) == "was killed for memory: it was at its limit of 512 MiB"
    assert (
        ending(1, 0) == "ended with exit code 1 (the kernel killed a process of it for memory: its host had none left)"
    )


def test_durations_carry_the_unit_that_fits():
    assert [duration(s) for s in (0.0031, 0.9999, 1.24, 150, 7200)] == ["3 ms", "1.0 s", "1.2 s", "2 min", "2.0 h"]


def events(*pairs):
    return tuple(
        Event(name, "shop", f"2026-11-22T14:03:2{n}Z", "redis01", node, fields, n + 1)
        for n, (name, node, fields) in enumerate(pairs)
    )


LOST = [
    ("lost.none", {"successor": "redis01-2"}, "no lost writes found"),
    ("lost.kept", {"writes": 1, "exact": True}, "1 write lost, and kept"),
    ("lost.kept", {"writes": 1200, "exact": False}, "about 1,200 writes lost, and kept"),
    ("lost.unkept", {"writes": 3, "because": "No space left"}, "3 writes lost, and not kept"),
    ("lost.unkept", {"because": "the data of redis01-1 is not there"}, "what it had alone is gone"),
]


@pytest.mark.parametrize(("name", "fields", "words"), LOST)
def test_what_was_lost_is_part_of_the_story(name, fields, words):
    told = incident(events(("node.exited", "redis01-1", {"exit_code": -9}), (name, "redis01-1", fields)))
    assert told["text"] == f"redis01-1 was killed · {words}"


def test_the_ledger_is_counted_by_service_and_told_entry_by_entry():
    first = kept("redis01", 3, 90)
    picture = replace(world(redis(), web()), kept=(first, replace(first, writes=2, waited=True)))
    body = views.status(picture, "laptop")
    assert [one["lost"] for one in body["services"]] == [
        {"entries": 2, "writes": 5, "bytes": 180},
        {"entries": 0, "writes": 0, "bytes": 0},
    ]
    told = views.ledger(picture)
    assert (told["environment"], told["entries"], told["writes"], told["bytes"]) == ("shop", 2, 5, 180)
    assert [(one["node"], one["successor"], one["writes"], one["waited"]) for one in told["kept"]] == [
        ("redis01-1", "redis01-2", 3, False),
        ("redis01-1", "redis01-2", 2, True),
    ]
    assert told["kept"][0].keys() == {
        *("service", "node", "successor", "at", "writes", "bytes", "from", "to", "exact", "waited", "because"),
        *("folder", "files", "keys"),
    }


def test_a_failover_is_told_in_one_line():
    told = incident(
        events(
            ("node.exited", "redis01-1", {"exit_code": -9, "noticed_ms": 3}),
            ("primary.changed", None, {"primary": "redis01-2", "generation": 2, "because": "elected"}),
            ("operation.ended", None, {"operation": "failover", "done": True, "took_ms": 41, "because": "done"}),
            ("service.healthy", None, {"after_s": 1.2}),
        )
    )
    assert told["at"] == "2026-11-22T14:03:20Z"
    assert told["text"] == (
        "redis01-1 (primary) was killed · noticed in 3 ms · redis01-2 took over in 41 ms · redundant again after 1.2 s"
    )


def test_a_restart_in_place_is_told_in_one_line():
    told = incident(
        events(("node.exited", "web-1", {"exit_code": 1, "noticed_ms": 2}), ("node.ready", "web-1", {"after_s": 0.3}))
    )
    assert told["text"] == "web-1 ended with exit code 1 · noticed in 2 ms · back after 300 ms"
    assert incident(()) is None
