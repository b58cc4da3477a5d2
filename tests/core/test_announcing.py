"""The header by which a door says whose connection it passes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everup.core.announcing import HEAD_BYTES, LONGEST_BYTES, announcement, client_in, length_of, may_begin

PORTS = st.integers(0, 65_535)


@given(
    ends=st.one_of(
        st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
    ),
    ports=st.tuples(PORTS, PORTS),
    more=st.binary(max_size=40),
)
def test_what_is_announced_is_understood_and_its_length_known(ends, ports, more):
    header = announcement(str(ends[0]), ports[0], str(ends[1]), ports[1])
    assert length_of((header + more)[:HEAD_BYTES]) == len(header)
    assert client_in(header) == (str(ends[0]), ports[0])
    assert all(may_begin(header[:length]) for length in range(1, HEAD_BYTES + 1))


def test_it_is_what_the_protocol_says():
    header = announcement("10.0.0.1", 4711, "10.0.0.2", 8484)
    assert header.hex() == "0d0a0d0a000d0a515549540a" + "2111000c" + "0a0000010a000002" + "12672124"


@given(begin=st.binary(min_size=1, max_size=HEAD_BYTES))
def test_a_handshake_of_tls_and_a_request_are_no_header(begin):
    assert not may_begin(b"\x16" + begin)
    assert not may_begin(b"G" + begin)


@pytest.mark.parametrize(
    "header", ["2011000c" + "00" * 12, "2100" + "0000", "3111000c" + "00" * 12, "2111000b" + "00" * 11]
)
def test_a_header_that_tells_of_nobody_is_none(header):
    assert client_in(bytes.fromhex("0d0a0d0a000d0a515549540a" + header)) is None


def test_a_header_without_end_is_not_read():
    with pytest.raises(ValueError, match="bytes"):
        length_of(announcement("10.0.0.1", 1, "10.0.0.2", 2)[:14] + b"\xff\xff")
    assert length_of(bytes(14) + (LONGEST_BYTES - HEAD_BYTES).to_bytes(2, "big")) == LONGEST_BYTES
