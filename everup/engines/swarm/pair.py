"""The pair that Everup and its agents know each other by: a key, and a certificate that it made of itself."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from everup.engines.local.statefile import replace_text

AGENT = "everup-agent"
"""The name of the global service whose copies look after the nodes of their hosts."""

KEY, CERT = f"{AGENT}-key", f"{AGENT}-cert"
"""The files in which both sides find their pair."""

_LIFE = timedelta(days=3653)


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
        key, cert = _made()
        replace_text(pair.key, key)
        replace_text(pair.cert, cert)
    return pair


def _made() -> tuple[str, str]:
    """A new key and its certificate. PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, AGENT)])
    public, now = key.public_key(), datetime.now(UTC)
    usage = x509.KeyUsage(True, False, False, False, False, True, False, False, False)
    roles = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks of hosts differ
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(roles, critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(AGENT)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, form, plain).decode()
    return text, cert.public_bytes(serialization.Encoding.PEM).decode()
