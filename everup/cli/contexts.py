"""Control planes that were given a name: kept with their tokens in one file of the user's own."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from everup.model.errors import EverupError, NotFound

LOCAL = "local"
"""The context that is always there: the control plane of this machine's home, by its socket."""


@dataclass
class Contexts:
    """The named control planes by name, each as `Place`'s fields, and which of them commands are about."""

    file: Path
    places: dict[str, dict[str, str | None]] = field(default_factory=dict)
    current: str = LOCAL

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Contexts":
        """What is kept in `$XDG_CONFIG_HOME/everup/contexts.json`, by default under `~/.config`.

        Raises:
            EverupError: the file cannot be read, or others can read it.
        """
        folder = Path(environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())
        file = folder / "everup" / "contexts.json"
        try:
            if file.stat().st_mode & 0o077:
                raise EverupError(f"{file} holds tokens, and others may read it", f"chmod 600 {file}", code="contexts")
            kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return cls(file, dict(kept["places"]), str(kept["current"]))
        except FileNotFoundError:
            return cls(file)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EverupError(f"{file} cannot be read: {error}", "Mend it, or delete it.", code="contexts") from error

    def write(self) -> None:
        """Keep them: the file is replaced at once, and nobody else may read it."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {name: value for name, value in asdict(self).items() if name != "file"}
        fresh = self.file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            json.dump(kept, out, indent=1)
        fresh.replace(self.file)

    def of(self, name: str) -> dict[str, str | None] | None:
        """What is kept of a context; None for the local one.

        Raises:
            NotFound: there is none of that name.
        """
        if name == LOCAL:
            return None
        if name not in self.places:
            known = ", ".join([LOCAL, *self.places])
            raise NotFound(f"there is no context {name}", f"Known: {known}.", code="no_context", context=name)
        return self.places[name]
