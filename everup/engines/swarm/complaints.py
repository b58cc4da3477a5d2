"""What Docker's refusals mean: no answer for now, nothing of that name, a conflict, or an error to show. Pure."""

import json

from everup.model.errors import EngineError, Unavailable

STALE = "update out of sequence"
"""What Docker says, with status 500, to whoever changes an object by a version that is not its newest."""

_PASSING = (
    "does not have a leader",
    "no leader",
    "has no leader",
    "lost leader status",
    "deadlineexceeded",
    "deadline exceeded",
    "code = unavailable",
    "transport is closing",
    "context canceled",
    "request timed out",
    "being prepared or has trouble connecting",
)
"""Parts of messages, in small letters, of a Swarm that cannot answer now and may soon."""


class Missing(EngineError):
    """Docker has no object of that name."""

    default_code = "engine.no_such_object"


class Conflict(EngineError):
    """The object is there already, is in use, or was changed by somebody else meanwhile."""

    default_code = "engine.conflict"


def complaint(address: str, asked: str, status: int, body: bytes) -> EngineError:
    """The error that an answer other than 2xx and 3xx stands for.

    Args:
        address: of the Docker Engine.
        asked: what was asked, such as `POST /services/create`.
        status: of the answer.
        body: of the answer: JSON with `message`, or anything else.
    """
    message = reason(body) or f"status {status} and no reason"
    said = f"Docker at {address} refused {asked}: {message}"
    if status == 503 and "swarm init" in message:
        return Unavailable(
            f"Docker at {address} is not part of a Swarm",
            "Make it one (docker swarm init, or docker swarm join), or name another Docker in DOCKER_HOST.",
            code="engine.no_swarm",
        )
    if status == 503 and "Worker nodes" in message:
        return Unavailable(
            f"Docker at {address} is a worker of its Swarm, and only managers know of services",
            "Name a manager in DOCKER_HOST, or promote this one: docker node promote",
            code="engine.not_a_manager",
        )
    if status in (502, 503, 504) or any(part in message.lower() for part in _PASSING):
        return Unavailable(
            f"Docker at {address} cannot answer {asked} now: {message}",
            "More than half of the Swarm's managers must be up: docker node ls",
        )
    if STALE in message:
        return Conflict(said, "Somebody else changed it at the same time; try again.", code="engine.stale")
    if status == 404:
        return Missing(said)
    if status == 409:
        return Conflict(said)
    return EngineError(said)


def silence(address: str, asked: str, because: str) -> Unavailable:
    """The error for no answer at all; `because` says what happened instead."""
    return Unavailable(
        f"Docker at {address} does not answer {asked}: {because}",
        "See whether it runs (systemctl status docker) and whether you may use it (docker info).",
    )


def reason(body: bytes) -> str:
    """What Docker says in an error's body, on one line of at most 500 characters."""
    try:
        found = json.loads(body)
        text = str(found["message"]) if isinstance(found, dict) and "message" in found else str(found)
    except ValueError:
        text = body.decode(errors="replace")
    return " ".join(text.split())[:500]
