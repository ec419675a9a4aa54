"""The PROXY protocol: a balancer in front announces the client's address, and we announce it to servers.

Both versions are read, version 2 is written. Bounded: a header of version 1 has at most 107 bytes, of version 2 at
most 16 and 65535.

Source: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from sqlproxy.errors import ProtocolError

V1: Final = b"PROXY "
V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
PEEK: Final = 4  # bytes that tell a header from the first packet of a login, whose sequence id is never so high
_V1_SHORTEST: Final = 15  # PROXY UNKNOWN and its line end
_V1_LONGEST: Final = 107
_V2_HEAD: Final = struct.Struct("!12sBBH")  # signature, version and command, family and transport, length
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21


@dataclass(frozen=True, slots=True)
class Announced:
    """Who the client is: IP address and port; "" when the header leaves that to the connection itself."""

    address: str = ""
    port: int = 0


def is_header(start: bytes) -> bool:
    """Whether a connection that begins with these (``PEEK`` or more) bytes begins with a header."""
    return start[:PEEK] in (V1[:PEEK], V2[:PEEK])


def missing(data: bytes) -> int:
    """How many bytes must at least follow ``data``, which begins a header, to make it whole; 0: it is.

    Raises ProtocolError when it cannot become one.
    """
    if data[:PEEK] == V1[:PEEK]:
        return _missing_v1(data)
    if len(data) < _V2_HEAD.size:
        return _V2_HEAD.size - len(data)
    signature, _, _, length = _V2_HEAD.unpack_from(data)
    if signature != V2:
        raise _malformed("its signature is wrong")
    return max(_V2_HEAD.size + int(length) - len(data), 0)


def _missing_v1(data: bytes) -> int:
    if not V1.startswith(data[: len(V1)]) or b"\n" in data[:-1]:
        raise _malformed("it is no line of version 1")
    if data.endswith(b"\r\n"):
        return 0
    if len(data) >= _V1_LONGEST:
        raise _malformed(f"its line has no end within {_V1_LONGEST} bytes")
    return max(_V1_SHORTEST - len(data), 1)


def parse(header: bytes) -> Announced:
    """What a whole header says. Raises ProtocolError."""
    return _parse_v1(header) if header.startswith(V1) else _parse_v2(header)


def _parse_v1(header: bytes) -> Announced:
    words = header.removesuffix(b"\r\n").decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return Announced()
    version = {"TCP4": 4, "TCP6": 6}.get(words[1])
    if version is None or len(words) != 6 or not all(port.isascii() and port.isdigit() for port in words[4:]):
        raise _malformed("its line does not name two addresses and two ports")
    try:
        addresses = [ipaddress.ip_address(word) for word in words[2:4]]
    except ValueError:
        raise _malformed("it names an address that is none") from None
    if any(address.version != version for address in addresses) or any(int(port) > 0xFFFF for port in words[4:]):
        raise _malformed("its addresses and ports do not fit what it announces")
    return Announced(_plain(addresses[0]), int(words[4]))


def _parse_v2(header: bytes) -> Announced:
    _, command, family, length = _V2_HEAD.unpack_from(header)
    if command == _LOCAL:
        return Announced()
    if command != _PROXY:
        raise _malformed(f"its version and command are 0x{command:02X}")
    size = {_TCP4: 4, _TCP6: 16}.get(family)
    if size is None:
        return Announced()
    if length < 2 * size + 4:
        raise _malformed("it is too short for its addresses")
    start = _V2_HEAD.size
    address = ipaddress.ip_address(header[start : start + size])
    return Announced(_plain(address), int.from_bytes(header[start + 2 * size : start + 2 * size + 2], "big"))


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An IPv4 address in IPv6 clothes is an IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def encode(source: tuple[str, int] | None, destination: tuple[str, int]) -> bytes:
    """A version 2 header for a client at ``source`` (address, port); None: no client on TCP, or our own connection.

    Raises ValueError for what is no IP address.
    """
    if source is None:
        return _V2_HEAD.pack(V2, _LOCAL, 0, 0)
    ends = [(ipaddress.ip_address(address.partition("%")[0]), port) for address, port in (source, destination)]
    family = _TCP6 if any(address.version == 6 for address, _ in ends) else _TCP4
    addresses = b"".join(_packed(address, family) for address, _ in ends)
    body = addresses + b"".join(port.to_bytes(2, "big") for _, port in ends)
    return _V2_HEAD.pack(V2, _PROXY, family, len(body)) + body


def _packed(address: ipaddress.IPv4Address | ipaddress.IPv6Address, family: int) -> bytes:
    """Both ends have one family; IPv4 is mapped into IPv6 where they differ."""
    if family == _TCP6 and address.version == 4:
        return bytes(10) + b"\xff\xff" + address.packed
    return address.packed


def _malformed(reason: str) -> ProtocolError:
    return ProtocolError(f"malformed PROXY protocol header: {reason}")
