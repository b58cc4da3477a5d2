"""The stream of a node's output: nothing is lost or repeated when it is rotated under the writer."""

import asyncio
import sys
from pathlib import Path

import pytest

from everup.engines.local import rotation
from everup.engines.local.logs import Journal
from everup.model.desired import Part
from tests.engines.worlds import LocalWorld, a_node, eventually

WRITER = """
import glob, os, time
number, enough = 0, 6
while (turns := len(glob.glob('turn-*'))) < enough:
    if number < 40_000 * (1 + turns):
        for _ in range(1000):
            os.write(1, b'%08d %s\\n' % (number, b'x' * 90))
            number += 1
    else:
        time.sleep(0.001)
os.write(1, b'end\\n')
time.sleep(600)  # until it is ended
"""
"""Writes without pause, at most 4 MB between two rotations, and ends after the sixth."""


def stream(journal: Journal) -> bytes:
    """Everything that can be read, oldest first."""
    position, end = journal.span()
    found = b""
    while position < end:
        chunk = journal.read(position)
        assert chunk
        found += chunk
        position += len(chunk)
    return found


@pytest.mark.faults
async def test_rotation_loses_no_line_of_a_fast_writer_nor_of_a_reader(local: LocalWorld) -> None:
    node = a_node(part=Part.FRONT, program=sys.executable, args=("-c", WRITER))
    await local.engine.ensure(node)
    heard: list[str] = []

    async def listen() -> None:
        async for line in local.engine.logs("web-1", lines=10_000_000, follow=True):
            heard.append(line)
            if line == "end":
                return

    rotations = 0
    async with asyncio.timeout(120):
        listener = asyncio.create_task(listen())
        while rotations < 6:
            if await local.engine.rotate("web-1", limit_bytes=1_000_000, keep=100):
                rotations += 1
                (local.home / "nodes" / "web-1" / f"turn-{rotations}").touch()
            await asyncio.sleep(0.005)
        await listener
    expected = [f"{number:08d} {'x' * 90}" for number in range(len(heard) - 1)] + ["end"]
    assert heard == expected
    again = [line async for line in local.engine.logs("web-1", lines=10_000_000, follow=False)]
    assert again == expected
    assert len(list((local.home / "nodes" / "web-1").glob("out.log.*"))) == rotations


def test_the_kept_output_is_bounded(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(40):
        with journal.live.open("ab") as file:
            file.write(b"".join(b"%08d\n" % (number * 1000 + line) for line in range(1000)))
        journal.rotate(limit_bytes=10_000, keep=3)
    kept = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert kept <= 3 * 10_000 + 2 * 4096
    assert stream(journal).endswith(b"00039999\n")
    numbers = [int(line) for line in stream(journal).split(b"\n")[1:-1]]
    assert numbers == list(range(numbers[0], 40_000))


def test_a_new_reader_finds_the_same_stream(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.live.write_bytes(b"".join(b"%08d\n" % number for number in range(3000)))
    before = stream(journal)
    assert journal.rotate(limit_bytes=20_000)
    assert stream(journal) == before
    assert stream(Journal(tmp_path)) == before


@pytest.mark.parametrize("cut", [False, True])
def test_a_rotation_that_was_interrupted_is_undone_or_finished(tmp_path: Path, cut: bool) -> None:
    lines = b"".join(b"%08d\n" % number for number in range(3000))
    (tmp_path / "out.log").write_bytes(lines)
    (tmp_path / "out.log.next").write_bytes(lines[:8192])
    if cut:
        (tmp_path / "out.log").write_bytes(lines[8192:])
    assert stream(Journal(tmp_path)) == lines
    assert not (tmp_path / "out.log.next").exists()


def test_where_a_file_cannot_be_cut_it_is_copied_and_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "_collapse", lambda handle, length: False)
    journal = Journal(tmp_path)
    lines = b"".join(b"%08d\n" % number for number in range(3000))
    journal.live.write_bytes(lines)
    assert journal.rotate(limit_bytes=10_000, keep=4)
    assert journal.live.stat().st_size == 0
    assert stream(journal) == lines


def test_the_tail_crosses_from_the_archive_into_the_live_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.live.write_bytes(b"".join(b"%08d\n" % number for number in range(3000)))
    journal.rotate(limit_bytes=20_000)
    found, end = journal.tail(2500)
    assert found == [f"{number:08d}" for number in range(500, 3000)]
    assert end == journal.span()[1]


def test_the_last_line_says_something(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.last_line() == ""
    journal.live.write_bytes(b"first\nsecond\n\n  \n")
    assert journal.last_line() == "second"
    journal.live.write_bytes(b"first\nunfinished \xff")
    assert journal.last_line() == "unfinished \ufffd"


async def test_a_line_without_an_end_is_shown_unless_more_may_come(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.live.write_bytes(b"first\nunfinished")
    assert [line async for line in journal.lines(9, follow=False)] == ["first", "unfinished"]
    heard: list[str] = []

    async def listen() -> None:
        async for line in journal.lines(9, follow=True):
            heard.append(line)

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.15)
    with journal.live.open("ab") as file:
        file.write(b" no more\n")

    async def whole() -> bool:
        return heard == ["first", "unfinished no more"]

    await eventually(whole)
    listener.cancel()


async def test_following_ends_when_the_node_is_deleted(local: LocalWorld) -> None:
    await local.engine.ensure(a_node(script="echo hello; exec sleep 600"))

    heard: list[str] = []

    async def listen() -> None:
        async for line in local.engine.logs("web-1", lines=9, follow=True):
            heard.append(line)

    async def said() -> bool:
        return heard == ["hello"]

    listener = asyncio.create_task(listen())
    await eventually(said)
    await local.engine.remove("web-1", keep_data=False)
    async with asyncio.timeout(60):
        await listener
    assert heard == ["hello"]


async def test_output_goes_on_across_restarts_and_is_tended(local: LocalWorld) -> None:
    node = a_node(script="head -c 11000000 /dev/zero | tr '\\0' 'x'; echo; echo end; exec sleep 600")
    await local.engine.ensure(node)
    await eventually(lambda: ended(local))
    watching = asyncio.create_task(watch(local))  # whoever watches has the output rotated, too
    await eventually(lambda: archived(local))
    watching.cancel()
    assert [line async for line in local.engine.logs("web-1", lines=1, follow=False)] == ["end"]
    assert (local.home / "nodes" / "web-1" / "out.log").stat().st_size <= 4096


async def ended(local: LocalWorld) -> bool:
    return [line async for line in local.engine.logs("web-1", lines=1, follow=False)] == ["end"]


async def archived(local: LocalWorld) -> bool:
    return (local.home / "nodes" / "web-1" / "out.log.1").exists()


async def watch(local: LocalWorld) -> None:
    async for _ in local.engine.watch():
        pass
