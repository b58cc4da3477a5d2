"""The keeper by itself: what it refuses, and what it leaves alone."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from everup.engines.local.privilege import footing
from everup.engines.local.programs import Programs
from everup.kinds._postgres_server import Secrets, keeper_json, settings_of
from everup.kinds.postgres import KEEPER_SOURCE
from everup.model.desired import Tcp
from tests.kinds.real import accepts, fresh_address, wait_until

pytestmark = pytest.mark.faults
SECRETS = Secrets("own", "super", "rep", "rew")


def keep(home: Path, address: Tcp, *words: str) -> "subprocess.Popen[str]":
    """Start a keeper in `home`; its output goes to `out.log` there, as an engine would have it."""
    home.mkdir(exist_ok=True)
    (home / "keeper.py").write_text(KEEPER_SOURCE)
    told = keeper_json("single", "db01", settings_of("db01", {}), address, SECRETS)
    (home / "keeper.json").write_text(told)
    programs = Programs({}, os.environ).find("postgres").path.parent
    command = [*footing().words, sys.executable, "-IS", "keeper.py", str(programs), *words]
    with (home / "out.log").open("ab") as log:
        return subprocess.Popen(command, cwd=home, stdout=log, stderr=log, start_new_session=True, text=True)


def test_nothing_is_made_unless_it_is_told_to(tmp_path: Path) -> None:
    process = keep(tmp_path / "home", fresh_address(5432))
    assert process.wait(60) == 1
    assert "none may be made" in (tmp_path / "home" / "out.log").read_text()
    assert not (tmp_path / "home" / "data").exists()


def test_an_existing_directory_is_never_made_anew_and_a_half_made_one_is_thrown_away(tmp_path: Path) -> None:
    home, address = tmp_path / "home", fresh_address(5432)
    (home / "data.new").mkdir(parents=True)
    (home / "data.new" / "half").write_text("")
    first = keep(home, address, "--found")
    wait_until(lambda: accepts(address), 30)
    assert not (home / "data.new").exists()
    identity = (home / "data" / "global" / "pg_control").read_bytes()[:8]  # the system identifier
    first.terminate()
    assert first.wait(60) == 0
    assert not (home / "data" / "postmaster.pid").exists()
    second = keep(home, address, "--found")
    wait_until(lambda: accepts(address), 30)
    assert (home / "data" / "global" / "pg_control").read_bytes()[:8] == identity
    assert "tls.conf" in (home / "data" / "postgresql.conf").read_text()
    second.terminate()
    assert second.wait(60) == 0


def test_a_directory_with_something_else_in_it_is_not_replaced(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (home / "data" / "precious").write_text("mine")
    process = keep(home, fresh_address(5432), "--found")
    assert process.wait(60) == 1
    assert (home / "data" / "precious").read_text() == "mine"


def test_a_pid_file_that_names_somebody_else_does_not_keep_the_server_from_starting(tmp_path: Path) -> None:
    home, address = tmp_path / "home", fresh_address(5432)
    first = keep(home, address, "--found")
    wait_until(lambda: accepts(address), 30)
    kept = (home / "data" / "postmaster.pid").read_text()
    first.terminate()
    first.wait(60)
    (home / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{kept.partition(chr(10))[2]}")
    second = keep(home, address)
    wait_until(lambda: accepts(address), 30)
    second.terminate()
    assert second.wait(60) == 0


def test_its_last_words_are_the_servers_own(tmp_path: Path) -> None:
    home, address = tmp_path / "home", fresh_address(5432)
    first = keep(home, address, "--found")
    wait_until(lambda: accepts(address), 30)
    first.terminate()
    first.wait(60)
    process = keep(home, address)
    process.kill()
    process.wait(60)
    end_s = time.monotonic() + 120
    while accepts(address):
        assert time.monotonic() < end_s
        time.sleep(0.05)
    (home / "data" / "PG_VERSION").write_text("13\n")
    second = keep(home, address)
    assert second.wait(60) == 1
    last = (home / "out.log").read_text().splitlines()[-1]
    assert last.startswith("keeper: postgres exited with code 1: ")
    assert "initialized by PostgreSQL version 13" in last
