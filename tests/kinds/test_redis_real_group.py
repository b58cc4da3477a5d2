"""The rules and recipes against real Valkey servers, Sentinels and HAProxy, through the real conversation."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from everup.kinds._redis_reading import redis_facts
from everup.kinds.redis import KIND
from everup.model.actions import Operate
from everup.model.desired import Ask, Blueprint, Node, NodeId, Part, Silence
from everup.model.observed import Confirmed, NodeState
from everup.runtime.talk import ask, consoles_in
from tests.kinds.real import HAPROXY, VALKEY, Processes, processes, wait_until
from tests.kinds.small_group import Process, Server, SmallGroup, address_of
from tests.kinds.test_redis_properties import ControlPlane
from tests.worlds import grant

pytestmark = pytest.mark.faults

PROGRAMS = {"redis-server": VALKEY, "haproxy": HAPROXY, "python": sys.executable}
NETWORK = f"127.{180 + os.getpid() % 50}.{os.getpid() // 50 % 250}"


class RealGroup(SmallGroup):
    """The same face as the model's, with processes behind it."""

    def __init__(self, blueprint: Blueprint, world: Processes) -> None:
        self.world = world
        super().__init__(blueprint)

    @property  # type: ignore[override]
    def now_s(self) -> float:
        return time.monotonic()

    @now_s.setter
    def now_s(self, value: float) -> None:
        pass

    @property
    def leaders(self) -> list[Server]:
        said = [(one, self.facts(one)) for one in self.servers if one.running]
        return [one for one, facts in said if facts and facts.follows is None]

    def facts(self, one: Process) -> Any:
        reply = self.answer(Ask(one.node.ports["redis"], (("INFO", "replication"), ("INFO", "persistence"))))
        return None if isinstance(reply, Silence) else redis_facts(reply)

    def home(self, node_id: NodeId) -> Path:
        return self.world.folder / node_id

    def start(self, node: Node, extra_args: tuple[str, ...]) -> None:
        one = self.processes[node.id]
        if one.running and one.digest == node.digest:
            return
        self.kill(node.id)
        for name, text in {**node.files, **node.seeds}.items():
            path = self.home(node.id) / name
            if name in node.files or not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        process = self.world.spawn(node.id, [PROGRAMS[node.program], *node.args, *extra_args], node.env)
        one.running, one.digest, one.pid, one.dead = True, node.digest, process.pid, None

    def kill(self, node_id: NodeId) -> None:
        one = self.processes[node_id]
        if one.running:
            self.world.kill(node_id)
            one.running, one.dead = False, Confirmed(node_id, self.now_s, -9)

    def _state(self, one: Process) -> NodeState:
        if isinstance(one, Server):
            one.written = all(any(self.home(one.node.id).glob(pattern)) for pattern in one.node.keeps)
        return super()._state(one)

    def second(self) -> None:
        time.sleep(0.02)
        for one in self.processes.values():
            if one.running and self.world.running[one.node.id].poll() is not None:
                one.running, one.dead = False, Confirmed(one.node.id, self.now_s, None)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def answer(self, question: Ask) -> tuple[Any, ...] | Silence:
        return asyncio.run(ask(question, consoles_in(lambda node_id: str(self.home(node_id)))))

    def tell(self, node_id: NodeId, *words: str) -> Any:
        return self.answer(Ask(self.processes[node_id].node.ports["redis"], (words,)))[0]

    def named(self) -> list[str]:
        """Whom each Sentinel names, as a client would be told."""
        question = (("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "redis01"),)
        replies = [self.answer(Ask(one.node.ports["voter"], question)) for one in self.voters if one.running]
        return [":".join(reply[0]) for reply in replies if not isinstance(reply, Silence) and reply[0]]


def live(plane: ControlPlane, within_s: float) -> float:
    """Run until all is settled; seconds it took."""
    began_s = time.monotonic()
    while time.monotonic() < began_s + within_s:
        plane.group.second()
        plane.look()
        if plane.is_settled(plane.act()):
            return time.monotonic() - began_s
    raise AssertionError("\n".join(plane.happened[-30:]))


def whole(group: RealGroup, lead: NodeId, value: str) -> None:
    """`lead` alone leads, all know it, all hold the value, and the endpoint leads there."""
    address = address_of(group.processes[lead])
    assert [one.node.id for one in group.leaders] == [lead]
    assert set(group.named()) == {address}
    wait_until(lambda: {group.tell(one.node.id, "GET", "k") for one in group.servers if one.running} == {value}, 2.0)
    (end,) = group.blueprint.of(Part.ENDPOINT)
    (role,) = group.answer(Ask(end.ports["tcp"], (("ROLE",),)))
    assert role[0] == "master"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    service = KIND.service.model_validate({"kind": "redis", "ha": True})
    blueprint = KIND.blueprint(service, grant(service, network=NETWORK))
    with processes(tmp_path_factory.mktemp("group")) as world:
        made = ControlPlane(RealGroup(blueprint, world))
        live(made, 40)
        yield made


def test_a_group_is_founded_survives_its_primary_and_takes_it_back(plane: ControlPlane):
    group = plane.group
    assert isinstance(group, RealGroup)
    first = plane.record.primary
    assert first == "redis01-1"
    assert group.tell(first, "SET", "k", "one") == "OK"
    whole(group, first, "one")

    group.kill(first)
    plane.look()
    began_s = time.monotonic()
    plane.act()
    took_s = time.monotonic() - began_s
    second = plane.record.primary
    assert second != first, plane.happened[-5:]
    assert took_s < 30.0
    assert set(group.named()) == {address_of(group.processes[second])}
    assert group.tell(second, "SET", "k", "two") == "OK"
    live(plane, 40)
    whole(group, second, "two")
    assert plane.record.generation == plane.record.marked == 2


def test_a_role_is_handed_over_without_losing_a_write(plane: ControlPlane):
    group = plane.group
    assert isinstance(group, RealGroup)
    old, new = plane.record.primary, next(one.node.id for one in group.servers if one.node.id != plane.record.primary)
    assert old
    assert group.tell(old, "SET", "k", "three") == "OK"
    perform(plane, "switchover", new)
    assert plane.record.primary == new
    live(plane, 40)
    whole(group, new, "three")


@pytest.mark.parametrize("steps", [2, 4, 40])
def test_a_failover_that_was_begun_is_finished(plane: ControlPlane, steps: int):
    """The control plane dies after the votes, near the promotion, or just before it would record the new primary."""
    group = plane.group
    assert isinstance(group, RealGroup)
    old = plane.record.primary
    assert old and group.tell(old, "SET", "k", f"died {steps}") == "OK"
    time.sleep(0.1)
    group.kill(old)
    plane.look()
    plane.steps_to_live = steps
    plane.act()
    plane.forget()
    live(plane, 60)
    lead = plane.record.primary
    assert lead
    whole(group, lead, f"died {steps}")


def perform(plane: ControlPlane, operation: str, subject: NodeId) -> None:
    assert plane._perform(Operate("redis01", operation, "asked for", subject), plane.look())
    assert plane.attempts[operation].done, plane.attempts[operation].because
