"""Check and explain as JSON: the promised fields, and that they agree with each other."""

from dataclasses import replace
from typing import Any

from everup.api import verdicts
from everup.core.explain import explain
from tests.core.snapshots import SINGLE, Snapshot, app, db, group, instances, picture, silent

CHECK = {"verdict", "services"}
SERVICE = {"label", "survives", "because", "next"}


def verdict(snapshot: Snapshot, **changes: Any) -> Any:
    return verdicts.verdict(picture(snapshot, **changes))


def explanation(snapshot: Snapshot) -> Any:
    return verdicts.explanation(explain(snapshot[0][0].label, picture(snapshot), ()))


def test_a_verdict_has_every_promised_field():
    body = verdict(group())
    assert body.keys() >= CHECK and body["services"][0].keys() >= SERVICE
    assert body["services"][0]["survives"] == {"node": True, "host": False}
    assert (body["verdict"], body["survives"]) == ("yes", {"node": True, "host": False})


def test_what_speaks_for_it_is_said_where_nothing_speaks_against_it():
    (service,) = verdict(group())["services"]
    assert service["because"] == ["any one node can be lost; redis01-2 or redis01-3 would take over from redis01-1"]
    assert service["next"] == []


def test_what_speaks_against_it_comes_with_the_next_step():
    body = verdict(group(SINGLE))
    (service,) = body["services"]
    assert (body["verdict"], body["survives"]["node"]) == ("no", False)
    assert "it is the only node" in service["because"][0]
    assert service["next"] == ["everup ha enable redis01"]


def test_a_next_step_is_named_once():
    (service,) = verdict(group(down={"redis01-2", "redis01-3"}))["services"]
    assert len(service["next"]) == len(set(service["next"]))


def test_what_concerns_all_services_stands_beside_them():
    body = verdict(silent(group()))
    assert [(one["level"], one["topic"]) for one in body["findings"]] == [("no", "control")]
    assert body["verdict"] == "no"
    assert verdict(group(), stopped=True)["verdict"] == "no"


def test_an_environment_without_services_survives_nothing():
    empty = replace(picture(group()), blueprints=())
    assert verdicts.verdict(empty)["survives"] == {"node": False, "host": False}


def test_an_explanation_names_candidates_votes_and_fates():
    body = explanation(group(down={"redis01-2"}))
    assert [(one["node"], one["fit"]) for one in body["election"]["candidates"]] == [
        ("redis01-3", True),
        ("redis01-2", False),
    ]
    assert [one["counts"] for one in body["election"]["votes"]] == [True, True, True]
    assert body["if_lost"][0]["nodes"] == ["redis01-1"] and body["if_lost"][0]["path"] == "failover"
    assert body["now"][0] == {
        "action": "start",
        "node": "redis01-2",
        "because": "it joins redis01-1 as a replica",
        "waits": False,
    }
    assert (body["primary"], body["primary_lives"], body["incident"]) == ("redis01-1", True, None)


def test_a_service_that_nobody_leads_has_no_election():
    body = explanation(instances(app(2)))
    assert (body["election"], body["primary"]) == (None, None)


def test_the_positions_of_postgres_are_told():
    assert explanation(db())["election"]["candidates"][0]["facts"]["lsn"] == "0/1388"
