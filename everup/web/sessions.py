"""Who is signed in: sessions held in this process alone, and one-time invitations for the owner."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeVar

from everup.model.access import OWNER, Caller
from everup.web.ports import Authenticate

T = TypeVar("T")

LASTS_S = 12 * 3600.0
"""A session ends this long after it began, whatever is done in it."""

RECHECK_S = 15.0
"""A token that was revoked, or has expired, ends its sessions within so many seconds."""

INVITED_S = 120.0
"""An invitation that nobody took by then is void."""

MOST = 500
"""Sessions, and invitations, at a time: the oldest make room."""


@dataclass
class Session:
    """One browser that signed in. `notice` is shown once, on the next page: (tone, words)."""

    caller: Caller
    csrf: str
    ends_s: float
    token: str | None = field(repr=False)
    asked_s: float
    notice: tuple[str, str] | None = None

    def fits(self, given: str) -> bool:
        """Whether a form carries the word that was given out with it."""
        return hmac.compare_digest(self.csrf.encode(), given.encode())


class Sessions:
    """Opens, finds and closes sessions. What a browser holds is kept as its hash only; a restart signs everybody out.

    Args:
        authenticate: who a token stands for.
        clock: monotonic seconds.
    """

    def __init__(self, authenticate: Authenticate, clock: Callable[[], float]) -> None:
        self._authenticate = authenticate
        self._clock = clock
        self._sessions: dict[bytes, Session] = {}
        self._invitations: dict[bytes, float] = {}

    def invite(self) -> str:
        """A word that signs the owner in, once, within `INVITED_S` seconds."""
        word = secrets.token_urlsafe(32)
        _put(self._invitations, _digest(word), self._clock() + INVITED_S)
        return word

    def invited(self, word: str) -> bool:
        """Whether that is an invitation that can still be accepted."""
        return self._invitations.get(_digest(word), float("-inf")) > self._clock()

    def accept(self, word: str) -> str | None:
        """Open a session for the owner with an invitation; None when it is unknown, used or too old."""
        invited = self.invited(word)
        self._invitations.pop(_digest(word), None)
        return self.open(OWNER, None) if invited else None

    def open(self, caller: Caller, token: str | None) -> str:
        """Open a session for whoever showed a token; what the browser is to keep."""
        key, now_s = secrets.token_urlsafe(32), self._clock()
        _put(self._sessions, _digest(key), Session(caller, secrets.token_urlsafe(32), now_s + LASTS_S, token, now_s))
        return key

    def find(self, key: str) -> Session | None:
        """The session of a browser, if it is open; its token is asked again from time to time."""
        session = self._sessions.get(_digest(key))
        if session is None:
            return None
        now_s = self._clock()
        if session.token is not None and now_s - session.asked_s >= RECHECK_S:
            caller = self._authenticate(session.token)
            session.asked_s = now_s
            if caller is None:
                session.ends_s = now_s
            else:
                session.caller = caller
        if session.ends_s <= now_s:
            self.close(key)
            return None
        return session

    def close(self, key: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(key), None)


def _digest(word: str) -> bytes:
    return sha256(word.encode()).digest()


def _put(shelf: dict[bytes, T], key: bytes, value: T) -> None:
    shelf[key] = value
    while len(shelf) > MOST:
        del shelf[next(iter(shelf))]
