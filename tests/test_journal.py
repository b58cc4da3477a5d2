"""What a journal says about a service: the arithmetic behind every figure that the demo and the benchmarks print."""

import pytest

from tests.journal import Write, acknowledged, longest_gap_s, lost, read_journal


def journal(*ends_s: float, failed: tuple[int, ...] = ()) -> list[Write]:
    """Writes that ended at these moments, each sent a moment before; those in `failed` (by number) were refused."""
    return [Write(n, end_s - 0.001, end_s, "refused" if n in failed else None) for n, end_s in enumerate(ends_s, 1)]


def test_the_gap_spans_from_the_last_write_before_the_fault_to_the_first_after_it():
    assert longest_gap_s(journal(1.0, 1.1, 1.6, 1.7), fault_s=1.2) == pytest.approx(0.5)


def test_a_later_gap_counts_too():
    assert longest_gap_s(journal(1.0, 1.1, 1.2, 3.2, 3.3), fault_s=1.15) == pytest.approx(2.0)


def test_a_gap_before_the_fault_does_not_count():
    assert longest_gap_s(journal(1.0, 9.0, 9.1, 9.3), fault_s=9.15) == pytest.approx(0.2)


def test_a_refused_write_does_not_end_a_gap():
    assert longest_gap_s(journal(1.0, 1.2, 1.3, failed=(2,)), fault_s=1.1) == pytest.approx(0.3)


@pytest.mark.parametrize("fault_s", [0.5, 2.0])
def test_without_a_write_on_either_side_there_is_nothing_to_measure(fault_s: float):
    with pytest.raises(ValueError, match="nothing to measure"):
        longest_gap_s(journal(1.0, 1.1), fault_s)


def test_only_acknowledged_writes_can_be_lost():
    writes = journal(1.0, 1.1, 1.2, failed=(2,))
    assert [write.n for write in acknowledged(writes)] == [1, 3]
    assert lost(writes, survivors={1}) == [3]


def test_a_line_that_is_still_being_written_is_left_out():
    line = '{"n": 1, "sent_s": 1.0, "ended_s": 1.1, "error": null}\n'
    assert read_journal(line + line[:20]) == [Write(1, 1.0, 1.1)]
