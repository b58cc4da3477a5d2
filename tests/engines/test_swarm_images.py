"""What an image's name means is settled once, for all hosts: an ID, or a digest."""

from typing import Any

import pytest

from everup.engines.swarm import images
from everup.engines.swarm.images import repository, settled
from everup.model.errors import EngineError, NodeFailed, Unavailable
from tests.engines.worlds import a_node

ID = "sha256:1f"


class Engine:
    """A Docker that has some images, and whose registry gives others, or the error that it has for them."""

    address = "unix:///docker.sock"

    def __init__(self, here: dict[str, Any], there: dict[str, str]) -> None:
        self.here, self.there = here, there

    async def image(self, name: str) -> Any:
        return self.here.get(name)

    async def published(self, name: str) -> str:
        if name not in self.there:
            raise EngineError("no such host: registry-1.docker.io")
        return self.there[name]


def engine(here: dict[str, Any] | None = None, there: dict[str, str] | None = None) -> Any:
    return Engine(here or {}, there or {})


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("shop", "shop"),
        ("shop:7", "shop"),
        ("example.net:5000/shop", "example.net:5000/shop"),
        ("example.net:5000/team/shop:7", "example.net:5000/team/shop"),
        ("shop@sha256:1f", "shop"),
        ("example.net/shop:7@sha256:1f", "example.net/shop"),
    ],
)
def test_a_repository_is_a_name_without_its_tag(name: str, bare: str) -> None:
    assert repository(name) == bare


@pytest.mark.parametrize(
    ("name", "digests", "means"),
    [
        ("shop:7", None, ID),
        ("shop:7", [], ID),
        ("shop:7", ["shop@sha256:2e"], "shop@sha256:2e"),
        ("b/shop:7", ["a/shop@sha256:2e", "b/shop@sha256:3d"], "b/shop@sha256:3d"),
        ("mine:7", ["a/shop@sha256:2e"], "a/shop@sha256:2e"),
        (ID, [], ID),
    ],
)
def test_an_image_that_is_there_runs_by_digest_where_a_registry_gave_it_and_else_by_id(
    name: str, digests: Any, means: str
) -> None:
    assert settled(name, {"Id": ID, "RepoDigests": digests}) == means


async def test_an_image_that_is_not_there_runs_by_the_digest_that_its_registry_tells() -> None:
    docker = engine(there={"example.net/shop:7": "sha256:2e"})
    assert await images.users(docker, a_node(image="example.net/shop:7")) == "example.net/shop@sha256:2e"


async def test_the_registry_is_not_asked_for_what_is_there() -> None:
    docker = engine(here={"shop:7": {"Id": ID}}, there={"shop:7": "sha256:2e"})
    assert await images.users(docker, a_node(image="shop:7")) == ID


async def test_an_image_that_is_nowhere_is_named_with_the_reason_and_what_to_do() -> None:
    with pytest.raises(NodeFailed) as failure:
        await images.users(engine(), a_node("web-1", image="shop:7"))
    assert failure.value.code == "engine.no_image"
    assert "web-1: there is no image shop:7" in failure.value.message
    assert "no such host" in failure.value.message
    assert "docker pull shop:7" in failure.value.hint


async def test_everups_own_image_must_be_there() -> None:
    assert await images.everups(engine(here={"everup:1": {"Id": ID}}), "everup:1") == ID
    with pytest.raises(Unavailable) as failure:
        await images.everups(engine(there={"everup:1": "sha256:2e"}), "everup:1")
    assert failure.value.code == "engine.no_image"
