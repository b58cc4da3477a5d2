"""A disk that is really full: clear errors, nothing acknowledged is gone, and all is well once there is room."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from everup.model.errors import EverupError
from everup.model.observed import Group
from everup.runtime.home import Home
from everup.runtime.lock import take_lock
from everup.runtime.safekeeping import back_up
from everup.runtime.store import Store


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home on a disk of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets us mount no tmpfs")
    try:
        home = Home(place / "home")
        home.prepare()
        yield home
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def fill(home: Home) -> Path:
    """Leave no byte."""
    file = home.path.parent / "bulk"
    with file.open("wb", buffering=0) as bulk:
        try:
            while True:
                bulk.write(b"\0" * 4096)
        except OSError:
            return file


async def test_a_full_disk_costs_no_acknowledged_write(home: Home, tmp_path: Path):
    with closing(Store(home.store)) as store:
        await store.save_group("shop", "redis01", Group("redis01-1", 1, 1))
        bulk = fill(home)
        refused = None
        for number in range(2, 2000):
            try:
                await store.save_group("shop", "redis01", Group("redis01-1", number, number))
            except EverupError as error:
                refused = error
                break
        assert refused and (refused.code, refused.hint) == ("store.refused", "Make room on its disk.")
        assert store.groups("shop") == {"redis01": Group("redis01-1", number - 1, number - 1)}
    bulk = fill(home)  # its end freed what its log of writes took
    os.close(take_lock(home.lock))  # its pid cannot be written there, and it is held all the same
    try:
        with closing(Store(home.store)) as store:
            assert store.groups("shop") == {"redis01": Group("redis01-1", number - 1, number - 1)}
    except EverupError as error:  # where even the index of the log of writes finds no room
        assert error.code == "store.full"
    with pytest.raises(EverupError) as caught:
        back_up(home, home.path.parent / "backup")
    assert caught.value.code in ("store.backup_failed", "store.full")
    bulk.unlink()
    with closing(Store(home.store)) as store:
        assert store.groups("shop") == {"redis01": Group("redis01-1", number - 1, number - 1)}
        await store.save_group("shop", "redis01", Group("redis01-2", 3000, 3000))
    back_up(home, tmp_path / "backup")
