"""What people are told without asking, and where it goes."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Topic(StrEnum):
    """What a notification is about."""

    INCIDENT = "incident"  # something failed, and is whole again
    ROLE = "role"  # another node leads
    DRILL = "drill"  # a drill failed
    REDUNDANCY = "redundancy"  # a service would not survive the loss of one more node


class Tone(StrEnum):
    """Whether it is good news; the words are Apprise's."""

    FAILURE = "failure"
    WARNING = "warning"
    SUCCESS = "success"
    INFO = "info"


@dataclass(frozen=True)
class Notice:
    """One message. It may be about several topics: a failover is an incident, and changes a role."""

    environment: str
    service: str
    topics: frozenset[Topic]
    tone: Tone
    title: str
    body: str


@dataclass(frozen=True)
class Destination:
    """Where notices go. Of its URL, which is Apprise's and may hold a secret, only the scheme is ever shown.

    `topics` and `environments` narrow down what is sent there; empty: everything.
    """

    name: str
    scheme: str
    topics: tuple[Topic, ...] = ()
    environments: tuple[str, ...] = ()

    def wants(self, notice: Notice) -> bool:
        """Whether this notice goes there."""
        here = not self.environments or notice.environment in self.environments
        return here and (not self.topics or bool(notice.topics & set(self.topics)))


@dataclass(frozen=True)
class Letter:
    """A notice on its way to one destination, since `at_utc` (ISO 8601).

    `number` is that in the store; None where the store did not take it.
    """

    destination: str
    notice: Notice
    at_utc: str
    number: int | None = None


@dataclass(frozen=True)
class Delivery:
    """What became of one message to one destination; `lasting` says that trying again is of no use."""

    name: str
    sent: bool
    because: str = ""
    lasting: bool = False


def scheme_of(url: str) -> str:
    """What kind of place a URL leads to: the part before `://`."""
    return url.partition("://")[0]


def without_secrets(words: str, url: str) -> str:
    """What a delivery said, without any part of its URL but the scheme."""
    rest = url.partition("://")[2]
    parts: Collection[str] = {rest, *"".join(c if c.isalnum() or c in "-_.~%" else " " for c in rest).split()}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) > 3:
            words = words.replace(part, "***")
    return words
