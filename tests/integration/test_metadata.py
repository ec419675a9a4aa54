"""Column definitions that servers leave out: through the proxy they are missing exactly where they are without it.

Sessions have two backends, so that what one server has told must not be taken for what another has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sqlproxy.lab.single import SingleServer
from sqlproxy.wire import codec
from sqlproxy.wire import constants as c
from tests.support.mysql_server import MySQLServer
from tests.support.mysqlclient import ask
from tests.support.proxy import Proxy
from tests.support.rawclient import BASE, CURSOR_READ_ONLY, DEPRECATE_EOF, TRACKING, RawClient, as_ok
from tests.support.twice import served_twice

WAYS = pytest.mark.parametrize("way", [BASE, DEPRECATE_EOF, TRACKING], ids=["eof", "deprecate eof", "track"])
NONE = b"\0\0"  # no parameter
Reply = list[tuple[int, bytes]]


class Numbered(RawClient):
    """Keeps what it reads with the sequence ids."""

    def __init__(self, port: int, capabilities: int) -> None:
        self.packets: Reply = []
        super().__init__(port, capabilities)

    def read(self) -> bytes:
        payload = super().read()
        self.packets.append((self.seq, payload))
        return payload

    def prepare(self, sql: str) -> tuple[int, list[bytes]]:
        """As the base class; the id is no part of what is compared."""
        at = len(self.packets)
        prepared = super().prepare(sql)
        seq, payload = self.packets[at]
        self.packets[at] = (seq, payload[:1] + payload[5:])
        return prepared


Dialogue = Callable[[Numbered, Callable[[str], object]], None]


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One server under two names: reads go to the one, writes and transactions to the other."""
    directory = tmp_path_factory.mktemp("metadata")
    with served_twice(directory, mariadb.port) as proxy:
        yield proxy


def grown_up(client: RawClient) -> None:
    """Past the statements for which a session stays where it is."""
    for _ in range(12):
        client.query("SELECT 1")


def heard(port: int, capabilities: int, dialogue: Dialogue, tls: bool = False) -> Reply:
    """All that a client reads in a dialogue, sequence ids included; ids of statements are its own."""
    client = Numbered(port, capabilities)
    try:
        if tls:
            client.start_tls()
        client.log_in(database="app")
        grown_up(client)
        client.packets.clear()
        dialogue(client, client.query)
    finally:
        client.close()
    return client.packets


def compare(ports: tuple[int, int], capabilities: int, dialogue: Dialogue, before: Callable[[], object]) -> Reply:
    found = []
    for port in ports:
        before()
        found.append(heard(port, capabilities, dialogue))
    found = [[(seq, unchanged(payload)) for seq, payload in reply] for reply in found]
    for number, (expected, got) in enumerate(zip(*found, strict=False)):
        assert got == expected, f"packet {number} of {len(found[0])}"
    assert len(found[0]) == len(found[1])
    return found[1]


def unchanged(payload: bytes) -> bytes:
    """Without SERVER_STATUS_METADATA_CHANGED at the end of rows: each server speaks of what it has prepared itself."""
    if payload[0] != c.EOF or len(payload) > 8:
        return payload
    return payload[:4] + bytes((payload[4] & ~(c.SERVER_STATUS_METADATA_CHANGED >> 8),)) + payload[5:]


def without(reply: Reply) -> list[int]:
    """The numbers of columns of the result sets that came without definitions."""
    return [payload[0] for _, payload in reply if len(payload) == 2 and payload[0] and not payload[1]]


# -- MariaDB: definitions of prepared statements that have not changed


@pytest.fixture
def table(mariadb: SingleServer) -> Callable[[], object]:
    return lambda: ask(mariadb.port, "CREATE OR REPLACE TABLE told AS SELECT 1 AS a, 'x' AS b")


def two_servers(client: Numbered, query: Callable[[str], object]) -> None:
    statement, _ = client.prepare("SELECT * FROM told WHERE a > ?")
    value = b"\0\1\x03\0\0\0\0\0"
    client.execute(statement, value)
    client.execute(statement, value)
    query("BEGIN")
    client.execute(statement, value)
    query("COMMIT")
    client.execute(statement, value)
    query("SELECT 1 AS one")


def changed_names(client: Numbered, query: Callable[[str], object]) -> None:
    statement, _ = client.prepare("SELECT * FROM told")
    client.execute(statement)
    query("SET NAMES latin1")
    client.execute(statement)
    client.execute(statement)
    query("BEGIN")
    client.execute(statement)
    client.execute(statement)
    query("SET NAMES utf8mb4")
    client.execute(statement)
    query("COMMIT")
    client.execute(statement)
    client.execute(statement)


def cursors(client: Numbered, query: Callable[[str], object]) -> None:
    statement, _ = client.prepare("SELECT * FROM told")
    client.execute(statement, cursor=CURSOR_READ_ONLY)
    client.send(bytes((c.COM_STMT_FETCH,)) + statement.to_bytes(4, "little") + b"\5\0\0\0")
    client.read_rows()
    client.execute(statement)
    query("BEGIN")
    client.execute(statement, cursor=CURSOR_READ_ONLY)
    client.execute(statement)
    query("COMMIT")


def calls(client: Numbered, query: Callable[[str], object]) -> None:
    query("CREATE OR REPLACE PROCEDURE told_call(IN a INT, OUT b INT) BEGIN SELECT * FROM told; SET b = a + 1; END")
    statement, _ = client.prepare("CALL told_call(?, ?)")
    arguments = b"\0\1\x03\0\x03\0\1\0\0\0\1\0\0\0"
    for _ in range(2):
        client.execute(statement, arguments)
    query("CALL told_call(1, @b)")
    query("SELECT 1; SELECT 2, 3")
    client.execute(client.prepare("INSERT INTO told VALUES (7, 'y')")[0])
    client.execute(client.prepare("INSERT INTO told VALUES (8, 'y') RETURNING a, b")[0])
    client.execute(client.prepare("SELECT 1 FROM told WHERE a = (SELECT 1 UNION SELECT 2)")[0])
    for _ in range(2):
        client.execute(client.prepare("EXPLAIN SELECT 1")[0])


@WAYS
@pytest.mark.parametrize("dialogue", [two_servers, changed_names, cursors, calls])
def test_mariadbs_definitions_are_left_out_where_the_server_would(
    mariadb: SingleServer, proxy: Proxy, table: Callable[[], object], way: int, dialogue: Dialogue
) -> None:
    capabilities = way & ~c.CLIENT_LONG_PASSWORD | c.MARIADB_CLIENT_CACHE_METADATA
    reply = compare((mariadb.port, proxy.port), capabilities, dialogue, table)
    assert without(reply)


@WAYS
def test_a_client_is_told_definitions_that_changed_while_it_was_on_another_server(
    mariadb: SingleServer, proxy: Proxy, table: Callable[[], object], way: int
) -> None:
    """A server that has told the old ones, and a table that is altered and altered back behind its back."""

    def dialogue(client: Numbered, query: Callable[[str], object]) -> None:
        statement, _ = client.prepare("SELECT * FROM told")
        client.execute(statement)
        ask(mariadb.port, "ALTER TABLE told ADD COLUMN c INT")
        query("BEGIN")
        client.execute(statement)  # prepared on the primary now, which tells the three columns in its answer to that
        client.execute(statement)
        query("COMMIT")
        ask(mariadb.port, "ALTER TABLE told DROP COLUMN c")
        client.execute(statement)  # as this server has told at first
        client.execute(statement)
        query("BEGIN")
        client.execute(statement)
        query("COMMIT")

    capabilities = way & ~c.CLIENT_LONG_PASSWORD | c.MARIADB_CLIENT_CACHE_METADATA
    reply = compare((mariadb.port, proxy.port), capabilities, dialogue, table)
    assert without(reply) == [2, 3, 2, 2]


def test_large_results_without_definitions_keep_their_rows(mariadb: SingleServer, proxy: Proxy) -> None:
    def dialogue(client: Numbered, query: Callable[[str], object]) -> None:
        statement, _ = client.prepare("SELECT seq, REPEAT('x', seq % 700) FROM seq_1_to_5000")
        client.execute(statement)
        query("SET NAMES latin1")
        query("BEGIN")
        client.execute(statement)
        query("COMMIT")
        client.execute(statement)

    capabilities = DEPRECATE_EOF & ~c.CLIENT_LONG_PASSWORD | c.MARIADB_CLIENT_CACHE_METADATA
    reply = compare((mariadb.port, proxy.port), capabilities, dialogue, lambda: None)
    assert without(reply) == [2, 2]


# -- MySQL: resultset_metadata


@pytest.fixture(scope="module")
def mysql_proxy(mysql97: MySQLServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    directory = tmp_path_factory.mktemp("optional")
    with served_twice(directory, mysql97.port) as proxy:
        yield proxy


@WAYS
def test_mysqls_definitions_are_left_out_on_every_server_of_a_session_that_wants_none(
    mysql97: MySQLServer, mysql_proxy: Proxy, way: int
) -> None:
    def dialogue(client: Numbered, query: Callable[[str], object]) -> None:
        value = b"\0\1\x03\0\5\0\0\0"
        early, _ = client.prepare("SELECT ? AS a, 'x' AS b")
        client.execute(early, value)
        query("SET SESSION resultset_metadata = NONE")
        late, _ = client.prepare("SELECT ? AS a, 'y' AS b")
        bare, _ = client.prepare("SELECT 1 AS a, 2 AS b")
        for _ in range(2):
            query("BEGIN")
            query("SELECT 1 AS a, 2 AS b")
            query("COMMIT")
            query("SELECT 1 AS a, 2 AS b WHERE 1 = 0")
            client.execute(early, value)
            client.execute(late, value)
            client.execute(bare)
        client.execute(early, value, cursor=CURSOR_READ_ONLY)
        client.send(bytes((c.COM_STMT_FETCH,)) + early.to_bytes(4, "little") + b"\5\0\0\0")
        client.read_rows()
        query("SELECT " + ", ".join("1" * 300))
        query("SELECT 1; SELECT 2, 3")
        query("SET @n = FOUND_ROWS()")
        query("SELECT @n")
        query("SET SESSION resultset_metadata = FULL")
        client.execute(late, value)
        query("SELECT 1 AS a, 2 AS b")

    found = [
        heard(port, way | c.CLIENT_OPTIONAL_RESULTSET_METADATA, dialogue, True)
        for port in (mysql97.port, mysql_proxy.port)
    ]
    assert found[1] == found[0]
    assert len(without(found[1])) >= 10


def test_a_client_that_has_not_agreed_cannot_do_without_definitions(mysql97: MySQLServer, mysql_proxy: Proxy) -> None:
    def dialogue(client: Numbered, query: Callable[[str], object]) -> None:
        query("SET SESSION resultset_metadata = NONE")
        query("SELECT 1 AS a, 2 AS b")

    found = [heard(port, BASE, dialogue, True) for port in (mysql97.port, mysql_proxy.port)]
    assert found[1] == found[0]


# -- both


def test_what_the_servers_have_is_offered(
    mariadb: SingleServer, mysql97: MySQLServer, proxy: Proxy, mysql_proxy: Proxy
) -> None:
    for direct, through in ((mariadb.port, proxy.port), (mysql97.port, mysql_proxy.port)):
        offered = []
        for port in (direct, through):
            client = RawClient(port)
            offered.append(client.greeting.all_capabilities & c.METADATA_MAY_LACK)
            client.close()
        assert offered[0] == offered[1] != 0


def test_the_proxys_own_answers_are_of_the_same_form(proxy: Proxy) -> None:
    client = RawClient(proxy.port, DEPRECATE_EOF & ~c.CLIENT_LONG_PASSWORD | c.MARIADB_CLIENT_CACHE_METADATA)
    client.log_in(database="app")
    reply = client.query("/* sqlproxy: explain */ SELECT 1")
    assert codec.read_lenenc(reply[0], 0) == (2, 1)
    assert reply[0][1:] == b"\x01"
    assert len(reply) > 4
    as_ok(client.command(bytes((c.COM_PING,))))
    client.close()
