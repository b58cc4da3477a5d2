"""What is wrong with a PostgreSQL in a spec file is told where it stands, in the words of users."""

import pytest

from everup.kinds import load_kinds
from everup.model.errors import SpecError
from everup.specfile.parse import parse

HEAD = "environment: shop\nservices:\n  db01:\n    kind: postgres\n    "


@pytest.mark.parametrize(
    ("line", "place", "words"),
    [
        ("ha: {standbys: 1}", (5, 20), "2"),
        ("ha: {replicas: 2}", (5, 10), "standbys"),
        ("ha: yes", (5, 9), "true"),
        ("rpo: 5", (5, 10), "async"),
        ("rto: soon", (5, 10), "duration"),
        ("settings: {port: 5433}", (5, 22), "port is set by Everup"),
        ("settings: {Work Mem: 1}", (5, 15), "not the name of a setting"),
        ("setings: {jit: off}", (5, 5), "settings"),
    ],
)
def test_each_flaw_is_told_at_its_place(line: str, place: tuple[int, int], words: str):
    with pytest.raises(SpecError) as caught:
        parse(HEAD + line + "\n", "everup.yaml", load_kinds())
    (flaw,) = caught.value.flaws
    assert words in flaw.message + flaw.hint + str(flaw.accepted), flaw
    assert (flaw.line, flaw.column) == place, flaw


def test_what_nobody_declares_cannot_be_declared():
    with pytest.raises(SpecError):
        parse("environment: shop\nservices:\n  votes: {kind: etcd}\n", "everup.yaml", load_kinds())
