"""Where two append-only files part, for every way in which a primary and its successor can differ."""

import random

import pytest

from everup.programs.redis_parting import UNWRITTEN, Parting, commands, database_at, from_a_beginning, parting
from tests.aof import SELECT, command, sets

INCR = command("INCR", "counter")
REMARK = b"#TS:1700000000\r\n"

CASES = {
    # what: (old, new before the promotion, new after it, lost)
    "nothing": (SELECT + sets(0, 50), SELECT + sets(0, 50), b"", b""),
    "nothing, and the successor went on": (SELECT + sets(0, 50), SELECT + sets(0, 50), sets(90, 99), b""),
    "some": (SELECT + sets(0, 50), SELECT + sets(0, 40), sets(90, 99), sets(40, 50)),
    "one": (SELECT + sets(0, 50), SELECT + sets(0, 49), sets(90, 99), sets(49, 50)),
    "the same again by a client that tries again": (sets(0, 50), sets(0, 40), sets(40, 45), sets(40, 50)),
    "many": (SELECT + sets(0, 30_000), SELECT + sets(0, 5_000), sets(0, 50), sets(5_000, 30_000)),
    "a replica that joined late": (SELECT + sets(0, 50), SELECT + sets(30, 40), sets(90, 99), sets(40, 50)),
    "a replica that joined late, with little": (SELECT + sets(0, 50), SELECT + sets(39, 40), b"", sets(40, 50)),
    "the old one rewrote": (SELECT + sets(30, 50), SELECT + sets(0, 40), sets(90, 99), sets(40, 50)),
    "the old one rewrote just before": (SELECT + sets(39, 50), SELECT + sets(0, 40), sets(90, 99), sets(40, 50)),
    "the old one began another file between": (
        SELECT + sets(0, 30) + SELECT + sets(30, 50),
        SELECT + sets(0, 40),
        sets(90, 99),
        sets(40, 50),
    ),
    "the new one began another file between": (
        SELECT + sets(0, 50),
        SELECT + sets(0, 30) + SELECT + sets(30, 40),
        SELECT + sets(90, 99),
        sets(40, 50),
    ),
    "torn at the end": (SELECT + sets(0, 50) + sets(50, 51)[:-9], SELECT + sets(0, 40), b"", sets(40, 50)),
    "its file ends before its history does": (SELECT + sets(0, 40), SELECT + sets(0, 50), sets(90, 99), b""),
    "the same, torn": (SELECT + sets(0, 40)[:-3], SELECT + sets(0, 50), sets(90, 99), b""),
    "its file ends far before": (SELECT + sets(0, 1_000), SELECT + sets(0, 50_000), sets(90, 99), b""),
    "remarks between": (REMARK + SELECT + sets(0, 50), REMARK + SELECT + sets(0, 40), b"", sets(40, 50)),
    "large values": (
        sets(0, 20) + command("SET", "a", "x" * 3_000_000),
        sets(0, 20),
        b"",
        command("SET", "a", "x" * 3_000_000),
    ),
    "a value that looks like commands": (
        sets(0, 20) + command("SET", "a", sets(0, 3).decode()) + sets(20, 23),
        sets(0, 20) + command("SET", "a", sets(0, 3).decode()),
        b"",
        sets(20, 23),
    ),
    "a transaction": (
        sets(0, 20) + command("MULTI") + sets(20, 23) + command("EXEC"),
        sets(0, 20),
        b"",
        command("MULTI") + sets(20, 23) + command("EXEC"),
    ),
    "another database": (
        SELECT + sets(0, 20) + SELECT.replace(b"\r\n0", b"\r\n7") + sets(20, 23),
        SELECT + sets(0, 20) + SELECT.replace(b"\r\n0", b"\r\n7") + sets(20, 21),
        b"",
        sets(21, 23),
    ),
}


LITTLE = {"a replica that joined late, with little", "the old one rewrote just before", "the same, torn"}
"""Where both have too little in common to prove a place."""


@pytest.mark.parametrize("name", CASES)
def test_what_only_the_former_primary_has_is_found(name: str):
    old, shared, since, lost = CASES[name]
    found = parting(old, shared + since, len(shared), None)
    told, wanted = [one.words for one in commands(old, found.at)], [one.words for one in commands(lost)]
    assert told[len(told) - len(wanted) :] == wanted
    if name not in LITTLE:
        assert told == wanted
        assert found.exact is (not name.startswith("its file ends"))
        assert found.because == ("" if found.exact else UNWRITTEN)


@pytest.mark.parametrize("name", CASES)
def test_it_is_found_from_a_place_that_both_have(name: str):
    old, shared, since, lost = CASES[name]
    whole = max(one.end for one in commands(old))
    ends = [0, *(one.end for one in commands(old)), whole]
    common = max(end for end in ends if end <= whole - len(lost))
    for known in {common, ends[max(0, ends.index(common) - 1)]}:
        found = parting(old, shared + since, len(shared), known)
        told, wanted = [one.words for one in commands(old, found.at)], [one.words for one in commands(lost)]
        assert told == wanted or (name in LITTLE and told[len(told) - len(wanted) :] == wanted and not found.exact)


def test_a_little_is_proof_where_it_must_be_in_the_file():
    old = SELECT + sets(0, 50)
    found = parting(old, SELECT + sets(39, 40) + sets(90, 95), len(SELECT + sets(39, 40)), None, complete=True)
    assert found == Parting(len(SELECT + sets(0, 40)), exact=True)
    twice = parting(old + sets(39, 40), SELECT + sets(39, 40), len(SELECT + sets(39, 40)), None, complete=True)
    assert (twice.at, twice.exact) == (found.at, False)


@pytest.mark.parametrize("name", CASES)
def test_where_nobody_noted_the_parting_both_are_compared(name: str):
    old, shared, since, lost = CASES[name]
    found = parting(old, shared + since, None, None)
    wanted = [one.words for one in commands(lost)]
    if name.startswith("the same again"):  # the successor has some of them too: nobody could tell, and nobody need
        wanted = wanted[5:]
    told = [one.words for one in commands(old, found.at)]
    assert told[len(told) - len(wanted) :] == wanted
    assert name in LITTLE or told == wanted
    assert not found.exact and found.because


REPEATED = {
    "some": (INCR * 100, INCR * 97, 3),
    "none": (INCR * 100, INCR * 100, 0),
    "a replica that joined late": (INCR * 100, INCR * 20, 80),
    "long": (INCR * 60_000, INCR * 59_000, 1_000),
    "the old one rewrote": (INCR * 20, INCR * 1_000, 20),
}


@pytest.mark.parametrize("name", REPEATED)
def test_where_commands_repeat_more_is_kept_rather_than_less(name: str):
    old, shared, lost = REPEATED[name]
    for common in (None, max(0, len(old) - len(INCR) * (lost + 2))):
        found = parting(old, shared + INCR * 10, len(shared), common)
        kept = len(list(commands(old, found.at)))
        assert kept >= lost
        assert not found.exact
        assert common is None or kept <= lost + 2


def test_in_a_quiet_group_the_last_look_says_that_nothing_is_lost():
    old = SELECT + sets(0, 50)
    assert parting(old, b"", 0, len(old)) == Parting(len(old), exact=True)
    some = parting(old + sets(50, 53), b"", 0, len(old))
    assert (some.at, some.exact) == (len(old), False)
    assert parting(b"", SELECT + sets(0, 20), len(SELECT + sets(0, 20)), 0) == Parting(0, exact=True)


def test_without_anything_in_common_all_is_kept():
    old = SELECT + sets(0, 50)
    found = parting(old, SELECT + sets(90, 99), None, None)
    assert (found.at, found.exact) == (0, False)
    assert "all of its file" in found.because
    assert parting(b"", b"", None, None) == Parting(0, False, "its file holds nothing since it was last rewritten")


def test_a_beginning_that_is_missing_is_skipped():
    old = SELECT + sets(0, 50)
    for cut in range(1, 200, 7):
        text = old[cut:]
        at = from_a_beginning(text, 0)
        assert 0 <= at < 60
        found = parting(text, SELECT + sets(0, 40) + sets(90, 95), len(SELECT + sets(0, 40)), None)
        assert text[found.at :] == sets(40, 50)


@pytest.mark.parametrize("seen", [True, False])
def test_random_histories_part_where_they_do(seen: bool):
    chance, exact = random.Random(7), 0
    for _ in range(300):
        words = [("SET", f"k{chance.randrange(9)}", f"{n}") for n in range(chance.randrange(30, 400))]
        few = [("DEL", "q"), ("LPUSH", "q", "a"), ("LPUSH", "q", "b")]
        history = [command(*(one if chance.random() < 0.5 else chance.choice(few))) for one in words]
        fork, joined, rewrote = (chance.randrange(len(history)) for _ in range(3))
        begin, looked = min(rewrote, fork), chance.randint(min(rewrote, fork), fork)
        old, shared = b"".join(history[begin:]), b"".join(history[min(joined, fork) : fork])
        common = len(SELECT) + len(b"".join(history[begin:looked])) if seen else None
        found = parting(SELECT + old, SELECT + shared + sets(0, 5), len(SELECT + shared), common)
        kept, lost = (SELECT + old)[found.at :], b"".join(history[fork:])
        assert kept.endswith(lost)  # never less
        assert not found.exact or kept == lost
        exact += found.exact
    assert exact > 50


def test_the_database_of_a_place_is_that_of_the_select_before_it():
    text = SELECT + sets(0, 3) + SELECT.replace(b"\r\n0", b"\r\n9") + sets(3, 6)
    assert [database_at(text, at) for at in (0, len(SELECT), len(text))] == [0, 0, 9]


@pytest.mark.parametrize(
    "text",
    [b"", b"*", b"*1\r\n", b"*1\r\n$3\r\nab", b"*x\r\n", b"*1\r\n$x\r\n", b"*1\r\n:1\r\n", b"junk\r\n", b"*0\r\n"],
)
def test_what_is_no_command_ends_the_reading(text: bytes):
    assert [one.words for one in commands(INCR + text)] == [(b"INCR", b"counter")]
