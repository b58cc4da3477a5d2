"""The picture: everything is in it, nothing overlaps, and arrows end where they should."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.api.views import status
from everup.model.observed import Health
from everup.web.panel import LETTER, NodeBox, lay_out
from everup.web.topology import Drawing, depths, draw
from tests.api.small_desk import redis, web, world


def services(*blueprints):
    return status(world(*blueprints), "here")["services"]


def node(node_id, part, role=None, health="ready"):
    return {"id": node_id, "part": part, "role": role or part, "health": health, "lag_bytes": 0}


def service(label, needs=(), *, data=0, voters=0, instances=0, endpoint=True):
    nodes = [node(f"{label}-{n}", "data", "primary" if n == 1 else "replica") for n in range(1, data + 1)]
    nodes += [node(f"{label}-voter-{n}", "voter") for n in range(1, voters + 1)]
    nodes += [node(f"{label}-{n}", "instance") for n in range(1, instances + 1)]
    return {
        "label": label, "kind": "redis" if data else "app", "ha": data > 1, "health": "healthy", "because": "",
        "primary": f"{label}-1" if data else None,
        "endpoint": f"redis://:***@127.91.0.2:6379/{label}" if endpoint else None,
        "scale": instances, "limit": 10 if instances else None, "needs": list(needs), "nodes": nodes, "platform": False,
    }  # fmt: skip


def apart(one, other) -> bool:
    return (
        one.x + one.width <= other.x
        or other.x + other.width <= one.x
        or one.y + one.height <= other.y
        or other.y + other.height <= one.y
    )


def check(drawing: Drawing) -> None:
    for one, other in combinations(drawing.panels, 2):
        assert apart(one, other), (one.label, other.label)
    for panel in drawing.panels:
        assert panel.x >= 0 and panel.x + panel.width <= drawing.width + 0.01
        assert panel.y >= 0 and panel.y + panel.height <= drawing.height + 0.01
        for one, other in combinations(panel.nodes, 2):
            assert apart(one, other), (one.id, other.id)
        for box in panel.nodes:
            assert box.x >= 0 and box.x + box.width <= panel.width and box.y + box.height <= panel.height


@st.composite
def declared(draw_from):
    """Services that need any of those before them."""
    found = []
    for number in range(draw_from(st.integers(1, 7))):
        needs = draw_from(st.lists(st.sampled_from([one["label"] for one in found]), unique=True)) if found else []
        size = draw_from(st.integers(0, 9))
        shape = draw_from(st.sampled_from(["data", "instances"]))
        label = "x" * draw_from(st.integers(1, 60)) + str(number)
        found.append(service(label, needs, **{shape: size}, voters=draw_from(st.integers(0, 5))))
    return found


@given(declared(), st.booleans())
def test_nothing_overlaps_and_every_node_is_shown_whatever_is_declared(found, narrow):
    drawing = draw(found, narrow=narrow)
    check(drawing)
    shown = sorted(box.id for panel in drawing.panels for box in panel.nodes)
    assert shown == sorted(one["id"] for each in found for one in each["nodes"])
    assert narrow or len(drawing.arrows) == sum(len(one["needs"]) for one in found)


def test_who_needs_others_stands_left_of_them():
    found = [service("db", data=1), service("web", ["api"], instances=1), service("api", ["db"], instances=1)]
    assert depths(found) == {"web": 0, "api": 1, "db": 2}
    places = {panel.label: panel.x for panel in draw(found).panels}
    assert places["web"] < places["api"] < places["db"]
    assert len({panel.x for panel in draw(found, narrow=True).panels}) == 1


def test_what_others_imply_stands_last():
    found = [
        {**service("etcd", voters=3, endpoint=False), "platform": True},
        service("web", ["db"]),
        service("db", data=1),
    ]
    assert depths(found) == {"web": 0, "db": 1, "etcd": 1}


def test_needs_that_go_round_in_a_circle_still_end():
    assert max(depths([service("a", ["b"]), service("b", ["a"])]).values()) <= 2


def test_the_endpoint_leads_to_the_primary_and_replicas_follow_it():
    panel = lay_out(services(redis())[0])
    boxes = {box.id: box for box in panel.nodes}
    assert boxes["redis01-1"].primary and boxes["redis01-1"].y < boxes["redis01-2"].y
    assert boxes["redis01-1"].remark == "primary" and boxes["redis01-2"].remark == "replica"
    assert [arrow.kind for arrow in panel.arrows] == ["leads", "follows"]
    assert panel.address == "127.91.0.9:6399"
    assert "hunter2" not in repr(panel)


def test_without_a_primary_the_arrow_leads_nowhere_and_says_so():
    picture = world(redis())
    primary = picture.observed.nodes["redis01-1"]
    dead = replace(primary, health=Health.DOWN, state=replace(primary.state, running=False))
    picture = replace(picture, observed=replace(picture.observed, nodes={**picture.observed.nodes, "redis01-1": dead}))
    panel = lay_out(status(picture, "here")["services"][0])
    assert panel.gap_y is not None and panel.arrows[0].kind == "cut"
    assert panel.arrows[0].words == "the endpoint of redis01 leads to nobody now"
    assert {box.id: box.state for box in panel.nodes}["redis01-1"] == "down"


def test_a_replica_far_behind_says_how_far():
    one = service("redis01", data=2)
    one["nodes"][1]["lag_bytes"] = 5_000_000
    assert lay_out(one).nodes[1].remark == "5.0 MB behind"


@pytest.mark.parametrize("length", [1, 9, 63])
def test_names_fit_their_boxes(length):
    panel = lay_out(service("a" * length, data=4, voters=3))
    boxes: list[NodeBox] = [box for box in panel.nodes if not box.small]
    assert all(len(box.name) * LETTER <= box.width - 32 for box in boxes)
    assert all(box.id in box.words for box in boxes)
    assert len({box.name for box in boxes}) == 4


def test_nothing_declared_is_an_empty_picture():
    assert draw([]) == Drawing(0, 0, (), ())


def test_an_instance_that_is_gone_is_not_led_to():
    found = services(web())[0]
    found = {
        **found,
        "endpoint": "http://127.0.0.1:80",
        "nodes": [{**found["nodes"][0], "health": "down"}, found["nodes"][1]],
    }
    assert [arrow.kind for arrow in lay_out(found).arrows] == ["cut", "leads"]
