"""The user's words: an environment and its services, as declared in `everup.yaml`."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)

from everup.model.resources import GIBIBYTE, MEBIBYTE, Resources, size_text

LABEL_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
RESERVED = ("everup-", "everup_")
"""What no declared label starts with: the labels of implied services do."""

Label = Annotated[str, StringConstraints(pattern=LABEL_PATTERN)]

SECRET_PATTERN = r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$"
SecretName = Annotated[str, StringConstraints(pattern=SECRET_PATTERN)]

_LONGEST_S = 86_400.0
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(value: Any) -> Any:
    """Turn `"500ms"`, `"2s"`, `"5m"`, `"1h"` or a plain number of seconds into seconds.

    Raises:
        ValueError: the text is not a duration.
    """
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value.strip())
        if not match:
            raise ValueError("must be a duration such as 500ms, 2s or 5m")
        return float(match[1]) * _UNITS_S[match[2]]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a duration such as 500ms, 2s or 5m")
    return value


def _within_a_day(value: float) -> float:
    if not 0 < value <= _LONGEST_S:
        raise ValueError("must be more than 0 and at most 24h")
    return value


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    AfterValidator(_within_a_day),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$",
            "exclusiveMinimum": 0,
            "maximum": _LONGEST_S,
            "examples": ["500ms", "2s"],
        }
    ),
]
"""Seconds, at most a day; written as `500ms`, `2s`, `5m`, `1h` or a number of seconds."""

_MOST_BYTES = 1 << 44
_UNITS_BYTES = {"Mi": MEBIBYTE, "Gi": GIBIBYTE}
_A_SIZE = "must be a size such as 512Mi or 2Gi"


def parse_size(value: Any) -> Any:
    """Turn `"512Mi"`, `"1.5Gi"` or a whole number of bytes into bytes.

    `M` and `G` are refused: to some programs they mean 1000 times 1000 bytes, to others 1024 times 1024.

    Raises:
        ValueError: the text is not a size; with what to write instead, where that can be told.
    """
    if isinstance(value, str):
        number, unit = re.fullmatch(r"(\d{1,12}(?:\.\d+)?|)(.*)", value.strip(), re.DOTALL).groups()  # type: ignore[union-attr]
        if number and unit in _UNITS_BYTES:
            return int(float(number) * _UNITS_BYTES[unit])
        near = f"{unit.strip()[:1].upper()}i"
        raise ValueError(_A_SIZE, f"Write {number}{near}." if number and near in _UNITS_BYTES else "")
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(_A_SIZE)
    return value


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": r"^\d+(\.\d+)?(Mi|Gi)$",
            "exclusiveMinimum": 0,
            "maximum": _MOST_BYTES,
            "examples": ["512Mi", "2Gi"],
        }
    ),
]
"""Bytes; written as `512Mi` (1024 times 1024 bytes each), `2Gi`, or a whole number of bytes."""

NEVER = "never"


def _or_never(value: Any) -> Any:
    """Seconds, or None for never."""
    if value is None or value == NEVER:
        return None
    if isinstance(value, str) and not re.match(r"\d", value.strip()):
        raise ValueError(f"must be a duration such as 10m, or {NEVER}")
    return parse_duration(value)


def _within_a_day_if_any(value: float | None) -> float | None:
    return None if value is None else _within_a_day(value)


DurationOrNever = Annotated[
    float | None,
    BeforeValidator(_or_never),
    AfterValidator(_within_a_day_if_any),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": NEVER},
                {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$"},
                {"type": "number", "exclusiveMinimum": 0, "maximum": _LONGEST_S},
            ],
            "examples": ["10m", NEVER],
        }
    ),
]
"""Seconds, at most a day, or None, which is written `never`."""


class Frozen(BaseModel):
    """A value that rejects unknown keys and cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Method(StrEnum):
    """How a request may make an app write."""

    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"


def _a_path(value: str) -> str:
    if not value.startswith("/") or not all("!" <= letter <= "~" for letter in value):
        raise ValueError("must be a path such as /orders, without spaces")
    return value


class WriteRequest(Frozen):
    """The request by which a drill makes an app write. In `path` and `body`, `{n}` is a number that no other request of
    the run has, and `{run}` a name that no other run has: a-z, 0-9 and _."""

    method: Method = Field(default=Method.POST, strict=False, description="GET, POST, PUT, PATCH or DELETE.")
    path: Annotated[str, AfterValidator(_a_path), WithJsonSchema({"type": "string", "pattern": "^/[!-~]*$"})] = Field(
        description="Its path; {n} becomes a number, {run} a name that no other run of a drill has."
    )
    body: str = Field(default="", description="What it carries: JSON if it starts with { or [, else a form.")
    within: Duration = Field(
        default=10.0, description="How soon after the drilled service every instance must write again."
    )


class FromSecret(Frozen):
    """A value that is not in the file: that of a secret."""

    secret: SecretName = Field(description="The name of a secret, set by everup secret set NAME.")


class Service(Frozen):
    """What every service may say; each kind adds its own keys (see `everup/kinds/`).

    `settled` names the keys that cannot change while the service exists. A kind that is not `declarable` runs only
    where others imply it. `stands_on` is all that some declaration of the service may imply. With less than
    `least_memory` (bytes) a node of it cannot even start.
    """

    settled: ClassVar[frozenset[str]] = frozenset({"kind"})
    declarable: ClassVar[bool] = True
    stands_on: ClassVar[Mapping[str, "Service"]] = {}
    least_memory: ClassVar[int] = 32 * MEBIBYTE

    kind: str = Field(description="What runs: one of the kinds that `everup schema` lists.")
    needs: Annotated[tuple[Label, ...], Field(strict=False)] = Field(
        default=(), description="Labels of services that start first and hand over their connection variables."
    )
    memory: Size | None = Field(
        default=None,
        description="With engine: swarm, how much memory each server or instance may use: 512Mi or 2Gi.",
    )
    cpus: Annotated[float, Field(ge=0.01, le=1024)] | None = Field(
        default=None, description="With engine: swarm, how many processors each server or instance may use: 0.5 or 2."
    )

    @field_validator("memory")
    @classmethod
    def _enough(cls, value: int | None) -> int | None:
        if value is not None and not cls.least_memory <= value <= _MOST_BYTES:
            least, most = size_text(cls.least_memory), size_text(_MOST_BYTES)
            raise ValueError(f"must be {least} or more, and at most {most}", "Write it with its unit: 512Mi or 2Gi.")
        return value

    @property
    def resources(self) -> Resources | None:
        """What each of its servers or instances may use; None where nothing is said of it."""
        return Resources(self.memory, self.cpus) if self.memory or self.cpus else None

    def implies(self) -> Mapping[str, "Service"]:
        """Those of `stands_on` that this declaration needs; several services may imply the same one.

        Their labels start with a `RESERVED` word. Their variables reach `Grant.variables` of the services that may
        imply them, also after they did, and nobody else.
        """
        return {}

    @property
    def secrets(self) -> Mapping[str, str]:
        """Environment variables whose values are secrets: variable -> the name of its secret."""
        return {}

    @property
    def replaces_after_s(self) -> float | None:
        """How long its members wait for a lost host before they are rebuilt on another one; None: for ever."""
        return None

    @property
    def size(self) -> int:
        """How many instances or servers run."""
        return 1

    def sized(self, count: int) -> Mapping[str, object]:
        """The keys that make it run `count` instances or servers; empty where a size is nothing it has."""
        return {}


class Environment(Frozen):
    """One spec file: a name, where it runs, and services by label, in file order."""

    environment: Label = Field(description="The environment's name.")
    engine: str = Field(default="local", description="Where it runs: local (this machine), swarm (a Docker Swarm).")
    programs: dict[str, str] = Field(
        default_factory=dict,
        description="Paths of server programs to use instead of those found: {redis-server: /usr/bin/redis-server}.",
    )
    drills: Literal["allowed", "refused"] = Field(
        default="refused", description="allowed: everup drill may break things here without being asked twice."
    )
    services: dict[Label, Service] = Field(default_factory=dict, description="Services by label.")


class Source(Frozen):
    """Where a spec came from: the file, its text, and the shell it was applied from.

    `directory` (absolute) is the default working directory of apps; `path` is the `PATH` in which their programs are
    found. Neither restarts anything by itself when it changes. Both are empty where the spec comes from another
    machine: then they stay as they are, and for a new environment they are those of the control plane.
    """

    file: str
    text: str
    directory: str
    path: str
