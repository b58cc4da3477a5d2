"""What an agent says of a host's nodes and does to them, on a real Docker; the start program in real containers."""

import asyncio
import random
import socket
import ssl
import time

import pytest

from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.pair import pair_in
from everup.engines.swarm.services import name_of
from everup.engines.swarm.sight import Ended, Renewal, Stopping
from everup.engines.swarm.volume import FOLDER
from everup.model.desired import Stop, Tcp
from everup.model.errors import EngineError, Unavailable
from tests.swarm.bench import PORT, program, until
from tests.swarm.host import PATIENCE_S, Host


async def test_a_node_is_furnished_runs_and_is_told_of(bench):
    node = program(
        "db-1",
        "print('{home}', open('conf/a').read(), open('seed').read(), os.getuid() > 0, os.environ['WORD'])\n"
        "print('EVERUP_TASK' in os.environ, file=sys.stderr)\n"
        "stay()",
        files={"conf/a": "{home}/x"},
        seeds={"seed": "first"},
        env={"WORD": "ü = 1"},
        unprivileged=True,
    )
    sight = await bench.start(node, 7)
    assert sight and sight.running and sight.pid and (sight.ticket, sight.start, sight.restarts) == (7, 7, 0)
    await bench.beating("db-1", 7)
    home = "/var/lib/everup/nodes/db-1"

    async def output():
        said = [line async for line in bench.agent.logs(bench.environment, "db-1", lines=10, follow=False)]
        return said if len(said) == 2 else None

    assert set(await until(output, "both lines")) == {"False", f"{home} {home}/x first True ü = 1"}
    await bench.agent.mark(bench.environment, "db-1", 3)
    sight = await bench.sight("db-1")
    assert (sight.has_data, sight.generation, sight.service) == (True, 3, "svc")
    assert sight.free_bytes and sight.disk_bytes and sight.free_bytes < sight.disk_bytes

    (bench.home("db-1") / "seed").write_text("second")
    assert await bench.agent.stop(bench.environment, "db-1") == -15
    sight = await bench.start(node, 8)
    assert sight and (sight.start, sight.restarts, sight.generation) == (8, 1, 3)
    said = [line async for line in bench.agent.logs(bench.environment, "db-1", lines=10, follow=False)]
    assert any("first" in line for line in said)  # what the container before has said is not lost
    assert bench.home("db-1").stat().st_uid > 0
    await bench.agent.fence(bench.environment, "db-1", 8)
    (bench.home("db-1") / "beats").unlink()
    sight = await bench.sight("db-1")
    assert (sight.has_data, sight.generation) == (False, None)


async def test_ends_are_told_once_with_their_code_and_refused_starts_are_not(bench):
    ends: list[Ended] = []
    ready = asyncio.Event()
    listening = asyncio.create_task(bench.listen(ends, ready))
    await asyncio.wait_for(ready.wait(), PATIENCE_S)
    node = program("db-1", "beat(); print('so be it'); sys.exit(3)")
    await bench.start(node, 5)

    async def told(count):
        return len(ends) >= count

    await until(lambda: told(1), "the end is told")
    await bench.again("db-1")  # the same ticket: Swarm is not the one who decides
    await bench.ended("db-1", 2)
    await bench.start(program("db-1", "beat(); os.kill(os.getpid(), 9)"), 6)
    await until(lambda: told(2), "the second end is told")
    assert [(one.node, one.start, one.exit_code) for one in ends] == [("db-1", 5, 3), ("db-1", 6, -9)]
    assert ends[0].last_line == "so be it" and ends[0].age_s is not None
    assert len(bench.beats("db-1", 5)) == 1
    sight = await bench.sight("db-1")
    assert (sight.running, sight.exit_code, sight.restarts) == (False, -9, 1)
    listening.cancel()


async def test_a_start_that_fails_says_why_and_is_no_end(bench):
    ends: list[Ended] = []
    ready = asyncio.Event()
    listening = asyncio.create_task(bench.listen(ends, ready))
    await asyncio.wait_for(ready.wait(), PATIENCE_S)
    sight = await bench.start(program("db-1", "", cwd="/no/such/place"), 5)
    assert sight and "/no/such/place does not exist" in sight.failure and sight.hint
    await bench.ended("db-1", 1)
    assert not (await bench.sight("db-1")).running and ends == []
    listener = f"import socket\nserver = socket.create_server(('{bench.host.address}', 9700))\nstay()"
    sight = await bench.start(program("db-1", listener), 6)
    assert sight and sight.running and not sight.failure
    await bench.beating("db-1", 6)
    sight = await bench.start(program("db-2", "stay()", ports={"sql": Tcp(bench.host.address, 9700)}), 5)
    assert sight and f"{bench.host.address}:9700 (sql) is in use" in sight.failure
    assert sight.code == "engine.address_in_use" and bench.beats("db-2", 5) == []
    listening.cancel()


async def test_a_fence_wins_against_a_container_that_swarm_is_about_to_start(bench):
    ran = 0
    for ticket in range(100, 108):
        await bench.start(program("db-1", "stay()"), ticket, wait=False)
        await asyncio.sleep(random.uniform(0, 1.0))  # before, while and after the container starts
        await bench.agent.fence(bench.environment, "db-1", ticket)
        fenced_s = time.time()
        await bench.ended("db-1", 1)
        await asyncio.sleep(0.5)  # long enough for a beat of what should have ended
        beats = bench.beats("db-1", ticket)
        ran += bool(beats)
        assert all(at_s <= fenced_s for at_s in beats)
        assert bench.volume("db-1").barred() == ticket
    assert not bench.volume("db-1").alive()


async def test_a_node_fenced_before_its_first_start_does_not_start(bench):
    assert await bench.agent.fence(bench.environment, "db-1", 9) is None
    await bench.start(program("db-1", "stay()"), 9, wait=False)
    states = await bench.ended("db-1", 1)
    assert states[0].startswith("Exited (86)") and bench.beats("db-1", 9) == []
    sight = await bench.start(program("db-1", "stay()"), 10)
    assert sight and sight.running


async def test_a_spoilt_volume_is_told_of_and_hides_nothing_else(bench):
    await bench.start(program("db-1", "stay()"), 5)
    await bench.start(program("db-2", "stay()"), 5)
    await bench.agent.fence(bench.environment, "db-1", 5)
    (bench.home("db-1") / FOLDER / "ticket").write_text("")
    await bench.start(program("db-1", "stay()"), 6, wait=False)
    await bench.ended("db-1", 2)
    seen = await bench.agent.nodes(bench.environment)
    assert "holds no number" in seen["db-1"].failure and seen["db-1"].running  # for all that can be known
    assert seen["db-2"].running and not seen["db-2"].failure
    await bench.agent.fence(bench.environment, "db-1", 6)
    sight = await bench.start(program("db-1", "stay()"), 7)
    assert sight and sight.running and not sight.failure


async def test_a_frozen_node_is_fenced_too(bench):
    await bench.start(program("db-1", "stay()"), 5)
    await bench.agent.harm(bench.environment, "db-1", "hang")
    assert (await bench.sight("db-1")).running
    assert await bench.agent.fence(bench.environment, "db-1", 5) == -9
    assert not (await bench.sight("db-1")).running


async def test_a_node_is_asked_as_often_as_it_wants_and_killed_after_its_grace(bench):
    script = "asked = []\ndef ask(*_):\n    asked.append(1); print('asked'); len(asked) > 2 and sys.exit(0)\n"
    await bench.start(program("db-1", script + "signal.signal(signal.SIGUSR1, ask); stay()"), 5)
    await bench.beating("db-1", 5)
    wish = Stopping(signal="SIGUSR1", grace_s=PATIENCE_S, repeat_s=0.3)
    assert await bench.agent.stop(bench.environment, "db-1", wish) == 0
    stubborn = program("db-1", "signal.signal(signal.SIGTERM, signal.SIG_IGN); stay()", stop=Stop("SIGTERM", 1.0))
    await bench.start(stubborn, 6)
    await bench.beating("db-1", 6)
    assert await bench.agent.stop(bench.environment, "db-1") == -9
    assert await bench.agent.stop(bench.environment, "db-1") == -9  # it is gone: nothing to do


async def test_files_are_renewed_when_the_program_listens_for_it(bench):
    script = "time.sleep(1)\ndef read(*_):\n    print(open('conf').read())\nsignal.signal(signal.SIGUSR2, read); stay()"
    node = program("db-1", script, files={"conf": "old"}, reload_signal="SIGUSR2")
    await bench.start(node, 5)
    wish = Renewal(files={"conf": "new {home}"}, files_digest="abc123", reload_signal="SIGUSR2")
    await bench.agent.renew(bench.environment, "db-1", wish)  # at once: before it has a handler

    async def said():
        return [line async for line in bench.agent.logs(bench.environment, "db-1", lines=10, follow=False)]

    assert await until(said, "it has read its file") == ["new /var/lib/everup/nodes/db-1"]
    sight = await bench.sight("db-1")
    assert (sight.files_digest, sight.running) == ("abc123", True)
    with pytest.raises(EngineError, match="leads out of its home"):
        await bench.agent.renew(bench.environment, "db-1", wish.model_copy(update={"files": {"../x": ""}}))


async def test_commands_reach_the_socket_in_a_nodes_home(bench):
    script = (
        "import socket\nserver = socket.socket(socket.AF_UNIX); server.bind('admin.sock'); server.listen()\nbeat()\n"
        "while True:\n    one, _ = server.accept()\n    one.sendall(one.recv(99).upper()); one.close()\n"
    )
    await bench.start(program("db-1", script), 5)

    async def listening():
        return bench.beats("db-1", 5)

    await until(listening, "the socket is there")
    answers = await bench.agent.console(bench.environment, "db-1", "admin.sock", ("show info", "show stat"))
    assert answers == ("SHOW INFO\n", "SHOW STAT\n")
    for name in ("none.sock", "..", "a/b"):
        with pytest.raises(EngineError):
            await bench.agent.console(bench.environment, "db-1", name, ("x",))
    (bench.home("db-1") / "link.sock").symlink_to("/run/docker.sock")
    with pytest.raises(EngineError, match="is a link"):
        await bench.agent.console(bench.environment, "db-1", "link.sock", ("x",))


async def test_data_are_deleted_when_nothing_runs_any_more(bench):
    await bench.start(program("db-1", "stay()"), 5)
    with pytest.raises(EngineError, match="not deleted"):
        await bench.agent.discard(bench.environment, "db-1")
    await bench.agent.fence(bench.environment, "db-1", 5)
    await bench.docker.services.remove(name_of(bench.environment, "db-1"))
    await bench.agent.discard(bench.environment, "db-1")
    await bench.agent.discard(bench.environment, "db-1")
    assert not bench.home("db-1").exists() and await bench.agent.nodes(bench.environment) == {}


async def test_what_is_not_there_is_said_to_be(bench):
    for ask in (
        bench.agent.mark(bench.environment, "db-9", 1),
        bench.agent.harm(bench.environment, "db-9", "hang"),
        bench.agent.harm(bench.environment, "db-9", "crash"),
    ):
        with pytest.raises(EngineError, match="db-9") as caught:
            await ask
        assert not isinstance(caught.value, Unavailable)
    assert await bench.agent.stop(bench.environment, "db-9") is None
    with pytest.raises(EngineError, match="422"):
        await bench.agent.mark("no name", "db-9", 1)


async def test_a_copy_comes_back_by_itself_until_it_is_fenced(bench):
    copy = program("web-endpoint", "stay()", ports={"http": Tcp("127.77.0.1", 8088)})
    await bench.start(copy, 5)
    await bench.beating("web-endpoint", 5)
    await bench.agent.harm(bench.environment, "web-endpoint", "crash")
    await bench.beating("web-endpoint", 5)  # Swarm has started it again, with the same ticket
    await bench.agent.fence(bench.environment, "web-endpoint", 5)
    fenced_s = time.time()
    states = await bench.ended("web-endpoint", 3)
    assert states[0].startswith("Exited (86)")
    assert max(bench.beats("web-endpoint", 5)) <= fenced_s


async def test_strangers_are_not_let_in_and_keep_nobody_out(bench, tmp_path):
    to = (bench.host.address, PORT)
    stranger = bench.heard_as(Keeping(lambda error: None), pair_in(tmp_path))
    with pytest.raises(Unavailable, match="does not answer"):
        await stranger.nodes(bench.environment)
    assert await asyncio.to_thread(_cut_off, bench.host, to)
    silent = [socket.create_connection(to, PATIENCE_S) for _ in range(300)]
    try:
        silent[0].sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert await bench.answers()
        silent[1].settimeout(PATIENCE_S)
        assert await asyncio.to_thread(_ends, silent[1])  # who does not say who it is, is cut off
    finally:
        for one in silent:
            one.close()
    assert await bench.answers()


def _cut_off(host: Host, to: tuple[str, int]) -> bool:
    """Who shows no certificate gets no answer."""
    unnamed = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unnamed.check_hostname, unnamed.verify_mode = False, ssl.CERT_NONE
    with host.entered(), socket.create_connection(to, PATIENCE_S) as plain:
        try:
            with unnamed.wrap_socket(plain) as connection:
                connection.sendall(b"GET /v1/nodes?environment=x HTTP/1.1\r\nHost: x\r\n\r\n")
                return connection.recv(100) == b""
        except OSError:  # what ssl says of a refusal is one too
            return True


def _ends(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
