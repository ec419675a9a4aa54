import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.accounts.host import Dialect, HostPattern, client_host

MARIADB, MYSQL = Dialect.MARIADB, Dialect.MYSQL
HOSTS = st.text("aAb.%_\\1é", max_size=8)
PATTERNS = st.text("aAb.%_\\1é", max_size=8)


def rank(text: str, dialect: Dialect) -> tuple[int, ...]:
    return HostPattern.parse(text, dialect).rank


@pytest.mark.parametrize(
    ("pattern", "ip", "name", "expected"),
    [
        ("%", "10.0.0.1", None, True),
        ("", "10.0.0.1", None, True),
        ("10.0.0.1", "10.0.0.1", None, True),
        ("10.0.0.1", "10.0.0.11", None, False),
        ("10.0.0._", "10.0.0.1", None, True),
        ("10.0.0._", "10.0.0.11", None, False),
        ("10.0.%", "10.0.7.1", None, True),
        ("10.0.%", "10.1.0.1", None, False),
        ("192.168.1.0/255.255.255.0", "192.168.1.77", None, True),
        ("192.168.1.0/255.255.255.0", "192.168.2.77", None, False),
        ("192.168.1.1/255.255.255.0", "192.168.1.1", None, False),  # as documented: address & mask must be the network
        ("192.168.1.0/255.255.255.0", "192.168.1.0/255.255.255.0", None, True),  # no address: compared as text
        ("localhost", None, "localhost", True),
        ("LocalHost", None, "localhost", True),
        ("localhost", "127.0.0.1", None, False),
        ("127.0.0.1", None, "localhost", False),
        ("%.example.org", "10.0.0.1", "DB.Example.ORG", True),
        (r"my\_host", "10.0.0.1", "my_host", True),
        (r"my\_host", "10.0.0.1", "myxhost", False),
        (r"100\%", None, "100%", True),
        ("é", None, "É", False),  # only ASCII is folded
        ("fe80::%", "fe80::1", None, True),
        ("FE80::%", "fe80::1", None, False),  # addresses are compared as they are
        ("::1", "::1", "localhost", True),
    ],
)
def test_both_dialects_match_names_addresses_wildcards_and_netmasks(
    pattern: str, ip: str | None, name: str | None, expected: bool
) -> None:
    for dialect in (MARIADB, MYSQL):
        assert HostPattern.parse(pattern, dialect).matches(ip, name) is expected


@pytest.mark.parametrize(
    ("pattern", "ip", "in_mysql"),
    [
        ("192.168.1.0/24", "192.168.1.9", True),
        ("192.168.1.0/24", "192.168.2.9", False),
        ("10.0.0.0/8", "10.200.0.1", True),
        ("10.0.0.1/32", "10.0.0.1", True),
        ("10.0.0.0/33", "10.0.0.0", False),
    ],
)
def test_prefix_lengths_are_understood_by_mysql_only(pattern: str, ip: str, in_mysql: bool) -> None:
    assert HostPattern.parse(pattern, MYSQL).matches(ip, None) is in_mysql
    assert HostPattern.parse(pattern, MARIADB).matches(ip, None) is False


def test_a_mask_with_holes_is_a_netmask_for_mariadb_only() -> None:
    assert HostPattern.parse("10.0.0.1/255.0.0.255", MARIADB).matches("10.7.7.1", None)
    assert not HostPattern.parse("10.0.0.1/255.0.0.255", MYSQL).matches("10.7.7.1", None)


def test_mysql_tries_addresses_then_prefixes_then_netmasks_then_names_then_wildcards() -> None:
    ordered = [
        *("10.0.0.5", "10.0.0.0/24", "10.0.0.0/8", "10.0.0.0/255.255.255.0", "10.0.0.0/255.0.0.0"),
        *("db.example.org", "10.0.0.%", "10.%", "_0.%", "%", ""),
    ]
    ranks = [rank(text, MYSQL) for text in ordered]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)


def test_mariadb_tries_literals_first_and_percent_last() -> None:
    ordered = ["localhost", "l_calhost", "10.0.0.1%", "10.0.%", "10.%", "%"]
    ranks = [rank(text, MARIADB) for text in ordered]
    assert ranks == sorted(ranks)
    assert rank("", MARIADB) == rank("%", MARIADB) == rank("%%", MARIADB)
    assert rank("10.0.0.0/255.0.0.0", MARIADB) == rank("localhost", MARIADB)


@pytest.mark.parametrize(
    ("peer", "skip_name_resolve", "expected"),
    [
        (None, False, (None, "localhost")),
        (None, True, (None, "localhost")),
        ("127.0.0.1", False, ("127.0.0.1", "localhost")),
        ("127.0.0.1", True, ("127.0.0.1", None)),
        ("127.0.0.2", False, ("127.0.0.2", None)),
        ("::1", False, ("::1", "localhost")),
        ("0:0:0:0:0:0:0:1", False, ("::1", "localhost")),
        ("::ffff:127.0.0.1", False, ("127.0.0.1", "localhost")),
        ("::ffff:10.1.2.3", False, ("10.1.2.3", None)),
        ("2001:DB8::1", False, ("2001:db8::1", None)),
        ("no address", False, ("no address", None)),
    ],
)
def test_a_client_is_known_by_address_and_name(
    peer: str | None, skip_name_resolve: bool, expected: tuple[str | None, str | None]
) -> None:
    assert client_host(peer, skip_name_resolve) == expected


def as_regex(pattern: str) -> str:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join({"%": ".*", "_": "."}.get(part, re.escape(part[-1])) for part in parts)


@given(HOSTS, PATTERNS)
def test_wildcards_match_what_the_same_regular_expression_matches(host: str, pattern: str) -> None:
    expected = re.fullmatch(as_regex(pattern or "%"), host, re.DOTALL | re.IGNORECASE | re.ASCII) is not None
    assert HostPattern.parse(pattern, MARIADB).matches(None, host) is expected


@given(HOSTS)
def test_an_escaped_host_matches_itself_and_is_as_specific_as_a_literal(host: str) -> None:
    escaped = re.sub(r"([\\%_])", r"\\\1", host)
    pattern = HostPattern.parse(escaped or "x", MARIADB)
    assert pattern.matches(None, host or "x")
    assert pattern.rank == rank("localhost", MARIADB)


def test_many_wildcards_take_no_exponential_time() -> None:
    assert not HostPattern.parse("%a" * 100 + "b", MARIADB).matches(None, "a" * 250)
