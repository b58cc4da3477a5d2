"""Docker's API on each way to it, against a real one: a Unix socket, TCP with certificates, ssh."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from everup.engines.swarm.complaints import Conflict, Missing
from everup.engines.swarm.docker import Docker, Thing, text
from everup.engines.swarm.place import Place, find
from everup.engines.swarm.wire import Wire
from everup.model.errors import EngineError, Unavailable
from tests.swarm.host import PATIENCE_S
from tests.swarm.rig import Rig

SSH = """#!/bin/sh
# What ssh would run on the other machine runs on this one.
[ "$(echo "$*" | sed 's/.* -- //')" = "pretended docker system dial-stdio" ] || { echo "unknown: $*" >&2; exit 255; }
exec docker --host unix://%s system dial-stdio
"""


@contextlib.asynccontextmanager
async def over_tls(socket: Path, folder: Path) -> AsyncIterator[dict[str, str]]:
    """A Docker that asks for certificates, as `dockerd --tlsverify` does; the variables that lead to it."""
    authority = trustme.CA()
    server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("somebody")
    gate = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    gate.verify_mode = ssl.CERT_REQUIRED
    server.configure_cert(gate)
    authority.configure_trust(gate)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    client.private_key_pem.write_to_path(folder / "key.pem")

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while piece := await source.read(65_536):
                target.write(piece)
                await target.drain()
        target.close()

    carrying: set[asyncio.Task[None] | None] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying.add(asyncio.current_task())
        there, back = await asyncio.open_unix_connection(socket)
        await asyncio.gather(copy(reader, back), copy(there, writer))

    listening = await asyncio.start_server(carry, "127.0.0.1", 0, ssl=gate)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield {"DOCKER_HOST": f"tcp://127.0.0.1:{port}", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(folder)}
    finally:
        listening.close()
        await asyncio.gather(*filter(None, carrying))


@pytest.fixture(params=["unix", "tls", "ssh"])
async def docker(
    request: pytest.FixtureRequest, rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Docker]:
    socket = rig.hosts[0].socket
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "unix":
            place = find({"DOCKER_HOST": f"unix://{socket}"})
        elif request.param == "tls":
            place = find(await stack.enter_async_context(over_tls(socket, tmp_path)))
        else:
            (tmp_path / "ssh").write_text(SSH % socket)
            (tmp_path / "ssh").chmod(0o755)
            monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")  # Debian's docker, which fits its dockerd
            place = find({"DOCKER_HOST": "ssh://pretended"})
        docker = Docker(Wire(place, PATIENCE_S))
        yield docker
        await docker.close()


async def test_docker_answers_on_every_way_to_it(docker):
    assert tuple(map(int, (await docker.wire.version()).split("."))) >= (1, 41)
    assert (await docker.itself())["Name"] == "node1"
    assert {one["Description"]["Hostname"] for one in await docker.cluster.nodes()} >= {"node1"}
    assert await docker.services.inspect("no-such") is None and await docker.image("no-such:1") is None
    await docker.services.remove("no-such")
    with pytest.raises(Missing):
        await docker.services.change("no-such", lambda spec: spec)


async def test_what_happens_is_told_as_it_happens(docker):
    seen: list[Thing] = []

    async def listen() -> None:
        async for event in docker.events({"type": ["volume"], "volume": ["everup-heard"]}):
            seen.append(event)

    listening = asyncio.create_task(listen())
    try:
        while not seen:
            await docker.volumes.create("everup-heard", {"a": "b"})
            await docker.volumes.remove("everup-heard")
            await asyncio.sleep(0.05)
        assert seen[0]["Actor"]["ID"] == "everup-heard" and not listening.done()
    finally:
        listening.cancel()


async def test_what_a_swarm_keeps_is_changed_by_many_at_once(docker):
    labels = {"everup.test": "many"}
    await docker.configs.create("everup-many", b"\x00text", labels)
    try:
        with pytest.raises(Conflict):
            await docker.configs.create("everup-many", b"other", labels)
        await asyncio.gather(*(docker.configs.relabel("everup-many", {f"n{i}": "1"}) for i in range(5)))
        (found,) = await docker.configs.list({"label": ["everup.test=many"]})
        assert set(found["Spec"]["Labels"]) == {"everup.test", *(f"n{i}" for i in range(5))}
        assert text(found) == b"\x00text"
    finally:
        await docker.configs.remove("everup-many")
    assert await docker.configs.inspect("everup-many") is None


async def test_an_ssh_that_fails_says_why(rig, tmp_path, monkeypatch):
    (tmp_path / "ssh").write_text(SSH % rig.hosts[0].socket)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    docker = Docker(Wire(Place("ssh://other"), PATIENCE_S))
    with pytest.raises(Unavailable, match=r"unknown: .* other docker"):
        await docker.itself()
    await docker.close()


async def test_a_stranger_without_a_certificate_gets_nothing(rig, tmp_path):
    async with over_tls(rig.hosts[0].socket, tmp_path) as environ:
        (tmp_path / "cert.pem").unlink()
        docker = Docker(Wire(find(environ), PATIENCE_S))
        with pytest.raises(EngineError):
            await docker.itself()
        await docker.close()
