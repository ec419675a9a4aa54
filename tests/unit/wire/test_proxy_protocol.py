"""PROXY protocol headers: read in both versions, written in the second, refused when malformed."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.errors import ProtocolError
from sqlproxy.wire.proxy_protocol import V2, Announced, encode, is_header, missing, parse

addresses = st.ip_addresses().map(str)
ports = st.integers(0, 0xFFFF)


def read(stream: bytes) -> tuple[Announced, bytes]:
    """A header at the stream's start, asked for byte counts as a socket is; what follows it."""
    pos = 4
    while wanted := missing(stream[:pos]):
        pos += wanted
        assert pos <= len(stream), "more was asked for than the header has"
    return parse(stream[:pos]), stream[pos:]


@pytest.mark.parametrize(
    ("header", "announced"),
    [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 50123 3306\r\n", Announced("192.0.2.7", 50123)),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n", Announced("2001:db8::7", 1)),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", Announced("192.0.2.7", 1)),
        (b"PROXY UNKNOWN\r\n", Announced()),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Announced()),
        (V2 + b"\x21\x11\x00\x0c\xc0\x00\x02\x07\x0a\x00\x00\x01\xc3\xcb\x0c\xea", Announced("192.0.2.7", 50123)),
        (
            V2 + b"\x21\x11\x00\x0f\xc0\x00\x02\x07\x0a\x00\x00\x01\xc3\xcb\x0c\xea\x04\x00\x00",
            Announced("192.0.2.7", 50123),
        ),
        (V2 + b"\x20\x00\x00\x00", Announced()),
        (V2 + b"\x21\x00\x00\x00", Announced()),
        (V2 + b"\x21\x31\x00\xd8" + bytes(216), Announced()),
    ],
)
def test_a_header_announces_the_client_and_takes_no_more_than_its_own_bytes(
    header: bytes, announced: Announced
) -> None:
    assert is_header(header)
    assert read(header + b"the login") == (announced, b"the login")


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 10.0.0.1 50123\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 50123 -1 \r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
        b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
        b"PROXX TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
        b"PROXY\nTCP4 192.0.2.7 10.0.0.1 1 2\r\n",
        b"PROXY " + b"x" * 200,
        b"\r\n\r\nsomething else of sixteen bytes",
        V2 + b"\x31\x11\x00\x00",
        V2 + b"\x22\x11\x00\x00",
        V2 + b"\x21\x11\x00\x04abcd",
    ],
)
def test_a_malformed_header_is_refused(header: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed PROXY protocol header"):
        read(header)


def test_the_first_packet_of_a_login_is_no_header() -> None:
    assert not is_header(b"\x20\x00\x00\x01\x85")
    assert not is_header(b"")


@given(addresses, ports, addresses, ports)
def test_what_is_announced_to_servers_is_read_back(source: str, port: int, destination: str, other: int) -> None:
    announced, rest = read(encode((source, port), (destination, other)) + b"rest")
    mapped = source.startswith("::ffff:") and "." in announced.address
    assert announced.port == port
    assert mapped or announced.address == source
    assert rest == b"rest"


def test_a_connection_of_our_own_announces_nobody() -> None:
    assert read(encode(None, ("10.0.0.1", 3306))) == (Announced(), b"")


@given(
    st.sampled_from([b"PROX", b"PROXY ", b"PROXY TCP4 ", b"\r\n\r\n", V2, V2 + b"\x21\x11"]), st.binary(max_size=300)
)
def test_any_bytes_are_read_or_refused_within_bounds(start: bytes, rest: bytes) -> None:
    data = start + rest
    pos = 4
    with suppress(ProtocolError):
        while wanted := missing(data[:pos]):
            pos += wanted
            if pos > len(data):
                assert pos <= 16 + 0xFFFF
                return
        parse(data[:pos])
