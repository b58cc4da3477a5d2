"""A desk over a healthy world, and a client of the API before it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from everup.api.app import create_app
from everup.api.gate import owned
from tests.api.small_desk import SmallDesk, redis, web, world


@pytest.fixture
def desk() -> SmallDesk:
    return SmallDesk(world(redis(), web()))


@pytest.fixture
async def http(desk: SmallDesk) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(owned(create_app(desk)), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://everup/v1") as client:
        yield client
