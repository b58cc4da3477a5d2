"""How long the control plane waits for an agent that is there and says nothing; real agents are in tests/swarm."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from everup.engines.swarm import gateway, hosts
from everup.engines.swarm.hosts import Host
from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.pair import pair_in
from everup.engines.swarm.services import Start, read, spec
from everup.engines.swarm.sight import Stopping
from everup.model.desired import Stop, Tcp
from everup.model.errors import Unavailable
from tests.engines.worlds import a_node

PATIENCE_S = 60.0


async def _listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As an agent that is frozen: the kernel takes what comes, and nobody answers."""
    while await reader.read(4096):
        pass
    writer.close()


@asynccontextmanager
async def frozen(folder: Path) -> AsyncIterator[Host]:
    pair = await asyncio.to_thread(pair_in, folder)
    gate = gateway.server_side(pair.cert, pair.key)
    server = await asyncio.start_server(_listen, "127.0.0.1", 0, ssl=gate)
    async with server:
        to = Tcp("127.0.0.1", server.sockets[0].getsockname()[1])
        host = Host("node1", to, pair, Keeping(lambda error: None))
        try:
            yield host
        finally:
            await host.close()


@pytest.mark.parametrize(
    ("wish", "noted_s", "within_s"), [(Stopping(), 0.2, 0.5), (Stopping(signal="SIGTERM", grace_s=0.1), 900.0, 0.4)]
)
async def test_a_stop_waits_for_its_grace_and_a_margin_and_says_for_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: Stopping, noted_s: float, within_s: float
) -> None:
    monkeypatch.setattr(hosts, "WORK_S", 0.3)
    monkeypatch.setattr(hosts, "CONNECT_S", PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S), frozen(tmp_path) as host:
        with pytest.raises(Unavailable) as late:
            await host.stop("shop", "web-1", wish, noted_s)
    assert late.value.code == "engine.host_silent"
    assert "web-1 is not known to have ended: the host node1" in late.value.message
    assert f"for {within_s:g} s" in late.value.message


def test_the_swarm_remembers_the_grace_of_what_nobody_declares_any_more() -> None:
    start = Start(environment="shop", node=a_node(stop=Stop(grace_s=120.0)), ticket=7, image="everup:1", host_id="h1")
    found = read({"ID": "s1", "Spec": spec(start)})
    assert found is not None
    assert 120.0 <= found.grace_s <= 130.0
