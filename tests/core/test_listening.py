"""Where the API may listen, and where a token may be sent."""

import pytest

from everup.core.listening import carries_secrets_openly, listening
from everup.model.errors import EverupError, Refused

PEM = ("cert.pem", "key.pem")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1:7443", "http://127.0.0.1:7443"),
        ("127.8.9.1:1", "http://127.8.9.1:1"),
        ("localhost:7443", "http://127.0.0.1:7443"),
        ("[::1]:7443", "http://[::1]:7443"),
    ],
)
def test_loopback_needs_no_certificate(address, url):
    assert listening(address).url == url
    assert listening(address, *PEM).url == url.replace("http:", "https:")


@pytest.mark.parametrize("address", ["0.0.0.0:7443", "10.1.2.3:7443", "[::]:7443", "[fe80::1]:7443"])
def test_anything_else_needs_one_and_says_how_to_make_it(address):
    with pytest.raises(Refused, match="without TLS") as caught:
        listening(address)
    assert "openssl req -x509" in caught.value.hint
    assert listening(address, *PEM).url.startswith("https://")


@pytest.mark.parametrize(
    "address", ["", "7443", ":7443", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "host:1", "1:1:1"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(EverupError, match="no address and port"):
        listening(address, *PEM)


def test_a_certificate_without_its_key_is_refused():
    with pytest.raises(EverupError, match="go together"):
        listening("10.1.2.3:7443", "cert.pem")


OPEN = [
    "http://10.0.0.5:1",
    "http://everup.example.net",
    "http://127.0.0.1.example.net:80",
    "http://u@evil.net",
    "ftp://x",
]
SAFE = [
    "https://10.0.0.5",
    "HTTPS://x",
    "http://127.0.0.1:7443",
    "http://localhost:7443/",
    "http://[::1]:7443",
    "http://127.9.9.9",
]


@pytest.mark.parametrize("server", OPEN)
def test_no_token_goes_over_a_network_in_the_clear(server):
    assert carries_secrets_openly(server)


@pytest.mark.parametrize("server", SAFE)
def test_tls_and_loopback_are_safe(server):
    assert not carries_secrets_openly(server)
