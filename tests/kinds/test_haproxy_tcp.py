"""The endpoint that follows a primary, with real HAProxy and real Redis servers."""

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, replace
from threading import Event

import pytest
import redis

from everup.kinds import _haproxy
from everup.kinds._haproxy_reading import Server, read_servers
from everup.model.desired import Ask, Node, Protocol, Tcp
from tests.kinds.real import HAPROXY, Processes, fresh_address, wait_until

pytestmark = pytest.mark.faults

CHECK = (r"send PING\r\n", "expect string +PONG", r"send info\ replication\r\n", "expect string role:master")


SOON_S = 10.0
"""A new primary is reached in half a second, or four by its own checks, where nothing else runs; the sessions
of `timeout server` would last for days."""


def slot(world: Processes, node: Node) -> Server:
    server: Server = read_servers(world.ask(_haproxy.look(node.id))).facts["servers"]["primary"]
    return server


def client(address: Tcp) -> redis.Redis:
    return redis.Redis(address.host, address.port, socket_timeout=5, retry=None)


@pytest.fixture
def pair(world: Processes) -> tuple[Tcp, Tcp]:
    first, second = fresh_address(6379), fresh_address(6379)
    world.redis("one", first)
    world.redis("two", second, "--replicaof", first.host, str(first.port))
    return first, second


@pytest.fixture
def node(world: Processes, pair: tuple[Tcp, Tcp]) -> Node:
    end = _haproxy.primary_node("redis01", fresh_address(6379), pair[0], CHECK)
    world.run(end, HAPROXY)
    return end


def connection(address: Tcp) -> socket.socket:
    """A client that does not connect again by itself."""
    link = socket.create_connection((address.host, address.port), timeout=5)
    link.sendall(b"PING\r\n")
    assert link.recv(100) == b"+PONG\r\n"
    return link


def point(world: Processes, node: Node, address: Tcp) -> None:
    assert _haproxy.problem(world.ask(_haproxy.point(node.id, address))) == ""


def gap_s(node: Node, within_s: float = 60.0) -> float:
    """How long until a write is acknowledged again."""
    began_s = time.monotonic()
    while time.monotonic() < began_s + within_s:
        with contextlib.suppress(redis.RedisError), client(node.ports["tcp"]) as fresh:
            fresh.set("k", "v")
            return time.monotonic() - began_s
        time.sleep(0.002)
    raise AssertionError("no write succeeded")


def test_haproxy_accepts_the_configuration(world: Processes):
    check = (r"send AUTH\ secret\r\n", "expect string +OK", *CHECK)
    node = _haproxy.primary_node("redis01", fresh_address(), fresh_address(), check, {"redis01-2": fresh_address()})
    elected = _haproxy.primary_node("redis01", fresh_address(), fresh_address(), check)
    elected = _haproxy.elected(elected, {"redis01-2": (fresh_address(), fresh_address())}, "/primary")
    assert accepted(world, node) == accepted(world, elected) == ""


def accepted(world: Processes, node: Node) -> str:
    """What HAProxy objects to."""
    world.write(node)
    checked = subprocess.run(
        [HAPROXY, "-c", *node.args[1:]], cwd=world.folder / node.id, capture_output=True, text=True
    )
    return checked.stderr if checked.returncode or "WARNING" in checked.stderr else ""


def test_it_leads_nowhere_until_it_is_pointed(world: Processes, node: Node, pair: tuple[Tcp, Tcp]):
    assert (slot(world, node).admin, slot(world, node).up) == ("maint", False)
    with pytest.raises(redis.ConnectionError), client(node.ports["tcp"]) as fresh:
        fresh.ping()
    point(world, node, pair[0])
    with client(node.ports["tcp"]) as fresh:
        assert fresh.set("k", "v")
    wait_until(lambda: slot(world, node) == Server(str(pair[0]), up=True, admin="ready", sessions=0))


def test_pointing_moves_new_clients_at_once_and_cuts_the_old_ones(world: Processes, node: Node, pair: tuple[Tcp, Tcp]):
    point(world, node, pair[0])
    with connection(node.ports["tcp"]) as old, client(pair[1]) as second:
        second.execute_command("REPLICAOF", "NO", "ONE")
        point(world, node, pair[1])
        assert old.recv(1) == b""
        assert gap_s(node) < SOON_S
    assert slot(world, node).address == str(pair[1])


def test_nobody_is_left_hanging_who_connects_as_sessions_are_cut(world: Processes, node: Node, pair: tuple[Tcp, Tcp]):
    over = Event()

    def connect_for_ever() -> int:
        answers = 0
        while not over.is_set():
            with contextlib.suppress(ConnectionError), socket.create_connection(astuple(node.ports["tcp"]), 20) as link:
                link.sendall(b"PING\r\n")
                answers += bool(link.recv(100))
        return answers

    gone = fresh_address(6379)
    with ThreadPoolExecutor(4) as clients:
        tries = [clients.submit(connect_for_ever) for _ in range(4)]
        for turn in range(400):
            point(world, node, gone if turn % 2 else pair[0])
            time.sleep(0.005)
        over.set()
        assert all(one.result() for one in tries)


@contextlib.contextmanager
def waiting(node: Node, requests: list[bytes]) -> Iterator[list[Future[bytes]]]:
    """Clients that connect now, each with its request sent at once; they wait for the answer."""

    def answer(request: bytes) -> bytes:
        with socket.create_connection((node.ports["tcp"].host, node.ports["tcp"].port), timeout=60) as link:
            link.sendall(request)
            return link.recv(100)

    with ThreadPoolExecutor(len(requests)) as clients:
        yield [clients.submit(answer, request) for request in requests]


def arrived(world: Processes, node: Node, count: int) -> bool:
    """So many sessions wait in front of the backend."""
    text = world.ask(Ask(_haproxy.shut(node.id).to, (("show sess",),), Protocol.HAPROXY))[0]
    return sum("fe=clients be=<NONE>" in line for line in text.splitlines()) == count


def test_who_connects_while_the_gate_is_shut_waits_for_the_next_primary_and_nobody_else_notices(
    world: Processes, node: Node, pair: tuple[Tcp, Tcp]
):
    point(world, node, pair[0])
    large = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n" + b"x" * 100_000 + b"\r\n"
    with connection(node.ports["tcp"]) as old:
        world.ask(_haproxy.shut(node.id))
        with waiting(node, [*[b"ROLE\r\n"] * 5, large]) as answers:
            wait_until(lambda: arrived(world, node, 6))
            old.sendall(b"PING\r\n")
            assert old.recv(100) == b"+PONG\r\n"
            with client(pair[1]) as second:
                second.execute_command("REPLICAOF", "NO", "ONE")
            assert not any(one.done() for one in answers)
            point(world, node, pair[1])
            assert [b"master" in one.result(60) for one in answers[:5]] == [True] * 5
            assert answers[5].result(60) == b"+OK\r\n"
        assert old.recv(1) == b""


def test_a_gate_that_nobody_opens_again_opens_by_itself(world: Processes, node: Node, pair: tuple[Tcp, Tcp]):
    point(world, node, pair[0])
    world.ask(_haproxy.shut(node.id))
    began_s = time.monotonic()
    with waiting(node, [b"PING\r\n"]) as (answer,):
        assert answer.result(60) == b"+PONG\r\n"
    assert time.monotonic() - began_s > 2.0, "it waited"


def test_without_lua_there_is_no_gate_and_everything_else_works(world: Processes, node: Node, pair: tuple[Tcp, Tcp]):
    text = node.files["haproxy.cfg"].replace("feature(LUA)", "feature(NO_SUCH_THING)")
    bare = replace(
        node,
        id="bare-endpoint",
        files={"haproxy.cfg": text.replace(str(node.ports["tcp"]), str(bare_at := fresh_address(6379)))},
        ports={"tcp": bare_at},
    )
    world.run(bare, HAPROXY)
    point(world, bare, pair[0])
    world.ask(_haproxy.shut(bare.id))
    with connection(bare_at):
        pass
    assert _haproxy.problem(world.ask(_haproxy.open_again(bare.id))) == ""


def test_a_dead_primary_costs_clients_no_more_than_the_time_until_the_push(
    world: Processes, node: Node, pair: tuple[Tcp, Tcp]
):
    point(world, node, pair[0])
    with client(pair[1]) as second:
        world.kill("one")
        second.execute_command("REPLICAOF", "NO", "ONE")
        point(world, node, pair[1])
        assert gap_s(node) < SOON_S


def test_a_server_that_is_no_primary_any_more_loses_its_clients(world: Processes, node: Node, pair: tuple[Tcp, Tcp]):
    point(world, node, pair[0])
    with connection(node.ports["tcp"]) as old, client(pair[0]) as first:
        first.execute_command("REPLICAOF", pair[1].host, str(pair[1].port))
        assert wait_until(lambda: not slot(world, node).up) < SOON_S
        assert old.recv(1) == b""


def test_a_short_stall_cuts_nobody(world: Processes, node: Node, pair: tuple[Tcp, Tcp]):
    point(world, node, pair[0])
    with connection(node.ports["tcp"]) as old:
        world.kill("one", signal.SIGSTOP)
        time.sleep(1.2)  # the worst stall of a healthy server that was measured
        world.kill("one", signal.SIGCONT)
        old.sendall(b"PING\r\n")
        assert old.recv(100) == b"+PONG\r\n"
        assert slot(world, node).up


def test_a_restarted_primary_is_reached_at_once_when_pointed_at_again(
    world: Processes, node: Node, pair: tuple[Tcp, Tcp]
):
    point(world, node, pair[0])
    world.kill("one")
    wait_until(lambda: not slot(world, node).up)
    world.redis("one", pair[0])
    point(world, node, pair[0])
    assert gap_s(node) < SOON_S


def test_the_check_knows_the_password(world: Processes):
    address = fresh_address(6379)
    world.redis("one", address, "--requirepass", "secret")
    check = (r"send AUTH\ secret\r\n", "expect string +OK", *CHECK)
    node = _haproxy.primary_node("redis01", fresh_address(6379), address, check)
    world.run(node, HAPROXY)
    point(world, node, address)
    time.sleep(1.2)  # two checks
    assert slot(world, node).up


def test_with_nobody_to_point_it_finds_the_next_primary_by_itself(world: Processes, pair: tuple[Tcp, Tcp]):
    node = _haproxy.primary_node("redis01", fresh_address(6379), pair[0], CHECK, dict(zip("ab", pair, strict=True)))
    world.run(node, HAPROXY)
    point(world, node, pair[0])
    with client(pair[1]) as second:
        world.kill("one")
        time.sleep(0.5)
        second.execute_command("REPLICAOF", "NO", "ONE")
        assert gap_s(node) < SOON_S
        with connection(node.ports["tcp"]) as astray:
            point(world, node, pair[1])
            assert astray.recv(1) == b"", "sessions that found it by themselves are cut when it is pointed at"
    assert gap_s(node) < SOON_S


def test_a_second_primary_gets_nobody_while_the_first_is_up(world: Processes, pair: tuple[Tcp, Tcp]):
    node = _haproxy.primary_node("redis01", fresh_address(6379), pair[0], CHECK, dict(zip("ab", pair, strict=True)))
    world.run(node, HAPROXY)
    point(world, node, pair[0])
    with client(pair[1]) as second, client(pair[0]) as first:
        second.execute_command("REPLICAOF", "NO", "ONE")
        time.sleep(2.5)  # several checks: it has seen that both call themselves primary
        for number in range(50):
            with client(node.ports["tcp"]) as fresh:
                fresh.set("k", number)
        assert first.get("k") == b"49" and second.get("k") is None
