"""Everup as its users have it: the command, a spec file, a home of its own, and nothing left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import httpx

from everup.runtime.home import Home

Json = dict[str, Any]

EVERY_KIND = """\
services:
  redis01: {kind: redis, ha: true}
  db01: {kind: postgres, ha: true}
  web:
    kind: app
    run: python -m http.server $PORT --bind $HOST
    health: /
    scale: 3
"""
"""Of a spec: a group of each kind of data, and an app; any one node of it can be lost."""


class Everup:
    """One environment in a temporary `EVERUP_HOME`, driven through the `everup` command.

    Args:
        spec: the text of `everup.yaml`, or a folder that holds one (its other files are used where they are).
        environ: environment variables besides the caller's own.
    """

    def __init__(self, spec: str | Path, *, environ: Mapping[str, str] | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="everup-"))
        if isinstance(spec, Path):
            self.folder = spec
        else:
            self.folder = self.home / "project"
            self.folder.mkdir()
            self.write_spec(spec)
        bin_folder = str(Path(sys.executable).parent)
        self.environ = {
            **os.environ,
            "PATH": f"{bin_folder}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "EVERUP_HOME": str(self.home / "state"),
            "NO_COLOR": "1",
            "XDG_CONFIG_HOME": str(self.home / "config"),
            **(environ or {}),
        }

    def __enter__(self) -> "Everup":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write_spec(self, text: str) -> None:
        """Put another `everup.yaml` in the project's folder."""
        (self.folder / "everup.yaml").write_text(text)

    def start(self, *args: str) -> "subprocess.Popen[str]":
        """Start `everup ARGS` in the project's folder and leave it running."""
        return subprocess.Popen(
            [str(Path(sys.executable).parent / "everup"), *args],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, *args: str, codes: Collection[int] = (0,), timeout_s: float = 240.0
    ) -> "subprocess.CompletedProcess[str]":
        """Run `everup ARGS` to its end.

        Raises:
            AssertionError: it ended with a code that is not among `codes`, or not in time; the message has its output.
        """
        process = self.start(*args)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(
                f"everup {' '.join(args)}: no end in {timeout_s} s\n{out}\n{err}\n{self.log()}"
            ) from None
        if process.returncode not in codes:
            raise AssertionError(f"everup {' '.join(args)}: code {process.returncode}\n{out}\n{err}\n{self.log()}")
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def json(self, *args: str, codes: Collection[int] = (0,)) -> Any:
        """Run a command with `--json` and return what it printed."""
        return json.loads(self(*args, "--json", codes=codes).stdout)

    def status(self) -> Json:
        """`everup status --json`, whatever the health."""
        answer: Json = self.json("status", codes=(0, 3))
        return answer

    def service(self, label: str) -> Json:
        """One service of `status`."""
        return next(service for service in self.status()["services"] if service["label"] == label)

    def nodes(self, label: str) -> dict[str, Json]:
        """The nodes of one service by their ids."""
        return {node["id"]: node for node in self.service(label)["nodes"]}

    def primary(self, label: str) -> Json:
        """The node that is the service's primary."""
        service = self.service(label)
        return next(node for node in service["nodes"] if node["id"] == service["primary"])

    def variables(self, label: str) -> dict[str, str]:
        """`everup env LABEL --json`."""
        answer: dict[str, str] = self.json("env", label)
        return answer

    def kill(self, node: Json, signal_number: int = signal.SIGKILL) -> float:
        """Send a signal to a node's process; returns the moment, in monotonic seconds."""
        now_s = time.monotonic()
        os.kill(node["pid"], signal_number)
        return now_s

    def control_plane(self) -> int:
        """The pid of the control plane."""
        pid: int = self.status()["control_plane"]["pid"]
        return pid

    def api(self) -> httpx.Client:
        """The control plane's API, without a command's start-up."""
        transport = httpx.HTTPTransport(uds=str(Home(Path(self.environ["EVERUP_HOME"])).socket))
        return httpx.Client(transport=transport, base_url="http://everup", timeout=60)

    def inject(self, node_id: str, fault: str, for_s: float = 30.0) -> float:
        """Break a node through the API (`crash`, `hang`, `node-loss`); returns the moment before, monotonic seconds."""
        environment = self.status()["environment"]
        now_s = time.monotonic()
        with self.api() as client:
            path = f"/v1/environments/{environment}/nodes/{node_id}/fault"
            client.post(path, json={"fault": fault, "for_s": for_s}).raise_for_status()
        return now_s

    def wait_healthy(self, timeout_s: float = 150.0) -> Json:
        """Wait until everything is as declared again; returns that status."""
        give_up_s = time.monotonic() + timeout_s
        status = self.status()
        while status["health"] != "healthy":
            if time.monotonic() > give_up_s:
                raise AssertionError(f"not healthy in {timeout_s} s: {json.dumps(status, indent=1)}\n{self.log()}")
            time.sleep(0.1)
            status = self.status()
        return status

    def log(self) -> str:
        """The newest lines of the control plane's log, for messages."""
        files = sorted(self.home.glob("state/*.log"))
        return "\n".join(f"{file.name}: {file.read_text()[-2000:]}" for file in files)

    def processes(self) -> dict[int, str]:
        """Every live process that belongs to this home, control plane included: pid -> command line."""
        found: dict[int, str] = {}
        needle = str(self.home).encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    continue
                command = (folder / "cmdline").read_bytes()
                # Redis servers write their title over their environment, so their working directory has to tell.
                told = (command, (folder / "environ").read_bytes(), bytes((folder / "cwd").readlink()))
                if any(needle in text for text in told):
                    found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue  # it ended meanwhile, or is not ours to look at
        found.pop(os.getpid(), None)
        return found

    def close(self) -> None:
        """Take everything down; what is still there afterwards is killed by pid. The home is deleted."""
        try:
            process = self.start("down", "--destroy", "--yes")
            try:
                process.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        finally:
            for _ in range(3):
                for pid in self.processes():
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                time.sleep(0.02)
            shutil.rmtree(self.home, ignore_errors=True)
            sockets = Home(Path(self.environ["EVERUP_HOME"])).socket.parent
            shutil.rmtree(sockets, ignore_errors=True)  # elsewhere when the home's path is too long for a socket
