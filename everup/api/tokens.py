"""The routes of tokens."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Annotated, Any, Protocol

from fastapi import APIRouter
from pydantic import Field

from everup.api.gate import Asking
from everup.model.access import Caller, Level
from everup.model.spec import Frozen, Label
from everup.model.tokens import Token

Json = dict[str, Any]

LONGEST_S = 10 * 365 * 86_400.0


class TokenDesk(Protocol):
    """Tokens as the API needs them; `everup.runtime.tokens` has the real ones."""

    def authenticate(self, secret: str) -> Caller | None:
        """Who shows this secret; None: nobody who may."""
        ...

    def tokens(self) -> list[Token]:
        """All that were created and not revoked."""
        ...

    async def create(
        self, name: str, level: Level, environments: Collection[str] | None, expires_in_s: float | None
    ) -> tuple[Token, str]:
        """Make a token; and its secret. `Refused` when the name is taken."""
        ...

    async def revoke(self, name: str) -> None:
        """End a token; `NotFound` when there is none of that name."""
        ...


class Wanted(Frozen):
    """A token to be made: `environments` None for all, `expires_in_s` None for never."""

    name: Label
    level: Annotated[Level, Field(strict=False)]
    environments: Annotated[tuple[Label, ...] | None, Field(strict=False, min_length=1, max_length=100)] = None
    expires_in_s: Annotated[float | None, Field(strict=False, gt=0, le=LONGEST_S)] = None


def token_routes(tokens: TokenDesk) -> APIRouter:
    """Making, listing and ending tokens, and asking who one is."""
    router = APIRouter(prefix="/v1", tags=["access"])

    @router.get("/caller")
    async def caller(caller: Asking) -> Json:
        """Who asks: the name, the level, and the environments it is for; null: all."""
        where = None if caller.environments is None else sorted(caller.environments)
        return {"name": caller.name, "level": caller.level.value, "environments": where}

    @router.get("/tokens")
    async def all_tokens() -> Json:
        """Every token that was made and not revoked, without its secret."""
        return {"tokens": [asdict(one) for one in tokens.tokens()]}

    @router.post("/tokens", status_code=201)
    async def create(request: Wanted) -> Json:
        """Make a token. `secret` is shown this once and kept nowhere."""
        token, secret = await tokens.create(request.name, request.level, request.environments, request.expires_in_s)
        return {**asdict(token), "secret": secret}

    @router.delete("/tokens/{name}")
    async def revoke(name: str) -> Json:
        """End a token, at once."""
        await tokens.revoke(name)
        return {"name": name}

    return router
