"""Where two PostgreSQL histories part, and what `pg_waldump` tells of the WAL beyond that."""

import pytest

from everup.programs.postgres_parting import ENDLESS, Stretch, Tally, beyond, history, lsn_of, position, segments

A, B, C, D = 0x1000000, 0x3000060, 0x5000028, 0x16B374D848

FIRST = history(1, "")
SECOND = history(2, "1\t0/3000060\tno recovery target specified\n")
THIRD = history(3, "1\t0/3000060\tno recovery target specified\n\n2\t0/5000028\tno recovery target specified\n")


def test_a_history_file_names_every_timeline_and_where_it_ended():
    assert history(1, "") == (Stretch(1, 0),)
    assert list(SECOND) == [Stretch(1, 0, B), Stretch(2, B)]
    assert list(THIRD) == [Stretch(1, 0, B), Stretch(2, B, C), Stretch(3, C)]
    assert history(3, "# a remark\n1\t0/1000000\twhy\n") == (Stretch(1, 0, A), Stretch(3, A))


CASES = {
    "the usual one": (FIRST, SECOND, [Stretch(1, B)]),
    "the second time": (SECOND, THIRD, [Stretch(2, C)]),
    "away for two failovers": (FIRST, THIRD, [Stretch(1, B)]),
    "nobody was promoted": (SECOND, SECOND, []),
    "both were promoted from one, the old one earlier": (
        SECOND,
        (Stretch(1, 0, C), Stretch(3, C)),
        [Stretch(2, B)],
    ),
    "both were promoted from one, the old one later": (
        (Stretch(1, 0, C), Stretch(2, C)),
        (Stretch(1, 0, B), Stretch(3, B)),
        [Stretch(1, B, C), Stretch(2, C)],
    ),
    "by the same number": (
        (Stretch(1, 0, C), Stretch(2, C)),
        (Stretch(1, 0, B), Stretch(2, B)),
        [Stretch(1, B, C), Stretch(2, C)],
    ),
    "nothing in common": ((Stretch(4, A),), (Stretch(5, B),), [Stretch(4, A)]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_beyond_begins_where_the_last_common_timeline_ends(name: str):
    old, new, own = CASES[name]
    assert list(beyond(old, new)) == own


def test_positions_are_read_and_written_as_postgresql_does():
    assert position("16/B374D848") == D
    assert lsn_of(D) == "16/B374D848"
    assert lsn_of(position("0/3000060")) == "0/3000060"


RECORDS = [
    ("Heap", 745, "INSERT off: 1"),
    ("Transaction", 745, "COMMIT 2026-11-23 03:00:00.000000 UTC"),
    ("LogicalMessage", 746, 'MESSAGE transactional, prefix "everup"; payload (0 bytes): '),
    ("Transaction", 746, "COMMIT 2026-11-23 03:00:00.000000 UTC"),
    ("LogicalMessage", 747, 'MESSAGE transactional, prefix "mine"; payload (1 bytes): 61'),
    ("Transaction", 747, "COMMIT 2026-11-23 03:00:00.000000 UTC"),
    ("Heap", 748, "INSERT off: 2"),
    ("LogicalMessage", 748, 'MESSAGE transactional, prefix "everup"; payload (0 bytes): '),
    ("Transaction", 748, "COMMIT 2026-11-23 03:00:00.000000 UTC"),
    ("Heap", 749, "INSERT off: 3"),
    ("Transaction", 749, "ABORT 2026-11-23 03:00:00.000000 UTC"),
    ("Heap", 750, "INSERT off: 4"),
    ("Standby", 0, "RUNNING_XACTS nextXid 751 latestCompletedXid 749 oldestRunningXid 750; 1 xacts: 750"),
]
"""Of these transactions three were committed by others than Everup: 745, 747 and 748."""


def dumped(number: int, kind: str, tx: int, what: str) -> str:
    """A record as `pg_waldump` prints it, 54 bytes long, every 56 bytes."""
    lsn, before = lsn_of(B + 56 * number), lsn_of(B + 56 * (number - 1))
    return f"rmgr: {kind:11} len (rec/tot):     54/    54, tx:{tx:11}, lsn: {lsn}, prev {before}, desc: {what}\n"


def test_what_was_committed_is_counted_without_what_everup_itself_wrote():
    tally = Tally()
    for number, record in enumerate(RECORDS):
        tally.add(dumped(number, *record))
    tally.add("pg_waldump: error: error in WAL record at 0/30002C8: invalid record length at 0/3000300: expected 24")
    assert (tally.transactions, tally.records) == (3, 13)
    assert (tally.begin, tally.end) == (B, B + 56 * 13)


def test_nothing_told_is_nothing():
    tally = Tally()
    tally.add("pg_waldump: error: could not find a valid record after 0/3000060")
    assert (tally.transactions, tally.records, tally.end) == (0, 0, 0)


def test_the_files_of_a_stretch_are_those_that_hold_it():
    size = 16 << 20
    names = [f"{timeline:08X}{0:08X}{number:08X}" for timeline in (1, 2) for number in range(1, 9)]
    names += ["archive_status", "00000002.history", "000000010000000000000003.partial"]
    assert segments(names, 1, B, C, size) == [names[2], names[3], names[4]]
    assert segments(names, 1, B, B + 8, size) == [names[2]]
    assert segments(names, 2, C, ENDLESS, size) == names[12:16]
    assert segments(names, 3, B, C, size) == []
