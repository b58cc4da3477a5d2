"""Why a failover would or would not happen, candidate by candidate; what is held; and how the last incident ended."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from everup.core.explain import Explanation, explain
from everup.core.incident import outcome
from everup.core.plan import summary
from everup.model.actions import Hold
from everup.model.events import Event
from everup.model.findings import Path
from everup.model.observed import Attempt, Health
from tests.core.snapshots import (
    ASYNC_DB,
    FAILSAFE,
    NOBODY_WAITED_FOR,
    SINGLE,
    Snapshot,
    app,
    db,
    etcd,
    group,
    instances,
    members,
    offsets,
    picture,
    silent,
    unseen,
    with_state,
)
from tests.worlds import NOW_S

VOTES_GONE = {"redis01-sentinel-1", "redis01-sentinel-2"}
OLD = {"redis01-2": 2, "redis01-3": 2}

REFUSED = (False, "fewer than 2 granted their vote")


@dataclass(frozen=True)
class Case:
    """A snapshot and what is to be said of it.

    Attributes:
        if_lost: what becomes of the service if its primary, or else its first node, were lost; None when it is away.
        fit: who could take over from the primary, the first one first.
        unfit: node -> why it could not.
        voting: how many of those who vote count now.
        now: what is done or waited for first, as (verb, subject); says: words in its reason.
    """

    snapshot: Callable[[], Snapshot]
    if_lost: Path | None = None
    fit: tuple[str, ...] = ()
    unfit: dict[str, str] | None = None
    voting: int = 0
    now: tuple[str, str] | None = None
    says: str = ""


TWO, THREE = ("redis01-2",), ("redis01-3",)

CASES = {
    "everything healthy": Case(group, Path.FAILOVER, (*TWO, *THREE), voting=3),
    "the most advanced replica comes first": Case(
        lambda: group(data={"redis01-3": {"offset": 9000}}), Path.FAILOVER, (*THREE, *TWO), voting=3
    ),
    "one replica down and lost for a while": Case(
        lambda: with_state(group(down=set(TWO)), {"redis01-2": {"retry_at_s": NOW_S + 12}}),
        Path.FAILOVER,
        THREE,
        {"redis01-2": "it does not run"},
        3,
        ("hold", "redis01-2"),
        "next start in 12.0 s",
    ),
    "one replica copies everything": Case(
        lambda: group(data={"redis01-2": {"syncing": True}}),
        Path.FAILOVER,
        THREE,
        {"redis01-2": "it is copying everything from 127.77.0.11:6379"},
        3,
    ),
    "one replica out of sync for a minute": Case(
        lambda: group(good_s={"redis01-2": NOW_S - 60}),
        Path.FAILOVER,
        THREE,
        {"redis01-2": "it was in sync last 60 s before the primary died"},
        3,
    ),
    "no replica has the newest data": Case(
        lambda: group(marks=OLD),
        Path.RESTART,
        (),
        dict.fromkeys(OLD, "its data is of generation 2, older than the newest, 3"),
        3,
    ),
    "two Sentinels down": Case(
        lambda: group(down=VOTES_GONE), Path.RESTART, (*TWO, *THREE), voting=1, now=("start", "redis01-sentinel-1")
    ),
    "a stale Sentinel still votes": Case(
        lambda: group(opinions={"redis01-sentinel-2": {"named": "redis01-2", "epoch": 2}}),
        Path.FAILOVER,
        (*TWO, *THREE),
        voting=3,
    ),
    "the primary died a moment ago": Case(
        lambda: group(down={"redis01-1"}),
        None,
        (*TWO, *THREE),
        voting=3,
        now=("failover", "redis01-1"),
        says="redis01-1 is dead, redis01-2 was in sync, and 3 of 3 Sentinels answer",
    ),
    "the primary died, and a failover was refused": Case(
        lambda: group(down={"redis01-1"}, dead_s=NOW_S - 3, attempts={"failover": Attempt(NOW_S - 2, *REFUSED)}),
        None,
        (*TWO, *THREE),
        voting=3,
        now=("start", "redis01-1"),
        says="restarted in place: fewer than 2 granted their vote",
    ),
    "the primary died, and a failover was refused just now": Case(
        lambda: group(down={"redis01-1"}, attempts={"failover": Attempt(NOW_S - 0.001, *REFUSED)}),
        None,
        (*TWO, *THREE),
        voting=3,
        now=("hold", "redis01-1"),
        says="somebody may lead already: redis01-2, redis01-3",
    ),
    "the primary died, and too few vote": Case(
        lambda: group(down={"redis01-1", *VOTES_GONE}),
        None,
        (*TWO, *THREE),
        voting=1,
        now=("start", "redis01-1"),
        says="only 1 of 3 Sentinels answer, and 2 must agree",
    ),
    "the primary was found dead, and nobody says who was primary last": Case(
        lambda: group(down={"redis01-1", *VOTES_GONE}, good_s={"redis01-1": 0.0}),
        None,
        (*TWO, *THREE),
        voting=1,
        now=("hold", "redis01-1"),
        says="nothing starts as primary before the Sentinels say who was primary last",
    ),
    "the primary died and lost its data, which nobody else has": Case(
        lambda: group(down={"redis01-1"}, emptied={"redis01-1"}, marks=OLD),
        None,
        (),
        dict.fromkeys(OLD, "its data is of generation 2, older than the newest, 3"),
        3,
        ("hold", "redis01-1"),
        "it is not started empty",
    ),
    "the primary hangs": Case(
        lambda: group(hung={"redis01-1"}),
        None,
        (*TWO, *THREE),
        voting=3,
        now=("fence", "redis01-1"),
        says="it runs, but has not answered for 3.4 s",
    ),
    "a single node": Case(lambda: group(SINGLE), Path.RESTART),
    "a healthy group of PostgreSQL": Case(db, Path.FAILOVER, ("web-2",), {"web-3": "it was not waited for by commits"}),
    "an asynchronous group": Case(lambda: db(ASYNC_DB), Path.FAILOVER, ("web-2", "web-3")),
    "no commit waits for a standby": Case(
        lambda: db(says=NOBODY_WAITED_FOR),
        Path.RESTART,
        (),
        dict.fromkeys(("web-2", "web-3"), "it was not waited for by commits"),
    ),
    "the standby that commits waited for is down": Case(
        lambda: db(down=("web-2",)), Path.RESTART, (), {"web-2": "it does not run"}, now=("start", "web-2")
    ),
    "etcd has no majority": Case(
        lambda: db(says={"web-1": FAILSAFE}),
        Path.RESTART,
        ("web-2",),
        now=("hold", "web"),
        says="etcd has no majority",
    ),
    "PostgreSQL's primary died": Case(
        lambda: db(down=("web-1",)), None, ("web-2",), now=("failover", "web-1"), says="web-2 was waited for by every"
    ),
    "etcd whole": Case(members, Path.GOES_ON),
    "etcd with a member down": Case(lambda: members(down=("web-1",)), Path.RESTART, now=("start", "web-1")),
    "etcd without quorum": Case(
        lambda: members(says=etcd.no_leader(), down=("web-1", "web-2")), now=("start", "web-1")
    ),
    "two instances": Case(lambda: instances(app(2)), Path.GOES_ON),
    "one instance": Case(lambda: instances(app(1)), Path.RESTART),
    "one instance hangs": Case(
        lambda: instances(app(2), lambda world: world.node("web-1", Health.HUNG)), Path.GOES_ON, now=("fence", "web-1")
    ),
    "a control plane that has not looked yet": Case(
        lambda: unseen(group()), None, unfit=None, now=("hold", "redis01-1"), says="it was not looked at yet"
    ),
    "an engine that does not answer": Case(
        lambda: silent(group()),
        None,
        (*TWO, *THREE),
        voting=3,
        now=("hold", "redis01"),
        says="the engine does not answer; nothing is touched",
    ),
}


def explained(snapshot: Snapshot, *events: Event, **changes: bool) -> Explanation:
    return explain(snapshot[0][0].label, picture(snapshot, **changes), events)


@pytest.mark.parametrize("name", CASES)
def test_present_and_future_are_told_with_their_reasons(name: str):
    one = CASES[name]
    found = explained(one.snapshot())
    election = found.election
    primary = found.primary or (found.losses[0].nodes[0] if found.losses else "")
    fates = [loss.path for loss in found.losses if loss.nodes == (primary,)]
    assert fates == ([one.if_lost] if one.if_lost else [])
    assert tuple(each.node_id for each in election.candidates if each.fit) == one.fit if election else not one.fit
    against = {each.node_id: each.because for each in election.candidates if not each.fit} if election else {}
    assert (one.unfit or {}).items() <= against.items()
    assert sum(vote.counts for vote in election.votes) == one.voting if election else not one.voting
    if one.now:
        assert summary(found.actions[0]) == one.now
        assert one.says in found.actions[0].because  # type: ignore[union-attr]
    else:
        assert not [action for action in found.actions if isinstance(action, Hold)]


def test_candidates_come_with_the_numbers_that_were_compared():
    election = explained(group(data=offsets(2062, r2=2062) | {"redis01-2": {"offset": 2000}})).election
    assert election is not None
    assert [(one.node_id, dict(one.facts)) for one in election.candidates] == [
        ("redis01-3", {"offset": 2062, "generation": 3}),
        ("redis01-2", {"offset": 2000, "generation": 3}),
    ]
    assert election.majority == 2
    assert election.votes[0].because == "it names redis01-1, epoch 3"


def test_positions_of_postgres_are_written_as_it_writes_them():
    election = explained(db()).election
    assert election is not None
    assert dict(election.candidates[0].facts) == {"lsn": "0/1388", "timeline": 5, "generation": 3}


def test_a_living_primary_is_supposed_dead_and_a_dead_one_is():
    assert explained(group()).primary_lives
    assert not explained(group(down={"redis01-1"})).primary_lives


def test_of_a_stopped_service_nothing_is_foretold_but_its_end():
    found = explained(group(), stopped=True)
    assert (found.health, found.because, found.losses) == ("down", "it was stopped on request", ())
    assert {summary(action)[0] for action in found.actions} == {"stop"}


# -- the past


def event(name: str, node: str | None = None, service: str = "redis01", **fields: object) -> Event:
    return Event(name, "shop", "2026-01-01T00:00:00Z", service, node, fields)


DIED = event("node.exited", "redis01-1", exit_code=-9)
BEGAN = event("operation.started", operation="failover", because="redis01-1 is dead, redis01-2 was in sync")
HEALTHY = event("service.healthy", after_s=1.0)


def ended(done: bool, because: str) -> Event:
    return event("operation.ended", operation="failover", done=done, because=because)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ((), ""),
        (
            (DIED, BEGAN, ended(True, "redis01-2 took over"), HEALTHY),
            f"there was a failover: {BEGAN.fields['because']}",
        ),
        (
            (DIED, BEGAN, ended(False, "fewer than 2 Sentinels granted their vote")),
            "a failover was tried, and not done",
        ),
        ((DIED, BEGAN, ended(False, "no"), BEGAN, ended(True, "yes")), "there was a failover: redis01-1 is dead"),
        (
            (DIED, event("primary.changed", "redis01-3", because="the Sentinels chose it")),
            "redis01-3 became primary: the",
        ),
        (
            (DIED, event("node.started", "redis01-1", because="restarted in place: no replica was in sync"), HEALTHY),
            "no failover; redis01-1 was started again: restarted in place: no replica was in sync",
        ),
        ((DIED, event("service.held", "redis01-1", because="next start in 9 s")), "Everup waits: next start in 9 s"),
        ((DIED, HEALTHY), "no failover; the others went on"),
        ((DIED,), "it is not over yet"),
    ],
)
def test_how_an_incident_ended_is_told(events: tuple[Event, ...], said: str):
    assert said in outcome(events)
    assert bool(outcome(events)) is bool(events)


def test_the_incident_of_another_service_is_not_this_ones():
    web = event("node.exited", "web-1", service="web")
    found = explained(group(), DIED, BEGAN, ended(True, "done"), HEALTHY, web)
    assert [one.name for one in found.incident] == [
        "node.exited",
        "operation.started",
        "operation.ended",
        "service.healthy",
    ]
    assert found.outcome.startswith("there was a failover")
