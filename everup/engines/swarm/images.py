"""From the name of an image to what every host runs without asking what that name means today."""

from collections.abc import Mapping
from typing import Any

from everup import __version__
from everup.engines.swarm.docker import Docker
from everup.model.desired import Node
from everup.model.errors import EngineError, NodeFailed, Unavailable

NO_IMAGE = "engine.no_image"

FETCH_S = 600.0
"""How long the hosts may take to fetch an image from its registry."""

ABSENT = "No such image"
"""What Swarm says of a task whose image its host does not have, and cannot fetch."""

_EVERYWHERE = "Have it on every host (docker save, docker load), or in a registry that each host can pull it from"


def everup_named(environ: Mapping[str, str]) -> str:
    """Everup's own image: what EVERUP_IMAGE says, or the one of this version."""
    return environ.get("EVERUP_IMAGE", f"everup:{__version__}")


async def everups(docker: Docker, name: str) -> str:
    """What every host can run Everup from: a digest, or an ID.

    Raises:
        Unavailable: this Docker has no such image (code `engine.no_image`).
    """
    found = await docker.image(name)
    if found is None:
        raise Unavailable(
            f"Docker at {docker.address} has no image {name}, from which Everup runs on the hosts of its Swarm",
            "Build it (make image) or fetch it (docker pull) on every host; EVERUP_IMAGE names another one.",
            code=NO_IMAGE,
        )
    return settled(name, found)


async def users(docker: Docker, node: Node) -> str:
    """What every host runs `node` from: the ID of an image that is local, the digest of one that a registry has.

    An image that this Docker has is not looked for elsewhere.

    Raises:
        NodeFailed: there is none of that name, here or in its registry (code `engine.no_image`).
        Unavailable: Docker does not answer.
    """
    found = await docker.image(node.image)
    if found:
        return settled(node.image, found)
    try:
        return f"{repository(node.image)}@{await docker.published(node.image)}"
    except EngineError as error:
        raise NodeFailed(
            f"{node.id}: there is no image {node.image} on the host of {docker.address}, nor does its registry "
            f"give it: {error.message}",
            f"{_EVERYWHERE} without a password; where it asks for one: docker pull {node.image} on every host.",
            code=NO_IMAGE,
            node=node.id,
        ) from error


def absent(node: Node, where: str) -> NodeFailed:
    """The error for an image of a node that the host `where` does not have although another one does."""
    name = node.image or "of Everup"
    return NodeFailed(
        f"{node.id}: {where} does not have the image {name} in the version that the asked manager has",
        f"{_EVERYWHERE}; the same version on all: docker image inspect tells the ID.",
        code=NO_IMAGE,
        node=node.id,
    )


def settled(name: str, found: Mapping[str, Any]) -> str:
    """The digest of an image that came from a registry, in the repository that `name` means if it has one there; else
    its ID. `found` is what Docker says of it."""
    digests = [str(one) for one in found.get("RepoDigests") or ()]
    own = (one for one in digests if one.startswith(f"{repository(name)}@"))
    return next(own, digests[0] if digests else str(found["Id"]))


def repository(name: str) -> str:
    """The name of an image without tag and digest: `registry:5000/shop:7` is `registry:5000/shop`."""
    bare = name.partition("@")[0]
    return bare[: bare.rindex(":")] if ":" in bare.rpartition("/")[2] else bare
