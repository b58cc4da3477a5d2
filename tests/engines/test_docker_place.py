"""Where Docker is looked for, and in which version it is spoken to; nothing is asked here."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from everup.engines.swarm.bridge import words
from everup.engines.swarm.complaints import Conflict, Missing, complaint
from everup.engines.swarm.containers import Frames
from everup.engines.swarm.place import SOCKET, Place, find, remembered
from everup.engines.swarm.wire import negotiate
from everup.model.errors import EngineError, Unavailable


def context(home: Path, name: str, address: str, *, tls: bool = False, **more: Any) -> None:
    """Write a context as Docker's client does."""
    number = hashlib.sha256(name.encode()).hexdigest()
    folder = home / ".docker" / "contexts" / "meta" / number
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(
        json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": address, **more}}})
    )
    if tls:
        (home / ".docker" / "contexts" / "tls" / number / "docker").mkdir(parents=True)


def test_the_usual_socket_is_the_last_resort(tmp_path):
    assert find({"HOME": str(tmp_path)}) == Place(SOCKET)
    assert find({"HOME": str(tmp_path)}).socket == "/var/run/docker.sock"


def test_the_variable_comes_before_every_context(tmp_path):
    context(tmp_path, "far", "ssh://ops@far")
    found = find({"HOME": str(tmp_path), "DOCKER_CONTEXT": "far", "DOCKER_HOST": "unix:///run/other.sock"})
    assert (found.address, found.found_in) == ("unix:///run/other.sock", "DOCKER_HOST")


def test_a_context_is_found_by_variable_and_by_configuration(tmp_path):
    context(tmp_path, "far", "ssh://ops@far:2222")
    context(tmp_path, "near", "tcp://10.0.0.4:2376", tls=True, SkipTLSVerify=True)
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "near"}')
    by_variable = find({"HOME": str(tmp_path), "DOCKER_CONTEXT": "far"})
    by_configuration = find({"HOME": str(tmp_path)})
    assert (by_variable.scheme, by_variable.certificates) == ("ssh", None)
    assert by_configuration.url == "https://10.0.0.4:2376"
    assert by_configuration.certificates is not None and not by_configuration.verify
    assert find({"HOME": str(tmp_path), "DOCKER_CONTEXT": "default"}) == Place(SOCKET)


def test_docker_config_moves_the_contexts(tmp_path):
    context(tmp_path, "far", "ssh://far")
    found = find({"HOME": "/nowhere", "DOCKER_CONFIG": str(tmp_path / ".docker"), "DOCKER_CONTEXT": "far"})
    assert found.address == "ssh://far"


def test_a_context_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(EngineError, match="no Docker context far"):
        find({"HOME": str(tmp_path), "DOCKER_CONTEXT": "far"})


@pytest.mark.parametrize(
    ("environ", "url", "verify"),
    [
        ({"DOCKER_HOST": "tcp://10.0.0.4"}, "http://10.0.0.4:2375", False),
        ({"DOCKER_HOST": "tcp://[fd00::4]:99"}, "http://[fd00::4]:99", False),
        ({"DOCKER_HOST": "http://10.0.0.4:99"}, "http://10.0.0.4:99", False),
        ({"DOCKER_HOST": "tcp://10.0.0.4", "DOCKER_TLS_VERIFY": "1"}, "https://10.0.0.4:2376", True),
        ({"DOCKER_HOST": "tcp://10.0.0.4:5", "DOCKER_TLS": "1"}, "https://10.0.0.4:5", False),
    ],
)
def test_tcp_has_the_ports_that_docker_has(environ, url, verify):
    found = find({"HOME": "/nowhere", **environ})
    assert (found.url, found.verify) == (url, verify)


def test_certificates_lie_where_docker_looks(tmp_path):
    environ = {"HOME": "/home/ops", "DOCKER_HOST": "tcp://10.0.0.4", "DOCKER_TLS_VERIFY": "1"}
    assert find(environ).certificates == Path("/home/ops/.docker")
    assert find({**environ, "DOCKER_CERT_PATH": str(tmp_path)}).certificates == tmp_path


def test_certificates_that_are_none_are_told(tmp_path):
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(EngineError, match=r"certificates in .* cannot be used"):
        Place("tcp://10.0.0.4", tmp_path).tls()


@pytest.mark.parametrize(
    "address", ["npipe:////./pipe/docker", "fd://", "tcp://", "unix://", "10.0.0.4", "tcp://h:port", "ssh:///x"]
)
def test_an_address_of_no_use_is_refused(address):
    with pytest.raises(EngineError, match="no address of Docker"):
        find({"HOME": "/nowhere", "DOCKER_HOST": address})


def test_ssh_is_asked_as_docker_asks_it():
    assert words("ssh://ops@far:2222")[-9:] == (
        *("-p", "2222", "-l", "ops", "--", "far"),
        *("docker", "system", "dial-stdio"),
    )


def test_a_host_name_cannot_be_an_option_of_ssh():
    command = words("ssh://-oProxyCommand=evil")
    assert command.index("--") < command.index("-oproxycommand=evil")


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [
        ("1.41", "1.12", (1, 41)),  # Debian 12
        ("1.44", "1.24", (1, 44)),
        ("1.52", "1.44", (1, 44)),  # Docker 29
        ("1.60", "1.50", (1, 50)),  # one that has left behind all that is known
        ("1.43", "", (1, 43)),
    ],
)
def test_the_newest_version_that_both_know_is_spoken(newest, oldest, spoken):
    assert negotiate(newest, oldest) == spoken


@pytest.mark.parametrize("newest", ["1.40", "1.9", "0.1"])
def test_a_docker_that_is_too_old_is_refused(newest):
    with pytest.raises(EngineError, match=r"needs 1\.41"):
        negotiate(newest, "1.0")


@pytest.mark.parametrize("newest", ["", "latest", "1", "1.44.2", "१.४४००००"])
def test_what_is_no_docker_is_refused(newest):
    with pytest.raises(EngineError, match="no Docker Engine"):
        negotiate(newest, "")


def said(status: int, message: str) -> EngineError:
    return complaint("unix:///d.sock", "POST /services/create", status, json.dumps({"message": message}).encode())


@pytest.mark.parametrize(
    ("status", "message", "kind", "code"),
    [
        (500, "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers "
              "are online.", Unavailable, "engine.unavailable"),
        (500, "rpc error: code = DeadlineExceeded desc = context deadline exceeded", Unavailable, "engine.unavailable"),
        (500, "rpc error: code = Unavailable desc = transport is closing", Unavailable, "engine.unavailable"),
        (500, "rpc error: code = Unknown desc = raft: failed to process the request: node lost leader status",
         Unavailable, "engine.unavailable"),
        (503, "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster.",
         Unavailable, "engine.unavailable"),
        (503, 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node '
              "to swarm and try again.", Unavailable, "engine.no_swarm"),
        (503, "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state.",
         Unavailable, "engine.not_a_manager"),
        (500, "rpc error: code = Unknown desc = update out of sequence", Conflict, "engine.stale"),
        (409, "rpc error: code = AlreadyExists desc = name conflicts with an existing object", Conflict,
         "engine.conflict"),
        (404, "service shop not found", Missing, "engine.no_such_object"),
        (400, "json: cannot unmarshal", EngineError, "engine.failed"),
    ],
)  # fmt: skip
def test_a_refusal_is_read_for_what_it_means(status, message, kind, code):
    error = said(status, message)
    assert (type(error), error.code) == (kind, code)
    assert "unix:///d.sock" in error.message


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[]", b'{"message": null}', b"<html>" + b"x" * 10_000])
def test_a_refusal_without_sense_is_still_an_error(body):
    error = complaint("unix:///d.sock", "GET /info", 500, body)
    assert type(error) is EngineError and len(error.message) < 700


def frame(stream: int, text: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


def pieces(raw: bytes, size: int) -> Iterator[bytes]:
    return (raw[at : at + size] for at in range(0, len(raw), size))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000])
def test_lines_are_put_together_from_frames_however_they_are_cut(size):
    raw = frame(1, b"one\ntw") + frame(2, b"trouble\r\nmo") + frame(1, b"o\n\nend") + frame(2, b"re \xff\n")
    frames = Frames()
    found = [line for piece in pieces(raw, size) for line in frames.feed(piece)]
    assert [*found, *frames.rest()] == ["one", "trouble", "two", "", "more \ufffd", "end"]


def test_a_line_without_end_does_not_grow_for_ever():
    frames = Frames()
    found = [line for _ in range(40) for line in frames.feed(frame(1, b"x" * 16_384))]
    assert max(map(len, found)) < 100_000 and sum(map(len, found)) > 500_000


def test_a_look_that_keeps_nothing_writes_nothing(tmp_path):
    folder = tmp_path / "swarm"
    assert remembered(folder, {"HOME": str(tmp_path)}, keep=False) == Place(SOCKET)
    assert not folder.exists()
    remembered(folder, {"HOME": str(tmp_path), "DOCKER_HOST": "unix:///run/other.sock"})
    assert remembered(folder, {"HOME": str(tmp_path)}, keep=False).address == "unix:///run/other.sock"
