"""Who is recorded as primary of each service of an environment: in memory for the loop, and on the disk."""

import asyncio
from collections.abc import Callable, Mapping

from everup.core.ledger import crowned
from everup.model.desired import NodeId
from everup.model.observed import Group
from everup.runtime.store import Store


class Records:
    """The groups of one environment. One change at a time, in the order in which they were asked for."""

    def __init__(self, environment: str, store: Store) -> None:
        self.groups: dict[str, Group] = store.groups(environment)
        self._environment = environment
        self._store = store
        self._turn = asyncio.Lock()

    def of(self, service: str) -> Group:
        """The record of a service; an empty one when there is none yet."""
        return self.groups.get(service, Group())

    async def crown(self, service: str, node_id: NodeId, newest: int, known: Mapping[str, int] | None) -> Group | None:
        """Record a new primary, on the disk before anybody acts by it; None when that one is recorded already.

        Args:
            newest: the newest generation on any disk.
            known: as in `Crown`.
        """
        async with self._turn:
            before = self.of(service)
            if before.primary == node_id:
                return None
            after = crowned(before, node_id, max(before.generation, newest), known)
            await self._store.save_group(self._environment, service, after)
            self.groups[service] = after
            return after

    async def note(self, service: str, change: Callable[[Group], Group]) -> None:
        """Change a record at once, and then on the disk; the store may refuse that (`EverupError`)."""
        async with self._turn:
            before = self.of(service)
            self.groups[service] = after = change(before)
            if after != before:
                await self._store.save_group(self._environment, service, after)
