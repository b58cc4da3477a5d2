"""HA switched on and off, and a group scaled, by command and under a writer: nothing lost, the file left alone."""

import time

import pytest

from tests.everup_cli import Everup
from tests.faults.steady import Steady
from tests.faults.truth import Truth

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SINGLE = "environment: shop\nservices:\n  redis01: {kind: redis}\n"


def test_a_server_becomes_a_group_grows_shrinks_and_is_one_server_again():
    with Everup(SINGLE) as everup:
        everup("up")
        pid = everup.nodes("redis01")["redis01-1"]["pid"]
        planned = planned_pauses(everup)
        with Steady.by_url(Truth(everup, "redis01"), "resized") as writer:
            writer.wait(50)
            enabled = everup.json("ha", "enable", "redis01")
            assert planned == [(enabled["predicted_pause_s"], enabled["pause_because"])]
            assert enabled["pause_s"] is not None and enabled["file_says"] is False
            for count in ("5", "3"):
                assert everup.json("scale", "redis01", count)["scale"] == int(count)
                Truth(everup, "redis01").whole(90)
            everup.json("ha", "disable", "redis01")
            writer.wait(50, after_s=time.monotonic())
        assert writer.errors() == []
        assert writer.lost(Truth(everup, "redis01")) == []
        assert set(everup.nodes("redis01")) == {"redis01-1", "redis01-endpoint"}
        assert everup.nodes("redis01")["redis01-1"]["pid"] == pid
        assert (everup.folder / "everup.yaml").read_text() == SINGLE
        assert "everup ha enable redis01" in everup("scale", "redis01", "3", codes=(1,)).stderr


def planned_pauses(everup: Everup) -> list[tuple[float, str]]:
    """What `plan` foresees of the same change, made in the file; the file is as before afterwards."""
    everup.write_spec(SINGLE.replace("redis}", "redis, ha: true}"))
    pauses = everup.json("plan")["pauses"]
    everup.write_spec(SINGLE)
    return [(one["pause_s"], one["because"]) for one in pauses]
