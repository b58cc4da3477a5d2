"""Addresses and passwords, issued once."""

from collections.abc import Mapping, Sequence, Set

from everup.model.contracts import Claim
from everup.model.desired import Tcp
from everup.runtime.grants import issue

DATA = Claim("data-1", {"redis": 6379})
MORE = Claim("data-2", {"redis": 6379})
PASSWORD = Claim("password")


class CountingBook:
    """Gives every new claim the next host."""

    def issue(
        self,
        environment: str,
        claims: Mapping[str, Sequence[Claim]],
        issued: Mapping[str, Mapping[str, Tcp]],
        forsaken: Set[Tcp] = frozenset(),
    ) -> dict[str, Mapping[str, Tcp]]:
        complete = dict(issued)
        for label, wanted in claims.items():
            for claim in wanted:
                if claim.ports and f"{label}/{claim.key}" not in complete:
                    host = f"127.64.0.{len(complete) + 2}"
                    complete[f"{label}/{claim.key}"] = {name: Tcp(host, port) for name, port in claim.ports.items()}
        return complete


def test_addresses_and_passwords_are_issued():
    granted = issue("shop", {"redis01": [DATA, PASSWORD]}, {}, CountingBook())
    assert granted["redis01/data-1"] == {"redis": Tcp("127.64.0.2", 6379)}
    assert len(granted["redis01/password"]) == 32
    assert set(granted) == {"redis01/data-1", "redis01/password"}


def test_what_was_issued_stays():
    book = CountingBook()
    first = issue("shop", {"redis01": [DATA, PASSWORD]}, {}, book)
    second = issue("shop", {"redis01": [DATA, MORE, PASSWORD]}, first, book)
    assert {key: second[key] for key in first} == first
    assert second["redis01/data-2"] == {"redis": Tcp("127.64.0.3", 6379)}


def test_what_is_no_longer_claimed_is_not_taken_back():
    first = issue("shop", {"redis01": [DATA, MORE, PASSWORD]}, {}, CountingBook())
    assert issue("shop", {"redis01": [DATA]}, first, CountingBook()) == first


def test_no_two_passwords_are_alike():
    granted = issue("shop", {"a": [PASSWORD], "b": [PASSWORD]}, {}, CountingBook())
    assert granted["a/password"] != granted["b/password"]
