"""Everup on the hosts of a rig as its users have it: the control plane in the Swarm, the command beside the hosts."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from everup.engines.swarm.services import KEEPING
from everup.model.observed import EVERYWHERE
from tests.everup_cli import Everup
from tests.swarm.host import Host, until
from tests.swarm.rig import Rig

Json = dict[str, Any]
PATIENCE_S = 300.0
DOOR = 8484


class Installed:
    """Three hosts, what was declared on them, and the command on a machine beside them, which reaches any of them.

    `before`: what ran (`ran`) when the control plane was moved into the Swarm, where it was.
    """

    def __init__(self, rig: Rig, everup: Everup) -> None:
        self.rig, self.everup = rig, everup
        self.before: Json = {}
        self._asked = rig.hosts[0]

    @classmethod
    @contextmanager
    def on(cls, rig: Rig, image_id: str, spec: str, *, move: bool = False) -> Iterator["Installed"]:
        """Install the control plane and bring up what `spec` declares; what remains of it goes with the hosts.

        With `move` a control plane of the machine beside the hosts brings it up, and is moved into the Swarm then.
        """
        environ = {"DOCKER_HOST": f"unix://{rig.hosts[0].socket}", "EVERUP_IMAGE": image_id}
        with rig.entered(), Everup(spec, environ=environ, down=False) as everup:
            ground = cls(rig, everup)
            if move:
                everup("up", timeout_s=PATIENCE_S)
                ground.before = ground.ran()
            everup("swarm", "install", *(["--move"] if move else []), timeout_s=PATIENCE_S)
            kept = json.loads((everup.home / "config/everup/contexts.json").read_text())["places"]["swarm"]
            everup.environ |= {"EVERUP_TOKEN": kept["token"], "EVERUP_CA": kept["ca"], "EVERUP_SERVER": kept["server"]}
            if not move:
                everup("up", timeout_s=PATIENCE_S)
            yield ground

    def manifest(self) -> Json:
        """What the Swarm says of its control plane."""
        found: Json = json.loads(self._swarm("/swarm")["Spec"]["Labels"]["everup.state"])
        return found

    def keepings(self) -> dict[str, int]:
        """The number of the control plane that changed each node's service last."""
        found = {one["Spec"]["Name"]: one["Spec"]["Labels"] for one in self._swarm("/services")}
        return {name: int(labels[KEEPING]) for name, labels in found.items() if KEEPING in labels}

    def _swarm(self, path: str) -> Any:
        """What the Swarm says, by the host that commands go to while it is switched on."""
        hosts = [host for host in (self._asked, *self.rig.hosts) if host.running]
        return hosts[0].docker.get(path).raise_for_status().json()

    def keeper(self) -> Host:
        """The host of the control plane that decides."""
        return next(host for host in self.rig.hosts if host.address == self.manifest()["address"])

    def containers(self) -> list[Host]:
        """The hosts on which a control plane runs."""
        return [host for host in self.rig.hosts if host.running and host.containers("everup-control")]

    def use(self, host: Host) -> None:
        """Let commands go to the door of a host from now on."""
        self._asked = host
        self.everup.environ["EVERUP_SERVER"] = f"https://{host.address}:{DOOR}"

    def answers(self) -> Json | None:
        """What `status` says; None where nobody answers."""
        process = self.everup.start("status", "--json")
        out, _ = process.communicate(timeout=PATIENCE_S)
        found: Json | None = json.loads(out) if process.returncode in (0, 3) else None
        return found

    def ran(self) -> Json:
        """Every node that runs on one host: on which, since when, and how often it was restarted."""
        nodes = [node for service in self.everup.status()["services"] for node in service["nodes"]]
        return {one["id"]: (one["host"], one["since"], one["restarts"]) for one in nodes if one["host"] != EVERYWHERE}

    def copies(self, node_id: str) -> int:
        """How many containers of a node run, on all hosts."""
        return sum(len(host.containers(f"shop_{node_id}.")) for host in self.rig.hosts)

    def variables(self, label: str) -> dict[str, str]:
        """`everup env LABEL`, once it is answered: a Swarm that finds itself again takes no entry for the audit log."""
        words = ("env", label, "--json")
        found: dict[str, str] = until(
            lambda: json.loads(self.everup(*words, codes=(0, 1)).stdout or "{}"), f"variables of {label}", PATIENCE_S
        )
        return found

    def host(self, name: str) -> Host:
        """The host of that name."""
        return next(host for host in self.rig.hosts if host.name == name)

    def other(self, *hosts: Host) -> Host:
        """A host that is none of these."""
        return next(host for host in self.rig.hosts if host not in hosts)

    def host_of_primary(self, label: str) -> Host:
        """Where the primary of a group runs."""
        return self.host(self.everup.primary(label)["host"])

    def lead_from(self, host: Host, label: str) -> None:
        """Have the member on that host be the primary of a group.

        In PostgreSQL only the standby for which commits wait can take over: the others are killed until it is that one.
        """
        if self.host_of_primary(label) is host:
            return
        replicas = [node for node in self.everup.nodes(label).values() if node["role"] == "replica"]
        (heir,) = [node for node in replicas if node["host"] == host.name]

        def leads() -> bool:
            if self.everup("switchover", label, "--to", heir["id"], codes=(0, 1)).returncode == 0:
                return True
            for node in replicas:
                if node is not heir:
                    self.kill(node)
            self.whole()
            return False

        until(leads, f"{heir['id']} leads", PATIENCE_S)

    def kill(self, node: Json) -> float:
        """Kill a node's container, behind everybody's back; returns the moment, monotonic seconds."""
        host = self.host(node["host"])
        (container,) = host.containers(f"shop_{node['id']}")
        now_s = time.monotonic()
        host.kill_container(container["Id"])
        return now_s

    def whole(self) -> float:
        """Wait until everything is as declared; returns how long that took, seconds."""
        started_s = time.monotonic()
        until(lambda: self.answers() is not None, "status answers", PATIENCE_S)
        until(lambda: (self.everup.look() or {}).get("health") == "healthy", "everything is healthy", PATIENCE_S)
        return time.monotonic() - started_s
