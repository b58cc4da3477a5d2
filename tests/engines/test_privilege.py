"""Programs that refuse to run as root, run by an Everup that is root; and what such programs do to hide."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everup.engines.local import kernel, privilege
from everup.engines.local.engine import LocalEngine
from everup.engines.local.privilege import Footing, footing
from everup.engines.local.programs import Programs
from everup.model.errors import NodeFailed
from tests.engines.worlds import LocalWorld, a_node, eventually

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")

WHO = "touch made; id -u > who; exec sleep 600"

# Starts a child in a session of its own, whose environment is wiped, as PostgreSQL's backends do.
HIDER = """
import ctypes, os, sys, time
if os.fork() == 0:
    os.setsid()
    with open("/proc/self/stat") as stat:
        start, end = map(int, stat.read().rpartition(")")[2].split()[47:49])
    ctypes.memset(start, 0, end - start)
    with open("hidden", "w") as file:
        file.write(str(os.getpid()))
time.sleep(600)  # until it is ended
"""


@pytest.fixture
def dedicated(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A machine where namespaces are forbidden; the id of the user that servers then run as."""
    nobody = privilege._known(("nobody",))
    assert nobody
    monkeypatch.setattr(privilege, "DEDICATED", ("nobody",))
    monkeypatch.setattr(privilege, "_namespace", lambda who: None)
    footing.cache_clear()
    monkeypatch.setattr(privilege, "OWN_FOLDERS", 8)  # pytest's own folders let nobody through either
    yield nobody.pw_uid
    footing.cache_clear()


async def seen(local: LocalWorld, node_id: str, name: str) -> str:
    place = local.home / "nodes" / node_id / name

    async def there() -> bool:
        return place.exists() and place.read_text() != ""

    await eventually(there)
    return place.read_text().strip()


@as_root
async def test_an_unprivileged_node_is_not_root_and_its_files_need_no_new_owner(local: LocalWorld) -> None:
    if footing().owner is not None:
        pytest.skip("user namespaces are forbidden here")
    await local.engine.ensure(a_node(script=WHO, unprivileged=True, files={"sub/a.conf": "a"}))
    assert await seen(local, "web-1", "who") != "0"
    assert (local.home / "nodes" / "web-1" / "made").stat().st_uid == 0


@as_root
async def test_without_namespaces_a_dedicated_user_runs_it_and_owns_its_home(local: LocalWorld, dedicated: int) -> None:
    await local.engine.ensure(a_node(script="true", files={"sub/a.conf": "a"}))
    await local.engine.remove("web-1", keep_data=True)
    await local.engine.ensure(a_node(script=WHO, unprivileged=True, files={"sub/a.conf": "b"}))
    assert await seen(local, "web-1", "who") == str(dedicated)
    home = local.home / "nodes" / "web-1"
    assert {place.stat().st_uid for place in (home, *home.rglob("*")) if place.name != "state.json"} == {dedicated}
    assert home.stat().st_mode & 0o777 == 0o700


@as_root
async def test_a_dedicated_users_node_is_fenced_and_adopted_like_any_other(local: LocalWorld, dedicated: int) -> None:
    await local.engine.ensure(a_node(script=WHO, unprivileged=True))
    pid = (await local.state("web-1")).pid
    await local.engine.close()
    local.engine = LocalEngine(local.home, Programs({}, os.environ))
    assert (await local.state("web-1")).pid == pid
    dead = await local.engine.fence("web-1")
    assert dead.node_id == "web-1"
    assert kernel.look(pid or 0) is None


@as_root
async def test_where_nobody_else_can_be_found_it_says_what_to_do(
    local: LocalWorld, dedicated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privilege, "DEDICATED", ("no-such-user",))
    footing.cache_clear()
    with pytest.raises(NodeFailed) as error:
        await local.engine.ensure(a_node(unprivileged=True))
    assert "useradd" in error.value.hint


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Footing]]:
    """Asks for the footing of another user."""

    def standing(user_id: int) -> Footing:
        footing.cache_clear()
        monkeypatch.setattr(os, "geteuid", lambda: user_id)
        return footing()

    yield standing
    footing.cache_clear()


def test_an_ordinary_user_changes_nothing(somebody: Callable[[int], Footing]) -> None:
    nobody = privilege._known(("nobody",))
    assert nobody
    assert somebody(nobody.pw_uid) == Footing((), None, "servers run as the user who started Everup")


def test_a_user_without_a_name_is_given_one_in_a_namespace_where_there_are_namespaces(
    somebody: Callable[[int], Footing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privilege, "_namespace", lambda who: Footing(("unshare",), None, who))
    assert somebody(1_987_654_321).words == ("unshare",)
    monkeypatch.setattr(privilege, "_namespace", lambda who: None)
    assert somebody(1_987_654_321).words == ()


@pytest.mark.parametrize("unprivileged", [False, True])
async def test_a_child_with_a_wiped_environment_in_another_session_dies_with_its_node(
    local: LocalWorld, unprivileged: bool
) -> None:
    script = f'exec {sys.executable} -c "$HIDER"'
    await local.engine.ensure(a_node(script=script, env={"HIDER": HIDER}, unprivileged=unprivileged))
    child = int(await seen(local, "web-1", "hidden"))
    assert Path(f"/proc/{child}/environ").read_bytes().strip(b"\0") == b""
    pid = (await local.state("web-1")).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    async def over() -> bool:
        return not (await local.state("web-1")).running

    await eventually(over)
    assert kernel.look(child) is None


async def test_a_persons_shell_in_a_nodes_home_is_left_alone(local: LocalWorld) -> None:
    await local.engine.ensure(a_node())
    visitor = await asyncio.create_subprocess_exec("sleep", "60", cwd=local.home / "nodes" / "web-1")
    try:
        await local.engine.fence("web-1")
        assert visitor.returncode is None
    finally:
        visitor.kill()
        await visitor.wait()
