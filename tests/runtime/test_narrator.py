"""What is said of hosts: once when one falls silent, once when it is heard again."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from everup.model.observed import EVERYWHERE, NodeState
from everup.runtime.journal import Journal
from everup.runtime.narrator import Narrator
from everup.runtime.store import Store


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Store(tmp_path / "store.db")) as store:
        yield Journal("shop", store)


def at(host: str, silent: str = "") -> NodeState:
    return NodeState(running=True, host=host, silent=silent)


def said(journal: Journal) -> list[tuple[str, object]]:
    return [(event.name, event.fields["host"]) for event in journal.recent()]


def test_a_silent_host_is_told_of_once_however_many_nodes_it_has(journal: Journal):
    narrator = Narrator(journal)
    narrator.hosts([at("node1"), at("node2"), at("node2")], 1.0)
    assert said(journal) == []
    for now_s in (2.0, 3.0):
        narrator.hosts([at("node1"), at("node2", "no answer"), at("node2", "no answer"), at(EVERYWHERE)], now_s)
    assert said(journal) == [("host.silent", "node2")]
    assert journal.recent()[0].fields["because"] == "no answer"


def test_a_host_that_answers_again_is_told_of_with_how_long_it_was_silent(journal: Journal):
    narrator = Narrator(journal)
    narrator.hosts([at("node1", "no answer"), at("node2", "no answer")], 2.0)
    narrator.hosts([at("node1"), at("node2", "still none")], 9.5)
    assert said(journal) == [("host.silent", "node1"), ("host.silent", "node2"), ("host.heard", "node1")]
    assert journal.recent()[-1].fields["after_s"] == 7.5


def test_an_engine_of_one_machine_has_no_hosts_to_tell_of(journal: Journal):
    Narrator(journal).hosts([NodeState(running=True), NodeState(running=False, silent="odd")], 1.0)
    assert said(journal) == []
