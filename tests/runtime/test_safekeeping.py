"""Backups of the control plane: consistent under load, checked, private, and put back beside what runs."""

import asyncio
import gzip
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from everup.core.restored import corrected
from everup.model.errors import EverupError, NotFound, Refused
from everup.model.events import Event
from everup.model.observed import Group, NodeState
from everup.model.spec import Source
from everup.runtime import safekeeping
from everup.runtime.formats import STEPS
from everup.runtime.home import Home
from everup.runtime.lock import take_lock
from everup.runtime.restoring import restore
from everup.runtime.safekeeping import back_up, unpack, verify
from everup.runtime.store import Saved, Store

SOURCE = Source(file="/srv/everup.yaml", text="environment: shop\n", directory="/srv", path="/bin")
RUNS = {"shop": {"redis01-1": NodeState(running=True, service="redis01", generation=1)}}
ENDED = {"shop": {"redis01-1": NodeState(running=False, service="redis01", generation=1)}}


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    """A home with a store, a certificate beside it, and what is no part of a backup."""
    home = Home(tmp_path / "home")
    home.prepare()
    (home.path / "environments" / "shop" / "nodes").mkdir(parents=True)
    (home.path / "environments" / "shop" / "nodes" / "bulk").write_text("of a node")
    (home.path / "secret.key").write_text("the key")
    (home.path / "secret.key").chmod(0o600)
    (home.path / "tls").mkdir()
    (home.path / "tls" / "server.pem").write_text("a certificate")
    home.log.write_text("said")
    with closing(Store(home.store)) as store:
        await store.save_environment("shop", Saved(SOURCE, {}, {}, False))
        await store.save_group("shop", "redis01", Group("redis01-1", 1, 1))
        await store.append([event(1)])
    return home


def event(number: int) -> Event:
    return Event("node.ready", "shop", "2026-01-01T00:00:00Z", "web", "web-1", {}, number)


def text(home: Home) -> dict[str, str]:
    """Every file of the home but the store's own."""
    places = (place for place in home.path.rglob("*") if place.is_file() and "sqlite" not in place.name)
    return {str(place.relative_to(home.path)): place.read_text() for place in places}


def test_a_backup_holds_the_store_and_what_is_beside_it_and_nothing_of_nodes(home: Home, tmp_path: Path):
    contents = back_up(home, tmp_path / "backup")
    assert [one.name for one in contents.files] == ["everup.sqlite", "tls/server.pem"]
    assert (contents.environments, contents.store_format) == (("shop",), len(STEPS))
    assert verify(tmp_path / "backup") == contents
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    assert sorted(place.name for place in tmp_path.iterdir()) == ["backup", "home"]


async def test_a_backup_taken_while_it_is_written_to_is_one_moment_of_it(home: Home, tmp_path: Path):
    done = threading.Event()

    def take() -> list[Path]:
        files = [tmp_path / f"backup-{number}" for number in range(5)]
        for file in files:
            back_up(home, file)
        done.set()
        return files

    with closing(Store(home.store)) as store:
        taking = asyncio.get_running_loop().run_in_executor(None, take)
        number = 1
        while not done.is_set() or number < 50:
            number += 2
            await store.append([event(number - 1), event(number)])  # two at a time, or none
        files = await taking
    counts = []
    for file in files:
        folder = tmp_path / f"of-{file.name}"
        folder.mkdir()
        unpack(file, folder)
        with closing(Store(folder / "everup.sqlite")) as copy:
            found = [one.seq for one in copy.events("shop", 0, limit=10**6)]
            assert found == list(range(1, len(found) + 1)) and len(found) % 2 == 1
            counts.append(len(found))
    assert counts == sorted(counts)


def test_a_backup_is_never_written_over_anything(home: Home, tmp_path: Path):
    (tmp_path / "backup").write_text("precious")
    with pytest.raises(Refused):
        back_up(home, tmp_path / "backup")
    assert (tmp_path / "backup").read_text() == "precious"


def test_without_a_store_or_a_place_nothing_is_written(home: Home, tmp_path: Path):
    with pytest.raises(EverupError) as caught:
        back_up(home, tmp_path / "nowhere" / "backup")
    assert caught.value.code == "store.backup_failed"
    with pytest.raises(NotFound):
        back_up(Home(tmp_path / "other"), tmp_path / "backup")
    home.store.write_bytes(b"damaged" * 2000)
    with pytest.raises(EverupError) as caught:
        back_up(home, tmp_path / "backup")
    assert caught.value.code == "store.unusable"
    assert [place.name for place in tmp_path.iterdir()] == ["home"]


def reads_as(content: bytes) -> bytes | None:
    """What is in a compressed file; None where it is broken."""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return None


def test_any_damage_to_a_backup_is_found(home: Home, tmp_path: Path):
    file = tmp_path / "backup"
    back_up(home, file)
    whole = file.read_bytes()
    spoilt = [whole[: len(whole) // 2], b"", b"something else", whole[:-9]]
    spoilt += [whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :] for at in range(20, len(whole) - 8, 97)]
    spoilt.append(gzip.compress(gzip.decompress(whole).replace(b"a certificate", b"a certifikate")))
    for content in spoilt:
        if reads_as(content) == reads_as(whole):
            continue  # some bits of a compressed stream mean nothing
        file.write_bytes(content)
        with pytest.raises(EverupError) as caught:
            verify(file)
        assert caught.value.code == "store.backup_damaged"
    with pytest.raises(NotFound):
        verify(tmp_path / "nowhere")


@pytest.mark.parametrize("what", ["FORMAT", "STEPS"])
def test_a_backup_of_a_newer_version_is_refused(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str):
    back_up(home, tmp_path / "backup")
    monkeypatch.setattr(safekeeping, what, 0 if what == "FORMAT" else ())
    with pytest.raises(EverupError) as caught:
        restore(home, tmp_path / "backup", ENDED, adopt=False)
    assert caught.value.code == "store.newer"


async def test_a_restore_brings_everything_back_and_keeps_what_was_there(home: Home, tmp_path: Path):
    back_up(home, tmp_path / "backup")
    before = text(home)
    with closing(Store(home.store)) as store:
        await store.forget_environment("shop")
    (home.path / "tls" / "server.pem").write_text("another certificate")
    done = restore(home, tmp_path / "backup", ENDED, adopt=False)
    with closing(Store(home.store)) as store:
        assert list(store.environments()) == ["shop"]
        assert store.groups("shop") == {"redis01": Group("redis01-1", 1, 1)}
        first, restored = store.events("shop", 0)
        assert (first.seq, restored.name, restored.fields["forgotten"]) == (1, "control.restored", [])
    assert done.former
    former = Path(done.former)
    assert (former / "tls" / "server.pem").read_text() == "another certificate"
    with closing(Store(former / "everup.sqlite")) as store:
        assert store.environments() == {}
    assert {name: words for name, words in text(home).items() if not name.startswith("former")} == before
    assert (home.path / "secret.key").read_text() == "the key"
    back_up(home, tmp_path / "again")  # what is kept of before is no part of the next backup
    assert [one.name for one in verify(tmp_path / "again").files] == ["everup.sqlite", "tls/server.pem"]


def test_a_damaged_store_is_replaced(home: Home, tmp_path: Path):
    back_up(home, tmp_path / "backup")
    home.store.write_bytes(b"damaged" * 2000)
    restore(home, tmp_path / "backup", ENDED, adopt=False)
    with closing(Store(home.store)) as store:
        assert list(store.environments()) == ["shop"]


def test_nodes_that_run_are_left_alone_only_on_request(home: Home, tmp_path: Path):
    back_up(home, tmp_path / "backup")
    before = home.store.read_bytes()
    with pytest.raises(Refused) as caught:
        restore(home, tmp_path / "backup", RUNS, adopt=False)
    assert "shop/redis01-1" in caught.value.message and "--adopt" in caught.value.hint
    with pytest.raises(Refused) as caught:
        restore(home, tmp_path / "backup", {"other": RUNS["shop"]}, adopt=True)
    assert "does not know" in caught.value.message
    assert home.store.read_bytes() == before
    assert not (home.path / "former").exists() and not (home.path / ".restoring").exists()
    assert restore(home, tmp_path / "backup", RUNS, adopt=True).running == ("shop/redis01-1",)


async def test_the_store_that_is_replaced_knows_better_who_is_primary(home: Home, tmp_path: Path):
    back_up(home, tmp_path / "backup")
    newer = Group("redis01-2", 5, 5, {"redis01-1": {"offset": 7}})
    with closing(Store(home.store)) as store:
        await store.save_group("shop", "redis01", newer)
    later = {"shop": {"redis01-2": NodeState(running=False, service="redis01", generation=5), **ENDED["shop"]}}
    assert restore(home, tmp_path / "backup", later, adopt=False).forgotten == ()
    with closing(Store(home.store)) as store:
        assert store.groups("shop") == {"redis01": newer}


def test_an_older_record_of_a_primary_is_forgotten(home: Home, tmp_path: Path):
    back_up(home, tmp_path / "backup")
    home.store.write_bytes(b"damaged" * 2000)
    later = {"shop": {"redis01-2": NodeState(running=False, service="redis01", generation=5), **ENDED["shop"]}}
    assert restore(home, tmp_path / "backup", later, adopt=False).forgotten == ("shop/redis01",)
    with closing(Store(home.store)) as store:
        assert store.groups("shop") == {"redis01": Group(None, 5, 5)}


@pytest.mark.parametrize(
    ("generations", "expected"),
    [([], None), ([3, 4], None), ([None, 2], None), ([4, 6], Group(None, 6, 6)), ([5], Group(None, 5, 5))],
)
def test_only_a_newer_generation_overrules_a_record(generations: list[int | None], expected: Group | None):
    states = [NodeState(running=False, generation=one) for one in generations]
    record = Group("redis01-1", 4, 3, {"redis01-2": {"offset": 1}})
    assert corrected(record, None, states) == corrected(record, record, states) == expected
    assert corrected(replace(record, generation=9), None, states) is None
    former = Group("redis01-3", 6, 6)
    assert corrected(record, former, states) == (former if expected else None)


@pytest.fixture
def lock(home: Home) -> Iterator[int]:
    descriptor = take_lock(home.lock)
    yield descriptor
    os.close(descriptor)


def test_a_home_has_one_control_plane(home: Home, lock: int):
    with pytest.raises(Refused) as caught:
        take_lock(home.lock)
    assert caught.value.code == "refused.second_control_plane"
    assert f"pid {os.getpid()}" in caught.value.message
    os.close(os.dup(lock))  # a copy that is closed does not free it
