"""Who gets in, how, and for how long."""

import httpx
import pytest

from everup.api.doorway import GUESSES_BURST
from everup.model.access import OWNER, Caller, Level
from everup.web.sessions import INVITED_S, LASTS_S, MOST, RECHECK_S, Sessions
from tests.web.conftest import sign_in, word_of

CLOSED = ["/ui/", "/ui/e/shop", "/ui/e/shop/incidents", "/ui/e/shop/drills", "/ui/e/shop/news", "/ui/e/shop/logs/web"]
CLOSED += ["/ui/e/shop/logs/web/news", "/ui/e/shop/s/web", "/ui/e/shop/s/web/scale", "/ui/e/nowhere", "/ui/nothing"]


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("path", CLOSED)
async def test_a_stranger_sees_the_way_in_and_nothing_else(browse, path):
    answer = await browse().get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/ui/sign-in?to=/ui/")
    tool = await browse().get(path, headers={"accept": "application/json"})
    assert (tool.status_code, tool.text) == (401, "sign in first")


@pytest.mark.parametrize("path", ["/ui/sign-out", "/ui/e/shop/s/web/scale", "/ui/e/shop/s/web/restart"])
async def test_a_strangers_form_does_nothing(browse, desk, path):
    assert (await browse().post(path, data={"said": "1", "csrf": "x"})).status_code == 401
    assert desk.done == []


async def test_a_token_opens_a_session_that_scripts_and_other_sites_cannot_use(browse):
    browser = browse()
    answer = await sign_in(browser, "v", to="/ui/e/shop/drills")
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/e/shop/drills")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/ui" in cookie and "secure" not in cookie
    assert "vera · viewer" in (await browser.get("/ui/e/shop")).text


async def test_under_tls_the_cookie_is_for_tls_alone(app):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://everup.test") as browser:
        assert "secure" in (await sign_in(browser, "v")).headers["set-cookie"].lower()


@pytest.mark.parametrize("token", ["", "x", "v ' OR 1=1", "ü"])
async def test_an_unknown_token_opens_nothing(browse, token):
    browser = browse()
    answer = await sign_in(browser, token)
    assert (answer.status_code, "unknown, revoked or expired" in answer.text) == (403, True)
    assert (await browser.get("/ui/e/shop")).status_code == 303


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example/ui/", "/v1/control", "/ui/\\evil", "/ui/\r\nX: y"]
)
async def test_signing_in_leads_nowhere_else(browse, to):
    assert (await sign_in(browse(), "v", to=to)).headers["location"] == "/ui/"


async def test_the_way_in_takes_only_its_own_form(browse):
    browser = browse()
    await browser.get("/ui/sign-in")
    assert (await browser.post("/ui/sign-in", data={"token": "v", "csrf": "guessed"})).status_code == 403
    assert (await browse().post("/ui/sign-in", data={"token": "v", "csrf": ""})).status_code == 403


async def test_signing_out_ends_the_session_for_good(browse):
    browser = browse()
    await sign_in(browser, "v")
    kept = dict(browser.cookies)
    page = await browser.get("/ui/e/shop")
    assert (await browser.post("/ui/sign-out", data={"csrf": "x"})).status_code == 403
    assert (await browser.post("/ui/sign-out", data={"csrf": word_of(page)})).status_code == 303
    for name, value in kept.items():
        browser.cookies.set(name, value, domain="127.0.0.1", path="/ui")
    assert (await browser.get("/ui/e/shop")).status_code == 303


async def test_the_owner_is_invited_once(owner, browse, monkeypatch):
    opened = []
    monkeypatch.setattr("everup.web.lobby.Lobby._open", lambda lobby, port: (opened.append(port), _done())[1])
    browser = browse()
    url = (await owner.post("/v1/dashboard", json={"port": 9000})).json()["url"]
    path = url.removeprefix("http://127.0.0.1:9000")
    assert opened == [9000]
    first = await browser.get(path)
    assert (first.status_code, 'content="0;url=/ui/"' in first.text) == (200, True)
    assert "owner · operator" in (await browser.get("/ui/e/shop")).text
    assert (await browse().get(path)).status_code == 403


def _done():
    import asyncio

    return "http://127.0.0.1:9000", asyncio.ensure_future(asyncio.sleep(3600))


async def test_nobody_but_the_owner_is_invited(app, browse):
    async def as_vera(scope, receive, send):
        scope.setdefault("state", {})["caller"] = Caller("vera", Level.OPERATOR)
        await app(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(as_vera), base_url="http://everup") as client:
        answer = await client.post("/v1/dashboard", json={})
    assert (answer.status_code, "Sign in with your token" in answer.json()["hint"]) == (403, True)


def told(desk) -> list[tuple[str, str, int, str]]:
    """Who signed in or out, how, and what came of it; the entries of the audit log, in order."""
    entries = [one for one in desk.trail.entries if "/ui/" in one["what"]]
    return [
        (one["who"], one["what"].split("/")[-1] + str(one["given"].get("via", "")), one["status"], one["code"])
        for one in entries
    ]


async def test_every_sign_in_and_sign_out_is_in_the_audit_log_and_no_token_is(browse, owner, desk, monkeypatch):
    monkeypatch.setattr("everup.web.lobby.Lobby._open", lambda lobby, port: _done())
    browser, other = browse(), browse()
    await sign_in(browser, "guessed")
    await sign_in(browser, "v")
    await browser.post("/ui/sign-out", data={"csrf": word_of(await browser.get("/ui/e/shop"))})
    path = (await owner.post("/v1/dashboard", json={})).json()["url"].removeprefix("http://127.0.0.1:9000")
    assert [(await other.get(path)).status_code for _ in range(2)] == [200, 403]
    assert told(desk) == [
        ("", "sign-intoken", 403, "unauthenticated"),
        ("vera", "sign-intoken", 303, ""),
        ("vera", "sign-out", 303, ""),
        ("owner", "sign-inlink", 200, ""),
        ("", "sign-inlink", 403, "unauthenticated"),
    ]
    assert desk.trail.entries[0]["from"].startswith("127.0.0.1:")
    assert not any(secret in str(desk.trail.entries) for secret in ("guessed", path.partition("once=")[2]))


async def test_nobody_is_let_in_unrecorded_and_everybody_out(browse, desk):
    browser = browse()
    await sign_in(browser, "v")
    word = word_of(await browser.get("/ui/e/shop"))
    desk.trail.room = 0
    assert (await sign_in(browse(), "d")).status_code == 400
    assert "the disk is full" in (await browser.post("/ui/sign-out", data={"csrf": word})).text
    assert (await browser.get("/ui/e/shop")).status_code == 303


async def test_wrong_tokens_of_one_address_are_soon_not_looked_at(app, browse, desk):
    browser = browse()
    for number in range(GUESSES_BURST):
        assert (await sign_in(browser, f"guess-{number}")).status_code == 403
    refused = [await sign_in(browser, token) for token in ("another", "v")]
    assert [one.status_code for one in refused] == [429, 429]
    assert 1 <= int(refused[1].headers["retry-after"]) <= 10
    assert "Too many wrong tokens came from 127.0.0.1. Try again in" in refused[1].text
    bearer = {"authorization": "Bearer v"}
    assert (await browser.get("/v1/caller", headers=bearer)).status_code == 429  # another way in is none either
    elsewhere = httpx.AsyncClient(transport=httpx.ASGITransport(app, client=("192.0.2.7", 1)), base_url="http://x")
    assert (await sign_in(elsewhere, "v")).status_code == 303
    assert (await sign_in(browser, "v")).status_code == 303  # it is no guess any more
    assert (await sign_in(browser, "guess-0")).status_code == 403  # nor is that
    assert told(desk)[GUESSES_BURST] == ("", "sign-intoken", 429, "request.too_many")
    await elsewhere.aclose()


def test_sessions_and_invitations_end_by_themselves():
    clock = Clock()
    sessions = Sessions({"v": OWNER}.get, clock)
    key, word = sessions.open(OWNER, "v"), sessions.invite()
    clock.now_s += INVITED_S
    assert sessions.accept(word) is None
    assert sessions.find(key).caller == OWNER
    clock.now_s += LASTS_S - INVITED_S - 0.1
    assert sessions.find(key)
    clock.now_s += 0.1
    assert sessions.find(key) is None
    clock.now_s -= 10
    assert sessions.find(key) is None


def test_a_session_ends_with_its_token_and_follows_its_level():
    clock, known = Clock(), {"v": Caller("vera", Level.OPERATOR)}
    sessions = Sessions(known.get, clock)
    key = sessions.open(OWNER, "v")
    known["v"] = Caller("vera", Level.VIEWER)
    clock.now_s += RECHECK_S
    assert sessions.find(key).caller.level == Level.VIEWER
    known.clear()
    clock.now_s += RECHECK_S
    assert sessions.find(key) is None


def test_sessions_are_bounded_and_what_browsers_hold_is_not_kept():
    sessions = Sessions({"v": OWNER}.get, Clock())
    keys = [sessions.open(OWNER, "v") for _ in range(MOST + 1)]
    assert sessions.find(keys[0]) is None and sessions.find(keys[1]) and sessions.find(keys[-1])
    assert keys[-1] not in repr(vars(sessions)) and "token" not in repr(sessions.find(keys[-1]))
