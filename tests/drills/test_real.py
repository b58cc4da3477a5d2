"""Drills of a real Redis group: what they report, beside what a plain client of its own saw of the same fault."""

import fcntl
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from everup.cli.campaign import standing_of
from everup.core.drill import stale_reads
from everup.drills.clients import CLIENTS
from everup.drills.load import READ_EVERY_S, Writers
from everup.drills.run import until
from tests.everup_cli import Everup
from tests.journal import acknowledged, longest_gap_s
from tests.writers import Writer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

HERE = Path(__file__).parent
SPEC = f"""\
environment: shop
services:
  redis01: {{kind: redis, ha: true}}
  cache: {{kind: redis}}
  web:
    kind: app
    run: python {HERE / "two_minds.py"}
    health: /
    scale: 2
    needs: [redis01]
    drill: {{method: PUT, path: "/orders/{{n}}", within: 5s}}
"""
PLAIN = HERE / "plain_loop.py"
CALM = ("--yes", "--patience", "10m")


@pytest.fixture(scope="module")
def shop() -> Iterator[Everup]:
    with Everup(SPEC) as everup:
        everup("up")
        yield everup


def drill(everup: Everup, *args: str, code: int = 0) -> Any:
    return everup.json("drill", "redis01", *args, *CALM, codes=(code,))


def refusal(everup: Everup, *args: str, code: int = 1) -> Any:
    return json.loads(everup("drill", *args, "--json", codes=(code,)).stderr)["error"]


def by_url(everup: Everup) -> "redis.Redis[Any]":
    return redis.Redis.from_url(everup.variables("redis01")["REDIS_URL"], decode_responses=True, socket_timeout=60)


def test_it_needs_to_be_allowed_and_breaks_nothing_until_it_is(shop: Everup):
    error = refusal(shop, "redis01", "--fault", "crash", code=4)
    assert error["code"] == "drill.not_allowed"
    assert "--yes" in error["hint"]
    assert {node["restarts"] for node in shop.nodes("redis01").values()} == {0}


def test_what_no_drill_can_prove_is_refused_with_the_reason(shop: Everup):
    assert refusal(shop, "cache", "--fault", "crash", "--yes")["code"] == "refused.drill"
    assert "root" in refusal(shop, "redis01", "--fault", "partition", "--yes")["message"]
    assert refusal(shop, "redis01", code=2)["code"] == "usage"


def test_two_drills_do_not_measure_each_other(shop: Everup):
    with (shop.home / "state" / "drills.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert refusal(shop, "redis01", "--fault", "crash", "--yes")["code"] == "refused.second_drill"


def test_an_app_that_cannot_be_watched_is_refused_before_anything_breaks(shop: Everup):
    told = ("redis01", "--fault", "crash", "--yes", "--app")
    assert refusal(shop, *told, "cache")["code"] == "refused.app"
    assert "METHOD PATH" in refusal(shop, *told, "web", "--app-request", "/orders", code=2)["hint"]
    error = refusal(shop, *told, "web", "--app-request", "DELETE /orders/{n}")
    assert error["message"].endswith("does not take DELETE /orders/{n}: HTTP 501") and "--app-request" in error["hint"]
    assert sum(one["restarts"] for one in shop.nodes("web").values()) == 0


def test_the_instance_whose_connections_stay_on_the_old_primary_is_named(shop: Everup, tmp_path: Path):
    addresses = {node["id"]: f"http://{node['address']}:{node['port']}" for node in shop.nodes("web").values()}
    minds = {node: httpx.get(url, timeout=60).text for node, url in addresses.items() if node != "web-endpoint"}
    stays, follows = sorted(minds, key=minds.__getitem__, reverse=True)
    assert (minds[stays], minds[follows]) == ("stays", "follows")
    report = tmp_path / "app.html"
    result = drill(shop, "--fault", "crash", "--app", "web", "--report", str(report), code=3)
    run, app = result["runs"][0], result["app"]
    assert (run["path"], run["verdict"], app["verdict"], app["request"]) == (
        "failover",
        "fail",
        "fail",
        "PUT /orders/{n}",
    )
    assert run["because"].startswith(f"{stays} stayed on the old primary: its writes failed for 5 s after redis01 took")
    assert run["because"].endswith("(Unacknowledged: HTTP 500)")
    seen = {one["node"]: one for one in run["app"]["instances"]}
    assert (seen[stays]["stayed"], seen[stays]["rto_s"], seen[follows]["stayed"]) == (True, None, False)
    assert seen[follows]["verdict"] == "pass" and seen[follows]["rto_s"] < 60
    assert "everup restart web" in app["next"]
    with by_url(shop) as client:
        assert int(client.scard("orders")) >= seen[follows]["acknowledged"]
    assert f"{stays} stayed on the old primary" in report.read_text()
    assert f"✗ web: {stays} stayed" in shop("drill", "history", "redis01").stdout


def test_its_figures_agree_with_those_of_a_plain_client_of_the_same_fault(shop: Everup, tmp_path: Path):
    url = urlsplit(shop.variables("redis01")["REDIS_URL"])
    with by_url(shop) as client:
        client.set("theirs", "untouched")
    command = [sys.executable, "-IS", str(PLAIN), str(url.hostname), str(url.port), "plain"]
    report = tmp_path / "reports" / "crash.html"
    primary = shop.primary("redis01")["id"]
    with Writer(command, {}, tmp_path, "plain") as plain:
        first = plain.wait_for_acks(100)[-1]
        result = drill(shop, "--fault", "crash", "--via", "endpoint", "--report", str(report))
        writes = [write for write in plain.stop() if write.ended_s >= first.ended_s]
    run, summary = result["runs"][0], result["summary"]
    assert (summary["verdict"], run["path"], run["subject"]) == ("pass", "failover", primary)
    assert run["acknowledged"] > 20 and run["errors"] > 0
    assert run["reads"] > 10 and run["stale"] == 0
    theirs_s = longest_gap_s(writes, first.ended_s)
    assert run["rto_s"] == pytest.approx(theirs_s, abs=max(1.0, 0.5 * theirs_s)), (run, theirs_s)
    with by_url(shop) as client:
        survivors = {int(member) for member in client.smembers("plain")}
        gone = [write.n for write in acknowledged(writes) if write.n not in survivors]
        assert abs(run["lost"] - len(gone)) <= 20, (run["lost"], gone)  # asynchronous: a few, and not the same ones
        assert client.get("theirs") == "untouched"
        assert client.keys("everup:*") == []
    page = report.read_text()
    assert page.count("<svg") == 2 and "promoted" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page


def test_a_reader_that_is_left_on_another_server_is_seen_to_be_stale(shop: Everup, tmp_path: Path):
    """The reader's own session goes to a replica that no longer follows; the writers' go on."""
    url = shop.variables("redis01")["REDIS_URL"]
    service = next(one for one in shop.json("status")["services"] if one["label"] == "redis01")
    replica = next(one for one in service["nodes"] if one["role"] == "replica")
    alone = f"redis://:{urlsplit(url).password}@{replica['address']}:{replica['port']}"
    settings = {"URL": url}
    client = CLIENTS["redis-endpoint"](settings, "stale_test")
    client.prepare()
    writers = Writers([("redis-endpoint", settings)], "stale_test", tmp_path / "w", every_s=0.005)
    readers = Writers(
        [("redis-endpoint", {"URL": one}) for one in (url, alone)],
        "stale_test",
        tmp_path / "r",
        every_s=READ_EVERY_S,
        reads=True,
    )
    with redis.Redis.from_url(alone) as cut_off, writers, readers:
        assert until(lambda: writers.acknowledged() > 50 and readers.acknowledged() > 4, 30)
        cut_off.replicaof("127.0.0.1", 1)  # nobody listens there
        many = writers.acknowledged() + 100
        assert until(lambda: writers.acknowledged() > many, 30)
        writes = writers.stop()
        of_primary, of_replica = readers.of_each()
    client.clean_up()
    client.close()
    good = [write for write in writes if write.error is None]
    assert stale_reads(of_primary, good, 0) == 0 < len(of_primary)
    assert stale_reads(of_replica, good, 0) > 0
    shop.wait_healthy()


def test_a_switchover_and_the_death_of_the_control_plane_are_drills_too(shop: Everup):
    before = shop.primary("redis01")["id"]
    moved = drill(shop, "--fault", "switchover", "--writers", "2")
    assert (moved["runs"][0]["path"], moved["via"], moved["summary"]["lost"]) == ("switchover", "sentinel", 0)
    assert shop.primary("redis01")["id"] != before
    pid = shop.control_plane()
    died = drill(shop, "--fault", "control-plane")
    assert (died["runs"][0]["path"], died["summary"]["verdict"], died["summary"]["lost"]) == ("none", "pass", 0)
    assert shop.control_plane() != pid


def test_results_are_kept(shop: Everup):
    kept = shop.json("drill", "history")["drills"]
    assert [(one["fault"], one["summary"]["verdict"]) for one in kept] == [
        ("crash", "fail"),
        ("crash", "pass"),
        ("switchover", "pass"),
        ("control-plane", "pass"),
    ]
    assert "control-plane" in shop("drill", "history", "redis01").stdout
    assert shop.json("drill", "history", "cache") == {"drills": []}
    told = [json.loads(line) for line in shop("events", "--json", "--lines", "2000").stdout.splitlines()]
    assert [one["fields"]["verdict"] for one in told if one["name"] == "drill.ended"] == ["fail", *["pass"] * 3]


def test_a_campaign_goes_over_the_environment_and_holds_it_to_its_invariants(shop: Everup):
    shop.wait_healthy()
    told = shop.json("drill", "--campaign", "--seed", "5", "--minutes", "0.1", *CALM)
    assert told["verdict"] == "pass" and told["breaches"] == []
    assert all(step["run"]["acknowledged"] > 20 for step in told["steps"])
    assert {step["label"] for step in told["steps"]} <= {"redis01", "web"}
    lineages = standing_of(shop.status()).lineages
    assert [len(lineages[label]) for label in ("redis01", "cache")] == [1, 1]
    assert lineages["redis01"] != lineages["cache"]


def test_none_begins_while_redundancy_is_missing(shop: Everup):
    shop.wait_healthy()
    replica = next(node["id"] for node in shop.nodes("redis01").values() if node["role"] == "replica")
    shop.inject(replica, "node-loss", for_s=600)
    error = refusal(shop, "redis01", "--fault", "crash", "--yes")
    assert error["code"] == "refused.drill"
    assert error["hint"] == "Wait until it is healthy: everup status redis01 --watch"
