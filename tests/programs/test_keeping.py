"""What is kept never takes the room that others need, and what could not be kept is told."""

import os
from pathlib import Path

import pytest

from everup.programs import keeping
from everup.programs.keeping import Found, spare


def test_room_that_others_need_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spare(tmp_path, 1)
    monkeypatch.setattr(keeping, "SPARED_BYTES", 1 << 62)
    found = Found(writes=3)
    with keeping.keeping(found):
        spare(tmp_path, 5_000_000)
    assert found.unkept.startswith("it takes 5 MB, and the disk has only ")
    assert found.writes == 3


def test_a_refusal_of_the_disk_is_told_with_the_file(tmp_path: Path):
    found = Found(writes=3)
    with keeping.keeping(found):
        (tmp_path / "nowhere" / "file").write_text("text")
    assert found.unkept == f"{os.strerror(2)}: {tmp_path}/nowhere/file"
