"""A PostgreSQL group as its users have it: servers killed, hung and emptied, etcd too, while clients write."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.app_clients import GATE_S, SQL_CLIENTS, SqlAnew, SqlIdle, hand_over
from tests.everup_cli import Everup
from tests.journal import acknowledged, longest_gap_s, lost
from tests.postgres.bank import Bank
from tests.postgres.group import ETCD, GROUP, SINGLE, Group
from tests.repeated import Repeated
from tests.sql_writers import SqlWriters

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

FAILOVER_S, HANG_S, PLANNED_S = 18.0, 30.0, 18.0
UNNOTICED_S = 6.0
"""Bounds that a busy machine keeps. The promises are 0.6, 5 and 0.5 s; the benchmark measures them."""


@pytest.fixture(scope="module")
def everup() -> Iterator[Everup]:
    with Everup(GROUP) as running:
        running("up", timeout_s=240)
        yield running


@pytest.fixture
def group(everup: Everup) -> Group:
    """The group, whole."""
    whole = Group(everup)
    whole.wait_redundant()
    return whole


def url(everup: Everup) -> str:
    return everup.variables("db01")["DATABASE_URL"]


def gap_and_losses(writers: SqlWriters, fault_s: float) -> tuple[float, list[int]]:
    writers.stop()
    return longest_gap_s(writers.writes, fault_s), lost(writers.writes, writers.survivors())


@pytest.mark.parametrize("count", [1, 4])
def test_a_lost_primary_is_replaced_at_once_and_nothing_acknowledged_is_lost(group: Group, count: int):
    before = group.primary()["id"]
    with SqlWriters(url(group.everup), count) as writers:
        writers.wait_for(200)
        fault_s = group.lose(group.primary())
        writers.wait_for(200)
        gap_s, missing = gap_and_losses(writers, fault_s)
    assert group.primary()["id"] != before
    assert missing == []
    assert gap_s < FAILOVER_S
    group.wait_redundant()
    assert {node["role"] for node in group.everup.nodes("db01").values()} >= {"primary", "replica"}


def test_a_rotated_password_outlives_a_change_of_the_primary(group: Group):
    everup, old = group.everup, url(group.everup)
    with SqlWriters(old, 1) as writers:
        writers.wait_for(20)
        assert everup.json("rotate", "db01")["former"] == "db01"
        everup("switchover", "db01")
        writers.wait_for(20)  # who knows the former password alone goes on until it is ended
        with psycopg.connect(url(everup)) as connection:
            assert connection.execute("select session_user, current_user").fetchone() == ("db01_login_2", "db01")
        with psycopg.connect(everup.variables("db01")["DB01_REPLICA_URL"]) as connection:
            assert connection.execute("select session_user").fetchone() == ("db01_login_2",)
        everup("rotate", "db01", "--finish")
        writers.wait_for(20)  # its session goes on
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(old)
    group.wait_redundant()


def test_a_killed_postgres_alone_costs_no_write_that_was_acknowledged(group: Group):
    with SqlWriters(url(group.everup)) as writers:
        writers.wait_for(200)
        fault_s = group.kill_postgres(group.primary())
        writers.wait_for(200)
        gap_s, missing = gap_and_losses(writers, fault_s)
    assert missing == []
    assert gap_s < FAILOVER_S


def test_a_killed_patroni_disturbs_nobody(group: Group):
    primary = group.primary()
    postmaster = group.postmaster(primary["id"])
    with SqlWriters(url(group.everup)) as writers:
        writers.wait_for(200)
        fault_s = time.monotonic()
        os.kill(group.patroni(primary), signal.SIGKILL)
        time.sleep(6.0)
        writers.wait_for(100)
        gap_s, missing = gap_and_losses(writers, fault_s)
    assert (group.primary()["id"], group.postmaster(primary["id"])) == (primary["id"], postmaster)
    assert writers.errors == [] and missing == []
    assert gap_s < UNNOTICED_S


def test_a_commit_whose_standby_says_nothing_is_stirred_until_it_does(group: Group):
    address = url(group.everup)
    with psycopg.connect(address, autocommit=True) as connection, SqlWriters(address) as writers:
        writers.wait_for(200)
        found = connection.execute("select current_setting('synchronous_standby_names')").fetchone()
        assert found
        receiver = group.child(found[0].strip('"'), "walreceiver")
        os.kill(receiver, signal.SIGSTOP)  # what the sender sends, or forgets to send, is not confirmed any more
        try:
            ends: set[object] = set()  # of the WAL: the only writer waits, so what moves it is the stirring
            end_s = time.monotonic() + 90
            while len(ends) <= 10 and time.monotonic() < end_s:
                ends.add(connection.execute("select pg_current_wal_insert_lsn()").fetchone())
        finally:
            os.kill(receiver, signal.SIGCONT)
        assert len(ends) > 10
        writers.wait_for(100)
        writers.stop()
        assert writers.errors == []
        assert lost(writers.writes, writers.survivors()) == []


def test_a_hung_primary_is_fenced_before_another_leads_and_keeps_no_client(group: Group):
    before = group.primary()
    with SqlWriters(url(group.everup)) as writers:
        writers.wait_for(200)
        fault_s = group.hang(before)
        writers.wait_for(200)
        gap_s, missing = gap_and_losses(writers, fault_s)
    assert group.primary()["id"] != before["id"]
    assert missing == []
    assert gap_s < HANG_S
    names = [event["name"] for event in map(_event, group.everup("events", "--json").stdout.splitlines())]
    assert names.index("node.fenced") < len(names) - names[::-1].index("failover.promoted")


def test_clients_find_the_primary_that_patroni_elects_while_no_control_plane_lives(group: Group):
    before = group.primary()
    with SqlWriters(url(group.everup)) as writers:
        writers.wait_for(200)
        os.kill(group.everup.control_plane(), signal.SIGKILL)
        group.kill_server(before)
        writers.wait_for(200, 180.0)
        group.everup("up", timeout_s=240)
        writers.wait_for(200)
        writers.stop()
        missing = lost(writers.writes, writers.survivors())
    assert group.primary()["id"] != before["id"]
    assert missing == []


def _event(line: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(line)
    return found


def test_a_rolling_restart_hands_the_role_over_and_loses_nothing(group: Group):
    before = group.primary()["id"]
    with SqlWriters(url(group.everup)) as writers:
        writers.wait_for(200)
        group.everup("restart", "db01", timeout_s=240)
        writers.wait_for(200)
        writers.stop()
        missing = lost(writers.writes, writers.survivors())
    assert group.primary()["id"] != before
    assert missing == []


def test_a_planned_switchover_costs_a_session_one_error_at_most_and_who_connects_none(group: Group):
    clients = {name: sort(url(group.everup), name) for name, sort in SQL_CLIENTS.items() if sort is not SqlIdle}
    with ExitStack() as stack:
        loops = {name: stack.enter_context(Repeated(one.write, one.pause_s)) for name, one in clients.items()}
        for one in clients.values():
            stack.callback(one.close)
        took_s = hand_over(group.everup, "db01", loops)
        for name, one in clients.items():
            errors = loops[name].errors()
            assert len(errors) <= (0 if isinstance(one, SqlAnew) else one.connections) or took_s > GATE_S, errors
            assert lost(loops[name].writes, one.survivors()) == []


def test_totals_add_up_after_a_switchover_and_a_failover(group: Group):
    with Bank(url(group.everup)) as bank:
        bank.wait_for(500)
        group.everup("switchover", "db01")
        bank.wait_for(500)
        group.wait_redundant()
        group.lose(group.primary(), 1.0)
        bank.wait_for(500)
        bank.close()
        count, sums = bank.totals()
    assert count >= 1500
    assert len(sums) == 1


def test_what_only_a_dead_primary_committed_is_kept(group: Group):
    old, address = group.primary()["id"], url(group.everup)
    entries = group.everup.json("lost", "db01")["entries"]
    standbys = [name for name, node in group.everup.nodes("db01").items() if node["role"] == "replica"]
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("create table if not exists alone (n int)")
        connection.execute("insert into alone values (0)")
        receivers = [group.child(name, "walreceiver") for name in standbys]
        signal_all(receivers, signal.SIGSTOP)
        try:
            connection.execute("set synchronous_commit = local")  # this client does not wait for a standby
            for number in range(1, 8):
                connection.execute("insert into alone values (%s)", (number,))
            group.lose(group.primary(), 1.0)
        finally:
            signal_all(receivers, signal.SIGTERM)  # seen before what was sent meanwhile
            signal_all(receivers, signal.SIGCONT)
    group.wait_for(lambda: group.everup.service("db01")["primary"] not in (None, old))
    group.wait_redundant()
    with psycopg.connect(address) as connection:
        assert connection.execute("select array_agg(n) from alone").fetchone() == ([0],)
    group.wait_for(lambda: group.everup.json("lost", "db01")["entries"] == entries + 1)
    kept = group.everup.json("lost", "db01")["kept"][-1]
    assert (kept["node"], kept["successor"], kept["writes"]) == (old, group.primary()["id"], 7)
    assert (kept["exact"], kept["waited"]) == (True, True)
    place = Path(kept["folder"])
    assert (place / "records.txt").read_text().count("desc: COMMIT") == 7
    found = records(group, place, kept["from"])
    assert found.count("desc: INSERT") == 7
    assert group.everup.service("db01")["lost"]["entries"] == entries + 1


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        os.kill(pid, number)


def records(group: Group, place: Path, begin: str) -> str:
    """What `pg_waldump` reads from the WAL that was kept."""
    told = json.loads((group.home(group.primary()["id"]) / "patroni.json").read_text())
    program = Path(told["postgresql"]["bin_dir"]) / "pg_waldump"
    (first, *_) = sorted(file.name for file in place.iterdir() if len(file.name) == 24)
    words = [str(program), "-p", str(place), "-t", str(int(first[:8], 16)), "-s", begin]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def test_one_etcd_member_less_is_not_noticed(group: Group):
    with SqlWriters(url(group.everup)) as writers:
        writers.wait_for(200)
        fault_s = group.everup.inject(f"{ETCD}-1", "node-loss", 3.0)
        time.sleep(4.0)
        writers.wait_for(100)
        gap_s, missing = gap_and_losses(writers, fault_s)
    assert writers.errors == [] and missing == []
    assert gap_s < UNNOTICED_S


def test_without_a_majority_of_etcd_writes_go_on_and_status_says_why(group: Group):
    before = group.primary()["id"]
    with SqlWriters(url(group.everup)) as writers:
        writers.wait_for(200)
        fault_s = group.everup.inject(f"{ETCD}-1", "node-loss", 25.0)
        group.everup.inject(f"{ETCD}-2", "node-loss", 25.0)
        group.wait_for(lambda: group.says("etcd has no majority"))
        assert group.everup.service(ETCD)["health"] == "down"
        time.sleep(max(0.0, fault_s + 25.0 - time.monotonic()))
        group.wait_redundant()
        gap_s, missing = gap_and_losses(writers, fault_s)
    assert group.primary()["id"] == before
    assert writers.errors == [] and missing == []
    assert gap_s < UNNOTICED_S


def test_an_etcd_member_that_lost_its_data_is_replaced(group: Group):
    node = f"{ETCD}-2"
    group.everup.inject(node, "node-loss", 1.0)
    group.empty(node)
    group.wait_redundant()
    assert any(
        event["name"] == "operation.ended" and event["fields"]["operation"] == "replace" for event in events(group)
    )


def events(group: Group) -> list[dict[str, dict[str, object]]]:
    return [json.loads(line) for line in group.everup("events", "--json").stdout.splitlines()]


def test_an_etcd_that_lost_everything_is_written_again(group: Group):
    before = group.primary()["id"]
    with SqlWriters(url(group.everup)) as writers:
        writers.wait_for(200)
        for _ in range(2):  # the second time, the log that is gone was as short as the new one
            for number in (1, 2, 3):
                group.everup.inject(f"{ETCD}-{number}", "node-loss", 1.0)
                group.empty(f"{ETCD}-{number}")
            group.wait_redundant()
            writers.wait_for(100)
        writers.stop()
        missing = lost(writers.writes, writers.survivors())
    assert missing == []
    assert group.primary()["id"] == before


def test_an_emptied_primary_is_cloned_from_the_one_that_took_over(group: Group):
    primary = group.primary()
    with psycopg.connect(url(group.everup), autocommit=True) as connection:
        connection.execute("create table if not exists kept (n int)")
        connection.execute("insert into kept values (1)")
    group.lose(primary, 2.0)
    group.empty(primary["id"])
    group.wait_redundant(90)
    assert group.primary()["id"] != primary["id"]
    with psycopg.connect(url(group.everup)) as connection:
        assert connection.execute("select count(*) from kept").fetchone() != (0,)


def test_standbys_are_read_from_at_an_address_of_their_own(group: Group):
    with psycopg.connect(group.everup.variables("db01")["DB01_REPLICA_URL"]) as connection:
        assert connection.execute("select pg_is_in_recovery()").fetchone() == (True,)


def test_the_multi_host_form_of_a_snippet_finds_the_primary(group: Group):
    snippet = group.everup("connect", "db01", "--lang", "shell").stdout
    endpoint, everywhere = re.findall(r'"(postgresql://[^"]+)"', snippet)
    assert endpoint == url(group.everup)
    assert everywhere.count(":5432") == 3
    with psycopg.connect(everywhere) as connection:
        assert connection.execute("select pg_is_in_recovery()").fetchone() == (False,)


def test_from_one_to_a_group_and_back_while_a_client_writes():
    with Everup(SINGLE) as everup:
        everup("up")
        group = Group(everup)
        postmaster = group.postmaster("db01-1")
        with SqlWriters(url(everup)) as writers:
            writers.wait_for(200)
            for spec in (GROUP, SINGLE, GROUP, SINGLE):
                begun_s = time.monotonic()
                everup.write_spec(spec)
                everup("up", timeout_s=240)
                writers.wait_for(100)
                assert everup.service("db01")["ha"] is (spec == GROUP)
                assert group.postmaster("db01-1") == postmaster
                assert longest_gap_s(writers.writes, begun_s) < PLANNED_S
            writers.stop()
            assert writers.errors == []
            assert lost(writers.writes, writers.survivors()) == []
            assert len(acknowledged(writers.writes)) > 500


def test_a_group_that_is_led_by_another_server_hands_over_before_it_is_left(group: Group):
    if group.primary()["id"] == "db01-1":
        group.lose(group.primary(), 1.0)
        group.wait_for(lambda: group.primary()["id"] != "db01-1" if group.everup.service("db01")["primary"] else False)
        group.wait_redundant()
    with SqlWriters(url(group.everup)) as writers:
        writers.wait_for(200)
        group.everup.write_spec(SINGLE)
        group.everup("up", timeout_s=240)
        writers.wait_for(100)
        writers.stop()
        missing = lost(writers.writes, writers.survivors())
    assert group.primary()["id"] == "db01-1"
    assert missing == []
    assert set(group.everup.nodes("db01")) == {"db01-1", "db01-endpoint"}
