"""Where two PostgreSQL histories part, and what `pg_waldump` tells of the WAL beyond that."""

import pytest

from everup.kinds._postgres_parting import ENDLESS, Stretch, Tally, beyond, history, lsn_of, position, segments

A, B, C, D = 0x1000000, 0x3000060, 0x5000028, 0x16B374D848

FIRST = history(1, "")
SECOND = history(2, "1\t0/3000060\tno recovery target specified\n")
THIRD = history(3, "1\t0/3000060\tno recovery target specified\n\n2\t0/5000028\tno recovery target specified\n")


def test_a_history_file_names_every_timeline_and_where_it_ended():
    assert FIRST == (Stretch(1, 0),)
    assert SECOND == (Stretch(1, 0, B), Stretch(2, B))
    assert THIRD == (Stretch(1, 0, B), Stretch(2, B, C), Stretch(3, C))
    assert history(3, "# a remark\n1\t0/1000000\twhy\n") == (Stretch(1, 0, A), Stretch(3, A))


CASES = {
    "the usual one": (FIRST, SECOND, [Stretch(1, B)]),
    "the second time": (SECOND, THIRD, [Stretch(2, C)]),
    "away for two failovers": (FIRST, THIRD, [Stretch(1, B)]),
    "nobody was promoted": (SECOND, SECOND, [Stretch(2, B)]),
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
    assert list(beyond(old, new)) == ([] if name == "nobody was promoted" else own)


def test_positions_are_read_and_written_as_postgresql_does():
    assert position("16/B374D848") == D
    assert lsn_of(D) == "16/B374D848"
    assert lsn_of(position("0/3000060")) == "0/3000060"


DUMP = """\
rmgr: Heap        len (rec/tot):     54/    54, tx:        745, lsn: 0/03000060, prev 0/03000028, desc: INSERT off: 1
rmgr: Transaction len (rec/tot):     34/    34, tx:        745, lsn: 0/03000098, prev 0/03000060, desc: COMMIT 2026-11-23
rmgr: LogicalMessage len (rec/tot):  59/    59, tx:        746, lsn: 0/030000C0, prev 0/03000098, desc: MESSAGE transactional, prefix "everup"; payload (0 bytes):
rmgr: Transaction len (rec/tot):     34/    34, tx:        746, lsn: 0/03000100, prev 0/030000C0, desc: COMMIT 2026-11-23
rmgr: LogicalMessage len (rec/tot):  59/    59, tx:        747, lsn: 0/03000128, prev 0/03000100, desc: MESSAGE transactional, prefix "mine"; payload (1 bytes): 61
rmgr: Transaction len (rec/tot):     34/    34, tx:        747, lsn: 0/03000168, prev 0/03000128, desc: COMMIT 2026-11-23
rmgr: Heap        len (rec/tot):     54/    54, tx:        748, lsn: 0/03000190, prev 0/03000168, desc: INSERT off: 2
rmgr: LogicalMessage len (rec/tot):  59/    59, tx:        748, lsn: 0/030001C8, prev 0/03000190, desc: MESSAGE transactional, prefix "everup"; payload (0 bytes):
rmgr: Transaction len (rec/tot):     34/    34, tx:        748, lsn: 0/03000208, prev 0/030001C8, desc: COMMIT 2026-11-23
rmgr: Heap        len (rec/tot):     54/    54, tx:        749, lsn: 0/03000230, prev 0/03000208, desc: INSERT off: 3
rmgr: Transaction len (rec/tot):     34/    34, tx:        749, lsn: 0/03000268, prev 0/03000230, desc: ABORT 2026-11-23
rmgr: Heap        len (rec/tot):     54/    54, tx:        750, lsn: 0/03000290, prev 0/03000268, desc: INSERT off: 4
rmgr: Standby     len (rec/tot):     50/    50, tx:          0, lsn: 0/030002C8, prev 0/03000290, desc: RUNNING_XACTS
pg_waldump: error: error in WAL record at 0/30002C8: invalid record length at 0/3000300: expected at least 24, got 0
"""


def test_what_was_committed_is_counted_without_what_everup_itself_wrote():
    tally = Tally()
    for line in DUMP.splitlines():
        tally.add(line)
    assert (tally.transactions, tally.records) == (3, 13)
    assert (tally.begin, tally.end) == (0x3000060, 0x3000300)


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
