"""A control plane that is reached over TCP: where it is, and who asks."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx

from everup.cli.client import Client, Gone
from everup.core.listening import carries_secrets_openly, is_here
from everup.model.errors import EverupError, Refused


class Remote(Client):
    """A client of such a control plane."""

    hint = "Where it runs, everup doctor says how it is; its address: everup context list."

    def _gone(self, error: httpx.TransportError) -> EverupError:
        if isinstance(error, httpx.ConnectError) and "CERTIFICATE" in str(error).upper():
            hint = "If it is one of your own, name it: everup context add NAME --server URL --ca cert.pem"
            return EverupError(f"the certificate of {self._where} is not trusted: {error}", hint, code="untrusted")
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Gone(f"nobody answers at {self._where}: {error}", self.hint)
        return super()._gone(error)


@dataclass(frozen=True)
class Place:
    """Where a control plane is: its URL, the token that is shown to it, and a certificate (PEM) to trust besides."""

    server: str
    token: str | None = None
    ca: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return is_here(self.server)

    def client(self) -> Remote:
        """A client of it.

        Raises:
            Refused: the token would cross a network in the clear.
            EverupError: the URL is none, or the certificate cannot be read.
        """
        server = self.server.rstrip("/")
        if not server.startswith(("http://", "https://")):
            raise EverupError(f"{server} is no URL", "For example: https://everup.example.net:7443", code="server")
        if carries_secrets_openly(server):
            raise Refused(
                f"{server} is plain HTTP to another machine: the token would cross the network for everybody to read",
                "Use https; where the control plane runs: everup serve --listen ADDR:PORT --tls-cert ... --tls-key ...",
                code="refused.plain_http",
            )
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        direct = server.startswith("http://")  # loopback: no proxy in between gets to see the token
        http = httpx.Client(
            base_url=f"{server}/v1/",
            headers=headers,
            timeout=httpx.Timeout(30.0, connect=10.0),
            verify=_trusted(self.ca) if self.ca else True,
            trust_env=not direct,
        )
        return Remote(http, server)


def _trusted(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(Path(ca))
    except OSError as error:
        raise EverupError(f"the certificate {ca} cannot be read: {error}", "A PEM file.", code="server") from error
    return context
