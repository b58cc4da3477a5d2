"""Who may ask for what: one table, read by the gate, by the documentation and by the test that walks every route."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from starlette.routing import compile_path

from everup.core.permission import forbidden
from everup.model.access import OWNER, Caller, Level
from everup.model.errors import NotPermitted

BODY_BYTES = 1_000_000
"""How much a request may carry unless its permit says otherwise."""


class Concern(StrEnum):
    """Of which environments a route speaks."""

    ENVIRONMENT = "the environment in its path"
    TO_BE = "the environment in its path, which need not have been applied yet"
    SPEC = "the environment that the spec names"
    OWN = "those that the caller may see"
    WHOLE = "all: no token of single environments"
    OWNER = "none: no token, only the socket's owner"


@dataclass(frozen=True)
class Permit:
    """Who may ask: from which level on, and for which environments. With `level` None, whoever comes."""

    level: Level | None
    concern: Concern = Concern.ENVIRONMENT
    body_bytes: int = BODY_BYTES


_LOOK, _DEVELOP, _OPERATE = Permit(Level.VIEWER), Permit(Level.DEVELOPER), Permit(Level.OPERATOR)
_IN = "/v1/environments/{environment}"

PERMITS: Mapping[str, Permit] = {
    "GET /v1/openapi.json": Permit(Level.VIEWER, Concern.OWN),
    "GET /v1/caller": Permit(Level.VIEWER, Concern.OWN),
    "GET /v1/control": Permit(Level.VIEWER, Concern.OWN),
    "POST /v1/control/stop": Permit(Level.OPERATOR, Concern.WHOLE),
    "POST /v1/plan": Permit(Level.DEVELOPER, Concern.SPEC),
    "POST /v1/apply": Permit(Level.DEVELOPER, Concern.SPEC),
    "GET /v1/environments": Permit(Level.VIEWER, Concern.OWN),
    f"GET {_IN}": _LOOK,
    f"GET {_IN}/check": _LOOK,
    f"GET {_IN}/events": _LOOK,
    f"GET {_IN}/drills": _LOOK,
    f"GET {_IN}/services/{{label}}/explain": _LOOK,
    f"GET {_IN}/variables": _DEVELOP,  # with passwords
    f"GET {_IN}/services/{{label}}/connect": _DEVELOP,  # with passwords
    f"GET {_IN}/logs/{{name}}": _DEVELOP,  # apps print what they like
    f"GET {_IN}/lost": _DEVELOP,  # names keys that clients wrote
    f"POST {_IN}/services/{{label}}/scale": _DEVELOP,
    f"POST {_IN}/services/{{label}}/restart": _DEVELOP,
    f"POST {_IN}/services/{{label}}/deploy": _DEVELOP,
    f"POST {_IN}/services/{{label}}/rollback": _DEVELOP,
    f"POST {_IN}/services/{{label}}/limit": _OPERATE,
    f"POST {_IN}/services/{{label}}/ha": _OPERATE,
    f"POST {_IN}/services/{{label}}/switchover": _OPERATE,
    f"POST {_IN}/services/{{label}}/drill": _OPERATE,  # with passwords
    f"POST {_IN}/drills": Permit(Level.OPERATOR, body_bytes=16 * BODY_BYTES),  # a thousand runs, each with its graphs
    f"POST {_IN}/nodes/{{node}}/fault": _OPERATE,
    f"POST {_IN}/stop": _OPERATE,
    "GET /metrics": Permit(Level.VIEWER, Concern.OWN),
    "GET /v1/notifications": Permit(Level.OPERATOR, Concern.WHOLE),
    "POST /v1/notifications": Permit(Level.OPERATOR, Concern.WHOLE),
    "POST /v1/notification-tests": Permit(Level.OPERATOR, Concern.WHOLE),
    "DELETE /v1/notifications/{name}": Permit(Level.OPERATOR, Concern.WHOLE),
    "POST /v1/dashboard": Permit(Level.OPERATOR, Concern.OWNER),
    f"POST {_IN}/services/{{label}}/rotate": _OPERATE,
    f"GET {_IN}/secrets": Permit(Level.OPERATOR, Concern.TO_BE),
    f"POST {_IN}/secrets": Permit(Level.OPERATOR, Concern.TO_BE),
    f"POST {_IN}/secrets/{{name}}/remove": Permit(Level.OPERATOR, Concern.TO_BE),
    "GET /v1/hosts": Permit(Level.VIEWER, Concern.WHOLE),
    "POST /v1/hosts/{host}/drain": Permit(Level.OPERATOR, Concern.WHOLE),
    "POST /v1/hosts/{host}/undrain": Permit(Level.OPERATOR, Concern.WHOLE),
    "GET /v1/audit": Permit(Level.OPERATOR, Concern.WHOLE),
    "GET /v1/tokens": Permit(Level.OPERATOR, Concern.WHOLE),
    "POST /v1/tokens": Permit(Level.OPERATOR, Concern.WHOLE),
    "DELETE /v1/tokens/{name}": Permit(Level.OPERATOR, Concern.WHOLE),
}
"""Method and path of every route -> who may ask. What is not here is nobody's."""


class Judgement(StrEnum):
    """What becomes of a request."""

    PERMITTED = "permitted"
    UNNAMED = "unnamed"  # nobody said who asks: 401
    HIDDEN = "hidden"  # the caller may not know whether the environment exists: 404
    FORBIDDEN = "forbidden"  # 403


def judge(permit: Permit | None, caller: Caller | None, environment: str | None) -> Judgement:
    """What becomes of a request by `caller` for a route with that `permit`, whose path names `environment`.

    `Concern.SPEC` is judged by the level here; `everup.core.permission` judges the spec itself.
    """
    if permit is not None and permit.level is None:
        return Judgement.PERMITTED
    if caller is None:
        return Judgement.UNNAMED
    if permit is None or permit.level is None:
        return Judgement.FORBIDDEN
    if permit.concern == Concern.OWNER:
        return Judgement.PERMITTED if caller == OWNER else Judgement.FORBIDDEN
    if permit.concern in (Concern.ENVIRONMENT, Concern.TO_BE):
        if not caller.may(Level.VIEWER, environment):
            return Judgement.HIDDEN
        return Judgement.PERMITTED if caller.may(permit.level, environment) else Judgement.FORBIDDEN
    high_enough = Caller(caller.name, caller.level).may(permit.level)
    near_enough = permit.concern != Concern.WHOLE or caller.environments is None
    return Judgement.PERMITTED if high_enough and near_enough else Judgement.FORBIDDEN


def refusal(permit: Permit | None, caller: Caller) -> NotPermitted:
    """What a caller is told that a request is forbidden to."""
    if permit is None or permit.level is None:
        return NotPermitted("this is nobody's to ask for", "Its route is missing from everup/api/permits.py.")
    if permit.concern == Concern.OWNER:
        return NotPermitted(
            "only the owner of the control plane, by its Unix socket, may do that",
            "Sign in with your token at /ui.",
        )
    if not Caller(caller.name, caller.level).may(permit.level):
        return forbidden(caller, permit.level)
    return NotPermitted(
        f"{caller.name} is for {', '.join(sorted(caller.environments or ()))} only, and this concerns all environments",
        "It takes a token without --environment.",
    )


_PATTERNS = [(key.partition(" ")[0], compile_path(key.partition(" ")[2])[0], permit) for key, permit in PERMITS.items()]


def methods_for(path: str) -> tuple[str, ...]:
    """The methods for which a path has a route."""
    return tuple(sorted({method for method, pattern, _ in _PATTERNS if pattern.match(path)}))


def permits_for(method: str, path: str) -> Iterator[tuple[Permit, str | None]]:
    """The permits whose route has that method and path, each with the environment that the path names: one or none."""
    method = "GET" if method == "HEAD" else method
    for wanted, pattern, permit in _PATTERNS:
        if wanted == method and (found := pattern.match(path)):
            yield permit, found.groupdict().get("environment")
