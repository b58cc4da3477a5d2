"""When a node that keeps ending may be started again, and the words for it. Pure; times are monotonic seconds."""

import signal

from everup.model.resources import killed_for_memory

FIRST_S = 0.05
LONGEST_S = 10.0
CALM_S = 10.0
"""A node that ran this long has left its crash loop."""


class Pace:
    """From one start to the next pass 50 ms, doubling to 10 s, while the node keeps ending within 10 s of its start."""

    def __init__(self) -> None:
        self.retry_at_s = 0.0
        self.failure = ""
        self._started_s = 0.0
        self._ends = 0
        self._first_s = 0.0

    def started(self, now_s: float) -> None:
        """A start was tried."""
        self._started_s = now_s
        if not self._ends:
            self._first_s = now_s

    def failed(self, now_s: float, because: str, last_line: str = "") -> None:
        """It ended, or did not start; `because` in words such as "exited with code 1"."""
        ran_s = now_s - self._started_s
        if ran_s >= CALM_S:
            self._ends = 0
        self._ends += 1
        if self._ends == 1:
            self._first_s = self._started_s
        self.retry_at_s = 0.0
        if ran_s < CALM_S:
            self.retry_at_s = self._started_s + min(FIRST_S * 2 ** min(self._ends - 1, 30), LONGEST_S)
        often = f" after {_span(ran_s)}"
        if self._ends > 1:
            often = f", {self._ends} times in {_span(now_s - self._first_s)}"
        self.failure = because + often + (f": {last_line}" if last_line else "")

    def refused(self, now_s: float, because: str) -> None:
        """It could not even be tried; `because` is a whole sentence."""
        self.failed(now_s, "")
        self.failure = because

    def calmed(self, now_s: float) -> None:
        """It runs: once it has for 10 s, the crash loop is over."""
        if now_s - self._started_s >= CALM_S or self._ends <= 1:
            self.failure = ""
        if now_s - self._started_s >= CALM_S:
            self._ends = 0

    def reset(self) -> None:
        """It ended because it was asked to."""
        self.retry_at_s = 0.0
        self.failure = ""
        self._ends = 0


def describe_exit(exit_code: int | None, killed_at_bytes: int | None = None) -> str:
    """How a process ended, in words; both as in `Confirmed`."""
    if killed_at_bytes is not None:
        if exit_code == -signal.SIGKILL:
            return killed_for_memory(killed_at_bytes)
        return f"{describe_exit(exit_code)} ({killed_for_memory(killed_at_bytes, wholly=False)})"
    if exit_code is None:
        return "ended (its exit code is unknown: it was adopted)"
    if exit_code < 0:
        try:
            return f"was killed by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"was killed by signal {-exit_code}"
    return f"exited with code {exit_code}"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
