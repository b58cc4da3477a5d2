"""A front before one Sentinel: passes every byte through, and answers QUIT, which Sentinel >= 7 refuses.

Older clients (npm `redis-sentinel`) send QUIT to a Sentinel and crash on the error that it now gets. Run it as

    python -IS sentinel_front.py LISTEN_HOST:PORT SENTINEL_HOST:PORT

It stands alone: one file, standard library only, no control plane needed. One thread waits on all sockets, so no client
can stall another; each direction of each client holds at most `HIGH_BYTES`, then its source is no longer read.

The client's stream is read as far as needed to find the first word of each command. On QUIT the Sentinel's side is
half-closed: it answers what it was sent before, ends the connection, and `+OK` follows its last byte.
"""

import contextlib
import resource
import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence

HIGH_BYTES = 64 * 1024
CHUNK_BYTES = 16 * 1024
COMMAND_BYTES = 2 * 1024  # read from a client at a time: looking through them takes a while, and others wait
MAX_CLIENTS = 10_000  # as Redis
CONNECT_S = 3.0
QUIT_S = 1.0  # for the Sentinel to answer what came before QUIT, and for the client to take its `+OK` and go

MAX_HEADER_BYTES = 32
MAX_WORD_BYTES = 64

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Incomplete(Exception):
    """More must come before it can be told what this is."""


class Commands:
    """Finds QUIT in a stream of RESP commands; holds back only the start of a command that it can't tell yet.

    Where the stream makes no sense it stops looking, for ever: the Sentinel will object to it.
    """

    __slots__ = ("_held", "_in_line", "_lost", "_skip", "_words_left", "quit")

    def __init__(self) -> None:
        self.quit = False
        self._held = bytearray()
        self._words_left = 0  # of an array whose first word is not QUIT
        self._skip = 0  # bytes of the current word that are still to come, with its line end
        self._in_line = False  # inside an inline command that is not QUIT
        self._lost = False

    def feed(self, chunk: bytes) -> bytes:
        """Take what came; returns what may go on to the Sentinel now. After QUIT nothing more is taken."""
        if self.quit:
            return b""
        self._held += chunk
        at = 0
        try:
            while at < len(self._held) and not self._lost:
                at = self._next(at)
        except Incomplete:
            pass
        except ValueError:
            self._lost = True
        if self._lost:
            at = len(self._held)
        passed = bytes(self._held[:at])
        del self._held[: len(self._held) if self.quit else at]
        return passed

    def rest(self) -> bytes:
        """What is still held back when the client says no more."""
        return bytes(self._held)

    def _next(self, at: int) -> int:
        """Where the part that starts at `at` ends."""
        if self._skip:
            step = min(self._skip, len(self._held) - at)
            self._skip -= step
            return at + step
        if self._words_left:
            size, at = self._number(at, b"$")
            if size < 0:
                raise ValueError("no such size")
            self._words_left -= 1
            self._skip = max(0, at + size + 2 - len(self._held))
            return at + size + 2 - self._skip
        return self._array(at) if self._held[at] == 0x2A and not self._in_line else self._line(at)

    def _number(self, at: int, mark: bytes) -> tuple[int, int]:
        """The number behind `mark`, and where its line ends."""
        end = self._held.find(b"\r\n", at, at + MAX_HEADER_BYTES)
        if end < 0 and len(self._held) - at < MAX_HEADER_BYTES and self._held[at : at + 1] in (mark, b""):
            raise Incomplete
        if end < 0 or self._held[at : at + 1] != mark or not self._held[at + 1 : end].removeprefix(b"-").isdigit():
            raise ValueError("not a number")
        return int(self._held[at + 1 : end]), end + 2

    def _array(self, at: int) -> int:
        """An array starts: is its first word QUIT?"""
        count, after = self._number(at, b"*")
        if count > 0:
            size, word = self._number(after, b"$")
            if size == 4 and len(self._held) < word + 4:
                raise Incomplete
            if size == 4 and self._held[word : word + 4].lower() == b"quit":
                self.quit = True
                raise Incomplete
            self._words_left = count
        return after

    def _line(self, at: int) -> int:
        """An inline command starts or goes on: is its first word QUIT?"""
        end = self._held.find(b"\n", at) + 1
        if not self._in_line:
            if not end and len(self._held) - at <= MAX_WORD_BYTES:
                raise Incomplete
            words = self._held[at : end or at + MAX_WORD_BYTES].split(None, 1)
            if words and words[0].strip(b"\"'").lower() == b"quit":
                self.quit = True
                raise Incomplete
        self._in_line = not end
        return end or len(self._held)


class Way:
    """One direction: bytes on their way from one socket to the other, and whether their source has ended.

    `OSError` from it means that a side is gone.
    """

    __slots__ = ("ended", "shut", "sink", "source", "waiting")

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.waiting = bytearray()
        self.ended = False  # nothing more comes from the source
        self.shut = False  # and the sink was told so

    def pull(self, limit: int) -> bytes | None:
        """What the source says now, at most `limit` bytes; b"" at its end, None when it says nothing."""
        try:
            return self.source.recv(limit)
        except (BlockingIOError, InterruptedError):
            return None

    def push(self) -> None:
        """Give the sink what it takes now, and the end once all is gone."""
        if self.waiting:
            try:
                del self.waiting[: self.sink.send(self.waiting)]
            except (BlockingIOError, InterruptedError):
                return
        if self.ended and not self.waiting and not self.shut:
            self.shut = True
            self.sink.shutdown(socket.SHUT_WR)

    def drop(self) -> None:
        """The sink is gone: whatever was meant for it is not needed."""
        self.waiting.clear()
        self.ended = self.shut = True


class Session:
    """One client and its connection to the Sentinel; over once it is `closed`, or raises `OSError`."""

    __slots__ = ("client", "closed", "commands", "connected", "deadline_s", "down", "quitting", "up", "upstream")

    def __init__(self, client: socket.socket, upstream: socket.socket) -> None:
        self.client, self.upstream = client, upstream
        self.up, self.down = Way(client, upstream), Way(upstream, client)
        self.commands = Commands()
        self.connected = False
        self.quitting = False  # QUIT was seen, and `+OK` is still due
        self.closed = False
        self.deadline_s: float | None = time.monotonic() + CONNECT_S

    def wants(self) -> tuple[int, int]:
        """Which events to wait for: at the client's socket, at the Sentinel's."""
        client = WRITE if self.down.waiting else 0
        if self.down.shut or (not self.up.ended and len(self.up.waiting) < HIGH_BYTES):
            client |= READ
        if not self.connected:
            return client, WRITE
        upstream = WRITE if self.up.waiting else 0
        if not self.down.ended and len(self.down.waiting) < HIGH_BYTES:
            upstream |= READ
        return client, upstream

    def on_client(self, events: int) -> None:
        """The client can be read or written."""
        if events & READ:
            chunk = self.up.pull(COMMAND_BYTES)
            if self.down.shut:
                self.closed = chunk == b""
            elif chunk is not None and not self.up.ended:
                self._take(chunk)
        self._flow()

    def on_upstream(self, events: int) -> None:
        """The Sentinel can be read or written."""
        if not self.connected:
            if error := self.upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, "the Sentinel refused")
            self.connected = True
            self.deadline_s = None
        elif events & READ and not self.down.ended:
            try:
                chunk = self.down.pull(CHUNK_BYTES)
            except OSError:
                chunk = b""
            self.down.waiting += chunk or b""
            self.down.ended = chunk == b""
        self._flow()

    def on_deadline(self) -> None:
        """Nothing moved for too long."""
        if self.connected and self.quitting and not self.down.waiting:
            self.down.ended = True
            self._flow()
        else:
            self.closed = True

    def close(self) -> None:
        """End both connections at once."""
        self.closed = True
        self.client.close()
        self.upstream.close()

    def _take(self, chunk: bytes) -> None:
        self.up.waiting += self.commands.feed(chunk) if chunk else self.commands.rest()
        self.quitting = self.commands.quit
        self.up.ended = not chunk or self.quitting

    def _flow(self) -> None:
        if self.connected:
            try:
                self.up.push()
            except OSError:
                self.up.drop()
        if self.quitting and self.down.ended:
            self.quitting = False
            self.down.waiting += b"+OK\r\n"
        lingering = self.down.shut
        self.down.push()
        if self.connected and not lingering and (self.quitting or self.down.ended):
            self.deadline_s = time.monotonic() + QUIT_S


class Front:
    """Accepts clients, and moves bytes between them and the Sentinel until the process is ended."""

    def __init__(self, listener: socket.socket, sentinel: tuple[str, int]) -> None:
        self._listener, self._sentinel = listener, sentinel
        self._selector = selectors.DefaultSelector()
        self._sessions: set[Session] = set()
        self._accepting = False

    def run(self) -> None:
        """Serve, for ever."""
        while True:
            self._listen()
            timed = [session for session in self._sessions if session.deadline_s is not None]
            for key, events in self._selector.select(0.1 if timed or not self._accepting else None):
                if key.data is None:
                    self._accept()
                else:
                    session, act = key.data
                    self._move(session, act, events)
            now_s = time.monotonic()
            for session in timed:
                if session.deadline_s is not None and session.deadline_s < now_s:
                    self._move(session, session.on_deadline)

    def _listen(self) -> None:
        """Take clients, unless there are too many or descriptors have run out; then try again a little later."""
        if not self._accepting and len(self._sessions) < MAX_CLIENTS:
            self._selector.register(self._listener, READ)
            self._accepting = True

    def _pause(self) -> None:
        self._selector.unregister(self._listener)
        self._accepting = False

    def _accept(self) -> None:
        for _ in range(64):
            if len(self._sessions) >= MAX_CLIENTS:
                self._pause()
                return
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError:
                self._pause()
                return
            self._open(client)

    def _open(self, client: socket.socket) -> None:
        try:
            upstream = socket.socket(family(self._sentinel[0]))
        except OSError:
            client.close()
            return
        session = Session(client, upstream)
        self._sessions.add(session)
        self._move(session, self._connect, session)

    def _connect(self, session: Session) -> None:
        for link in (session.client, session.upstream):
            prepare(link)
        with contextlib.suppress(BlockingIOError, InterruptedError):
            session.upstream.connect(self._sentinel)

    def _move(self, session: Session, act: Callable[..., None], *arguments: object) -> None:
        """Let a session act, then wait for what it wants next; a session in trouble ends, and no other notices."""
        if session.closed:
            return
        try:
            act(*arguments)
        except OSError:
            session.closed = True
        client, upstream = (0, 0) if session.closed else session.wants()
        self._wait_for(session.client, client, (session, session.on_client))
        self._wait_for(session.upstream, upstream, (session, session.on_upstream))
        if session.closed:
            session.close()
            self._sessions.discard(session)

    def _wait_for(self, link: socket.socket, events: int, act: tuple[Session, Callable[[int], None]]) -> None:
        known = self._selector.get_map().get(link)
        if known is None and events:
            self._selector.register(link, events, act)
        elif known is not None and not events:
            self._selector.unregister(link)
        elif known is not None and known.events != events:
            self._selector.modify(link, events, act)


def family(host: str) -> int:
    """The address family of a numeric host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def prepare(link: socket.socket) -> None:
    """Never wait on it, send small messages at once, and find out when the other side is gone."""
    link.setblocking(False)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def address(text: str) -> tuple[str, int]:
    """Split `host:port`; the host is numeric, an IPv6 one in brackets.

    Raises:
        ValueError: it is no such text.
    """
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def listen(at: tuple[str, int]) -> socket.socket:
    """A socket that takes clients.

    Raises:
        OSError: somebody else listens there.
    """
    listener = socket.socket(family(at[0]))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(at)
    listener.listen(512)
    listener.setblocking(False)
    return listener


def main(arguments: Sequence[str]) -> str:
    """Serve until ended from outside; returns what kept it from starting."""
    try:
        own, sentinel = (address(text) for text in arguments)
    except ValueError:
        return "usage: sentinel_front.py LISTEN_HOST:PORT SENTINEL_HOST:PORT"
    try:
        listener = listen(own)
    except OSError as error:
        return f"cannot listen at {arguments[0]}: {error}"
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS refuses "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two for each client; the usual 1,024 are too few
    Front(listener, sentinel).run()
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
