"""A PostgreSQL group whose primary's disk fills up."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.everup_cli import Everup
from tests.journal import lost
from tests.postgres.group import GROUP, Group
from tests.sql_writers import SqlWriters

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

DISK = "192m"
"""A database of 40 MB with its first WAL, and room to go on."""


@pytest.fixture
def small_disk() -> Iterator[Group]:
    """A group whose first server, the primary, has a small disk of its own."""
    with Everup(GROUP) as everup:
        group = Group(everup)
        place = group.home("db01-1")
        place.mkdir(parents=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", place], check=False).returncode:
            pytest.skip("this machine lets nobody mount a tmpfs")
        try:
            everup("up", timeout_s=240)
            yield group
        finally:
            everup("down", "--yes", codes=(0, 1))
            subprocess.run(["umount", "-l", place], check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small file system")
def test_a_primary_whose_disk_is_full_hands_over_and_is_a_standby_again_once_there_is_room(small_disk: Group):
    everup = small_disk.everup
    url, filler = everup.variables("db01")["DATABASE_URL"], small_disk.home("db01-1") / "filler"
    small_disk.wait_redundant()
    assert small_disk.primary()["id"] == "db01-1"
    with SqlWriters(url, pause_s=0.01) as writers:
        writers.wait_for(50)
        with filler.open("wb") as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        small_disk.wait_for(lambda: small_disk.says("the disk of db01-1 is full"))
        small_disk.wait_for(lambda: everup.service("db01")["primary"] not in (None, "db01-1"))
        writers.wait_for(50)
        filler.unlink()
        small_disk.wait_redundant()
        writers.wait_for(50)
        writers.stop()
        assert lost(writers.writes, writers.survivors()) == []
