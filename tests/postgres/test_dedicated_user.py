"""PostgreSQL run by root where namespaces are forbidden: as a user of its own, fenced and adopted like any other."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from everup.engines.local import kernel, privilege
from everup.engines.local.engine import LocalEngine
from everup.engines.local.programs import Programs
from everup.model.contracts import Grant
from everup.model.desired import Ask, Node, Protocol, Tcp
from everup.runtime.talk import ask, consoles_in
from tests.kinds.real import fresh_address
from tests.kinds.shapes import KINDS, service

SYSTEM = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
PYTHON = Path("/usr/bin/python3")

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else"),
    pytest.mark.skipif(
        not SYSTEM or not PYTHON.exists(),
        reason="Debian: apt-get install postgresql python3",
    ),
]


@pytest.fixture
def dedicated(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    nobody = privilege._known(("nobody",))
    assert nobody
    monkeypatch.setattr(privilege, "DEDICATED", ("nobody",))
    monkeypatch.setattr(privilege, "_namespace", lambda who: None)
    monkeypatch.setattr(privilege, "OWN_FOLDERS", 8)  # pytest's own folders let nobody through either
    privilege.footing.cache_clear()
    yield nobody.pw_uid
    privilege.footing.cache_clear()


def data_node() -> Node:
    declared = service("postgres")
    listeners = {
        claim.key: {name: fresh_address(port) for name, port in claim.ports.items()}
        for claim in KINDS["postgres"].claims("db01", declared)
        if claim.ports
    }
    secrets = dict.fromkeys(("password", "superuser", "replication", "rewind"), "secret")
    node: Node = KINDS["postgres"].blueprint(declared, Grant("db01", listeners, secrets)).nodes[0]
    return node


async def select(address: Tcp) -> list[list[str]]:
    question = Ask(address, (("SELECT pg_backend_pid()",),), Protocol.SQL, 1.0, "secret", "postgres")
    end_s = time.monotonic() + 120
    while True:
        answer = await ask(question, consoles_in(lambda _: None))
        if isinstance(answer, tuple) and isinstance(answer[0], list):
            return answer[0]
        assert time.monotonic() < end_s, answer


def engine(home: Path) -> LocalEngine:
    return LocalEngine(home, Programs({"postgres": str(SYSTEM[0]), "python": str(PYTHON)}, os.environ))


async def test_a_server_of_a_dedicated_user_is_founded_adopted_fenced_and_started_again(
    tmp_path: Path, dedicated: int
) -> None:
    local, node = engine(tmp_path / "shop"), data_node()
    address = node.ports["postgres"]
    try:
        await local.ensure(node, ("--found",))
        await select(address)
        home = tmp_path / "shop" / "nodes" / node.id
        assert (home / "data").stat().st_uid == dedicated
        await local.mark(node.id, 1)
        assert (home / "data" / "generation").stat().st_uid == dedicated
        await local.close()
        local = engine(tmp_path / "shop")
        assert (await local.observe())[node.id].running
        trail = kernel.Trail("another", str(home))
        before = {seen.pid for seen in kernel.relatives(trail)}
        assert len(before) > 3  # the backends, which nothing but their directory gives away
        await local.fence(node.id)
        assert kernel.relatives(trail) == []
        assert all(kernel.look(pid) is None for pid in before)
        await local.ensure(node)
        await select(address)
    finally:
        await local.remove(node.id, keep_data=False)
        await local.close()
