"""The load of a drill: writers in processes of their own, followed through their journals; and the machine's pulse."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from everup.drills.clients import CLIENTS, Client
from everup.model.drill import AppScene, Pulse, Scene, Write

BEAT_S = 0.01
LATE_S = 0.03
"""The pulse beats every 10 ms; a beat that comes more than 30 ms late is noted."""

STOP_S = 30.0

AFTER_ERROR_S = 0.005
"""How soon a writer tries again: it is to see the first moment at which a write is possible."""

READ_EVERY_S = 0.05
"""How often a reader beside the writers looks how much is there: a stale answer is behind by all that was written since
the role went elsewhere, so a few looks are enough."""

APP_EVERY_S = 0.02
"""How often each instance of an app is asked to write, whether it did or not: one that is in trouble gets no more."""


@dataclass(frozen=True)
class Pace:
    """How much is written: by so many writers, each with one write in flight, so many times a second."""

    writers: int = 1
    rate: float = 200.0


Way = tuple[str, Mapping[str, str]]
"""A client program, and what it is told."""


def client_of(scene: Scene, place: str) -> Client:
    """A client on the path that the drill takes."""
    return CLIENTS[scene.client](scene.settings, place)


def ways_to(app: AppScene | None) -> list[Way]:
    """The way to each instance of an app, past its load balancer."""
    return [("http", {**app.settings, "URL": url}) for url in app.instances.values()] if app else []


class Writers:
    """Writers that run while the block lasts, one on each way.

    Args:
        place: names what they write to.
        folder: takes their journals; is made.
        every_s, after_error_s: a write begins so long after the last one began, and so long after one failed; seconds.
        reads: they write nothing, and read how much is there.
    """

    def __init__(
        self,
        ways: Sequence[Way],
        place: str,
        folder: Path,
        *,
        every_s: float,
        after_error_s: float = AFTER_ERROR_S,
        reads: bool = False,
    ) -> None:
        rhythm = {"every_s": every_s, "after_error_s": after_error_s, "reads": reads}
        self._told = [
            {"client": client, "settings": dict(settings), "place": place, "writer": number, **rhythm}
            for number, (client, settings) in enumerate(ways)
        ]
        folder.mkdir(exist_ok=True)
        self._files = [folder / f"writer-{number}.jsonl" for number in range(len(ways))]
        self._offsets = [0] * len(ways)
        self._writes: list[Write] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._newest = [0.0] * len(ways)

    def __enter__(self) -> "Writers":
        for told, file in zip(self._told, self._files, strict=True):
            with file.open("wb") as out, file.with_suffix(".err").open("wb") as err:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "everup.drills.writer"],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
            self._processes.append(process)
            _tell(process, told)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def writes(self) -> list[Write]:
        """Every attempt so far, each writer's in order."""
        for number, file in enumerate(self._files):
            with file.open("rb") as journal:
                journal.seek(self._offsets[number])
                text = journal.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._offsets[number] += len(whole)
            for line in whole.splitlines():
                n, sent_at_s, ended_at_s, error = json.loads(line)
                write = Write(n, sent_at_s, ended_at_s, error, number)
                self._writes.append(write)
                if write.error is None:
                    self._newest[number] = max(self._newest[number], write.sent_at_s)
        return self._writes

    def of_each(self) -> list[tuple[Write, ...]]:
        """Every attempt so far of each writer, in order."""
        found = self.writes()
        return [tuple(write for write in found if write.writer == number) for number in range(len(self._files))]

    def acknowledged(self) -> int:
        """How many writes were acknowledged so far."""
        return sum(write.error is None for write in self.writes())

    def acknowledged_since(self, moment_s: float) -> bool:
        """Whether every writer had a write acknowledged that it sent after that moment (monotonic seconds)."""
        self.writes()
        return all(self._newest[number] > moment_s for number in range(len(self._files)))

    def failed(self) -> str:
        """What a writer said that ended by itself; "" while all run."""
        for process, file in zip(self._processes, self._files, strict=True):
            if process.poll() is not None:
                said = file.with_suffix(".err").read_text(errors="replace").strip().splitlines()
                return f"a writer ended with code {process.returncode}: {said[-1] if said else 'without a word'}"
        return ""

    def stop(self) -> list[Write]:
        """End every writer, and return every attempt that was made."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
        return self.writes()


def _tell(process: "subprocess.Popen[bytes]", told: Mapping[str, object]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended at once; `failed` says why
        process.stdin.write(json.dumps(told).encode() + b"\n")
        process.stdin.flush()


class Heart:
    """Notes, while the block lasts, when this machine let a sleeping thread wake too late."""

    def __init__(self) -> None:
        self.pulses: list[Pulse] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        before_s = time.monotonic()
        while not self._over.wait(BEAT_S):
            now_s = time.monotonic()
            late_s = now_s - before_s - BEAT_S
            if late_s > LATE_S:
                self.pulses.append(Pulse(now_s, late_s))
            before_s = now_s
