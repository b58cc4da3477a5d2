"""Talking to nodes: RESP and SQL on kept or fresh connections, HAProxy's runtime socket, HTTP and plain connects.

Raw protocols, because a probe must be cheap (apps.md section 4: 42 us kept alive, against 2,600 us for an HTTP client).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import hiredis

from everup.consoles import MAX_ANSWER_BYTES, read_all
from everup.consoles import ask as ask_console
from everup.model.desired import Ask, Command, Protocol, ReplyError, Silence, Socket, Tcp
from everup.runtime.sql import SqlLink

Homes = Callable[[str], str | None]
"""Where a node's home directory is, by node id."""

Console = Callable[[Socket, tuple[str, ...]], Awaitable[tuple[str, ...]]]
"""Puts commands to a Unix socket of a node, one after the other; what came back. An `OSError` when nobody answers."""

Reply = tuple[Any, ...] | Silence

KEPT = (Protocol.RESP, Protocol.SQL)
"""Protocols whose connections may be kept and asked again."""


class RespLink(asyncio.Protocol):
    """One RESP connection: sends commands in order and collects as many replies.

    Any trouble (a cut, garbage, a timeout) closes it; a closed link answers `ConnectionError`.
    """

    def __init__(self) -> None:
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace", replyError=ReplyError)
        self._transport: asyncio.Transport | None = None
        self._replies: list[Any] = []
        self._wanted = 0
        self._done: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, to: Tcp) -> "RespLink":
        """Connect to `to`.

        Raises:
            OSError: nobody listens there.
        """
        _, link = await asyncio.get_running_loop().create_connection(cls, to.host, to.port)
        return link

    @property
    def alive(self) -> bool:
        """It can be asked again."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, commands: tuple[Command, ...]) -> tuple[Any, ...]:
        """Send `commands` and wait for one reply each; server errors come back as `ReplyError` values.

        Raises:
            ConnectionError: the connection ended first.
        """
        if self._transport is None or not self.alive:
            raise ConnectionError("the connection is closed")
        self._replies, self._wanted = [], len(commands)
        self._done = asyncio.get_running_loop().create_future()
        words: list[Any] = list(commands)  # hiredis types know one-word commands only
        self._transport.write(b"".join(hiredis.pack_command(command) for command in words))
        try:
            await self._done
        except BaseException:
            self.close()
            raise
        return tuple(self._replies)

    def close(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class

    def data_received(self, data: bytes) -> None:
        """Collect replies; called by asyncio."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._replies.append(reply)
        except hiredis.ProtocolError as error:
            self.connection_lost(error)
            self.close()
            return
        if self._done and not self._done.done() and len(self._replies) >= self._wanted:
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits; called by asyncio."""
        if self._done and not self._done.done():
            self._done.set_exception(ConnectionError(str(exc) if exc else "the connection was closed"))


Link = RespLink | SqlLink


async def ask(question: Ask, console: Console, link: Link | None = None) -> Reply:
    """Put `question` to its address; `link` is a kept connection to use, if it is still alive.

    Returns the replies, or `Silence` when it was refused, cut off, or took longer than `question.timeout_s`.
    """
    try:
        async with asyncio.timeout(question.timeout_s):
            return await _put(question, console, link)
    except ReplyError as error:
        return (error,)
    except TimeoutError:
        return Silence(f"no answer within {question.timeout_s:g} s")
    except (OSError, ValueError, EOFError, asyncio.IncompleteReadError) as error:
        return Silence(str(error) or type(error).__name__, isinstance(error, ConnectionRefusedError))


async def ask_again(question: Ask, console: Console, link: Link | None) -> tuple[Link | None, Reply]:
    """The same on the connection kept from last time, opened anew where it broke; returns it with the reply."""
    if question.protocol in KEPT and (link is None or not link.alive):
        try:
            async with asyncio.timeout(question.timeout_s):
                link = await open_link(question)
        except ReplyError as error:  # refused in so many words: an answer, not silence
            return None, (error,)
        except (OSError, TimeoutError, ValueError, EOFError) as error:
            return None, Silence(str(error) or "no answer", isinstance(error, ConnectionRefusedError))
    return link, await ask(question, console, link)


async def _put(question: Ask, console: Console, link: Link | None) -> tuple[Any, ...]:
    if question.protocol in KEPT:
        return await _put_kept(question, link)
    if question.protocol == Protocol.HAPROXY:
        if not isinstance(question.to, Socket):
            raise ValueError("HAProxy's runtime socket is a Unix socket")
        return await console(question.to, tuple(" ".join(command) for command in question.commands))
    if not isinstance(question.to, Tcp):
        raise ValueError(f"{question.protocol} needs a TCP address")
    if question.protocol == Protocol.HTTP:
        return tuple([await _exchange(question.to, command) for command in question.commands])
    await _knock(question.to, question.commands)
    return ()


async def _knock(to: Tcp, commands: tuple[Command, ...]) -> None:
    """Connect and say `commands`: the kernel connects for a stopped process too; a live one answers, or hangs up."""
    reader, writer = await asyncio.open_connection(to.host, to.port)
    try:
        if commands:
            writer.write(b"".join(" ".join(command).encode() + b"\r\n" for command in commands))
            with suppress(ConnectionError):
                await reader.read(1)
    finally:
        writer.close()


async def _put_kept(question: Ask, link: Link | None) -> tuple[Any, ...]:
    if link is not None and link.alive:
        return await link.ask(question.commands)
    fresh = await open_link(question)
    try:
        return await fresh.ask(question.commands)
    finally:
        fresh.close()


async def open_link(question: Ask) -> Link:
    """Connect for questions like this one, and log in; a Redis that wants no password is taken as it is.

    Raises:
        OSError: nobody listens there.
        ReplyError: a PostgreSQL refused.
        ValueError: it is not what it should be.
    """
    if not isinstance(question.to, Tcp):
        raise ValueError(f"{question.protocol} needs a TCP address")
    if question.protocol == Protocol.SQL:
        return await SqlLink.open(question.to, question.user, question.password)
    link = await RespLink.open(question.to)
    if question.password:
        words = (question.user, question.password) if question.user else (question.password,)
        (reply,) = await link.ask((("AUTH", *words),))
        if isinstance(reply, ReplyError) and question.spare:
            await link.ask((("AUTH", question.spare),))
    return link


def consoles_in(homes: Homes) -> Console:
    """How commands are put to nodes whose homes are on this machine."""

    async def console(to: Socket, commands: tuple[str, ...]) -> tuple[str, ...]:
        home = homes(to.node)
        if home is None:
            raise ConnectionError(f"{to.node} has no home")
        return tuple([await ask_console(Path(home), to.name, command) for command in commands])

    return console


async def _exchange(to: Tcp, command: Command) -> tuple[int, str]:
    """One HTTP request on a connection of its own; see `Ask` for the words of `command` and what comes back."""
    if len(command) == 1:
        wants = f"GET {command[0]} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: everup\r\nConnection: close\r\n\r\n"
        return await _request(to, wants.encode(), 1 << 16)
    method, path, body, *authorization = command
    lines = [
        f"{method} {path} HTTP/1.0",  # 1.0, so that the answer comes in one piece and ends with the connection
        f"Host: {to}",
        "User-Agent: everup",
        "Content-Type: application/json",
        f"Content-Length: {len(body.encode())}",
        *(f"Authorization: {word}" for word in authorization),
    ]
    text = "\r\n".join(lines) + "\r\n\r\n" + body
    status, answer = await _request(to, text.encode(), MAX_ANSWER_BYTES)
    return status, answer.partition("\r\n\r\n")[2]


async def _request(to: Tcp, request: bytes, limit_bytes: int) -> tuple[int, str]:
    """Send `request`; (status, the start of the answer after the status line)."""
    reader, writer = await asyncio.open_connection(to.host, to.port)
    try:
        writer.write(request)
        line = (await reader.readline()).decode("latin-1").split(" ", 2)
        if len(line) < 2 or not line[0].startswith("HTTP/") or not line[1].isdigit():
            raise ValueError("not an HTTP answer")
        body = b""
        with suppress(ConnectionError):
            body = await read_all(reader, limit_bytes)
        return int(line[1]), body.decode("utf-8", "replace")
    finally:
        writer.close()
