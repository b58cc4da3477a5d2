"""What people see, drawn from the same JSON that programs get."""

import re
from dataclasses import replace
from io import StringIO

from rich.console import Console

from everup.api import views
from everup.cli import ledger, progress, render
from everup.model.actions import Hold
from everup.model.observed import EVERYWHERE, Ground, Health, NodeState, NodeStatus
from tests.api.small_desk import kept, redis, web, world
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


def test_lost_writes_are_counted_until_somebody_has_settled_them():
    picture = replace(world(redis(), web()), kept=(kept("redis01", 1204, 90_000), kept("redis01", 1, 9)))
    lines = drawn(render.status(views.status(picture, "laptop")))
    assert lines[-1] == "  lost writes  redis01: 1,205 in 2 failovers, kept · everup lost redis01"
    assert "lost writes" not in "".join(drawn(render.status(views.status(picture, "laptop"), labels=["web"])))


def test_an_entry_of_the_ledger_says_who_had_what_and_where_it_lies():
    about = replace(kept("db01", 7, 2080), exact=False, waited=True, because="a reason", keys=(), files=("a", "b"))
    picture = replace(world(redis()), kept=(kept("redis01", 1, 36), about))
    lines = [re.sub(r"(2026-11-2\d )?\d\d:\d\d:22", "", line) for line in drawn(ledger.told(views.ledger(picture)))]
    assert lines == [
        "shop · 8 writes that only a former primary had",
        "",
        "  redis01      1 write, 36 B   5001 to 5036",
        "    redis01-1 had it, redis01-2 has not; clients may have been told that it was written",
        "    keys: a, b",
        "    /srv/lost/20261122T140322-redis01-1/commands.aof",
        "",
        "  db01      about 7 writes, 2.1 kB   5001 to 7080",
        "    db01-1 had it, db01-2 has not; "
        "commits wait for a standby here, so only who chose not to wait was told that it was written",
        "    a reason",
        "    /srv/lost/20261122T140322-db01-1/a",
        "    /srv/lost/20261122T140322-db01-1/b",
    ]
    assert drawn(ledger.told(views.ledger(world(redis())))) == ["shop · no lost writes are kept here"]
    only = ledger.only(views.ledger(picture), views.status(picture, "laptop")["services"][0])
    assert (only["writes"], len(only["kept"])) == (1, 1)


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


def test_nodes_are_grouped_by_host_where_there_are_several():
    body = views.status(world(redis()), "laptop")
    nodes = body["services"][0]["nodes"]
    hosts = {one["id"]: f"host{number % 2}" for number, one in enumerate(nodes[:-1])} | {nodes[-1]["id"]: EVERYWHERE}
    for one in nodes:
        one["host"] = hosts[one["id"]]
    lines = drawn(render.status(body, nodes=True))[3:]
    named = [line.split()[0] for line in lines if line.strip().startswith(("host", "every"))]
    assert named == ["host0", "host1", "every"]
    assert len({line.index("●") for line in lines if "●" in line}) == 1


def test_a_host_that_is_drained_or_lost_is_named():
    told = {"host": "node1", "address": "10.0.0.1", "ground": Ground.DRAINED}
    picture = with_node(
        world(redis(), web()), "web-1", NodeStatus(Health.READY, NodeState(True, service="web", **told))
    )
    body = views.status(picture, "laptop")
    assert body["hosts"] == {"node1": "drained"}
    lines = drawn(render.status(body, nodes=True))
    assert [line.split()[:3] for line in lines if line.strip().startswith("node1")] == [["node1", "drained", "web-1"]]
    assert "  hosts  node1 is drained" in drawn(render.status(body))
    assert "hosts" not in "".join(drawn(render.status(views.status(world(web()), "laptop"))))


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


def test_what_keeps_a_change_waiting_is_said_when_there_is_no_more_time():
    blueprint = web()
    changed = replace(blueprint, nodes=tuple(replace(one, args=("--new",)) for one in blueprint.nodes))
    held = Hold("web", "its data do not fit", "web-1")
    picture = replace(world(blueprint), blueprints=(changed,), actions=(held,))
    refusal = progress._not_ready(None, views.status(picture, "laptop"), None, 120.0)  # type: ignore[arg-type]
    assert str(refusal).splitlines()[:3] == [
        "shop is not ready after 120 s",
        "    replace web-1: its data do not fit",
        "    replace web-2: its declaration changed",
    ]


def test_one_service_can_be_settled_while_another_is_not():
    body = views.status(with_node(world(redis(), web()), "web-1", DEAD), "laptop")
    assert progress.settled(body, "redis01")
    assert not progress.settled(body, "web") and not progress.settled(body) and not progress.settled(body, "nothing")


def test_ages_and_sizes_have_one_unit():
    assert render.age("2000-01-01T00:00:00Z").endswith(" d")
    assert render.age("nonsense") == "?"
    assert render.clock("2001-02-03T04:05:06+00:00").startswith("2001-02-0")
