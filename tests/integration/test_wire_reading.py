"""How a session's text is read, and what its client asked for at login: as without the proxy, on every server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sqlproxy.lab.single import SingleServer
from sqlproxy.wire.constants import CLIENT_FOUND_ROWS, CLIENT_IGNORE_SPACE, CLIENT_INTERACTIVE
from tests.support.mysql_server import MySQLServer
from tests.support.mysqlclient import ask
from tests.support.proxy import Proxy
from tests.support.rawclient import BASE, RawClient, raw
from tests.support.twice import served_twice

# A character of each set whose last byte is a backslash, and one whose last byte is a backquote, where there is one.
TRICKY = {
    "sjis": (b"\x83\x5c", b"\x83\x60"),
    "cp932": (b"\x83\x5c", b"\x83\x60"),
    "big5": (b"\xa5\x5c", b"\xa5\x60"),
    "gbk": (b"\xc1\x5c", b"\xc1\x60"),
    "gb18030": (b"\xc1\x5c", b"\xc1\x60"),
}
ON_MARIADB = [name for name in TRICKY if name != "gb18030"]


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One server under two names: writes go to one connection of a session, reads to the other."""
    with served_twice(tmp_path_factory.mktemp("reading"), mariadb.port) as proxy:
        yield proxy


def answers(port: int, statements: list[bytes], *, collation: int = 45, more: int = 0) -> list[list[bytes]]:
    """All packets of the replies in a session of a client that logs in with this collation."""
    with raw(port, BASE | more) as client:
        client.send(replace(client.response("app", "app", "app"), collation=collation).encode(), 1)
        finish(client)
        return [client.query(sql) for sql in statements]


def finish(client: RawClient) -> None:
    packet = client.read()
    assert packet[0] == 0, packet


def story(character: bytes, quoted: bytes) -> list[bytes]:
    """Statements that mean something else to who reads their bytes one by one."""
    name = b"t" + quoted
    return [
        b"SELECT '" + character + b"', HEX('" + character + b"'), COUNT(*) FROM reading",
        b"SELECT '" + character + b"' INTO @hidden -- '",
        b"SELECT HEX(@hidden)",
        b"CREATE OR REPLACE TABLE `" + name + b"` (v VARCHAR(9))",
        b"INSERT INTO `" + name + b"` VALUES ('" + character + b"') -- ' FOR UPDATE",
        b"SELECT HEX(v), '" + character + b"' FROM `" + name + b"` -- ' INTO @other",
        b"SELECT @other, @hidden = '" + character + b"'",
        b"DROP TABLE `" + name + b"`",
        b"INSERT INTO reading VALUES ('" + character + b"'); SELECT '",
        b"SELECT COUNT(*) FROM reading",
    ]


@pytest.fixture(scope="module", autouse=True)
def table(mariadb: SingleServer) -> None:
    ask(mariadb.port, "CREATE OR REPLACE TABLE reading (v VARCHAR(9))")


@pytest.mark.parametrize("by_login", [True, False], ids=["at login", "SET NAMES"])
@pytest.mark.parametrize("charset", ON_MARIADB)
def test_a_byte_that_looks_like_a_quote_is_none(
    mariadb: SingleServer, proxy: Proxy, charset: str, by_login: bool
) -> None:
    sql = f"SELECT id FROM information_schema.collations WHERE character_set_name = '{charset}' AND is_default = 'Yes'"
    collation = int(mariadb.query(sql)[0][0]) if by_login else 45
    begin = [] if by_login else [b"SET NAMES " + charset.encode()]
    statements = begin + story(*TRICKY[charset])
    direct, through = (answers(port, statements, collation=collation) for port in (mariadb.port, proxy.port))
    assert through == direct


def test_gb18030_as_well(mysql97: MySQLServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    with served_twice(tmp_path_factory.mktemp("gb18030"), mysql97.port) as proxy:
        found = []
        for port in (mysql97.port, proxy.port):
            with raw(port) as client:
                client.start_tls()
                client.log_in()
                for sql in ("SET NAMES gb18030", "CREATE TABLE app.reading (v VARCHAR(9))", "USE app"):
                    client.query(sql)
                found.append([client.query(sql.replace(b"OR REPLACE ", b"")) for sql in story(*TRICKY["gb18030"])])
                client.query("DROP TABLE reading")
        assert found[0] == found[1]


MODES = {
    "ANSI_QUOTES": [
        b'SELECT "v", COUNT(*) FROM reading',
        b'SELECT "v\' INTO @a -- " FROM reading',
        b"SELECT 'x' AS \"a'b\", COUNT(*) FROM reading",
        b"SELECT @a",
    ],
    "NO_BACKSLASH_ESCAPES": [
        b"SELECT 'a\\' INTO @b -- '",
        b"SELECT @b, 'c\\d'",
        b"INSERT INTO reading VALUES ('e\\') -- '); SELECT 1",
        b"SELECT v, 'x\\' FROM reading WHERE v LIKE 'e%' -- ' FOR UPDATE",
    ],
    "ANSI_QUOTES,NO_BACKSLASH_ESCAPES": [b'SELECT "v" FROM reading WHERE v = \'\\\' -- "', b"SELECT 'a\\'"],
    "IGNORE_SPACE": [b"SELECT COUNT (*) FROM reading", b"SELECT NOW () > 0, MAX (v) IS NULL FROM reading"],
    "": [b'SELECT "v", \'a\\\'b\', "c\\"d" FROM reading LIMIT 1', b"SELECT COUNT (*) FROM reading"],
}


@pytest.mark.parametrize("mode", MODES)
def test_the_sql_mode_decides_how_text_is_read(mariadb: SingleServer, proxy: Proxy, mode: str) -> None:
    statements = [f"SET SESSION sql_mode = '{mode}'".encode(), *MODES[mode], b"SET SESSION sql_mode = ''", *MODES[mode]]
    found = []
    for port in (mariadb.port, proxy.port):
        ask(mariadb.port, "CREATE OR REPLACE TABLE reading (v VARCHAR(9))")
        found.append(answers(port, statements))
    assert found[0] == found[1]


def test_a_client_may_ignore_spaces_from_its_login_on(mariadb: SingleServer, proxy: Proxy) -> None:
    statements = [b"SELECT COUNT (*) FROM reading", b"SELECT COUNT (*) FROM reading FOR UPDATE"]
    for more in (0, CLIENT_IGNORE_SPACE):
        direct, through = (answers(port, statements, more=more) for port in (mariadb.port, proxy.port))
        assert through == direct
        assert (through[0][0][0] == 0xFF) == (not more)


@pytest.mark.parametrize("more", [0, CLIENT_FOUND_ROWS])
def test_a_client_may_count_rows_found(mariadb: SingleServer, proxy: Proxy, more: int) -> None:
    ask(mariadb.port, "CREATE OR REPLACE TABLE reading (v VARCHAR(9))")
    ask(mariadb.port, "INSERT INTO reading VALUES ('same')")
    statements = [b"SELECT v FROM reading", b"UPDATE reading SET v = 'same'", b"SELECT ROW_COUNT()"]
    direct, through = (answers(port, statements, more=more) for port in (mariadb.port, proxy.port))
    assert through == direct
    assert through[1][0][1] == bool(more)


def test_an_interactive_client_has_its_own_timeout(mariadb: SingleServer, proxy: Proxy) -> None:
    mariadb.query("SET GLOBAL interactive_timeout = 4321")
    try:
        statements = [b"SELECT @@wait_timeout", b"SELECT @@wait_timeout FROM reading LIMIT 1 FOR UPDATE"]
        for more, expected in ((0, b"28800"), (CLIENT_INTERACTIVE, b"4321")):
            direct, through = (answers(port, statements, more=more) for port in (mariadb.port, proxy.port))
            assert through == direct
            assert expected in through[0][-2]
    finally:
        mariadb.query("SET GLOBAL interactive_timeout = DEFAULT")
