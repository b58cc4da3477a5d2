"""What every kind owes, however many there are: one suite over all that `load_kinds` finds."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.drills.clients import CLIENTS
from everup.model.actions import Operate
from everup.model.contracts import Kind
from everup.model.desired import Blueprint, Part, Protocol
from everup.model.observed import Confirmed, Group, Health, NodeState, NodeStatus, Reading, View
from everup.model.spec import Service
from tests.kinds.shapes import KINDS, blueprint, grant, service

GROWTHS: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "etcd": [({}, {})],
    "postgres": [({}, {"rto": "2s"})],
    "app": [({"scale": 1}, {"scale": 3}), ({}, {"limit": 9, "scale": 9})],
    "worker": [({"scale": 1}, {"scale": 3}), ({}, {"limit": 9, "scale": 9})],
    "redis": [({}, {"ha": True}), ({"ha": True}, {"ha": {"replicas": 4, "sentinels": 5}})],
}

every_kind = pytest.mark.parametrize("name", sorted(KINDS))
every_growth = pytest.mark.parametrize(
    ("name", "small", "large"), [(name, *pair) for name in sorted(KINDS) for pair in GROWTHS[name]]
)


def shapes(name: str) -> list[Blueprint]:
    """The kind as first declared, and in every size."""
    return [blueprint(name), *(blueprint(name, **keys) for pair in GROWTHS[name] for keys in pair)]


def test_every_module_without_underscore_is_a_kind_by_its_own_name():
    assert set(KINDS) >= {"app", "redis", "worker"}
    assert all(kind.name == name for name, kind in KINDS.items())


@every_kind
def test_it_has_what_a_kind_must_have(name: str):
    kind: Kind = KINDS[name]
    assert issubclass(kind.service, Service)
    assert kind.prefix is None or re.fullmatch(r"[A-Z][A-Z0-9_]*", kind.prefix)
    undescribed = [key for key, field in kind.service.model_fields.items() if not field.description and key != "kind"]
    assert undescribed == []


@every_kind
def test_the_same_input_gives_the_same_blueprint(name: str):
    assert blueprint(name) == blueprint(name)


@every_growth
def test_growing_only_adds_claims(name: str, small: dict[str, Any], large: dict[str, Any]):
    before, after = (KINDS[name].claims("web", service(name, **keys)) for keys in (small, large))
    assert {claim.key: claim.ports for claim in before}.items() <= {claim.key: claim.ports for claim in after}.items()
    assert len({claim.key for claim in after}) == len(after)


@every_growth
def test_growing_leaves_every_existing_node_as_it_is(name: str, small: dict[str, Any], large: dict[str, Any]):
    first = grant(KINDS[name], service(name, **small))
    before, after = blueprint(name, **small), blueprint(name, before=first, **large)
    grown = {node.id: (node.digest, node.ports) for node in after.nodes}
    assert {node.id: (node.digest, node.ports) for node in before.nodes}.items() <= grown.items()
    # A list may get longer, at its end; nothing that somebody was told ceases to be true.
    assert all(after.bindings.get(key, "").startswith(value) for key, value in before.bindings.items())


@every_growth
def test_shrinking_again_gives_back_the_first_blueprint(name: str, small: dict[str, Any], large: dict[str, Any]):
    first = grant(KINDS[name], service(name, **small))
    wide = grant(KINDS[name], service(name, **large), before=first)
    before, after = blueprint(name, **small), blueprint(name, before=wide, **small)
    assert [(node.id, node.digest) for node in after.nodes] == [(node.id, node.digest) for node in before.nodes]
    assert after.bindings == before.bindings


@every_kind
def test_nodes_have_names_of_their_own_that_folders_can_have(name: str):
    for shape in shapes(name):
        names = [node.id for node in (*shape.nodes, *shape.retiring)]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"web-[a-z0-9-]+", node_id) for node_id in names)
        assert {node.service for node in (*shape.nodes, *shape.retiring)} == {"web"}


@every_kind
def test_no_two_nodes_listen_at_the_same_address(name: str):
    for shape in shapes(name):
        addresses = [address for node in shape.nodes for address in node.ports.values()]
        assert len(set(addresses)) == len(addresses)


@every_kind
def test_the_endpoint_is_a_node_of_the_service(name: str):
    for shape in shapes(name):
        ends = {node.id for node in shape.of(Part.ENDPOINT)}
        assert ends == ({shape.endpoint.node} if shape.endpoint else set())


@every_kind
def test_a_question_is_asked_wherever_there_is_somebody_to_ask(name: str):
    for node in (node for shape in shapes(name) for node in shape.nodes):
        assert (node.probe.to is None) == (node.probe.protocol == Protocol.NONE)
        assert node.probe.hang_s >= node.probe.timeout_s > 0
        assert node.probe.interval_s > 0


leaves = st.one_of(st.none(), st.integers(), st.text(), st.binary(), st.just(Exception("no")))
garbage = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner), max_leaves=12)


@every_kind
@given(replies=st.lists(garbage, max_size=5).map(tuple))
def test_no_answer_whatever_breaks_a_reader(name: str, replies: tuple[Any, ...]):
    for node in (node for shape in shapes(name)[-1:] for node in shape.nodes):
        assert isinstance(node.probe.read(replies), Reading)


def status(health: Health, digest: str, reading: Reading | None) -> NodeStatus:
    running = health not in (Health.DOWN, Health.UNKNOWN)
    dead = Confirmed("web-1", 90.0, -9) if health == Health.DOWN else None
    state = NodeState(running, service="web", digest=digest, files_digest=digest, dead=dead, has_data=True)
    return NodeStatus(health, state, reading, read_s=99.0, good_s=99.0, since_s=95.0)


@every_kind
@given(choices=st.data())
def test_rules_survive_any_view_and_name_only_operations_that_exist(name: str, choices: st.DataObject):
    shape = choices.draw(st.sampled_from(shapes(name)))
    strays = ["web-7", "web-99", "web-sentinel-9", "other"]
    nodes = {}
    for node_id in [*(node.id for node in shape.nodes), *strays]:
        node = shape.node(node_id)
        digest = choices.draw(st.sampled_from([node.digest if node else "", "older"]))
        reading = choices.draw(st.sampled_from([None, Reading(ready=True), Reading(ready=False)]))
        nodes[node_id] = status(choices.draw(st.sampled_from(list(Health))), digest, reading)
    primary = choices.draw(st.sampled_from([None, shape.nodes[0].id, "web-99"]))
    view = View(100.0, nodes, Group(primary, 1 if primary else 0))
    for rule in shape.rules:
        for action in rule(shape, view):
            if isinstance(action, Operate):
                assert action.operation in shape.operations
            assert action.service == "web" if hasattr(action, "service") else action.node.service == "web"
            assert getattr(action, "because", "a mark needs no reason")


@every_kind
def test_clients_write_by_programs_that_exist_and_are_told_all_that_they_need(name: str):
    needed = {"redis-sentinel": {"SENTINEL_LIST", "SENTINEL_MASTER"}, "http": {"URL", "PATH"}}
    for shape in shapes(name):
        for path in shape.clients.values():
            assert path.program in CLIENTS
            assert needed.get(path.program, {"URL"}) <= {**shape.bindings, **path.settings}.keys()
