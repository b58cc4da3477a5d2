"""The Swarm engine behind the face that all engines have for the suite that holds them to the contract."""

import asyncio
import time
from pathlib import Path

from everup.engines.swarm.docker import Docker
from everup.engines.swarm.engine import SwarmEngine
from everup.engines.swarm.fleet import Fleet
from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.lines import REUSE_S
from everup.engines.swarm.pair import AGENT
from everup.engines.swarm.place import Place
from everup.engines.swarm.services import name_of
from everup.engines.swarm.wire import Wire
from tests.engines.worlds import World
from tests.swarm.host import Host, until
from tests.swarm.rig import Rig


def unclaim(rig: Rig) -> None:
    """Take away the agents of whichever control plane has looked after the Swarm: they obey no other one."""
    answer = rig.leader().docker.delete(f"/services/{AGENT}")
    assert answer.status_code in (200, 404), answer.text
    until(lambda: not any(host.containers(f"{AGENT}.") for host in rig.hosts), "the agents are gone")


def no_secrets(name: str) -> str:
    raise AssertionError(f"nobody asked for the secret {name}")


def fleet_of(rig: Rig, image_id: str, folder: Path) -> Fleet:
    """The Swarm of a rig, as a control plane sees it whose home is `folder`."""
    return Fleet(Docker(Wire(Place(f"unix://{rig.hosts[0].socket}"))), image_id, folder, Keeping(lambda error: None))


class SwarmWorld(World):
    """Real containers on the pretended hosts of a rig; the thread must be on their network (`Rig.entered`).

    `folder` is the environment's, in the home of its control plane.
    """

    engine: SwarmEngine

    def __init__(self, environment: str, rig: Rig, fleet: Fleet, folder: Path) -> None:
        self.environment = environment
        self.rig = rig
        self.fleet = fleet
        self.engine = SwarmEngine(environment, fleet, folder, no_secrets)
        self.folder = folder
        self._former: list[tuple[SwarmEngine, Fleet]] = []

    async def kill(self, node_id: str) -> None:
        await asyncio.to_thread(self._kill, node_id)

    def _kill(self, node_id: str) -> None:
        for host in self.rig.hosts:
            for container in host.containers(f"{name_of(self.environment, node_id)}."):
                host.kill_container(container["Id"])

    def home(self, node_id: str) -> Path:
        """Where the node's volume is, on the disk of its host."""
        return self.host_of(node_id).volume(name_of(self.environment, node_id))

    def host_of(self, node_id: str) -> Host:
        """The host on which the node's volume is."""
        return next(host for host in self.rig.hosts if host.volume(name_of(self.environment, node_id)).is_dir())

    def read(self, node_id: str, name: str) -> str:
        return (self.home(node_id) / name).read_text()

    def write(self, node_id: str, name: str, text: str) -> None:
        (self.home(node_id) / name).write_text(text)

    def forget(self, node_id: str) -> None:
        (self.home(node_id) / "dump.rdb").unlink()
        time.sleep(REUSE_S)  # an agent's answer counts for that long, and nobody told the engine

    def say(self, node_id: str, lines: str) -> None:
        self.write(node_id, "say.draft", lines + "\n")
        (self.home(node_id) / "say.draft").rename(self.home(node_id) / "say")

    async def succeeded(self) -> SwarmEngine:
        """A second control plane of the same home looks after the environment from now on; the engine of the first."""
        former, folder = self.engine, self.folder
        self._former.append((former, self.fleet))
        self.fleet = fleet_of(self.rig, self.fleet.image, folder.parent / "swarm")
        self.engine = SwarmEngine(self.environment, self.fleet, folder, no_secrets)
        await self.engine.observe()
        return former

    async def close(self) -> None:
        for node_id in await self.engine.observe():
            await self.engine.fence(node_id)
            await self.engine.remove(node_id, keep_data=False)
        for engine, fleet in (*self._former, (self.engine, self.fleet)):
            await engine.close()
            await fleet.close()
