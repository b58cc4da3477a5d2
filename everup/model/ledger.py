"""The ledger of lost writes: what a former primary held that its successor does not, kept in a folder of its own."""

from dataclasses import dataclass

from everup.model.desired import NodeId


@dataclass(frozen=True)
class Kept:
    """One entry: what `node` had alone when `successor` had taken over.

    Attributes:
        at_utc: when it was found, ISO 8601.
        writes: write commands (Redis) or committed transactions (PostgreSQL).
        size_bytes: how much of the history of `node` it takes up.
        begin, end: replication offsets or positions in the WAL, as the server writes them; "" where nobody knows.
        exact: no more and no less than this was lost; otherwise `because` says what is not known.
        waited: writes wait for another node before they are acknowledged, so nobody was told that these were done but
            a client that chose not to wait, or broke off waiting.
        folder: where it lies, absolute; `files` are the names in there.
        keys: some of the keys that were written, where the kind knows keys.
    """

    service: str
    node: NodeId
    successor: NodeId
    at_utc: str
    writes: int
    size_bytes: int
    begin: str
    end: str
    exact: bool
    waited: bool
    because: str
    folder: str
    files: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
