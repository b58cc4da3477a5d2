"""What the gate bounds: how often, how much, how long; and what it does only once."""

import asyncio
import json

import httpx
import pytest

from everup.api import doorway
from everup.api.app import create_app
from everup.api.gate import owned
from everup.api.permits import BODY_BYTES
from everup.api.rates import REMEMBERED, Meter
from everup.api.repeats import KEPT, Repeats
from everup.model.access import Caller, Level
from everup.model.errors import TooMany
from everup.runtime.store import Store

SCALE = "/v1/environments/shop/services/web/scale"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_meter_admits_a_burst_and_then_a_rate():
    clock = Clock()
    meter = Meter(rate=10, burst=3, clock=clock)
    assert [meter.wait_s("ci") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert meter.wait_s("ci") == pytest.approx(0.1)
    assert meter.wait_s("other") == 0.0
    clock.now_s = 0.1
    assert meter.wait_s("ci") == 0.0
    assert meter.wait_s("ci") > 0
    clock.now_s = 100
    assert [meter.wait_s("ci") > 0 for _ in range(4)] == [False, False, False, True]


def test_a_flood_of_strangers_takes_no_memory():
    meter = Meter(rate=1, burst=2, clock=Clock())
    for number in range(3 * REMEMBERED):
        meter.wait_s(str(number))
    assert len(meter._buckets) <= REMEMBERED


@pytest.fixture
async def place(desk, tmp_path):
    """The API as two callers have it, and the desk behind it."""
    store = Store(tmp_path / "everup.sqlite")
    tokens = store.tokens()
    app = create_app(desk, tokens)
    clients = []
    for name in ("first", "second"):
        _, secret = await tokens.create(name, Level.OPERATOR, None, None)
        headers = {"Authorization": f"Bearer {secret}"}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://everup", headers=headers))
    yield app, *clients
    for client in clients:
        await client.aclose()
    store.close()


@pytest.fixture
def strict(monkeypatch):
    """Buckets that do not fill while a test runs, however slow the machine is."""
    for name in ("RATE", "STRANGERS_RATE", "GUESSES_RATE"):
        monkeypatch.setattr(doorway, name, 0.001)
    for name in ("BURST", "STRANGERS_BURST", "GUESSES_BURST"):
        monkeypatch.setattr(doorway, name, 5)


async def test_too_many_requests_are_told_when_to_come_back(strict, place):
    _, first, second = place
    answers = [await first.get("/v1/caller") for _ in range(7)]
    assert [one.status_code for one in answers] == [200] * 5 + [429] * 2
    assert 900 <= int(answers[-1].headers["retry-after"]) <= 1000
    assert answers[-1].json()["code"] == "request.too_many"
    assert (await second.get("/v1/caller")).status_code == 200


async def test_strangers_are_counted_apart_from_those_who_are_known(strict, place):
    app, first, _ = place
    transport = httpx.ASGITransport(app, client=("10.0.0.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://everup") as stranger:
        statuses = [(await stranger.get("/v1/caller")).status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    assert (await first.get("/v1/caller")).status_code == 200


@pytest.fixture
def door(desk):
    """A doorway, and what it asks who a token stands for: `right` is ann's."""
    asked = []

    def authenticate(secret):
        asked.append(secret)
        return Caller("ann", Level.VIEWER) if secret == "right" else None

    return doorway.Doorway(desk, authenticate), asked


def test_who_guesses_is_told_nothing_and_who_was_let_in_before_is_let_in(strict, door):
    way, asked = door
    assert way.recognise("right", "10.0.0.8")
    assert [way.recognise(f"wrong {number}", "10.0.0.9") for number in range(5)] == [None] * 5
    with pytest.raises(TooMany) as refused:
        way.recognise("unheard of", "10.0.0.9")
    assert refused.value.retry_after_s >= 900 and "unheard of" not in asked
    assert way.recognise("right", "10.0.0.9")
    assert way.recognise("unheard of", "10.0.0.8") is None


def test_the_same_wrong_token_again_and_again_is_no_guess(strict, door):
    way, asked = door
    assert {way.recognise("expired", "10.0.0.9") for _ in range(50)} == {None}
    assert asked == ["expired"]
    assert way.recognise("right", "10.0.0.9")


def test_the_unix_socket_is_never_made_to_wait(strict, door):
    way, _ = door
    for number in range(50):
        assert way.recognise(f"wrong {number}", "") is None
        way.count("", "")
    assert way.recognise("right", "")


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (None, ""),
        (("10.0.0.9", 4711), "10.0.0.9"),
        (("2001:db8:1:2:3:4:5:6", 4711), "2001:db8:1:2::/64"),
        (("::ffff:10.0.0.9", 4711), "10.0.0.9"),
        (("testclient", 1), "testclient"),
    ],
)
def test_a_host_with_a_network_of_its_own_is_one_address(client, address):
    assert doorway.address_of({"client": client}) == address


async def test_the_sockets_owner_is_not_counted(strict, place):
    transport = httpx.ASGITransport(owned(place[0]))
    async with httpx.AsyncClient(transport=transport, base_url="http://everup") as owner:
        assert {(await owner.get("/v1/caller")).status_code for _ in range(20)} == {200}


async def test_a_body_that_is_too_long_is_refused_announced_or_not(place, desk):
    _, first, _ = place
    long = json.dumps({"count": 2, "more": "x" * BODY_BYTES}).encode()

    async def pieces():
        for at in range(0, len(long), 65_536):
            yield long[at : at + 65_536]

    for content in (long, pieces()):
        answer = await first.post(SCALE, content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "request.too_large")
    assert len(desk.picture("shop").blueprints[1].nodes) == 2


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(place, monkeypatch):
    _, first, _ = place
    monkeypatch.setattr(doorway, "BODY_S", 0.05)

    async def never():
        yield b"{"
        await asyncio.sleep(3600)

    answer = await first.post(SCALE, content=never())
    assert (answer.status_code, answer.json()["code"]) == (408, "request.too_slow")


NONSENSE = [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b'{"count": 1e400}', b'{"count": NaN}']


@pytest.mark.parametrize("body", NONSENSE, ids=range(len(NONSENSE)))
async def test_a_body_that_is_no_request_is_told_so(place, body):
    answer = await place[1].post(SCALE, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_a_write_with_a_key_is_done_once(place, desk):
    _, first, second = place
    path = "/v1/environments/shop/services/web/restart"
    answers = [await first.post(path, headers={"Idempotency-Key": "k1"}) for _ in range(3)]
    assert [one.json() for one in answers] == [answers[0].json()] * 3
    assert [one.headers.get("idempotent-replayed") for one in answers] == [None, "true", "true"]
    assert desk.done == [("restart", "web")]
    await second.post(path, headers={"Idempotency-Key": "k1"})  # another's key
    await first.post(path, headers={"Idempotency-Key": "k2"})
    await first.post(path)
    assert len(desk.done) == 4


async def test_a_key_belongs_to_one_request(place):
    _, first, _ = place
    headers = {"Idempotency-Key": "k1"}
    assert (await first.post(SCALE, json={"count": 2}, headers=headers)).status_code == 200
    for path, body in ((SCALE, {"count": 3}), (SCALE.replace("scale", "limit"), {"count": 2})):
        answer = await first.post(path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "request.key_reused")
    answer = await first.post(SCALE, json={"count": 2}, headers={"Idempotency-Key": "k" * 201})
    assert (answer.status_code, answer.json()["code"]) == (422, "request.key")


async def test_a_refusal_is_repeated_too_and_a_breakdown_is_not(place, desk, monkeypatch):
    _, first, _ = place
    headers = {"Idempotency-Key": "k1"}
    answers = [await first.post(SCALE, json={"count": 99}, headers=headers) for _ in range(2)]
    assert [one.status_code for one in answers] == [409, 409]
    assert answers[1].headers["idempotent-replayed"] == "true"

    async def broken(*_: object) -> None:
        raise RuntimeError("gone wrong")

    headers = {"Idempotency-Key": "k2"}
    with monkeypatch.context() as patch:
        patch.setattr(desk, "scale", broken)
        assert (await first.post(SCALE, json={"count": 2}, headers=headers)).status_code == 500
    assert (await first.post(SCALE, json={"count": 2}, headers=headers)).status_code == 200


async def test_who_comes_while_the_first_is_under_way_waits_for_its_answer():
    repeats, going, done = Repeats(), asyncio.Event(), []

    async def work(send):
        await going.wait()
        done.append(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    got: list[list[object]] = [[], [], []]

    async def ask(number):
        async def send(message):
            got[number].append(message["type"])

        await repeats.once("ci", "key", (b"POST", b"/x"), work, send)

    asking = [asyncio.create_task(ask(number)) for number in range(3)]
    await asyncio.sleep(0)
    going.set()
    await asyncio.gather(*asking)
    assert (done, got) == ([1], [["http.response.start", "http.response.body"]] * 3)


async def test_only_so_many_answers_are_kept():
    repeats = Repeats()

    async def work(send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        pass

    for number in range(KEPT + 50):
        await repeats.once("ci", str(number), (b"x",), work, send)
    assert len(repeats._firsts) <= KEPT
    assert ("ci", "0") not in repeats._firsts and ("ci", str(KEPT + 49)) in repeats._firsts


async def test_a_request_whose_sender_goes_away_is_not_done(place, desk):
    app, first, _ = place
    body = json.dumps({"count": 2}).encode()
    coming = [{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}]
    headers = [(b"authorization", first.headers["authorization"].encode()), (b"content-length", b"999")]
    scope = {"type": "http", "method": "POST", "path": SCALE.replace("scale", "restart"), "headers": headers}
    said = []

    async def receive():
        return coming.pop(0)

    async def send(message):
        said.append(message)

    await app({**scope, "query_string": b"", "client": ("10.0.0.9", 1)}, receive, send)
    assert (said[0]["status"], desk.done) == (408, [])
