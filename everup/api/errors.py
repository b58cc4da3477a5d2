"""Errors as HTTP answers: one table from class to status, and one body (RFC 9457 problem details)."""

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from everup.core.permission import unknown
from everup.model.access import Caller
from everup.model.errors import (
    EngineError,
    EverupError,
    Inconclusive,
    NotFound,
    NotPermitted,
    Refused,
    SpecError,
    TooMany,
    Unavailable,
)


class Unnamed(NotPermitted):
    """Nobody said who asks, or with a token that is none (any more)."""

    default_code = "unauthenticated"


class TooLarge(EverupError):
    """A request carries more than its route takes."""

    default_code = "request.too_large"


class TooSlow(EverupError):
    """A request did not come whole in time."""

    default_code = "request.too_slow"


class WrongMethod(EverupError):
    """The path has a route, for other methods; `allow` names them."""

    default_code = "request.method"

    def __init__(self, method: str, allow: tuple[str, ...]) -> None:
        super().__init__(f"{method} is nothing that can be done here", f"Possible: {', '.join(allow)}.")
        self.allow = allow


class Repeated(EverupError):
    """An Idempotency-Key that cannot be used, or was used for another request."""

    default_code = "request.key_reused"


STATUS: Mapping[type[EverupError], int] = {
    Unnamed: 401,
    WrongMethod: 405,
    TooSlow: 408,
    TooLarge: 413,
    TooMany: 429,
    Repeated: 422,
    SpecError: 422,
    NotFound: 404,
    NotPermitted: 403,
    Refused: 409,
    Inconclusive: 409,
    Unavailable: 503,
    EngineError: 502,
    EverupError: 400,
}
"""The most specific class of an error decides its HTTP status."""


def status_of(error: EverupError) -> int:
    """The HTTP status of an error."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def problem(error: EverupError) -> dict[str, Any]:
    """The body of an error, by RFC 9457: `type` and `code` name the problem for programs, `detail` tells it to people.

    `at` is `file:line:column` of a first flaw, else what the error is about, or null; `message` is `detail`.
    """
    flaws = error.flaws if isinstance(error, SpecError) else ()
    return {
        "type": f"urn:everup:problem:{error.code}",
        "title": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).capitalize(),
        "status": status_of(error),
        "detail": error.message,
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "at": _at(error),
        "file": error.file if isinstance(error, SpecError) else None,
        "flaws": [asdict(flaw) for flaw in flaws],
    }


def _at(error: EverupError) -> str | None:
    if isinstance(error, SpecError):
        return f"{error.file}:{error.flaws[0].line}:{error.flaws[0].column}"
    return next((str(value) for value in error.subject.values()), None)


def answer(error: EverupError) -> JSONResponse:
    """The HTTP answer to an error."""
    headers = {}
    if isinstance(error, Unnamed):
        headers["WWW-Authenticate"] = 'Bearer realm="everup"'
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, WrongMethod):
        headers["Allow"] = ", ".join(error.allow)
    return JSONResponse(problem(error), status_of(error), headers, media_type="application/problem+json")


def _for(caller: Caller | None, error: EverupError) -> EverupError:
    """What a caller is told: whoever is for some environments reads no names of others in a hint."""
    if isinstance(error, NotFound) and "environment" in error.subject and caller and caller.environments is not None:
        return unknown(str(error.subject["environment"]), caller.environments)
    return error


def install(app: FastAPI) -> None:
    """Make every failure of a route a problem-details answer."""

    async def expected(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, EverupError)
        caller: Caller | None = getattr(request.state, "caller", None)
        return answer(_for(caller, error))

    async def malformed(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return answer(EverupError(f"the request is wrong at {where}: {first['msg']}", code="request.invalid"))

    async def unrouted(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        body = problem(EverupError(str(error.detail), code="request.invalid", path=request.url.path))
        body |= {"title": str(error.detail), "status": error.status_code}
        return JSONResponse(body, error.status_code, error.headers, media_type="application/problem+json")

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        logging.getLogger("everup.api").error("%s %s failed", request.method, request.url.path, exc_info=error)
        body = problem(
            EverupError(
                f"something broke inside Everup: {type(error).__name__}: {error}",
                "The control plane's log has the details.",
                code="internal",
            )
        )
        return JSONResponse(body | {"status": 500}, 500, media_type="application/problem+json")

    app.add_exception_handler(EverupError, expected)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, unrouted)
    app.add_exception_handler(Exception, unexpected)
