"""What a control plane knows, kept in the Swarm itself: pieces in configs, and which of them count in one label.

Configs never change, and every manager has all of them. The label on the Swarm says who the keeper is and which
configs are its pieces; whoever changes it must have seen its newest version, and more than half of the managers must
agree. So a control plane that is cut off can change nothing, and one that was replaced learns so when it tries.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace

from everup.engines.swarm.docker import Docker, Thing, text
from everup.engines.swarm.keeping import Keeping
from everup.engines.swarm.manifest import LABEL, Manifest, manifest_in, with_manifest
from everup.model.errors import EngineError, EverupError, Unavailable

PART_BYTES = 900_000
"""Swarm takes 1,000,001 bytes in one config."""

LEASE_S = 3.0
"""How long a keeper may act without asking, once a majority of the Swarm's managers took something from it."""

MARGIN_S = 2.0
"""How much longer the next one waits: an act that was begun in time reaches a node later."""

ANSWER_S = 8.0
"""How long the Swarm may take to keep something."""

FORMER = 3
"""How many former versions of what is kept stay readable, for a person with the key to look at."""


class SwarmShelf:
    """The pieces that a Swarm keeps; implements `Shelf` of the runtime. Its methods belong to one event loop.

    Args:
        docker: a manager; this shelf closes it.
        keeping: the turn of this control plane, which begins with `take` and must end it once another one's has come.
        clock: seconds that go on while the machine sleeps.
    """

    def __init__(
        self,
        docker: Docker,
        keeping: Keeping,
        clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._docker = docker
        self._keeping = keeping
        self._clock = clock
        self._manifest = Manifest()
        self._confirmed_s = float("-inf")
        self._serial = 0
        self._former: deque[tuple[str, ...]] = deque()
        self._alone = asyncio.Lock()

    async def take(self) -> dict[str, bytes]:
        """Become the keeper; all pieces, once no former one can act any more: after some seconds, unless it let go.

        Raises:
            EngineError: the Swarm does not answer, or what it keeps is not whole.
        """
        address = str((await self._docker.itself()).get("Swarm", {}).get("NodeAddr", ""))
        began_s = self._clock()
        former, self._manifest = await self._keeping.take(self._docker, address)
        self._confirmed_s, taken_s = began_s, self._clock()
        pieces = await self._read()
        if former.keeper:
            await asyncio.sleep(max(0.0, taken_s + LEASE_S + MARGIN_S - self._clock()))
        return pieces

    async def put(self, pieces: Mapping[str, bytes], drop: Collection[str]) -> None:
        """Keep these pieces instead of those of the same names, and forget others; all of it or nothing.

        Raises:
            Unavailable: the Swarm does not take it, or nobody knows whether it has.
            EngineError: another control plane is the keeper now.
        """
        async with self._alone:
            made = {name: await self._store(one) for name, one in pieces.items()}
            before = self._manifest.pieces
            after = {name: parts for name, parts in before.items() if name not in drop} | made
            try:
                await self._publish(replace(self._manifest, pieces=after))
            except EverupError:
                self._former.append(tuple(part for parts in made.values() for part in parts))
                raise
            gone = [part for name in before if before[name] != after.get(name) for part in before[name]]
            await self._forget(tuple(gone))

    async def confirm(self) -> None:
        """Return if no other control plane can act before `LEASE_S` from now, minus what this takes.

        Asks only where the newest answer is too old, and then for a write: a manager that is cut off still answers
        questions for a while, by what it knew.

        Raises:
            Unavailable: the Swarm does not answer.
            EngineError: another control plane is the keeper now.
        """
        if self._certain():
            return
        async with self._alone:
            if not self._certain():
                await self._publish(self._manifest, LEASE_S)

    async def release(self) -> None:
        """Let the next keeper begin at once.

        Raises:
            EngineError: the Swarm does not answer.
        """
        try:
            async with self._alone:
                await self._publish(replace(self._manifest, keeper=""), LEASE_S)
        finally:
            await self._docker.close()

    async def look(self) -> None:
        """See whether this is still the keeper; a Swarm that does not answer says nothing."""
        try:
            found = await self._docker.cluster.inspect()
        except Unavailable:
            return
        self._check(manifest_in(found["Spec"]))

    def _certain(self) -> bool:
        return self._clock() < self._confirmed_s + LEASE_S

    async def _publish(self, wanted: Manifest, answer_s: float = ANSWER_S) -> None:
        """Have the Swarm take a manifest, if it still is this keeper's to change."""

        def edit(spec: Thing) -> Thing:
            found = manifest_in(spec)
            self._check(found)
            return with_manifest(spec, replace(wanted, number=max(found.number, self._manifest.number) + 1))

        began_s = self._clock()
        try:
            async with asyncio.timeout(answer_s):
                self._manifest = manifest_in(await self._docker.cluster.change(edit))
        except TimeoutError as error:
            raise Unavailable(
                f"the Swarm did not take within {answer_s:g} s what Everup must keep there",
                "More than half of its managers must be up, and reach this one: docker node ls",
            ) from error
        self._confirmed_s = began_s

    def _check(self, found: Manifest) -> None:
        if found.keeper != self._keeping.name:
            raise self._keeping.end(found.address)

    async def _store(self, piece: bytes) -> tuple[str, ...]:
        names = []
        for begin in range(0, len(piece), PART_BYTES):
            self._serial += 1
            name = f"{LABEL}-{self._manifest.number}-{self._keeping.name}-{self._serial}"
            await self._docker.configs.create(name, piece[begin : begin + PART_BYTES], {LABEL: self._keeping.name})
            names.append(name)
        return tuple(names)

    async def _read(self) -> dict[str, bytes]:
        """All pieces; and what counts no more is deleted, but for the newest."""
        found = {one["Spec"]["Name"]: one for one in await self._docker.configs.list({"label": [LABEL]})}
        wanted = {part for parts in self._manifest.pieces.values() for part in parts}
        if absent := sorted(wanted - set(found)):
            raise EngineError(
                f"the Swarm lacks {', '.join(absent)}, which hold what its control plane knows",
                "Somebody removed them: bring them back from a backup of the Swarm.",
            )
        old = sorted(set(found) - wanted, key=lambda name: str(found[name]["CreatedAt"]))
        self._former.extend((name,) for name in old)
        await self._forget(())
        return {name: b"".join(text(found[part]) for part in parts) for name, parts in self._manifest.pieces.items()}

    async def _forget(self, gone: tuple[str, ...]) -> None:
        """Delete what counted before the newest changes; what cannot be deleted now is found by the next keeper."""
        if gone:
            self._former.append(gone)
        while len(self._former) > FORMER:
            for name in self._former.popleft():
                with suppress(EngineError):
                    await self._docker.configs.remove(name)
