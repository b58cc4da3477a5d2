"""Grants: addresses and passwords, issued once and stored while the environment exists; few addresses ever move."""

import secrets
from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

from everup.model.contracts import Claim
from everup.model.desired import Tcp


class AddressBook(Protocol):
    """Whoever knows which addresses are free; an engine brings its own. `spread`: they are those of several hosts."""

    spread: bool

    def issue(
        self,
        environment: str,
        claims: Mapping[str, Sequence[Claim]],
        issued: Mapping[str, Mapping[str, Tcp]],
        forsaken: Set[Tcp] = frozenset(),
    ) -> dict[str, Mapping[str, Tcp]]:
        """Addresses for every claim with ports, by `"<label>/<claim key>"`.

        Those already issued stay as they are, but for claims that may move and cannot stay, and for what has one of the
        `forsaken` addresses, where a place is free that will do.
        """
        ...


def issue(
    environment: str,
    claims: Mapping[str, Sequence[Claim]],
    granted: Mapping[str, Any],
    book: AddressBook,
    forsaken: Set[Tcp] = frozenset(),
) -> dict[str, Any]:
    """Complete `granted`: `"<label>/<key>"` -> {port name: Tcp}, or a password (32 URL-safe characters)."""
    listeners = {key: value for key, value in granted.items() if isinstance(value, Mapping)}
    complete: dict[str, Any] = {**granted, **book.issue(environment, claims, listeners, forsaken)}
    for label, wanted in claims.items():
        for claim in wanted:
            if not claim.ports:
                complete.setdefault(f"{label}/{claim.key}", secrets.token_urlsafe(24))
    return complete
