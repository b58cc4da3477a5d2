"""The report of a drill: one file, complete, that asks nobody for anything."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from everup.drills.picture import HEIGHT, WIDTH, draw, label_of
from everup.drills.report import page
from tests.drills.finished import finished, stuck, watched


def pictures(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def test_it_says_what_clients_saw_beside_the_targets():
    text = page(finished())
    words = re.sub(r"<[^>]*>|\s+", " ", text)
    for part in ("redis01 · crash", "passed", "rto and rpo kept", "100 ms", "2.00 s", "failover", "Errors: 1"):
        assert part in words, part
    assert "one, two" in words


def test_it_loads_nothing_from_anywhere_and_quotes_what_it_was_told():
    text = page(finished())
    assert not re.search(r"https?:|<script|<link|@import|src=", text)
    assert "&lt;cut&gt; &amp; gone" in text


def test_its_pictures_show_writes_the_gap_and_what_happened_when():
    found = pictures(page(finished()))
    assert len(found) == 2
    for picture in found:
        kinds = [one.get("class") for one in picture]
        assert kinds.count("gap") == 1 and kinds.count("good") > 10 and kinds.count("bad") == 1
        said = " ".join(one.text or "" for one in picture.iter("text"))
        for words in ("fault", "the kernel says that redis01-1 ended", "redis01-2 is the primary", "first write"):
            assert words in said


def test_the_app_that_was_watched_has_a_table_of_its_instances():
    text = page(watched(stays=True))
    words = re.sub(r"<[^>]*>|\s+", " ", text)
    for part in ("web · failed", "POST /orders", "in 1 of 1 runs", "never", "everup restart web", "350 ms"):
        assert part in " ".join(words.split()), part
    assert "web-2 stayed on the old primary" in text and "ReadTimeout: &lt;waited&gt;" in text
    assert "every instance of web writes again" in page(watched(stays=False))
    assert "stayed behind" not in page(finished())


def test_what_proves_nothing_and_what_never_came_back_is_a_report_too():
    text = page(stuck())
    assert "failed" in text and "writing did not come back" in text and pictures(text) == []
    nothing = replace(finished(), runs=())
    assert pictures(page(nothing)) == []


@pytest.mark.parametrize("gap_s", [0.001, 0.1, 30.0])
def test_everything_stands_within_the_picture(gap_s: float):
    run = finished(gap_s=gap_s).runs[0]
    for bars in (run.overview, run.closeup):
        assert bars
        picture = draw(run, bars, "x")
        assert all(0 <= bar.x <= WIDTH and 0 < bar.height + bar.errors <= HEIGHT + 1e-6 for bar in picture.bars)
        assert all(0 <= flag.x <= WIDTH for flag in picture.flags)
        assert [tick.x for tick in picture.ticks] == sorted(tick.x for tick in picture.ticks)
        assert 2 <= len(picture.ticks) <= 14
        assert any(tick.words == "fault" for tick in picture.ticks)
        rows = [flag.y for flag in picture.flags]
        assert rows == sorted(set(rows)) and max(rows) < picture.height


def test_moments_are_told_relative_to_the_fault():
    assert [label_of(value) for value in (0.041, -0.5, 1.5, -2.0)] == ["+41 ms", "-500 ms", "+1.50 s", "-2.00 s"]
