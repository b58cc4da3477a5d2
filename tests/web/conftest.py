"""The dashboard over a small desk, and browsers without a screen: plain HTTP clients with cookies."""

import re
from collections.abc import AsyncIterator, Callable
from typing import cast

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from everup.api.app import create_app
from everup.api.doorway import Doorway
from everup.model.access import OWNER, Caller, Level
from everup.serve import show_dashboard
from tests.api.small_desk import SmallDesk, redis, web, world

PAGE = {"accept": "text/html"}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look is a new one: a test changes the world between two of them."""
    monkeypatch.setattr("everup.web.sight.FRESH_S", -1.0)


@pytest.fixture
def desk() -> SmallDesk:
    return SmallDesk(world(redis(), web()))


@pytest.fixture
def tokens() -> dict[str, Caller]:
    return {
        "v": Caller("vera", Level.VIEWER),
        "d": Caller("dora", Level.DEVELOPER),
        "o": Caller("otto", Level.OPERATOR),
        "elsewhere": Caller("emil", Level.OPERATOR, frozenset({"other"})),
    }


@pytest.fixture
def app(desk: SmallDesk, tokens: dict[str, Caller]) -> FastAPI:
    doorway = Doorway(desk, tokens.get)
    app = create_app(desk, doorway=doorway)
    show_dashboard(app, desk, doorway)
    return app


@pytest.fixture
async def browse(app: FastAPI) -> AsyncIterator[Callable[[], httpx.AsyncClient]]:
    """Makes clients that keep cookies, follow no redirects, and are closed afterwards."""
    made: list[httpx.AsyncClient] = []

    def browser() -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        made.append(httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8484", headers=PAGE))
        return made[-1]

    yield browser
    for one in made:
        await one.aclose()


@pytest.fixture
async def owner(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Who comes by the Unix socket, to the same application."""

    async def by_socket(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {"caller": OWNER}}, receive, send)

    transport = httpx.ASGITransport(cast("ASGIApp", by_socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://everup") as client:
        yield client


async def sign_in(browser: httpx.AsyncClient, token: str, **fields: str) -> httpx.Response:
    page = await browser.get("/ui/sign-in")
    word = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert word
    return await browser.post("/ui/sign-in", data={"token": token, "csrf": word[1], **fields})


def word_of(page: httpx.Response) -> str:
    """The word that the page's forms carry."""
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]
