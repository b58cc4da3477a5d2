"""What a PostgreSQL of one node says of itself, and what is done about it."""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from everup.core.plan import plan
from everup.kinds._haproxy_reading import Server
from everup.kinds._postgres_reading import read_server
from everup.kinds._postgres_renewal import scram
from everup.kinds._postgres_server import OWNED, own_name
from everup.model.actions import Accept, Hold, Mark, Operate, StartNode
from everup.model.desired import Blueprint, Outcome, Protocol, ReplyError, Silence
from everup.model.observed import Confirmed, Group, Health, NodeState, NodeStatus, Observed, Reading, Role
from tests.kinds.shapes import KINDS, blueprint, grant, service

NOW_S = 100.0
RECORDED = Group("db01-1", 1, 1)
PRIMARY = ([["f", "27262976", "1", "18.6", "77"]],)


def db(**keys: Any) -> Blueprint:
    return blueprint("postgres", "db01", **keys)


def world(
    shape: Blueprint, *, group: Group = RECORDED, leads: bool = True, **changes: Any
) -> tuple[Blueprint, Observed]:
    """All is well; `changes` are of the server's `NodeState`, `leads` says whether the endpoint leads to it."""
    node, end = shape.nodes
    state = NodeState(True, "db01", node.digest, node.files_digest, pid=7, has_data=True, generation=1)
    state = replace(state, **changes)
    health = Health.READY if state.running else Health.DOWN
    server = NodeStatus(health, state, read_server(PRIMARY) if state.running else None, 99.0, 99.0, since_s=50.0)
    address = str(node.ports["postgres"]) if leads else "127.0.0.99:1"
    reading = Reading(ready=True, facts={"servers": {"primary": Server(address, True, "ready")}})
    front = NodeStatus(Health.READY, NodeState(True, "db01", end.digest, end.files_digest, pid=8), reading, 99.0, 99.0)
    return shape, Observed(NOW_S, {node.id: server, end.id: front}, {"db01": group})


def planned(shape: Blueprint, observed: Observed) -> list[Any]:
    return list(plan([shape], observed))


DEAD = {"running": False, "pid": None, "dead": Confirmed("db01-1", 99.9, -9)}


def test_nothing_is_done_while_all_is_well() -> None:
    assert planned(*world(db())) == []


def test_a_new_service_is_recorded_then_founded() -> None:
    fresh = {"running": False, "pid": None, "has_data": False, "generation": None, "digest": ""}
    (accept, *_) = planned(*world(db(), group=Group(), **fresh))
    assert isinstance(accept, Accept)
    assert accept.node_id == "db01-1"
    (start,) = planned(*world(db(), group=Group("db01-1", 1, 0), **fresh))
    assert isinstance(start, StartNode)
    assert start.extra_args == ("--found",)


def test_a_dead_server_with_its_data_is_started_and_never_founded_again() -> None:
    (start,) = planned(*world(db(), **DEAD))
    assert isinstance(start, StartNode)
    assert start.extra_args == ()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"has_data": False, "generation": None}, "its data is gone"),
        ({"generation": 0}, "is of generation 0, older than the newest, 1"),
        ({"generation": None}, "was never marked"),
        ({"generation": 2}, "is of generation 2, which nobody recorded"),
        ({"retry_at_s": 101.5, "failure": "exited with code 1: No space left"}, "No space left; next start in 1.5 s"),
    ],
)
def test_it_is_held_and_the_reason_is_told(changes: dict[str, Any], text: str) -> None:
    (hold,) = planned(*world(db(), **{**DEAD, **changes}))
    assert isinstance(hold, Hold)
    assert text in hold.because


def test_the_endpoint_is_led_once_the_server_is_primary() -> None:
    (operate,) = planned(*world(db(), leads=False))
    assert isinstance(operate, Operate)
    assert operate.operation == "lead"


def test_data_that_is_not_marked_yet_is_marked() -> None:
    assert planned(*world(db(), generation=None)) == [Mark("db01-1", "db01", 1)]


def test_a_changed_declaration_restarts_it_only_once_its_data_is_marked() -> None:
    changed = db(settings={"work_mem": "8MB"})
    (start,) = planned(*world(changed, digest="older"))
    assert isinstance(start, StartNode)
    assert "its declaration changed" in start.because
    assert not any(isinstance(one, StartNode) for one in planned(*world(changed, digest="older", generation=None)))


def test_a_change_of_what_the_keeper_reads_reloads_and_does_not_restart() -> None:
    (start,) = planned(*world(db(), files_digest="older"))
    assert isinstance(start, StartNode)
    assert "reloads without stopping" in start.because


def test_lead_points_the_endpoint_at_the_server() -> None:
    shape, observed = world(db())
    from everup.core.plan import view_of

    steps = shape.operations["lead"](shape, view_of(shape, observed), None)
    asked = next(steps).asks[0]  # type: ignore[union-attr]
    assert asked.protocol == Protocol.HAPROXY
    assert str(shape.nodes[0].ports["postgres"].port) in str(asked.commands)
    with pytest.raises(StopIteration) as end:
        steps.send((Silence("gone"),))
    assert end.value.value == Outcome(False, "the endpoint did not answer: gone")


def test_a_server_says_its_role() -> None:
    assert read_server(PRIMARY).role == Role.PRIMARY
    standby = read_server(([["t", None, "3", "15.4", "77"]],))
    assert (standby.ready, standby.role, standby.facts["postgres"].timeline) == (True, Role.REPLICA, 3)
    assert standby.lineage == read_server(PRIMARY).lineage == "77"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("57P03: the database system is starting up", "starting up"),
        ("53300: sorry, too many clients already", "every connection"),
        ("28P01: password authentication failed", "password authentication failed"),
    ],
)
def test_a_refusal_is_an_answer_and_not_ready(error: str, text: str) -> None:
    reading = read_server((ReplyError(error),))
    assert not reading.ready
    assert text in reading.because


@pytest.mark.parametrize("label", ["postgres", "rep", "rew", "public", "none", "template1", "pg_stats", "p" * 63])
def test_role_and_database_never_take_a_name_that_is_postgresqls_own(label: str) -> None:
    name = own_name(label)
    assert len(name) <= 63
    assert not name.startswith("pg_")
    assert name not in {"postgres", "rep", "rew", "public", "none", "template1"}


def test_the_variables_say_the_same_in_one_and_in_parts() -> None:
    found = db().bindings
    url = f"postgresql://{found['USER']}:{found['PASSWORD']}@{found['HOST']}:{found['PORT']}/{found['NAME']}"
    assert found["URL"] == url


def test_every_snippet_is_complete() -> None:
    alone, group = db().bindings, blueprint("postgres", ha=True).bindings
    for whole, single in KINDS["postgres"].connect.values():
        for snippet, bindings in ((whole, group), (single, alone)):
            for suffix, value in bindings.items():
                snippet = snippet.replace("{" + suffix + "}", value)
            assert bindings["PASSWORD"] in snippet
            assert re.findall(r"\{[A-Z_]+\}", snippet) == []
        assert "{HOSTS}" in whole and "{HOSTS}" not in single


def test_a_server_starts_with_what_a_group_will_want() -> None:
    told = json.loads(db().nodes[0].files["keeper.json"])
    words = told["postgres"]
    assert {"wal_level=replica", "wal_log_hints=on", "cluster_name=db01", "archive_mode=on"} <= set(words)
    assert "listen_addresses=" + db().nodes[0].ports["postgres"].host in words
    assert "--data-checksums" in told["initdb"]
    assert "trust" not in told["hba"] + str(told["initdb"])


@pytest.mark.parametrize("name", [*sorted(OWNED)[:3], "Work_Mem", "work mem", "a.b.c", "x;y"])
def test_settings_that_are_everups_or_nobodys_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        service("postgres", settings={name: "1"})


def test_settings_reach_the_server_as_it_spells_them() -> None:
    declared = service("postgres", settings={"jit": False, "work_mem": "8MB", "max_connections": 200})
    node = KINDS["postgres"].blueprint(declared, grant(KINDS["postgres"], declared)).nodes[0]
    words = json.loads(node.files["keeper.json"])["postgres"]
    assert {"jit=off", "work_mem=8MB", "max_connections=200"} <= set(words)
    assert "max_connections=100" not in words


def test_every_renewal_makes_a_role_that_becomes_the_services_own() -> None:
    before = db()
    assert before.renewal
    assert (before.renewal.current, before.renewal.login, before.renewal.former) == ("db01", "db01_login_2", "")
    turn = before.renewal.begin("hunter2")
    statements = " ".join(word for (word,) in turn.asks["db01-endpoint"].commands)
    assert 'CREATE ROLE "db01_login_2" IN ROLE "db01"' in statements
    assert "hunter2" not in statements
    assert (turn.before, turn.after) == ({}, {"login": "db01_login_2:hunter2", "former": "db01"})


def test_clients_get_the_new_role_and_no_server_is_touched() -> None:
    before, granted = db(), grant(KINDS["postgres"], service("postgres"), "db01")
    after = KINDS["postgres"].blueprint(
        service("postgres"),
        replace(granted, secrets={**granted.secrets, "login": "db01_login_2:new", "former": "db01"}),
    )
    assert after.bindings["URL"].startswith("postgresql://db01_login_2:new@")
    assert (after.bindings["USER"], after.bindings["PASSWORD"], after.bindings["NAME"]) == (
        "db01_login_2",
        "new",
        "db01",
    )
    assert [(one.digest, one.files_digest) for one in after.nodes] == [
        (one.digest, one.files_digest) for one in before.nodes
    ]
    assert after.renewal
    assert (after.renewal.former, after.renewal.login) == ("db01", "db01_login_3")
    turn = after.renewal.finish(False)
    assert ('ALTER ROLE "db01" NOLOGIN PASSWORD NULL',) in turn.asks["db01-endpoint"].commands
    assert (turn.before, turn.after) == ({}, {"former": ""})
    assert after.renewal.sessions(([], [["3"]])) == 3


def test_a_verifier_is_the_one_that_postgresql_would_make() -> None:
    """RFC 7677 has the exchange of "pencil"; the keys follow from the salt, which here follows from the password."""
    found = re.fullmatch(r"SCRAM-SHA-256\$4096:([^$]+)\$([^:]+):(.+)", scram("pencil"))
    assert found
    salt, stored, server = (base64.b64decode(one) for one in found.groups())
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", salt, 4096)
    assert stored == hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    assert (len(salt), server) == (16, hmac.digest(salted, b"Server Key", "sha256"))
    assert scram("pencil") == scram("pencil") != scram("pencils")
