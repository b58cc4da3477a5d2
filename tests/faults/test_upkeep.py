"""What keeps the control plane itself up and known: metrics, notifications, its store, who runs it."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from everup.runtime.home import Home
from tests.everup_cli import Everup
from tests.faults.test_control_plane import changes_nothing, kill_control_plane, lives, lock_holder
from tests.faults.truth import leaders, until
from tests.promql import expressions, names_in
from tests.receiver import SECRET, Receiver

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SPEC = """\
environment: shop
services:
  cache: {kind: redis}
"""
LIMIT_S = 120.0


@pytest.fixture(scope="module")
def shop() -> Iterator[Everup]:
    """One environment that is up; tests leave it so."""
    with Everup(SPEC) as everup:
        everup("up")
        yield everup


def home(everup: Everup) -> Home:
    return Home(Path(everup.environ["EVERUP_HOME"]))


def samples(everup: Everup) -> dict[str, list[tuple[dict[str, str], float]]]:
    with everup.api() as http:
        answer = http.get("/metrics").raise_for_status()
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(answer.text):
        found.setdefault(family.name, [])
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(everup: Everup, name: str) -> float:
    return sum(value for _, value in samples(everup).get(name, []))


def say(everup: Everup, line: str, *args: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with a line on its standard input."""
    command = [str(Path(sys.executable).parent / "everup"), *args]
    return subprocess.run(
        command, cwd=everup.folder, env=everup.environ, input=line, capture_output=True, text=True, timeout=240
    )


def test_an_incident_is_measured_and_told_and_its_urls_stay_secret(shop: Everup):
    with Receiver(failures=2).open() as server:
        added = say(shop, server.url + "\n", "notify", "add", "team", "--on", "incident")
        assert added.returncode == 0, added.stderr
        before = total(shop, "everup_rto_seconds_count")
        shop.kill(shop.primary("cache"))
        until(lambda: total(shop, "everup_rto_seconds_count") == before + 1, LIMIT_S, "the incident is measured")
        until(lambda: server.taken, LIMIT_S, "the incident is told")
        (message,) = server.taken
        assert message["title"] == "shop: cache failed and is whole again"
        assert "cache-1" in message["message"] and "was killed" in message["message"]
        assert shop("notify", "test").stdout == "team: sent\n"
        until(lambda: total(shop, "everup_notifications_total") == 1, LIMIT_S, "it is counted")
        with shop.api() as http:
            pages = ("/v1/notifications", "/v1/environments/shop", "/v1/environments/shop/events", "/metrics")
            shown = "".join(http.get(page).text for page in pages)
        shown += added.stdout + added.stderr + home(shop).log.read_text()
        assert SECRET not in shown and str(server.server_port) not in shown
        shop("notify", "remove", "team")
    assert "nobody is told" in shop("notify", "list").stdout
    assert home(shop).store.stat().st_mode & 0o777 == 0o600


def test_what_dashboards_and_alerts_ask_for_is_there(shop: Everup):
    found = samples(shop)
    known = {*found, *(f"{name}{end}" for name in found for end in ("_total", "_bucket", "_sum", "_count")), "up"}
    for title, expression in expressions():
        assert names_in(expression) <= known, title
    assert total(shop, "everup_service_nodes") == total(shop, "everup_service_nodes_ready") > 0
    assert total(shop, "everup_store_size_bytes") > 0


def test_a_destroyed_store_is_restored_beside_running_services(shop: Everup):
    backups = [shop.folder / f"backup-{number}" for number in range(2)]
    load = threading.Thread(target=lambda: [shop("up") for _ in range(2)])
    load.start()
    for file in backups:
        shop("store", "backup", str(file))
        assert file.stat().st_mode & 0o777 == 0o600
    load.join()
    refused = shop("store", "restore", str(backups[-1]), codes=(1,))
    assert "refused.second_control_plane" in refused.stderr
    before = leaders(shop)
    kill_control_plane(shop, 0)
    for file in home(shop).path.glob("everup.sqlite*"):
        file.unlink() if file.name != "everup.sqlite" else file.write_bytes(b"not a database" * 500)
    unusable = shop("status", codes=(1,)).stderr
    assert "store.unusable" in unusable and "Running services are not touched" in unusable
    assert "Traceback" not in unusable
    assert all(lives(pid) for pid in before.values())
    refused = shop("store", "restore", str(backups[-1]), codes=(1,))
    assert "--adopt" in refused.stderr
    done = shop.json("store", "restore", str(backups[-1]), "--adopt")
    assert len(done["running"]) == len(before) and done["contents"]["environments"] == ["shop"]
    changes_nothing(shop)
    assert leaders(shop) == before


def test_what_the_unit_says_takes_over_and_is_started_again_whatever_ends_it(shop: Everup):
    shop("status")
    first, before = lock_holder(shop), leaders(shop)
    serve = [sys.executable, "-P", "-m", "everup.serve"]
    second = subprocess.run(serve, env=shop.environ, capture_output=True, text=True, timeout=240, cwd="/")
    assert second.returncode == 1
    assert f"another control plane (pid {first})" in second.stderr
    unit = shop("serve", "--print", "--user").stdout
    command, environment = (re.search(rf"^{key}=(.*)$", unit, re.MULTILINE) for key in ("ExecStart", "Environment"))
    assert command and environment
    words = dict(word.split("=", 1) for word in shlex.split(environment[1]))  # what systemd would run, as it would

    def run() -> "subprocess.Popen[str]":
        return subprocess.Popen(shlex.split(command[1]), env=words, cwd="/", stderr=subprocess.PIPE, text=True)

    for former, ending in ((first, signal.SIGKILL), (0, signal.SIGTERM)):  # and once more, as Restart=always has it
        looking = run()
        try:
            if former:
                assert lock_holder(shop) == former and looking.poll() is None
                os.kill(former, signal.SIGTERM)
            until(lambda pid=looking.pid: lock_holder(shop) == pid, LIMIT_S, "it takes over")
            until(lambda pid=looking.pid: shop.status()["control_plane"]["pid"] == pid, LIMIT_S, "and answers")
            assert leaders(shop) == before
            changes_nothing(shop)
        finally:
            looking.send_signal(ending)
            looking.communicate(timeout=240)
        assert all(lives(pid) for pid in before.values())
