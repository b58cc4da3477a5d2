"""What one command was called with: the home, the spec file and the environment it means."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from everup.cli.exits import Usage
from everup.model.errors import EverupError, NotFound
from everup.runtime.home import Home
from everup.specfile.naming import name_in

if TYPE_CHECKING:
    import typer

    from everup.cli.client import Client
    from everup.cli.remote import Place
    from everup.model.spec import Environment, Source

SPEC_NAME = "everup.yaml"


@dataclass
class Session:
    """The global options of one command.

    Attributes:
        tail: the words after `--`, None without one.
        as_json: print one JSON object instead of text for people.
        yes: take every question as answered with yes.
        server: the URL of a control plane elsewhere, or `local`; None: as `EVERUP_SERVER` or the context in use says.
        token: what is shown to it; None: `EVERUP_TOKEN`, or the context's own.
    """

    tail: tuple[str, ...] | None = None
    file: Path | None = None
    environment: str | None = None
    as_json: bool = False
    yes: bool = False
    server: str | None = None
    token: str | None = None

    @cached_property
    def home(self) -> Home:
        """Where the control plane of this user keeps its state."""
        return Home.find(os.environ)

    @cached_property
    def place(self) -> "Place | None":
        """Where the control plane is that commands are about; None: on this machine, by its socket."""
        from everup.cli.contexts import LOCAL, Contexts

        server = self.server or os.environ.get("EVERUP_SERVER")
        token = self.token or os.environ.get("EVERUP_TOKEN")
        if server == LOCAL:
            return None
        named = None if server else Contexts.read(os.environ)
        kept = named.of(named.current) if named else None
        if not server and kept is None:
            return None
        from everup.cli.remote import Place

        if server:
            return Place(server, token, os.environ.get("EVERUP_CA"))
        assert kept is not None
        return Place(str(kept["server"]), self.token or kept["token"], kept["ca"])

    def here(self, command: str, because: str) -> None:
        """Make sure that a command which needs the machine itself is meant for this one.

        Raises:
            Usage: it is meant for a control plane elsewhere.
        """
        if self.place:
            raise Usage(
                f"{command} needs the machine itself: {because}; but this is about {self.place.server}",
                f"Run it there, or say that this machine is meant: everup --server local {command}",
            )

    def find_file(self) -> Path | None:
        """The spec file: `--file`, else `everup.yaml` here or in a folder above; None when there is none."""
        if self.file:
            return self.file
        here = Path.cwd()
        return next((one / SPEC_NAME for one in (here, *here.parents) if (one / SPEC_NAME).is_file()), None)

    def source(self) -> "Source":
        """The text of the spec file, and the shell it is applied from, if that is of the same machine.

        Raises:
            NotFound: there is no spec file, or it cannot be read.
        """
        from everup.model.spec import Source

        file = self.find_file()
        if file is None:
            raise NotFound(
                f"no {SPEC_NAME} here or in a folder above", "Write one, or name a file: -f FILE", code="spec.missing"
            )
        path = file.absolute()
        text = _read(path)
        if self.place and not self.place.is_here:
            return Source(file=str(path), text=text, directory="", path="")
        return Source(file=str(path), text=text, directory=str(path.parent), path=os.environ.get("PATH", os.defpath))

    def parse(self) -> "tuple[Source, Environment]":
        """The spec file, checked here before anybody else is asked.

        Raises:
            SpecError: it is wrong; carries every flaw, at the path as the user wrote it.
        """
        from everup.kinds import load_kinds
        from everup.specfile.parse import parse

        source = self.source()
        return source, parse(source.text, shorten(source.file), load_kinds())

    def name(self, client: "Client") -> str:
        """The environment that is meant: `--environment`, else the spec file's, else the only one there is.

        Raises:
            NotFound: there is none.
            EverupError: there are several and nothing says which.
        """
        if self.environment:
            return self.environment
        file = self.find_file()
        if file and (named := name_in(_read(file))):
            return named
        names = client.get("control")["environments"]
        if not names:
            raise NotFound("no environment runs here", "Start one: everup up", code="nothing_runs")
        if len(names) > 1:
            raise EverupError(
                f"several environments run here: {', '.join(names)}",
                f"Say which: -e {names[0]}",
                code="ambiguous",
            )
        return str(names[0])


def session_of(context: "typer.Context") -> Session:
    """The session of the command that is being run."""
    session = context.obj
    assert isinstance(session, Session)
    return session


def shorten(file: str) -> str:
    """A path as seen from here, where that is shorter."""
    relative = os.path.relpath(file)
    return relative if len(relative) < len(file) else file


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise NotFound(
            f"{file} cannot be read: {error.strerror}", "Name another: -f FILE", code="spec.missing"
        ) from error
    except UnicodeDecodeError as error:
        raise EverupError(
            f"{file} is not UTF-8 text (byte {error.start})", "Save it as UTF-8.", code="spec.encoding"
        ) from error
