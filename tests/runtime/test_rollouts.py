"""Deploys, rollbacks and what becomes of revisions that do not work, over an engine that pretends."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from everup.engines.local.ports import LocalAddresses
from everup.engines.memory import MemoryEngine
from everup.kinds import load_kinds
from everup.model.desired import Node
from everup.model.errors import NodeFailed, NotFound, Refused
from everup.model.observed import NodeState
from everup.model.revisions import LATER, History, Revision, Trial
from everup.model.spec import Environment, Source
from everup.runtime.desk import Desk
from everup.runtime.environments import Environments
from everup.runtime.store import Store
from everup.specfile.parse import parse

SPEC = "environment: shop\nservices:\n  mail: {{kind: worker, run: {run}{more}}}\n  cache: {{kind: redis}}\n"


def source(run: str, more: str = "") -> Source:
    return Source(file="/srv/everup.yaml", text=SPEC.format(run=run, more=more), directory="/srv", path="/bin")


class Engine(MemoryEngine):
    """The program `broken` cannot be started, and a node says that it was tried."""

    def __init__(self) -> None:
        super().__init__(time.monotonic, missing=["broken"])
        self.failures: dict[str, NodeState] = {}

    async def ensure(self, node: Node, extra_args: tuple[str, ...] = ()) -> None:
        try:
            await super().ensure(node, extra_args)
            self.failures.pop(node.id, None)
        except NodeFailed as error:
            failed = NodeState(running=False, failure=error.message, retry_at_s=time.monotonic() + 0.05)
            self.failures[node.id] = failed
            raise

    async def observe(self) -> Mapping[str, NodeState]:
        seen = dict(await super().observe())
        for node_id, failed in self.failures.items():
            told = {"failure": failed.failure, "retry_at_s": failed.retry_at_s}
            seen[node_id] = replace(seen.get(node_id, failed), **told)
        return seen


class Hosts(LocalAddresses):
    """Addresses as those of several hosts."""

    spread = True


class Place:
    """A store and an engine over which control planes come and go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = Engine()
        self.books = {
            "local": LocalAddresses(path, lambda environment: ()),
            "swarm": Hosts(path, lambda environment: ()),
        }
        self.environments: Environments | None = None

    async def ready(self, engine: str) -> None: ...

    def engine(self, name: str, environment: Environment) -> Engine:
        return self.runs

    async def close(self) -> None: ...

    async def desk(self) -> Desk:
        """A control plane that has just started."""
        kinds, store = load_kinds(), Store(self.path / "store.db")
        self.environments = Environments(
            store,
            kinds,
            self,
            lambda one: parse(one.text, one.file, kinds),
            lambda name: self.path / name,
        )
        await self.environments.open()
        desk = Desk(self.environments)
        await desk.open()
        return desk

    async def leave(self) -> None:
        if self.environments:
            await self.environments.close()
            self.environments = None


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    try:
        yield made
    finally:
        await made.leave()


def history(desk: Desk) -> History:
    return desk.picture("shop").histories["mail"]


def trials(desk: Desk) -> list[Trial]:
    return [one.trial for one in history(desk).revisions]


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not met():  # noqa: ASYNC110 - a picture says nothing when it changes
            await asyncio.sleep(0.01)


def at_rest(desk: Desk, number: int) -> Callable[[], bool]:
    """Revision `number` is declared, and good."""
    return lambda: history(desk).current == number and history(desk).revisions[number - 1].trial == Trial.GOOD


async def program(place: Place) -> str:
    return place.runs._nodes["mail-1"].node.program


async def test_what_is_declared_first_is_revision_one(place: Place):
    desk = await place.desk()
    await desk.apply(source("send"))
    await until(at_rest(desk, 1))
    assert "cache" not in desk.picture("shop").histories


async def test_applying_the_same_again_makes_no_revision(place: Place):
    desk = await place.desk()
    for more in ("", ", scale: 2", ", ready_within: 5s"):
        await desk.apply(source("send", more))
    assert [one.number for one in history(desk).revisions] == [1]


async def test_another_command_line_is_another_revision(place: Place):
    desk = await place.desk()
    await desk.apply(source("send"))
    await until(at_rest(desk, 1))
    await desk.apply(source("send --fast"))
    await until(at_rest(desk, 2))
    assert history(desk).former == history(desk).find(1)


@pytest.mark.parametrize("what", ["deploy", "restart"])
async def test_what_is_asked_for_is_a_revision_too(place: Place, what: str):
    desk = await place.desk()
    await desk.apply(source("send"))
    await until(at_rest(desk, 1))
    pid = place.runs._nodes["mail-1"].state.pid
    asked = desk.deploy("shop", "mail", None) if what == "deploy" else desk.restart("shop", "mail")
    assert await asked == 2
    await until(at_rest(desk, 2))
    assert place.runs._nodes["mail-1"].state.pid != pid


async def test_a_deploy_takes_the_service_from_the_file_and_nothing_else(place: Place):
    desk = await place.desk()
    await desk.apply(source("send", ", scale: 2"))
    await desk.scale("shop", "mail", 1)
    text = source("post", ", scale: 3, env: {A: b}").text.replace("kind: redis", "kind: redis, ha: true")
    assert await desk.deploy("shop", "mail", source("").model_copy(update={"text": text})) == 2
    await until(at_rest(desk, 2))
    assert await program(place) == "post"
    (mail, cache) = desk.picture("shop").blueprints
    assert (mail.scale, cache.ha) == (1, False)


async def test_what_fails_leads_back_to_what_ran_before_it_and_not_to_what_was_rolled_back(place: Place):
    desk = await place.desk()
    for number, run in ((1, "send"), (2, "post")):
        await desk.apply(source(run))
        await until(at_rest(desk, number))
    await desk.rollback("shop", "mail", 1)
    await until(at_rest(desk, 1))
    await desk.apply(source("broken"))
    await until(lambda: trials(desk) == [Trial.GOOD, Trial.GOOD, Trial.FAILED])
    await until(at_rest(desk, 1))
    await until(lambda: place.runs._nodes["mail-1"].state.running)
    assert await program(place) == "send"


async def test_a_rollback_brings_back_the_image_and_leaves_the_directory_to_it(place: Place):
    def release(number: int) -> Source:
        text = source("send", f", image: 'shop:{number}'").text
        return source("").model_copy(update={"text": f"engine: swarm\n{text}"})

    desk = await place.desk()
    for number in (1, 2):
        await desk.apply(release(number))
        await until(at_rest(desk, number))
    before = place.runs._nodes["mail-1"].node
    await desk.rollback("shop", "mail", None)
    await until(lambda: history(desk).current == 1 and place.runs._nodes["mail-1"].node.image == "shop:1")
    await desk.rollback("shop", "mail", 2)
    await until(lambda: place.runs._nodes["mail-1"].node.image == "shop:2")
    after = place.runs._nodes["mail-1"].node
    assert (after.cwd, after.digest) == (None, before.digest)


@pytest.mark.parametrize("later", [{"image": "shop:1"}, {"memory": 64 << 20}, {"cpus": 0.5}])
def test_a_revision_that_was_noted_before_a_key_was_there_is_the_same_as_one_without(later: dict[str, object]):
    declared = {"run": "send", "env": {}, "cwd": "/srv"}
    empty = {**declared, **dict.fromkeys(LATER)}
    known, new = (Revision(1, one, 0, "2026-01-01T00:00:00+00:00") for one in (declared, empty))
    assert known.digest == new.digest
    assert known.digest != replace(new, declared={**declared, **later}).digest


async def test_a_revision_that_does_not_start_is_rolled_back_by_itself(place: Place):
    desk = await place.desk()
    await desk.apply(source("send"))
    await until(at_rest(desk, 1))
    await desk.apply(source("broken"))
    await until(lambda: trials(desk) == [Trial.GOOD, Trial.FAILED])
    await until(at_rest(desk, 1))
    await until(lambda: place.runs._nodes["mail-1"].state.running)
    assert await program(place) == "send"
    said = [
        event.fields async for event in desk.events("shop", after=0, follow=False) if event.name == "revision.failed"
    ]
    assert [(one["number"], one["back_to"]) for one in said] == [(2, 1)]


async def test_the_first_revision_is_tried_for_ever(place: Place):
    desk = await place.desk()
    await desk.apply(source("broken", ", ready_within: 100ms"))
    await asyncio.sleep(1.0)
    assert trials(desk) == [Trial.ROLLING]


async def test_applying_what_failed_tries_it_again(place: Place):
    desk = await place.desk()
    await desk.apply(source("send"))
    await until(at_rest(desk, 1))
    for _ in range(2):
        await desk.apply(source("broken"))
        assert trials(desk) == [Trial.GOOD, Trial.ROLLING]
        await until(lambda: trials(desk) == [Trial.GOOD, Trial.FAILED])
        await until(at_rest(desk, 1))


async def test_a_rollback_leads_to_the_newest_other_that_was_good_or_to_the_one_named(place: Place):
    desk = await place.desk()
    for number, run in enumerate(("one", "two", "three"), 1):
        await desk.apply(source(run))
        await until(at_rest(desk, number))
    assert await desk.rollback("shop", "mail", None) == 2
    await until(at_rest(desk, 2))
    assert await program(place) == "two"
    assert await desk.rollback("shop", "mail", 1) == 1
    await until(at_rest(desk, 1))
    assert await program(place) == "one"
    with pytest.raises(Refused, match="runs revision 1 already"):
        await desk.rollback("shop", "mail", 1)
    with pytest.raises(NotFound, match="has no revision 9"):
        await desk.rollback("shop", "mail", 9)


async def test_with_nothing_before_it_there_is_no_way_back(place: Place):
    desk = await place.desk()
    await desk.apply(source("send"))
    with pytest.raises(NotFound, match="no former revision"):
        await desk.rollback("shop", "mail", None)


@pytest.mark.parametrize("label", ["cache", "nobody"])
async def test_what_has_no_revisions_is_not_deployed(place: Place, label: str):
    desk = await place.desk()
    await desk.apply(source("send"))
    with pytest.raises(Refused if label == "cache" else NotFound):
        await desk.deploy("shop", label, None)


async def test_a_deploy_does_not_change_what_a_service_needs(place: Place):
    desk = await place.desk()
    await desk.apply(source("send"))
    with pytest.raises(Refused, match="the needs of mail"):
        await desk.deploy("shop", "mail", source("send", ", needs: [cache]"))


async def test_a_control_plane_that_comes_back_goes_on_with_a_rollout(place: Place):
    desk = await place.desk()
    await desk.apply(source("send"))
    await until(at_rest(desk, 1))
    await desk.apply(source("broken"))
    await place.leave()
    desk = await place.desk()
    await until(lambda: trials(desk) == [Trial.GOOD, Trial.FAILED])
    await until(at_rest(desk, 1))
    assert await desk.restart("shop", "mail") == 3


async def test_a_control_plane_that_died_before_it_could_roll_back_does_so_when_it_is_back(place: Place):
    desk = await place.desk()
    await desk.apply(source("send"))
    await until(at_rest(desk, 1))
    await desk.apply(source("broken"))
    two = history(desk).revisions[1]
    assert place.environments
    await place.environments.store.save_revision("shop", "mail", replace(two, trial=Trial.FAILED, because="it died"))
    await place.leave()
    desk = await place.desk()
    await until(at_rest(desk, 1))
    assert await program(place) == "send"


async def test_a_group_is_sized_within_what_keeps_it_redundant(place: Place):
    desk = await place.desk()
    await desk.apply(source("send"))
    with pytest.raises(Refused, match="cache is one server"):
        await desk.scale("shop", "cache", 3)
    await desk.ha("shop", "cache", True)
    await desk.scale("shop", "cache", 5)
    assert [one.scale for one in desk.picture("shop").blueprints] == [1, 5]
    for count, said in ((2, "stay redundant"), (8, "at most 7 servers")):
        with pytest.raises(Refused, match=said):
            await desk.scale("shop", "cache", count)
    await desk.ha("shop", "cache", False)
    assert not desk.picture("shop").blueprints[1].ha
    change, pause = await desk.ha("shop", "cache", False)
    assert (change.because, pause) == ("it is one server already", None)


async def test_a_group_whose_members_are_rebuilt_becomes_one_server_and_a_group_again(place: Place):
    desk = await place.desk()
    spec = "environment: shop\nservices:\n  cache: {kind: redis, ha: true, replace_after: 10m}\n"
    await desk.apply(Source(file="/srv/everup.yaml", text=spec, directory="/srv", path="/bin"))
    for enabled, after_s in ((False, None), (True, 600.0)):
        await desk.ha("shop", "cache", enabled)
        (one,) = desk.picture("shop").blueprints
        assert (one.ha, one.replaces_after_s) == (enabled, after_s)


async def test_an_app_has_no_ha_to_switch_on(place: Place):
    desk = await place.desk()
    await desk.apply(source("send"))
    with pytest.raises(Refused, match="of kind worker, which has no ha"):
        await desk.ha("shop", "mail", True)
    with pytest.raises(Refused, match="may run at most 10 instances"):
        await desk.scale("shop", "mail", 11)
