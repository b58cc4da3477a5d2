"""The ledger of lost writes over append-only files as a Redis leaves them: what is kept, and what is said."""

import json
import resource
from pathlib import Path

import pytest

from everup.model.desired import Blueprint, Salvage
from everup.model.events import Event
from everup.runtime.journal import Journal
from everup.runtime.ledger import Ledger
from everup.runtime.store import Store
from tests.aof import SELECT, command, sets

PAIR = ("redis01-1", "redis01-2")
BLUEPRINT = Blueprint("redis01", "redis", True, (), salvage=Salvage("redis_lost", waited=False))


class Desk:
    """A ledger, two homes, and what was said."""

    def __init__(self, folder: Path) -> None:
        self.homes = (folder / PAIR[0], folder / PAIR[1])
        self.journal = Journal("shop", Store(folder / "store.db"))
        self.ledger = Ledger(folder / "lost", self.journal)

    def write(self, old: bytes, new: bytes, *, number: int = 2) -> None:
        """What both servers wrote since they rewrote their files for the `number` - 1st time."""
        for home, text in zip(self.homes, (old, new), strict=True):
            folder = home / "data" / "appendonlydir"
            folder.mkdir(parents=True)
            names = (f"appendonly.aof.{number}.base.rdb", f"appendonly.aof.{number}.incr.aof")
            (folder / names[0]).write_bytes(b"REDIS" * 20)
            (folder / names[1]).write_bytes(text)
            lines = [f"file {name} seq {number} type {kind}" for name, kind in zip(names, "bi", strict=True)]
            (folder / "appendonly.aof.manifest").write_text("\n".join(lines) + "\n")

    async def keep(self, **known: int) -> Event:
        """Look, and return what was said last."""
        await self.ledger.keep(BLUEPRINT, PAIR, (str(self.homes[0]), str(self.homes[1])), known)
        return self.journal.recent()[-1]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def noted(new: bytes) -> dict[str, int]:
    return {"offset": 5000, "written": 100 + len(new), "rewritten": 1}


async def test_what_only_the_former_primary_has_is_kept_for_whoever_asks(desk: Desk):
    shared, lost = SELECT + sets(0, 40), sets(40, 50)
    desk.write(shared + lost, shared + sets(90, 95))
    event = await desk.keep(**noted(shared))
    (kept,) = desk.ledger.entries()
    assert (event.name, event.node, event.fields["successor"]) == ("lost.kept", *PAIR)
    assert (event.fields["writes"], event.fields["bytes"], event.fields["folder"]) == (10, len(lost), kept.folder)
    assert (kept.node, kept.successor, kept.writes, kept.size_bytes, kept.exact) == (*PAIR, 10, len(lost), True)
    assert (kept.begin, kept.end) == ("5001", str(5000 + len(lost)))
    assert kept.keys == tuple(f"key:{number}" for number in range(40, 50))
    assert (Path(kept.folder) / "commands.aof").read_bytes() == SELECT + lost
    assert json.loads((Path(kept.folder) / "entry.json").read_text())["waited"] is False
    assert Path(kept.folder).stat().st_mode & 0o077 == 0


async def test_entries_stay_and_come_in_order_and_whoever_deletes_one_has_settled_it(desk: Desk):
    desk.write(SELECT + sets(0, 50), SELECT + sets(0, 40))
    for _ in range(3):
        await desk.keep(**noted(SELECT + sets(0, 40)))
    again = Ledger(desk.ledger.folder, desk.journal)
    assert again.entries() == desk.ledger.entries()
    first, second, third = again.entries()
    assert first.at_utc < second.at_utc < third.at_utc
    place = Path(second.folder)
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    assert again.entries() == (first, third)
    (Path(third.folder) / "entry.json").write_text("{}")
    assert Ledger(desk.ledger.folder, desk.journal).entries() == (first,)
    await again.discard()
    assert again.entries() == () and not again.folder.exists()


async def test_where_nothing_is_lost_that_is_said_and_nothing_left_behind(desk: Desk):
    shared = SELECT + sets(0, 40)
    desk.write(shared, shared + sets(90, 95))
    assert (await desk.keep(**noted(shared))).name == "lost.none"
    assert desk.ledger.entries() == () and not desk.ledger.folder.exists()


async def test_much_is_found_where_a_first_short_look_does_not_reach(desk: Desk):
    shared, lost = SELECT + sets(0, 60_000), sets(60_000, 160_000)
    desk.write(shared + lost, shared)
    event = await desk.keep(**noted(shared))
    assert (event.fields["writes"], event.fields["bytes"], event.fields["exact"]) == (100_000, len(lost), True)


async def test_what_a_control_plane_left_half_written_goes(desk: Desk):
    unfinished = desk.ledger.folder / ".20261122T140322-redis01-1"
    unfinished.mkdir(parents=True)
    (unfinished / "commands.aof").write_bytes(SELECT)
    assert desk.ledger.entries() == ()
    desk.write(SELECT + sets(0, 50), SELECT + sets(0, 40))
    await desk.keep(**noted(SELECT + sets(0, 40)))
    assert [place.name[0] for place in desk.ledger.folder.iterdir()] == ["2"]
    assert len(desk.ledger.entries()) == 1


async def test_a_group_that_never_rewrote_its_files_has_all_in_them(desk: Desk):
    shared, lost = SELECT + command("SET", "a", "1"), command("DEL", "a") + command("SET", "b", "2")
    desk.write(shared + lost, shared, number=1)
    event = await desk.keep(offset=90, written=len(shared), rewritten=0)
    assert (event.name, event.fields["writes"], event.fields["exact"]) == ("lost.kept", 2, True)


async def test_what_was_seen_last_says_that_a_quiet_group_lost_nothing(desk: Desk):
    desk.write(SELECT + sets(0, 40), b"")
    last = {"former_offset": 5000, "former_written": 100 + len(SELECT + sets(0, 40)), "former_rewritten": 1}
    assert (await desk.keep(**noted(b""), **last)).name == "lost.none"
    ahead = {**last, "former_offset": 5001}  # seen further than the successor ever came: that place proves nothing
    assert (await desk.keep(**noted(b""), **ahead)).name == "lost.kept"


async def test_a_server_that_had_not_written_down_its_last_moment_is_told_of(desk: Desk):
    desk.write(SELECT + sets(0, 40), SELECT + sets(0, 50))
    event = await desk.keep(**noted(SELECT + sets(0, 50)))
    assert event.name == "lost.unkept"
    assert "neither written down nor sent" in str(event.fields["because"])


async def test_data_that_is_gone_is_told_of(desk: Desk):
    await desk.ledger.keep(BLUEPRINT, PAIR, (None, str(desk.homes[1])), {})
    event = desk.journal.recent()[-1]
    assert event.name == "lost.unkept"
    assert event.fields["because"] == "the data of redis01-1 is gone, or not on this machine"
    desk.write(SELECT + sets(0, 50), SELECT)
    for file in desk.homes[0].rglob("*.manifest"):
        file.unlink()
    event = await desk.keep()
    assert event.name == "lost.unkept"
    assert "looking for it failed" in str(event.fields["because"])


async def test_a_disk_that_takes_nothing_is_told_of_with_how_much_was_lost(desk: Desk):
    desk.write(SELECT + sets(0, 50), SELECT + sets(0, 40))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # of a file, in bytes: for the program, too
    try:
        event = await desk.keep(**noted(SELECT + sets(0, 40)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (event.name, event.fields["writes"]) == ("lost.unkept", 10)
    assert "File too large" in str(event.fields["because"])
    assert not desk.ledger.folder.exists()
    desk.ledger.folder.write_text("in the way")
    assert (await desk.keep(**noted(SELECT + sets(0, 40)))).name == "lost.unkept"
