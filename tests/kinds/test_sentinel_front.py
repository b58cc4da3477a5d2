"""The front before a Sentinel: finding QUIT in a stream, and the real thing before a real Sentinel."""

import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.model.desired import Tcp
from everup.programs import sentinel_front
from everup.programs.sentinel_front import Commands
from tests.kinds.real import VALKEY, Processes, accepts, fresh_address, wait_until


def array(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


QUITS = [
    array(b"QUIT"),
    array(b"quit"),
    array(b"QuIt", b"now"),
    b"QUIT\r\n",
    b"quit\n",
    b"  Quit now\r\n",
    b'"QUIT"\r\n',
]
UNFINISHED = [b"*1\r\n$4\r\nQUI", b"*1\r\n$4", b"*", b"*1\r\n", b"QUI", b"quit", b"  Quit n"]
OTHERS = [
    array(b"PING"),
    array(b"SENTINEL", b"masters"),
    array(b"ECHO", b"*1\r\n$4\r\nQUIT\r\n"),
    array(b"ECHO", b"QUIT"),
    array(b""),
    array(b"quix"),
    b"PING\r\n",
    b"\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"ECHO QUIT\r\n",
    b"QUITE\r\n",
    b"x" * 500 + b" QUIT\r\n",
]
GARBAGE = [
    b"*x\r\n",
    b"*1\r\n:4\r\n",
    b"*1\r\n$-1\r\n",
    b"*" + b"9" * 40,
    b"*1\r\n$4x\r\n",
    b"*2\r\n$3\r\nGET\r\nQUIT\r\n",
]

others = st.lists(st.sampled_from(OTHERS), max_size=6).map(b"".join)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@given(others, st.sampled_from(QUITS), st.binary(), st.lists(st.integers(0, 10_000)))
def test_what_came_before_quit_passes_and_quit_and_the_rest_do_not(
    before: bytes, quit_command: bytes, after: bytes, places: list[int]
):
    commands = Commands()
    passed = b"".join(commands.feed(chunk) for chunk in cut(before + quit_command + after, places))
    assert (passed, commands.quit, commands.rest()) == (before, True, b"")


@given(others, st.sampled_from([b"", *GARBAGE, *UNFINISHED]), st.lists(st.integers(0, 10_000)))
def test_all_else_passes_whole_however_it_is_cut(before: bytes, end: bytes, places: list[int]):
    commands = Commands()
    passed = b"".join(commands.feed(chunk) for chunk in cut(before + end, places))
    assert passed + commands.rest() == before + end
    assert not commands.quit


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_garbage_passes_and_little_of_it_is_held_back(chunks: list[bytes]):
    commands = Commands()
    for chunk in chunks:
        commands.feed(chunk)
        assert len(commands.rest()) <= 100


@pytest.mark.parametrize("bad", GARBAGE)
def test_behind_garbage_quit_is_not_looked_for(bad: bytes):
    commands = Commands()
    assert commands.feed(bad + array(b"QUIT")) == bad + array(b"QUIT")
    assert not commands.quit


def test_a_huge_word_is_passed_on_as_it_comes():
    commands = Commands()
    assert commands.feed(b"*1\r\n$536870912\r\n") == b"*1\r\n$536870912\r\n"
    for _ in range(100):
        assert commands.feed(b"QUIT" * 4096) == b"QUIT" * 4096
    assert commands.rest() == b""


def connect(to: Tcp) -> socket.socket:
    link = socket.create_connection((to.host, to.port), timeout=10)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def everything(link: socket.socket) -> bytes:
    """All that comes until the other side ends the connection in order; a cut raises."""
    return b"".join(iter(lambda: link.recv(65536), b""))


def some(link: socket.socket, count: int) -> bytes:
    said = b""
    while len(said) < count and (chunk := link.recv(count - len(said))):
        said += chunk
    return said


def start_front(world: Processes, sentinel: Tcp, name: str = "front") -> Tcp:
    listen = fresh_address(26379)
    world.spawn(name, [sys.executable, "-IS", sentinel_front.__file__, str(listen), str(sentinel)])
    wait_until(lambda: accepts(listen))
    return listen


def start_sentinel(world: Processes, password: str = "") -> Tcp:
    """A Sentinel that watches a primary, with what may change from one answer to the next taken out of its way."""
    primary, sentinel = fresh_address(6379), fresh_address(26380)
    world.redis("primary", primary)
    home = world.folder / "sentinel"
    home.mkdir()
    lines = [f"bind {sentinel.host}", f"port {sentinel.port}", "protected-mode no"]
    lines += [f"sentinel monitor redis01 {primary.host} {primary.port} 1"]
    lines += [f"requirepass {password}"] if password else []
    (home / "sentinel.conf").write_text("\n".join(lines) + "\n")
    world.spawn("sentinel", [VALKEY, "sentinel.conf", "--sentinel"])
    wait_until(lambda: accepts(sentinel))
    return sentinel


@pytest.fixture
def sentinel(world: Processes) -> Tcp:
    return start_sentinel(world)


@pytest.fixture
def front(world: Processes, sentinel: Tcp) -> Tcp:
    return start_front(world, sentinel)


faults = pytest.mark.faults
"""What follows starts real processes."""

CONVERSATION = [
    array(b"PING"),
    array(b"SENTINEL", b"get-master-addr-by-name", b"redis01"),
    array(b"SENTINEL", b"get-master-addr-by-name", b"nobody"),
    array(b"NOSUCH", b"x" * 3000),
    b"PING\r\n",
    array(b"SUBSCRIBE", b"a", b"b"),
    array(b"UNSUBSCRIBE", b"a", b"b"),
    array(b"HELLO", b"3"),
    array(b"ROLE"),
    b"*1\r\n$x\r\n",
]


def converse(to: Tcp, pieces: list[bytes]) -> bytes:
    with connect(to) as link:
        for piece in pieces:
            link.sendall(piece)
            time.sleep(0.001)
        link.shutdown(socket.SHUT_WR)
        return re.sub(rb":\d+\r\n", b":N\r\n", everything(link))  # the number of the connection


@faults
@pytest.mark.parametrize("cut_every", [10_000, 1000, 7])
def test_a_conversation_without_quit_is_as_with_the_sentinel_itself(sentinel: Tcp, front: Tcp, cut_every: int):
    stream = b"".join(CONVERSATION)
    pieces = [stream[at : at + cut_every] for at in range(0, len(stream), cut_every)]
    direct = converse(sentinel, pieces)
    assert b"PONG" in direct and b"Protocol error" in direct
    assert converse(front, pieces) == direct


@faults
def test_the_sentinel_itself_refuses_quit(sentinel: Tcp):
    assert converse(sentinel, [array(b"QUIT")]).startswith(b"-ERR unknown command")


@faults
@pytest.mark.parametrize("quit_command", QUITS)
def test_quit_is_answered_after_all_that_was_asked_before(front: Tcp, quit_command: bytes):
    with connect(front) as link:
        link.sendall(array(b"PING") * 2000 + quit_command + array(b"PING"))
        assert everything(link) == b"+PONG\r\n" * 2000 + b"+OK\r\n"


@faults
def test_quit_that_comes_byte_by_byte_is_answered(front: Tcp):
    with connect(front) as link:
        for byte in array(b"PING") + array(b"QUIT"):
            link.sendall(bytes([byte]))
        assert everything(link) == b"+PONG\r\n+OK\r\n"


@faults
def test_quit_is_answered_to_a_client_that_has_not_given_the_password(world: Processes):
    front = start_front(world, start_sentinel(world, password="secret"))
    with connect(front) as link:
        link.sendall(array(b"PING") + array(b"QUIT"))
        assert everything(link) == b"-NOAUTH Authentication required.\r\n+OK\r\n"


@faults
def test_quit_during_a_subscription_is_answered(front: Tcp):
    with connect(front) as link:
        link.sendall(array(b"SUBSCRIBE", b"news") + array(b"QUIT"))
        assert everything(link) == b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n+OK\r\n"


@faults
def test_messages_arrive_as_they_are_published(front: Tcp, sentinel: Tcp):
    with connect(front) as listener, connect(sentinel) as speaker:
        listener.sendall(array(b"PSUBSCRIBE", b"*"))
        assert b"psubscribe" in listener.recv(4096)
        speaker.sendall(array(b"SENTINEL", b"SET", b"redis01", b"quorum", b"2"))
        assert b"+set" in listener.recv(4096)


@faults
def test_where_the_sentinel_is_gone_a_client_is_sent_away_at_once(world: Processes, front: Tcp):
    with connect(front) as before:
        before.sendall(array(b"PING"))
        assert some(before, 7) == b"+PONG\r\n"
        world.kill("sentinel")
        assert everything(before) == b""
    began_s = time.monotonic()
    with connect(front) as after, contextlib.suppress(ConnectionResetError):
        assert everything(after) == b""
    assert time.monotonic() - began_s < 3.0


@faults
def test_quit_is_answered_though_the_sentinel_hangs(world: Processes, front: Tcp):
    world.kill("sentinel", signal.SIGSTOP)
    with connect(front) as link:
        link.sendall(array(b"QUIT"))
        assert everything(link) == b"+OK\r\n"
    world.kill("sentinel", signal.SIGCONT)


def memory_kb(world: Processes) -> int:
    """What the front keeps for itself, and nobody else could use."""
    text = Path(f"/proc/{world.running['front'].pid}/smaps_rollup").read_text()
    return int(re.search(r"^Private_Dirty:\s+(\d+)", text, re.M)[1])  # type: ignore[index]


@pytest.fixture
def flooded(world: Processes, front: Tcp) -> Iterator[Tcp]:
    """A front with clients that ask much and read nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            link = stack.enter_context(connect(front))
            link.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(2000):
                    link.send(array(b"SENTINEL", b"masters") * 100)
        yield front


@faults
def test_clients_that_do_not_read_stall_nobody_and_cost_little_memory(world: Processes, flooded: Tcp):
    with connect(flooded) as link:
        for _ in range(50):
            link.sendall(array(b"PING"))
            assert some(link, 7) == b"+PONG\r\n"
    assert memory_kb(world) < 30_000  # what was asked for is more than 20 clients x 20 MB


@faults
def test_hostile_clients_stall_nobody_and_cost_little_memory(world: Processes, front: Tcp):
    hostile = [
        b"*1\r\n$536870912\r\n",
        b"*2147483647\r\n",
        b"*" + b"1" * 5000,
        os.urandom(5000),
        b" " * 5000,
        b"*1\r\n$",
    ]
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            for words in hostile:
                stack.enter_context(connect(front)).sendall(words)
        with connect(front) as link:
            link.sendall(array(b"PING") + array(b"QUIT"))
            assert everything(link) == b"+PONG\r\n+OK\r\n"
    assert memory_kb(world) < 30_000  # the bulk that one of them announces has 512 MB
    assert world.running["front"].poll() is None


@faults
def test_many_clients_come_and_go_and_nothing_of_them_stays(world: Processes, front: Tcp):
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(connect(front)) for _ in range(300)]
        for link in links:
            link.sendall(array(b"PING"))
        assert {some(link, 7) for link in links} == {b"+PONG\r\n"}
    for _ in range(300):
        connect(front).close()
    descriptors = Path(f"/proc/{world.running['front'].pid}/fd")
    wait_until(lambda: len(list(descriptors.iterdir())) < 12)


def limited_front(world: Processes, sentinel: Tcp, limit: str) -> Tcp:
    """A front started under `ulimit`."""
    listen = fresh_address(26379)
    program = [sys.executable, "-IS", sentinel_front.__file__, str(listen), str(sentinel)]
    world.spawn("front", ["/bin/sh", "-c", f'ulimit {limit} && exec "$0" "$@"', *program])
    wait_until(lambda: accepts(listen))
    return listen


@faults
def test_it_takes_all_the_descriptors_it_may_have(world: Processes, sentinel: Tcp):
    listen = limited_front(world, sentinel, "-Sn 40")
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(connect(listen)) for _ in range(60)]
        for link in links:
            link.sendall(array(b"PING"))
        assert {some(link, 7) for link in links} == {b"+PONG\r\n"}


@faults
def test_it_waits_when_descriptors_run_out_and_goes_on_when_some_are_free(world: Processes, sentinel: Tcp):
    listen = limited_front(world, sentinel, "-n 40")
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(connect(listen))
        time.sleep(0.3)
    with connect(listen) as link:
        link.sendall(array(b"PING"))
        assert some(link, 7) == b"+PONG\r\n"
    assert world.running["front"].poll() is None


@faults
def test_it_is_small_and_idle_when_nobody_talks(world: Processes, front: Tcp):
    def awakenings() -> int:
        text = Path(f"/proc/{world.running['front'].pid}/status").read_text()
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1])  # type: ignore[index]

    wait_until(lambda: awakenings() == (time.sleep(0.2), awakenings())[1])  # it has dealt with whoever looked for it
    before = awakenings()
    time.sleep(1.0)  # long enough for any timer that it should not have
    assert awakenings() == before
    assert memory_kb(world) < 15_000


@faults
@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "usage"), (["127.0.0.1:x", "127.0.0.1:1"], "usage"), (["192.0.2.1:26379", "127.0.0.1:1"], "cannot listen")],
)
def test_it_says_why_it_cannot_start(arguments: list[str], said: str):
    command = [sys.executable, "-IS", sentinel_front.__file__, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=10)
    assert (ended.returncode, said in ended.stderr, "Traceback" in ended.stderr) == (1, True, False)
