"""What people see, drawn from the same JSON that programs get."""

from io import StringIO

from rich.console import Console

from everup.api import views
from everup.cli import progress, render
from everup.model.observed import Health, NodeState, NodeStatus
from tests.api.small_desk import redis, web, world
from tests.api.test_views import with_node

DEAD = NodeStatus(Health.DOWN, NodeState(running=False, service="web", failure="exited with code 1, 4 times in 3 s"))


def drawn(what, width=200):
    out = StringIO()
    Console(file=out, width=width, highlight=False, markup=False).print(what)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_status_is_a_heading_and_a_line_per_service():
    lines = drawn(render.status(views.status(world(redis(), web()), "laptop")))
    assert lines == [
        "shop · local · healthy",
        "",
        "  redis01   redis HA   ● healthy   redis://:***@127.91.0.9:6399   primary redis01-1",
        "  web       app ×2     ● healthy                                  2 of 6 allowed",
    ]


def test_trouble_is_named_in_the_heading_and_explained_in_its_line():
    body = views.status(with_node(world(redis(), web()), "web-1", DEAD), "laptop")
    lines = drawn(render.status(body))
    assert lines[0] == "shop · local · degraded · web"
    assert "◐ degraded" in lines[3] and "web-1 is down: exited with code 1, 4 times in 3 s" in lines[3]


def test_nodes_are_aligned_under_their_service():
    lines = drawn(render.status(views.status(world(redis()), "laptop"), labels=["redis01"], nodes=True))
    starts = [line.index("●") for line in lines[3:7]]
    assert len(set(starts)) == 1
    assert "127.91.0.9:6380" in lines[4] and "lag 17 B" in lines[4]


def test_a_narrow_window_cuts_only_the_last_column():
    body = views.status(with_node(world(web()), "web-1", DEAD), "laptop")
    line = drawn(render.status(body), width=60)[2]
    assert line.startswith("  web   app ×2   ◐ degraded   web-1 is down") and line.endswith("…")


def test_a_start_is_hopeless_only_when_all_that_lacks_fails():
    body = views.status(with_node(world(redis(), web()), "web-1", DEAD), "laptop")
    assert progress.hopeless(body) and progress.hopeless(body, "web") and not progress.hopeless(body, "redis01")
    young = NodeStatus(Health.STARTING, NodeState(running=True, service="web", pid=5))
    both = with_node(with_node(world(redis(), web()), "web-1", DEAD), "web-2", young)
    assert not progress.hopeless(views.status(both, "laptop"))


def test_one_service_can_be_settled_while_another_is_not():
    body = views.status(with_node(world(redis(), web()), "web-1", DEAD), "laptop")
    assert progress.settled(body, "redis01")
    assert not progress.settled(body, "web") and not progress.settled(body) and not progress.settled(body, "nothing")


def test_ages_and_sizes_have_one_unit():
    assert render.age("2000-01-01T00:00:00Z").endswith(" d")
    assert render.age("nonsense") == "?"
    assert render.clock("2001-02-03T04:05:06+00:00").startswith("2001-02-0")
