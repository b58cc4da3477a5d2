"""Whose turn it is at looking after a Swarm: numbers grow, and whoever has a smaller one is refused."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.manifest import LABEL, Manifest, manifest_in, with_manifest
from everup.engines.swarm.newest import DEPOSED, Newest
from everup.engines.swarm.services import KEEPING, at_rest, claimed
from everup.engines.swarm.start import is_late
from everup.engines.swarm.volume import hear, heard
from everup.model.errors import EngineError, EverupError, Unavailable


class Label:
    """The label of a Swarm, changed as Docker would."""

    def __init__(self, spec: dict[str, Any] | None = None) -> None:
        self.spec = spec or {"Labels": {}}
        self.cluster = self

    async def change(self, edit: Any) -> dict[str, Any]:
        self.spec = edit(self.spec)
        return self.spec


def kept(number: int) -> dict[str, Any]:
    return with_manifest({}, Manifest(3, "former", "10.0.0.1", {"state": ("a",)}, number))


async def taken(label: Label, ends: list[EverupError] | None = None) -> Keeping:
    keeping = Keeping([].append if ends is None else ends.append)
    await keeping.take(label, "10.0.0.2")  # type: ignore[arg-type]
    return keeping


async def test_each_turn_has_a_larger_number_and_a_name_of_its_own() -> None:
    label = Label()
    first, second = await taken(label), await taken(label)
    assert 0 < first.number < second.number
    assert first.name != second.name
    assert manifest_in(label.spec).keeper == second.name


async def test_a_turn_leaves_what_is_kept_as_it_is() -> None:
    label = Label(kept(7))
    keeping = Keeping([].append)
    former, now = await keeping.take(label, "10.0.0.2")  # type: ignore[arg-type]
    assert (former.keeper, now.keeper, now.pieces) == ("former", keeping.name, {"state": ("a",)})
    assert now.number == former.number + 1


async def test_a_number_is_larger_than_any_of_an_earlier_swarm_and_of_a_clock_that_was_ahead() -> None:
    earlier = (await taken(Label())).number
    await asyncio.sleep(0.002)
    assert (await taken(Label())).number > earlier  # of another Swarm, on the same hosts
    ahead = time.time_ns() // 1_000_000 + 10**9
    assert (await taken(Label(kept(ahead)))).number == ahead + 1


async def test_a_manifest_of_an_earlier_everup_has_no_number() -> None:
    old = json.dumps({"number": 3, "keeper": "a", "address": "", "pieces": {}})
    assert manifest_in({"Labels": {LABEL: old}}).keeping == 0


async def test_a_later_turn_ends_this_one_once_and_for_all() -> None:
    label, ends = Label(), list[EverupError]()
    first = await taken(label, ends)
    first.check()
    first.see(manifest_in(label.spec))
    await taken(label)
    first.see(manifest_in(label.spec))
    first.see(manifest_in(label.spec))
    assert [(error.code, "10.0.0.2" in error.message) for error in ends] == [(DEPOSED, True)]
    for _ in range(2):
        with pytest.raises(Unavailable) as over:
            first.check()
        assert over.value.code == DEPOSED
        assert "restart this" in over.value.hint
    assert over.value.__traceback__
    assert over.value is not ends[0]


async def test_what_the_swarm_said_before_is_no_end() -> None:
    label, ends = Label(kept(7)), list[EverupError]()
    keeping = await taken(label, ends)
    keeping.see(manifest_in(kept(7)))  # a voter that lags behind
    keeping.see(Manifest())
    keeping.check()
    assert ends == []


async def test_before_its_turn_nothing_ends_it() -> None:
    ends = list[EverupError]()
    Keeping(ends.append).see(manifest_in(kept(7)))
    assert ends == []


@pytest.mark.parametrize("number", [0, 4])
async def test_an_agent_refuses_whoever_is_not_the_newest(tmp_path: Path, number: int) -> None:
    newest = Newest(tmp_path)
    for welcome in (3, 5, 5):
        await newest.admit(welcome)
    with pytest.raises(EngineError) as refusal:
        await newest.admit(number)
    assert refusal.value.code == DEPOSED


async def test_an_agent_that_is_started_again_still_refuses(tmp_path: Path) -> None:
    await Newest(tmp_path).admit(5)
    assert heard(tmp_path) == 5
    with pytest.raises(EngineError):
        await Newest(tmp_path).admit(4)


async def test_the_newest_is_admitted_while_the_disk_is_full_and_noted_once_there_is_room(tmp_path: Path) -> None:
    newest = Newest(tmp_path / "later")
    await newest.admit(5)
    with pytest.raises(EngineError):
        await newest.admit(4)
    assert heard(tmp_path / "later") == 0
    (tmp_path / "later").mkdir()
    await newest.admit(5)
    assert heard(tmp_path / "later") == 5


async def test_who_is_overtaken_while_it_is_noted_is_refused(tmp_path: Path) -> None:
    newest = Newest(tmp_path)
    outcomes = await asyncio.gather(*(newest.admit(number) for number in (5, 6)), return_exceptions=True)
    assert [isinstance(one, EngineError) for one in outcomes] == [True, False]
    assert heard(tmp_path) == 6


@given(numbers=st.lists(st.integers(0, 9), max_size=20))
def test_nobody_is_admitted_after_somebody_newer(numbers: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    newest, largest = Newest(tmp_path_factory.mktemp("agent")), 0

    async def admitted(number: int) -> bool:
        try:
            await newest.admit(number)
        except EngineError:
            return False
        return True

    for number in numbers:
        assert asyncio.run(admitted(number)) == (number >= largest)
        largest = max(largest, number)


@pytest.mark.parametrize("text", ["", "none", "\x00"])
def test_a_note_that_is_no_number_counts_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "keeping").write_text(text)
    assert heard(tmp_path) == 0


@pytest.mark.parametrize(
    ("order", "late"),
    [({"keeping": 4}, True), ({"keeping": 5}, False), ({"keeping": 6}, False), ({}, True), ({"copy": True}, False)],
)
def test_a_start_is_late_that_a_replaced_control_plane_ordered(
    tmp_path: Path, order: dict[str, Any], late: bool
) -> None:
    assert not is_late(order, tmp_path)
    hear(tmp_path, 5)
    assert is_late(order, tmp_path) == late


def test_a_service_that_a_newer_control_plane_has_changed_is_not_to_be_changed() -> None:
    mine = claimed({"Name": "shop_web-1", "Labels": {"a": "b"}}, 4)
    assert mine is not None
    assert mine["Labels"] == {"a": "b", KEEPING: "4"}
    assert claimed(mine, 4) == mine
    assert claimed(at_rest(mine), 5) == {**at_rest(mine), "Labels": {"a": "b", KEEPING: "5"}}
    assert claimed(mine, 3) is None
