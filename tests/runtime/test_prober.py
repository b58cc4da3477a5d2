"""Asking nodes how they are: often, calmly, or at once."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from everup.model.desired import Node, Part, Probe, Protocol, Tcp
from everup.model.observed import Health, Reading
from everup.runtime.prober import FRESH_EVERY, Prober


class Pong:
    """A RESP server that counts its connections and questions; `mute` keeps it from answering."""

    def __init__(self) -> None:
        self.connections = 0
        self.questions = 0
        self.mute = False
        self.to = Tcp("127.0.0.1", 0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                self.questions += 1
                if not self.mute:
                    writer.write(b"+PONG\r\n")
                    await writer.drain()
        writer.close()


@pytest.fixture
async def pong() -> AsyncIterator[Pong]:
    made = Pong()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.to = Tcp(*listening.sockets[0].getsockname()[:2])
    try:
        yield made
    finally:
        listening.close()


class Ear:
    """Takes down what a prober hears, and says how the node is judged."""

    def __init__(self, health: Health = Health.READY) -> None:
        self.health = health
        self.heard: list[tuple[str, Reading | None, float]] = []
        self.patience_s: list[float] = []
        self.prober = Prober(lambda node: None, self.hear)

    def hear(self, node_id: str, reading: Reading | None, sent_s: float, hang_s: float) -> Health:
        self.patience_s.append(hang_s)
        self.heard.append((node_id, reading, sent_s))
        return self.health

    async def until(self, true: Callable[[], Any], within_s: float = 90.0) -> None:
        end_s = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < end_s, self.heard
            await asyncio.sleep(0.002)


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    made = Ear()
    try:
        yield made
    finally:
        made.prober.stop()


def node(to: Tcp, **changes: Any) -> Node:
    probe = Probe(Protocol.RESP, to, lambda replies: Reading(replies == ("PONG",)), (("PING",),), interval_s=30.0)
    return Node("redis01-1", "redis01", Part.DATA, "true", (), replace(probe, **changes))


async def test_a_running_node_is_asked_at_once_and_then_calmly(ear: Ear, pong: Pong):
    before_s = time.monotonic()
    ear.prober.watch({"redis01-1": (node(pong.to), 1)})
    await ear.until(lambda: ear.heard)
    await asyncio.sleep(0.05)
    ((node_id, reading, sent_s),) = ear.heard
    assert (node_id, reading) == ("redis01-1", Reading(ready=True))
    assert before_s <= sent_s <= time.monotonic()


async def test_a_nudge_asks_now(ear: Ear, pong: Pong):
    ear.prober.watch({"redis01-1": (node(pong.to), 1)})
    await ear.until(lambda: len(ear.heard) == 1)
    ear.prober.nudge("redis01-1")
    ear.prober.nudge("redis01-9")
    await ear.until(lambda: len(ear.heard) == 2)


async def test_a_starting_node_is_asked_often(ear: Ear, pong: Pong):
    ear.health = Health.STARTING
    ear.prober.watch({"redis01-1": (node(pong.to), 1)})
    await ear.until(lambda: len(ear.heard) >= 10, within_s=8.0)  # once a second would be too seldom


async def test_a_doubtful_node_is_asked_ten_times_a_second(ear: Ear, pong: Pong):
    ear.health = Health.SUSPECT
    ear.prober.watch({"redis01-1": (node(pong.to), 1)})
    began_s = time.monotonic()
    await ear.until(lambda: len(ear.heard) >= 4, within_s=3.0)  # once a second would be too seldom
    assert time.monotonic() - began_s > 0.25


async def test_a_connection_is_kept_but_not_for_ever(ear: Ear, pong: Pong):
    ear.prober.watch({"redis01-1": (node(pong.to, interval_s=0.001), 1)})
    await ear.until(lambda: len(ear.heard) >= 3 * FRESH_EVERY)
    assert 3 <= pong.connections <= len(ear.heard) / FRESH_EVERY + 2


async def test_one_that_nobody_listens_for_is_given_the_time_of_a_restart_and_a_mute_one_is_not(ear: Ear, pong: Pong):
    ear.health = Health.SUSPECT
    pong.mute = True
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        nobody = Tcp(*taken.getsockname()[:2])
        for to, patience_s in ((nobody, 10.0), (pong.to, 3.0)):
            ear.patience_s.clear()
            ear.prober.watch({"redis01-1": (node(to, absent_s=10.0, timeout_s=0.05), 1)})
            await ear.until(lambda: len(ear.patience_s) >= 2)
            assert set(ear.patience_s) == {patience_s}
    assert all(reading is None for _, reading, _ in ear.heard)


async def test_silence_is_heard_as_nothing(ear: Ear, pong: Pong):
    pong.mute = True
    ear.prober.watch({"redis01-1": (node(pong.to, timeout_s=0.05), 1)})
    await ear.until(lambda: ear.heard)
    assert ear.heard[0][1] is None


async def test_a_refused_connection_is_heard_as_nothing(ear: Ear):
    ear.prober.watch({"redis01-1": (node(Tcp("127.0.0.1", 9)), 1)})
    await ear.until(lambda: ear.heard)
    assert ear.heard[0][1] is None


async def test_a_node_without_a_question_is_ready_by_running(ear: Ear):
    quiet = node(Tcp("127.0.0.1", 9), protocol=Protocol.NONE, read=lambda replies: Reading(ready=True))
    ear.prober.watch({"redis01-1": (quiet, 1)})
    await ear.until(lambda: ear.heard)
    assert ear.heard[0][1] == Reading(ready=True)


async def test_a_new_process_is_asked_afresh_and_an_old_answer_is_never_taken_for_its_own(ear: Ear, pong: Pong):
    pong.mute = True
    ear.prober.watch({"redis01-1": (node(pong.to, timeout_s=0.3), 1)})
    await ear.until(lambda: pong.questions == 1)
    pong.mute = False
    ear.prober.watch({"redis01-1": (node(pong.to, timeout_s=0.3), 2)})
    await ear.until(lambda: ear.heard)
    await asyncio.sleep(0.35)
    assert [reading for _, reading, _ in ear.heard] == [Reading(ready=True)]


async def test_the_same_process_is_not_asked_anew_because_it_was_declared_again(ear: Ear, pong: Pong):
    for _ in range(5):
        ear.prober.watch({"redis01-1": (node(pong.to), 1)})
        await asyncio.sleep(0.01)
    assert len(ear.heard) == 1


async def test_another_question_is_asked_at_once(ear: Ear, pong: Pong):
    ear.prober.watch({"redis01-1": (node(pong.to), 1)})
    await ear.until(lambda: len(ear.heard) == 1)
    ear.prober.watch({"redis01-1": (node(pong.to, commands=(("ECHO", "x"),)), 1)})
    await ear.until(lambda: len(ear.heard) == 2)


async def test_who_is_no_longer_watched_is_no_longer_asked(ear: Ear, pong: Pong):
    ear.prober.watch({"redis01-1": (node(pong.to, interval_s=0.005), 1)})
    await ear.until(lambda: len(ear.heard) >= 2)
    ear.prober.watch({})
    await asyncio.sleep(0.01)
    count = len(ear.heard)
    await asyncio.sleep(0.05)
    assert len(ear.heard) == count
