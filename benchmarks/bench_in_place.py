"""One server made a group, and a group made one server, while a client writes: how long it waits, and what it loses.

The client is one that tries nothing twice, so that an error is one that an app would see.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import psycopg

from benchmarks.groups import fill
from benchmarks.table import Results, progress, publish
from tests.app_clients import AppClient, RedisUnrepeated, SqlClient
from tests.everup_cli import Everup
from tests.journal import acknowledged, longest_gap_s, lost
from tests.repeated import Repeated

SPEC = "environment: bench\nservices:\n  store01: {{kind: {kind}}}\n"
LABEL = "store01"

QUIET_S = 2.0
"""How long the client goes on after each change, so that what comes late is seen."""


@dataclass(frozen=True)
class Case:
    """A server that holds something already: `load` puts it there, through the URL."""

    kind: str
    variable: str
    client: type[AppClient]
    load: Callable[[str], object]


def nothing(_: str) -> None:
    """Leave it empty."""


def rows(url: str, count: int) -> None:
    """So many rows of 100 bytes and more, with a primary key."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table filling (n bigint primary key, words text)")
        connection.execute(f"insert into filling select n, repeat('x', 100) from generate_series(1, {count:d}) n")


CASES = {
    "redis, empty": Case("redis", "REDIS_URL", RedisUnrepeated, nothing),
    "redis, 100 MB": Case("redis", "REDIS_URL", RedisUnrepeated, lambda url: fill(url, 100_000_000)),
    "postgres, empty": Case("postgres", "DATABASE_URL", SqlClient, nothing),
    "postgres, 200,000 rows": Case("postgres", "DATABASE_URL", SqlClient, lambda url: rows(url, 200_000)),
}
WAYS = {"one to a group": "enable", "a group to one": "disable"}


def server(everup: Everup) -> tuple[str, int]:
    """The node that takes writes, and its process."""
    nodes = next(one["nodes"] for one in everup.status()["services"] if one["label"] == LABEL)
    node = next(one for one in nodes if one["role"] == "primary")
    return node["id"], node["pid"]


def measure(name: str, case: Case, runs: int, results: Results) -> None:
    """There and back again, so many times, under one client."""
    with Everup(SPEC.format(kind=case.kind)) as everup:
        everup("up")
        url = everup.variables(LABEL)[case.variable]
        case.load(url)
        first = server(everup)
        with closing(case.client(url, "in place")) as client, Repeated(client.write) as writer:
            for _ in range(runs):
                for words, verb in WAYS.items():
                    key = (name, words)
                    writer.wait(100, after_s=time.monotonic())
                    failed, began_s = len(writer.errors()), time.monotonic()
                    everup("ha", verb, LABEL)
                    took_s = time.monotonic() - began_s
                    time.sleep(QUIET_S)
                    results.add(key, longest_gap_s(writer.writes, began_s) * 1000)
                    results.count(key, errors=len(writer.errors()) - failed)
                    results.worst(key, command_s=round(took_s), another_server=int(server(everup) != first))
                    progress(f"{' · '.join(key)}: {results.rows[key].values[-1]:.0f} ms")
            writes = writer.stop()
            gone = lost(writes, client.survivors())
    for words in WAYS:
        results.worst((name, words), lost=len(gone), of=len(acknowledged(writes)))


def main(argv: list[str]) -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks in-place", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="times there and back of each sort (default 10)")
    parser.add_argument("--only", default="", help="what has this in its name")
    choice = parser.parse_args(argv)
    results = Results()
    try:
        for name in [name for name in CASES if choice.only in name]:
            measure(name, CASES[name], choice.runs, results)
    finally:
        publish("in-place", list(results.rows.values()))
