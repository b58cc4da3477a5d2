"""What a control plane of a machine knows is carried to a shelf whole, and its own files are left as they were."""

from pathlib import Path

import pytest

from everup.core.chain import verify
from everup.model.errors import Refused, Unavailable
from everup.model.events import Event
from everup.model.observed import Group
from everup.runtime.cipher import Cipher
from everup.runtime.home import Home
from everup.runtime.mirror import Mirror
from everup.runtime.moving import carry, retire
from everup.runtime.store import Store
from everup.runtime.tokens import new_secret
from tests.runtime.test_mirror import SAVED, Shelf, deed


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    """The home of a control plane that has ended, and knew all sorts of things."""
    home = Home(tmp_path / "state")
    home.prepare()
    store = Store(home.store)
    await store.save_environment("shop", SAVED)
    await store.save_grants("shop", {"redis/password": "s3cret"})
    await store.save_group("shop", "redis", Group("redis-2", 7, 7))
    await store.vault.put("shop", "TOKEN", "t0ken", "ada")
    for number in range(20):
        await store.audit.append(deed(f"web-{number}"))
    await store.append([Event("node.started", "shop", "2026-11-23T00:00:00.000+00:00", seq=1)])
    store.close()
    return home


async def arrived(shelf: Shelf, home: Home, place: Path) -> Store:
    """The store as a control plane finds it that has nothing but the key."""
    place.mkdir()
    (place / "secret.key").write_text(Cipher(home.path / "secret.key").key())
    (place / "secret.key").chmod(0o600)
    mirror = Mirror(shelf, Cipher(place / "secret.key"))
    await mirror.load(place / "everup.sqlite")
    return Store(place / "everup.sqlite", mirror)


async def test_all_that_was_known_is_there_afterwards(home: Home, tmp_path: Path) -> None:
    shelf, before = Shelf(), home.store.read_bytes()
    token = new_secret()
    await carry(home, shelf, "ada", token)
    assert home.store.read_bytes() == before
    store = await arrived(shelf, home, tmp_path / "elsewhere")
    assert store.environments() == {"shop": SAVED}
    assert store.grants("shop") == {"redis/password": "s3cret"}
    assert store.groups("shop")["redis"].primary == "redis-2"
    assert store.vault.reveal("shop", "TOKEN") == "t0ken"
    assert [event.name for event in store.events("shop", after=0)] == ["node.started"]
    entries = store.audit.page(0, 100)
    assert len(entries) >= 20
    assert verify(entries).broken is None
    caller = store.tokens().authenticate(token)
    assert caller is not None
    await store.finish()
    store.close()


async def test_a_home_where_nothing_ever_ran_gives_a_beginning(tmp_path: Path) -> None:
    home, shelf = Home(tmp_path / "state"), Shelf()
    home.prepare()
    Cipher(home.path / "secret.key").make_key()
    token = new_secret()
    await carry(home, shelf, "ada", token)
    store = await arrived(shelf, home, tmp_path / "elsewhere")
    assert store.environments() == {}
    assert store.tokens().authenticate(token) is not None
    await store.finish()
    store.close()


async def test_a_shelf_that_keeps_something_is_left_alone(home: Home) -> None:
    shelf = Shelf()
    await carry(home, shelf, "ada", new_secret())
    before = dict(shelf.pieces)
    with pytest.raises(Refused) as refusal:
        await carry(home, shelf, "ada", new_secret())
    assert refusal.value.code == "refused.kept_already"
    assert shelf.pieces == before


async def test_a_shelf_out_of_reach_takes_nothing_and_leaves_nothing_behind(home: Home) -> None:
    shelf, before = Shelf(), sorted(one.name for one in home.path.iterdir())
    shelf.reachable = False
    with pytest.raises(Exception, match="out of reach") as error:
        await carry(home, shelf, "ada", new_secret())
    assert not isinstance(error.value, Unavailable)
    assert shelf.pieces == {}
    assert sorted(one.name for one in home.path.iterdir()) == before


async def test_a_retired_home_has_no_store_and_none_of_the_swarms_keys(home: Home) -> None:
    (home.path / "swarm").mkdir()
    (home.path / "swarm" / "everup-agent-key.pem").write_text("key")
    former = retire(home)
    assert former is not None
    assert sorted(one.name for one in former.iterdir() if not one.name.endswith(("-wal", "-shm"))) == [
        "everup.sqlite",
        "swarm",
    ]
    assert not home.store.exists()
    assert not (home.path / "swarm").exists()
    assert retire(home) is None
