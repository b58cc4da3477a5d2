"""Secrets at rest: encrypted, bound to their place, and useless without their key."""

import base64
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from everup.model.errors import EverupError
from everup.runtime.store import Store

VALUE = "correct horse battery staple ✓ {home}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def key_file(path: Path) -> Path:
    return path.with_name("secret.key")


async def kept(path: Path, **values: str) -> None:
    with closing(Store(path)) as store:
        for name, value in values.items():
            await store.vault.put("shop", name, value, "ann")


async def test_a_secret_is_kept_and_comes_out_as_it_went_in(path: Path):
    await kept(path, a="first", b=VALUE)
    await kept(path, a="second")
    with closing(Store(path)) as store:
        assert (store.vault.reveal("shop", "a"), store.vault.reveal("shop", "b")) == ("second", VALUE)
        assert [(one.name, one.set_by) for one in store.vault.kept("shop")] == [("a", "ann"), ("b", "ann")]
        assert store.vault.kept("other") == []
        assert store.vault.missing("shop", ["b", "c", "c"]) == ["c"]


async def test_nothing_of_it_stands_in_the_files(path: Path):
    await kept(path, a=VALUE)
    written = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"battery" not in written
    assert base64.b64encode(VALUE.encode())[4:-4] not in written
    assert stat.S_IMODE(key_file(path).stat().st_mode) == 0o600


async def test_the_same_value_is_never_encrypted_alike(path: Path):
    await kept(path, a=VALUE, b=VALUE)
    with closing(sqlite3.connect(path)) as db:
        assert len({sealed for (sealed,) in db.execute("SELECT sealed FROM secrets")}) == 2


async def test_a_value_that_was_moved_to_another_name_does_not_open(path: Path):
    await kept(path, a="harmless", b=VALUE)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'b') WHERE name = 'a'")
    with closing(Store(path)) as store, pytest.raises(EverupError) as refused:
        store.vault.reveal("shop", "a")
    assert refused.value.code == "secret.sealed"


async def test_what_is_forgotten_is_missing(path: Path):
    await kept(path, a=VALUE)
    with closing(Store(path)) as store:
        await store.vault.remove("shop", "a")
        with pytest.raises(EverupError, match="a is not set") as refused:
            store.vault.reveal("shop", "a")
    assert (refused.value.code, refused.value.hint) == ("secret.missing", "everup secret set a")


async def test_a_destroyed_environment_takes_its_secrets_along(path: Path):
    await kept(path, a=VALUE)
    with closing(Store(path)) as store:
        await store.vault.put("other", "a", VALUE, "ann")
        await store.forget_environment("shop")
        assert (store.vault.kept("shop"), len(store.vault.kept("other"))) == ([], 1)


@pytest.mark.parametrize("damage", ["gone", "another", "short", "open", "no text"])
async def test_without_its_key_nothing_opens_and_nothing_is_added(path: Path, damage: str):
    await kept(path, a=VALUE)
    if damage == "gone":
        key_file(path).unlink()
    elif damage == "open":
        key_file(path).chmod(0o644)
    else:
        texts = {"another": base64.b64encode(os.urandom(32)), "short": b"c2hvcnQ=", "no text": b"\xff\xfe"}
        key_file(path).write_bytes(texts[damage])
    with closing(Store(path)) as store:
        with pytest.raises(EverupError) as refused:
            store.vault.reveal("shop", "a")
        assert refused.value.code == ("secret.sealed" if damage == "another" else "secret.key")
        assert str(key_file(path)) in refused.value.message
        if damage != "another":
            with pytest.raises(EverupError):
                await store.vault.put("shop", "b", VALUE, "ann")
            assert [one.name for one in store.vault.kept("shop")] == ["a"]


async def test_the_key_may_come_from_a_command(path: Path):
    key = base64.b64encode(os.urandom(32)).decode()
    key_file(path).write_text(f"command: echo {key}\n")
    key_file(path).chmod(0o600)
    await kept(path, a=VALUE)
    key_file(path).write_text(key)
    with closing(Store(path)) as store:
        assert store.vault.reveal("shop", "a") == VALUE


@pytest.mark.parametrize(
    ("command", "said"), [("echo locked >&2; exit 3", "ended with 3: locked"), ("echo x", "32 bytes")]
)
async def test_a_command_that_brings_no_key_is_told(path: Path, command: str, said: str):
    key_file(path).write_text(f"command: {command}")
    key_file(path).chmod(0o600)
    with pytest.raises(EverupError, match=said):
        await kept(path, a=VALUE)
