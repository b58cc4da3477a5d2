"""The API as the commands use it: JSON over the private Unix socket, or over TCP; failures are `EverupError`s again."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from everup.model.errors import (
    EverupError,
    Flaw,
    NotFound,
    NotPermitted,
    Refused,
    SpecError,
)
from everup.runtime.home import Home

Json = dict[str, Any]

TOO_MANY = 429
PATIENCE = 30
"""How often a request that came too soon after others is sent again, each time when the answer says."""

_CLASSES: Mapping[int, type[EverupError]] = {401: NotPermitted, 403: NotPermitted, 404: NotFound, 409: Refused}


class Gone(EverupError):
    """Nobody listens on the socket, or whoever did went away."""

    default_code = "unreachable"


class Mute(EverupError):
    """A control plane is there, and does not answer in time."""

    default_code = "unanswered"


class Client:
    """A connection to a control plane.

    Every method raises the error that the control plane reported, `Gone` or `Mute` when it reports nothing.

    Args:
        http: how it is reached, with `/v1/` as its base.
        where: what errors call it.

    Attributes:
        use: descriptor of the lock that this command shares with others that use the control plane, or None.
    """

    hint = "Run the command again: it is started anew and adopts what runs."
    """What to do when the control plane went away."""

    def __init__(self, http: httpx.Client, where: str) -> None:
        self.use: int | None = None
        self._http = http
        self._where = where

    @classmethod
    def at(cls, home: Home) -> "Client":
        """The control plane of `home`, by its socket.

        Raises:
            NotPermitted: somebody else could have put that socket there.
        """
        home.check()
        transport = httpx.HTTPTransport(uds=str(home.socket))
        timeout = httpx.Timeout(30.0, connect=2.0)
        return cls(httpx.Client(transport=transport, base_url="http://everup/v1/", timeout=timeout), str(home.socket))

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Json:
        """The JSON object at `path`, relative to /v1."""
        return self._ask("GET", path, params=params)

    def delete(self, path: str) -> Json:
        """Delete what is at `path`, relative to /v1, and return the answer."""
        return self._ask("DELETE", path)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        """Send an object to `path`, relative to /v1, and return the answer."""
        return self._ask("POST", path, json=body if body is not None else {})

    def lines(self, path: str, **params: Any) -> Iterator[Json]:
        """The objects of a stream, as they come; ends when the control plane ends it."""
        try:
            with self._http.stream(
                "GET", path, params=_plain(params), timeout=httpx.Timeout(None, connect=2.0)
            ) as answer:
                if answer.is_error:
                    answer.read()
                    raise error_of(answer.status_code, _body(answer))
                for line in answer.iter_lines():
                    if not line:
                        continue
                    one = json.loads(line)
                    if "error" in one and "code" in one["error"]:
                        raise error_of(one["error"]["status"], one["error"])
                    yield one
        except httpx.TransportError as error:
            raise self._gone(error) from error

    def _ask(self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: Any = None) -> Json:
        try:
            for _ in range(PATIENCE):
                answer = self._http.request(method, path, params=_plain(params or {}), json=json)
                if answer.status_code != TOO_MANY:
                    break
                time.sleep(float(answer.headers.get("Retry-After", 1)))
        except httpx.TransportError as error:
            raise self._gone(error) from error
        if answer.is_error:
            raise error_of(answer.status_code, _body(answer))
        body: Json = answer.json()
        return body

    def _gone(self, error: httpx.TransportError) -> EverupError:
        if isinstance(error, httpx.TimeoutException):
            return Mute(
                f"the control plane behind {self._where} does not answer", "everup doctor says where its log is."
            )
        return Gone("the control plane went away", self.hint)


def error_of(status: int, body: Json) -> EverupError:
    """The error that an answer tells of."""
    if body.get("flaws"):
        flaws = tuple(Flaw(**{**flaw, "accepted": tuple(flaw["accepted"])}) for flaw in body["flaws"])
        return SpecError(body.get("file") or "everup.yaml", flaws)
    cls = _CLASSES.get(status, EverupError)
    return cls(
        body.get("message") or f"the control plane answered {status}",
        body.get("hint") or "",
        code=body.get("code") or "failed",
        **({"at": body["at"]} if body.get("at") else {}),
    )


def _body(answer: httpx.Response) -> Json:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in params.items()}


def service_in(body: Json, label: str) -> Json:
    """One service of a status.

    Raises:
        NotFound: it has none of that label; the hint names those it has.
    """
    for one in body["services"]:
        if one["label"] == label:
            found: Json = one
            return found
    known = ", ".join(one["label"] for one in body["services"])
    raise NotFound(f"{body['environment']} has no service {label}", f"It has: {known}" if known else "", label=label)
