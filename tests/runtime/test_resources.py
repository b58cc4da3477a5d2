"""What a service may use at most reaches each of its servers and instances, and nothing that runs beside them."""

from typing import Any

import pytest

from everup.core.check import check
from everup.kinds import load_kinds
from everup.model.desired import Blueprint, Node, Part, Tcp
from everup.model.findings import Finding, Level, Topic
from everup.model.observed import Observed
from everup.model.resources import MEBIBYTE, Resources
from everup.model.spec import Source
from everup.runtime.layout import Layout
from everup.runtime.store import Saved
from everup.specfile.parse import parse

KINDS = load_kinds()
SPEC = """\
environment: shop
engine: {engine}
services:
  cache: {{kind: redis, ha: true, {limits}}}
  db01: {{kind: postgres, ha: true, {limits}}}
  web: {{kind: app, run: serve, {limits}}}
  mail: {{kind: worker, run: send, {limits}}}
"""
LIMITS = "memory: 256Mi, cpus: 0.5"


class Counting:
    """Gives every claim the next address, on several hosts or on one."""

    def __init__(self, *, spread: bool) -> None:
        self.spread = spread

    def issue(self, environment: str, claims: Any, issued: Any, *more: Any) -> dict[str, Any]:
        keys = {f"{label}/{one.key}": one.ports for label, wanted in claims.items() for one in wanted if one.ports}
        block = "10.0.0" if self.spread else "127.64.0"
        return {
            key: {name: Tcp(f"{block}.{number}", port) for name, port in ports.items()}
            for number, (key, ports) in enumerate(keys.items(), 1)
        }


def drawn(engine: str, limits: str = LIMITS, spec: str = SPEC) -> dict[str, Blueprint]:
    """The blueprints of `spec`, by label."""
    text = spec.format(engine=engine, limits=limits)
    books: Any = {"local": Counting(spread=False), "swarm": Counting(spread=True)}
    saved = Saved(Source(file="everup.yaml", text=text, directory="/srv", path="/bin"), {}, {}, stopped=False)
    blueprints, _ = Layout(KINDS, books).draw(parse(text, "everup.yaml", KINDS), saved, {})
    return {one.label: one for one in blueprints}


def everyone(blueprints: dict[str, Blueprint]) -> list[Node]:
    return [node for one in blueprints.values() for node in one.known]


def test_on_several_hosts_each_server_and_instance_is_limited_and_nothing_beside_them():
    meant = Resources(256 * MEBIBYTE, 0.5)
    blueprints = drawn("swarm")
    for node in everyone(blueprints):
        limited = node.part in (Part.DATA, Part.INSTANCE)
        assert node.resources == (meant if limited else None), node.id
    assert {node.part for node in everyone(blueprints)} == set(Part)
    assert blueprints["everup-etcd"].resources is None


def test_on_one_machine_nothing_is_limited_and_nothing_else_differs():
    with_limits, without = drawn("local"), drawn("local", "needs: []")
    digests = [{node.id: (node.digest, node.files_digest) for node in everyone(one)} for one in (with_limits, without)]
    assert all(node.resources is None for node in everyone(with_limits))
    assert set(digests[0]) == set(digests[1])
    same = {node_id for node_id in digests[0] if not node_id.startswith(("db01", "everup-etcd"))}  # random passwords
    assert {node_id: digests[0][node_id] for node_id in same} == {node_id: digests[1][node_id] for node_id in same}


def test_another_limit_is_due_for_every_node_that_it_holds_for():
    before, after = drawn("swarm"), drawn("swarm", "memory: 512Mi, cpus: 0.5")
    for node in everyone(before):
        found = after[node.service].node(node.id)
        assert found is not None
        assert (found.digest != node.digest) is (node.resources is not None), node.id


def notes(blueprints: dict[str, Blueprint]) -> list[Finding]:
    found = check(tuple(blueprints.values()), Observed(0.0))
    return [one for one in found.findings if one.topic == Topic.RESOURCES]


def test_check_says_on_one_machine_that_nobody_keeps_it():
    (note,) = notes(drawn("local"))
    assert note.level == Level.NOTE
    assert note.because.startswith("not kept on one machine")
    for label in ("cache", "db01", "web", "mail"):
        assert f"{label}: 256 MiB of memory and 0.5 processors each" in note.because
    assert notes(drawn("swarm")) == notes(drawn("local", "needs: []")) == []


def conf(blueprint: Blueprint) -> list[str]:
    return blueprint.of(Part.DATA)[0].files["redis.conf"].splitlines()


def test_redis_refuses_writes_before_the_kernel_would_have_to_kill_it():
    lines = conf(drawn("swarm")["cache"])
    told = dict(line.split(" ", 1) for line in lines)  # of a name that is there twice the last one counts, as in Redis
    assert int(told["maxmemory"]) == 128 * MEBIBYTE
    assert told["maxmemory-policy"] == "noeviction"
    assert told["repl-diskless-load"] == "on-empty-db"
    _, hard, soft, _ = told["client-output-buffer-limit"].split()
    assert int(hard) == int(soft) >= int(told["repl-backlog-size"]) > 0
    assert int(told["maxmemory"]) + int(hard) < 256 * MEBIBYTE
    for other in (drawn("local")["cache"], drawn("swarm", "cpus: 2")["cache"]):
        assert not [line for line in conf(other) if line.startswith("maxmemory")]


@pytest.mark.parametrize(
    ("limits", "cache"),
    [("memory: 256Mi", "65536kB"), ("memory: 512Mi", None), ("memory: 4Gi", None), ("cpus: 1", None)],
)
def test_the_cache_of_postgres_is_at_most_a_quarter_of_its_memory(limits: str, cache: str | None):
    told = drawn("swarm", limits)["db01"].of(Part.DATA)[0].files
    for text in (told["keeper.json"], told["patroni.json"]):
        assert ("shared_buffers" in text) is (cache is not None)
        assert cache is None or cache in text


def test_a_cache_that_the_user_chose_stays():
    limits = "memory: 256Mi"
    blueprints = drawn(
        "swarm", limits, SPEC.replace("kind: postgres", "kind: postgres, settings: {{shared_buffers: 9MB}}")
    )
    told = blueprints["db01"].of(Part.DATA)[0].files["keeper.json"]
    assert "shared_buffers=9MB" in told
    assert "65536kB" not in told
