"""What processes cost: memory and CPU time, from /proc."""

import os
import time
from collections.abc import Iterable
from pathlib import Path


def rss_mb(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    return _kilobytes(f"/proc/{pid}/status", "VmRSS:") * 1024 / 1e6


def pss_mb(pids: Iterable[int]) -> float:
    """Memory of all of them in MB (10^6 bytes); what several share counts once."""
    return sum(_kilobytes(f"/proc/{pid}/smaps_rollup", "\nPss:") for pid in pids) * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """CPU seconds used so far, in user and kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_percent(pids: Iterable[int], for_s: float) -> float:
    """Share of one core that all of them use in the next `for_s` seconds; they must not end meanwhile."""
    pids = list(pids)
    before_s, from_s = sum(map(cpu_s, pids)), time.monotonic()
    time.sleep(for_s)
    return (sum(map(cpu_s, pids)) - before_s) / (time.monotonic() - from_s) * 100


def _kilobytes(file: str, name: str) -> int:
    return int(Path(file).read_text().split(name)[1].split()[0])
