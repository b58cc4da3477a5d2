"""What the API needs of the control plane behind it; `everup.runtime` has the real one."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from everup.core.parting import Site
from everup.core.tally import Vitals
from everup.model.access import Caller
from everup.model.audit import Deed
from everup.model.drill import Drill, DrillFault, Scene, Wish
from everup.model.events import Event
from everup.model.notices import Delivery, Destination
from everup.model.picture import Change, Foresight, Picture
from everup.model.secret import Secret
from everup.model.spec import Source


class Reader(Protocol):
    """What can be asked without changing anything. An unknown environment or name raises `NotFound`."""

    def environments(self) -> list[str]:
        """The names of all environments that were applied here and not destroyed."""
        ...

    def picture(self, environment: str) -> Picture:
        """The environment as declared and as observed, at this moment."""
        ...

    def variables(self, environment: str) -> dict[str, dict[str, str]]:
        """Label -> variables: a provider's own, and for the others what they are given."""
        ...

    def connect(self, environment: str, label: str, language: str) -> str:
        """A snippet in `language` that connects to the service, with live values."""
        ...

    async def plan(self, source: Source, caller: Caller) -> tuple[tuple[Change, ...], tuple[Foresight, ...]]:
        """What `apply` would change, and how long writers would wait for it; raises what `apply` would."""
        ...

    def events(self, environment: str, *, after: int, follow: bool) -> AsyncIterator[Event]:
        """Events with a `seq` above `after`, oldest first; then, with `follow`, what comes."""
        ...

    def logs(self, environment: str, name: str, *, lines: int, follow: bool) -> AsyncIterator[tuple[str, str]]:
        """(node id, line) of one node, or of every node of a label."""
        ...


class Counts(Protocol):
    """What is counted, and who tells of it."""

    @property
    def messenger(self) -> "Messenger":
        """Who tells people what happened."""
        ...

    def vitals(self) -> Vitals:
        """What was counted since the control plane started."""
        ...


class Messenger(Protocol):
    """Who tells people what happened."""

    def destinations(self) -> tuple[Destination, ...]:
        """Where notices go."""
        ...

    async def add(self, destination: Destination, url: str) -> None:
        """Send notices there as well. `Refused` where there is one of that name, or nobody understands its URL."""
        ...

    async def remove(self, name: str) -> None:
        """Send nothing there any more. `NotFound` where there is none."""
        ...

    async def test(self, name: str | None) -> tuple[Delivery, ...]:
        """Send a message to one destination, or to all, once. `NotFound` where there is none."""
        ...


class Writer(Protocol):
    """What changes an environment. An unknown environment or name raises `NotFound`."""

    async def apply(self, source: Source, caller: Caller) -> tuple[str, tuple[Change, ...]]:
        """Declare what runs from now on; returns the environment's name and what will change.

        Raises:
            SpecError: the source is wrong; nothing was changed.
            NotFound, NotPermitted: the caller may not declare it; nothing was changed.
        """
        ...

    async def scale(self, environment: str, label: str, count: int) -> Change:
        """Run `count` instances, or servers of a group. `Refused` with the code `refused.limit` above the limit."""
        ...

    async def limit(self, environment: str, label: str, count: int) -> Change:
        """Allow up to `count` instances."""
        ...

    async def restart(self, environment: str, label: str) -> int | None:
        """Ask for a rolling restart; returns at once, with the number of the revision that this makes of an app."""
        ...

    async def switchover(self, environment: str, label: str, to: str | None) -> str:
        """Hand the primary's role to `to`, or the best node; how that went. `Refused` where it cannot be done."""
        ...

    async def inject(self, environment: str, node: str, fault: str, for_s: float) -> None:
        """Break a node on purpose; `for_s` (seconds) bounds how long a lost node stays lost."""
        ...

    async def stop(self, environment: str, *, destroy: bool) -> None:
        """Stop every node, and with `destroy` delete the data; returns at once, the picture tells the progress."""
        ...


class Deployer(Protocol):
    """What changes a service in ways that its kind must know. Other kinds are `Refused` with `refused.kind`."""

    async def ha(self, environment: str, label: str, enabled: bool) -> tuple[Change, Foresight | None]:
        """Make one server a group, or a group one server; returns what changes, and the pause foreseen for writers."""
        ...

    async def deploy(self, environment: str, label: str, source: Source | None) -> int | None:
        """Start every instance anew as `source` declares it; returns at once, with the revision's number."""
        ...

    async def rollback(self, environment: str, label: str, to: int | None) -> int:
        """Declare a former revision again: number `to`, or the newest other one that was good; returns its number."""
        ...


class Rehearsal(Protocol):
    """What drills need."""

    async def stage(self, environment: str, label: str, fault: DrillFault, wish: Wish, *, confirmed: bool) -> Scene:
        """What one run would break, how clients write, and the app that is watched meanwhile.

        Raises:
            NotPermitted: the spec does not allow drills, and nobody confirmed this one.
            Refused: the service would not survive it, or the fault cannot be caused.
        """
        ...

    async def keep_drill(self, environment: str, drill: Drill) -> None:
        """Keep the result of a drill."""
        ...

    def drills(self, environment: str) -> list[dict[str, Any]]:
        """Every drill that is kept, oldest first, each as it was reported."""
        ...


class Trail(Protocol):
    """The audit log."""

    async def append(self, deed: Deed) -> int:
        """Record a deed, on the disk before it returns; its number. `EverupError` when the store refuses it."""
        ...

    def page(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Entries numbered above `after`, oldest first, each with its `hash`; negative: the newest `-after`."""
        ...


class Secrets(Protocol):
    """What is kept for services to start with. An environment need not have been applied yet."""

    async def put(self, environment: str, name: str, value: str, by: str) -> Secret:
        """Set a secret."""
        ...

    async def remove(self, environment: str, name: str) -> None:
        """Forget a secret; `Refused` while a service uses it, `NotFound` where it is not set."""
        ...

    def kept(self, environment: str) -> list[Secret]:
        """What is set, by name."""
        ...


class Renewer(Protocol):
    """What changes the passwords of clients. Kinds that cannot are `Refused` with `refused.kind`."""

    async def rotate(self, environment: str, label: str) -> tuple[str, str, tuple[str, ...]]:
        """Give clients another password beside the former one: the new name, the former one, whoever is restarted."""
        ...

    async def finish_rotation(self, environment: str, label: str, cut: bool) -> tuple[str, int]:
        """End the former password, and with `cut` the sessions that may have begun with it; its name, their number."""
        ...


class Keeper(Protocol):
    """What knows hosts. All is `Refused` with `refused.engine` where nothing runs on several."""

    def sites(self) -> tuple[Site, ...]:
        """All hosts, in order of their names, with what runs there."""
        ...

    async def drain(self, host: str, *, force: bool) -> None:
        """Have a host left; returns at once. `NotFound`, or `Refused` where something would not outlive its absence."""
        ...

    async def undrain(self, host: str) -> None:
        """Let a host be used again."""
        ...


class Desk(Reader, Counts, Writer, Deployer, Rehearsal, Renewer, Keeper, Protocol):
    """The whole control plane as the API sees it."""

    @property
    def trail(self) -> Trail:
        """The audit log."""
        ...

    @property
    def secrets(self) -> Secrets:
        """The secrets of all environments."""
        ...
