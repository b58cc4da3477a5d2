"""The API's description (OpenAPI) completed: who may ask, what a refusal looks like, and an example of every body."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI

from everup.api.errors import problem
from everup.api.gate import WRITES
from everup.api.permits import PERMITS
from everup.api.repeats import KEY_LENGTH
from everup.model.errors import Flaw, Refused, SpecError

Json = dict[str, Any]

_SPEC = "environment: shop\nservices:\n  redis01: {kind: redis}\n"
_SOURCE = {
    "file": "/srv/shop/everup.yaml",
    "text": _SPEC,
    "directory": "/srv/shop",
    "path": "/usr/local/bin:/usr/bin:/bin",
}
_SPREAD = {"median": 0.041, "max": 0.097}
_DRILL = {
    "id": "20261122T140330Z-redis01-crash",
    "at_utc": "2026-11-22T14:03:30.000+00:00",
    "service": "redis01",
    "kind": "redis",
    "fault": "crash",
    "via": "sentinel",
    "writers": 1,
    "rate": 200.0,
    "runs": [],
    "summary": {
        "verdict": "pass",
        "because": "rto kept",
        "targets": {"rto_s": 2.0, "lost": None},
        "rto_s": _SPREAD,
        "redundant_after_s": {"median": 1.2, "max": 2.0},
        "lost": 0,
        "acknowledged": 184201,
        "errors": 3,
    },
    "origin": {"environment": "shop"},
}

EXAMPLES: Mapping[str, Json] = {
    "/v1/apply": _SOURCE,
    "/v1/plan": _SOURCE,
    "/v1/dashboard": {"port": 8484},
    "/v1/notifications": {"name": "oncall", "url": "mailtos://me:secret@example.com", "topics": ["incident"]},
    "/v1/notification-tests": {"name": "oncall"},
    "/v1/tokens": {"name": "ci", "level": "developer", "environments": ["shop"], "expires_in_s": 2592000},
    "/v1/environments/{environment}/stop": {"destroy": False},
    "/v1/environments/{environment}/drills": _DRILL,
    "/v1/environments/{environment}/nodes/{node}/fault": {"fault": "crash", "for_s": 30},
    "/v1/environments/{environment}/services/{label}/scale": {"count": 5},
    "/v1/environments/{environment}/services/{label}/limit": {"count": 9},
    "/v1/environments/{environment}/services/{label}/switchover": {"to": "redis01-2"},
    "/v1/hosts/{host}/drain": {"force": False},
    "/v1/environments/{environment}/services/{label}/ha": {"enabled": True},
    "/v1/environments/{environment}/services/{label}/deploy": {"source": _SOURCE},
    "/v1/environments/{environment}/services/{label}/rollback": {"to": 3},
    "/v1/environments/{environment}/services/{label}/drill": {"fault": "crash", "via": "sentinel", "confirmed": True},
    "/v1/environments/{environment}/services/{label}/rotate": {"finish": False},
    "/v1/environments/{environment}/secrets": {"name": "stripe-key", "value": "the value"},
}
"""Path of a POST -> a body that makes sense."""

WORDS: Mapping[str, tuple[str, str]] = {
    "environment": ("shop", "The environment's name."),
    "label": ("redis01", "The service's label."),
    "node": ("redis01-1", "The node's id."),
    "name": ("web", "A label, or what a node, a secret or a token is called."),
}
"""Parameter of a path -> an example, and what it is."""

ANSWERS: Mapping[str, tuple[str, ...]] = {
    "GET /v1/caller": ("name", "level", "environments"),
    "GET /v1/control": ("version", "pid", "environments", "running"),
    "POST /v1/apply": ("environment", "changes"),
    "POST /v1/plan": ("changes", "pauses"),
    "GET /v1/environments": ("environments",),
    "GET /v1/environments/{environment}": ("environment", "engine", "health", "control_plane", "services"),
    "GET /v1/environments/{environment}/check": ("environment", "verdict", "services"),
    "GET /v1/environments/{environment}/lost": ("environment", "kept"),
    "GET /v1/environments/{environment}/drills": ("drills",),
    "GET /v1/environments/{environment}/services/{label}/explain": ("label", "kind", "health", "because", "now"),
    "GET /v1/environments/{environment}/services/{label}/connect": ("language", "snippet"),
    "POST /v1/environments/{environment}/services/{label}/scale": ("action", "node", "because"),
    "POST /v1/environments/{environment}/services/{label}/limit": ("action", "node", "because"),
    "POST /v1/environments/{environment}/services/{label}/ha": ("action", "node", "because", "predicted_pause_s"),
    "POST /v1/environments/{environment}/services/{label}/restart": ("label", "revision"),
    "POST /v1/environments/{environment}/services/{label}/deploy": ("label", "revision"),
    "POST /v1/environments/{environment}/services/{label}/rollback": ("label", "revision"),
    "POST /v1/environments/{environment}/services/{label}/rotate": ("label", "user", "former", "restarted", "sessions"),
    "GET /v1/environments/{environment}/secrets": ("secrets",),
    "POST /v1/environments/{environment}/secrets": ("name", "set_at_utc", "set_by", "used_by"),
    "GET /v1/audit": ("entries",),
    "GET /v1/tokens": ("tokens",),
    "POST /v1/tokens": ("name", "level", "environments", "created_utc", "expires_utc", "used_utc", "secret"),
}
"""Method and path -> fields that its answer always has."""


def describe(app: FastAPI) -> None:
    """Complete the description that the application publishes."""
    plain = app.openapi
    app.openapi = lambda: app.openapi_schema or _completed(app, plain())  # type: ignore[method-assign]


def _completed(app: FastAPI, schema: Json) -> Json:
    parts = schema.setdefault("components", {})
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "description": "everup token create"}}
    parts["schemas"] = {name: one for name, one in parts.get("schemas", {}).items() if "ValidationError" not in name}
    parts["schemas"]["Problem"] = _problem_schema()
    parts["responses"] = {
        "Problem": {
            "description": "It was not done; `code` says why.",
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    }
    schema["security"] = [{"token": []}]
    for path, method, operation in _operations(schema):
        _complete(path, method, operation)
    app.openapi_schema = schema
    return schema


def _operations(schema: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _complete(path: str, method: str, operation: Json) -> None:
    key = f"{method} {path}"
    operation["responses"].pop("422", None)
    for status in ("4XX", "5XX"):
        operation["responses"][status] = {"$ref": "#/components/responses/Problem"}
    if permit := PERMITS.get(key):
        operation["x-everup-level"] = permit.level.value if permit.level else None
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path" and parameter["name"] in WORDS:
            parameter["example"], parameter["description"] = WORDS[parameter["name"]]
    if method in WRITES:
        operation.setdefault("parameters", []).append(_key_parameter())
    if "requestBody" in operation and path in EXAMPLES:
        operation["requestBody"]["content"]["application/json"]["example"] = EXAMPLES[path]
    if fields := ANSWERS.get(key):
        done = next(one for status, one in operation["responses"].items() if status.startswith("2"))
        done["content"]["application/json"]["schema"] |= {"type": "object", "required": list(fields)}


def _key_parameter() -> Json:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "The same request with the same key again gets the first answer; nothing is done twice.",
        "schema": {"type": "string", "pattern": f"^[!-~]{{1,{KEY_LENGTH}}}$"},
    }


def _problem_schema() -> Json:
    """What `everup.api.errors.problem` makes."""
    texts = {name: {"type": "string"} for name in ("type", "title", "detail", "code", "message", "hint")}
    optional = {name: {"type": ["string", "null"]} for name in ("at", "file")}
    flaws = {"type": "array", "items": {"type": "object", "required": ["message", "line", "column"]}}
    known = {**texts, **optional, "status": {"type": "integer"}, "flaws": flaws}
    limit = Refused(
        "web may run at most 6 instances here", "An operator can raise it.", code="refused.limit", label="web"
    )
    wrong = SpecError("everup.yaml", (Flaw("kind is missing", 3, 5, "Say which."),))
    return {
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "required": sorted(known),
        "properties": known,
        "examples": [problem(limit), problem(wrong)],
    }
