"""Who may apply what, judged by what is in force; and specs that come from other machines."""

import os
from pathlib import Path

import pytest

from everup.model.access import Caller, Level
from everup.model.errors import NotFound, NotPermitted
from everup.model.spec import Source
from tests.runtime.test_rollouts import Place, place, source  # noqa: F401 - the fixture

DEV = Caller("dev", Level.DEVELOPER, frozenset({"shop"}))
ELSEWHERE = Caller("op", Level.OPERATOR, frozenset({"other"}))


async def test_a_developer_is_measured_by_what_is_in_force_and_not_by_the_last_file(place: Place):  # noqa: F811
    desk = await place.desk()
    await desk.apply(source("send", ", limit: 4"), DEV)
    await desk.limit("shop", "mail", 8)
    await desk.apply(source("send", ", limit: 8"), DEV)  # an operator has allowed that
    for more in (", limit: 9", ", limit: 200"):
        with pytest.raises(NotPermitted, match="it raises the limit of mail from 8"):
            await desk.apply(source("send", more), DEV)
    service = desk.picture("shop").environment.services["mail"]
    assert service.limit == 8  # type: ignore[attr-defined]


async def test_redundancy_that_a_command_has_added_is_not_taken_away_by_an_older_file(place: Place):  # noqa: F811
    desk = await place.desk()
    await desk.apply(source("send"), DEV)
    await desk.ha("shop", "cache", True)
    with pytest.raises(NotPermitted, match="redundancy of cache"):
        await desk.apply(source("send"), DEV)
    with pytest.raises(NotPermitted, match="redundancy of cache"):
        await desk.plan(source("send"), DEV)
    assert await desk.plan(source("send"), Caller("op", Level.OPERATOR))


async def test_whoever_is_for_other_environments_neither_makes_nor_changes_this_one(place: Place):  # noqa: F811
    desk = await place.desk()
    told = []
    for _ in range(2):
        with pytest.raises(NotFound) as caught:
            await desk.apply(source("send"), ELSEWHERE)
        told.append((caught.value.message, caught.value.hint))
        await desk.apply(source("send"))
    assert told[0] == told[1] == ("there is no environment shop here", "Known: other.")


async def test_a_spec_from_another_machine_leaves_folders_as_they_are(place: Place):  # noqa: F811
    desk = await place.desk()
    remote = source("send").model_copy(update={"directory": "", "path": ""})
    await desk.apply(remote)
    first = desk.picture("shop").source
    assert (first.directory, first.path) == (str(Path.home()), os.environ["PATH"])
    await desk.apply(Source(file="everup.yaml", text=remote.text, directory="/srv/shop", path="/opt/bin"))
    await desk.apply(remote)
    then = desk.picture("shop").source
    assert (then.directory, then.path) == ("/srv/shop", "/opt/bin")


async def test_a_change_of_what_was_stopped_starts_nothing(place: Place):  # noqa: F811
    desk = await place.desk()
    await desk.apply(source("send", ", scale: 2, limit: 4"))
    await desk.stop("shop", destroy=False)
    await desk.scale("shop", "mail", 3)
    controller = place.environments.get("shop").controller if place.environments else None
    assert controller is not None
    assert controller.stopping
    assert desk.picture("shop").stopped
    await desk.apply(source("send", ", scale: 3, limit: 4"))
    assert not controller.stopping
