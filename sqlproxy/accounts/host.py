"""The host part of an account: what it matches and how specific it is, as the servers judge it.

MariaDB (``compare_hostname`` in ``sql/sql_acl.cc``, ``get_magic_sort`` in ``sql/sql_acl_getsort.ic``):
wildcards and ``address/netmask``; order by the size of what a pattern can match.
MySQL (``ACL_HOST_AND_IP`` and ``ACL_compare`` in ``sql/auth/sql_auth_cache.cc``, 8.0.23 and later): literal
addresses first, then ``address/bits``, then ``address/netmask``, then names by the position of the first wildcard.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

LOCALHOST = "localhost"
_ALL_BITS = 0xFFFFFFFF
_MAX_HOST = 255  # HOSTNAME_LENGTH of MariaDB
_IPV4 = re.compile(r"(\d+)\.(\d+)\.(\d+)\.(\d+)", re.ASCII)
_LOOPBACK = ("127.0.0.1", "::1")


class Dialect(StrEnum):
    """Whose rules order and match the accounts."""

    MARIADB = "mariadb"
    MYSQL = "mysql"


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A host pattern taken apart.

    ``mask`` 0 means that there is no network; ``rank`` sorts the most specific pattern first, among patterns of the
    same dialect only.
    """

    text: str
    network: int
    mask: int
    rank: tuple[int, ...]

    @classmethod
    def parse(cls, text: str, dialect: Dialect) -> HostPattern:
        """The pattern as the grant table has it; every string is one. An empty one matches like ``%``."""
        if dialect is Dialect.MARIADB:
            pattern = text or "%"
            network, mask = _mariadb_network(pattern)
            return cls(pattern, network, mask, (_mariadb_generality(pattern),))
        network, mask, form = _mysql_network(text)
        specificity = -_mysql_specificity(text)
        rank = (0, form, -mask, specificity) if network else (1, 0, 0, specificity)
        return cls(text or "%", network, mask, rank)

    def matches(self, ip: str | None, name: str | None) -> bool:
        """Whether a client at ``ip`` (None: unix socket) whose host is called ``name`` (None: unknown) matches."""
        address = None if ip is None else _ipv4(ip)
        if self.mask and address is not None:
            return address & self.mask == self.network
        # Names compare case-insensitively, addresses do not.
        if name is not None and _wild_equal(_upper(name), _upper(self.text)):
            return True
        return ip is not None and _wild_equal(ip, self.text)


def client_host(ip: str | None, skip_name_resolve: bool = False) -> tuple[str | None, str | None]:
    """Address and name under which a client is looked up: (ip, name).

    ``ip`` is the peer's numeric address, None on a unix socket, where the name is ``localhost``. An IPv4 address
    mapped into IPv6 is taken as IPv4. The proxy asks no name server: only 127.0.0.1 and ::1 get a name, which servers
    without ``skip_name_resolve`` give them as well; accounts for other host names match no TCP client.
    """
    if ip is None:
        return None, LOCALHOST
    address = normalized(ip)
    return address, LOCALHOST if address in _LOOPBACK and not skip_name_resolve else None


def normalized(ip: str) -> str:
    """The address as servers write it; what is no address is left as it is."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _upper(text: str) -> str:
    """Upper case of ASCII letters: all that the servers fold in host names."""
    return text.encode("utf-8", "surrogateescape").upper().decode("utf-8", "surrogateescape")


def _ipv4(text: str) -> int | None:
    match = _IPV4.fullmatch(text)
    if match is None:
        return None
    value = 0
    for part in match.groups():
        if len(part) > 9 or int(part) > 255:
            return None
        value = value << 8 | int(part)
    return value


def _mariadb_network(text: str) -> tuple[int, int]:
    address, _, mask = text.partition("/")
    network, bits = _ipv4(address), _ipv4(mask)
    return (0, 0) if network is None or not bits else (network, bits)


def _mysql_network(text: str) -> tuple[int, int, int]:
    """(network, mask, form); form: 0 literal, 1 address/bits, 2 address/netmask. All 0 if it is no address."""
    address, slash, mask = text.partition("/")
    network = _ipv4(address)
    if not network:
        return 0, 0, 0
    if not slash:
        return network, _ALL_BITS, 0
    bits = _ipv4(mask)
    if bits is not None:
        inverse = ~bits & _ALL_BITS
        contiguous = inverse & (inverse + 1) == 0
        return (network, bits, 2) if contiguous else (0, 0, 0)
    if re.fullmatch(r"\d{1,2}", mask, re.ASCII) and int(mask) <= 32:
        return network, _ALL_BITS << 32 - int(mask) & _ALL_BITS, 1
    return 0, 0, 0


def _mariadb_generality(pattern: str) -> int:
    """MariaDB's "magic" number of a pattern: the larger, the more strings it matches."""
    literals = ones = manys = prefix = 0
    for char, special in _tokens(pattern):
        if not special:
            literals += 1
            continue
        if not ones and not manys:
            prefix = literals
        if char == "%":
            manys += 1
        else:
            ones += 1
    manys, ones = min(manys, 31), min(ones, 31)
    rest = _MAX_HOST - literals - ones if manys else 0
    size = _MAX_HOST + 1
    if rest > ones:
        return (((rest * 2 + 1) * size + manys) * 32 + ones) * size + prefix
    return ((ones * 2 * size + rest) * 32 + manys) * size + prefix


def _mysql_specificity(pattern: str) -> int:
    """MySQL's ``get_sort`` of a pattern: 128 without wildcards, else the place of the first one; 0 if empty."""
    escaped = False
    for position, char in enumerate(pattern):
        if escaped:
            escaped = False
        elif char == "\\" and position + 1 < len(pattern):
            escaped = True
        elif char in "%_":
            return 1 if pattern == "%" else min(position + 2, 127)
    return 128 if pattern else 0


def _tokens(pattern: str) -> list[tuple[str, bool]]:
    """(character, is it a wildcard) for each; a backslash makes the next one a plain character; ``%%`` is ``%``."""
    tokens: list[tuple[str, bool]] = []
    chars = iter(pattern)
    for char in chars:
        if char == "\\":
            tokens.append((next(chars, char), False))
        elif char != "%" or not tokens or tokens[-1] != ("%", True):
            tokens.append((char, char in "%_"))
    return tokens


def _wild_equal(text: str, pattern: str) -> bool:
    """``wild_compare``: ``%`` stands for any characters, ``_`` for one. Time grows with both lengths' product."""
    tokens = _tokens(pattern)
    at = token = 0
    retry: tuple[int, int] | None = None  # after the last %: (token, next place in text to try it at)
    while at < len(text):
        if token < len(tokens) and tokens[token] == ("%", True):
            token += 1
            retry = token, at
        elif token < len(tokens) and tokens[token] in ((text[at], False), ("_", True)):
            at, token = at + 1, token + 1
        elif retry is not None:
            token, at = retry[0], retry[1] + 1
            retry = token, at
        else:
            return False
    return tokens[token:] in ([], [("%", True)])
