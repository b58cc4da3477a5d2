"""Starting a process so that it is recorded before it can do anything.

A shell waits for a word on its standard input, then becomes the program by `exec`, keeping its number. When the
control plane dies before it has recorded the process and said the word, the shell reads the end of the input and exits
with 111. So a kill at any instant leaves no process, or one that is recorded.
"""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from everup.engines.local import kernel
from everup.engines.local.process import Process

NOT_FOUND, NOT_EXECUTABLE = 127, 126
_SCRIPT = 'read -r word && [ "$word" = go ] || exit 111\nexec "$@" </dev/null'
_EXEC_S = 2.0
_LOOK_EVERY_S = 0.0005
_BLIND_S = 0.03  # where the kernel does not say when a process has become another program


@dataclass(frozen=True)
class Launch:
    """A program to start: the words, its environment, its working directory, and the file its output is appended to."""

    words: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    log: Path


class Gate:
    """A process in a session of its own that waits before it becomes the program.

    Raises:
        OSError: not even the shell could be started; `filename` says what is missing.
    """

    def __init__(self, launch: Launch) -> None:
        reading, self._writing = os.pipe()
        try:
            log = os.open(launch.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                child = self._spawn(launch, reading, log)
            finally:
                os.close(log)
        except OSError:
            os.close(self._writing)
            raise
        finally:
            os.close(reading)
        process = Process.hold(child.pid)
        child.returncode = 0  # its end is read through the pidfd; subprocess is not to wait for it as well
        if process is None:
            os.close(self._writing)
            raise OSError(0, "the shell ended at once", "/bin/sh")
        self.process = process

    def open(self) -> int | None:
        """Let it become the program; blocks for about 2 ms.

        Returns its exit code when that failed or when it ended at once, else None.
        """
        waiting = kernel.command_line(self.process.pid)
        try:
            os.write(self._writing, b"go\n")
        except BrokenPipeError:
            pass
        finally:
            os.close(self._writing)
        end_s = time.monotonic() + (_EXEC_S if waiting else _BLIND_S)
        while time.monotonic() < end_s:
            if self.process.wait(_LOOK_EVERY_S):
                return self.process.exit_code()
            words = kernel.command_line(self.process.pid)
            if words and words != waiting:
                return None
        return None

    def abandon(self) -> None:
        """Make it end without ever becoming the program; blocks until it is gone."""
        os.close(self._writing)
        self.process.wait(_EXEC_S)
        self.process.exit_code()
        self.process.close()

    @staticmethod
    def _spawn(launch: Launch, reading: int, log: int) -> "subprocess.Popen[bytes]":
        # A shell drops variables whose names it could not use itself; env(1) carries those.
        plain = {name: text for name, text in launch.env.items() if name.isidentifier() and name.isascii()}
        odd = [f"{name}={text}" for name, text in launch.env.items() if name not in plain]
        words = ["/usr/bin/env", *odd, *launch.words] if odd else list(launch.words)
        return subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "everup", *words],
            env=plain,
            cwd=launch.cwd,
            stdin=reading,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
