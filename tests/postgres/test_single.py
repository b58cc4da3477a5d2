"""A PostgreSQL of one node as its users have it: real processes, killed, hung, emptied and filled up."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from everup.drills.clients import PostgresClient
from tests.everup_cli import Everup, Json
from tests.journal import longest_gap_s, lost
from tests.repeated import Repeated
from tests.sql_writers import SqlWriters

pytestmark = pytest.mark.faults

SPEC = """
environment: pg
services:
  db01: {kind: postgres}
  orders-db: {kind: postgres, settings: {work_mem: 8MB}}
"""
BACK_S, FENCED_S = 15.0, 25.0
"""How long clients may wait once it was killed, and once it hangs, on a machine that another one takes the processors
from; `benchmarks` measure it."""

ONE = "environment: pg\nservices:\n  db01: {kind: postgres}\n"


@pytest.fixture(scope="module")
def pair() -> Iterator[Everup]:
    """Two databases in one environment."""
    with Everup(SPEC) as everup:
        everup("up")
        yield everup


@pytest.fixture
def one() -> Iterator[Everup]:
    """One database, up, in an environment of its own."""
    with Everup(ONE) as everup:
        everup("up")
        yield everup


def home(everup: Everup, node: str = "db01-1") -> Path:
    return everup.home / "state" / "environments" / "pg" / "nodes" / node


def postmaster(everup: Everup) -> int:
    return int((home(everup) / "data" / "postmaster.pid").read_text().splitlines()[0])


def servers(everup: Everup) -> set[int]:
    """Every process that works in the node's data directory: the postmaster and all backends."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == home(everup) / "data":
                found.add(int(process.name))
        except OSError:
            continue
    return found


def wait_for_hold(everup: Everup, text: str, within_s: float = 90.0) -> None:
    end_s = time.monotonic() + within_s
    while text not in str(everup.status()):
        assert time.monotonic() < end_s, f"{text!r} is not in {everup.status()}"
        time.sleep(0.1)


def test_each_service_has_a_server_a_database_and_a_role_of_its_own(pair: Everup) -> None:
    first, second = pair.variables("db01"), pair.variables("orders-db")
    assert first["DATABASE_URL"] == first["DB01_URL"] != second["ORDERS_DB_URL"]
    for url, name in ((first["DB01_URL"], "db01"), (second["ORDERS_DB_URL"], "orders-db")):
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "select current_user, current_database(), current_setting('data_checksums'),"
                " (select rolsuper or rolreplication or rolcreaterole from pg_roles where rolname = current_user)"
            ).fetchone()
            assert row == (name, name, "on", False)
            connection.execute("create table mine (n int)")
    with psycopg.connect(second["ORDERS_DB_URL"]) as connection:
        assert connection.execute("show work_mem").fetchone() == ("8MB",)


class Rereader:
    """A client that connects anew after every fifth write, with the variables as they are then."""

    def __init__(self, api: httpx.Client) -> None:
        self._api = api
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self.user = ""

    def __call__(self, n: int) -> None:
        if self._connection is None or n % 5 == 0:
            self.close()
            variables = variables_of(self._api)
            self._connection = psycopg.connect(variables["ORDERS_DB_URL"], autocommit=True)
            self.user = variables["ORDERS_DB_USER"]
        self._connection.execute("insert into rotated values (%s)", [n])

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def variables_of(api: httpx.Client) -> dict[str, str]:
    found: dict[str, str] = api.get("/v1/environments/pg/variables").json()["orders-db"]
    return found


def rotated(api: httpx.Client, **how: bool) -> tuple[int, Json]:
    answer = api.post("/v1/environments/pg/services/orders-db/rotate", json=how)
    return answer.status_code, answer.json()


def test_a_rotated_password_costs_no_write_of_who_reads_variables_again(pair: Everup) -> None:
    with pair.api() as api, pair.api() as theirs:
        old = variables_of(api)["ORDERS_DB_URL"]
        held, client = psycopg.connect(old, autocommit=True), Rereader(theirs)
        held.execute("create table rotated (n int)")
        with Repeated(client) as writer:
            writer.wait(10)
            assert "clients log in as orders-db_login_2 from now on" in pair("rotate", "orders-db").stdout
            new = variables_of(api)["ORDERS_DB_URL"]
            with psycopg.connect(old) as former, psycopg.connect(new, autocommit=True) as latter:
                assert former.execute("select session_user").fetchone() == ("orders-db",)
                latter.execute("create table since (n int)")
                owner = "select session_user, current_user, tableowner from pg_tables where tablename = 'since'"
                assert latter.execute(owner).fetchone() == ("orders-db_login_2", "orders-db", "orders-db")
            assert rotated(api)[1]["code"] == "refused.rotation"
            writer.wait(10, after_s=time.monotonic())
            assert client.user == "orders-db_login_2"
            assert rotated(api, finish=True)[1]["sessions"] >= 1
            with pytest.raises(psycopg.OperationalError, match="authentication failed"):
                psycopg.connect(old)
            held.execute("insert into rotated values (0)")
            assert rotated(api)[1]["user"] == "orders-db_login_3"
            other = psycopg.connect(new, autocommit=True)
            writer.wait(10, after_s=time.monotonic())
            assert rotated(api, finish=True, cut=True)[1]["former"] == "orders-db_login_2"
            with pytest.raises(psycopg.OperationalError):
                other.execute("select 1")
            writer.wait(10, after_s=time.monotonic())
        assert writer.errors() == []
        assert held.execute("select count(distinct n) from rotated where n > 0").fetchone() == (len(writer.writes),)
        assert rotated(api, finish=True)[0] == 409
        held.close()
        client.close()


def test_a_wrong_password_and_a_strange_database_are_refused(pair: Everup) -> None:
    found = pair.variables("db01")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(found["DB01_URL"].replace(found["DB01_PASSWORD"], "guess"))


def test_nothing_but_loopback_is_open(pair: Everup) -> None:
    ports = {node["address"] for label in ("db01", "orders-db") for node in pair.service(label)["nodes"]}
    assert all(address.startswith("127.") for address in ports if address)
    pids = servers(pair)
    inodes = {str(fd.readlink()) for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
            assert words[1].startswith(tuple(f"{last:02X}" for last in range(256))) and words[1][6:8] == "7F"


def test_a_snippet_and_the_shell_reach_the_database(pair: Everup) -> None:
    snippet = pair("connect", "db01", "--lang", "shell").stdout
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("there is no psql (Debian: apt-get install postgresql)")
    for line in (snippet, "echo 'select current_user' | everup shell db01"):
        done = subprocess.run(
            ["sh", "-c", line], cwd=pair.folder, env=pair.environ, capture_output=True, text=True, check=False
        )
        assert "db01" in done.stdout, done.stderr


def test_a_killed_server_is_back_soon_and_has_lost_nothing(one: Everup) -> None:
    with SqlWriters(one.variables("db01")["DB01_URL"]) as writers:
        for _ in range(3):
            writers.wait_for(100)
            fault_s = time.monotonic()
            os.kill(postmaster(one), signal.SIGKILL)
            writers.wait_for(100)
            assert longest_gap_s(writers.writes, fault_s) <= BACK_S
            one.wait_healthy()
        writers.stop()
        assert lost(writers.writes, writers.survivors()) == []


def test_with_the_keeper_dies_every_backend(one: Everup) -> None:
    url = one.variables("db01")["DB01_URL"]
    with psycopg.connect(url, autocommit=True) as busy, SqlWriters(url) as writers:
        pid = busy.execute("select pg_backend_pid()").fetchone()
        assert pid
        before = servers(one)
        assert pid[0] in before
        writers.wait_for(100)
        fault_s = one.kill(one.nodes("db01")["db01-1"])
        writers.wait_for(100)
        assert longest_gap_s(writers.writes, fault_s) <= BACK_S
        assert not before & servers(one)
        writers.stop()
        assert lost(writers.writes, writers.survivors()) == []


def test_a_hung_server_is_fenced_and_comes_back(one: Everup) -> None:
    with SqlWriters(one.variables("db01")["DB01_URL"]) as writers:
        writers.wait_for(100)
        before = servers(one)
        fault_s = one.inject("db01-1", "hang")
        writers.wait_for(100)
        assert longest_gap_s(writers.writes, fault_s) <= FENCED_S
        assert not before & servers(one)
        writers.stop()
        assert lost(writers.writes, writers.survivors()) == []


def test_a_hung_postmaster_alone_is_fenced_too(one: Everup) -> None:
    with SqlWriters(one.variables("db01")["DB01_URL"]) as writers:
        writers.wait_for(100)
        stopped = postmaster(one)
        os.kill(stopped, signal.SIGSTOP)  # sessions go on, but nobody gets a new one
        end_s = time.monotonic() + 120
        while Path(f"/proc/{stopped}").exists():
            assert time.monotonic() < end_s
            time.sleep(0.1)
        one.wait_healthy()
        writers.wait_for(100)
        writers.stop()
        assert lost(writers.writes, writers.survivors()) == []


def test_an_app_that_takes_every_connection_is_not_taken_for_a_hang(one: Everup) -> None:
    url, pid = one.variables("db01")["DB01_URL"], one.nodes("db01")["db01-1"]["pid"]
    taken = []
    try:
        with pytest.raises(psycopg.OperationalError, match="connection"):
            for _ in range(101):
                taken.append(psycopg.connect(url))
        time.sleep(7)  # longer than a fresh probe takes to come, and longer than a hang may last
        assert one.nodes("db01")["db01-1"]["pid"] == pid
        assert one.service("db01")["health"] == "healthy"
    finally:
        for connection in taken:
            connection.close()


def test_an_emptied_data_directory_is_never_started_and_heals_when_the_data_comes_back(one: Everup) -> None:
    url = one.variables("db01")["DB01_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table kept as select 42 as n")
    (home(one) / "data").rename(home(one) / "aside")
    one.kill(one.nodes("db01")["db01-1"])
    wait_for_hold(one, "its data is gone")
    (home(one) / "data").mkdir()
    time.sleep(2)
    assert list((home(one) / "data").iterdir()) == []
    (home(one) / "data").rmdir()
    (home(one) / "aside").rename(home(one) / "data")
    one.wait_healthy()
    with psycopg.connect(url) as connection:
        assert connection.execute("select n from kept").fetchone() == (42,)


def test_an_older_copy_of_the_data_is_not_started(one: Everup) -> None:
    one("down", "--yes")
    (home(one) / "data" / "generation").write_text("0\n")
    starting = one.start("up")
    wait_for_hold(one, "older than")
    starting.kill()
    starting.communicate()


def test_data_of_another_major_version_is_held_with_both_versions_named(one: Everup) -> None:
    version = home(one) / "data" / "PG_VERSION"
    right = version.read_text()
    version.write_text("13\n")
    one.kill(one.nodes("db01")["db01-1"])
    wait_for_hold(one, "version 13")
    version.write_text(right)
    one.wait_healthy()


def test_data_survives_down_and_up(one: Everup) -> None:
    url = one.variables("db01")["DB01_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table kept as select 42 as n")
    one("down", "--yes")
    assert servers(one) == set()
    one("up")
    assert one.variables("db01")["DB01_URL"] == url
    with psycopg.connect(url) as connection:
        assert connection.execute("select n from kept").fetchone() == (42,)


def test_a_dead_control_plane_changes_nothing_and_the_next_one_adopts_the_server(one: Everup) -> None:
    with SqlWriters(one.variables("db01")["DB01_URL"]) as writers:
        writers.wait_for(50)
        pid = postmaster(one)
        os.kill(one.control_plane(), signal.SIGKILL)
        writers.wait_for(200)
        one("up")
        one.wait_healthy()
        assert postmaster(one) == pid
        assert writers.errors == []


def test_a_kill_while_the_data_directory_is_made_costs_nothing() -> None:
    with Everup(ONE) as everup:
        starting = everup.start("up")
        end_s = time.monotonic() + 120
        while not (home(everup) / "data.new" / "PG_VERSION").exists():
            assert time.monotonic() < end_s
            time.sleep(0.002)
        everup.kill(everup.nodes("db01")["db01-1"])
        out, err = starting.communicate(timeout=240)
        assert starting.returncode == 0, out + err
        everup.wait_healthy()
        with psycopg.connect(everup.variables("db01")["DB01_URL"]) as connection:
            assert connection.execute("select current_user").fetchone() == ("db01",)
        assert not (home(everup) / "data.new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small file system")
def test_a_full_disk_corrupts_nothing_is_told_and_heals_once_there_is_room() -> None:
    with Everup(ONE) as everup:
        place = home(everup)
        place.mkdir(parents=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", place], check=False)
        if mounted.returncode:
            pytest.skip("this machine lets nobody mount a tmpfs")
        try:
            everup("up")
            url = everup.variables("db01")["DB01_URL"]
            with SqlWriters(url, pause_s=0.01) as writers:
                writers.wait_for(50)
                filler = place / "filler"
                with filler.open("wb") as file, pytest.raises(OSError, match="No space"):
                    while True:
                        file.write(bytes(1 << 16))
                        file.flush()
                with psycopg.connect(url, autocommit=True) as connection, pytest.raises(psycopg.Error):
                    connection.execute("create table big as select repeat('x', 500) from generate_series(1, 400000)")
                wait_for_hold(everup, "the disk of db01-1 is full")
                assert everup.service("db01")["health"] in ("degraded", "down")
                filler.unlink()
                everup.wait_healthy()
                writers.wait_for(50)
                writers.stop()
                assert lost(writers.writes, writers.survivors()) == []
        finally:
            everup("down", "--yes", codes=(0, 1))
            subprocess.run(["umount", "-l", place], check=False)
            shutil.rmtree(place, ignore_errors=True)


DEBIANS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.mark.skipif(not DEBIANS, reason="no system PostgreSQL (Debian: apt-get install postgresql)")
def test_a_system_server_serves_and_another_major_version_is_held_until_the_first_is_back() -> None:
    own = f"environment: pg\nprograms: {{postgres: {DEBIANS[0]}}}\nservices:\n  db01: {{kind: postgres}}\n"
    with Everup(own) as everup:
        everup("up")
        url = everup.variables("db01")["DB01_URL"]
        major = DEBIANS[0].parent.name
        with psycopg.connect(url, autocommit=True) as connection:
            assert str(connection.info.server_version).startswith(major)
            assert connection.pgconn.ssl_in_use  # it has OpenSSL, and a client need not ask for TLS to get it
            connection.execute("create table kept as select 42 as n")
        everup.write_spec(ONE)
        starting = everup.start("up")
        wait_for_hold(everup, f"initialized by PostgreSQL version {major}")
        starting.kill()
        starting.communicate()
        everup.write_spec(own)
        everup("up")
        with psycopg.connect(url, sslmode="require") as connection:
            assert connection.execute("select n from kept").fetchone() == (42,)
        with psycopg.connect(url, sslmode="disable") as connection:
            assert not connection.pgconn.ssl_in_use
        assert "SSL" not in everup("logs", "db01").stdout


def test_a_change_of_settings_and_a_restart_are_carried_out_and_lose_nothing(one: Everup) -> None:
    with SqlWriters(one.variables("db01")["DB01_URL"], pause_s=0.005) as writers:
        writers.wait_for(50)
        before = postmaster(one)
        one("restart", "db01")
        writers.wait_for(50)
        one.wait_healthy()
        restarted = postmaster(one)
        assert restarted != before
        one.write_spec("environment: pg\nservices:\n  db01: {kind: postgres, settings: {work_mem: 9MB}}\n")
        one("up")
        assert postmaster(one) != restarted
        writers.wait_for(50)
        writers.stop()
        assert lost(writers.writes, writers.survivors()) == []
    with psycopg.connect(one.variables("db01")["DB01_URL"]) as connection:
        assert connection.execute("show work_mem").fetchone() == ("9MB",)


def test_a_drill_writes_to_a_table_of_its_own_and_takes_it_away(pair: Everup):
    settings = {"URL": pair.variables("db01")["DATABASE_URL"]}
    client = PostgresClient(settings, "test")
    client.prepare()
    for n in (1, 2, 3):
        client.write(n)
    with pytest.raises(client.failures):  # a number may come once only, and the connection is opened anew
        client.write(3)
    client.write(4)
    assert client.survivors() == frozenset({1, 2, 3, 4})
    client.clean_up()
    client.close()
    with psycopg.connect(settings["URL"]) as connection:
        rows = connection.execute("select tablename from pg_tables where tablename like 'everup_drill%'").fetchall()
    assert rows == []
