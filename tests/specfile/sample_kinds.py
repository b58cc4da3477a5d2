"""Kinds for tests of the spec file alone: the shapes that real ones have, and nothing that runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from everup.model.contracts import Claim, Grant, Kind
from everup.model.desired import Blueprint, Node, Part, Probe, Protocol
from everup.model.observed import Reading
from everup.model.spec import Duration, FromSecret, Frozen, Service


class Group(Frozen):
    replicas: int = Field(default=2, description="Copies beside the primary.")
    sentinels: Annotated[int, Field(ge=3)] = 3

    @field_validator("replicas")
    @classmethod
    def _enough(cls, value: int) -> int:
        if value < 2:
            raise ValueError("one pair cannot lose a node and stay redundant", "Use 2 or more replicas.")
        return value


class Store(Service):
    """A store with a primary."""

    ha: bool | Group = Field(default=False, description="One node, or a group.")
    durability: Literal["fast", "safe"] = "fast"
    auth: bool = False
    rto: Duration | None = None


class Program(Service):
    """A program in several instances."""

    run: str = Field(description="The command line.", min_length=1)
    scale: Annotated[int, Field(ge=0)] = 1
    limit: int = 10
    env: dict[str, str | FromSecret] = Field(default_factory=dict)
    stop_grace: Duration = 10.0

    @model_validator(mode="after")
    def _within_limit(self) -> "Program":
        if self.scale > self.limit:
            raise ValueError(f"scale is over its limit of {self.limit}", "Raise limit, or lower scale.")
        return self


@dataclass(frozen=True)
class SampleKind:
    name: str
    prefix: str | None
    service: type[Service]
    suffixes: tuple[str, ...] = ("URL",)
    parts: tuple[str, ...] = ("1",)
    connect: Mapping[str, str] = field(default_factory=dict)

    def claims(self, label: str, service: Any) -> tuple[Claim, ...]:
        return (*(Claim(part, {"tcp": 1000}) for part in self.parts), Claim("password"))

    def blueprint(self, service: Any, grant: Grant) -> Blueprint:
        for name in re.findall(r"\$([A-Z_0-9]+)", getattr(service, "run", "")):
            if name not in grant.variables:
                raise ValueError(f"run names ${name}, which it is not given", "Add the label to needs.")
        ask = Probe(Protocol.NONE, None, lambda replies: Reading(ready=True))
        nodes = [
            Node(f"{grant.label}-{part}", grant.label, Part.DATA, "true", (str(grant.listeners[part]["tcp"]),), ask)
            for part in self.parts
        ]
        bindings = dict.fromkeys(self.suffixes, grant.secrets["password"])
        return Blueprint(grant.label, self.name, False, tuple(nodes), service.needs, bindings=bindings)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        SampleKind("redis", "REDIS", Store, ("URL", "SENTINEL_URL", "SENTINEL_LIST"), ("1", "2", "sentinel-1")),
        SampleKind("database", "DATABASE", Store),
        SampleKind("app", None, Program, parts=("1", "endpoint")),
        SampleKind("worker", None, Program, suffixes=()),
    )
}
