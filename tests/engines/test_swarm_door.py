"""The door to the control plane: bytes go through, both ways, with a word of whose they are, and never to where it was
before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from everup.core.announcing import HEAD_BYTES, client_in, length_of
from everup.engines.swarm.docker import Docker
from everup.engines.swarm.door import Door
from everup.engines.swarm.place import Place
from everup.engines.swarm.wire import Wire

PATIENCE_S = 60.0


class Ground:
    """A control plane that repeats what it hears, in capitals, and a door to it."""

    def __init__(self, control: int, most: int, each: int) -> None:
        self.door = Door(Docker(Wire(Place("unix:///nowhere"))), control, most, each)
        self.port = 0

    async def knock(self, address: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))

    async def enter(self, address: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Knock, and hear that the control plane knows whose connection it is."""
        reader, writer = await self.knock(address)
        assert await reader.readline() == f"{writer.get_extra_info('sockname')}\n".encode()
        return reader, writer


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readexactly(HEAD_BYTES)
    client = client_in(head + await reader.readexactly(length_of(head) - HEAD_BYTES))
    writer.write(f"{client}\n".encode())
    while line := await reader.readline():
        writer.write(line.upper())
    writer.write(b"all heard\n")
    writer.close()


@asynccontextmanager
async def ground(most: int = 8, each: int = 8) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE_S):
        control = await stack.enter_async_context(await asyncio.start_server(_answer, "127.0.0.1", 0))
        made = Ground(control.sockets[0].getsockname()[1], most, each)
        made.door.lead_to("127.0.0.1")
        server = await stack.enter_async_context(await asyncio.start_server(made.door.enter, "127.0.0.1", 0))
        made.port = server.sockets[0].getsockname()[1]
        yield made


async def test_what_is_said_arrives_and_so_does_the_answer() -> None:
    async with ground() as made:
        reader, writer = await made.enter()
        for word in ("one", "two"):
            writer.write(f"{word}\n".encode())
            assert await reader.readline() == f"{word.upper()}\n".encode()
        writer.close()


async def test_who_has_said_all_still_hears_the_rest_and_then_the_end() -> None:
    async with ground() as made:
        reader, writer = await made.enter()
        writer.write(b"one\n")
        writer.write_eof()
        assert await reader.read() == b"ONE\nall heard\n"
        writer.close()


async def test_one_too_many_is_ended_and_the_others_go_on() -> None:
    async with ground(most=2) as made:
        kept = [await made.enter() for _ in range(2)]
        for reader, writer in kept:
            writer.write(b"one\n")
            assert await reader.readline() == b"ONE\n"
        reader, writer = await made.knock()
        assert await reader.read() == b""
        writer.close()
        for reader, writer in kept:
            writer.write(b"two\n")
            assert await reader.readline() == b"TWO\n"
            writer.close()


async def test_one_client_does_not_take_all_the_room_there_is() -> None:
    async with ground(most=8, each=2) as made:
        kept = [await made.enter("127.0.0.2") for _ in range(2)]
        reader, writer = await made.knock("127.0.0.2")
        assert await reader.read() == b""
        writer.close()
        kept.append(await made.enter("127.0.0.3"))
        for reader, writer in kept:
            writer.write(b"two\n")
            assert await reader.readline() == b"TWO\n"
            writer.close()


async def test_connections_end_when_the_control_plane_is_elsewhere() -> None:
    async with ground() as made:
        reader, writer = await made.enter()
        writer.write(b"one\n")
        assert await reader.readline() == b"ONE\n"
        made.door.lead_to("127.0.0.2")
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("address", ["", "127.0.0.9"])
async def test_a_door_that_leads_nowhere_ends_a_connection(address: str) -> None:
    async with ground() as made:
        made.door.lead_to(address)
        reader, writer = await made.knock()
        assert await reader.read() == b""
        writer.close()
