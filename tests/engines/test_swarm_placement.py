"""Members of a group lie apart, ports are unique, and what was granted stays."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.engines.swarm.addresses import SwarmAddresses
from everup.engines.swarm.placement import (
    RESERVED,
    HostView,
    ground_of,
    group_of,
    is_loopback,
    place,
    released,
    vacated,
)
from everup.model.contracts import Claim
from everup.model.desired import Tcp
from everup.model.errors import EngineError, Refused
from everup.model.observed import Ground

Claims = Mapping[str, Sequence[Claim]]
Granted = Mapping[str, Mapping[str, Tcp]]


def hosts(count: int, zones: Sequence[str] = ("",), down: Sequence[int] = ()) -> list[HostView]:
    return [
        HostView(f"id{n}", f"node{n}", f"10.0.0.{n}", zones[(n - 1) % len(zones)], n not in down)
        for n in range(1, count + 1)
    ]


def group(name: str, size: int, port: int = 6379, votes: bool = False) -> list[Claim]:
    return [Claim(f"{name}-{n}", {"main": port}, votes=votes) for n in range(1, size + 1)]


def redis(sentinels: int = 3) -> list[Claim]:
    end = Claim("endpoint", {"redis": 6379}, everywhere=True)
    return [end, *group("data", 7), *group("sentinel", sentinels, 26379, votes=True), Claim("password")]


def app(label: str, limit: int = 5) -> list[Claim]:
    end = Claim(f"{label}-endpoint", {"http": 8080}, everywhere=True, public=True)
    return [end, *(Claim(f"{label}-{n}", {"http": 8080}, moves=True) for n in range(1, limit + 1))]


def where(granted: Granted, key: str) -> str:
    return next(iter(granted[key].values())).host


def spread(granted: Granted, prefix: str) -> Counter[str]:
    """How many members of a group each host has."""
    return Counter(where(granted, key) for key in granted if key.startswith(prefix))


CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "redis01": st.integers(0, 3).map(redis),
        "cache": st.integers(0, 3).map(redis),
        "web": st.integers(1, 12).map(lambda limit: app("web", limit)),
        "api": st.integers(1, 12).map(lambda limit: app("api", limit)),
        "etcd": st.just(group("member", 3, 2379, votes=True)),
    },
)
ZONES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)
HOSTS = st.builds(hosts, st.integers(3, 7), ZONES)


@given(claims=CLAIMS, views=HOSTS)
def test_every_port_is_unique_on_its_host_and_public_ones_everywhere(claims: Claims, views: list[HostView]) -> None:
    granted = place("shop", claims, {}, views)
    every = [to for ports in granted.values() for to in ports.values()]
    assert len(every) == len(set(every))
    public = [f"{label}/{claim.key}" for label, ones in claims.items() for claim in ones if claim.public]
    for key in public:
        port = granted[key]["http"].port
        assert [to.port for to in every].count(port) == 1
        assert port not in RESERVED
    assert set(granted) == {f"{label}/{one.key}" for label, ones in claims.items() for one in ones if one.ports}


@given(claims=CLAIMS, views=HOSTS)
def test_no_host_has_two_of_a_group_while_another_has_fewer(claims: Claims, views: list[HostView]) -> None:
    granted = place("shop", claims, {}, views)
    pinned = [key for key, ports in granted.items() if not any(map(is_loopback, ports.values()))]
    for label, name in {group_of(key)[:2] for key in pinned}:
        members = sorted(
            (key for key in pinned if group_of(key)[:2] == (label, name)), key=lambda k: group_of(k)[2] or 0
        )
        for size in range(1, len(members) + 1):
            counts = Counter(where(granted, key) for key in members[:size])
            assert max(counts.values()) - min(counts[host.address] for host in views) <= 1


@given(claims=CLAIMS, more=CLAIMS, views=HOSTS)
def test_what_is_granted_stays_when_more_is_claimed(claims: Claims, more: Claims, views: list[HostView]) -> None:
    first = place("shop", claims, {}, views)
    second = place("shop", {**claims, **more}, first, views)
    assert {key: second[key] for key in first} == first
    assert place("shop", {**claims, **more}, second, views) == second
    every = [to for ports in second.values() for to in ports.values()]
    assert len(every) == len(set(every))


@given(claims=CLAIMS, views=HOSTS)
def test_the_order_of_hosts_makes_no_difference(claims: Claims, views: list[HostView]) -> None:
    assert place("shop", claims, {}, views) == place("shop", claims, {}, views[::-1])


@given(claims=CLAIMS, views=HOSTS)
def test_two_environments_never_meet(claims: Claims, views: list[HostView]) -> None:
    first = place("shop", claims, {}, views)
    elsewhere = [to for ports in first.values() for to in ports.values()]
    second = place("office", claims, {}, views, elsewhere)
    others = [to for ports in second.values() for to in ports.values()]
    assert not set(elsewhere) & set(others)
    public = {first[key]["http"].port for key in first if key.endswith("-endpoint")}
    assert not public & {to.port for to in others}


@given(views=HOSTS)
def test_sentinels_stand_beside_servers(views: list[HostView]) -> None:
    granted = place("shop", {"redis01": redis()}, {}, views)
    for number in (1, 2, 3):
        assert where(granted, f"redis01/sentinel-{number}") == where(granted, f"redis01/data-{number}")


def test_zones_are_used_before_a_zone_is_used_twice() -> None:
    views = hosts(6, ("a", "a", "b", "b", "c", "c"))
    granted = place("shop", {"redis01": redis()}, {}, views)
    zone = {host.address: host.zone for host in views}
    assert {zone[where(granted, f"redis01/data-{n}")] for n in (1, 2, 3)} == {"a", "b", "c"}
    assert {zone[where(granted, f"redis01/sentinel-{n}")] for n in (1, 2, 3)} == {"a", "b", "c"}


def test_hosts_come_before_zones() -> None:
    views = hosts(3, ("a", "a", "b"))
    granted = place("shop", {"redis01": redis()}, {}, views)
    assert set(spread(granted, "redis01/sentinel-").values()) == {1}


def test_several_services_do_not_all_begin_on_one_host() -> None:
    claims = {f"db{n}": group("data", 1) for n in range(6)}
    granted = place("shop", claims, {}, hosts(3))
    assert Counter(where(granted, key) for key in granted) == {"10.0.0.1": 2, "10.0.0.2": 2, "10.0.0.3": 2}


@pytest.mark.parametrize(("count", "down", "said"), [(1, (), "1 host: node1"), (3, (2,), "node2: not available")])
def test_a_quorum_that_has_too_few_hosts_is_refused(count: int, down: tuple[int, ...], said: str) -> None:
    with pytest.raises(Refused) as refusal:
        place("shop", {"redis01": redis()}, {}, hosts(count, down=down))
    assert refusal.value.code == "refused.hosts"
    assert said in refusal.value.message
    assert refusal.value.hint


def test_a_quorum_that_was_granted_is_not_refused_when_a_host_is_lost() -> None:
    granted = place("shop", {"redis01": redis()}, {}, hosts(3))
    more = {"redis01": redis(), "web": app("web")}
    again = place("shop", more, granted, hosts(3, down=(2,)))
    assert {key: again[key] for key in granted} == granted
    assert "10.0.0.2" not in spread(again, "web/web-")


def test_a_member_more_than_there_are_hosts_is_refused() -> None:
    granted = place("shop", {"redis01": redis()}, {}, hosts(3))
    with pytest.raises(Refused):
        place("shop", {"redis01": redis(5)}, granted, hosts(3))
    grown = place("shop", {"redis01": redis(5)}, granted, hosts(5))
    assert set(spread(grown, "redis01/sentinel-").values()) == {1}


def test_a_group_without_votes_shares_one_host() -> None:
    granted = place("shop", {"redis01": redis(0)}, {}, hosts(1))
    ports = [granted[f"redis01/data-{n}"]["main"].port for n in range(1, 8)]
    assert ports == list(range(6379, 6386))


def test_nothing_can_be_placed_without_a_host() -> None:
    with pytest.raises(EngineError) as failure:
        place("shop", {"web": app("web")}, {}, hosts(2, down=(1, 2)))
    assert failure.value.code == "engine.no_host"
    assert "node1: not available" in failure.value.message


def test_public_endpoints_come_first_and_take_the_port_they_like() -> None:
    granted = place("shop", {"web": app("web"), "api": app("api")}, {}, hosts(3))
    assert (granted["web/web-endpoint"]["http"].port, granted["api/api-endpoint"]["http"].port) == (8080, 8081)
    assert min(granted[f"web/web-{n}"]["http"].port for n in (1, 2, 3)) == 8082


def test_the_endpoint_of_data_keeps_the_usual_port_beside_a_server() -> None:
    granted = place("shop", {"redis01": redis()}, {}, hosts(3))
    assert granted["redis01/endpoint"]["redis"].port == 6379
    assert is_loopback(granted["redis01/endpoint"]["redis"])
    assert granted["redis01/data-1"]["main"].port == 6379


def test_a_new_port_of_an_old_claim_is_on_the_same_host() -> None:
    granted = place("shop", {"db": [Claim("data-1", {"a": 1000})]}, {}, hosts(3))
    more = place("shop", {"db": [Claim("data-1", {"a": 1000, "b": 1000})]}, granted, hosts(3))
    assert more["db/data-1"] == {
        "a": Tcp(where(granted, "db/data-1"), 1000),
        "b": Tcp(where(granted, "db/data-1"), 1001),
    }


def test_a_single_server_grows_over_hosts_that_joined_later() -> None:
    alone = place("shop", {"redis01": redis(0)}, {}, hosts(1))
    used = [alone["redis01/data-1"]["main"]]
    book = SwarmAddresses(lambda: hosts(3), lambda environment: used)
    granted = book.issue("shop", {"redis01": redis(3)}, alone)
    assert granted["redis01/data-1"] == alone["redis01/data-1"]
    assert granted["redis01/endpoint"] == alone["redis01/endpoint"]
    assert len({where(granted, f"redis01/data-{n}") for n in (1, 2, 3)}) == 3
    assert set(spread(granted, "redis01/sentinel-").values()) == {1}


@given(before=st.integers(1, 4), after=st.integers(1, 6), started=st.sets(st.integers(1, 7)))
def test_what_a_node_used_is_never_granted_anew(before: int, after: int, started: set[int]) -> None:
    issued = place("shop", {"redis01": redis(0)}, {}, hosts(before))
    used = [issued[f"redis01/data-{n}"]["main"] for n in started]
    kept = released(issued, used, hosts(after))
    assert all(kept[f"redis01/data-{n}"] == issued[f"redis01/data-{n}"] for n in started)
    assert kept["redis01/endpoint"] == issued["redis01/endpoint"]


def test_nobody_is_asked_while_nothing_new_is_claimed() -> None:
    def unasked() -> list[HostView]:
        raise AssertionError("the Swarm was asked")

    granted = place("shop", {"redis01": redis()}, {}, hosts(3))
    book = SwarmAddresses(unasked, lambda environment: ())
    assert book.issue("shop", {"redis01": redis()}, granted) == granted


# -- leaving a host


def without(number: int, **how: bool) -> list[HostView]:
    """Three hosts, one of which is not available."""
    return [replace(host, available=False, **how) if host.id == f"id{number}" else host for host in hosts(3)]


def at(granted: Granted, address: str) -> set[str]:
    return {key for key in granted if where(granted, key) == address}


WEB = {"redis01": redis(), "web": app("web", 6)}


def book(three: Sequence[HostView], busy: set[Tcp] | None = None) -> SwarmAddresses:
    return SwarmAddresses(lambda: three, lambda _: (), busy=lambda _: busy or set())


@pytest.mark.parametrize("how", ["down", "emptied"])
def test_what_holds_nothing_is_granted_another_place_when_its_host_is_lost(how: str) -> None:
    before = place("shop", WEB, {}, hosts(3))
    lost = without(1, **{how: True})
    after = book(lost, {to for ports in before.values() for to in ports.values()}).issue("shop", WEB, before)
    left = {key for key in at(before, "10.0.0.1") if key.startswith("web/")}
    assert left
    assert {key for key in before if after[key] != before[key]} == left
    assert Counter(where(after, f"web/web-{n}") for n in range(1, 7)) == {"10.0.0.2": 3, "10.0.0.3": 3}
    assert len({to for ports in after.values() for to in ports.values()}) == len(
        [to for ports in after.values() for to in ports.values()]
    )


@pytest.mark.parametrize("lost", [1, 2, 3])
@pytest.mark.parametrize("limit", [2, 3, 4, 7, 10])
def test_those_that_run_are_apart_again_however_many_addresses_wait_for_a_larger_scale(lost: int, limit: int) -> None:
    claims = {"web": app("web", limit)}
    before = place("shop", claims, {}, hosts(3))
    busy = {to for n in (1, 2) for to in before[f"web/web-{n}"].values()}
    after = book(without(lost, down=True), busy).issue("shop", claims, before)
    assert where(after, "web/web-1") != where(after, "web/web-2")


def test_it_is_granted_once_and_does_not_come_back() -> None:
    before = place("shop", WEB, {}, hosts(3))
    after = book(without(1, down=True)).issue("shop", WEB, before)
    assert book(without(1, down=True)).issue("shop", WEB, after) == after
    assert book(hosts(3)).issue("shop", WEB, after) == after


def test_a_drained_host_is_left_by_what_does_not_run_there_now() -> None:
    before = place("shop", WEB, {}, hosts(3))
    here = sorted(key for key in at(before, "10.0.0.1") if key.startswith("web/"))
    busy = set(before[here[0]].values())
    after = book(without(1, drained=True), busy).issue("shop", WEB, before)
    assert {key for key in before if after[key] != before[key]} == set(here[1:])


def test_a_host_that_is_only_silent_or_paused_is_not_left() -> None:
    before = place("shop", WEB, {}, hosts(3))
    assert book(without(1, ready=False)).issue("shop", WEB, before) == before


def test_while_no_host_is_available_everything_stays() -> None:
    before = place("shop", WEB, {}, hosts(3))
    nowhere = [replace(host, available=False, down=True) for host in hosts(3)]
    assert book(nowhere).issue("shop", WEB, before) == before
    assert book([]).issue("shop", WEB, before) == before


@given(st.sets(st.integers(1, 4), max_size=3), st.integers(1, 12))
def test_whatever_is_lost_only_what_may_move_does_and_to_hosts_that_are_there(lost: set[int], limit: int) -> None:
    claims = {"redis01": redis(), "web": app("web", limit)}
    before = place("shop", claims, {}, hosts(4))
    now = [replace(h, available=False, down=True) if int(h.id[2:]) in lost else h for h in hosts(4)]
    after = book(now).issue("shop", claims, before)
    gone = {f"10.0.0.{number}" for number in lost}
    moved = {key for key in before if after[key] != before[key]}
    assert moved == {key for key in before if key.startswith("web/web-") and where(before, key) in gone}
    assert not {where(after, key) for key in moved} & gone


def test_what_may_not_move_is_never_vacated() -> None:
    before = place("shop", WEB, {}, hosts(3))
    assert vacated(before, set(), set(), without(1, down=True)) == before


@pytest.mark.parametrize(
    ("how", "silent", "ground"),
    [
        ({"down": True}, True, Ground.LOST),
        ({"down": True}, False, Ground.SOUND),  # its agent answers: the Swarm alone has lost sight of it
        ({"ready": False}, True, Ground.SOUND),  # nobody but us misses it yet
        ({"drained": True}, False, Ground.DRAINED),
        ({"drained": True, "down": True}, True, Ground.LOST),
    ],
)
def test_how_a_host_stands(how: dict[str, bool], silent: bool, ground: Ground) -> None:
    assert ground_of(without(1, **how), "id1", silent) == ground


def test_no_host_is_to_be_left_while_there_is_no_other() -> None:
    nowhere = [replace(host, available=False, drained=True) for host in hosts(3)]
    assert ground_of(nowhere, "id1", False) == Ground.SOUND
