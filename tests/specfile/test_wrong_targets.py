"""Targets that nothing can keep are refused where they stand, with the reason and what there is instead."""

import pytest

from everup.kinds import load_kinds
from everup.model.errors import SpecError
from everup.specfile.parse import parse

HEAD = "environment: shop\nservices:\n  db01:\n    kind: {kind}\n    "


@pytest.mark.parametrize(
    ("kind", "line", "reason", "instead"),
    [
        ("redis", "rpo: 0", "Redis replicates asynchronously", "WAIT 1 after a write"),
        (
            "redis",
            "rpo: 0",
            "cannot be kept",
            "durability: safe stops the writes of a primary that no replica confirms",
        ),
        ("redis", "rpo: 1s", "must be async", ""),
        (
            "redis",
            "rto: 500ms",
            "must be 1.5s or more: a node that hangs is told from a slow one after 1 s",
            "leave rto",
        ),
        ("redis", "rto: 1.4s", "up to 0.3 s more to take over", "A node that ends is replaced sooner"),
        ("postgres", "rto: 1.8s", "must be 1.9s or more", "leave rto out"),
        ("postgres", "rto: 100ms", "up to 0.7 s more to take over", "leave rto out"),
    ],
)
def test_each_is_refused_at_its_place(kind: str, line: str, reason: str, instead: str):
    with pytest.raises(SpecError) as caught:
        parse(HEAD.format(kind=kind) + line + "\n", "everup.yaml", load_kinds())
    (flaw,) = caught.value.flaws
    assert reason in flaw.message and instead in flaw.hint
    assert (flaw.line, flaw.column) == (5, 10)


@pytest.mark.parametrize(
    "words", ["redis, rto: 1.5s", "redis, ha: true, rto: 2s, rpo: async", "postgres, ha: true, rto: 2s, rpo: 0"]
)
def test_targets_that_can_be_kept_are_taken(words: str):
    text = f"environment: shop\nservices:\n  db01: {{kind: {words}}}\n"
    assert parse(text, "everup.yaml", load_kinds()).services["db01"].rto  # type: ignore[attr-defined]
