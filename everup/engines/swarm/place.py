"""Where Docker answers, found as its own client finds it: variables, then contexts, then the usual socket."""

import hashlib
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from everup.model.errors import EngineError

SOCKET = "unix:///var/run/docker.sock"
_PORT, _TLS_PORT = 2375, 2376
_HINT = "Docker's own client must answer first: docker info"


@dataclass(frozen=True)
class Place:
    """An address of a Docker Engine: a Unix socket, TCP, or a machine to reach through ssh.

    Attributes:
        address: as Docker writes it: `unix:///path`, `tcp://host:port`, `ssh://user@host:port`.
        certificates: directory with `ca.pem`, `cert.pem` and `key.pem`; None for a connection without TLS.
        verify: the server must show a certificate of that authority.
        found_in: what named it, for messages.
    """

    address: str
    certificates: Path | None = None
    verify: bool = True
    found_in: str = "the default"

    @property
    def scheme(self) -> str:
        """`unix`, `tcp` or `ssh`."""
        return urlsplit(self.address).scheme

    @property
    def socket(self) -> str:
        """The path of a Unix socket."""
        return self.address.removeprefix("unix://")

    @property
    def url(self) -> str:
        """What an HTTP client is to ask; a made-up host where no TCP connection is made."""
        if self.scheme != "tcp":
            return "http://docker"
        parts, tls = urlsplit(self.address), self.certificates is not None
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{'https' if tls else 'http'}://{host}:{parts.port or (_TLS_PORT if tls else _PORT)}"

    def tls(self) -> ssl.SSLContext | None:
        """How to show who asks, and to see who answers; None where there is no TLS.

        Raises:
            EngineError: the certificates cannot be read.
        """
        if self.certificates is None:
            return None
        try:
            context = ssl.create_default_context(cafile=_there(self.certificates / "ca.pem"))
            if own := _there(self.certificates / "cert.pem"):
                context.load_cert_chain(own, self.certificates / "key.pem")
        except OSError as error:  # also what ssl says of a file that is no certificate
            raise EngineError(f"the certificates in {self.certificates} cannot be used: {error}", _HINT) from error
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


def find(environ: Mapping[str, str] = os.environ) -> Place:
    """Where Docker's own client would go: DOCKER_HOST, DOCKER_CONTEXT, the current context, the usual socket.

    Raises:
        EngineError: a context is named that does not exist, or an address that cannot be used.
    """
    folder = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or Path.home(), ".docker"))
    if address := environ.get("DOCKER_HOST"):
        wants_tls = bool(environ.get("DOCKER_TLS_VERIFY") or environ.get("DOCKER_TLS"))
        certificates = Path(environ.get("DOCKER_CERT_PATH") or folder) if wants_tls else None
        return _checked(Place(address, certificates, bool(environ.get("DOCKER_TLS_VERIFY")), "DOCKER_HOST"))
    name, found_in = environ.get("DOCKER_CONTEXT", ""), "DOCKER_CONTEXT"
    if not name:
        name, found_in = str(_read(folder / "config.json").get("currentContext") or ""), str(folder / "config.json")
    if name in ("", "default"):
        return Place(SOCKET)
    return _checked(_context(folder / "contexts", name, found_in))


def _context(folder: Path, name: str, found_in: str) -> Place:
    number = hashlib.sha256(name.encode()).hexdigest()
    endpoint = _read(folder / "meta" / number / "meta.json").get("Endpoints", {}).get("docker", {})
    if not endpoint.get("Host"):
        raise EngineError(f"there is no Docker context {name} (named by {found_in})", "See: docker context ls")
    certificates = folder / "tls" / number / "docker"
    secure = certificates.is_dir() or endpoint["Host"].startswith("https://")
    verify = not endpoint.get("SkipTLSVerify", False)
    return Place(endpoint["Host"], certificates if secure else None, verify, f"the context {name}")


def _checked(place: Place) -> Place:
    parts = urlsplit(place.address)
    if parts.scheme in ("http", "https"):
        place = Place(f"tcp://{parts.netloc}", place.certificates, place.verify, place.found_in)
    usable = {"unix": bool(parts.path), "tcp": bool(parts.hostname), "ssh": bool(parts.hostname)}
    try:
        fine = usable.get(place.scheme, False) and parts.port != 0
    except ValueError:  # a port that is no number
        fine = False
    if not fine:
        raise EngineError(
            f"{place.address} (from {place.found_in}) is no address of Docker that Everup can use",
            "Use unix:///path, tcp://host:port or ssh://user@host.",
            code="engine.address_unusable",
        )
    return place


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is none that can be read."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _there(path: Path) -> str | None:
    return str(path) if path.exists() else None


def remembered(folder: Path, environ: Mapping[str, str] = os.environ, *, keep: bool = True) -> Place:
    """Where Docker answered first, kept in `folder`; what the environment names now comes before that, and is kept.

    A control plane that is started again from another shell must not end up at another Docker. Without `keep` nothing
    is written.

    Raises:
        EngineError: nothing usable is named, or the note cannot be read or written.
    """
    note = folder / "docker.json"
    try:
        if note.exists() and not any(environ.get(name) for name in ("DOCKER_HOST", "DOCKER_CONTEXT")):
            kept = json.loads(note.read_text())
            certificates = kept["certificates"] and Path(kept["certificates"])
            return Place(kept["address"], certificates, kept["verify"], f"{note}")
        place = find(environ)
        if not keep:
            return place
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = {"address": place.address, "certificates": place.certificates, "verify": place.verify}
        note.write_text(json.dumps(told, default=str))
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(f"{note} cannot be used: {error}", "Remove it, and name a manager in DOCKER_HOST.") from error
    return place
