"""How a crash loop is slowed down, and told."""

import pytest

from everup.engines.local.pace import Pace, describe_exit
from everup.model.resources import MEBIBYTE


def ends(pace: Pace, times: int, ran_s: float = 0.0) -> list[float]:
    """Let it start when it may and end after `ran_s` seconds, again and again; give the waits before each start."""
    now_s, waits = 1000.0, []
    for _ in range(times):
        pace.started(now_s)
        now_s += ran_s
        pace.failed(now_s, "exited with code 1", "no such table")
        waits.append(max(0.0, pace.retry_at_s - now_s))
        now_s = max(now_s, pace.retry_at_s)
    return waits


def test_the_waits_double_up_to_ten_seconds() -> None:
    assert ends(Pace(), 11) == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10])


def test_a_node_that_ran_for_long_may_start_at_once() -> None:
    pace = Pace()
    ends(pace, 8)
    pace.started(2000.0)
    pace.failed(2010.0, "was killed by SIGKILL")
    assert pace.retry_at_s == 0.0
    assert pace.failure == "was killed by SIGKILL after 10 s"


def test_time_that_it_ran_counts_as_waited() -> None:
    assert ends(Pace(), 5, ran_s=0.3) == pytest.approx([0.0, 0.0, 0.0, 0.1, 0.5])


def test_a_loop_is_told_with_its_length_and_the_last_line() -> None:
    pace = Pace()
    ends(pace, 4)
    assert pace.failure == "exited with code 1, 4 times in 0.4 s: no such table"


def test_a_single_end_is_forgotten_once_it_runs_again_and_a_loop_once_it_is_calm() -> None:
    pace = Pace()
    ends(pace, 1)
    pace.started(2000.0)
    pace.calmed(2000.1)
    assert pace.failure == ""
    ends(pace, 2)
    pace.started(3000.0)
    pace.calmed(3000.1)
    assert pace.failure != ""
    pace.calmed(3010.0)
    assert pace.failure == ""


def test_a_start_that_was_refused_is_told_in_its_own_words() -> None:
    pace = Pace()
    pace.started(1000.0)
    pace.refused(1000.0, "web-1: 127.0.0.1:80 is in use")
    assert pace.failure == "web-1: 127.0.0.1:80 is in use"
    assert pace.retry_at_s == pytest.approx(1000.05)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL"),
        (-250, "was killed by signal 250"),
        (None, "ended (its exit code is unknown: it was adopted)"),
    ],
)
def test_ends_are_told_in_words(code: int | None, words: str) -> None:
    assert describe_exit(code) == words


@pytest.mark.parametrize(
    ("code", "limit_mib", "words"),
    [
        (-9, 512, "was killed for memory: it was at its limit of 512 MiB"),
        (-9, 0, "was killed for memory: its host had none left"),
        (1, 64, "exited with code 1 (the kernel killed a process of it for memory: it was at its limit of 64 MiB)"),
    ],
)
def test_who_is_killed_for_memory_is_told_at_which_limit(code: int, limit_mib: int, words: str) -> None:
    assert describe_exit(code, limit_mib * MEBIBYTE) == words
    pace = Pace()
    pace.started(1000.0)
    pace.failed(1003.0, describe_exit(code, limit_mib * MEBIBYTE), "reading")
    assert pace.failure == f"{words} after 3.0 s: reading"
