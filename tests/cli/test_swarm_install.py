"""Installing the control plane in a Swarm that refuses in the middle: nothing that somebody needs is lost."""

import base64
import copy
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from everup.cli import swarm
from everup.cli.contexts import Contexts
from everup.cli.main import app
from everup.cli.session import Session
from everup.engines.swarm import control, docker
from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.state import SwarmShelf
from everup.model.access import Level
from everup.model.errors import EngineError, Refused
from everup.runtime.cipher import Cipher
from everup.runtime.mirror import Mirror
from everup.runtime.store import Store

IMAGE = "everup:1"
NODE = {
    "ID": "h1",
    "Description": {"Hostname": "node1"},
    "Spec": {"Availability": "active"},
    "Status": {"State": "ready", "Addr": "10.0.0.1"},
    "ManagerStatus": {"Addr": "10.0.0.1:2377"},
}


class Kept:
    """What a Swarm keeps by name."""

    def __init__(self, numbers: "itertools.count[int]") -> None:
        self.found: dict[str, Any] = {}
        self._numbers = numbers

    async def list(self, filters: Any = None) -> list[Any]:
        wanted = [label.partition("=") for label in (filters or {}).get("label", [])]

        def bears(labels: Any) -> bool:
            return all(name in labels and value in ("", labels[name]) for name, _, value in wanted)

        return [one for one in self.found.values() if bears(one["Spec"]["Labels"])]

    async def inspect(self, name: str) -> Any:
        return self.found.get(name)

    async def create(self, name: str, content: bytes, labels: Any) -> str:
        number = next(self._numbers)
        spec = {"Name": name, "Labels": dict(labels), "Data": base64.b64encode(content).decode()}
        self.found[name] = {"ID": name, "CreatedAt": f"2026-01-01T00:00:{number:09d}Z", "Spec": spec}
        return name

    async def relabel(self, name: str, labels: Any) -> None:
        self.found[name]["Spec"]["Labels"].update(labels)

    async def remove(self, name: str) -> None:
        self.found.pop(name, None)


class Swarm:
    """A Swarm of one host, as far as an installation asks; `refusals`: what it refuses, by the name of a service."""

    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.spec: dict[str, Any] = {"Labels": {}}
        self.running: dict[str, Any] = {}
        self.refusals: set[str] = set()
        self.secrets, self.configs = Kept(numbers), Kept(numbers)
        self.cluster, self.services = Cluster(self), Services(self)

    async def itself(self) -> Any:
        return {"Swarm": {"NodeID": "h1", "NodeAddr": "10.0.0.1"}}

    async def image(self, name: str) -> Any:
        return {"Id": "sha256:1", "RepoDigests": []}

    async def close(self) -> None: ...

    def given(self) -> dict[str, bytes]:
        """The secrets that the control plane's container finds, by the names of their files."""
        template = self.running[control.CONTROL]["TaskTemplate"]["ContainerSpec"]
        data = {one["SecretName"]: self.secrets.found[one["SecretName"]]["Spec"]["Data"] for one in template["Secrets"]}
        return {
            Path(one["File"]["Name"]).name: base64.b64decode(data[one["SecretName"]]) for one in template["Secrets"]
        }


class Cluster:
    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm

    async def inspect(self) -> Any:
        return {"ID": "s1", "Spec": copy.deepcopy(self._swarm.spec)}

    async def change(self, edit: Any) -> Any:
        self._swarm.spec = edit(copy.deepcopy(self._swarm.spec))
        return self._swarm.spec

    async def nodes(self) -> list[Any]:
        return [NODE]


class Services:
    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm

    async def inspect(self, name: str) -> Any:
        found = self._swarm.running.get(name)
        return {"ID": name, "Spec": found} if found else None

    async def list(self, filters: Any = None) -> list[Any]:
        return []

    async def create(self, spec: Any) -> str:
        if spec["Name"] in self._swarm.refusals:
            raise EngineError("the Swarm has no leader")
        self._swarm.running[spec["Name"]] = spec
        return str(spec["Name"])

    async def remove(self, name: str) -> None:
        self._swarm.running.pop(name, None)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Swarm:
    made = Swarm()
    monkeypatch.setattr(docker, "Docker", lambda: made)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return made


def kept_token() -> str | None:
    return Contexts.read(os.environ).places.get("swarm", {}).get("token")


async def known(place: Swarm, folder: Path, token: str | None) -> bool:
    """A control plane that starts with what its container is given knows that token."""
    folder.mkdir()
    (folder / "secret.key").write_bytes(place.given()[control.SEALING_KEY])
    (folder / "secret.key").chmod(0o600)
    mirror = Mirror(SwarmShelf(place, Keeping(lambda error: None)), Cipher(folder / "secret.key"))  # type: ignore[arg-type]
    await mirror.load(folder / "everup.sqlite")
    store = Store(folder / "everup.sqlite", mirror)
    caller = store.tokens().authenticate(token or "")
    store.close()
    return caller is not None and caller.level == Level.OPERATOR


async def test_a_token_that_docker_refused_to_go_on_after_is_that_of_the_next_install(place: Swarm, tmp_path: Path):
    place.refusals = {control.CONTROL}
    with pytest.raises(EngineError, match="no leader"):
        await swarm._install(IMAGE, "swarm", None)
    token = kept_token()
    assert token
    place.refusals = {control.DOOR}
    with pytest.raises(EngineError, match="no leader"):
        await swarm._install(IMAGE, "swarm", None)
    assert kept_token() == token
    place.refusals = set()
    place.running.clear()
    done = await swarm._install(IMAGE, "swarm", None)
    assert (done.token, done.changed) == (token, True)
    assert await known(place, tmp_path / "home", token)
    assert (await swarm._install(IMAGE, "swarm", None)).token is None


async def test_who_was_slower_leaves_all_as_it_is(place: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two installations at once: the second one finds its match just before it has kept what it knows."""
    keep = control.keep

    async def overtaken(other: Any, credentials: control.Credentials) -> None:
        monkeypatch.setattr(control, "keep", keep)
        await keep(other, credentials)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "quicker"))
        await swarm._install(IMAGE, "swarm", None)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    monkeypatch.setattr(control, "keep", overtaken)
    with pytest.raises(Refused) as caught:
        await swarm._install(IMAGE, "swarm", None)
    assert caught.value.code == "refused.kept_already"
    assert kept_token() is None
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "quicker"))
    assert await known(place, tmp_path / "home", kept_token())
    assert len(place.secrets.found) == 4


async def test_a_control_plane_does_not_begin_with_nothing_where_there_was_something(place: Swarm):
    docker: Any = place
    with pytest.raises(EngineError, match="somebody has removed its label") as forgotten:
        await control.refuse_forgotten(docker)
    assert forgotten.value.code == "engine.forgotten"
    await swarm._install(IMAGE, "swarm", None)
    await control.refuse_forgotten(docker)


def test_who_takes_everything_away_is_told_what_is_left_on_each_host(place: Swarm):
    told = CliRunner().invoke(app, ["swarm", "uninstall", "--destroy"], obj=Session())
    assert told.exit_code == 0
    assert "docker volume rm everup-agent" in told.output
