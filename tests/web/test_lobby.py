"""The owner's way in: a listener on loopback, for pages alone."""

import asyncio
import socket
from contextlib import closing

import httpx
import pytest

from everup.api import tcp
from everup.api.rates import Meter
from everup.api.server import serve_beside
from everup.model.errors import Refused
from everup.web.gate import MOST_BYTES
from everup.web.lobby import HOST, PORT, Lobby, _bind
from everup.web.sessions import Sessions
from tests.web.conftest import sign_in

PATIENCE_S = 60


@pytest.fixture
def lobby(app, monkeypatch) -> Lobby:
    """The lobby of the application, found where its middleware has it."""
    return next(one.kwargs["lobby"] for one in app.user_middleware if "lobby" in one.kwargs)


async def test_what_listens_has_pages_and_nothing_of_the_api(lobby, app):
    url = (await lobby.invite(None))["url"]
    base = url.partition("/ui/")[0]
    try:
        async with httpx.AsyncClient(base_url=base, follow_redirects=True, headers={"accept": "text/html"}) as browser:
            assert "Sign in" in (await browser.get("/")).text
            assert (await browser.get("/v1/control")).status_code == 404
            assert (await browser.post("/v1/dashboard", json={})).status_code == 404
            assert "Signed in" in (await browser.get(url)).text
            assert "owner · operator" in (await browser.get("/ui/e/shop")).text
            again = (await lobby.invite(None))["url"]
            assert again.startswith(base) and again != url
    finally:
        task = lobby._listener[1]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_pages_are_bounded_as_the_api_is(lobby, desk, monkeypatch):
    monkeypatch.setattr(tcp, "HEAD_S", 0.2)
    base = (await lobby.invite(None))["url"].partition("/ui/")[0]
    host, port = base.removeprefix("http://").split(":")
    try:
        silent, _ = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(PATIENCE_S):
            assert await silent.read() == b""  # cut, for it says nothing
        monkeypatch.setattr(tcp, "HEAD_S", PATIENCE_S)
        monkeypatch.setattr(tcp, "CONNECTIONS", 3)
        pairs = [await asyncio.open_connection(host, int(port)) for _ in range(5)]
        ends = {asyncio.create_task(reader.read()) for reader, _ in pairs}
        cut: set[asyncio.Task[bytes]] = set()
        async with asyncio.timeout(PATIENCE_S):
            while len(cut) < 2:
                done, ends = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                cut |= done
        for _, writer in pairs:
            writer.close()
        await asyncio.wait(ends, timeout=PATIENCE_S)
    finally:
        task = lobby._listener[1]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_owners_link_works_whatever_strangers_do(lobby, browse, monkeypatch):
    monkeypatch.setattr(Meter, "due_s", lambda meter, who: 3.0 if "." in who else 0.0)
    path = f"/ui/sign-in?once={lobby.sessions.invite()}"
    owner = browse()
    assert [(await one.get(path)).status_code for one in (owner, browse())] == [200, 429]
    assert (await owner.get("/ui/e/shop")).status_code == 200


async def test_a_form_that_is_too_long_and_one_request_too_many_are_refused(browse, monkeypatch):
    browser = browse()
    await sign_in(browser, "v")
    answer = await browser.post("/ui/sign-out", data={"csrf": "x" * (MOST_BYTES + 1)})
    assert (answer.status_code, answer.json()["code"]) == (413, "request.too_large")
    monkeypatch.setattr(Meter, "due_s", lambda meter, who: 0.0 if "." in who else 3.0)  # whoever is signed in
    answer = await browser.get("/ui/e/shop")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert (await browse().get("/ui/sign-in")).status_code == 200  # strangers have a measure of their own
    monkeypatch.setattr(Meter, "due_s", lambda meter, who: 3.0 if "." in who else 0.0)
    assert (await browse().get("/ui/sign-in")).status_code == 429
    assert (await browser.get("/ui/e/shop")).status_code == 200


def test_a_taken_port_is_refused_where_it_was_asked_for_and_replaced_where_not(monkeypatch):
    with closing(socket.create_server((HOST, 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=str(port)):
            _bind(port)
        monkeypatch.setattr("everup.web.lobby.PORT", port)
        with closing(_bind(None)) as found:
            assert found.getsockname()[0] == HOST and found.getsockname()[1] not in (0, port)
    assert PORT == 8484


async def test_the_dashboard_is_loaded_once_and_only_when_asked_for(lobby, app):
    assert lobby._app is None and isinstance(lobby.sessions, Sessions) and lobby._serve is serve_beside
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8484") as browser:
        await asyncio.gather(*(browser.get("/ui/sign-in") for _ in range(5)))
        loaded = lobby._app
        await browser.get("/ui/sign-in")
    assert loaded is not None and lobby._app is loaded


async def test_what_is_done_is_asked_of_the_api_in_the_visitors_name(browse, app, desk):
    from tests.web.conftest import sign_in, word_of

    asked = []

    class Listening:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            asked.append((scope["path"], scope["state"]["caller"].name, scope["client"][0]))
            await self.app(scope, receive, send)

    app.user_middleware.append(type(app.user_middleware[0])(Listening))  # the innermost, where the gate will be
    browser = browse()
    await sign_in(browser, "d")
    page = await browser.get("/ui/e/shop/s/web")
    await browser.post("/ui/e/shop/s/web/restart", data={"csrf": word_of(page)})
    assert asked == [("/v1/environments/shop/services/web/restart", "dora", "127.0.0.1")]
