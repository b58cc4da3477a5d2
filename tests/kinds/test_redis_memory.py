"""A Redis whose memory is limited: when it is told of, and when a new limit must not be put upon it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from everup.core.check import check
from everup.core.health import service_health
from everup.core.plan import view_of
from everup.model.desired import Ask, Blueprint, Part, ReplyError
from everup.model.findings import Level, Topic
from everup.model.observed import Observed
from everup.model.resources import MEBIBYTE, Resources
from everup.runtime.talk import ask, consoles_in
from tests.kinds.real import VALKEY, fresh_address, processes
from tests.worlds import deeds, held, redis, world

LIMIT_BYTES = 512 * MEBIBYTE


def limited(**keys: Any) -> Blueprint:
    """A Redis on several hosts, each of whose servers may use 512 MiB: 256 of them for data."""
    found = redis(spread=True, memory="512Mi", **keys)
    nodes = (replace(one, resources=Resources(LIMIT_BYTES)) if one.part == Part.DATA else one for one in found.nodes)
    return replace(found, nodes=tuple(nodes))


GROUP, SINGLE = limited(), limited(ha=False)


def filled(used_mib: float, *names: str) -> dict[str, dict[str, Any]]:
    """What these nodes, or the primary, say of themselves."""
    return {name: {"used": int(used_mib * MEBIBYTE)} for name in names or ("redis01-1",)}


def told(one: Blueprint, observed: Observed) -> list[tuple[Level, str | None, str]]:
    (service,) = check([one], observed).services
    return [(each.level, each.node_id, each.because) for each in service.findings if each.topic == Topic.RESOURCES]


def test_only_a_server_with_a_limit_is_asked_for_its_memory():
    for one, asked in ((GROUP, True), (limited(auth=True), True), (redis(spread=True), False), (redis(), False)):
        for node in one.of(Part.DATA):
            assert (node.probe.commands[-1] == ("INFO", "memory")) is asked


@pytest.mark.parametrize("auth", [False, True])
def test_what_else_it_says_is_read_as_ever(auth: bool):
    plain, more = redis(ha=False, spread=True, auth=auth), limited(ha=False, auth=auth)
    found = [world(one).nodes["redis01-1"].reading for one in (plain, more)]
    assert all(reading and reading.ready for reading in found)
    said = [{**reading.facts} for reading in found if reading]
    filled = said[1].pop("memory")
    assert said[0] == said[1]
    assert (filled.data_bytes, filled.counted_bytes, filled.most_bytes) == (
        5 * MEBIBYTE,
        13 * MEBIBYTE,
        256 * MEBIBYTE,
    )


@pytest.mark.parametrize("replies", [(), ("PONG",), (ReplyError("NOAUTH"),) * 3, (None, None, None)])
def test_an_answer_that_is_none_is_no_reading_of_memory(replies: tuple[Any, ...]):
    reading = GROUP.nodes[0].probe.read(replies)
    assert not reading.ready
    assert "memory" not in reading.facts


@pytest.mark.parametrize(
    ("used_mib", "level", "words"),
    [
        (100, None, ""),
        (220, None, ""),
        (230, Level.WARNING, "redis01-1 will refuse writes once it is full: it has filled 93 % of the 256 MiB"),
        (247, Level.NO, "redis01-1 refuses writes: it has filled 100 % of the 256 MiB that it has for data"),
        (400, Level.NO, "redis01-1 refuses writes: it has filled 100 % of the 256 MiB that it has for data"),
    ],
)
@pytest.mark.parametrize("one", [GROUP, SINGLE], ids=["group", "single"])
def test_who_refuses_writes_is_told_before_and_then(one: Blueprint, used_mib: int, level: Level | None, words: str):
    found = told(one, world(one, data=filled(used_mib)))
    if level is None:
        assert found == []
    else:
        assert [(each[0], each[1]) for each in found] == [(level, "redis01-1")]
        assert found[0][2].startswith(words)


def test_what_makes_it_degraded_is_found_once():
    (service,) = check([GROUP], world(GROUP, data=filled(250))).services
    assert [one.level for one in service.findings if "refuses writes" in one.because] == [Level.NO]


def test_a_service_whose_primary_refuses_writes_works_with_less_than_it_should():
    full = world(GROUP, data=filled(250))
    assert service_health(GROUP, view_of(GROUP, full))[0] == "degraded"
    assert "refuses writes" in service_health(GROUP, view_of(GROUP, full))[1]
    replica = world(GROUP, data=filled(250, "redis01-2"))
    assert service_health(GROUP, view_of(GROUP, replica))[0] == "healthy"


DATA = ("redis01-1", "redis01-2", "redis01-3")


@pytest.mark.parametrize("one", [GROUP, SINGLE], ids=["group", "single"])
def test_a_limit_that_leaves_too_little_for_the_data_is_not_put_upon_a_server(one: Blueprint):
    due = world(one, changed=DATA, data=filled(300, *DATA))
    assert deeds(one, due) == []
    for node in one.of(Part.DATA):
        assert held(one, due)[node.id] == (
            "its data take 300 MiB, and memory of 512 MiB leaves 256 MiB for them: declare more"
        )


@pytest.mark.parametrize("one", [GROUP, SINGLE], ids=["group", "single"])
def test_a_limit_that_leaves_enough_is_put_upon_one_server_after_the_other(one: Blueprint):
    (deed,) = deeds(one, world(one, changed=DATA, data=filled(255, *DATA)))
    assert deed[:2] == ("StartNode", "redis01-2" if one is GROUP else "redis01-1")


def test_nobody_is_started_anew_before_it_has_said_how_much_its_data_take():
    due = world(GROUP, changed=DATA)
    mute = due.nodes["redis01-2"]
    assert mute.reading
    facts = {name: fact for name, fact in mute.reading.facts.items() if name != "memory"}
    unsaid = replace(mute, reading=replace(mute.reading, facts=facts))
    due = replace(due, nodes={**due.nodes, "redis01-2": unsaid})
    assert deeds(GROUP, due) == []
    assert "once it has said how much memory its data take" in held(GROUP, due)["redis01-2"]


def test_a_server_that_hangs_is_not_left_hanging_whatever_its_data_take():
    due = world(SINGLE, changed=DATA, hung={"redis01-1"}, data=filled(300))
    assert deeds(SINGLE, due) == [("StartNode", "redis01-1")]


@pytest.mark.faults
async def test_a_real_server_refuses_writes_says_so_and_takes_deletions(tmp_path: Path):
    address = fresh_address(6379)
    one = redis(ha=False, spread=True, memory="64Mi", network=address.host.rpartition(".")[0])
    node = one.of(Part.DATA)[0]
    (tmp_path / node.id / "data").mkdir(parents=True)
    with processes(tmp_path) as world:
        world.run(node, VALKEY)
        client = Redis(node.ports["redis"].host, node.ports["redis"].port)
        with pytest.raises(OutOfMemoryError):
            for number in range(10_000):
                client.set(f"k{number}", b"x" * 65_536)
        assert 400 < client.dbsize() < 600
        assert client.delete(*(f"k{number}" for number in range(10))) == 10
        client.set("small", "1")
        reply = await ask(Ask(node.ports["redis"], node.probe.commands, timeout_s=60.0), consoles_in(tmp_path))
        assert isinstance(reply, tuple)
        filled = node.probe.read(reply).facts["memory"]
    assert filled.most_bytes == 32 * MEBIBYTE
    assert 0.9 < filled.counted_bytes / filled.most_bytes < 1.1
    assert 0 < filled.data_bytes <= filled.counted_bytes
