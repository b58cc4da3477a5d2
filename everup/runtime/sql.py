"""A connection to PostgreSQL that asks plain SQL: the wire protocol, version 3, as far as probes and recipes need it.

A driver would do, but costs the control plane 15 MB and a probe ten times the time; this is the whole of what is used.
Source: PostgreSQL's documentation, "Frontend/Backend Protocol" and "SASL Authentication" (RFC 5802, RFC 7677).
"""

import asyncio
import functools
import hashlib
import hmac
import os
import struct
from base64 import b64decode, b64encode
from typing import Any

from everup.model.desired import Command, ReplyError, Tcp

DATABASE = "postgres"
"""The database that every server has; roles and states are those of the whole server."""

_VERSION = 196608
_OK, _SASL, _SASL_CONTINUE, _SASL_FINAL = 0, 10, 11, 12
_MECHANISM = b"SCRAM-SHA-256"
_MOST_BYTES = 1 << 20


class SqlLink:
    """One connection, logged in. `ask` sends statements one by one; any trouble but a server's own error closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, to: Tcp, user: str, password: str) -> "SqlLink":
        """Connect to `to` and log in, with a SCRAM password where one is asked for.

        Raises:
            OSError: nobody listens there, or the connection is lost.
            ReplyError: the server refused, in its own words (`57P03: the database system is starting up`).
            ValueError: it is no PostgreSQL, or wants a way of logging in that is not known here.
        """
        link = cls(*await asyncio.open_connection(to.host, to.port))
        try:
            await link._log_in(user, password)
        except BaseException:
            link.close()
            raise
        return link

    @property
    def alive(self) -> bool:
        """It can be asked again."""
        return not (self._writer.is_closing() or self._reader.at_eof())

    async def ask(self, commands: tuple[Command, ...]) -> tuple[Any, ...]:
        """Send each statement (one word each) and wait for its rows.

        Returns one entry per statement: a list of rows, each a list of `str` or None; or a `ReplyError`.

        Raises:
            ConnectionError: the connection ended first.
        """
        try:
            return tuple([await self._query(" ".join(words)) for words in commands])
        except asyncio.IncompleteReadError as error:
            self.close()
            raise ConnectionError("the connection was closed") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Say goodbye, and end the connection at once."""
        if not self._writer.is_closing():
            self._writer.write(_message(b"X", b""))
        self._writer.close()

    async def _query(self, statement: str) -> list[list[str | None]] | ReplyError:
        self._writer.write(_message(b"Q", statement.encode() + b"\0"))
        rows: list[list[str | None]] = []
        error: ReplyError | None = None
        while True:
            kind, body = await self._read()
            if kind == b"D":
                rows.append(_row(body))
            elif kind == b"E":
                error = _error(body)
                if error.args[0].startswith("57P"):  # the server is ending this session: no word of readiness follows
                    self.close()
                    return error
            elif kind == b"Z":
                return error or rows

    async def _log_in(self, user: str, password: str) -> None:
        words = {"user": user, "database": DATABASE, "application_name": "everup"}
        body = b"".join(f"{name}\0{value}\0".encode() for name, value in words.items()) + b"\0"
        self._writer.write(struct.pack("!ii", len(body) + 8, _VERSION) + body)
        scram = _Scram(password)
        while True:
            kind, body = await self._read()
            if kind == b"E":
                raise _error(body)
            if kind == b"R":
                self._answer(scram, body)
            elif kind == b"Z":
                return

    def _answer(self, scram: "_Scram", body: bytes) -> None:
        (step,) = struct.unpack_from("!i", body)
        if step == _SASL and _MECHANISM in body[4:].split(b"\0"):
            first = scram.first()
            self._writer.write(_message(b"p", _MECHANISM + b"\0" + struct.pack("!i", len(first)) + first))
        elif step == _SASL_CONTINUE:
            self._writer.write(_message(b"p", scram.final(body[4:])))
        elif step == _SASL_FINAL:
            scram.verify(body[4:])
        elif step != _OK:
            raise ValueError(f"the server asks for a password in a way that is not known here ({step})")

    async def _read(self) -> tuple[bytes, bytes]:
        kind, size = struct.unpack("!ci", await self._reader.readexactly(5))
        if not 4 <= size <= _MOST_BYTES:
            raise ValueError("not a PostgreSQL server")
        return kind, await self._reader.readexactly(size - 4)


class _Scram:
    """One exchange of SCRAM-SHA-256 without channel binding."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._nonce = b64encode(os.urandom(18))
        self._signature = b""

    def first(self) -> bytes:
        """What the client says first."""
        return b"n,,n=,r=" + self._nonce

    def final(self, challenge: bytes) -> bytes:
        """The proof of knowing the password, for the server's challenge."""
        words = dict(word.split(b"=", 1) for word in challenge.split(b","))
        if not words[b"r"].startswith(self._nonce):
            raise ValueError("the server answers somebody else")
        salted = _salted(self._password, b64decode(words[b"s"]), int(words[b"i"]))
        key, server_key = (hmac.digest(salted, word, "sha256") for word in (b"Client Key", b"Server Key"))
        bare = b"c=biws,r=" + words[b"r"]
        said = b",".join((b"n=,r=" + self._nonce, challenge, bare))
        proof = hmac.digest(hashlib.sha256(key).digest(), said, "sha256")
        self._signature = hmac.digest(server_key, said, "sha256")
        return bare + b",p=" + b64encode(bytes(one ^ other for one, other in zip(key, proof, strict=True)))

    def verify(self, answer: bytes) -> None:
        """See that the server knows the password as well."""
        if not hmac.compare_digest(answer, b"v=" + b64encode(self._signature)):
            raise ValueError("the server does not know the password")


@functools.lru_cache(maxsize=64)
def _salted(password: str, salt: bytes, rounds: int) -> bytes:
    """The slow part (milliseconds), and the same at every log-in until the password changes."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _row(body: bytes) -> list[str | None]:
    (count,) = struct.unpack_from("!h", body)
    row: list[str | None] = []
    at = 2
    for _ in range(count):
        (size,) = struct.unpack_from("!i", body, at)
        at += 4
        row.append(None if size < 0 else body[at : at + size].decode("utf-8", "replace"))
        at += max(size, 0)
    return row


def _error(body: bytes) -> ReplyError:
    """An error response as `"<code>: <message>"`."""
    fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
    return ReplyError(f"{fields.get(b'C', '')}: {fields.get(b'M', '')}")
