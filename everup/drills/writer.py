"""One writer of a drill, a process of its own: `python -m everup.drills.writer`, told on stdin, journal on stdout.

Its first line of input is a JSON object: `client`, `settings`, `place`, `writer` (its number, from 0), `every_s`,
`after_error_s`, `reads`. It writes until it gets SIGTERM or its input ends, so that it outlives neither the drill nor
whoever conducts it. Each attempt is one line of output: `[n, sent, ended, error]`, times in monotonic seconds. One that
`reads` only looks how many numbers are there: that is its `n`.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from everup.drills.clients import CLIENTS, Client

STRIDE = 1_000_000_000
"""Writer number k writes the numbers above k times this; that one itself is left for a trial."""


class Writer:
    """Writes one number after the other, with one in flight: every so many seconds, and so long after an error."""

    def __init__(self, client: Client, told: Mapping[str, Any]) -> None:
        self._client = client
        self._n: int = told["writer"] * STRIDE
        self._every_s, self._after_error_s = float(told["every_s"]), float(told["after_error_s"])
        self._step = self._read if told["reads"] else self._write
        self._over = threading.Event()

    def stop(self, *_: object) -> None:
        """Write no more than what is in flight."""
        self._over.set()

    def run(self) -> None:
        """Write until stopped."""
        while not self._over.is_set():
            sent_s = time.monotonic()
            error = self._attempt()
            ended_s = time.monotonic()
            sys.stdout.write(json.dumps([self._n, sent_s, ended_s, error]) + "\n")
            sys.stdout.flush()
            pause_s = self._after_error_s if error else self._every_s - (ended_s - sent_s)
            if pause_s > 0:
                self._over.wait(pause_s)

    def _attempt(self) -> str | None:
        try:
            self._step()
        except self._client.failures as error:
            return f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return None

    def _write(self) -> None:
        self._n += 1
        self._client.write(self._n)

    def _read(self) -> None:
        self._n = self._client.count() or 0


def main() -> None:
    """Write as told until the end."""
    told: dict[str, Any] = json.loads(sys.stdin.readline())
    client = CLIENTS[told["client"]](told["settings"], told["place"])
    writer = Writer(client, told)
    signal.signal(signal.SIGTERM, writer.stop)

    def leave_with_conductor() -> None:
        sys.stdin.read()
        writer.stop()
        time.sleep(60)  # for what is in flight; after that it hangs, and nobody is left who waits for it
        os._exit(0)

    threading.Thread(target=leave_with_conductor, daemon=True).start()
    writer.run()


if __name__ == "__main__":
    main()
