"""The routes of notifications: where they go, and trying that. A URL goes in and never comes out."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from everup.api.desk import Desk
from everup.model.notices import Destination, Topic, scheme_of
from everup.model.spec import Frozen

Json = dict[str, Any]


class NewDestination(Frozen):
    """Where notifications are to go: an Apprise URL; empty lists: about everything, of all environments."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$", examples=["oncall"])
    url: str = Field(repr=False, min_length=4, max_length=4000, examples=["json://hooks.example.com/everup"])
    topics: Annotated[tuple[Annotated[Topic, Field(strict=False)], ...], Field(strict=False)] = ()
    environments: Annotated[tuple[str, ...], Field(strict=False)] = ()


class Trial(Frozen):
    """Which destination to try; None: all of them."""

    name: str | None = None


def notify_routes(desk: Desk) -> APIRouter:
    """Destinations, which concern all environments."""
    router = APIRouter(prefix="/v1/notifications", tags=["notifications"])

    @router.get("")
    async def destinations() -> Json:
        """Where notifications go; of each URL the scheme alone."""
        return {"destinations": [_shown(one) for one in desk.messenger.destinations()]}

    @router.post("", status_code=201)
    async def add(request: NewDestination) -> Json:
        """Send notifications there as well; refused where nobody understands the URL."""
        one = Destination(request.name, scheme_of(request.url), request.topics, request.environments)
        await desk.messenger.add(one, request.url)
        return _shown(one)

    @router.post("/test")
    async def test(request: Trial) -> Json:
        """Send a message, once, and say what became of it."""
        tried = await desk.messenger.test(request.name)
        return {"deliveries": [{"name": one.name, "sent": one.sent, "because": one.because} for one in tried]}

    @router.delete("/{name}")
    async def remove(name: str) -> Json:
        """Send nothing there any more."""
        await desk.messenger.remove(name)
        return {"name": name}

    return router


def _shown(one: Destination) -> Json:
    topics = [topic.value for topic in one.topics]
    return {"name": one.name, "scheme": one.scheme, "topics": topics, "environments": list(one.environments)}
