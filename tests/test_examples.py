"""Every numbered example comes up, does what its README says, and survives what it says it survives."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError, ReadOnlyError, TimeoutError
from redis.retry import Retry

from tests.everup_cli import Everup
from tests.http_load import HttpLoad
from tests.journal import longest_gap_s, lost
from tests.writers import Writer

PLAIN_SQL = Path(__file__).parent / "drills" / "plain_sql.py"
EXAMPLES = Path(__file__).parent.parent / "examples"

pytestmark = pytest.mark.faults


def plain_client(url: str) -> Redis:
    """What an ordinary application uses: the URL, and a few more tries when the connection breaks."""
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=5,
        retry=Retry(ConstantBackoff(0.05), 200),
        retry_on_error=[ConnectionError, TimeoutError, ReadOnlyError],
    )


def wait_until(question: Callable[[], bool], what: str, timeout_s: float = 90.0) -> None:
    give_up_s = time.monotonic() + timeout_s
    while not question():
        assert time.monotonic() < give_up_s, f"{what}: not within {timeout_s} s"
        time.sleep(0.05)


def test_a_single_redis_is_restarted_in_place_with_its_data():
    with Everup(EXAMPLES / "01-single-redis") as everup:
        everup("up")
        url = everup.variables("cache")["CACHE_URL"]
        with plain_client(url) as client:
            client.set("greeting", "hello")
            time.sleep(1.2)  # appendfsync everysec: on disk after a second
            node = everup.primary("cache")
            everup.kill(node)
            assert client.get("greeting") == "hello"
        again = everup.nodes("cache")[node["id"]]
        assert again["pid"] != node["pid"]
        assert again["restarts"] == node["restarts"] + 1
        everup.wait_healthy()


def test_redis_ha_fails_over_and_becomes_whole_again():
    with Everup(EXAMPLES / "02-redis-ha") as everup:
        everup("up")
        with plain_client(everup.variables("redis01")["REDIS_URL"]) as client:
            client.set("greeting", "hello")
            before = everup.primary("redis01")
            everup.kill(before)
            client.set("farewell", "bye")
            assert client.mget("greeting", "farewell") == ["hello", "bye"]
        everup.wait_healthy()
        assert everup.primary("redis01")["id"] != before["id"], everup("events").stdout[-3000:]
        assert everup.nodes("redis01")[before["id"]]["role"] == "replica"


def test_the_shop_loses_no_request_when_a_web_instance_or_the_primary_is_killed():
    with Everup(EXAMPLES / "03-web-and-redis-ha") as everup:
        everup("up")
        url = everup.variables("web")["WEB_URL"]
        with HttpLoad(url, method="PUT", path="/orders/{n}") as load:
            wait_until(lambda: len(load.requests()) > 50, "requests before the faults")
            everup.kill(everup.nodes("web")["web-2"])
            time.sleep(1.0)
            everup.kill(everup.primary("redis01"))
            time.sleep(2.0)
            requests = load.stop()
        assert [request for request in requests if request.error] == []
        everup.wait_healthy()
        stored = set(httpx.get(f"{url}/orders", timeout=10).json()["orders"])
        assert len({request.n for request in requests} - stored) <= 3  # asynchronous replication: the last moment
        assert len(everup.nodes("web").keys() & {"web-1", "web-2", "web-3"}) == 3


def test_workers_go_on_after_a_failover_and_after_their_own_death():
    with Everup(EXAMPLES / "04-worker") as everup:
        everup("up")
        with plain_client(everup.variables("queue")["QUEUE_URL"]) as client:
            client.rpush("jobs", 7)
            wait_until(lambda: client.hget("squares", "7") == "49", "the first job")
            everup.kill(everup.nodes("squarer")["squarer-1"])
            everup.kill(everup.primary("queue"))
            wait_until(lambda: client.ping(), "Redis")
            client.rpush("jobs", 8, 9)
            wait_until(lambda: client.hmget("squares", "8", "9") == ["64", "81"], "the jobs after the failover")
        everup.wait_healthy()
        assert everup.nodes("squarer")["squarer-1"]["restarts"] == 1
        assert "squared is" in everup("logs", "squarer").stdout


def drill_beside_a_plain_client(everup: Everup, folder: Path) -> None:
    """A crash of the primary: the app writes again, and a client that shares no line with Everup saw the same gap."""
    url = everup.variables("db01")["DATABASE_URL"]
    with Writer([sys.executable, "-I", str(PLAIN_SQL), url, "plain"], {}, folder, "plain") as plain:
        first = plain.wait_for_acks(100)[-1]
        command = ("drill", "db01", "--fault", "crash", "--app", "web", "--yes", "--patience", "10m")
        result = everup.json(*command)
        writes = [write for write in plain.stop() if write.ended_s >= first.ended_s]
    run, app = result["runs"][0], result["app"]
    assert (run["path"], run["verdict"], app["verdict"]) == ("failover", "pass", "pass"), result
    assert [one["stayed"] for one in app["instances"]] == [0, 0, 0]
    theirs_s = longest_gap_s(writes, first.ended_s)
    assert run["rto_s"] == pytest.approx(theirs_s, abs=max(1.0, 0.5 * theirs_s)), (run, theirs_s)
    with psycopg.connect(url, connect_timeout=20) as connection:
        survivors = {n for (n,) in connection.execute("select n from plain")}
    assert run["lost"] == len(lost(writes, survivors)) == 0


def test_orders_are_stored_once_cached_packed_and_outlive_the_database_they_were_given_to(tmp_path: Path):
    with Everup(EXAMPLES / "05-orders") as everup:
        everup("up")
        with httpx.Client(base_url=everup.variables("web")["WEB_URL"], timeout=90) as shop:
            for item in ("tea", "coffee"):  # the second time, the client has not heard the answer to the first
                answer = shop.post("/orders", json={"key": "a", "item": item})
                assert (answer.status_code, answer.json()["item"]) == (201, "tea")
            drill_beside_a_plain_client(everup, tmp_path)
            everup.kill(everup.nodes("packer")["packer-1"])
            assert shop.post("/orders", json={"key": "b", "item": "milk"}).status_code == 201
            wait_until(lambda: bool(shop.get("/orders/b").json()["packed"]), "packing after the failover")
            wait_until(lambda: shop.get("/orders/a").json()["source"] == "redis", "an answer from the cache")
            assert "b" in {order["key"] for order in shop.get("/orders").json()["orders"]}
            assert shop.get("/orders/c").status_code == 404
            assert "<title>orders</title>" in shop.get("/").text
        assert "packed 1" in everup("logs", "packer").stdout


def test_this_file_runs_every_example():
    run = {"01-single-redis", "02-redis-ha", "03-web-and-redis-ha", "04-worker", "05-orders"}
    assert {path.name for path in EXAMPLES.glob("[0-9]*")} == run
