"""Who is still to be compared with the primary that followed."""

import pytest

from everup.core.ledger import compared, crowned, marked, to_be_compared
from everup.model.observed import Group

FIRST = crowned(Group(), "a", 0, {})
SECOND = crowned(FIRST, "b", 1, {"offset": 7})

CASES = {
    "the first primary": (FIRST, Group("a", 1)),
    "after a failover": (SECOND, Group("b", 2, deposed={"a": {"offset": 7}})),
    "after two": (crowned(SECOND, "c", 5, {}), Group("c", 6, deposed={"a": {"offset": 7}, "b": {}})),
    "and back": (crowned(SECOND, "a", 2, {"offset": 9}), Group("a", 3, deposed={"b": {"offset": 9}})),
    "after a switchover": (crowned(FIRST, "b", 1, None), Group("b", 2)),
    "the same again": (crowned(FIRST, "a", 1, {}), Group("a", 2)),
    "marked": (marked(SECOND, "a", 2), Group("b", 2, 2)),
    "marked as of old": (marked(Group("b", 2, 2), "b", 1), Group("b", 2, 2)),
    "compared": (compared(SECOND, "a"), Group("b", 2)),
    "somebody else was compared": (compared(SECOND, "c"), SECOND),
}


@pytest.mark.parametrize("name", CASES)
def test_the_record_names_those_that_nobody_compared(name: str):
    found, wanted = CASES[name]
    assert found == wanted


def test_only_a_former_primary_is_compared_and_only_with_a_primary():
    assert to_be_compared(SECOND, "a")
    assert not to_be_compared(SECOND, "b")
    assert not to_be_compared(SECOND, "c")
    assert not to_be_compared(Group(deposed={"a": {}}), "a")
    assert not to_be_compared(Group("a", deposed={"a": {}}), "a")
