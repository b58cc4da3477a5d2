"""Talking to real sockets: good answers, bad ones, and none."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from everup.model.desired import Ask, Protocol, ReplyError, Silence, Socket, Tcp
from everup.runtime.talk import RespLink, ask, consoles_in, open_link

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PING = ("PING",)


@contextlib.asynccontextmanager
async def server(conversation: Conversation) -> AsyncIterator[Tcp]:
    """A TCP server on loopback whose connections end with the block."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await conversation(reader, writer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Tcp(*listening.sockets[0].getsockname()[:2])
    finally:
        listening.close()


def says(*pieces: bytes, pause_s: float = 0.0) -> Conversation:
    """Wait for a question, then answer with these pieces and hang up."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return conversation


async def put(to: Tcp, *commands: tuple[str, ...], **more):
    return await ask(Ask(to, commands or (PING,), **more), consoles_in(lambda node: None))


async def test_replies_come_in_the_order_of_the_commands():
    async with server(says(b"+OK\r\n:7\r\n$2\r\nhi\r\n$-1\r\n*2\r\n+a\r\n*1\r\n:1\r\n")) as to:
        assert await put(to, *[PING] * 5) == ("OK", 7, "hi", None, ["a", [1]])


async def test_all_commands_are_sent_at_once():
    heard = bytearray()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(4096))
        writer.write(b"+OK\r\n+OK\r\n")
        await writer.drain()

    async with server(conversation) as to:
        await put(to, ("SET", "k", "ü"), PING)
    assert bytes(heard) == b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\xc3\xbc\r\n*1\r\n$4\r\nPING\r\n"


async def test_an_error_of_the_server_is_a_value():
    async with server(says(b"-LOADING it is loading\r\n+OK\r\n")) as to:
        error, fine = await put(to, PING, PING)
    assert (type(error), str(error), fine) == (ReplyError, "LOADING it is loading", "OK")


async def test_an_answer_in_pieces_is_put_together():
    async with server(says(b"$5\r\nhe", b"llo\r\n", b":1\r\n", pause_s=0.01)) as to:
        assert await put(to, PING, PING) == ("hello", 1)


@pytest.mark.parametrize(
    ("answer", "why"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", "Protocol error"), (b"", "closed"), (b"$5\r\nhe", "closed"), (b"+OK\r\n", "closed")],
    ids=["garbage", "nothing", "half", "too-few"],
)
async def test_what_is_no_answer_is_silence(answer: bytes, why: str):
    async with server(says(answer)) as to:
        reply = await put(to, PING, PING)
    assert isinstance(reply, Silence)
    assert why in reply.because


async def test_a_refused_connection_is_silence():
    async with server(says()) as to:
        pass
    assert isinstance(await put(to), Silence)


async def test_no_answer_is_silence_after_the_time_allowed():
    async with server(lambda reader, writer: asyncio.sleep(5)) as to:
        began_s = time.monotonic()
        assert await put(to, timeout_s=0.05) == Silence("no answer within 0.05 s")
        assert 0.04 < time.monotonic() - began_s < 4.5


async def test_a_password_goes_first():
    heard = bytearray()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heard.extend(await reader.read(4096))
            writer.write(b"-ERR no password is set\r\n" if b"AUTH" in heard and b"PING" not in heard else b"+PONG\r\n")
            await writer.drain()

    async with server(conversation) as to:
        assert await put(to, password="hunter2") == ("PONG",)
    assert heard.index(b"hunter2") < heard.index(b"PING")


async def test_where_the_user_is_unknown_the_spare_password_is_tried():
    heard: list[bytes] = []

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(4096):
            heard.append(said)
            writer.write(b"-WRONGPASS no such user\r\n" if b"everup" in said else b"+OK\r\n")
            await writer.drain()

    async with server(conversation) as to:
        assert await put(to, user="everup", password="ours", spare="theirs") == ("OK",)
        assert [b"everup" in heard[0], b"theirs" in heard[1], b"PING" in heard[2]] == [True] * 3
        heard.clear()
        assert await put(to, user="known", password="ours", spare="theirs") == ("OK",)
        assert not any(b"theirs" in said for said in heard)


async def test_a_kept_link_is_used_again():
    connections = 0

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.read(4096):
            writer.write(b"+PONG\r\n")
            await writer.drain()

    async with server(conversation) as to:
        link = await open_link(Ask(to, ()))
        for _ in range(3):
            assert await ask(Ask(to, (PING,)), lambda node: None, link) == ("PONG",)
        link.close()
    assert connections == 1


async def test_a_link_that_did_not_answer_in_time_is_closed_and_never_mistaken():
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        await asyncio.sleep(0.1)
        writer.write(b"+LATE\r\n")
        await writer.drain()

    async with server(late) as to:
        link = await open_link(Ask(to, ()))
        assert isinstance(await ask(Ask(to, (PING,), timeout_s=0.02), lambda node: None, link), Silence)
        await asyncio.sleep(0.15)
        assert not link.alive
        with pytest.raises(ConnectionError):
            await link.ask((PING,))


async def test_a_link_that_was_cut_says_so():
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)

    async with server(hang_up) as to:
        link = await RespLink.open(to)
        with pytest.raises(ConnectionError):
            await link.ask((PING,))
        assert not link.alive


def test_links_work_on_uvloop_too():
    uvloop = pytest.importorskip("uvloop")

    async def talk() -> object:
        async with server(says(b"+PONG\r\n")) as to:
            return await put(to)

    assert uvloop.run(talk()) == ("PONG",)


# -- HTTP and plain connections


async def get(to: Tcp):
    return await put(to, ("/healthz",), protocol=Protocol.HTTP)


async def test_http_gives_status_and_body():
    async with server(says(b"HTTP/1.1 503 Busy\r\n", b"A: b\r\n\r\nnot", b" yet", pause_s=0.01)) as to:
        assert await get(to) == ((503, "A: b\r\n\r\nnot yet"),)


async def test_http_asks_for_the_path():
    heard = bytearray()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(4096))
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")

    async with server(conversation) as to:
        assert (await get(to))[0][0] == 200
        assert heard.startswith(f"GET /healthz HTTP/1.1\r\nHost: {to}\r\n".encode())
    assert heard.endswith(b"\r\n\r\n")


async def test_http_sends_a_method_with_its_body_and_gives_the_body_of_the_answer():
    heard = bytearray()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.readuntil(b"}"))
        writer.write(b'HTTP/1.0 201 Made\r\nA: b\r\n\r\n{"is": "\xc3\xa9"}')

    async with server(conversation) as to:
        answer = await put(to, ("PATCH", "/config", '{"é": 1}', "Basic abc"), protocol=Protocol.HTTP)
    assert answer == ((201, '{"is": "é"}'),)
    head, _, body = heard.decode().partition("\r\n\r\n")
    assert body == '{"é": 1}'
    assert head.startswith("PATCH /config HTTP/1.0\r\n")
    assert "Content-Length: 9\r\n" in head and head.endswith("Authorization: Basic abc")


async def test_http_answers_every_command():
    async with server(says(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}")) as to:
        answer = await put(to, ("POST", "/a", "{}"), ("/b",), protocol=Protocol.HTTP)
    assert answer == ((200, "{}"), (200, "A: b\r\n\r\n{}"))


@pytest.mark.parametrize("answer", [b"", b"+PONG\r\n", b"HTTP/1.1\r\n", b"HTTP/1.1 soon\r\n", b"x" * 100_000])
async def test_what_is_no_http_is_silence(answer: bytes):
    async with server(says(answer)) as to:
        assert isinstance(await get(to), Silence)


async def test_a_connection_that_succeeds_is_an_answer():
    async with server(says()) as to:
        assert await put(to, protocol=Protocol.CONNECT) == ()
    assert isinstance(await put(to, protocol=Protocol.CONNECT), Silence)


# -- Unix sockets


@contextlib.asynccontextmanager
async def proxy(home: Path, answer: Callable[[str], bytes], pause_s: float = 0.0) -> AsyncIterator[None]:
    """Something that answers one command per connection on `home`/haproxy.sock and then hangs up, as HAProxy does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = answer((await reader.readline()).decode())
        for start in range(0, len(whole), 16_384):
            writer.write(whole[start : start + 16_384])
            await writer.drain()
            await asyncio.sleep(pause_s)
        writer.close()

    home.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(home):
        listening = await asyncio.start_unix_server(serve, "haproxy.sock")
    try:
        yield
    finally:
        listening.close()


async def command(home: Path | None, *commands: str):
    question = Ask(Socket("end", "haproxy.sock"), tuple((one,) for one in commands), Protocol.HAPROXY)
    return await ask(question, consoles_in(lambda node: str(home) if home and node == "end" else None))


async def test_runtime_commands_go_one_by_one(tmp_path: Path):
    async with proxy(tmp_path, lambda line: f"said {line}".encode()):
        assert await command(tmp_path, "show stat", "show info") == ("said show stat\n", "said show info\n")


async def test_a_home_deeper_than_a_socket_address_is_reached(tmp_path: Path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    async with proxy(deep, lambda line: b"fine"):
        assert await command(deep, "show stat") == ("fine",)


async def test_a_long_answer_is_read_to_its_end(tmp_path: Path):
    whole = "".join(f"line {number}\n" for number in range(20_000))
    async with proxy(tmp_path, lambda line: whole.encode(), pause_s=0.001):
        (answer,) = await command(tmp_path, "show servers state")
    assert answer == whole


async def test_a_node_without_a_home_or_a_socket_is_silent(tmp_path: Path):
    assert await command(None, "show stat") == Silence("end has no home")
    assert isinstance(await command(tmp_path, "show stat"), Silence)


@pytest.mark.parametrize("protocol", [Protocol.RESP, Protocol.HTTP, Protocol.CONNECT])
async def test_a_unix_socket_is_no_place_for_another_protocol(protocol: Protocol):
    question = Ask(Socket("end", "haproxy.sock"), (("/",),), protocol)
    assert isinstance(await ask(question, lambda node: "/"), Silence)
