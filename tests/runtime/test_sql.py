"""The SQL connection against a real server, a stopped one, and things that are no server at all."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from everup.engines.local.privilege import footing
from everup.engines.local.programs import Programs
from everup.model.desired import Ask, Protocol, ReplyError, Silence, Tcp
from everup.runtime.sql import SqlLink
from everup.runtime.talk import ask, consoles_in
from tests.kinds.real import accepts, fresh_address, wait_until

PASSWORD = "sesame-öffne-dich"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tcp, int]]:
    """A PostgreSQL with a password: its address, and the pid of its postmaster."""
    folder = tmp_path_factory.mktemp("postgres")
    found, lower = Programs({}, os.environ).find("postgres").path.parent, footing().words
    (folder / "password").write_text(PASSWORD)
    initdb = [found / "initdb", "-D", folder / "pg", "-U", "postgres", "--no-sync", "-A", "scram-sha-256"]
    subprocess.run(
        [*lower, *initdb, f"--pwfile={folder / 'password'}"], check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"}
    )
    address = fresh_address(5432)
    options = ("-h", address.host, "-p", str(address.port), "-k", "", "-c", "max_connections=10", "-c", "fsync=off")
    with (folder / "log").open("wb") as log:
        words = [*lower, found / "postgres", "-D", folder / "pg", *options]
        process = subprocess.Popen(words, stdout=log, stderr=log)
    wait_until(lambda: accepts(address))
    yield address, process.pid
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    process.wait(60)


async def opened(address: Tcp, password: str = PASSWORD) -> SqlLink:
    end_s = asyncio.get_running_loop().time() + 10
    while True:
        try:
            return await SqlLink.open(address, "postgres", password)
        except ReplyError as error:  # it is still starting
            if not str(error).startswith("57P03") or asyncio.get_running_loop().time() > end_s:
                raise
            await asyncio.sleep(0.02)


async def test_statements_are_answered_by_rows_of_text(server: tuple[Tcp, int]) -> None:
    link = await opened(server[0])
    assert await link.ask((("SELECT 1, NULL, 'ä', true",), ("SELECT 2 WHERE false",))) == ([["1", None, "ä", "t"]], [])
    assert link.alive
    assert await link.ask((("SELECT generate_series(1, 3)",),)) == ([["1"], ["2"], ["3"]],)
    link.close()
    assert not link.alive


async def test_an_error_is_a_value_and_the_connection_goes_on(server: tuple[Tcp, int]) -> None:
    link = await opened(server[0])
    error, rows = await link.ask((("SELECT * FROM nowhere",), ("SELECT 1",)))
    assert isinstance(error, ReplyError)
    assert str(error).startswith("42P01: relation")
    assert rows == [["1"]]
    link.close()


async def test_a_wrong_password_is_refused_in_words(server: tuple[Tcp, int]) -> None:
    (await opened(server[0])).close()
    question = Ask(server[0], (("SELECT 1",),), Protocol.SQL, 2.0, "guess", "postgres")
    (error,) = await ask(question, consoles_in(lambda _: None))  # type: ignore[misc]
    assert str(error).startswith("28P01")


async def test_a_session_that_is_ended_by_the_server_is_not_alive(server: tuple[Tcp, int]) -> None:
    link, other = await opened(server[0]), await opened(server[0])
    (((pid,),),) = await link.ask((("SELECT pg_backend_pid()",),))
    await other.ask(((f"SELECT pg_terminate_backend({pid})",),))
    with pytest.raises(ConnectionError):
        for _ in range(50):
            (answer,) = await link.ask((("SELECT 1",),))
            if isinstance(answer, ReplyError):
                raise ConnectionError(str(answer))
            await asyncio.sleep(0.02)
    other.close()


async def test_a_stopped_server_is_silent_and_a_running_one_answers_again(server: tuple[Tcp, int]) -> None:
    (await opened(server[0])).close()
    question = Ask(server[0], (("SELECT 1",),), Protocol.SQL, 0.3, PASSWORD, "postgres")
    os.kill(server[1], signal.SIGSTOP)
    try:
        assert isinstance(await ask(question, consoles_in(lambda _: None)), Silence)
    finally:
        os.kill(server[1], signal.SIGCONT)
    question = Ask(server[0], (("SELECT 1",),), Protocol.SQL, 5.0, PASSWORD, "postgres")
    assert await ask(question, consoles_in(lambda _: None)) == ([["1"]],)


@pytest.mark.parametrize("says", [b"", b"+PONG\r\n", b"R\x7f\xff\xff\xff", b"R\0\0\0\x08\0\0\0\x05salt", b"Z\0\0"])
async def test_what_is_no_server_is_silence(says: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(says)
        writer.close()

    address = fresh_address()
    async with await asyncio.start_server(answer, address.host, address.port):
        question = Ask(address, (("SELECT 1",),), Protocol.SQL, 1.0, PASSWORD, "postgres")
        assert isinstance(await ask(question, consoles_in(lambda _: None)), Silence)


async def test_nobody_there_is_silence() -> None:
    question = Ask(fresh_address(), (("SELECT 1",),), Protocol.SQL, 1.0, PASSWORD, "postgres")
    assert isinstance(await ask(question, consoles_in(lambda _: None)), Silence)


def test_the_password_is_in_no_words_of_the_server(server: tuple[Tcp, int]) -> None:
    assert PASSWORD.encode() not in Path(f"/proc/{server[1]}/cmdline").read_bytes()
