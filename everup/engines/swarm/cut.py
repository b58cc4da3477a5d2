"""Cutting this host off from others: the kernel drops what comes from them and goes to them, and lets go by itself.

The addresses lie in a set of nftables whose members the kernel forgets at a time that was set when they were put
there: the cut ends then, whoever has died meanwhile. All of it is one transaction, which takes hold as a
whole or not at all. Its calls block, for milliseconds.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from everup.model.errors import EngineError

TABLE = "everup-drill"

PATIENCE_S = 5.0
"""How long the kernel may take to answer; it needs milliseconds."""

_SET = "cut-off"
_NFTABLES = 10  # NFNL_SUBSYS_NFTABLES
_BEGIN, _END = 0x10, 0x11  # NFNL_MSG_BATCH_BEGIN and _END
_ACCEPT, _DROP = 1, 0
_FIRST = -300  # before connections are tracked
_NETWORK_HEADER = 1
_HOOKS = {"arriving": 0, "leaving": 3}  # NF_INET_PRE_ROUTING and _LOCAL_OUT; what is forwarded arrives before

Names = Mapping[str, Any]


@dataclass(frozen=True)
class _Family:
    """Where the addresses of a family of protocols are in a packet: offset and length in bytes."""

    number: int
    key_type: int
    source: int
    target: int
    length: int


_FAMILIES = {4: _Family(2, 7, 12, 16, 4), 6: _Family(10, 8, 8, 24, 16)}


def cut_off(addresses: Iterable[str], for_s: float) -> None:
    """Drop whatever comes from, or goes to, any of these addresses, for so many seconds from now.

    A cut before this one ends. Without addresses nothing is dropped, but all else is done, which shows that it can be.

    Raises:
        EngineError: this process may not (it needs CAP_NET_ADMIN), or the kernel cannot.
    """
    found = [ip_address(address) for address in addresses]
    messages = [
        message
        for version, family in _FAMILIES.items()
        for message in _table(family, [one.packed for one in found if one.version == version], for_s)
    ]
    _transact(messages)


def let_go() -> None:
    """End a cut, and leave nothing of it behind; where there is none, nothing happens.

    Raises:
        EngineError: as for `cut_off`.
    """
    _transact([message for family in _FAMILIES.values() for message in _removed(family)])


def _table(family: _Family, addresses: list[bytes], for_s: float) -> Iterator[Any]:
    """The table anew: a set of addresses, and rules that drop what bears one of them."""
    from pyroute2.netlink.nfnetlink import nftsocket as nft
    from pyroute2.nftables.expressions import genex, verdict

    yield from _removed(family)
    yield _message(nft.nft_table_msg, nft.NFT_MSG_NEWTABLE, family, {"name": TABLE})
    own = {"key_type": family.key_type, "key_len": family.length, "id": 1, "flags": {"NFT_SET_TIMEOUT"}}
    yield _message(nft.nft_set_msg, nft.NFT_MSG_NEWSET, family, {"table": TABLE, "name": _SET, **own})
    for name, hook in _HOOKS.items():
        place = {"attrs": [["NFTA_HOOK_HOOKNUM", hook], ["NFTA_HOOK_PRIORITY", _FIRST]]}
        chain = {"table": TABLE, "name": name, "type": "filter", "policy": _ACCEPT, "hook": place}
        yield _message(nft.nft_chain_msg, nft.NFT_MSG_NEWCHAIN, family, chain)
        for offset in (family.source, family.target):
            payload = {"dreg": 1, "base": _NETWORK_HEADER, "offset": offset, "len": family.length}
            words = [genex("payload", payload), genex("lookup", {"set": _SET, "sreg": 1}), *verdict(_DROP)]
            rule = {"table": TABLE, "chain": name, "expressions": words}
            yield _message(nft.nft_rule_msg, nft.NFT_MSG_NEWRULE, family, rule)
    if addresses:
        members = {"table": TABLE, "set": _SET, "elements": [_member(one, for_s) for one in addresses]}
        yield _message(nft.nft_set_elem_list_msg, nft.NFT_MSG_NEWSETELEM, family, members)


def _member(address: bytes, for_s: float) -> Names:
    key = {"attrs": [["NFTA_DATA_VALUE", address]]}
    return {"attrs": [["NFTA_SET_ELEM_KEY", key], ["NFTA_SET_ELEM_TIMEOUT", round(for_s * 1000)]]}


def _removed(family: _Family) -> Iterator[Any]:
    """Make sure that there is a table, then delete it: to delete one that is not there would be an error."""
    from pyroute2.netlink.nfnetlink import nftsocket as nft

    yield _message(nft.nft_table_msg, nft.NFT_MSG_NEWTABLE, family, {"name": TABLE})
    yield _message(nft.nft_table_msg, nft.NFT_MSG_DELTABLE, family, {"name": TABLE})


def _message(kind: Any, number: int, family: _Family, fields: Names) -> Any:
    """One step of a transaction. The calls that pyroute2 has for single steps cannot do several at once."""
    from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST

    made = kind()
    made["attrs"] = [[kind.name2nla(name), value] for name, value in fields.items()]
    made["header"]["type"] = (_NFTABLES << 8) | number
    made["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
    made["nfgen_family"] = family.number
    return made


def _edge(number: int) -> Any:
    """Where a transaction begins or ends."""
    from pyroute2.netlink import NLM_F_REQUEST
    from pyroute2.netlink.nfnetlink import nfgen_msg

    made = nfgen_msg()
    made["res_id"] = _NFTABLES
    made["header"]["type"] = number
    made["header"]["flags"] = NLM_F_REQUEST
    return made


def _transact(messages: Iterable[Any]) -> None:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:  # uvloop knows no sockets of the kernel's
        runner.run(_sent(messages))


async def _sent(messages: Iterable[Any]) -> None:
    from pyroute2.netlink import NetlinkError
    from pyroute2.netlink.nfnetlink import nfgen_msg
    from pyroute2.netlink.nfnetlink.nftsocket import NFT_MSG_GETTABLE, AsyncNFTSocket

    try:
        async with asyncio.timeout(PATIENCE_S), AsyncNFTSocket() as kernel:
            async for _ in await kernel.request_get(nfgen_msg(), NFT_MSG_GETTABLE):
                pass  # who may not do this gets no answer to a transaction
            async for _ in kernel.nlm_request_batch([_edge(_BEGIN), *messages, _edge(_END)]):
                pass
    except (NetlinkError, OSError, TimeoutError) as error:
        because = str(error) or f"no answer within {PATIENCE_S:g} s"
        raise EngineError(
            f"the kernel of this host does not let itself be cut off: {because}",
            "Everup's agent needs CAP_NET_ADMIN, and the kernel nftables with sets (nf_tables).",
            code="engine.no_cut",
        ) from error
