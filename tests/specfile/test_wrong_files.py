"""Every file in `wrong/` against its `.expected`: one line per flaw, `line:column the words that must be in it`."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from everup.kinds import load_kinds
from everup.model.contracts import Kind
from everup.model.errors import Flaw, SpecError
from everup.specfile.parse import parse
from tests.specfile.sample_kinds import KINDS

WRONG = sorted((Path(__file__).parent / "wrong").glob("*.yaml"))
JARGON = re.compile(r"pydantic|Input should|Value error|\b(dictionary|dict|str|int|float|bool|NoneType|tuple)\b")


def flaws_of(text: str, kinds: Mapping[str, Kind] = KINDS) -> tuple[Flaw, ...]:
    with pytest.raises(SpecError) as caught:
        parse(text, "everup.yaml", kinds)
    return caught.value.flaws


def test_there_are_enough_wrong_files():
    assert len(WRONG) >= 20
    assert {path.stem for path in WRONG} == {path.stem for path in WRONG[0].parent.glob("*.expected")}


@pytest.mark.parametrize("kinds", [KINDS, load_kinds()], ids=["sample", "real"])
@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_each_error_of_a_wrong_file_gives_exactly_one_flaw_at_its_place(path: Path, kinds: Mapping[str, Kind]):
    found = [(f"{flaw.line}:{flaw.column}", flaw.message) for flaw in flaws_of(path.read_text(), kinds)]
    expected = [line.split(" ", 1) for line in path.with_suffix(".expected").read_text().splitlines()]
    assert [place for place, _ in found] == [place for place, _ in expected]
    assert [words for (_, words), (_, message) in zip(expected, found, strict=True) if words not in message] == []


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_flaws_are_told_in_the_words_of_users(path: Path):
    for flaw in (*flaws_of(path.read_text()), *flaws_of(path.read_text(), load_kinds())):
        words = f"{flaw.message} {flaw.hint}"
        assert not JARGON.search(words)
        assert "\n" not in words
        assert not flaw.message.endswith(".")
        assert flaw.code.startswith("spec.")


def test_the_error_names_its_file_and_begins_with_the_first_flaw():
    with pytest.raises(SpecError) as caught:
        parse("environment: shop\nengine: docker\nservices: 3\n", "shop.yaml", KINDS)
    assert caught.value.file == "shop.yaml"
    assert caught.value.message == "engine is docker: no such engine"
    assert caught.value.code == "spec.unknown_engine"
    assert [(flaw.line, flaw.column) for flaw in caught.value.flaws] == [(2, 9), (3, 11)]


def test_the_nearest_valid_word_is_named_and_all_are_accepted():
    (kind,) = flaws_of("environment: shop\nservices:\n  a: {kind: Redsi}\n")
    assert "Did you mean redis?" in kind.hint
    assert kind.accepted == ("app", "database", "redis", "worker")
    (key,) = flaws_of("environment: shop\nservices:\n  a: {kind: redis, Durabilty: fast}\n")
    assert "Did you mean durability?" in key.hint
    assert "durability" in key.accepted


def test_two_separate_circles_are_two_flaws_and_what_leads_into_one_is_none():
    flaws = flaws_of(
        "environment: shop\nservices:\n"
        "  lead: {kind: redis, needs: [a]}\n"
        "  a: {kind: redis, needs: [b]}\n"
        "  b: {kind: redis, needs: [a, c]}\n"
        "  c: {kind: redis, needs: [d]}\n"
        "  d: {kind: redis, needs: [c]}\n"
    )
    assert [flaw.line for flaw in flaws] == [4, 6]
    assert "a -> b -> a" in flaws[0].message
    assert "c -> d -> c" in flaws[1].message


def test_an_unknown_key_hides_no_flaw_of_the_keys_beside_it():
    flaws = flaws_of("environment: shop\nservices:\n  w: {kind: app, run: x, colour: red, scale: 11}\n")
    assert [flaw.column for flaw in flaws] == [26, 46]


def test_a_kinds_own_refusal_points_at_the_key_that_it_names():
    (flaw,) = flaws_of("environment: shop\nservices:\n  w:\n    kind: app\n    run: x $REDIS_URL\n  r: {kind: redis}\n")
    assert (flaw.line, flaw.column) == (5, 10)
    assert "$REDIS_URL" in flaw.message
    assert flaw.hint == "Add the label to needs."


def test_a_variable_of_another_service_is_not_taken_over():
    (flaw,) = flaws_of("environment: shop\nservices:\n  redis-sentinel: {kind: app, run: x}\n  a: {kind: redis}\n")
    assert (flaw.line, flaw.code) == (3, "spec.collision")
    assert "REDIS_SENTINEL_URL" in flaw.message


def test_control_characters_of_the_file_do_not_reach_the_terminal():
    flaws = flaws_of(
        'environment: "\\e[31m"\n"\\x9b1m": 1\nservices:\n'
        '  "\\e[2J": {kind: "\\x9b1m"}\n  "\\u202e": 3\n  a: {kind: redis, needs: ["\\e]0;x\\a"], auth: "\\e"}\n'
    )
    assert [flaw.line for flaw in flaws] == [1, 2, 4, 5, 6, 6]
    assert all(flaw.message.isprintable() and flaw.hint.isprintable() for flaw in flaws)
