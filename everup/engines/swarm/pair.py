"""The pair that Everup and its agents know each other by: a key, and a certificate that it made of itself."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from everup.engines.local.statefile import replace_text
from everup.engines.swarm.certificates import self_signed

AGENT = "everup-agent"
"""The name of the global service whose copies look after the nodes of their hosts."""

KEY, CERT = f"{AGENT}-key", f"{AGENT}-cert"
"""The files in which both sides find their pair."""


@dataclass(frozen=True)
class Pair:
    """A key and the certificate of itself that both sides show and expect, as files. PEM."""

    cert: Path
    key: Path

    @property
    def mark(self) -> str:
        """By which it is recognised: 12 letters."""
        return hashlib.sha256(self.cert.read_bytes()).hexdigest()[:12]


def pair_in(folder: Path) -> Pair:
    """The pair in `folder`, made where there is none. Blocks.

    Raises:
        OSError: it cannot be written.
    """
    pair = Pair(folder / f"{CERT}.pem", folder / f"{KEY}.pem")
    if not (pair.cert.exists() and pair.key.exists()):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key, cert = self_signed(AGENT)
        replace_text(pair.key, key)
        replace_text(pair.cert, cert)
    return pair
