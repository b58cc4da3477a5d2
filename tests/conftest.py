"""What holds for every test."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A machine that does other things as well is slow at times: that fails no property.
settings.register_profile("everup", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("everup")

HOSTS = "tests/swarm/"
"""The tests in there need a rig of hosts, which each worker that gets some of them makes; they take longest."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`: a file for a worker, and those that need a rig first."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class RigsFirst(LoadFileScheduling):
        def _assign_work_unit(self, node: Any) -> None:
            if longest := next((file for file in self.workqueue if file.startswith(HOSTS)), None):
                self.workqueue.move_to_end(longest, last=False)
            super()._assign_work_unit(node)

    return RigsFirst(config, log)
