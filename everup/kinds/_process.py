"""What apps and workers share: their part of the spec, the command line, and one instance as a node."""

import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from everup.model.contracts import Grant
from everup.model.desired import Node, NodeId, Part, Probe, Stop, Tcp
from everup.model.observed import Reading
from everup.model.spec import Duration, FromSecret, Service

_SHELL_WORDS = frozenset({"|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1"})
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>\w+)\}|(?P<plain>\w+))", re.ASCII)
_GIVEN = frozenset({"HOST", "PORT"})


class ProcessService(Service):
    """The keys that `kind: app` and `kind: worker` have in common."""

    run: str = Field(
        min_length=1,
        description="The command line of one instance, run without a shell; $NAME stands for a variable, $$ for a $.",
    )
    image: str | None = Field(
        default=None,
        min_length=1,
        description="The container image it runs from, with engine: swarm; default: Everup's own, which has Python.",
    )
    scale: Annotated[int, Field(ge=0)] = Field(default=1, description="How many instances run.")
    limit: Annotated[int, Field(ge=1, le=200)] = Field(default=10, description="How many instances may run at most.")
    env: dict[str, str | FromSecret] = Field(
        default_factory=dict, description="Further environment variables of every instance: text, or {secret: NAME}."
    )
    cwd: str | None = Field(default=None, description="Working directory; default: the directory of the spec file.")
    stop_grace: Duration = Field(default=10.0, description="How long an instance may take to end before it is killed.")

    ready_within: Duration = Field(
        default=60.0,
        description="How long a new revision may take to have one more instance ready; then the former one comes back.",
    )

    @property
    def plain(self) -> Mapping[str, str]:
        """The variables of `env` whose values stand in the file."""
        return {name: value for name, value in self.env.items() if isinstance(value, str)}

    @property
    def secrets(self) -> Mapping[str, str]:
        """The variables of `env` whose values are secrets: variable -> the name of its secret."""
        return {name: value.secret for name, value in self.env.items() if isinstance(value, FromSecret)}

    @property
    def size(self) -> int:
        """How many instances run."""
        return self.scale

    def sized(self, count: int) -> Mapping[str, object]:
        """`count` instances."""
        return {"scale": count}

    @field_validator("run")
    @classmethod
    def _without_shell(cls, value: str) -> str:
        try:
            words, raw = shlex.split(value), shlex.split(value, posix=False)
        except ValueError:
            raise ValueError("must close every quote that it opens") from None
        if not words or not words[0]:
            raise ValueError("must name a program")
        if "\0" in value:
            raise ValueError("must not contain a NUL character")
        if operator := next((word for word in raw if word in _SHELL_WORDS), None):
            raise ValueError(f"uses {operator}, which only a shell understands", "Give it one: sh -c '...'")
        if re.match(r"\w+=", words[0]):
            raise ValueError("must start with a program, not with a variable", "Put the variable under env.")
        return value

    @field_validator("env")
    @classmethod
    def _free_names(cls, value: dict[str, str | FromSecret]) -> dict[str, str | FromSecret]:
        for name, text in value.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"has a name that no variable can have: {name}")
            if name in _GIVEN or name.startswith("EVERUP_"):
                raise ValueError(f"sets {name}, which Everup gives to every instance itself", "Remove it.")
            if isinstance(text, str) and "\0" in text:
                raise ValueError(f"has a NUL character in {name}")
        return value

    @model_validator(mode="after")
    def _within_limit(self) -> "ProcessService":
        if self.scale > self.limit:
            raise ValueError(f"scale is over its limit of {self.limit}", "Raise limit, or lower scale.")
        return self


def instance_id(label: str, number: int) -> NodeId:
    """The name of the `number`-th instance, from 1."""
    return f"{label}-{number}"


def instance_number(label: str, node_id: NodeId) -> int | None:
    """Which instance of `label` a node is, or None when it is none."""
    digits = node_id.removeprefix(f"{label}-")
    return int(digits) if digits.isdecimal() and node_id != digits else None


def stand_in_id(label: str) -> NodeId:
    """The name of the instance that serves while others are replaced."""
    return f"{label}-surge"


def read_running(replies: tuple[Any, ...]) -> Reading:
    """It runs, and that is all that is asked of it."""
    return Reading(ready=True)


def instance(service: ProcessService, grant: Grant, node_id: NodeId, probe: Probe, listen: Tcp | None = None) -> Node:
    """An instance as a node; `listen` is where it must listen, if anywhere.

    Raises:
        ValueError: `run` names a variable that it is not given.
    """
    own = {"HOST": listen.host, "PORT": str(listen.port)} if listen else {}
    if grant.revision:
        own["EVERUP_REVISION"] = str(grant.revision)
    secrets = service.secrets
    env = {name: text for name, text in {**grant.variables, **service.plain, **own}.items() if name not in secrets}
    program, *args = (expand(word, env, secrets) for word in shlex.split(service.run))
    # In a container the image says where its programs are, and where they run unless the spec does.
    path = {} if grant.spread else {"PATH": grant.path}
    inside = (
        None if grant.spread and service.cwd is None else str(PurePosixPath(grant.directory) / (service.cwd or "."))
    )
    return Node(
        id=node_id,
        service=grant.label,
        part=Part.INSTANCE,
        program=program,
        args=tuple(args),
        probe=probe,
        ports={"http": listen} if listen else {},
        env=env,
        # Without PYTHONUNBUFFERED the last words of a Python program that crashes stay unsaid.
        ambient={**path, "PYTHONUNBUFFERED": "1"},
        secrets=secrets,
        cwd=inside,
        image=(service.image or "") if grant.spread else "",
        stop=Stop("SIGTERM", service.stop_grace),
    )


def expand(word: str, variables: Mapping[str, str], secrets: Collection[str] = ()) -> str:
    """Put values in place of `$NAME` and `${NAME}`, and `$` in place of `$$`; values are not split into words.

    Raises:
        ValueError: a variable is not given, or is one of the `secrets`: every user of the machine sees command lines.
    """

    def value(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        name = match["braced"] or match["plain"]
        if name in secrets:
            raise ValueError(
                f"run names ${name}, a secret, which every user of the machine would see",
                f"Let the program read it from its environment, or a shell: sh -c '... \"$${name}\"'",
            )
        if name not in variables:
            given = _listing(variables)
            raise ValueError(
                f"run names ${name}, which it is not given", f"It is given {given}. For a plain $ write $$."
            )
        return variables[name]

    return _VARIABLE.sub(value, word)


def _listing(names: Iterable[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(names)) or "no variables"
