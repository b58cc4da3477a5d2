from hypothesis import given, settings
from hypothesis import strategies as st

from everup.core.bindings import given_to, order_by_needs, variable_prefix, variables
from everup.model.desired import Blueprint
from everup.model.spec import Service

PREFIXES = {"redis": "REDIS", "postgres": "DATABASE", "app": None}


def provider(label: str, kind: str = "redis", **bindings: str) -> Blueprint:
    return Blueprint(label, kind, False, (), bindings=bindings or {"URL": f"{kind}://{label}"})


def services(**needs: list[str]) -> dict[str, Service]:
    return {label: Service(kind="app", needs=needed) for label, needed in needs.items()}


def test_a_label_is_upper_case_with_underscores():
    assert variable_prefix("cache-1") == "CACHE_1"
    assert variable_prefix("redis_01") == "REDIS_01"


def test_every_provider_is_named_by_label_and_the_first_of_its_kind_by_prefix_too():
    named = variables([provider("cache-1"), provider("redis02"), provider("db01", "postgres")], PREFIXES)
    assert named == {
        "cache-1": {"CACHE_1_URL": "redis://cache-1", "REDIS_URL": "redis://cache-1"},
        "redis02": {"REDIS02_URL": "redis://redis02"},
        "db01": {"DB01_URL": "postgres://db01", "DATABASE_URL": "postgres://db01"},
    }


def test_the_seeds_variables_have_their_names():
    offered = {"URL": "redis://h:1", "SENTINEL_URL": "redis-sentinel://h:2", "SENTINEL_LIST": "h:2,h:3"}
    offered["SENTINEL_MASTER"] = "r"
    named = variables([provider("r", **offered)], PREFIXES)["r"]
    assert {suffix: named[f"REDIS_{suffix}"] for suffix in offered} == offered


def test_a_kind_without_a_prefix_is_named_by_label_alone():
    assert variables([provider("web", "app"), provider("jobs", "unheard")], PREFIXES) == {
        "web": {"WEB_URL": "app://web"},
        "jobs": {"JOBS_URL": "unheard://jobs"},
    }


def test_a_first_service_whose_label_is_the_prefix_has_each_name_once():
    assert variables([provider("redis")], PREFIXES) == {"redis": {"REDIS_URL": "redis://redis"}}


def test_the_first_in_the_file_keeps_the_plain_names_even_when_it_offers_less():
    single = provider("a", URL="redis://a")
    group = provider("b", URL="redis://b", SENTINEL_LIST="x:1")
    assert "REDIS_SENTINEL_LIST" not in variables([single, group], PREFIXES)["b"]


def test_an_app_is_given_what_it_needs_and_nothing_else():
    named = variables([provider("a"), provider("b"), provider("db", "postgres")], PREFIXES)
    assert given_to(["b", "db"], named) == {
        "B_URL": "redis://b",
        "DB_URL": "postgres://db",
        "DATABASE_URL": "postgres://db",
    }
    assert given_to(["worker"], named) == {}


def test_providers_come_first_and_the_file_decides_the_rest():
    declared = services(web=["db", "cache"], mailer=[], cache=[], db=["disk"], disk=[])
    assert order_by_needs(declared) == ("mailer", "cache", "disk", "db", "web")
    assert order_by_needs(services(b=[], a=[], c=[])) == ("b", "a", "c")


def test_a_cycle_and_an_unknown_label_still_give_every_service_once():
    assert order_by_needs(services(a=["b"], b=["a"], c=["ghost"])) == ("c", "a", "b")


LABELS = ["a", "b", "c", "d", "e", "f"]


@settings(max_examples=200, deadline=None)
@given(st.permutations(LABELS), st.lists(st.integers(0, 63), min_size=6, max_size=6), st.permutations(LABELS))
def test_nobody_stands_before_what_it_needs(allowed: list[str], chosen: list[int], in_file: list[str]):
    """Who may need whom follows `allowed`, so that there is no cycle; each bit of `chosen` is one such need."""
    needs = {
        label: [other for bit, other in enumerate(allowed[:place]) if chosen[place] >> bit & 1]
        for place, label in enumerate(allowed)
    }
    ordered = order_by_needs(services(**{label: needs[label] for label in in_file}))
    assert sorted(ordered) == LABELS
    assert all(ordered.index(other) < ordered.index(label) for label in needs for other in needs[label])


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(LABELS), st.sets(st.sampled_from(LABELS), max_size=3)))
def test_any_needs_give_every_service_once(needs: dict[str, set[str]]):
    ordered = order_by_needs(services(**{label: sorted(needed) for label, needed in needs.items()}))
    assert sorted(ordered) == sorted(needs)
