"""Writers as programs of their own: the seed's client examples, verbatim, with a write loop appended to each."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.journal import Write, acknowledged, read_journal

SEED = Path(__file__).parent / "seed"


@dataclass(frozen=True)
class Client:
    """One of the seed's client examples: its file, and the program that runs it."""

    name: str
    file: str
    program: str

    @property
    def snippet(self) -> str:
        """The example as the seed has it, unchanged."""
        return (SEED / "snippets" / self.file).read_text()

    @property
    def source(self) -> str:
        """The example with the write loop appended."""
        return self.snippet + (SEED / "tails" / self.file).read_text()


CLIENTS = {
    client.name: client
    for client in (
        Client("ioredis", "ioredis.js", "node"),
        Client("redis-sentinel", "redis-sentinel.js", "node"),
        Client("redis-rb", "redis-rb.rb", "ruby"),
        Client("redis-py", "redis-py.py", sys.executable),
    )
}


def missing(client: Client) -> str:
    """What this machine lacks to run `client`, in words; empty when nothing."""
    packages = "ruby ruby-redis" if client.program == "ruby" else "nodejs npm"
    for program in (client.program, "npm") if client.program == "node" else (client.program,):
        if shutil.which(program) is None:
            return f"{program} is missing (Debian: apt-get install {packages})"
    if client.program == "ruby":
        probe = subprocess.run(["ruby", "-e", 'require "redis"'], capture_output=True, check=False)
        if probe.returncode != 0:
            return "the redis gem is missing (Debian: apt-get install ruby-redis)"
    return ""


def node_packages() -> Path:
    """The folder with the Node.js clients, installed on first use into the virtual environment."""
    folder = Path(sys.prefix) / "seed-clients"
    wanted = (SEED / "package.json").read_text()
    stamp = folder / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text(wanted)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, timeout=180)
        stamp.write_text(wanted)
    return folder / "node_modules"


class Writer:
    """A running program that writes numbers and journals each attempt to a file, until stopped."""

    def __init__(self, command: list[str], environ: Mapping[str, str], folder: Path, name: str) -> None:
        self.key = name
        self._journal = folder / f"{name}.jsonl"
        self._errors = folder / f"{name}.err"
        with self._journal.open("w") as out, self._errors.open("w") as err:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environ, "WRITES_KEY": name},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @classmethod
    def of(cls, client: Client, variables: Mapping[str, str], folder: Path, name: str = "") -> "Writer":
        """Start one of the seed's examples with an app's connection variables."""
        name = name or f"writes-{client.name}"
        file = folder / f"{name}-{client.file}"
        file.write_text(client.source)
        environ = dict(variables)
        if client.program == "node":
            environ["NODE_PATH"] = str(node_packages())
        return cls([client.program, str(file)], environ, folder, name)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def writes(self) -> list[Write]:
        """Every attempt so far."""
        return read_journal(self._journal.read_text())

    def stderr(self) -> str:
        """What it complained about, its newest 2,000 characters."""
        return self._errors.read_text()[-2000:]

    def wait_for_acks(self, count: int, *, after_s: float = 0.0, timeout_s: float = 90.0) -> list[Write]:
        """Wait until `count` writes sent after `after_s` (monotonic seconds) were acknowledged; return those.

        Raises:
            AssertionError: that did not happen in time, or the program ended.
        """
        give_up_s = time.monotonic() + timeout_s
        while time.monotonic() < give_up_s:
            good = [write for write in acknowledged(self.writes()) if write.sent_s > after_s]
            if len(good) >= count:
                return good
            if self._process.poll() is not None:
                raise AssertionError(f"{self.key} ended with code {self._process.returncode}: {self.stderr()}")
            time.sleep(0.02)
        newest = self.writes()[-3:]
        raise AssertionError(
            f"{self.key}: fewer than {count} writes in {timeout_s} s; newest {newest}; {self.stderr()}"
        )

    def stop(self) -> list[Write]:
        """End the program and return every attempt it made."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self.writes()
