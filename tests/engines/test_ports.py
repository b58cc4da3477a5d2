"""Addresses are granted once and for ever, and never where somebody else listens."""

import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from everup.engines.local.listeners import in_use, owner
from everup.engines.local.ports import LocalAddresses, choose_block, free_port, loopback_range_usable
from everup.model.contracts import Claim
from everup.model.desired import Tcp
from everup.model.errors import EngineError

CLAIMS = {
    "redis01": (Claim("node-1", {"redis": 6379}), Claim("node-2", {"redis": 6379}), Claim("password")),
    "web": (Claim("front", {"http": 8080, "stats": 8081}),),
}


def granted(addresses: LocalAddresses, issued: Mapping[str, Mapping[str, Tcp]] = {}) -> dict[str, Mapping[str, Tcp]]:
    return addresses.issue("shop", CLAIMS, issued)


def test_every_claim_gets_an_address_of_its_own_with_the_ports_it_likes(tmp_path: Path) -> None:
    grants = granted(LocalAddresses(tmp_path, usable=True))
    hosts = {key: {address.host for address in ports.values()} for key, ports in grants.items()}
    block = next(iter(hosts["redis01/node-1"])).rpartition(".")[0]
    assert hosts == {
        "redis01/node-1": {f"{block}.2"},
        "redis01/node-2": {f"{block}.3"},
        "web/front": {f"{block}.4"},
    }
    assert 64 <= int(block.split(".")[1]) <= 127
    assert grants["redis01/node-1"]["redis"].port == 6379
    assert {name: address.port for name, address in grants["web/front"].items()} == {"http": 8080, "stats": 8081}


@pytest.mark.parametrize("usable", [True, False])
def test_what_was_granted_never_changes(tmp_path: Path, usable: bool) -> None:
    first = granted(LocalAddresses(tmp_path, usable=usable))
    assert granted(LocalAddresses(tmp_path, usable=not usable), first) == first
    more = {**CLAIMS, "redis01": (*CLAIMS["redis01"], Claim("node-3", {"redis": 6379}))}
    second = LocalAddresses(tmp_path, usable=usable).issue("shop", more, first)
    assert {key: second[key] for key in first} == first
    new = second["redis01/node-3"]["redis"]
    assert new not in {address for ports in first.values() for address in ports.values()}


def test_a_new_port_of_an_old_claim_is_on_the_same_address(tmp_path: Path) -> None:
    addresses = LocalAddresses(tmp_path, usable=True)
    first = addresses.issue("shop", {"web": [Claim("front", {"http": 8080})]}, {})
    second = addresses.issue("shop", {"web": [Claim("front", {"http": 8080, "stats": 8081})]}, first)
    assert second["web/front"]["stats"] == Tcp(first["web/front"]["http"].host, 8081)


def test_environments_and_control_planes_get_blocks_of_their_own(tmp_path: Path) -> None:
    claims = {"web": [Claim("front", {"http": 8080})]}
    shop = LocalAddresses(tmp_path, usable=True).issue("shop", claims, {})["web/front"]["http"]
    others = LocalAddresses(tmp_path, lambda environment: [shop], usable=True)
    assert others.issue("shop", claims, {})["web/front"]["http"].host != shop.host
    elsewhere = LocalAddresses(tmp_path / "elsewhere", usable=True).issue("shop", claims, {})
    assert elsewhere["web/front"]["http"].host != shop.host


def test_a_block_in_which_somebody_listens_is_left_alone() -> None:
    block = choose_block("seed", ())
    assert choose_block("seed", ()) == block
    with socket.create_server((f"{block}.77", 0)):
        assert choose_block("seed", ()) != block
    assert choose_block("seed", {block}) != block


def test_a_port_that_somebody_holds_on_all_addresses_is_not_granted(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        claims = {"redis01": [Claim("node-1", {"redis": port})]}
        given = LocalAddresses(tmp_path, usable=True).issue("shop", claims, {})["redis01/node-1"]["redis"]
    assert port < given.port < port + 100


def test_without_a_range_every_port_is_another_one_of_127_0_0_1(tmp_path: Path) -> None:
    grants = granted(LocalAddresses(tmp_path, lambda environment: [Tcp("127.0.0.1", 20_000)], usable=False))
    all_of_them = [address for ports in grants.values() for address in ports.values()]
    assert {address.host for address in all_of_them} == {"127.0.0.1"}
    assert len(set(all_of_them)) == 4
    assert all(20_000 < address.port < 30_000 for address in all_of_them)


def test_a_free_port_is_neither_taken_nor_in_use() -> None:
    first = free_port(())
    assert free_port({first}) != first
    with socket.create_server(("127.0.0.1", first)):
        assert free_port(()) != first


def test_a_full_block_is_an_error_and_not_a_second_use(tmp_path: Path) -> None:
    claims = {"web": [Claim(str(number), {"http": 8080}) for number in range(253)]}
    addresses = LocalAddresses(tmp_path, usable=True)
    full = addresses.issue("shop", claims, {})
    assert len({ports["http"].host for ports in full.values()}) == 253
    with pytest.raises(EngineError):
        addresses.issue("shop", {"web": [Claim("one more", {"http": 8080})]}, full)


def test_the_range_can_be_declined() -> None:
    assert not loopback_range_usable({"EVERUP_LOOPBACK": "ports"})


def test_connections_that_linger_do_not_hold_an_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Tcp(*server.getsockname())
        client = socket.create_connection((address.host, address.port))
        accepted, _ = server.accept()
        assert in_use(address)
        accepted.close()  # closed first: this end lingers in TIME_WAIT
        client.close()
    assert not in_use(address)
    assert owner(address) == ""
