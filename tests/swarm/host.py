"""A pretended host: namespaces of its own with a dockerd in them, a cable that can be cut, a disk that outlives it."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.swarm import cgroups

PATIENCE_S = 120.0
"""How long anything of a rig may take on a machine that is busy with other things."""

IMAGES = ("image", "overlay2", "buildkit")
"""The folders in which an engine keeps images."""

TCP = Path("/proc/sys/net/ipv4")
BOOT = Path(__file__).parent / "boot.py"
Done = subprocess.CompletedProcess[str]


def until(met: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Wait for a true answer and return it; an engine that does not answer yet counts as no.

    Raises:
        TimeoutError: `what` did not come true in time.
    """
    end_s = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(httpx.TransportError, httpx.HTTPStatusError):
            if answer := met():
                return answer
        if time.monotonic() > end_s:
            raise TimeoutError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(0.1)


def ip(pid: int, *words: str) -> None:
    """Run `ip` in the network of a process."""
    within(pid, ["net"], ["ip", *words])


def within(pid: int, spaces: Sequence[str], words: Sequence[str]) -> Done:
    """Run a command in some namespaces of a process.

    Raises:
        OSError: it failed; with what it said.
    """
    done = subprocess.run(entering(pid, spaces, words), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done


def entering(pid: int, spaces: Sequence[str], words: Sequence[str]) -> list[str]:
    """The command that runs `words` in some namespaces of a process, without a process in between."""
    return ["nsenter", f"--target={pid}", *(f"--{space}" for space in spaces), "--", *words]


@contextlib.contextmanager
def network_of(pid: int) -> Iterator[None]:
    """Make the sockets that this thread opens belong to the network of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    before, there = (os.open(f"/proc/{name}/ns/net", os.O_RDONLY) for name in ("thread-self", pid))
    try:
        if libc.setns(there, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if libc.setns(before, 0) != 0:
                raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(before)
        os.close(there)


class Host:
    """One host of a rig. Its disk is the folder `disk`; it outlives `kill` and is there again after `start`.

    Args:
        number: from 1; the host is called `node1` and its address ends in 1.
        folder: where it keeps its disk, its engine's socket and log.
        group: its cgroup.
        ground: the process that holds the network between the hosts.
        network: the first three numbers of every address there.
        patience: settings of the kernel for TCP there, by name; from the first that it does not know on, none.
    """

    def __init__(
        self, number: int, folder: Path, group: str, ground: int, network: str, patience: Mapping[str, int]
    ) -> None:
        self.number, self.folder, self.group, self.network = number, folder, group, network
        self.name = f"node{number}"
        self.address = f"{network}.{number}"
        self.socket = folder / "docker.sock"
        self.disk = folder / "disk"
        self.docker = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://docker", timeout=PATIENCE_S
        )
        self._ground, self._port, self._patience = ground, f"p{number}", patience
        self._process: subprocess.Popen[bytes] | None = None
        self._silenced: set[str] = set()
        self._is_cut = False
        (self.disk / "root").mkdir(parents=True)

    @property
    def running(self) -> bool:
        """Whether the host is switched on."""
        return self._process is not None

    @property
    def is_sound(self) -> bool:
        """Whether the host is switched on and hears all others."""
        return self.running and not self._is_cut and not self._silenced

    @property
    def pid(self) -> int:
        """The first process of the host, by its number on the machine.

        Raises:
            OSError: the host is not running.
        """
        if self._process is None:
            raise OSError(f"{self.name} is not running")
        return self._children(self._process.pid)[0]

    def volume(self, name: str) -> Path:
        """What a volume of the host's engine holds, whether the host runs or not."""
        return self.folder / "docker" / "volumes" / name / "_data"

    def start(self) -> None:
        """Switch the host on, with its cable in; returns when its engine answers."""
        self.boot()
        self.wait_for_engine()

    def boot(self) -> None:
        """Switch the host on, with its cable in, and do not wait for its engine."""
        if self.running:
            return
        self.socket.unlink(missing_ok=True)
        with (self.folder / "boot.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc", "--"),
                    *(sys.executable, "-I", "-S", str(BOOT)),
                    *(str(self.folder), self.name, f"{self.network}.254", f"{self.group}/docker"),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        cgroups.put(self._process.pid, f"{self.group}/boot")
        until(lambda: self._children(self._process.pid), f"{self.name} has a first process")
        cgroups.put(self.pid, f"{self.group}/boot")
        self._connect()
        assert self._process.stdin
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def wait_for_engine(self) -> None:
        """Return when the engine answers.

        Raises:
            TimeoutError: it does not; with the end of its log.
        """
        try:
            until(lambda: self.docker.get("/_ping").status_code == 200, f"{self.name}: dockerd answers")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.last_words()}") from None

    def last_words(self, lines: int = 20) -> str:
        """The end of what the host and its engine wrote."""
        logs = [self.folder / name for name in ("boot.log", "dockerd.log")]
        return "\n".join(line for log in logs if log.exists() for line in log.read_text().splitlines()[-lines:])

    def _connect(self) -> None:
        """Lay the cable and give the host its address; always with the same hardware address, as a real card has."""
        hardware = f"02:00:0a:4d:00:{self.number:02x}"
        ends = ["u0", "address", hardware, "netns", str(self.pid), "type", "veth", "peer", "name", self._port]
        subprocess.run(["ip", "link", "add", *ends, "netns", str(self._ground)], check=True)
        ip(self.pid, "link", "set", "lo", "up")
        ip(self.pid, "address", "add", f"{self.address}/24", "dev", "u0")
        ip(self.pid, "link", "set", "u0", "up")
        ip(self.pid, "route", "add", "default", "via", f"{self.network}.254")
        ip(self._ground, "link", "set", self._port, "master", "br0", "up")
        self._is_cut = False
        for address in self._silenced:
            self._drop(address)
        with network_of(self.pid), contextlib.suppress(FileNotFoundError):
            for name, value in self._patience.items():
                (TCP / name).write_text(str(value))

    def cut(self) -> None:
        """Pull the cable: nothing reaches the host, nothing leaves it, and nobody is told."""
        self._plug("down")
        self._is_cut = True

    def heal(self) -> None:
        """Put the cable back."""
        self._plug("up")
        self._is_cut = False

    def _plug(self, state: str) -> None:
        if not self.running:
            raise OSError(f"{self.name} is off")
        ip(self._ground, "link", "set", self._port, state)

    def ignore(self, address: str) -> None:
        """Drop silently what comes from `address`, also after a restart of the host."""
        if address not in self._silenced:
            self._silenced.add(address)
            if self.running:
                self._drop(address)

    def listen_to(self, address: str) -> None:
        """The opposite of `ignore`."""
        if address in self._silenced:
            self._silenced.remove(address)
            if self.running:
                self._drop(address, "--delete")

    def _drop(self, address: str, act: str = "--append") -> None:
        within(self.pid, ["net"], ["iptables", "-w", "-t", "raw", act, "PREROUTING", "-s", address, "-j", "DROP"])

    def kill(self) -> None:
        """Lose the host: the cable first, so that nobody is told, then every process of it at once; the disk stays.

        What was written without fsync stays too: the machine's memory is not lost.
        """
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            self.cut()
        for pid in (self.pid, *self._visitors(self._process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(PATIENCE_S)  # the kernel reports the first process dead once all others are
        with contextlib.suppress(OSError):  # the kernel takes its time to remove a network that nobody is in
            ip(self._ground, "link", "delete", self._port)
        self._gone()

    def forget(self) -> None:
        """Remove all that the engine of a host that is off knows, but for its images."""
        assert not self.running
        for part in (self.folder / "docker").iterdir():
            if part.name not in IMAGES:
                shutil.rmtree(part) if part.is_dir() else part.unlink()

    def switch_off(self) -> None:
        """Let go of the host: it ends by itself, as it does when its maker dies."""
        if self._process is not None:
            self._gone()

    def _gone(self) -> None:
        assert self._process and self._process.stdin
        self._process.stdin.close()
        self._process = None
        self.docker.close()
        self.docker = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://docker", timeout=PATIENCE_S
        )

    def _visitors(self, process: int) -> list[int]:
        """Who runs on the host without being a child of its first process: what `run` and `command` have started."""
        inside, own = (Path(f"/proc/{self.pid}/ns/{space}").stat().st_ino for space in ("mnt", "pid"))
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                if (folder / "ns/mnt").stat().st_ino == inside and (folder / "ns/pid").stat().st_ino != own:
                    found.append(int(folder.name))
        return [pid for pid in found if pid != process]

    def kill_container(self, container_id: str) -> int:
        """Kill the first process of a container, behind the engine's back; returns its number on the host."""
        pid = int(self.docker.get(f"/containers/{container_id}/json").raise_for_status().json()["State"]["Pid"])
        within(self.pid, ["pid", "mount"], ["kill", "-KILL", str(pid)])
        return pid

    def containers(self, name: str = "") -> list[dict[str, Any]]:
        """The running containers whose name contains `name`, as the engine lists them."""
        query = {"filters": f'{{"name": ["{name}"]}}'} if name else {}
        listed: list[dict[str, Any]] = self.docker.get("/containers/json", params=query).raise_for_status().json()
        return listed

    def command(self, words: Sequence[str]) -> list[str]:
        """The command that runs `words` on this host, for `subprocess`: with its network, names, /run and a home.

        Killing the process that it becomes kills it; losing the host does so too. Its other files are the machine's.
        """
        place = ["env", f"--chdir={Path.cwd()}", f"HOME={self.disk / 'root'}", *words]
        return entering(self.pid, ["net", "mount", "uts", "ipc"], place)

    def run(self, words: Sequence[str], *, timeout_s: float = PATIENCE_S, check: bool = True) -> Done:
        """Run a command on this host and return what it said.

        Raises:
            CalledProcessError: it failed, unless `check` is false.
            TimeoutExpired: it took longer than `timeout_s`.
        """
        return subprocess.run(
            self.command(words),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
            check=check,
        )

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """While it lasts, sockets that this thread opens are on this host's network."""
        return network_of(self.pid)

    @staticmethod
    def _children(pid: int) -> list[int]:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
