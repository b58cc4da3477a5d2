"""What a host must have for a node to be started there."""

import pytest

from everup.engines.swarm.placement import HostView
from everup.engines.swarm.starting import fits
from everup.model.errors import NodeFailed
from everup.model.resources import MEBIBYTE, Resources
from tests.engines.worlds import a_node


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
