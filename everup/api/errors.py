"""Errors as HTTP answers: one table from class to status, and one body (RFC 9457 problem details)."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from everup.model.errors import (
    EngineError,
    EverupError,
    Inconclusive,
    NotFound,
    NotPermitted,
    Refused,
    SpecError,
    Unavailable,
)

STATUS: Mapping[type[EverupError], int] = {
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
    """The body of an error: `at` is `file:line:column` of a first flaw, else what the error is about, or null."""
    flaws = error.flaws if isinstance(error, SpecError) else ()
    return {
        "type": "about:blank",
        "title": type(error).__name__,
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
    return JSONResponse(problem(error), status_of(error), media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Make every failure of a route a problem-details answer."""

    async def expected(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, EverupError)
        return answer(error)

    async def malformed(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return answer(EverupError(f"the request is wrong at {where}: {first['msg']}", code="request.invalid"))

    async def unrouted(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        body = problem(EverupError(str(error.detail), code="request.invalid", path=request.url.path))
        body |= {"title": str(error.detail), "status": error.status_code}
        return JSONResponse(body, error.status_code, media_type="application/problem+json")

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
