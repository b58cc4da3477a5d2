"""Keys and certificates by which programs of Everup on several hosts know each other, and clients know Everup. PEM."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=3653)
_Key = ec.EllipticCurvePrivateKey


def self_signed(name: str, addresses: Collection[str] = ()) -> tuple[str, str]:
    """A new key and its certificate of itself, for a name and these IP addresses; it may sign others."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    others = [x509.DNSName(name), *(x509.IPAddress(ip_address(one)) for one in addresses)]
    builder = _builder(name, key, key.public_key(), others).issuer_name(_named(name)).not_valid_after(now + _LIFE)
    usage = x509.KeyUsage(True, False, False, False, False, True, False, False, False)
    roles = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return _finished(builder.add_extension(usage, critical=True).add_extension(roles, critical=False), key, key)


def signed(key: str, cert: str, names: Collection[str]) -> tuple[str, str]:
    """A new key and its certificate as a server of these names and IP addresses, signed by the key of another one.

    Whoever trusts that one trusts it, for as long.

    Raises:
        ValueError: `key` and `cert` are none.
    """
    signer = serialization.load_pem_private_key(key.encode(), None)
    above = x509.load_pem_x509_certificate(cert.encode())
    if not isinstance(signer, _Key):
        raise ValueError("the key is of another kind than Everup makes")
    own = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("everup", own, signer.public_key(), [_general(one) for one in names])
    builder = builder.issuer_name(above.subject).not_valid_after(above.not_valid_after_utc)
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    roles = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return _finished(builder.add_extension(usage, critical=True).add_extension(roles, critical=False), own, signer)


def _builder(
    name: str, key: _Key, signer: ec.EllipticCurvePublicKey, others: Collection[x509.GeneralName]
) -> x509.CertificateBuilder:
    """What all certificates have in common."""
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))  # clocks of hosts differ
        .add_extension(x509.SubjectAlternativeName(others), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _finished(builder: x509.CertificateBuilder, key: _Key, signer: _Key) -> tuple[str, str]:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, form, plain).decode()
    cert = builder.sign(signer, hashes.SHA256())
    return text, cert.public_bytes(serialization.Encoding.PEM).decode()


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
