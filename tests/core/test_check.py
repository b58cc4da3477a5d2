"""Can any one node be lost? Judged on hand-made snapshots, each by what it must find; notes apart."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import pytest

from everup.core.check import Check, check
from everup.model.desired import Part
from everup.model.findings import Finding, Level, Topic
from everup.model.observed import EVERYWHERE, Health, View
from tests.core.snapshots import (
    ASYNC_DB,
    BEHIND,
    FAILSAFE,
    GROUP,
    LONE_DB,
    MB,
    NOBODY_WAITED_FOR,
    SAFE,
    SINGLE,
    Snapshot,
    app,
    db,
    etcd,
    group,
    instances,
    members,
    offsets,
    on_hosts,
    silent,
    spread,
    suspect,
    unseen,
    with_state,
)
from tests.kinds.test_app_rules import World
from tests.worlds import NOW_S, redis

NO, WARNING = Level.NO, Level.WARNING
HEALTH, LOSS, QUORUM, LAG = Topic.HEALTH, Topic.LOSS, Topic.QUORUM, Topic.LAG
DISK, PLACEMENT, CONTROL, ENDPOINT, DURABILITY, ACCESS = (
    Topic.DISK,
    Topic.PLACEMENT,
    Topic.CONTROL,
    Topic.ENDPOINT,
    Topic.DURABILITY,
    Topic.ACCESS,
)
HALF = {"redis01-3": "h2", "redis01-sentinel-3": "h2", "rest": "h1"}
VOTES_GONE = {"redis01-sentinel-1", "redis01-sentinel-2"}
OLD = {"redis01-2": 2, "redis01-3": 2}
LOOPING = {"failure": "redis-server ended with exit code 1, 4 times", "retry_at_s": NOW_S + 8}


@dataclass(frozen=True)
class Case:
    """A snapshot, the answer, and all that must be found that is worse than a note: (level, topic, node).

    `says` must be among the reasons, `advises` among the next steps.
    """

    snapshot: Callable[[], Snapshot]
    passed: bool = True
    finds: frozenset[tuple[Level, Topic, str | None]] = frozenset()
    says: str = ""
    advises: str = ""


def case(snapshot: Callable[[], Snapshot], *finds: tuple[Level, Topic, str | None], says: str = "", advises: str = ""):
    return Case(snapshot, all(level != NO for level, *_ in finds), frozenset(finds), says, advises)


CASES = {
    # -- Redis with HA
    "everything healthy": case(group, says="redis01-2 or redis01-3 would take over from redis01-1"),
    "one replica down": case(
        lambda: group(down={"redis01-2"}),
        (WARNING, HEALTH, "redis01-2"),
        says="redis01-3 would take over from redis01-1",
    ),
    "both replicas down": case(
        lambda: group(down={"redis01-2", "redis01-3"}),
        (NO, LOSS, "redis01-1"),
        (WARNING, HEALTH, "redis01-2"),
        (WARNING, HEALTH, "redis01-3"),
        says="redis01-2: it does not run; redis01-3: it does not run",
        advises="everup status redis01 --nodes",
    ),
    "one replica copies everything": case(
        lambda: group(data={"redis01-2": {"syncing": True}}),
        (WARNING, HEALTH, "redis01-2"),
        says="any one node can be lost; redis01-3 would take over",
    ),
    "a replica far behind": case(
        lambda: group(data=offsets(60 * MB, r2=60 * MB, r3=20 * MB)),
        (WARNING, LAG, "redis01-3"),
        says="redis01-3 is 40.0 MB behind its primary",
    ),
    "a replica a little behind": case(lambda: group(data=offsets(60 * MB, r2=60 * MB, r3=59 * MB))),
    "one replica has not saved the newest data": case(
        lambda: group(marks={"redis01-3": 2}), (WARNING, HEALTH, None), says="redis01-2 would take over"
    ),
    "no replica has the newest data": case(
        lambda: group(marks=OLD),
        (NO, LOSS, "redis01-1"),
        (WARNING, HEALTH, None),
        says="redis01-2: its data is of generation 2, older than the newest, 3",
        advises="everup explain redis01",
    ),
    "one Sentinel down": case(
        lambda: group(down={"redis01-sentinel-1"}),
        (WARNING, QUORUM, None),
        (WARNING, HEALTH, "redis01-sentinel-1"),
        says="2 of 3 voters answer, and 2 must agree: if one more were lost, nobody could take over",
    ),
    "two Sentinels down": case(
        lambda: group(down=VOTES_GONE),
        (NO, QUORUM, None),
        (NO, LOSS, "redis01-1"),
        (WARNING, HEALTH, "redis01-sentinel-1"),
        (WARNING, HEALTH, "redis01-sentinel-2"),
        says="only 1 of 3 Sentinels answer, and 2 must agree",
    ),
    "a stale Sentinel": case(
        lambda: group(opinions={"redis01-sentinel-2": {"named": "redis01-2", "epoch": 2}}),
        (WARNING, QUORUM, "redis01-sentinel-2"),
        says="names redis01-2 as primary (epoch 2), not redis01-1",
    ),
    "a Sentinel that remembers a ghost": case(
        lambda: group(opinions={"redis01-sentinel-2": {"ghosts": ("127.77.0.99:6379",)}}),
        (WARNING, QUORUM, "redis01-sentinel-2"),
        says="remembers 127.77.0.99:6379, which no longer exists",
    ),
    "a Sentinel that does not know a replica": case(
        lambda: group(opinions={"redis01-sentinel-3": {"missing": (str(GROUP.nodes[1].ports["redis"]),)}}),
        (WARNING, QUORUM, "redis01-sentinel-3"),
        says="does not know redis01-2 yet",
    ),
    "a Sentinel that cannot reach the primary": case(
        lambda: group(opinions={"redis01-sentinel-1": {"settings": {"flags": "master,s_down"}}}),
        (WARNING, QUORUM, "redis01-sentinel-1"),
        says="cannot reach redis01-1, and counts it as down",
    ),
    "a hung primary": case(
        lambda: group(hung={"redis01-1"}), (NO, HEALTH, None), says="fence redis01-1", advises="everup explain redis01"
    ),
    "a dead primary, about to be replaced": case(
        lambda: group(down={"redis01-1"}), (NO, HEALTH, None), says="next: failover redis01-1"
    ),
    "a dead primary, and no votes": case(
        lambda: group(down={"redis01-1", *VOTES_GONE}), (NO, HEALTH, None), says="next: start redis01-1"
    ),
    "a dead, emptied primary, and nobody with its data": case(
        lambda: group(down={"redis01-1"}, emptied={"redis01-1"}, marks=OLD),
        (NO, HEALTH, None),
        says="Everup waits: redis01-1 has lost its newest data",
    ),
    "a replica that keeps ending": case(
        lambda: with_state(group(down={"redis01-3"}), {"redis01-3": LOOPING}),
        (WARNING, HEALTH, "redis01-3"),
        says="redis01-3 is down: redis-server ended with exit code 1, 4 times; Everup waits: next start in 8.0 s",
        advises="everup logs redis01-3",
    ),
    "a replica that is lost for a while": case(
        lambda: with_state(group(down={"redis01-3"}), {"redis01-3": {"retry_at_s": NOW_S + 12}}),
        (WARNING, HEALTH, "redis01-3"),
        says="redis01-3 is down: not looked at yet; Everup waits: it ended again; next start in 12.0 s",
    ),
    "an endpoint that does not answer": case(
        lambda: suspect(group(), "redis01-endpoint"), (NO, HEALTH, None), says="redis01-endpoint is suspect"
    ),
    "a node on its way out": case(
        lambda: group(stray={"redis01-9": "redis01"}), (WARNING, HEALTH, None), says="redis01-9 is still being removed"
    ),
    "durable writes with two replicas": case(lambda: group(SAFE)),
    "durable writes with one replica left": case(
        lambda: group(SAFE, down={"redis01-2"}),
        (NO, DURABILITY, "redis01-3"),
        (WARNING, HEALTH, "redis01-2"),
        says="if redis01-3 were lost now, redis01 would refuse writes",
    ),
    # -- one node, and what surrounds it
    "a single node": case(
        lambda: group(SINGLE),
        (NO, LOSS, "redis01-1"),
        says="redis01 would be away until it has started again: it is the only node",
        advises="everup ha enable redis01",
    ),
    "a full disk": case(
        lambda: with_state(group(), {"redis01-1": {"free_bytes": 5 << 20, "disk_bytes": 100 << 30}}),
        (NO, DISK, "redis01-1"),
        says="the disk of redis01-1 is full (5 MB left)",
    ),
    "a disk at 95 %": case(
        lambda: with_state(group(), {"redis01-2": {"free_bytes": 5 * 10**9, "disk_bytes": 10**11, "home": "/srv/2"}}),
        (WARNING, DISK, "redis01-2"),
        says="the disk of redis01-2 is 95 % full (5.0 GB of 100 GB left)",
        advises="make room where /srv/2 is",
    ),
    "a disk at 80 %": case(
        lambda: with_state(group(), {"redis01-2": {"free_bytes": 2 * 10**10, "disk_bytes": 10**11}})
    ),
    "a control plane that has not looked yet": case(
        lambda: unseen(group()), (NO, HEALTH, None), says="redis01-1 is unknown: not looked at yet"
    ),
    "an engine that does not answer": case(
        lambda: silent(group()), (NO, CONTROL, None), says="nobody knows what runs", advises="everup doctor"
    ),
    "three hosts, one of each on each": case(lambda: on_hosts(group(), spread())),
    "two hosts, the majority on one": case(
        lambda: on_hosts(group(), HALF),
        (NO, PLACEMENT, None),
        says="if the host h1 were lost now, redis01-1, redis01-2, redis01-sentinel-1, redis01-sentinel-2 would go",
    ),
    # -- PostgreSQL and etcd
    "a healthy group": case(db, says="web-2 would take over from web-1"),
    "a standby down that nobody waits for": case(lambda: db(down=("web-3",)), (WARNING, HEALTH, "web-3")),
    "the standby down that commits waited for": case(
        lambda: db(down=("web-2",)),
        (NO, LOSS, "web-1"),
        (WARNING, HEALTH, "web-2"),
        says="web-2: it does not run; web-3: it was not waited for by commits",
    ),
    "a lagging synchronous standby": case(
        lambda: db(says={"web-2": BEHIND}),
        (WARNING, LAG, "web-2"),
        says="web-2 is 20.0 MB behind its primary: commits wait for it",
    ),
    "a synchronous standby unheard of for a minute": case(
        lambda: db(good_s={"web-2": NOW_S - 60}), (NO, LOSS, "web-1"), says="web-2: it was behind"
    ),
    "no commit waits for a standby": case(
        lambda: db(says=NOBODY_WAITED_FOR), (NO, LOSS, "web-1"), (WARNING, HEALTH, None)
    ),
    "a synchronous standby of older data": case(
        lambda: db(marks={"web-2": 2}), (NO, LOSS, "web-1"), (WARNING, HEALTH, None), says="of generation 2, older"
    ),
    "a group whose etcd has no majority": case(
        lambda: db(says={"web-1": FAILSAFE}),
        (NO, LOSS, "web-1"),
        says="etcd has no majority: Patroni could give the lead to nobody",
        advises="everup explain web",
    ),
    "an asynchronous group": case(lambda: db(ASYNC_DB), says="web-2 or web-3 would take over from web-1"),
    "a single PostgreSQL": case(lambda: db(LONE_DB), (NO, LOSS, "web-1"), advises="everup ha enable web"),
    "etcd whole": case(members, says="2 of 3 voters would go on"),
    "etcd with a member down": case(
        lambda: members(down=("web-1",)), (WARNING, QUORUM, None), (WARNING, HEALTH, "web-1")
    ),
    "etcd without quorum": case(
        lambda: members(says=etcd.no_leader(), down=("web-1", "web-2")), (NO, HEALTH, None), says="does not work now"
    ),
    # -- who may come in
    "a Redis without a password on a network of hosts": case(
        lambda: group(redis(spread=True)),
        (WARNING, ACCESS, None),
        says="redis01 asks for no password: whoever reaches the network of the hosts can change it",
        advises="auth: true under another label (it cannot be added in place); clients then take the URL of everup env",
    ),
    # -- apps and workers
    "two instances": case(lambda: instances(app(2)), says="1 of 2 instances would go on"),
    "two instances, one down": case(
        lambda: instances(app(2), lambda world: world.node("web-1", Health.DOWN)),
        (NO, LOSS, "web-2"),
        (WARNING, HEALTH, "web-1"),
        says="if web-2 were lost now, web would be away until it has started again: no other instance is ready",
    ),
    "one instance": case(lambda: instances(app(1)), (NO, LOSS, "web-1"), advises="everup scale web 2"),
    "one instance and no more allowed": case(
        lambda: instances(app(1, 1)), (NO, LOSS, "web-1"), advises="everup limit web 2, then everup scale web 2"
    ),
    "an app at its limit": case(lambda: instances(app(3, 3)), says="2 of 3 instances would go on"),
    "one of two instances gets no requests": case(
        lambda: instances(app(2), lambda world: world.server("web-1", up=False)),
        (NO, ENDPOINT, "web-1"),
        says="web-1 is ready and gets no requests; only web-2 does",
    ),
    "one of three instances gets no requests": case(
        lambda: instances(app(3), lambda world: world.server("web-1", up=False)), (WARNING, ENDPOINT, "web-1")
    ),
    "a service of no instances": case(lambda: instances(app(0)), says="it has nothing to lose"),
    "one worker": case(lambda: instances(app(1, kind="worker")), (NO, LOSS, "web-1"), advises="everup scale web 2"),
    "two workers": case(lambda: instances(app(2, kind="worker"))),
}


def findings(found: Check) -> list[Finding]:
    return [*found.findings, *(one for service in found.services for one in service.findings)]


@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_right_and_says_why(name: str):
    one = CASES[name]
    found = check(*one.snapshot())
    worse = {(f.level, f.topic, f.node_id) for f in findings(found) if f.level in (NO, WARNING)}
    assert worse == one.finds
    assert found.passed is one.passed
    assert one.says in "\n".join(f.because for f in findings(found))
    assert one.advises in [f.next for f in findings(found)] or not one.advises


@pytest.mark.parametrize("name", CASES)
def test_who_survives_is_said_per_service_and_agrees_with_the_answer(name: str):
    found = check(*CASES[name].snapshot())
    (service,) = found.services
    felt = [f for f in findings(found) if f.level == NO and f.topic != PLACEMENT]
    assert service.survives_node is (not felt)
    assert all(service.survives_node for service in found.services if service.survives_host)


def test_all_on_one_host_is_a_note_and_no_failure():
    found = check(*group())
    (note,) = [f for f in found.findings if f.topic == PLACEMENT]
    assert (note.level, found.passed, found.services[0].survives_host) == (Level.NOTE, True, False)


def test_hosts_are_survived_where_each_has_its_share():
    assert check(*on_hosts(group(), spread())).services[0].survives_host


def test_an_endpoint_on_every_host_is_no_host_of_its_own_and_no_single_process():
    everywhere = {**spread(), "redis01-endpoint": EVERYWHERE}
    found = check(*on_hosts(group(), everywhere))
    assert (found.hosts, found.services[0].survives_host) == (("h1", "h2", "h3"), True)
    assert not [f for f in found.findings if f.topic == ENDPOINT]
    assert [f for f in check(*group()).findings if f.topic == ENDPOINT]


def test_an_app_at_its_limit_is_told_who_may_raise_it():
    (service,) = check(*instances(app(3, 3))).services
    (note,) = [f for f in service.findings if f.topic == Topic.LIMIT]
    assert (note.level, note.next) == (Level.NOTE, "everup limit web 6")


def test_asynchronous_replication_is_a_note():
    for snapshot in (group(), db(ASYNC_DB)):
        (service,) = check(*snapshot).services
        assert [f.level for f in service.findings if f.topic == DURABILITY] == [Level.NOTE]


def test_a_stopped_environment_survives_nothing():
    found = check(*group(), stopped=True)
    assert (found.passed, [f.because for f in found.findings]) == (False, ["it is stopped"])


def test_several_services_are_judged_one_by_one():
    (redis,), first = group()
    (web,), second = instances(app(1))
    nodes = {**first.nodes, **second.nodes}
    found = check((redis, web), replace(first, nodes=nodes))
    assert [(one.label, one.survives_node) for one in found.services] == [("redis01", True), ("web", False)]
    assert not found.passed


def test_a_member_of_etcd_that_nobody_declares_is_told_of():
    said = etcd.member()
    listed = said[1][1].replace('{"members": [', '{"members": [{"ID": "9", "peerURLs": ["http://127.0.0.99:2380"]}, ')
    view = members(says={"web-1": (said[0], (200, listed), said[2])})
    (service,) = check(*view).services
    assert "http://127.0.0.99:2380, which nobody declares: 3 members must agree" in service.findings[0].because


def subsets(one: Snapshot) -> list[set[str]]:
    nodes = [node.id for node in one[0][0].nodes if node.part in (Part.DATA, Part.VOTER)]
    return [set(away) for count in range(len(nodes) + 1) for away in combinations(nodes, count)]


def test_for_redis_the_answer_is_yes_exactly_with_a_primary_a_replica_and_a_majority_of_sentinels():
    for away in subsets(group()):
        up = {node.id for node in GROUP.nodes} - away
        votes = sum(f"redis01-sentinel-{n}" in up for n in (1, 2, 3))
        expected = "redis01-1" in up and bool(up & {"redis01-2", "redis01-3"}) and votes >= 2
        assert check(*group(down=away)).passed is expected, away


def test_for_postgres_the_answer_is_yes_exactly_with_the_primary_and_the_standby_that_commits_wait_for():
    for away in subsets(db()):
        assert check(*db(down=tuple(away))).passed is away.isdisjoint({"web-1", "web-2"}), away


def test_for_an_app_the_answer_is_yes_exactly_with_two_that_serve():
    for up in range(4):
        downs = [f"web-{n}" for n in range(up + 1, 4)]

        def lose(world: World, downs: list[str] = downs) -> World:
            for node_id in downs:
                world.node(node_id, Health.DOWN)
            return world

        assert check(*instances(app(3), lose)).passed is (up >= 2)


@pytest.mark.parametrize("keys", [{"spread": True, "auth": True}, {"auth": True}, {}])
def test_a_redis_that_strangers_cannot_change_is_no_matter_of_access(keys: dict[str, bool]):
    one = redis(**keys)
    assert one.weaknesses
    found = one.weaknesses(one, View(NOW_S, {}))
    assert ACCESS not in {finding.topic for finding in found}
