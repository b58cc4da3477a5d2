"""A small shell for Redis, where no redis-cli is installed: commands in, replies out."""

import contextlib
import shlex
import socket
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import hiredis

from everup.model.errors import EverupError

TIMEOUT_S = 10.0


def converse(url: str) -> int:
    """Read commands until the input ends or says `quit`; returns the exit code: 1 when a command failed unattended.

    Raises:
        EverupError: nobody answers at `url`, or the connection is lost.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 6379
    failed = False
    with contextlib.closing(_Connection(host, port)) as connection:
        if parts.password:
            connection.ask(["AUTH", unquote(parts.password)])
        for words in _commands(f"{host}:{port}> "):
            try:
                reply = connection.ask(words)
            except hiredis.ReplyError as error:
                reply = error
            failed |= isinstance(reply, hiredis.ReplyError)
            print("\n".join(_lines(reply)), flush=True)
    return 1 if failed and not sys.stdin.isatty() else 0


def _commands(prompt: str) -> Iterator[list[str]]:
    attended = sys.stdin.isatty()
    if attended:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - importing it gives input() its editing and history
    while True:
        try:
            line = input(prompt if attended else "")
        except EOFError:
            return
        try:
            words = shlex.split(line)
        except ValueError as error:
            print(f"(not sent) {error}", flush=True)
            continue
        if words and words[0].lower() in ("quit", "exit"):
            return
        if words:
            yield words


class _Connection:
    """One connection to a Redis server."""

    def __init__(self, host: str, port: int) -> None:
        self._where = f"{host}:{port}"
        self._reader = hiredis.Reader(encoding="utf-8", errors="backslashreplace")
        try:
            self._socket = socket.create_connection((host, port), timeout=TIMEOUT_S)
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from error

    def ask(self, words: list[str]) -> Any:
        """Send one command and wait for its reply; an error of the server is returned as a value."""
        try:
            command: tuple[Any, ...] = tuple(words)
            self._socket.sendall(hiredis.pack_command(command))
            while (reply := self._reader.gets()) is False:
                received = self._socket.recv(65536)
                if not received:
                    raise self._lost("the server closed the connection")
                self._reader.feed(received)
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from error
        return reply

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _lost(self, because: str) -> EverupError:
        return EverupError(f"{self._where}: {because}", "everup status says how the service is.", code="shell.lost")


def _lines(reply: Any) -> list[str]:
    """A reply as redis-cli would print it."""
    if isinstance(reply, hiredis.ReplyError):
        return [f"(error) {reply}"]
    if reply is None:
        return ["(nil)"]
    if isinstance(reply, int):
        return [f"(integer) {reply}"]
    if isinstance(reply, dict):
        reply = [part for pair in reply.items() for part in pair]
    if isinstance(reply, list):
        if not reply:
            return ["(empty array)"]
        lines = []
        for number, part in enumerate(reply, 1):
            head = f"{number}) "
            first, *rest = _lines(part)
            lines += [head + first, *(" " * len(head) + line for line in rest)]
        return lines
    return str(reply).splitlines() or ['""']
