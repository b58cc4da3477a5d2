"""The TCP port itself: TLS, connections that pile up or say nothing, and a certificate that cannot be used."""

import asyncio
import contextlib
import gc
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import trustme

from everup.api import tcp
from everup.api.app import create_app
from everup.api.certificate import Certificate
from everup.api.server import serve_api
from everup.api.tcp import open_tcp
from everup.core.listening import Listening, listening
from everup.core.tally import Certified
from everup.model.access import Level
from everup.model.errors import EverupError
from everup.runtime.home import Home
from everup.runtime.store import Store
from everup.serve import open_port, serve

PATIENCE_S = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def pems(authority, tmp_path):
    """A certificate for 127.0.0.1 and its key."""
    issued = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    return str(cert), str(key)


@contextlib.asynccontextmanager
async def served(desk, folder, to: Listening) -> AsyncIterator[str]:
    """A control plane's API at `to`, while the block lasts; the secret of an operator's token."""
    store = Store(folder / "everup.sqlite")
    tokens = store.tokens()
    _, secret = await tokens.create("op", Level.OPERATOR, None, None)
    stop, up = asyncio.Event(), asyncio.Event()
    app = create_app(desk, tokens)
    served.opened = opened = open_tcp(to)
    serving = asyncio.create_task(serve_api(app, folder / "sock", stop, ready=up.set, opened=opened))
    try:
        await asyncio.wait_for(up.wait(), PATIENCE_S)
        yield secret
    finally:
        stop.set()
        await asyncio.wait_for(serving, PATIENCE_S)
        store.close()


async def test_with_a_certificate_it_speaks_tls_and_only_that(desk, authority, pems, tmp_path):
    to = listening(f"127.0.0.1:{free_port()}", *pems)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with served(desk, tmp_path, to) as secret:
        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(verify=trusting, headers=headers, timeout=PATIENCE_S) as http:
            answer = await http.get(f"{to.url}/v1/caller")
            assert (answer.json()["name"], "server" in answer.headers) == ("op", False)
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
                await http.get(f"{to.url}/v1/caller")
            with pytest.raises(httpx.TransportError):
                await http.get(f"{to.url.replace('https', 'http')}/v1/caller")


def replace_with(pems, issued) -> None:
    for file, pem in zip(pems, (issued.cert_chain_pems[0], issued.private_key_pem), strict=True):
        pem.write_to_path(file)


async def serial_of(to: Listening, trusting: ssl.SSLContext) -> str:
    """The number of the certificate that a new connection is shown; it is verified."""
    _, writer = await asyncio.open_connection(to.host, to.port, ssl=trusting)
    found = writer.get_extra_info("peercert")
    writer.close()
    return str(found["serialNumber"])


async def test_a_renewed_certificate_is_shown_to_whoever_connects_next(desk, authority, pems, tmp_path):
    to = listening(f"127.0.0.1:{free_port()}", *pems)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=900)
    async with served(desk, tmp_path, to) as secret, httpx.AsyncClient(verify=trusting, timeout=PATIENCE_S) as http:
        certificate = served.opened.certificate
        headers = {"Authorization": f"Bearer {secret}"}
        assert (await http.get(f"{to.url}/v1/caller", headers=headers)).status_code == 200
        first = await serial_of(to, trusting)
        await certificate.look()
        assert await serial_of(to, trusting) == first
        replace_with(pems, authority.issue_cert("127.0.0.1", not_after=later))
        await certificate.look()
        assert await serial_of(to, trusting) != first
        assert certificate.now == Certified(later.timestamp())
        assert (await http.get(f"{to.url}/v1/caller", headers=headers)).status_code == 200  # as before


async def test_a_control_plane_looks_after_its_certificate_by_itself(authority, pems, tmp_path, monkeypatch):
    monkeypatch.setattr("everup.api.certificate.LOOK_EVERY_S", 0.02)
    home = Home(tmp_path / "home")
    home.prepare()
    serving = asyncio.create_task(serve(home, open_tcp(listening(f"127.0.0.1:{free_port()}", *pems))))
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=900)

    async def told(expires_s: float | None, refused: int) -> None:
        """Wait until the metrics say so; None: when it expires, whatever that is."""
        async with (
            asyncio.timeout(PATIENCE_S),
            httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(home.socket)), timeout=PATIENCE_S) as owner,
        ):
            while True:
                page = (await owner.get("http://everup/metrics")).text if home.socket.exists() else ""
                found = dict(re.findall(r"^everup_certificate_(\w+) (\S+)$", page, re.MULTILINE))
                expiry_s = float(found.get("expiry_timestamp_seconds", 0))
                if expiry_s in (expires_s or expiry_s,) and found.get("refused") == f"{refused:.1f}":
                    return
                await asyncio.sleep(0.02)

    try:
        await told(None, 0)
        replace_with(pems, authority.issue_cert("127.0.0.1", not_after=later))
        await told(later.timestamp(), 0)
        Path(pems[1]).write_text("no key")
        await told(later.timestamp(), 1)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        gc.unfreeze()


async def test_a_broken_pair_leaves_the_old_one_in_use_and_says_so(desk, authority, pems, tmp_path):
    to = listening(f"127.0.0.1:{free_port()}", *pems)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    past = datetime.now(UTC) - timedelta(days=1)
    async with served(desk, tmp_path, to):
        certificate = served.opened.certificate
        first, began = await serial_of(to, trusting), certificate.now
        broken = {
            "key values mismatch": lambda: authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(pems[1]),
            "no pem file of its sort": lambda: Path(pems[0]).write_text("no certificate"),
            "it expired at": lambda: replace_with(
                pems, authority.issue_cert("127.0.0.1", not_before=past - timedelta(days=1), not_after=past)
            ),
            "No such file": lambda: Path(pems[0]).unlink(),
        }
        for because, spoil in broken.items():
            spoil()
            await certificate.look()
            assert certificate.now.expires_s == began.expires_s  # once: somebody may just be writing them
            await certificate.look()
            assert because in certificate.now.refused
            assert await serial_of(to, trusting) == first
        replace_with(pems, authority.issue_cert("127.0.0.1"))
        await certificate.look()
        assert await serial_of(to, trusting) != first
        assert certificate.now.refused == ""


async def test_a_certificate_that_expired_is_better_than_no_port_at_all(authority, pems):
    past = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    replace_with(pems, authority.issue_cert("127.0.0.1", not_before=past - timedelta(days=1), not_after=past))
    assert Certificate(*pems).now == Certified(past.timestamp())


async def test_the_same_application_trusts_the_socket_and_asks_the_port(desk, tmp_path):
    to = listening(f"127.0.0.1:{free_port()}")
    async with served(desk, tmp_path, to):
        transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "sock"))
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE_S) as owner:
            assert (await owner.get("http://everup/v1/caller")).json()["name"] == "owner"
        async with httpx.AsyncClient(timeout=PATIENCE_S) as stranger:
            assert (await stranger.get(f"{to.url}/v1/caller")).status_code == 401


async def test_connections_do_not_pile_up(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(tcp, "CONNECTIONS", 20)
    to = listening(f"127.0.0.1:{free_port()}")
    async with served(desk, tmp_path, to):
        pairs = [await asyncio.open_connection(to.host, to.port) for _ in range(60)]
        ends = [asyncio.create_task(_end(reader)) for reader, _ in pairs]
        for number, end in enumerate(asyncio.as_completed(ends, timeout=PATIENCE_S), 1):
            await end
            if number == 40:
                break
        for _, writer in pairs:
            writer.close()
        await asyncio.wait(ends, timeout=PATIENCE_S)


async def test_who_says_nothing_is_cut(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(tcp, "HEAD_S", 0.2)
    to = listening(f"127.0.0.1:{free_port()}")
    async with served(desk, tmp_path, to) as secret:
        silent, _ = await asyncio.open_connection(to.host, to.port)
        slow, writer = await asyncio.open_connection(to.host, to.port)
        writer.write(b"GET /v1/caller HTTP/1.1\r\nHost: x\r\n")
        for reader in (silent, slow):
            await asyncio.wait_for(_end(reader), PATIENCE_S)
        monkeypatch.setattr(tcp, "HEAD_S", PATIENCE_S)
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:  # who says what it wants is not
            answer = await http.get(f"{to.url}/v1/caller", headers={"Authorization": f"Bearer {secret}"})
            assert answer.status_code == 200


async def test_a_stream_ends_with_the_token(desk, tmp_path, monkeypatch):
    async def endless(environment, *, after, follow):
        while True:
            yield desk.happened[0]
            await asyncio.sleep(0.02)

    monkeypatch.setattr(desk, "events", endless)
    to = listening(f"127.0.0.1:{free_port()}")
    async with served(desk, tmp_path, to) as secret, httpx.AsyncClient(timeout=PATIENCE_S) as http:
        http.headers["Authorization"] = f"Bearer {secret}"
        async with http.stream("GET", f"{to.url}/v1/environments/shop/events?follow=true") as stream:
            lines = stream.aiter_lines()
            for _ in range(5):
                assert "node.started" in await anext(lines)
            assert (await http.delete(f"{to.url}/v1/tokens/op")).status_code == 200
            async with asyncio.timeout(PATIENCE_S):
                async for _ in lines:
                    pass
        assert (await http.get(f"{to.url}/v1/caller")).status_code == 401


async def _end(reader: asyncio.StreamReader) -> None:
    """Wait until the other side is gone."""
    try:
        while await reader.read(4096):
            pass
    except ConnectionError:
        pass


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(EverupError, match="cannot listen on"):
            open_tcp(listening(f"127.0.0.1:{other.getsockname()[1]}"))


def test_a_certificate_that_cannot_be_used_is_told_before_anybody_is_served(authority, pems, tmp_path):
    cert, key = pems
    other = tmp_path / "other.pem"
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(other)
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    for wrong in ((cert, str(other)), (str(junk), key), (str(tmp_path / "missing.pem"), key)):
        with pytest.raises(EverupError, match="cannot be used"):
            open_tcp(listening(f"127.0.0.1:{free_port()}", *wrong))


def test_what_is_kept_in_the_home_is_opened_and_what_cannot_be_leaves_the_services_alone(tmp_path, capsys):
    home = Home(tmp_path / "home")
    home.prepare()
    assert open_port(home, ()) is None
    port = free_port()
    home.listening.write_text(json.dumps([f"127.0.0.1:{port}"]))
    opened = open_port(home, ())
    assert opened is not None and opened.to.url == f"http://127.0.0.1:{port}"
    assert open_port(home, ()) is None  # the port is taken now
    assert "Unix socket only" in capsys.readouterr().out
    opened.listener.close()
    for text in ("{", "[]", "{}", "3", "[3]", '["0.0.0.0:80"]', '["a", "b", "c", "d"]'):
        home.listening.write_text(text)
        assert open_port(home, ()) is None
    with pytest.raises(EverupError):
        open_port(home, ("0.0.0.0:80",))
