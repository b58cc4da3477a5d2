"""On which host a node is started where the Swarm lists hosts in odd ways, and what that must have."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from everup.engines.swarm.fleet import Fleet
from everup.engines.swarm.placement import HostView, vacated
from everup.engines.swarm.starting import Starter, fits
from everup.model.desired import Tcp
from everup.model.errors import NodeFailed
from everup.model.resources import MEBIBYTE, Resources
from tests.engines.worlds import a_node

NODE = a_node(ports={"http": Tcp("10.0.0.1", 8080)})
OLD = HostView("old", "node1", "10.0.0.1", ready=False, available=False, down=True)
NEW = HostView("new", "node1", "10.0.0.1")
OTHER = HostView("other", "node2", "10.0.0.2")


class Listed:
    """A Swarm that lists these hosts."""

    def __init__(self, *hosts: HostView) -> None:
        self.hosts = hosts


def chosen(*hosts: HostView) -> str:
    fleet: Any = Listed(*hosts)
    nobody: Any = None
    return Starter("shop", fleet, nobody, str, float).host_for(NODE).id


@pytest.mark.parametrize("hosts", list(itertools.permutations([OLD, NEW, OTHER])))
def test_a_machine_that_joined_again_is_not_taken_for_what_it_was_before(hosts: tuple[HostView, ...]) -> None:
    assert chosen(*hosts) == "new"
    issued = {"web/instance-1": {"http": Tcp("10.0.0.1", 8080)}}
    assert vacated(issued, set(issued), frozenset(), hosts) == issued


@pytest.mark.parametrize("hosts", list(itertools.permutations([OLD, NEW, OTHER])))
def test_of_two_hosts_of_one_name_the_one_that_is_up_comes_first(hosts: tuple[HostView, ...], tmp_path: Path) -> None:
    nobody: Any = None
    fleet = Fleet(nobody, "everup:1", tmp_path, nobody)
    fleet._hosts = {host.id: host for host in hosts}
    assert [host.id for host in fleet.hosts] == ["new", "old", "other"]


def test_two_hosts_that_have_one_address_are_refused() -> None:
    twin = HostView("twin", "node3", "10.0.0.1")
    with pytest.raises(NodeFailed, match="several hosts of this Swarm: node1, node3") as refusal:
        chosen(NEW, OTHER, twin)
    assert refusal.value.code == "engine.same_address"
    assert "--advertise-addr" in refusal.value.hint


def test_an_address_that_no_host_has_is_refused() -> None:
    with pytest.raises(NodeFailed) as refusal:
        chosen(OTHER)
    assert refusal.value.code == "engine.no_host"


@pytest.mark.parametrize(
    ("resources", "cpus"),
    [(None, 2.0), (Resources(cpus=2.0), 2.0), (Resources(cpus=0.5), 2.0), (Resources(MEBIBYTE), 2.0)],
)
def test_a_node_fits_on_a_host_with_as_many_processors_as_it_may_use(resources: Resources | None, cpus: float) -> None:
    fits(a_node(resources=resources), HostView("h1", "node1", "10.0.0.1", cpus=cpus))


def test_a_host_of_which_nobody_knows_what_it_has_is_left_to_docker() -> None:
    fits(a_node(resources=Resources(cpus=64.0)), HostView("h1", "node1", "10.0.0.1"))


def test_a_node_that_may_use_more_than_its_host_has_is_refused_with_both_numbers() -> None:
    with pytest.raises(NodeFailed) as failure:
        fits(a_node(resources=Resources(cpus=2.5)), HostView("h1", "node1", "10.0.0.1", cpus=2.0))
    assert failure.value.message == "web-1 may use 2.5 processors, and its host node1 has 2"
