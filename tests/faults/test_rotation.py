"""Clients of a Redis get other passwords while they write, a primary dies, and a control plane does."""

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
import redis
from redis.sentinel import Sentinel

from tests.everup_cli import Everup
from tests.faults.truth import Truth, events, until
from tests.journal import lost
from tests.repeated import Repeated

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

SPEC = """\
environment: shop
services:
  redis01: {kind: redis, ha: true, auth: true}
  one: {kind: redis, auth: true}
"""

Connect = Callable[[dict[str, str]], "redis.Redis[Any]"]


@pytest.fixture(scope="module")
def shop() -> Iterator[Everup]:
    """A group and a single server, both with passwords."""
    with Everup(SPEC) as everup:
        everup("up")
        yield everup


class Rereader:
    """Writes numbers into the set `key`. When its connection ends, and after every 20th write, it reads its variables
    again, connects anew, and writes on; a password that is refused is an error, whoever refuses it."""

    def __init__(self, everup: Everup, label: str, key: str, connect: Connect) -> None:
        self._api, self._label, self.key, self._connect = everup.api(), label, key, connect
        self._client: redis.Redis[Any] | None = None
        self._known: dict[str, str] = {}

    def __call__(self, n: int) -> None:
        give_up_s = time.monotonic() + 60
        while True:
            try:
                if self._client is None or n % 20 == 0:
                    self.close()
                    self._client = self._connect(self.variables())
                self._client.sadd(self.key, n)
                return
            except redis.ConnectionError as error:
                refused = isinstance(error, redis.AuthenticationError) or "AuthenticationError" in str(error)
                if refused or time.monotonic() > give_up_s:
                    raise
                self.close()
                time.sleep(0.01)

    def variables(self) -> dict[str, str]:
        """Those of now; while no control plane answers, those that it was told last."""
        with contextlib.suppress(httpx.TransportError):
            self._known = self._api.get("/v1/environments/shop/variables").json()[self._label]
        return self._known

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


def by_url(variables: dict[str, str]) -> "redis.Redis[Any]":
    url = next(value for name, value in sorted(variables.items()) if name.endswith("_URL") and "sentinel" not in value)
    return redis.Redis.from_url(url, socket_timeout=5, retry=None, single_connection_client=True)


def by_sentinels(variables: dict[str, str]) -> "redis.Redis[Any]":
    addresses = [tuple(one.rsplit(":", 1)) for one in variables["REDIS01_SENTINEL_LIST"].split(",")]
    password = variables["REDIS01_PASSWORD"]
    sentinel = Sentinel(addresses, socket_timeout=1, sentinel_kwargs={"password": password, "socket_timeout": 1})
    return sentinel.master_for("redis01", password=password, socket_timeout=5, retry=None)


def rotated(everup: Everup, label: str, *how: str) -> Any:
    return everup.json("rotate", label, *how)


def let_in(truth: Truth, password: str) -> set[str]:
    """The servers and Sentinels that let a client in with that."""
    found = set()
    for node in (*truth.part("data"), *truth.part("voter")):
        client = redis.Redis(node["address"], node["port"], password=password, socket_timeout=5, retry=None)
        with client:
            try:
                client.ping()
                found.add(node["id"])
            except redis.AuthenticationError:
                pass
    return found


def test_rotations_and_a_failover_cost_no_write_of_who_reads_variables_again(shop: Everup) -> None:
    truth = Truth(shop, "redis01")
    ways = (("redis01", "url", by_url), ("redis01", "sentinels", by_sentinels), ("one", "url", by_url))
    clients = [Rereader(shop, label, f"{label}-{way}", connect) for label, way, connect in ways]
    first = truth.password
    assert first
    with Repeated(clients[0]) as one, Repeated(clients[1]) as two, Repeated(clients[2]) as three:
        writers = (one, two, three)
        go_on(writers)
        assert "log in as default with password 2 from now on" in shop("rotate", "redis01").stdout
        rotated(shop, "one")
        assert "refused.rotation" in shop("rotate", "redis01", codes=(1,)).stderr
        go_on(writers)
        killed = shop.primary("redis01")
        shop.kill(killed)
        go_on(writers)
        truth = Truth(shop, "redis01")
        truth.whole(60)
        second = truth.password
        assert second and second != first
        everybody = {node["id"] for node in (*truth.part("data"), *truth.part("voter"))}
        assert let_in(truth, first) == let_in(truth, second) == everybody
        held = by_url({"REDIS01_URL": truth.variables["REDIS_URL"].replace(second, first)})
        held.ping()
        assert rotated(shop, "redis01", "--finish")["sessions"] >= 1
        assert rotated(shop, "one", "--finish", "--cut")["former"] == "default with password 1"
        assert let_in(truth, first) == set()
        assert held.ping()
        go_on(writers)
        assert rotated(shop, "redis01")["user"] == "default with password 3"
        go_on(writers)
        assert rotated(shop, "redis01", "--finish", "--cut")["sessions"] >= 1
        with pytest.raises(redis.ConnectionError):
            held.ping()
        go_on(writers)
    assert [writer.errors() for writer in writers] == [[], [], []]
    truth = Truth(shop, "redis01")
    with by_url(shop.variables("one")) as server:
        assert lost(three.writes, set(map(int, server.smembers("one-url")))) == []
    assert all(
        len(lost(one.writes, truth.numbers(client.key))) <= 3 for one, client in zip(writers[:2], clients, strict=False)
    )
    reasons = {event["fields"]["because"] for event in events(shop) if event["name"] == "node.started"}
    assert not [because for because in reasons if "changed" in because]
    for client in clients:
        client.close()


def go_on(writers: tuple[Repeated, ...]) -> None:
    """Wait until everybody has written on, with a new connection too."""
    now_s = time.monotonic()
    for writer in writers:
        writer.wait(25, after_s=now_s)


def test_no_password_of_a_client_is_in_what_nodes_keep_or_say(shop: Everup) -> None:
    passwords = [shop.variables("redis01")["REDIS01_PASSWORD"], shop.variables("one")["ONE_PASSWORD"]]
    files = [file for file in (shop.home / "state" / "environments").rglob("*") if file.is_file()]
    assert {"users.acl", "sentinel.conf", "out.log"} <= {file.name for file in files}
    kept = "".join(file.read_text(errors="replace") for file in files) + shop("events", "--json").stdout
    assert not [password for password in passwords if password in kept]


def test_a_control_plane_that_dies_in_the_middle_locks_nobody_out(shop: Everup) -> None:
    truth, client = Truth(shop, "redis01"), Rereader(shop, "redis01", "middle", by_sentinels)
    voter = truth.part("voter")[2]
    with Repeated(client) as writer:
        go_on((writer,))
        os.kill(voter["pid"], signal.SIGSTOP)
        trying = shop.start("rotate", "redis01")
        until(lambda: granted(shop, "redis01/coming"), 60)
        os.kill(shop.control_plane(), signal.SIGKILL)
        os.kill(voter["pid"], signal.SIGCONT)
        trying.communicate(timeout=120)
        assert trying.returncode != 0
        go_on_by_itself(truth)
        shop("up")
        go_on((writer,))
        assert Truth(shop, "redis01").password == truth.password
        rotated(shop, "redis01")
        assert rotated(shop, "redis01", "--finish", "--cut")["former"] == "default with password 3"
        go_on((writer,))
    assert writer.errors() == []
    after = Truth(shop, "redis01")
    assert after.password and len(let_in(after, after.password)) == 6
    assert let_in(after, truth.password or "") == set()
    client.close()


def granted(everup: Everup, key: str) -> str:
    with closing(sqlite3.connect(everup.home / "state" / "everup.sqlite")) as db:
        row = db.execute("SELECT value FROM grants WHERE key = ?", (key,)).fetchone()
    return str(row[0]).strip('"') if row else ""


def go_on_by_itself(truth: Truth) -> None:
    """Who knows the password of now gets in everywhere, with no control plane."""
    assert truth.password
    assert len(let_in(truth, truth.password)) == 6
