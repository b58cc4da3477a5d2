"""Several pretended hosts on one machine, all of them managers of one Docker Swarm, and the faults that hosts have.

`with Rig(hosts=3) as rig:` gives hosts with namespaces, disks and dockerds of their own. Whatever happens to the
process that made it, nothing stays behind: the hosts and the ground they stand on end when that process does, and the
ground removes what is left.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.swarm import ground
from tests.swarm.host import PATIENCE_S, Done, Host, ip, network_of, until, within

ROOT = Path(__file__).parent.parent.parent
NETWORK = "10.77.0"
POOL = "10.78.0.0/16"
PROGRAMS = ("dockerd", "iptables", "ip", "nsenter", "unshare", "mmdebstrap")
HEARTBEAT_NS = 2_000_000_000
"""How often a node reports to the Swarm's leader; Docker's default is 5 s."""

BRISK = {"tcp_rto_max_ms": 1000, "tcp_retries2": 255, "tcp_syn_retries": 127}
"""A connection to a host that was away hears of its return within a second, and not only after as long as it was away;
that it is given up is not sooner, but 4 minutes after the last answer."""

LOOK_S = 5.0
"""How long a look at a Swarm may take; one without a leader answers only when it has another."""

CLEANED_S = 600.0
"""How long it may take to remove the disks of all hosts, on a machine that is busy with other things."""

YOUNG_S = 600.0
"""A rig's folder without a record of its ground may be about to get one."""


def missing() -> str | None:
    """Why no rig can be made here, in one line; None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "pretended hosts need Linux and root"
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"pretended hosts need {', '.join(absent)}: apt-get install docker.io iproute2 mmdebstrap"
    able = int(re.findall(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())[0], 16) >> 21 & 1
    return None if able else "pretended hosts need CAP_SYS_ADMIN"


class Rig:
    """Hosts that form one Swarm.

    Args:
        hosts: how many, at most 250.
        zones: the label `zone` of each host, in their order; fewer than hosts leave the rest without one.
        swarm: False leaves the engines alone, each for itself.
        brisk: let TCP try again every second (`BRISK`); False: at longer and longer intervals, as the kernel does it.
    """

    def __init__(self, hosts: int = 3, zones: Sequence[str] = (), *, swarm: bool = True, brisk: bool = False) -> None:
        self.token = secrets.token_hex(4)
        self.group = f"everup-rig-{self.token}"
        self.folder = Path(tempfile.gettempdir()) / self.group
        self.hosts: tuple[Host, ...] = ()
        self._count, self._zones, self._swarm = hosts, zones, swarm
        self._patience = BRISK if brisk else {}
        self._ground: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Rig":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Make the hosts and let them form a Swarm; returns when every node is ready.

        Raises:
            TimeoutError: an engine or the Swarm does not come up; with the end of the engine's log.
            OSError: a namespace or an interface could not be made.
        """
        sweep()
        self.folder.mkdir(mode=0o711)
        self._lay_ground()
        self.hosts = tuple(self._host(number) for number in range(1, self._count + 1))
        self.power_on()
        self._form_swarm()

    def _lay_ground(self) -> None:
        with (self.folder / "ground.log").open("w") as log:
            self._ground = subprocess.Popen(
                [*("unshare", "--net", "--", sys.executable, "-m", "tests.swarm.ground"), *self._names(), self.gateway],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        pid = self._ground.pid
        (self.folder / "ground.pid").write_text(f"{pid} {_birth(pid)}")
        own = Path("/proc/self/ns/net").stat().st_ino
        until(lambda: Path(f"/proc/{pid}/ns/net").stat().st_ino != own, "the ground has a network of its own")
        for words in (
            "link set lo up",
            "link add br0 type bridge",
            f"address add {self.gateway}/24 dev br0",
            "link set br0 up",
        ):
            ip(pid, *words.split())
        assert self._ground.stdin
        self._ground.stdin.write("\n")
        self._ground.stdin.flush()

    def _names(self) -> tuple[str, str]:
        return str(self.folder), self.group

    @property
    def gateway(self) -> str:
        """The address of the ground: the hosts' gateway and resolver."""
        return f"{NETWORK}.254"

    def _host(self, number: int) -> Host:
        assert self._ground
        folder = self.folder / f"node{number}"
        folder.mkdir()
        return Host(number, folder, f"{self.group}/node{number}", self._ground.pid, NETWORK, self._patience)

    def _form_swarm(self) -> None:
        if not self._swarm:
            return
        first, *others = self.hosts
        spec = {"Dispatcher": {"HeartbeatPeriod": HEARTBEAT_NS}}
        _asked(first, "/swarm/init", {**_place(first), "DefaultAddrPool": [POOL], "SubnetSize": 24, "Spec": spec})
        token = first.docker.get("/swarm").raise_for_status().json()["JoinTokens"]["Manager"]
        for host in others:
            _asked(host, "/swarm/join", {**_place(host), "RemoteAddrs": [f"{first.address}:2377"], "JoinToken": token})
        until(self.whole, "every node is ready")
        for host, zone in zip(self.hosts, self._zones, strict=False):
            self.label(host, zone=zone)

    def nodes(self, asked: Host | None = None, *, timeout_s: float = PATIENCE_S) -> dict[str, dict[str, Any]]:
        """The Swarm's nodes by name, as `asked`, or else the first that runs, sees them; empty without a majority.

        Raises:
            httpx.HTTPError: an engine does not answer in time.
        """
        for host in [asked] if asked else [host for host in self.hosts if host.running]:
            answer = host.docker.get("/nodes", timeout=timeout_s)
            if answer.status_code == 200:
                return {node["Description"]["Hostname"]: node for node in answer.json()}
        return {}

    def ready(self, asked: Host | None = None, *, timeout_s: float = PATIENCE_S) -> set[str]:
        """The names of the nodes that the Swarm holds for ready, its managers reachable."""
        return {
            name
            for name, node in self.nodes(asked, timeout_s=timeout_s).items()
            if node["Status"]["State"] == "ready" and node["ManagerStatus"]["Reachability"] == "reachable"
        }

    def leader(self) -> Host:
        """The host whose manager leads the Swarm."""
        for host in self.hosts:
            if self.nodes().get(host.name, {}).get("ManagerStatus", {}).get("Leader"):
                return host
        raise OSError("the Swarm has no leader")

    def services(self) -> set[str]:
        """The names of the Swarm's services."""
        return {one["Spec"]["Name"] for one in self.leader().docker.get("/services").raise_for_status().json()}

    def label(self, host: Host, **labels: str) -> None:
        """Set labels of a host's node, such as its zone."""
        node = self.nodes()[host.name]
        spec = {**node["Spec"], "Labels": {**node["Spec"].get("Labels", {}), **labels}}
        _asked(self.leader(), f"/nodes/{node['ID']}/update?version={node['Version']['Index']}", spec)

    def cut_between(self, one: Host, other: Host) -> None:
        """Let two hosts not hear each other, while both hear all others."""
        one.ignore(other.address)
        other.ignore(one.address)

    def heal_between(self, one: Host, other: Host) -> None:
        """The opposite of `cut_between`."""
        one.listen_to(other.address)
        other.listen_to(one.address)

    def load(self, image: Path, name: str) -> str:
        """Bring an image from a file of `docker save` to every host; returns the ID of `name`, which is never pulled.

        Raises:
            OSError: a host does not take it, or the hosts disagree about its ID.
        """
        with ThreadPoolExecutor() as several:
            ids = set(several.map(lambda host: _loaded(host, image, name), self.hosts))
        if len(ids) != 1:
            raise OSError(f"{name} is not the same image everywhere: {sorted(ids)}")
        return ids.pop()

    def power_cut(self) -> None:
        """Lose every host, one right after the other, before any can react."""
        on = [host for host in self.hosts if host.running]
        for host in on:
            host.cut()
        for host in on:
            host.kill()

    def power_on(self) -> None:
        """Switch on every host that is off; returns when every engine answers."""
        for host in self.hosts:
            host.boot()
        for host in self.hosts:
            host.wait_for_engine()

    def whole(self) -> bool:
        """Whether nothing is broken, and the Swarm holds every node for ready."""
        with contextlib.suppress(httpx.TransportError):
            sound = all(host.is_sound for host in self.hosts)
            return sound and (not self._swarm or self.ready(timeout_s=LOOK_S) == {host.name for host in self.hosts})
        return False

    def mend(self) -> None:
        """Put every cable back, switch on what is off, and wait until the Swarm holds every node for ready."""
        self._plug_in()
        self.power_on()
        until(self.whole, "every node is ready")

    def renew(self) -> None:
        """Begin anew with hosts that have their images and nothing else: quicker than a Swarm finds itself again."""
        self._plug_in()
        self.power_cut()
        for host in self.hosts:
            host.forget()
        self.power_on()
        self._form_swarm()

    def _plug_in(self) -> None:
        for host in self.hosts:
            for other in self.hosts:
                host.listen_to(other.address)
            if host.running:
                host.heal()

    def run(self, words: Sequence[str]) -> Done:
        """Run a command on a machine beside the hosts, which sees all of them. Raises OSError when it fails."""
        assert self._ground
        return within(self._ground.pid, ["net"], words)

    def entered(self) -> Any:
        """While it lasts, sockets that this thread opens are on the network beside the hosts, and reach all of them."""
        assert self._ground
        return network_of(self._ground.pid)

    def close(self) -> None:
        """End every host and remove everything; raises OSError when something stays."""
        for host in self.hosts:
            host.switch_off()
        if self._ground:
            assert self._ground.stdin
            self._ground.stdin.close()
            code = self._ground.wait(CLEANED_S)
            if code != 0:
                raise OSError(f"rig {self.token} left something behind: {(self.folder / 'ground.log').read_text()}")
            self._ground = None
        elif self.folder.exists():
            ground.clean(self.folder, self.group)
        self.hosts = ()


def sweep() -> list[str]:
    """Remove what rigs left behind whose ground died before it could clean; returns their names."""
    swept = []
    for folder in Path(tempfile.gettempdir()).glob("everup-rig-*"):
        young = time.time() - folder.stat().st_mtime < YOUNG_S
        if not _alive(folder / "ground.pid") and not (young and not (folder / "ground.pid").exists()):
            ground.clean(folder, folder.name)
            swept.append(folder.name)
    return swept


def _alive(record: Path) -> bool:
    """Whether the process in a record of "number birth" still runs."""
    try:
        pid, born = record.read_text().split()
        return _birth(int(pid)) == born
    except (OSError, ValueError):
        return False


def _birth(pid: int) -> str:
    """When a process was born, by the kernel's clock, for numbers come again; "never" if it is dead and not buried."""
    state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return "never" if state == "Z" else fields[18]


def _place(host: Host) -> dict[str, str]:
    return {"ListenAddr": f"{host.address}:2377", "AdvertiseAddr": host.address, "DataPathAddr": host.address}


def _loaded(host: Host, image: Path, name: str) -> str:
    with image.open("rb") as file:
        answer = host.docker.post("/images/load", params={"quiet": "1"}, content=file)
    found = host.docker.get(f"/images/{name}/json")
    if found.is_error:
        raise OSError(f"{host.name} did not load {image}: {answer.text}")
    return str(found.json()["Id"])


def _asked(host: Host, path: str, body: dict[str, Any]) -> None:
    answer = host.docker.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    if answer.is_error:
        raise OSError(f"{host.name} {path}: {answer.text}\n{host.last_words()}")
