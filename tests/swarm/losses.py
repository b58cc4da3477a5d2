"""What clients on the hosts of a rig see when one of those is lost or cut off, and what Swarm itself makes of it."""

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from tests.everup_cli import EVERY_KIND
from tests.http_load import HttpLoad
from tests.journal import Write, acknowledged, lost
from tests.repeated import Repeated
from tests.sql_writers import SqlWriters
from tests.swarm.host import Host, until
from tests.swarm.installed import PATIENCE_S, Installed

SPEC = f"environment: shop\nengine: swarm\n{EVERY_KIND}"
"""Losing a host of three costs it nothing."""

SILENCE_S = 0.5
"""How long a client of Redis waits for an answer."""

LOOK_EVERY_S = 0.2


class Clients:
    """Clients on one host: of Redis by its URL and by its Sentinels, of PostgreSQL by its URL, of the app by its.

    Args:
        ground: where Everup is installed, with what `SPEC` declares.
        host: where they run; they reach what that host reaches.
        name: tells the writes of several hosts apart.
    """

    def __init__(self, ground: Installed, host: Host, name: str = "outside") -> None:
        variables: dict[str, str] = {}
        for label in ("redis01", "db01", "web"):
            variables |= ground.variables(label)
        self.name, self._host, self._redis_url = name, host, variables["REDIS_URL"]
        self._sql_url = variables["DATABASE_URL"]
        silence = {"socket_timeout": SILENCE_S, "socket_connect_timeout": SILENCE_S}
        once: dict[str, Any] = {**silence, "retry": Retry(NoBackoff(), 0)}
        by_url = Redis.from_url(variables["REDIS_URL"], **once)
        sentinels = [tuple(one.split(":")) for one in variables["REDIS_SENTINEL_LIST"].split(",")]
        by_sentinels = Sentinel(sentinels, sentinel_kwargs=once).master_for(variables["REDIS_SENTINEL_MASTER"], **once)
        self.redis = {
            "REDIS_URL": Repeated(lambda n: by_url.sadd(f"{name}:REDIS_URL", n)),
            "Sentinels": Repeated(lambda n: by_sentinels.sadd(f"{name}:Sentinels", n)),
        }
        self.sql = SqlWriters(self._sql_url, table=f"writes_{name}")
        self.web = HttpLoad(variables["WEB_URL"], pause_s=0.02)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Clients":
        until(self._led, f"{self._host.name} is led to PostgreSQL")
        with self._host.entered():
            for one in (*self.redis.values(), self.web, self.sql):
                self._stack.enter_context(one)
        return self

    def _led(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), self._host.entered():
            psycopg.connect(self._sql_url, connect_timeout=5).close()
            return True
        return False

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wait(self, after_s: float, within_s: float) -> None:
        """Return once each of them was served several times with what it asked after a moment (monotonic seconds)."""
        for one in self.redis.values():
            one.wait(50, after_s, within_s)
        end_s = time.monotonic() + within_s
        for asked in (lambda: self.sql.writes, self.web.requests):
            while sum(one.sent_s > after_s for one in acknowledged(asked())) < 50:
                assert time.monotonic() < end_s, f"{self.name}: nothing for {within_s} s; newest {asked()[-2:]}"
                time.sleep(0.05)

    def stop(self) -> None:
        """End them all."""
        for one in (*self.redis.values(), self.web, self.sql):
            one.stop()

    def journals(self) -> dict[str, list[Write]]:
        """What those that write saw, by the way they took."""
        return {way: client.writes for way, client in {**self.redis, "DATABASE_URL": self.sql}.items()}

    def lost(self) -> dict[str, int]:
        """How many acknowledged writes are gone; they must have ended, and what they wrote to must answer again."""

        def kept() -> dict[str, set[int]]:
            with (
                contextlib.suppress(psycopg.OperationalError, RedisError),  # they are led elsewhere at this moment
                self._host.entered(),
                Redis.from_url(self._redis_url, socket_timeout=60) as redis,
            ):
                found = {way: {int(n) for n in redis.smembers(f"{self.name}:{way}")} for way in self.redis}
                return {**found, "DATABASE_URL": self.sql.survivors()}
            return {}

        survivors = until(kept, "what was written can be read")
        return {way: len(lost(writes, survivors[way])) for way, writes in self.journals().items()}

    def forget(self) -> None:
        """Take away what was written to Redis."""
        with self._host.entered(), Redis.from_url(self._redis_url, socket_timeout=60) as redis:
            redis.delete(*(f"{self.name}:{way}" for way in self.redis))

    def failed(self, from_s: float) -> list[Write]:
        """The requests to the app that were sent after a moment and failed."""
        return [one for one in self.web.requests() if one.error and one.sent_s > from_s]

    def longest_s(self) -> float:
        """How long the longest of the requests to the app took."""
        return max(one.ended_s - one.sent_s for one in self.web.requests())


def reopened_s(ground: Installed, since_s: float) -> float:
    """Wait until `everup status` answers; seconds since a moment."""
    until(lambda: ground.answers() is not None, "status answers", PATIENCE_S)
    return time.monotonic() - since_s


def alone_s(inside: Clients, outside: Clients, way: str, cut_s: float, healed_s: float) -> tuple[float, float]:
    """For how many seconds clients that were cut off had writes taken, and for how many of these others had, too."""
    there = [one.ended_s for one in acknowledged(inside.journals()[way]) if cut_s < one.ended_s < healed_s]
    here = [one.ended_s for one in acknowledged(outside.journals()[way]) if one.sent_s > cut_s]
    last_s = max(there, default=cut_s)
    return last_s - cut_s, max(0.0, last_s - min(here))


@dataclass
class Reaction:
    """What Swarm itself did: seconds until its API answered, the lost host was called down, and a task that had ended
    ran again (that of a lost host elsewhere); None: not yet."""

    api_s: float | None = None
    down_s: float | None = None
    again_s: float | None = None


class Beside:
    """A service of as many tasks as there are hosts, one on each, of which nobody but Swarm takes care."""

    NAME = "beside"

    def __init__(self, ground: Installed, image_id: str) -> None:
        self._rig, self._image = ground.rig, image_id
        self._ids: dict[str, str] = {}
        self._first: set[str] = set()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Beside":
        host, count = self._rig.hosts[0], len(self._rig.hosts)
        body = {
            "Name": self.NAME,
            "TaskTemplate": {
                "ContainerSpec": {"Image": self._image, "Command": ["sleep", "100000"], "Init": True},
                "Placement": {"Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}]},
            },
            "Mode": {"Replicated": {"Replicas": count}},
        }
        host.docker.post("/services/create", json=body).raise_for_status()
        self._ids = {name: node["ID"] for name, node in self._rig.nodes().items()}
        until(lambda: len(set(self._running(host).values())) == count, "a task on each host")
        self._first = set(self._running(host))
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        host = next(host for host in self._rig.hosts if host.running)
        until(lambda: host.docker.delete(f"/services/{self.NAME}").status_code in (200, 404), "the service is removed")

    def kill(self, host: Host) -> float:
        """Kill the container of the task on a host; returns the moment, monotonic seconds."""
        (container,) = host.containers(f"{self.NAME}.")
        now_s = time.monotonic()
        host.kill_container(container["Id"])
        return now_s

    def watch(self, asked: Host, gone: Host | None, since_s: float) -> Reaction:
        """Note from now on what Swarm does, as the manager on `asked` tells it; `gone` is the lost host, if one is."""
        reaction = Reaction()
        self._threads.append(threading.Thread(target=self._watch, args=(asked, gone, since_s, reaction), daemon=True))
        self._threads[-1].start()
        return reaction

    def _watch(self, asked: Host, gone: Host | None, since_s: float, seen: Reaction) -> None:
        gone_id = self._ids[gone.name] if gone else ""
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(asked.socket)), base_url="http://d", timeout=2) as api:
            while seen.again_s is None and not self._over.wait(LOOK_EVERY_S):
                with contextlib.suppress(httpx.HTTPError):
                    nodes = api.get("/nodes").raise_for_status().json()
                    down = {node["ID"] for node in nodes if node["Status"]["State"] == "down"}
                    tasks = self._running(asked, api)
                    passed_s = time.monotonic() - since_s
                    seen.api_s = seen.api_s or passed_s
                    seen.down_s = seen.down_s or (passed_s if gone_id in down else None)
                    if any(task not in self._first and node_id != gone_id for task, node_id in tasks.items()):
                        seen.again_s = passed_s

    def _running(self, asked: Host, api: httpx.Client | None = None) -> dict[str, str]:
        """The tasks that run, and the ids of their hosts."""
        query = {"filters": f'{{"service": ["{self.NAME}"], "desired-state": ["running"]}}'}
        found: list[dict[str, Any]] = (api or asked.docker).get("/tasks", params=query).raise_for_status().json()
        return {task["ID"]: task["NodeID"] for task in found if task["Status"]["State"] == "running"}
