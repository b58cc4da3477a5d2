"""What a campaign reads from a status."""

from dataclasses import replace
from typing import Any

from everup.api.views import status
from everup.cli.campaign import standing_of, targets_in
from everup.model.desired import ClientPath
from everup.model.drill import DrillFault
from tests.api.small_desk import redis, web, world


def body() -> dict[str, Any]:
    shown = replace(redis(), clients={"sentinel": ClientPath("redis-sentinel"), "endpoint": ClientPath("redis")})
    return status(world(shown, replace(web(), clients={"endpoint": ClientPath("http")})), "here")


def test_those_take_part_that_clients_write_to_and_that_can_lose_a_node():
    found = {one.label: one for one in targets_in(body())}
    assert found["redis01"].ways == ("sentinel", "endpoint")
    assert DrillFault.SWITCHOVER in found["redis01"].faults
    assert found["web"].faults == {
        DrillFault.CRASH,
        DrillFault.HANG,
        DrillFault.NODE_LOSS,
        DrillFault.CONTROL_PLANE,
    }
    assert targets_in(status(world(redis(), web(1)), "here")) == []


def test_primaries_strays_and_what_is_pending_are_taken_from_it():
    standing = standing_of(body())
    assert standing.primaries == {"redis01": ["redis01-1"]}
    assert (standing.strays, standing.pending) == ([], [])
    changed = body()
    changed["leaving"] = [{"id": "old-1"}]
    changed["pending"] = [{"action": "start", "node": "web-3", "because": "it is declared"}]
    changed["services"][1]["nodes"][0]["declared"] = False
    standing = standing_of(changed)
    assert sorted(standing.strays) == ["old-1", "web-1"]
    assert standing.pending == ["start web-3, it is declared"]
