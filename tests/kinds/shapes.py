"""Grants and specs for tests of kinds, made as an environment would make them."""

from collections.abc import Mapping
from typing import Any

from everup.kinds import load_kinds
from everup.model.contracts import Grant, Kind
from everup.model.desired import Blueprint, Tcp

KINDS = load_kinds()

SPECS: Mapping[str, dict[str, Any]] = {
    "app": {"run": "serve --on $HOST:$PORT --redis ${REDIS_URL}", "scale": 2, "limit": 3, "health": "/healthz"},
    "worker": {"run": "work $REDIS_URL", "scale": 2, "limit": 3},
    "redis": {},
    "etcd": {},
    "postgres": {},
}

VARIABLES = {"REDIS_URL": "redis://127.0.0.9:6379"}


def service(kind: str, **keys: Any) -> Any:
    """A validated part of a spec."""
    return KINDS[kind].service.model_validate({"kind": kind, **SPECS[kind], **keys})


def grant(kind: Kind, declared: Any, label: str = "web", *, before: Grant | None = None, **fields: Any) -> Grant:
    """Everything the service claims; what `before` was granted stays as it is."""
    listeners = dict(before.listeners) if before else {}
    secrets = dict(before.secrets) if before else {}
    for claim in kind.claims(label, declared):
        if claim.ports:
            host = f"127.0.0.{len(listeners) + 2}"
            listeners.setdefault(claim.key, {name: Tcp(host, port) for name, port in claim.ports.items()})
        else:
            secrets.setdefault(claim.key, "secret")
    known: dict[str, Any] = {"variables": VARIABLES, "directory": "/srv/shop", "path": "/usr/bin", **fields}
    return Grant(label, listeners, secrets, **known)


def blueprint(kind: str, label: str = "web", *, before: Grant | None = None, **keys: Any) -> Blueprint:
    """The blueprint of a service with these keys."""
    revision = keys.pop("revision", 0)
    declared = service(kind, **keys)
    granted = grant(KINDS[kind], declared, label, before=before, revision=revision)
    return KINDS[kind].blueprint(declared, granted)
