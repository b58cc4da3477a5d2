"""Tokens: shown once, kept as a hash, valid until they expire or are revoked, also after a restart."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from everup.model.access import Caller, Level
from everup.model.errors import EverupError, NotFound, Refused
from everup.runtime.store import Store
from everup.runtime.tokens import Tokens

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "everup.sqlite")
    yield store
    store.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens(store, clock):
    return Tokens(store._db, store._write, clock)


async def test_a_token_says_who_shows_it(tokens):
    _, secret = await tokens.create("ci", Level.DEVELOPER, ["shop", "other", "shop"], None)
    assert tokens.authenticate(secret) == Caller("ci", Level.DEVELOPER, frozenset({"shop", "other"}))
    for wrong in ("", secret[:-1], secret + "x", secret.upper(), secret.removeprefix("everup_"), "\udcff"):
        assert tokens.authenticate(wrong) is None


async def test_it_outlives_the_control_plane_and_its_secret_is_kept_nowhere(tokens, store, tmp_path):
    _, secret = await tokens.create("ci", Level.VIEWER, None, 3600)
    assert store.tokens().tokens() == tokens.tokens()
    again = Tokens(store._db, store._write, lambda: NOON)
    assert again.authenticate(secret) == Caller("ci", Level.VIEWER, None)
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.iterdir())


async def test_it_expires_to_the_second(tokens, clock):
    _, secret = await tokens.create("ci", Level.VIEWER, None, 60)
    clock.now += timedelta(seconds=59)
    assert tokens.authenticate(secret)
    clock.now += timedelta(seconds=1)
    assert tokens.authenticate(secret) is None
    assert [one.name for one in tokens.tokens()] == ["ci"]  # listed, so that one sees why it does not work


async def test_a_revoked_token_is_none_at_once_and_after_a_restart(tokens, store):
    _, secret = await tokens.create("ci", Level.VIEWER, None, None)
    await tokens.revoke("ci")
    assert tokens.authenticate(secret) is None
    assert Tokens(store._db, store._write).authenticate(secret) is None
    with pytest.raises(NotFound, match="no token ci"):
        await tokens.revoke("ci")


async def test_a_name_means_one_token_and_never_the_owner(tokens):
    await tokens.create("ci", Level.VIEWER, None, None)
    for name in ("ci", "owner"):
        with pytest.raises(Refused, match=f"a token {name} already"):
            await tokens.create(name, Level.OPERATOR, None, None)
    await asyncio.gather(tokens.create("a", Level.VIEWER, None, None), tokens.create("b", Level.VIEWER, None, None))
    assert [one.name for one in tokens.tokens()] == ["a", "b", "ci"]


async def test_two_who_want_one_name_at_once_make_one_token(tokens):
    made = await asyncio.gather(
        *(tokens.create("ci", Level.VIEWER, None, None) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(one, Refused) for one in made) == 4


async def test_the_last_use_is_kept_to_the_minute_and_does_not_keep_anybody_out(tokens, store, clock):
    _, secret = await tokens.create("ci", Level.VIEWER, None, None)
    writes: list[object] = []

    async def refuse(work: object) -> None:
        writes.append(work)
        raise EverupError("the disk is full", code="store.refused")

    tokens._write = refuse
    for _ in range(3):
        assert tokens.authenticate(secret)
        clock.now += timedelta(seconds=20)
    await asyncio.gather(*tokens._noting)
    assert (len(writes), tokens.tokens()[0].used_utc) == (1, "2026-11-23T12:00:00+00:00")
    tokens._write = store._write
    assert tokens.authenticate(secret)
    await asyncio.gather(*tokens._noting)
    assert store.tokens().tokens()[0].used_utc == "2026-11-23T12:01:00+00:00"


async def test_a_token_that_the_disk_did_not_take_is_none(tokens):
    async def refuse(work: object) -> None:
        raise EverupError("the disk is full", code="store.refused")

    tokens._write = refuse
    with pytest.raises(EverupError, match="disk is full"):
        await tokens.create("ci", Level.VIEWER, None, None)
    assert tokens.tokens() == []
