"""What developers may declare, and what takes an operator."""

import pytest

from everup.core.permission import beyond_developers, check
from everup.kinds import load_kinds
from everup.model.access import OWNER, Caller, Level
from everup.model.errors import NotFound, NotPermitted
from everup.model.spec import Environment
from everup.specfile.parse import parse

BEFORE = """\
environment: shop
services:
  redis01: {kind: redis, ha: true, durability: safe}
  db01: {kind: postgres, ha: true}
  web: {kind: app, run: serve, scale: 2, limit: 6}
  job: {kind: worker, run: work}
"""


def spec(text: str) -> Environment:
    return parse(text, "everup.yaml", load_kinds())


def changed(before: str, after: str) -> Environment:
    assert before in BEFORE
    return spec(BEFORE.replace(before, after))


FREE = [
    ("run: serve", "run: serve --fast"),
    ("scale: 2", "scale: 6"),
    ("limit: 6", "limit: 3"),  # less room is no harm; to have it back takes an operator
    ("  job: {kind: worker, run: work}\n", ""),
    ("run: work", "run: work, limit: 10"),  # what it is anyway
    ("run: work}", "run: work}\n  more: {kind: worker, run: work}\n  cache: {kind: redis}"),
    ("db01: {kind: postgres, ha: true}", "db01: {kind: postgres, ha: {standbys: 3}}"),
    ("ha: true, durability", "ha: {replicas: 3}, rto: 3s, durability"),
]

GUARDED = [
    ("limit: 6", "limit: 7", "it raises the limit of web from 6 to 7"),
    ("run: work}", "run: work, limit: 11}", "it raises the limit of job from 10 to 11"),
    ("job: {kind: worker", "fresh: {kind: worker, limit: 11", "it raises the limit of fresh from 10 to 11"),
    ("postgres, ha: true}", "postgres, ha: false}", "it takes the redundancy of db01 away (ha)"),
    ("postgres, ha: true}", "postgres}", "it takes the redundancy of db01 away (ha)"),
    ("postgres, ha: true}", "postgres, ha: true, rpo: async}", "it sets rpo of db01 from 0 to async"),
    ("durability: safe", "durability: fast", "it sets durability of redis01 from safe to fast"),
    ("  db01: {kind: postgres, ha: true}\n", "", "it removes db01, which holds data"),
    ("environment: shop\n", "environment: shop\ndrills: allowed\n", "it allows drills"),
]


@pytest.mark.parametrize(
    ("engine", "before", "after", "because"),
    [
        ("swarm", "", ", durability: fast", ("it sets durability of redis01 from safe to fast",)),
        ("swarm", ", durability: safe", "", ()),
        ("local", "", ", durability: fast", ()),
        ("local", ", durability: safe", "", ("it sets durability of redis01 from safe to its default",)),
    ],
)
def test_a_promise_that_is_the_default_on_several_hosts_is_given_up_by_an_operator(engine, before, after, because):
    one, other = (
        spec(f"environment: shop\nengine: {engine}\nservices:\n  redis01: {{kind: redis, ha: true{more}}}\n")
        for more in (before, after)
    )
    assert beyond_developers(one, other) == because


@pytest.mark.parametrize(("before", "after"), FREE)
def test_developers_change_what_risks_nobodys_data_and_takes_no_more_room(before, after):
    assert beyond_developers(spec(BEFORE), changed(before, after)) == ()


@pytest.mark.parametrize(("before", "after", "because"), GUARDED)
def test_limits_redundancy_and_data_take_an_operator(before, after, because):
    developer = Caller("dev", Level.DEVELOPER, frozenset({"shop"}))
    assert beyond_developers(spec(BEFORE), changed(before, after)) == (because,)
    with pytest.raises(NotPermitted, match="takes an operator"):
        check(developer, spec(BEFORE), changed(before, after))
    check(Caller("op", Level.OPERATOR, frozenset({"shop"})), spec(BEFORE), changed(before, after))
    check(OWNER, spec(BEFORE), changed(before, after))


def test_several_reasons_are_told_at_once():
    after = spec(BEFORE.replace("limit: 6", "limit: 9").replace("ha: true}", "ha: false}"))
    with pytest.raises(NotPermitted, match=r"db01.*; .*limit of web.*: these take an operator"):
        check(Caller("dev", Level.DEVELOPER), spec(BEFORE), after)


def test_an_environment_of_others_is_not_there():
    with pytest.raises(NotFound, match="there is no environment shop here") as caught:
        check(Caller("dev", Level.OPERATOR, frozenset({"other"})), spec(BEFORE), spec(BEFORE))
    assert caught.value.hint == "Known: other."


def test_a_new_environment_is_within_the_usual_limits_or_takes_an_operator():
    developer = Caller("dev", Level.DEVELOPER)
    check(developer, None, spec(BEFORE))
    with pytest.raises(NotPermitted):
        check(developer, None, changed("limit: 6", "limit: 60"))


def test_viewers_declare_nothing():
    with pytest.raises(NotPermitted, match="eye is a viewer, and this takes a developer"):
        check(Caller("eye", Level.VIEWER), spec(BEFORE), spec(BEFORE))
