"""Every route, asked by everybody: who gets through is what the documentation's table says, and nobody else."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from everup.api.app import create_app
from everup.api.doorway import Doorway
from everup.api.gate import owned
from everup.api.permits import PERMITS, methods_for, permits_for
from everup.model.access import Level
from everup.model.notices import Destination
from everup.runtime.store import Store
from everup.runtime.tokens import Tokens
from everup.serve import show_dashboard
from tests.api.small_desk import SmallDesk, redis, web, world
from tests.drills.finished import finished

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "access.md"
ANYBODY = "anybody"

Row = tuple[str, str]


def documented() -> dict[str, Row]:
    """Method and path of each route -> level and environments, as the page says it."""
    rows = [[cell.strip(" `") for cell in line.strip("|\n").split("|")] for line in PAGE.read_text().splitlines()]
    return {row[0]: (row[1], row[2]) for row in rows if len(row) == 4 and " /" in row[0]}


BODIES: dict[str, Any] = {
    "POST /v1/apply": {"file": "everup.yaml", "text": "environment: shop\n", "directory": "/", "path": "/bin"},
    "POST /v1/plan": {"file": "everup.yaml", "text": "environment: shop\n", "directory": "/", "path": "/bin"},
    "POST /v1/tokens": {"name": "fresh", "level": "viewer"},
    "scale": {"count": 2},
    "limit": {"count": 7},
    "ha": {"enabled": True},
    "switchover": {"to": None},
    "drill": {"fault": "crash", "confirmed": True},
    "fault": {"fault": "crash"},
    "drills": asdict(finished()),
    "stop": {"destroy": False},
    "deploy": {},
    "rollback": {},
    "dashboard": {},
    "notification-tests": {},
    "notifications": {"name": "oncall", "url": "json://127.0.0.1:9/"},
    "rotate": {},
    "drain": {},
    "undrain": {},
    "secrets": {"name": "api-key", "value": "hunter2"},
}
"""By route, or by the last word of its path: what a request carries that makes sense."""

STRANGERS = ["nobody", "garbage", "basic", "expired", "revoked", "session cookie"]
KNOWN = {
    "viewer": (Level.VIEWER, None),
    "developer": (Level.DEVELOPER, None),
    "operator": (Level.OPERATOR, None),
    "viewer of shop": (Level.VIEWER, ("shop",)),
    "developer of shop": (Level.DEVELOPER, ("shop", "other")),
    "operator of shop": (Level.OPERATOR, ("shop",)),
    "viewer of other": (Level.VIEWER, ("other",)),
    "developer of other": (Level.DEVELOPER, ("other",)),
    "operator of other": (Level.OPERATOR, ("other", "another")),
}


class World:
    """A desk, its API, and one token of each sort."""

    def __init__(self, store: Store) -> None:
        self.desk = SmallDesk(world(redis(), web()))
        self.store = store
        self.headers: dict[str, dict[str, str]] = {"nobody": {}, "session cookie": {"Cookie": "session=everup"}}
        self._asked = 0

    async def open(self) -> "World":
        past = Tokens(self.store._db, self.store._write, lambda: datetime.now(UTC) - timedelta(hours=2))
        _, expired = await past.create("expired", Level.OPERATOR, None, 3600)
        self.tokens = self.store.tokens()
        secrets = {"expired": expired, "garbage": "everup_" + "x" * 43, "revoked": await self._made("revoked")}
        await self.tokens.revoke("revoked")
        for name, (level, environments) in KNOWN.items():
            secrets[name] = await self._made(name.replace(" ", "-"), level, environments)
        self.headers |= {name: {"Authorization": f"Bearer {secret}"} for name, secret in secrets.items()}
        self.headers["basic"] = {"Authorization": f"Basic {secrets['operator']}"}
        doorway = Doorway(self.desk, self.tokens.authenticate)
        self.app = create_app(self.desk, self.tokens, doorway)
        show_dashboard(self.app, self.desk, doorway)
        return self

    async def _made(self, name: str, level: Level = Level.OPERATOR, environments: Any = None) -> str:
        return (await self.tokens.create(name, level, environments, None))[1]

    async def ask(self, who: str, route: str, environment: str = "shop") -> httpx.Response:
        """The answer that somebody gets of a route; the desk is as new each time."""
        self.desk.__init__(world(redis(), web()))  # type: ignore[misc]
        self.desk.secrets.values[environment, "web-1"] = "to be removed"
        self._asked += 1
        method, path = route.split(" ")
        place = path.format(environment=environment, label="web", name="web-1", node="web-1", host="node1")
        body = BODIES.get(route, BODIES.get(path.rpartition("/")[2]))
        if body and "text" in body:
            body = {**body, "text": f"environment: {environment}\n"}
        if route == "DELETE /v1/tokens/{name}":
            place = "/v1/tokens/spare"
            await self._made("spare")
        if route == "DELETE /v1/notifications/{name}":
            await self.desk.messenger.add(Destination("web-1", "json"), "json://127.0.0.1:9/")
        app = owned(self.app) if who == "owner" else self.app
        address = (f"127.0.{self._asked // 250}.{self._asked % 250}", 4711)  # strangers are counted by address
        transport = httpx.ASGITransport(app, client=address, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://everup") as http:
            answer = await http.request(method, place, json=body, headers=self.headers.get(who, {}))
        for name in {"spare", "fresh"} & {one.name for one in self.tokens.tokens()}:
            await self.tokens.revoke(name)
        return answer


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    over = asyncio.get_running_loop().create_future()  # the dashboard's own port stays closed
    monkeypatch.setattr("everup.web.lobby.Lobby._open", lambda lobby, port: ("http://127.0.0.1:9", over))
    store = Store(tmp_path / "everup.sqlite")
    yield await World(store).open()
    store.close()


def routes(app: Any) -> set[str]:
    """Method and path of every route that the application has, hidden ones too."""
    found = set()
    for one in iter_route_contexts(app.routes):
        found |= {f"{method} {one.path}" for method in one.methods or {"ANY"}}
    return found - {"HEAD /v1/openapi.json"}


async def test_every_route_is_in_the_table_and_the_table_names_no_other(place):
    assert routes(place.app) == set(PERMITS) == set(documented())


async def test_a_route_that_is_in_no_table_is_nobodys(place):
    place.app.add_api_route("/v1/forgotten", lambda: {"secret": 1})
    for who, status in (("owner", 403), ("operator", 403), ("viewer", 403), ("nobody", 401)):
        answer = await place.ask(who, "GET /v1/forgotten")
        assert (answer.status_code, "secret" in answer.text) == (status, False)
    with pytest.raises(AssertionError):
        assert routes(place.app) == set(PERMITS)


def test_no_two_routes_of_the_table_fit_one_request():
    for key in PERMITS:
        method, path = key.split(" ")
        place = path.format(environment="check", label="drills", name="web", node="stop", host="web")
        assert len(list(permits_for(method, place))) == 1, key
        named = {other.split(" ")[0] for other in PERMITS if other.split(" ")[1] == path}
        assert set(methods_for(place)) == named, key  # else the header Allow names what another path can do


@pytest.mark.parametrize("who", STRANGERS)
async def test_strangers_learn_nothing_of_any_route(place, who):
    for route, (level, _) in documented().items():
        answer = await place.ask(who, route)
        if level == ANYBODY:
            continue
        assert answer.status_code == 401, f"{who} {route}"
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["code"] == "unauthenticated"
        assert "shop" not in answer.text


@pytest.mark.parametrize("who", KNOWN)
async def test_whoever_is_known_gets_exactly_what_the_documentation_says(place, who):
    level, environments = KNOWN[who]
    for route, (needed, concern) in documented().items():
        answer = await place.ask(who, route)
        assert answer.status_code in expected(level, environments, needed, concern), f"{who} {route}: {answer.text}"
        elsewhere = environments and "shop" not in environments
        if elsewhere and answer.status_code != 404 and "openapi" not in route:  # that one's examples speak of a shop
            assert "shop" not in answer.text, route


def expected(level: Level, environments: Any, needed: str, concern: str) -> set[int]:
    """The statuses that the documented words lead to."""
    levels = [one.value for one in Level]
    high_enough = needed == ANYBODY or levels.index(level.value) >= levels.index(needed)
    elsewhere = environments is not None and "shop" not in environments
    if concern.startswith("the environment in its path") and elsewhere:
        return {404}
    if concern.startswith("none") or (concern.startswith("all") and environments is not None):
        return {403}
    if not high_enough:
        return {403}
    if concern.startswith("the environment that the spec names") and elsewhere:
        return {404}
    return {200, 201, 202, 409}


async def test_the_sockets_owner_may_do_everything(place):
    for route in documented():
        assert (await place.ask("owner", route)).status_code in (200, 201, 202, 409), route


@pytest.mark.parametrize("who", ["viewer of other", "developer of other", "operator of other"])
async def test_an_environment_of_others_looks_like_none(place, who):
    for route, (_, concern) in documented().items():
        if "the environment" in concern:
            hidden, missing = await place.ask(who, route), await place.ask(who, route, "nowhere")
            assert hidden.status_code == missing.status_code, route
            assert hidden.text.replace("shop", "nowhere") == missing.text, route


async def test_an_environment_of_ones_own_that_is_not_there_names_no_others(place):
    for route in ("GET /v1/environments/{environment}", "POST /v1/environments/{environment}/stop"):
        answer = await place.ask("operator of other", route, "another")
        assert (answer.status_code, answer.json()["hint"]) == (404, "Known: another, other.")


async def test_lists_hold_what_the_caller_may_see(place):
    for who, names in (("viewer of shop", ["shop"]), ("viewer of other", []), ("viewer", ["shop"])):
        control = (await place.ask(who, "GET /v1/control")).json()
        listed = (await place.ask(who, "GET /v1/environments")).json()["environments"]
        assert control["environments"] == control["running"] == listed == names


async def test_everybody_known_can_ask_who_they_are(place):
    told = (await place.ask("developer of shop", "GET /v1/caller")).json()
    assert told == {"name": "developer-of-shop", "level": "developer", "environments": ["other", "shop"]}


async def test_a_secret_is_told_once_and_kept_nowhere(place, tmp_path):
    answer = await place.ask("operator", "POST /v1/tokens")
    secret = answer.json()["secret"]
    place.store._db.execute("PRAGMA wal_checkpoint")
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret.startswith("everup_") and secret.encode() not in kept
    listed = await place.ask("operator", "GET /v1/tokens")
    assert secret not in listed.text and "hash" not in listed.text


async def test_errors_follow_rfc_9457(place):
    answer = await place.ask("viewer", "POST /v1/environments/{environment}/services/{label}/limit")
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["type"] == "urn:everup:problem:not_permitted"
    assert (body["title"], body["status"], body["code"]) == ("Not permitted", 403, "not_permitted")
    assert body["detail"] == "viewer is a viewer, and this takes an operator"
    assert json.dumps(body["hint"])


@pytest.mark.parametrize(
    ("who", "told", "status"),
    [
        ("viewer", "viewer", 403),
        ("operator of other", "operator-of-other", 404),
        ("expired", "", 401),
        ("nobody", "", 401),
    ],
)
async def test_what_the_gate_refuses_is_in_the_audit_log(place, who, told, status):
    await place.ask(who, "POST /v1/environments/{environment}/services/{label}/limit")
    (entry,) = place.desk.trail.entries
    assert (entry["who"], entry["status"], entry["asked"]) == (told, status, None)
    assert entry["from"].startswith("127.0.")


async def test_secrets_can_be_set_before_their_environment_is_there(place):
    secrets = "/v1/environments/{environment}/secrets"
    assert (await place.ask("operator", f"POST {secrets}", "tomorrow")).status_code == 200
    assert (await place.ask("operator of shop", f"POST {secrets}", "tomorrow")).status_code == 404
    assert (await place.ask("developer", f"GET {secrets}", "tomorrow")).status_code == 403
