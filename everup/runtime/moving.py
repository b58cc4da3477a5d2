"""Carrying what a control plane knows from its home to a shelf elsewhere, which keeps it from then on."""

import tempfile
from pathlib import Path

from everup.model.access import Level
from everup.runtime.cipher import Cipher
from everup.runtime.home import Home
from everup.runtime.mirror import Mirror, Shelf
from everup.runtime.restoring import set_aside
from everup.runtime.safekeeping import KEY, STORE, copy_store
from everup.runtime.store import Store


async def carry(home: Home, shelf: Shelf, caller: str, secret: str) -> None:
    """Put all that the store of `home` holds on a shelf, where there is nothing yet, with a token for a new operator.

    No control plane may run in that home. Nothing in it is changed; where it has no store, an empty one is carried.

    Args:
        home: its key seals what is on the shelf.
        shelf: is released in the end.
        caller: what the operator is called.
        secret: that of the token.

    Raises:
        Refused: the shelf keeps something already.
        EverupError: the store cannot be read, or the shelf refuses it.
    """
    with tempfile.TemporaryDirectory(prefix=".moving-", dir=home.path) as folder:
        copy = Path(folder, STORE)
        if home.store.exists():
            copy_store(home.store, copy)
        mirror = Mirror(shelf, Cipher(home.path / KEY))
        await mirror.begin()
        store = Store(copy, mirror)
        try:
            await store.tokens().create(caller, Level.OPERATOR, None, None, secret)
        finally:
            await store.finish()
            store.close()


def retire(home: Home) -> Path | None:
    """Set aside what would make a later control plane of `home` one of the Swarm; where that is now."""
    return set_aside(home, (STORE, f"{STORE}-wal", f"{STORE}-shm", "swarm"))
