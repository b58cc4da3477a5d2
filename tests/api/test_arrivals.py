"""Connections that a door passes on: told apart by whose they are, where a door says so, and nobody else."""

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from everup.api import arrivals
from everup.api.app import create_app
from everup.api.doorway import GUESSES_BURST
from everup.api.server import serve_api
from everup.api.tcp import open_tcp
from everup.core.announcing import announcement
from everup.core.listening import listening
from everup.model.access import Level
from everup.runtime.store import Store
from everup.serve import new_event_loop
from tests.api.test_port import PATIENCE_S, authority, free_port, pems  # noqa: F401 - the fixtures

FORMER, LATTER = "203.0.113.7", "203.0.113.8"


@dataclass
class Ground:
    """An API on a port that doors lead to; `secret` is an operator's token which nobody has shown yet."""

    port: int
    secret: str
    trusting: ssl.SSLContext
    wrong: "itertools.count[int]"

    async def status(self, first_words: bytes = b"", token: str | None = None, place: str = "127.0.0.1") -> int:
        """What a request from `place` is answered with, after these words in clear; by default with a wrong token."""
        token = token or f"everup_{next(self.wrong)}"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(place, 0))
        writer.write(first_words)
        await writer.start_tls(self.trusting, server_hostname="127.0.0.1")
        words = f"GET /v1/caller HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        writer.write(words.encode())
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1])


@contextlib.asynccontextmanager
async def served(desk, folder, pems, authority, *doors: str) -> AsyncIterator[Ground]:  # noqa: F811
    store = Store(folder / "everup.sqlite")
    tokens = store.tokens()
    _, secret = await tokens.create("op", Level.OPERATOR, None, None)
    stop, up = asyncio.Event(), asyncio.Event()
    opened = replace(open_tcp(listening(f"127.0.0.1:{free_port()}", *pems)), doors=lambda: doors)
    serving = asyncio.create_task(
        serve_api(create_app(desk, tokens), folder / "sock", stop, ready=up.set, opened=opened)
    )
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    try:
        async with asyncio.timeout(4 * PATIENCE_S):
            await up.wait()
            yield Ground(opened.to.port, secret, trusting, itertools.count())
    finally:
        stop.set()
        await asyncio.wait_for(serving, PATIENCE_S)
        store.close()


def passed_on(client: str) -> bytes:
    return announcement(client, 4711, "10.0.0.1", 8484)


async def test_who_guesses_tokens_through_a_door_keeps_nobody_else_out(desk, tmp_path, pems, authority):  # noqa: F811
    async with served(desk, tmp_path, pems, authority, "127.0.0.1") as ground:
        told = [await ground.status(passed_on(FORMER)) for _ in range(GUESSES_BURST + 2)]
        assert told[0] == 401
        assert told[-1] == 429
        assert await ground.status(passed_on(FORMER), ground.secret) == 429
        assert await ground.status(passed_on(LATTER), ground.secret) == 200


async def test_nobody_but_a_door_is_believed(desk, tmp_path, pems, authority):  # noqa: F811
    async with served(desk, tmp_path, pems, authority, "10.0.0.1") as ground:
        told = [await ground.status(passed_on(f"203.0.113.{number}")) for number in range(GUESSES_BURST + 2)]
        assert told[0] == 401
        assert told[-1] == 429


async def test_who_says_nothing_first_is_served_as_ever(desk, tmp_path, pems, authority):  # noqa: F811
    async with served(desk, tmp_path, pems, authority, "127.0.0.1") as ground:
        assert await ground.status(token=ground.secret) == 200


@pytest.mark.parametrize("words", [b"", passed_on(FORMER)[:9], passed_on(FORMER)[:20], passed_on(FORMER)])
async def test_who_does_not_go_on_is_cut(desk, tmp_path, pems, authority, monkeypatch, words):  # noqa: F811
    monkeypatch.setattr(arrivals, "HEAD_S", 0.3)
    async with served(desk, tmp_path, pems, authority, "127.0.0.1") as ground:
        reader, writer = await asyncio.open_connection("127.0.0.1", ground.port)
        writer.write(words)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("words", [b"", passed_on(FORMER)])
async def test_who_comes_straight_and_takes_all_keeps_nobody_out(desk, tmp_path, pems, authority, monkeypatch, words):  # noqa: F811
    monkeypatch.setattr(arrivals, "EACH", 2)
    async with served(desk, tmp_path, pems, authority, "127.0.0.2") as ground, contextlib.AsyncExitStack() as held:
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", ground.port)
            held.callback(writer.close)
            writer.write(words)
            if words:
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    await writer.start_tls(ground.trusting, server_hostname="127.0.0.1")
        with pytest.raises((ConnectionError, ssl.SSLError, IndexError)):
            await ground.status(token=ground.secret)
        assert await ground.status(passed_on(LATTER), ground.secret, "127.0.0.2") == 200


async def test_words_that_nobody_can_read_are_cut(desk, tmp_path, pems, authority):  # noqa: F811
    async with served(desk, tmp_path, pems, authority, "127.0.0.1") as ground:
        for words in (passed_on(FORMER)[:14] + b"\xff\xff", b"\x00" * 40):
            reader, writer = await asyncio.open_connection("127.0.0.1", ground.port)
            writer.write(words)
            with contextlib.suppress(ConnectionResetError):
                await reader.read()
            writer.close()
        assert await ground.status(token=ground.secret) == 200


def test_it_is_so_on_the_loop_that_control_planes_run_on(desk, tmp_path, pems, authority):  # noqa: F811
    async def work() -> list[int]:
        async with served(desk, tmp_path, pems, authority, "127.0.0.1") as ground:
            return [
                await ground.status(passed_on(FORMER)),
                await ground.status(passed_on(LATTER), ground.secret),
                await ground.status(token=ground.secret),
            ]

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(work()) == [401, 200, 200]
