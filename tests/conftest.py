"""What holds for every test."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A machine that does other things as well is slow at times: that fails no property.
settings.register_profile("everup", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("everup")

ONE_RIG = "tests/swarm"
"""All tests in there share one rig, and so one worker; they take longest, and so begin first."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`: a file for a worker, but the tests that share a rig together."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneRig(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return ONE_RIG if nodeid.startswith(f"{ONE_RIG}/") else super()._split_scope(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            if ONE_RIG in self.workqueue:
                self.workqueue.move_to_end(ONE_RIG, last=False)
            super()._assign_work_unit(node)

    return OneRig(config, log)
