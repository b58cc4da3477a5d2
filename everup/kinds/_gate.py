"""The gate of a primary's endpoint: while it is shut, who connects waits, and sessions that are open go on.

A planned change of roles shuts it, and pointing the endpoint at the new primary opens it: who connects meanwhile sees
latency, not an error. It is an entry of a table of HAProxy's that ends by itself, so a control plane that dies half-way
keeps nobody out. A HAProxy without Lua has no gate; there new connections are refused for that moment.
"""

from collections.abc import Callable, Generator
from importlib import resources
from typing import Any

from everup.model.desired import Ask, Pause, Silence, Step, Together

SOURCE = (resources.files("everup") / "programs" / "endpoint_gate.lua").read_text(encoding="utf-8")
FILE = "gate.lua"

SHUT_S = 4.0
"""How long the gate stays shut, at most: less than the 5 s that clients wait for an answer (redis-py).

Who waited until then goes where the endpoint leads, or is refused there.
"""

_ENTRY = 1

LOAD = (".if feature(LUA)", f"  lua-load {FILE}", ".endif")
"""For the configuration's section `global`."""

TABLE = ("backend gate", f"  stick-table type integer size 16 expire {SHUT_S:g}s")
"""A section of its own."""

WAIT = (
    ".if feature(LUA)",
    f"  tcp-request inspect-delay {SHUT_S * 2:g}s",
    f"  tcp-request content lua.wait_at_gate if {{ int({_ENTRY}),in_table(gate) }}",
    ".endif",
)
"""For the section of the frontend."""

SHUT, OPEN = f"set table gate key {_ENTRY}", "clear table gate"
"""Runtime commands."""

YOUNG_S = 1.0
"""A session that is not older may be there for one request only, and is let come to its end."""

LOOKS, LOOK_EVERY_S = 50, 0.01
"""Who opened a session a moment ago and keeps it is not waited for any longer: half a second."""

CALM_LOOKS = 3
"""So many looks in a row must find no young session: one that was let through last may not have arrived at first."""


def let_short_sessions_end(question: Ask, young: Callable[[Any], int]) -> Generator[Step, Any, None]:
    """Behind a shut gate, wait until nobody is left who connected a moment ago; nobody else is disturbed meanwhile.

    Args:
        question: what to ask the primary.
        young: how many sessions not older than `YOUNG_S` the reply to it tells of.
    """
    calm = 0
    for _ in range(LOOKS):
        (reply,) = yield Together((question,))
        if isinstance(reply, Silence):
            return
        calm = 0 if young(reply) else calm + 1
        if calm == CALM_LOOKS:
            return
        yield Pause(LOOK_EVERY_S)
