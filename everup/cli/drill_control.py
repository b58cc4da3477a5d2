"""A drill's view of the control plane: over the API, and able to kill it and bring it back."""

import os
import signal
import time
from datetime import datetime

from everup.cli.client import Gone, Json, Mute
from everup.cli.daemon import reach
from everup.cli.progress import settled
from everup.engines.local.kernel import look
from everup.model.drill import AppScene, DrillFault, Happening, Scene, Targets
from everup.model.errors import EverupError
from everup.runtime.home import Home

AWAY_S = 3.0
"""How long a drill leaves the services without a control plane."""

DEATH_S = 30.0


class ApiControl:
    """`everup.drills.run.Control` for one service, over the API of the control plane at `home`."""

    def __init__(self, home: Home, environment: str, label: str, staging: Json) -> None:
        self._home = home
        self._label = label
        self._path = f"environments/{environment}"
        self._staging = staging
        self.client, _ = reach(home, start=False)
        self._seq = 0

    def close(self) -> None:
        """Let go of the connection."""
        self.client.close()

    def stage(self, turn: int) -> Scene:
        """Announce a run and learn what it will break."""
        told = self.client.post(f"{self._path}/services/{self._label}/drill", {**self._staging, "turn": turn})
        app = AppScene(**told["app"]) if told["app"] else None
        fault, targets = DrillFault(told["fault"]), Targets(**told["targets"])
        return Scene(**{**told, "fault": fault, "targets": targets, "app": app})

    def cause(self, scene: Scene) -> None:
        """Cause the fault, by way of the control plane or against it."""
        if scene.fault == DrillFault.CONTROL_PLANE:
            self._kill_control_plane()
        elif scene.fault == DrillFault.SWITCHOVER:
            self.client.post(f"{self._path}/services/{self._label}/switchover", {"to": None})
        else:
            fault = {"fault": scene.fault.value, "for_s": scene.lost_for_s}
            self.client.post(f"{self._path}/nodes/{scene.subject}/fault", fault)

    def newest(self) -> int:
        """The number of the newest event."""
        for event in self.client.lines(f"{self._path}/events", after=self._seq, follow=False):
            self._seq = event["seq"]
        return self._seq

    def happenings(self, after: int) -> list[Happening]:
        """Events of the service, and of no service, on this machine's monotonic clock."""
        ahead_s = time.monotonic() - time.time()
        found = self.client.lines(f"{self._path}/events", after=after, follow=False)
        return [
            Happening(one["name"], datetime.fromisoformat(one["at"]).timestamp() + ahead_s, one["node"], one["fields"])
            for one in found
            if one["service"] in (self._label, None)
        ]

    def whole(self) -> bool:
        """Whether every node of the service is as declared and ready; an answer that does not come is a no."""
        try:
            return settled(self.client.get(self._path), self._label)
        except (Gone, Mute):
            return False

    def keep(self, body: Json) -> None:
        """Have the result kept."""
        self.client.post(f"{self._path}/drills", body)

    def origin(self) -> Json:
        """Where the drill runs, as far as the control plane knows."""
        body = self.client.get(self._path)
        hosts = sorted({node["host"] for service in body["services"] for node in service["nodes"]})
        return {"environment": body["environment"], "engine": body["engine"], "hosts": hosts}

    def _kill_control_plane(self) -> None:
        pid = int(self.client.get("control")["pid"])
        os.kill(pid, signal.SIGKILL)
        give_up_s = time.monotonic() + DEATH_S
        while look(pid):
            if time.monotonic() > give_up_s:
                raise EverupError(f"the control plane (pid {pid}) was killed and is still there")
            time.sleep(0.01)
        time.sleep(AWAY_S)
        self.client.close()
        self.client, _ = reach(self._home, start=False)
