"""What an agent makes of containers that no program of Everup's has started; real ones are in tests/swarm."""

from typing import Any

from everup.engines.swarm.look import Container, Lookout, Trace
from everup.engines.swarm.services import DIGEST, SERVICE, STARTS, TICKET
from everup.model.resources import MEBIBYTE


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


async def sight(*containers: Container, starved: bool = False, **codes: int) -> Any:
    docker: Any = Engine(codes, starved)
    trace = Trace("web-1", tuple(reversed(containers)))
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
