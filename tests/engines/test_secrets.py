"""Secrets reach a node by its environment, as they are when it starts, and go nowhere else."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everup.engines.local.engine import LocalEngine
from everup.engines.local.programs import Programs
from everup.model.errors import NodeFailed, NotFound
from tests.engines.worlds import LocalWorld, a_node, eventually

VALUE = "s3cr3t {home} 'quoted' ✓\nsecond line"


@pytest.fixture
async def kept() -> dict[str, str]:
    return {"api-key": VALUE}


@pytest.fixture
async def world(tmp_path: Path, kept: dict[str, str]) -> AsyncIterator[LocalWorld]:
    """Real processes, with secrets to give to them."""

    def reveal(name: str) -> str:
        if name not in kept:
            raise NotFound(f"the secret {name} is not set", f"everup secret set {name}", code="secret.missing")
        return kept[name]

    made = LocalWorld(tmp_path / "home")
    made.engine = LocalEngine(made.home, Programs({}, os.environ), reveal=reveal)
    yield made
    await made.close()


async def environment(world: LocalWorld, node_id: str = "web-1") -> dict[str, str]:
    place = Path(f"/proc/{(await world.state(node_id)).pid}/environ")

    found: dict[str, str] = {}

    async def read() -> bool:  # for an instant the kernel shows nothing, while a shell becomes its program
        found.update(pair.split("=", 1) for pair in place.read_text().split("\0") if pair)
        return found != {}

    await eventually(read)
    return found


async def test_a_node_gets_its_secrets_as_they_are_and_nothing_else_does(world: LocalWorld):
    await world.engine.ensure(a_node(env={"MODE": "plain"}, secrets={"API_KEY": "api-key"}))
    found = await environment(world)
    assert (found["API_KEY"], found["MODE"]) == (VALUE, "plain")
    pid = (await world.state("web-1")).pid
    assert b"s3cr3t" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    written = [file for file in world.home.rglob("*") if file.is_file() and b"s3cr3t" in file.read_bytes()]
    assert written == []


async def test_a_changed_secret_is_read_at_the_next_start_and_restarts_nothing(world: LocalWorld, kept: dict[str, str]):
    node = a_node(secrets={"API_KEY": "api-key"})
    await world.engine.ensure(node)
    before = await world.state("web-1")
    kept["api-key"] = "newer"
    await world.engine.ensure(node)
    assert ((await world.state("web-1")).pid, (await environment(world))["API_KEY"]) == (before.pid, VALUE)
    await world.engine.remove("web-1", keep_data=True)
    await world.engine.ensure(node)
    assert (await environment(world))["API_KEY"] == "newer"


async def test_a_node_whose_secret_is_missing_does_not_start_and_says_what_sets_it(world: LocalWorld):
    with pytest.raises(NodeFailed, match="web-1: the secret other is not set") as refused:
        await world.engine.ensure(a_node(secrets={"API_KEY": "other"}))
    assert (refused.value.code, refused.value.hint) == ("secret.missing", "everup secret set other")
    assert (await world.states())["web-1"].failure


async def test_an_engine_that_keeps_no_secrets_starts_nothing_that_needs_one(tmp_path: Path):
    made = LocalWorld(tmp_path / "home")
    with pytest.raises(NodeFailed, match="nobody keeps secrets here"):
        await made.engine.ensure(a_node(secrets={"API_KEY": "api-key"}))
    await made.close()
