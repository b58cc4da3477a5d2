"""A node becomes a Swarm service and is read back from one."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.engines.swarm import services
from everup.engines.swarm.services import Start, at_rest, name_of, order, order_name, read, read_end, spec
from everup.model.desired import Part, Stop, Tcp
from everup.model.resources import MEBIBYTE, Resources
from tests.engines.worlds import a_node

LABELS = st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True)
PINNED = {"http": Tcp("10.77.0.1", 8080)}
EVERYWHERE = {"http": Tcp("127.91.3.2", 8080)}


def a_start(**changes: Any) -> Start:
    node = a_node(**{"ports": PINNED, **changes})
    return Start("shop", node, ticket=7, image="sha256:abc", secret_id="s1", host_id="h1")


def as_listed(wanted: dict[str, Any]) -> dict[str, Any]:
    """What Docker answers: the spec through JSON, with an id beside it."""
    return {"ID": "svc1", "Spec": json.loads(json.dumps(wanted))}


@given(environment=LABELS, node_id=LABELS, ticket=st.integers(1, 2**48))
def test_names_are_ones_that_swarm_accepts(environment: str, node_id: str, ticket: int) -> None:
    name = name_of(environment, node_id)
    assert len(name) <= 63
    assert services._CLEAR_NAME.fullmatch(name)
    secret = order_name(environment, node_id, ticket)
    assert len(secret) <= 64
    assert secret[0].isalnum()
    assert secret[-1].isalnum()


@given(one=st.tuples(LABELS, LABELS), other=st.tuples(LABELS, LABELS))
def test_no_two_nodes_share_a_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (name_of(*one) == name_of(*other)) == (one == other)


def test_what_could_be_read_in_two_ways_gets_a_number() -> None:
    assert name_of("shop", "redis01-2") == "shop_redis01-2"
    assert name_of("a_b", "c") != name_of("a", "b_c")


def test_the_secrets_of_two_starts_have_two_names() -> None:
    assert order_name("shop", "n" * 63, 1) != order_name("shop", "n" * 63, 2)


def test_what_was_given_up_elsewhere_is_remembered_by_the_service() -> None:
    found = read(as_listed(spec(replace(a_start(part=Part.DATA), given_up=5))))
    assert found is not None
    assert (found.given_up, found.outdated, found.keeps, found.moves) == (5, 6, True, False)
    plain = read(as_listed(spec(a_start(part=Part.VOTER))))
    assert plain is not None
    assert (plain.given_up, plain.outdated, plain.keeps) == (0, 0, False)


def test_a_node_is_read_back_from_its_service() -> None:
    start = a_start()
    found = read(as_listed(spec(start)))
    assert found is not None
    assert (found.node_id, found.service, found.ticket, found.host_id) == ("web-1", "web", 7, "h1")
    assert (found.digest, found.files_digest) == (start.node.digest, start.node.files_digest)
    assert (found.addresses, found.secrets) == ((Tcp("10.77.0.1", 8080),), ("s1",))
    assert (found.wanted, found.everywhere) == (True, False)


def test_a_service_at_rest_runs_nothing_and_is_still_known() -> None:
    found = read(as_listed(at_rest(spec(a_start()))))
    assert found is not None
    assert (found.wanted, found.node_id, found.host_id) == (False, "web-1", "h1")


def test_services_of_others_are_passed_over() -> None:
    assert read({"ID": "x", "Spec": {"Name": "theirs", "Labels": {"a": "b"}, "TaskTemplate": {}, "Mode": {}}}) is None
    assert read({"ID": "x", "Spec": {"Name": "theirs", "TaskTemplate": {}, "Mode": {}}}) is None


def test_swarm_never_starts_a_pinned_node_by_itself() -> None:
    template = spec(a_start())["TaskTemplate"]
    assert template["RestartPolicy"] == {"Condition": "none"}
    assert template["Placement"] == {"Constraints": ["node.id==h1"]}


def test_what_is_everywhere_has_a_copy_on_every_host_that_swarm_restarts() -> None:
    wanted = spec(a_start(ports=EVERYWHERE))
    assert wanted["Mode"] == {"Global": {}}
    assert wanted["TaskTemplate"]["RestartPolicy"]["Condition"] == "any"
    assert wanted["TaskTemplate"]["Placement"] == {}
    found = read(as_listed(wanted))
    assert found is not None
    assert (found.everywhere, found.wanted) == (True, True)


def test_what_a_node_may_use_is_a_limit_and_reserves_nothing() -> None:
    limited = spec(a_start(resources=Resources(512 * MEBIBYTE, 0.5)))["TaskTemplate"]["Resources"]
    assert limited == {"Limits": {"MemoryBytes": 512 * MEBIBYTE, "NanoCPUs": 500_000_000}}
    slowed = spec(a_start(resources=Resources(cpus=2.0)))["TaskTemplate"]["Resources"]
    assert slowed == {"Limits": {"MemoryBytes": 0, "NanoCPUs": 2_000_000_000}}
    assert spec(a_start())["TaskTemplate"]["Resources"] == {}


def test_another_limit_is_another_node_and_none_is_what_it_was() -> None:
    nodes = [
        a_node(resources=one) for one in (None, Resources(MEBIBYTE), Resources(MEBIBYTE, 1.0), Resources(cpus=1.0))
    ]
    assert len({node.digest for node in nodes}) == 4
    assert nodes[0].digest == a_node().digest


def test_an_order_tells_all_of_a_node_in_json() -> None:
    node = a_node(ports=PINNED, stop=Stop("SIGINT", 3.0, 0.5), files={"a": "b"}, unprivileged=True, keeps=("x",))
    start = replace(a_start(), node=node, ticket=9, extra_args=("--more",), secrets={"TOKEN": "t"})
    told = json.loads(json.dumps(order(start)))
    assert set(told) == {"node", "digest", "files_digest", "extra_args", "ticket", "secrets", "copy", "keeping"}
    assert told["node"]["ports"] == {"http": ["10.77.0.1", 8080]}
    assert told["node"]["stop"] == {"signal": "SIGINT", "grace_s": 3.0, "repeat_s": 0.5}
    assert (told["extra_args"], told["ticket"], told["secrets"]) == (["--more"], 9, {"TOKEN": "t"})
    assert told["copy"] is False
    assert order(a_start(ports=EVERYWHERE))["copy"] is True


@pytest.mark.parametrize("word", ["secret-password", "s3cret"])
def test_no_password_is_in_the_spec_of_what_runs_from_everups_image(word: str) -> None:
    start = a_start(files={"users.acl": word}, env={"PASSWORD": word}, args=("-c", word))
    assert word not in json.dumps(spec(replace(start, extra_args=(word,), secrets={"TOKEN": word})))


def test_an_image_of_the_users_runs_its_own_words() -> None:
    start = a_start(image="shop:1", program="serve", args=("--port", "8080"), env={"A": "b"})
    container = spec(replace(start, extra_args=("more",)))["TaskTemplate"]["ContainerSpec"]
    assert (container["Command"], container["Args"]) == (["serve"], ["--port", "8080", "more"])
    assert container["Env"] == ["A=b"]
    assert "Dir" not in container
    assert "Secrets" not in container
    assert "Mounts" not in container


def test_the_starts_of_what_takes_no_tickets_are_counted_by_its_service() -> None:
    start = a_start(image="shop:1")
    assert [one.starts for one in map(read, map(as_listed, (spec(start), spec(replace(start, number=3))))) if one] == [
        1,
        3,
    ]
    assert services.STARTS not in a_start().labels


def test_an_image_of_the_users_gets_its_secrets_and_says_its_last_words() -> None:
    start = a_start(image="shop:1", env={"A": "b"}, ambient={"A": "c", "PYTHONUNBUFFERED": "1"}, cwd="/srv")
    container = spec(replace(start, secrets={"TOKEN": "t"}))["TaskTemplate"]["ContainerSpec"]
    assert sorted(container["Env"]) == ["A=b", "PYTHONUNBUFFERED=1", "TOKEN=t"]
    assert container["Dir"] == "/srv"


def test_docker_waits_longer_than_the_agent() -> None:
    container = spec(a_start(stop=Stop("SIGINT", 30.0)))["TaskTemplate"]["ContainerSpec"]
    assert container["StopSignal"] == "SIGINT"
    assert container["StopGracePeriod"] > 30 * 10**9


def task(state: str, **status: Any) -> dict[str, Any]:
    """A task, as Docker lists it."""
    container = spec(a_start())["TaskTemplate"]["ContainerSpec"]
    return {
        "Spec": {"ContainerSpec": container},
        "Status": {"State": state, "Timestamp": "2026-01-01T00:00:00Z", **status},
    }


def test_the_swarm_tells_of_an_end_that_the_host_reported() -> None:
    end = read_end(task("failed", ContainerStatus={"ExitCode": 137}))
    assert end is not None
    assert (end.environment, end.node_id, end.ticket, end.exit_code) == ("shop", "web-1", 7, -9)
    assert read_end(task("shutdown", ContainerStatus={"ExitCode": 0})) is not None


@pytest.mark.parametrize("status", [{}, {"ContainerStatus": {"ExitCode": 255}}])
def test_an_end_of_which_docker_does_not_know_how_it_came_about_is_none(status: dict[str, Any]) -> None:
    assert read_end(task("failed", **status)) is None


@pytest.mark.parametrize("state", ["running", "orphaned", "preparing", "remove", "pending", "rejected"])
def test_what_swarm_only_supposes_is_no_end(state: str) -> None:
    assert read_end(task(state)) is None


def test_tasks_of_others_are_passed_over() -> None:
    assert read_end({"Spec": {"ContainerSpec": {"Image": "x"}}, "Status": {"State": "failed"}}) is None
    assert read_end({"Spec": {}, "Status": {"State": "failed"}}) is None


@pytest.mark.parametrize("state", ["new", "pending", "assigned", "preparing", "starting", "running"])
def test_a_task_is_under_way_until_its_host_has_told_its_end(state: str) -> None:
    assert services.under_way(task(state))


@pytest.mark.parametrize("state", ["complete", "failed", "shutdown", "rejected", "orphaned", "remove"])
def test_a_task_that_has_ended_starts_nothing_any_more(state: str) -> None:
    assert not services.under_way(task(state))
