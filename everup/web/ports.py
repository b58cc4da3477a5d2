"""What the dashboard needs of those around it; the composition root hands it over."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive

from everup.model.access import Caller
from everup.model.errors import EverupError
from everup.model.events import Event
from everup.model.picture import Picture

Json = dict[str, Any]

BASE = "/ui"
"""Where the dashboard is mounted; its cookies are for this path alone, so the API never sees one."""

Authenticate = Callable[[str], Caller | None]
"""Who a token stands for; None when it stands for nobody any more."""


class Doorway(Protocol):
    """What all ways into this process have in common: who shows a token, how often, how much; and the audit log."""

    authenticate: Authenticate

    def address_of(self, scope: Mapping[str, Any]) -> str:
        """Where a request came from, as tries are counted; "" for the Unix socket."""
        ...

    def recognise(self, secret: str, address: str) -> Caller | None:
        """Who shows this at `address`; None: it is no token. `TooMany` where too many wrong ones came from there."""
        ...

    def count(self, who: str, address: str) -> None:
        """Count a request of somebody known, `who`, or of a stranger (""). `TooMany` where there were too many."""
        ...

    async def bounded(self, receive: Receive, headers: Headers, most_bytes: int) -> Receive:
        """What gives the body of a request; `EverupError` where it is too long, or does not come in time."""
        ...

    async def note(self, scope: Mapping[str, Any], status: int, code: str = "") -> None:
        """Record what came of a request; `scope["state"]` has the `caller`, and what was `given`."""
        ...

    def answer(self, error: EverupError) -> ASGIApp:
        """The HTTP answer to an error, for whoever gets no page."""
        ...


class Desk(Protocol):
    """The control plane as the pages see it. An unknown environment or name raises `NotFound`."""

    def environments(self) -> list[str]:
        """The names of all environments."""
        ...

    def picture(self, environment: str) -> Picture:
        """The environment as declared and as observed, at this moment."""
        ...

    def events(self, environment: str, *, after: int, follow: bool) -> AsyncIterator[Event]:
        """Events with a `seq` above `after` (negative: the newest `-after`), oldest first; with `follow` what comes."""
        ...

    def logs(self, environment: str, name: str, *, lines: int, follow: bool) -> AsyncIterator[tuple[str, str]]:
        """(node id, line) of one node, or of every node of a label."""
        ...

    def drills(self, environment: str) -> list[Json]:
        """Every drill that is kept, oldest first."""
        ...


@dataclass(frozen=True)
class Tongue:
    """How the model is put in JSON, as the API does it: the dashboard shows nothing that the API does not tell.

    Attributes:
        status: an environment, as `everup status --json` prints it.
        verdict: an environment, as `everup check --json` prints it.
        event: one event, with its sentence.
        status_of: the HTTP status of an error.
    """

    status: Callable[[Picture], Json]
    verdict: Callable[[Picture], Json]
    event: Callable[[Event], Json]
    status_of: Callable[[EverupError], int]
