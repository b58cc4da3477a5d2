"""What an agent makes of containers and volumes that tell little; real ones are in tests/swarm."""

from pathlib import Path
from typing import Any

import pytest

from everup.engines.swarm.look import Container, Lookout, Trace
from everup.engines.swarm.services import DIGEST, SERVICE, STARTS, TICKET
from everup.engines.swarm.volume import FOLDER, Volume
from everup.model.errors import EngineError
from everup.model.resources import MEBIBYTE
from tests.engines.test_swarm_volume import record


def a_container(number: int, state: str, digest: str = "d1") -> Container:
    """The container of a node's `number`-th start."""
    labels = {STARTS: str(number), TICKET: str(100 + number), SERVICE: "web", DIGEST: digest}
    return Container(f"c{number}", state, float(number), labels)


class Engine:
    """A Docker whose containers have ended, 10 s ago, with these codes; each was limited to 64 MiB of memory."""

    def __init__(self, codes: dict[str, int], starved: bool) -> None:
        self.containers = self
        self._codes = codes
        self._starved = starved

    async def inspect(self, container_id: str) -> dict[str, Any]:
        ended = container_id in self._codes
        times = {"StartedAt": "2026-01-01T00:00:00Z", "FinishedAt": f"{'2026' if ended else '0001'}-01-01T00:00:50Z"}
        return {
            "State": {"Pid": 0 if ended else 7, "ExitCode": self._codes.get(container_id, 0), "Running": not ended}
            | times
            | {"OOMKilled": self._starved},
            "HostConfig": {"Memory": 64 * MEBIBYTE},
        }

    async def logs(self, container_id: str, *, lines: int, follow: bool) -> Any:
        yield "bye"


async def sight(*containers: Container, starved: bool = False, place: Path | None = None, **codes: int) -> Any:
    docker: Any = Engine(codes, starved)
    trace = Trace("web-1", tuple(reversed(containers)), place)
    return (await Lookout(docker).sights({"web-1": trace}, 1767225660.0))["web-1"]


async def test_a_running_container_tells_all_there_is_to_know() -> None:
    seen = await sight(a_container(1, "exited"), a_container(2, "running", "d2"), c1=0)
    assert (seen.running, seen.start, seen.restarts, seen.digest, seen.service) == (True, 102, 1, "d2", "web")
    assert (seen.pid, seen.failure) == (7, "")


async def test_an_end_is_told_with_its_last_words() -> None:
    seen = await sight(a_container(1, "exited"), c1=137)
    assert (seen.running, seen.exit_code, seen.ended_age_s, seen.last_line) == (False, -9, 10.0, "bye")


async def test_an_end_for_memory_is_told_with_the_limit() -> None:
    assert (await sight(a_container(1, "exited"), c1=137, starved=True)).killed_at_bytes == 64 * MEBIBYTE
    assert (await sight(a_container(1, "exited"), c1=137)).killed_at_bytes is None
    assert (await sight(a_container(1, "running"), starved=True)).killed_at_bytes is None


async def test_a_container_that_was_only_created_is_no_start_yet() -> None:
    seen = await sight(a_container(1, "exited"), a_container(2, "created", "d2"), c1=0)
    assert (seen.running, seen.start, seen.digest, seen.ticket) == (False, 101, "d1", 102)
    assert (await sight(a_container(1, "created"))).start == 0


async def test_a_volume_out_of_sight_is_not_an_empty_one(tmp_path: Path) -> None:
    elsewhere = tmp_path / "other-root" / "volumes" / "shop_web-1" / "_data"
    seen = await sight(place=elsewhere)
    assert (seen.running, seen.has_data) == (True, True)
    assert "does not see" in seen.failure
    assert "Docker Root Dir" in seen.hint
    engine: Any = Engine({}, False)
    with pytest.raises(EngineError, match="does not see"):  # Docker's word alone is no end
        await Lookout(engine).alive(Trace("web-1", (), elsewhere))


async def test_a_volume_that_was_deleted_is_gone(tmp_path: Path) -> None:
    (tmp_path / "volumes").mkdir()
    seen = await sight(place=tmp_path / "volumes" / "shop_web-1" / "_data")
    assert (seen.running, seen.has_data, seen.failure) == (False, False, "")


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"ticket": 7}'])
async def test_a_note_that_cannot_be_read_does_not_make_the_data_go(tmp_path: Path, text: str) -> None:
    place = tmp_path / "volumes" / "shop_web-1" / "_data"
    (place / FOLDER).mkdir(parents=True)
    (place / FOLDER / "record.json").write_text(text)
    seen = await sight(place=place)
    assert (seen.running, seen.has_data, seen.generation) == (False, True, None)
    assert "cannot be read" in seen.failure
    Volume(place).save(record(keeps=("dump*",)))
    seen = await sight(place=place)
    assert (seen.has_data, seen.failure) == (False, "")


async def test_a_note_of_a_later_everup_is_read_as_far_as_it_is_understood(tmp_path: Path) -> None:
    place = tmp_path / "volumes" / "shop_web-1" / "_data"
    place.mkdir(parents=True)
    Volume(place).save(record(keeps=()))
    note = place / FOLDER / "record.json"
    note.write_text(note.read_text().replace("{", '{"later": 1, ', 1))
    assert (await sight(place=place)).has_data
