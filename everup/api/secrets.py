"""The routes of secrets: values go in, and no route gives one out."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field, SecretStr, field_validator

from everup.api.desk import Desk
from everup.model.access import OWNER, Caller
from everup.model.spec import LABEL_PATTERN, Frozen, SecretName

Json = dict[str, Any]

LONGEST = 65_536
"""Characters of a secret; a variable of the environment takes 128 KB."""

Environment = Annotated[str, Path(pattern=LABEL_PATTERN)]


class Setting(Frozen):
    """A secret and its value."""

    name: SecretName
    value: Annotated[SecretStr, Field(strict=False, min_length=1, max_length=LONGEST)]

    @field_validator("value")
    @classmethod
    def _fit_for_an_environment(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text):
            raise ValueError("must be text that a variable can hold, without NUL characters")
        return value


class Rotation(Frozen):
    """With `finish` the former password ends, and with `cut` the sessions that may have begun with it too."""

    finish: bool = False
    cut: bool = False


def secret_routes(desk: Desk) -> APIRouter:
    """The secrets of an environment, which need not run yet, and the passwords of its services."""
    router = APIRouter(prefix="/v1/environments/{environment}", tags=["secrets"])

    @router.get("/secrets")
    async def kept(environment: Environment) -> Json:
        """The names of the secrets that are set, when and by whom, and which services use them."""
        return {"secrets": [asdict(one) for one in desk.secrets.kept(environment)]}

    @router.post("/secrets")
    async def put(environment: Environment, setting: Setting, request: Request) -> Json:
        """Set a secret. Whoever uses it reads it when it starts the next time; nothing is restarted."""
        caller: Caller = getattr(request.state, "caller", OWNER)
        return asdict(await desk.secrets.put(environment, setting.name, setting.value.get_secret_value(), caller.name))

    @router.post("/secrets/{name}/remove")
    async def remove(environment: Environment, name: str) -> Json:
        """Forget a secret; refused while a service uses it."""
        await desk.secrets.remove(environment, name)
        return {"name": name}

    @router.post("/services/{label}/rotate")
    async def rotate(environment: Environment, label: str, rotation: Rotation) -> Json:
        """Give clients of a service another password beside the former one; or end that."""
        if rotation.finish:
            former, sessions = await desk.finish_rotation(environment, label, rotation.cut)
            return {"label": label, "user": None, "former": former, "restarted": [], "sessions": sessions}
        user, former, users = await desk.rotate(environment, label)
        return {"label": label, "user": user, "former": former, "restarted": users, "sessions": None}

    return router
