"""One process, held by its pidfd so that its number cannot come to mean another one."""

import fcntl
import os
import select
import signal
import struct
import time

from everup.engines.local import kernel

_GET_INFO = 0xC040FF0B  # ioctl PIDFD_GET_INFO, Linux >= 6.15
_EXIT_KNOWN = 1 << 3  # PIDFD_INFO_EXIT
_INFO_BYTES = 64  # exit_code is the last of its 32-bit fields
_LOOK_EVERY_S = 0.005
_POLL_S = 0.01  # only where there is no pidfd


class Process:
    """A process that was found alive with the start time `start`.

    `pidfd` is -1 where the platform has none; its end is then found by looking.
    """

    def __init__(self, pid: int, start: str, pidfd: int) -> None:
        self.pid = pid
        self.start = start
        self.pidfd = pidfd
        self._exit_code: int | None = None

    @classmethod
    def hold(cls, pid: int, start: str = "") -> "Process | None":
        """Take hold of a living process; None when it is gone or (`start` given) is not the one that was meant."""
        try:
            pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        except OSError:
            return None
        seen = kernel.look(pid)  # looked at after the pidfd was opened, so that the number cannot change hands between
        if seen is None or (start and seen.start != start):
            if pidfd >= 0:
                os.close(pidfd)
            return None
        return cls(pid, seen.start, pidfd)

    def signal(self, number: int) -> None:
        """Send a signal; to a process that is gone already this does nothing.

        Raises:
            PermissionError: it belongs to another user.
        """
        try:
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, number)
            elif self.alive():
                os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def notify(self, number: int, patience_s: float) -> None:
        """Send a signal once the process has a handler for it, or after that time. Blocks.

        HAProxy drops a SIGUSR2, or ends by it, in the first 30 ms of its life and of each reload (measured with 2.8).

        Raises:
            PermissionError: it belongs to another user.
        """
        end_s = time.monotonic() + patience_s
        while not kernel.catches(self.pid, number) and time.monotonic() < end_s:
            time.sleep(_LOOK_EVERY_S)
        self.signal(number)

    def alive(self) -> bool:
        """It has not ended yet; a zombie has."""
        if self.pidfd >= 0:
            return not self.wait(0.0)
        seen = kernel.look(self.pid)
        return seen is not None and seen.start == self.start

    def wait(self, timeout_s: float) -> bool:
        """Block until it has ended, at most `timeout_s` seconds; say whether it has."""
        if self.pidfd >= 0:
            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        end_s = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() >= end_s:
                return False
            time.sleep(_POLL_S)
        return True

    def exit_code(self) -> int | None:
        """How it ended, as Popen says it, once it has; reaps a child. None where nobody can know."""
        if self._exit_code is None:
            self._exit_code = self._reap()
        return self._exit_code

    def close(self) -> None:
        """Let go of it; it runs on."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def _reap(self) -> int | None:
        try:
            if self.pidfd < 0:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                return os.waitstatus_to_exitcode(status) if pid else None
            result = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:  # adopted: somebody else's child
            return self._told()
        if result is None:
            return None
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status

    def _told(self) -> int | None:
        """The exit code of a process that is not a child, where the kernel tells and PID 1 has reaped it."""
        if self.pidfd < 0:
            return None
        answer = bytearray(_INFO_BYTES)
        struct.pack_into("Q", answer, 0, _EXIT_KNOWN)
        try:
            fcntl.ioctl(self.pidfd, _GET_INFO, answer)
        except OSError:
            return None
        if not struct.unpack_from("Q", answer, 0)[0] & _EXIT_KNOWN:
            return None
        return os.waitstatus_to_exitcode(struct.unpack_from("i", answer, _INFO_BYTES - 4)[0])
