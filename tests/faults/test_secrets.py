"""A secret from the keyboard to the process that uses it: there it is, and nowhere else in plain text."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.everup_cli import Everup
from tests.faults.truth import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

VALUE = "k3y-0f-th3-t1ll"
NEWER = "an0th3r-0n3"
SPEC = """\
environment: shop
services:
  mailer:
    kind: worker
    run: python -c "import time; print('up', flush=True); time.sleep(1e9)"
    env: {MODE: plain, API_KEY: {secret: api-key}}
"""


def told(everup: Everup, *args: str, text: str) -> str:
    """Run a command that reads `text` from its standard input; what it printed."""
    command = [str(Path(sys.executable).parent / "everup"), *args]
    done = subprocess.run(
        command, cwd=everup.folder, env=everup.environ, input=text, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def environment(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def everything_said(everup: Everup) -> str:
    """What every route says that changes nothing, and the command that shows variables."""
    said = ""
    with everup.api() as client:
        for path, methods in client.get("/v1/openapi.json").json()["paths"].items():
            filled = path.replace("{environment}", "shop").replace("{label}", "mailer").replace("{name}", "mailer")
            said += client.get(filled).text if "get" in methods else ""
        body = {"file": "everup.yaml", "text": SPEC, "directory": str(everup.folder), "path": everup.environ["PATH"]}
        said += client.post("/v1/plan", json=body).text
    done = everup("env")
    return said + done.stdout + done.stderr


@pytest.fixture(scope="module")
def shop() -> Iterator[Everup]:
    """One environment that is up; each test leaves it so, the secret with one of its two values."""
    with Everup(SPEC) as everup:
        refused = everup("up", codes=(1,))
        assert "the secret api-key, which mailer uses, is not set in shop" in refused.stderr
        assert "everup secret set api-key" in refused.stderr
        said = told(everup, "secret", "set", "api-key", text=f"{VALUE}\n")
        everup("up")
        assert VALUE not in said
        yield everup


def test_it_is_in_the_process_and_nowhere_else(shop: Everup):
    pid = shop.nodes("mailer")["mailer-1"]["pid"]
    value = environment(pid)["API_KEY"]
    assert value == VALUE
    until(lambda: "up" in shop("logs", "mailer").stdout, 30)
    assert value not in everything_said(shop)
    files = [file for file in shop.home.rglob("*") if file.is_file()]
    assert {"everup.sqlite", "everup.sqlite-wal", "everup.log", "secret.key", "out.log"} <= {one.name for one in files}
    assert [str(file) for file in files if value.encode() in file.read_bytes()] == []
    for process, command in shop.processes().items():
        assert value not in command
        assert (value in Path(f"/proc/{process}/environ").read_text()) == (process == pid), command


def test_another_value_is_read_at_the_next_start_and_restarts_nothing(shop: Everup):
    before = shop.nodes("mailer")["mailer-1"]["pid"]
    said = told(shop, "secret", "set", "api-key", text=NEWER)
    assert "everup restart mailer" in said
    assert shop.json("up")["changes"] == []
    assert shop.nodes("mailer")["mailer-1"]["pid"] == before
    shop("restart", "mailer")
    until(lambda: environment(shop.nodes("mailer")["mailer-1"]["pid"])["API_KEY"] == NEWER, 60)
    assert VALUE.encode() not in (shop.home / "state" / "everup.sqlite").read_bytes()


def test_a_secret_that_is_used_is_not_forgotten_and_none_is_given_on_the_command_line(shop: Everup):
    refused = shop("secret", "remove", "api-key", codes=(1,)).stderr
    assert "mailer uses the secret api-key" in refused
    assert shop("secret", "set", "api-key", "value", codes=(2,)).stderr
    assert "is empty" in shop("secret", "set", "api-key", codes=(2,)).stderr
    told(shop, "secret", "set", "other", text="x")
    assert [one["name"] for one in shop.json("secret", "list")["secrets"]] == ["api-key", "other"]
    shop("secret", "remove", "other")
    assert "has no secret other" in shop("secret", "remove", "other", codes=(1,)).stderr


def test_the_log_has_who_did_it_and_what_came_of_it(shop: Everup):
    shop("env", "mailer")
    entries = shop.json("audit")["entries"]
    deeds = [(one["who"], one["what"], one["status"]) for one in entries if one["from"] == "socket"]
    assert ("owner", "POST /v1/environments/{environment}/secrets", 200) in deeds
    assert ("owner", "POST /v1/apply", 404) in deeds  # the secret was missing
    assert deeds[-1] == ("owner", "GET /v1/environments/{environment}/variables", 200)
    shown = shop("audit", "--lines", "1").stdout
    assert shown.count("\n") == 1
    assert "owner from socket  get variables shop  done" in shown


def test_an_entry_that_somebody_changed_is_named(shop: Everup):
    whole = shop.json("audit", "verify")
    assert whole["verdict"] == "whole"
    assert shop("audit", "verify", "--head", whole["head"]).stdout.startswith(f"{whole['entries']} entries")
    assert shop.json("audit", "verify", "--head", "f" * 64, codes=(3,))["broken"] == whole["entries"] + 1
    os.kill(shop.control_plane(), signal.SIGKILL)
    with closing(sqlite3.connect(shop.home / "state" / "everup.sqlite")) as db, db:
        db.execute("DROP TRIGGER audit_unchanged")
        row = db.execute("SELECT seq, entry FROM audit WHERE seq = 3").fetchone()
        db.execute("UPDATE audit SET entry = ? WHERE seq = ?", (row[1].replace("owner", "nobody"), row[0]))
    broken = shop("audit", "verify", codes=(3,))
    assert "broken: entry 3 was changed" in broken.stdout
    assert json.loads(shop("audit", "verify", "--json", codes=(3,)).stdout)["broken"] == 3
