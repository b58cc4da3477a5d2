"""The hash chain of the audit log finds whatever was changed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.core.chain import ORIGIN, canonical, seal, verify

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ENTRIES = st.lists(st.dictionaries(st.sampled_from(["who", "what", "given", "where"]), VALUES), min_size=1, max_size=8)


def chained(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    former, entries = ORIGIN, []
    for number, body in enumerate(bodies, 1):
        entry = {**body, "seq": number}
        former = seal(former, entry)
        entries.append({**entry, "hash": former})
    return entries


@given(ENTRIES)
def test_what_was_written_is_whole_also_after_a_journey_as_json(bodies):
    entries = json.loads(json.dumps(chained(bodies)))
    found = verify(entries)
    assert (found.entries, found.head, found.broken) == (len(bodies), entries[-1]["hash"], None)


@given(ENTRIES, st.data())
def test_a_change_of_any_entry_is_found_where_it_is(bodies, data):
    entries = chained(bodies)
    index = data.draw(st.integers(0, len(entries) - 1))
    key = data.draw(st.sampled_from([*entries[index], "added"]))
    old = entries[index].get(key)
    entries[index][key] = data.draw(VALUES.filter(lambda value: json.dumps(value) != json.dumps(old)))
    assert verify(entries).broken == index + 1
    assert verify(entries).entries == index


@given(ENTRIES.filter(lambda bodies: len(bodies) > 1), st.data())
def test_an_entry_that_was_taken_out_or_moved_is_missed(bodies, data):
    entries = chained(bodies)
    index = data.draw(st.integers(0, len(entries) - 2))
    assert verify([*entries[:index], *entries[index + 1 :]]).broken == index + 1
    entries[index], entries[index + 1] = entries[index + 1], entries[index]
    assert verify(entries).broken == index + 1


@given(ENTRIES, st.data())
def test_only_a_head_that_was_kept_tells_that_the_end_is_missing(bodies, data):
    entries = chained(bodies)
    kept = entries[-1]["hash"]
    left = entries[: data.draw(st.integers(0, len(entries) - 1))]
    assert verify(left).broken is None
    assert verify(left, kept).broken == len(left) + 1
    assert verify(entries, kept).broken is None
    assert verify(chained([*bodies, {"who": "later"}]), kept).broken is None


def test_a_log_that_was_rewritten_from_an_entry_on_is_whole_but_for_the_head_that_was_kept():
    entries = chained([{"who": "ann"}, {"who": "bob"}, {"who": "eve"}])
    forged = chained([{"who": "ann"}, {"who": "bob"}, {"who": "bob"}])
    assert verify(forged).broken is None
    assert verify(forged, entries[-1]["hash"]).broken == 4
    assert verify(forged, entries[1]["hash"]).broken is None


@pytest.mark.parametrize("entry", [{"b": 1, "a": [None, True, "é\u2028\ud800"], "hash": "x"}])
def test_the_text_that_is_hashed_is_the_same_everywhere(entry):
    assert canonical(entry) == '{"a":[null,true,"\\u00e9\\u2028\\ud800"],"b":1}'
