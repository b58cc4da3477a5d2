"""Docker's API as Everup uses it: some thirty requests, raw, each object as the JSON that Docker speaks of it.

Raw, because whole specs must go back as they came: a model in between drops what it does not know.
"""

import asyncio
import base64
import copy
import json
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from everup.engines.swarm import place
from everup.engines.swarm.complaints import Conflict, Missing
from everup.engines.swarm.containers import Containers, Volumes
from everup.engines.swarm.wire import Wire
from everup.model.errors import EngineError

Thing = dict[str, Any]
"""An object as Docker writes it in JSON."""

Edit = Callable[[Thing], Thing]
"""From a spec, which it may change, to the spec that is wanted."""

_TRIES = 10
_PAUSE_S = 0.05
_LONG_S = 60.0


class Docker:
    """One Docker Engine. Its methods, and those of its parts, belong to one event loop.

    All raise `Unavailable` where nothing answers or a Swarm has no leader, and `EngineError` where Docker refuses.

    Args:
        wire: how to reach it; where Docker's own client would go, when not given.

    Attributes:
        cluster: the Swarm itself and its nodes.
        services, secrets, configs: what the Swarm keeps.
        containers, volumes: of this one engine.
    """

    def __init__(self, wire: Wire | None = None) -> None:
        self.wire = wire or Wire(place.find())
        self.cluster = Cluster(self.wire)
        self.services = Services(self.wire)
        self.secrets = Store(self.wire, "/secrets")
        self.configs = Store(self.wire, "/configs")
        self.containers = Containers(self.wire)
        self.volumes = Volumes(self.wire)

    @property
    def address(self) -> str:
        """Where it answers, as Docker writes addresses."""
        return self.wire.place.address

    async def itself(self) -> Thing:
        """All about this engine: `ID`, `Name`, `ServerVersion`, `DockerRootDir`, `Swarm` (its part in one), ..."""
        return _thing(await self.wire.ask("GET", "/info"))

    async def image(self, name: str) -> Thing | None:
        """An image that this engine has, by name, digest or ID; None where it has none."""
        return await _one(self.wire, f"/images/{quote(name)}/json")

    async def published(self, name: str) -> str:
        """The digest under which its registry gives an image of that name, asked without a password.

        Raises:
            EngineError: it does not, or cannot be reached.
        """
        found = _thing(await self.wire.ask("GET", f"/distribution/{quote(name)}/json", answer_s=_LONG_S))
        return str(found["Descriptor"]["digest"])

    async def events(self, filters: Mapping[str, list[str]], since: str | None = None) -> AsyncGenerator[Thing, None]:
        """What happens to objects that match, the moment it does, until Docker ends; `since` in seconds since 1970.

        Tasks of a Swarm are not among it (engines.md section 4).
        """
        rest = b""
        async with aclosing(self.wire.stream("/events", {"filters": filters, "since": since})) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)

    async def close(self) -> None:
        """End all connections."""
        await self.wire.close()


class Cluster:
    """The Swarm that this engine is a manager of."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def inspect(self) -> Thing:
        """Its `ID`, `Version`, `Spec` with `Labels`, ..."""
        return _thing(await self._wire.ask("GET", "/swarm"))

    async def change(self, edit: Edit) -> Thing:
        """Change its spec (labels and settings) as `Services.change` does a service's; the spec it has then."""
        return await _change(self._wire, "/swarm", "/swarm/update", edit)

    async def nodes(self, filters: Mapping[str, list[str]] | None = None) -> list[Thing]:
        """Its hosts: `ID`, `Description.Hostname`, `Spec.Labels`, `Spec.Availability`, `Status`, `ManagerStatus`."""
        return _things(await self._wire.ask("GET", "/nodes", {"filters": filters}))

    async def change_node(self, node_id: str, edit: Edit) -> Thing:
        """Change a host's spec (labels, availability); the spec it has then."""
        return await _change(self._wire, f"/nodes/{quote(node_id)}", f"/nodes/{quote(node_id)}/update", edit)

    async def tasks(self, filters: Mapping[str, list[str]] | None = None) -> list[Thing]:
        """What Swarm has placed or wants to place, old ones too: `ServiceID`, `NodeID`, `Status`, `DesiredState`."""
        return _things(await self._wire.ask("GET", "/tasks", {"filters": filters}))


class Services:
    """The services of a Swarm."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def list(self, filters: Mapping[str, list[str]] | None = None) -> "list[Thing]":
        """Those that match, such as `{"label": ["everup.environment=shop"]}`."""
        return _things(await self._wire.ask("GET", "/services", {"filters": filters}))

    async def inspect(self, service_id: str) -> Thing | None:
        """A service by ID or name; None where there is none."""
        return await _one(self._wire, f"/services/{quote(service_id)}")

    async def create(self, spec: Thing) -> str:
        """Create one; its ID.

        Raises:
            Conflict: there is one of that name.
        """
        answer = await self._wire.ask("POST", "/services/create", body=spec, answer_s=_LONG_S)
        return str(answer["ID"])

    async def change(self, service_id: str, edit: Edit) -> Thing:
        """Change its spec to what `edit` makes of it; the spec it has then.

        `edit` is given the newest spec, again each time that somebody else was quicker, and may be called several
        times; where it changes nothing, nothing is sent.

        Raises:
            Missing: there is no such service.
            Conflict: somebody else was quicker ten times in a row.
        """
        where = f"/services/{quote(service_id)}"
        return await _change(self._wire, where, f"{where}/update", edit)

    async def remove(self, service_id: str) -> None:
        """Remove it; one that is gone already is no error. Its containers end a while later."""
        await _remove(self._wire, f"/services/{quote(service_id)}")


class Store:
    """Texts that a Swarm keeps and gives to containers: its secrets, or its configs. A text never changes."""

    def __init__(self, wire: Wire, path: str) -> None:
        self._wire = wire
        self._path = path

    async def list(self, filters: Mapping[str, list[str]] | None = None) -> "list[Thing]":
        """Those that match; of configs also what is in them (`text`)."""
        return _things(await self._wire.ask("GET", self._path, {"filters": filters}))

    async def inspect(self, name: str) -> Thing | None:
        """One by ID or name; None where there is none."""
        return await _one(self._wire, f"{self._path}/{quote(name)}")

    async def create(self, name: str, content: bytes, labels: Mapping[str, str]) -> str:
        """Keep `content` (1 byte to 500 kB for a secret, to 1,000 kB for a config) under a new name; its ID.

        Raises:
            Conflict: there is one of that name.
        """
        spec = {"Name": name, "Labels": dict(labels), "Data": base64.b64encode(content).decode()}
        return str((await self._wire.ask("POST", f"{self._path}/create", body=spec))["ID"])

    async def relabel(self, name: str, labels: Mapping[str, str]) -> None:
        """Set these labels, beside those that it has."""

        def edit(spec: Thing) -> Thing:
            return {**spec, "Labels": {**(spec.get("Labels") or {}), **labels}}

        where = f"{self._path}/{quote(name)}"
        await _change(self._wire, where, f"{where}/update", edit)

    async def remove(self, name: str) -> None:
        """Remove it; one that is gone already is no error.

        Raises:
            EngineError: a service still uses it.
        """
        await _remove(self._wire, f"{self._path}/{quote(name)}")


def text(config: Thing) -> bytes:
    """What is in a config, as listed or inspected."""
    return base64.b64decode(config["Spec"].get("Data") or "")


async def _change(wire: Wire, where: str, update: str, edit: Edit) -> Thing:
    for number in range(1, _TRIES + 1):
        found = _thing(await wire.ask("GET", where))
        wanted = edit(copy.deepcopy(found["Spec"]))
        if wanted == found["Spec"]:
            break
        try:
            await wire.ask("POST", update, {"version": found["Version"]["Index"]}, wanted, _LONG_S)
            break
        except Conflict as error:
            if error.code != "engine.stale" or number == _TRIES:
                raise
        await asyncio.sleep(random.uniform(0, _PAUSE_S * number))
    return wanted


async def _one(wire: Wire, path: str) -> Thing | None:
    try:
        return _thing(await wire.ask("GET", path))
    except Missing:
        return None


async def _remove(wire: Wire, path: str) -> None:
    try:
        await wire.ask("DELETE", path)
    except Missing:
        pass


def _thing(found: Any) -> Thing:
    if not isinstance(found, dict):
        raise EngineError("what answers is no Docker Engine: an object was expected")
    return found


def _things(found: Any) -> list[Thing]:
    if found is None:
        return []
    if not isinstance(found, list):
        raise EngineError("what answers is no Docker Engine: a list was expected")
    return found
