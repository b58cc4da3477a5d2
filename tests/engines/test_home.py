"""What a node's home says of its data."""

import shutil
from pathlib import Path

from everup.engines.local.home import Home

KEEPS = ("data/PG_VERSION", "data/global/pg_control")


def home(place: Path, *files: str) -> Home:
    made = Home(place)
    made.make()
    for name in files:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("18\n")
    return made


def test_a_clone_has_no_generation_before_it_is_marked_itself(tmp_path: Path):
    primary = home(tmp_path / "db01-1", *KEEPS)
    primary.mark(7, KEEPS)
    shutil.copytree(tmp_path / "db01-1", tmp_path / "db01-2")  # as pg_basebackup and pg_rewind do: the mark as well
    clone = Home(tmp_path / "db01-2")
    assert (clone.has(KEEPS), clone.generation(KEEPS)) == (True, None)
    clone.mark(7, KEEPS)
    assert (primary.generation(KEEPS), clone.generation(KEEPS)) == (7, 7)


def test_data_that_comes_back_to_its_node_brings_its_mark(tmp_path: Path):
    node = home(tmp_path / "db01-1", *KEEPS)
    node.mark(3, KEEPS)
    (tmp_path / "db01-1" / "data").rename(tmp_path / "aside")
    assert node.generation(KEEPS) is None
    (tmp_path / "aside").rename(tmp_path / "db01-1" / "data")
    assert node.generation(KEEPS) == 3


def test_a_mark_without_a_name_counts_and_one_that_makes_no_sense_does_not(tmp_path: Path):
    node = home(tmp_path / "db01-1", *KEEPS)
    mark = tmp_path / "db01-1" / "data" / "generation"
    for text, generation in (("4\n", 4), ("", None), ("four db01-1\n", None), ("4 db01-1\n", 4), ("4 db01-12\n", None)):
        mark.write_text(text)
        assert node.generation(KEEPS) == generation
