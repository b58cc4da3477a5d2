"""Another password for clients while the former one goes on working.

A role of PostgreSQL has one password, so two that work at once are two roles: the new one is a member of the service's
own role and becomes it as soon as it logs in (`ALTER ROLE ... SET role`); whatever it makes belongs to that one.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

from everup.kinds._postgres_server import SUPERUSER, own_name
from everup.model.contracts import Grant
from everup.model.desired import Ask, NodeId, Protocol, Tcp
from everup.model.renewal import Renewal, Turn

LOGIN, FORMER = "login", "former"
"""Grants: `role:password` that clients use since the first renewal; the role whose password still works, or ""."""

ROUNDS = 4096
ANSWER_S = 10.0


def login_of(grant: Grant) -> tuple[str, str]:
    """The role that clients log in with, and its password."""
    role, _, password = grant.secrets.get(LOGIN, "").partition(":")
    return (role, password) if role else (own_name(grant.label), grant.secrets["password"])


@dataclass(frozen=True)
class Endpoint:
    """Where statements go, the node there, and the password of the superuser who sends them."""

    to: Tcp
    node: NodeId
    superuser: str = field(repr=False)

    def asked(self, *statements: str) -> dict[NodeId, Ask]:
        """These, one after the other."""
        commands = tuple((one,) for one in statements)
        return {self.node: Ask(self.to, commands, Protocol.SQL, ANSWER_S, password=self.superuser, user=SUPERUSER)}


@dataclass(frozen=True)
class Begin:
    """Makes `role`, a member of `own`, with a password, and remembers that `now` still works."""

    endpoint: Endpoint
    own: str
    role: str
    now: str

    def __call__(self, password: str) -> Turn:
        """What to do; a role that an attempt of before has left gets the new password."""
        role, own = self.role, self.own
        asks = self.endpoint.asked(
            f'DO $$ BEGIN CREATE ROLE "{role}" IN ROLE "{own}"; EXCEPTION WHEN duplicate_object THEN NULL; END $$',
            f"ALTER ROLE \"{role}\" SET role TO '{own}'",
            f"ALTER ROLE \"{role}\" LOGIN PASSWORD '{scram(password)}'",
        )
        return Turn(asks, after={LOGIN: f"{role}:{password}", FORMER: self.now})


@dataclass(frozen=True)
class Finish:
    """Ends the login of `former`; its other rights, and what it owns, stay."""

    endpoint: Endpoint
    former: str

    def __call__(self, cut: bool) -> Turn:
        """What to do; the second answer counts its sessions, which `cut` ends."""
        sessions = f"FROM pg_stat_activity WHERE usename = '{self.former}'"
        ending = (f"SELECT pg_terminate_backend(pid) {sessions}",) if cut else ()
        asks = self.endpoint.asked(
            f'ALTER ROLE "{self.former}" NOLOGIN PASSWORD NULL', f"SELECT count(*) {sessions}", *ending
        )
        return Turn(asks, after={FORMER: ""})


def renewal_of(grant: Grant, listen: Tcp, endpoint: NodeId) -> Renewal:
    """How the service whose endpoint, the node `endpoint`, is at `listen` gets another password for its clients."""
    own, now, former = own_name(grant.label), login_of(grant)[0], grant.secrets.get(FORMER, "")
    number = int(now.rpartition("_")[2]) + 1 if now != own else 2
    role, place = f"{own[:50]}_login_{number}", Endpoint(listen, endpoint, grant.secrets["superuser"])
    return Renewal(
        login=role,
        current=now,
        former=former,
        begin=Begin(place, own, role, now),
        finish=Finish(place, former),
        sessions=sessions,
    )


def sessions(replies: tuple[Any, ...]) -> int:
    """How many sessions the former role had."""
    return int(replies[1][0][0])


def scram(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5803), so that no statement or log of it holds the password itself.

    The salt follows from the password: those that Everup makes are random, and never the same twice.
    """
    salt = hashlib.sha256(b"everup:" + password.encode()).digest()[:16]
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(one).decode() for one in (salt, stored, server))
    return f"SCRAM-SHA-256${ROUNDS}:{salt64}${stored64}:{server64}"
