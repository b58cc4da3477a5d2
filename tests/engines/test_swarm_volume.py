"""What lets each start of a node happen once: tickets, the lock of the living, and what becomes of them by force."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from everup.engines.swarm.volume import FOLDER, Record, Volume, move_all
from everup.model.errors import EngineError

HOLD = """
import os, sys
from pathlib import Path
from everup.engines.swarm.volume import Volume
assert Volume(Path(sys.argv[1])).hold(60) is not None
os.execv("/bin/sh", ["/bin/sh", "-c", sys.argv[2]])
"""


def program(place: Path, script: str) -> "subprocess.Popen[bytes]":
    """A program that holds the volume; it has said "on" when this returns."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(place), script], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"on\n"
    return process


def record(**more: object) -> Record:
    base = Record(
        7, "task", "redis01", "digest", "files", "2026-11-23T00:00:00.000+00:00", 3, ("dump*",), {"{home}": "/h"}
    )
    return Record(**{**vars(base), **more})  # type: ignore[arg-type]


def test_a_ticket_is_taken_once(tmp_path):
    volume = Volume(tmp_path)
    assert [volume.take(ticket) for ticket in (5, 5, 4, 6, 6)] == [True, False, False, True, False]
    assert Volume(tmp_path).ticket() == 6


def test_no_ticket_counts_where_there_never_was_a_start(tmp_path):
    assert Volume(tmp_path).ticket() == 0
    assert not Volume(tmp_path).alive() and Volume(tmp_path).record() is None
    assert list(tmp_path.iterdir()) == []  # looking leaves nothing behind


def test_of_many_starts_with_one_ticket_one_gets_through(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda _: Volume(tmp_path).take(9), range(64)))
    assert taken.count(True) == 1


def test_a_fenced_ticket_starts_nothing(tmp_path):
    volume = Volume(tmp_path)
    assert volume.bar(8) == 8
    assert [volume.take(ticket) for ticket in (8, 9)] == [False, True]
    assert volume.barred() == 0  # a larger one was taken since
    assert volume.bar(3) == 9  # a late fence takes nothing back
    assert volume.barred() == 9


def test_a_copy_comes_again_with_its_ticket_until_it_is_fenced(tmp_path):
    volume = Volume(tmp_path)
    assert [volume.take(5, again=True) for _ in range(3)] == [True] * 3
    volume.bar(5)
    assert not volume.take(5, again=True)
    assert volume.take(6, again=True) and not volume.take(5, again=True)


def test_a_spoilt_ticket_lets_nothing_start_until_it_is_fenced_anew(tmp_path):
    volume = Volume(tmp_path)
    volume.take(5)
    (tmp_path / FOLDER / "ticket").write_text("")
    with pytest.raises(EngineError, match="holds no number"):
        volume.take(6)
    assert volume.bar(6) == 6
    assert volume.take(7)


def test_a_link_in_place_of_what_everup_keeps_is_not_followed(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir(), other.mkdir()
    Volume(other).take(3)
    (mine / FOLDER).symlink_to(other / FOLDER)
    for work in (lambda: Volume(mine).bar(99), lambda: Volume(mine).take(99), lambda: Volume(mine).alive()):
        with pytest.raises(EngineError, match="is a link"):
            work()
    assert Volume(other).ticket() == 3


def test_the_lock_of_the_living_lasts_as_long_as_anything_of_the_program(tmp_path):
    process = program(tmp_path, f"sleep 600 & echo $! > {tmp_path}/child; echo on; wait")
    child = int((tmp_path / "child").read_text())
    try:
        assert Volume(tmp_path).alive()
        process.kill()
        process.wait(60)
        assert Volume(tmp_path).alive()  # its child lives on, and holds what it inherited
    finally:
        os.kill(child, signal.SIGKILL)
    end = Volume(tmp_path).hold(60)
    assert end is not None
    os.close(end)
    assert not Volume(tmp_path).alive()


def test_a_successor_waits_for_the_living(tmp_path):
    process = program(tmp_path, "echo on; exec sleep 600")
    try:
        assert Volume(tmp_path).hold(0.1) is None
    finally:
        process.kill()
        process.wait(60)
    handle = Volume(tmp_path).hold(60)
    assert handle is not None
    os.close(handle)


def test_who_looks_is_not_taken_for_the_living(tmp_path):
    handle = Volume(tmp_path).hold(1)
    assert handle is not None
    os.close(handle)
    with ThreadPoolExecutor(16) as pool:
        assert not any(pool.map(lambda _: Volume(tmp_path).alive(), range(400)))


def test_a_record_is_read_as_it_was_written(tmp_path):
    Volume(tmp_path).save(record(failure="no such program"))
    assert Volume(tmp_path).record() == record(failure="no such program")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"ticket": 1}', '{"keeps": []}'])
def test_a_record_that_is_none_counts_as_missing(tmp_path, text):
    Volume(tmp_path).save(record())
    (tmp_path / FOLDER / "record.json").write_text(text)
    assert Volume(tmp_path).record() is None


def test_the_start_program_is_light():
    """Many containers may start at once, after a power cut: each pays for what is imported."""
    script = "import sys, everup.engines.swarm.start; print({'pydantic', 'httpx', 'asyncio'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_all_of_a_volume_is_moved_and_what_it_remembers_of_its_starts_last(tmp_path):
    place, to = tmp_path / "place", tmp_path / "to"
    (place / "data" / "appendonlydir").mkdir(parents=True)
    (place / "data" / "appendonlydir" / "a.base.rdb").write_text("acknowledged")
    to.mkdir()
    place.chmod(0o750)
    Volume(place).take(7)
    Volume(place).save(record())
    (to / "data").write_text("in the way")
    with pytest.raises(OSError, match="data"):  # a directory does not take the place of a file
        move_all(place, to)
    assert Volume(place).record() is not None
    (to / "data").unlink()
    move_all(place, to)
    move_all(place, to)
    assert list(place.iterdir()) == []
    assert (to / "data" / "appendonlydir" / "a.base.rdb").read_text() == "acknowledged"
    assert Volume(to).ticket() == 7
    assert to.stat().st_mode & 0o777 == 0o750
