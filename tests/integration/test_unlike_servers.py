"""Two servers that are no copies of each other: what only one of them takes is told, and the session lives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from sqlproxy.lab.single import SingleServer
from sqlproxy.wire import constants as c
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import STATIC, Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error
from tests.support.rawclient import as_ok, logged_in, raw, said

ATTRIBUTES = (
    "SELECT attr_name, attr_value FROM performance_schema.session_connect_attrs"
    " WHERE processlist_id = CONNECTION_ID() ORDER BY ordinal_position"
)
TOLD = b"\x07program\x04till\x05shift\x05night"


@pytest.fixture(scope="module")
def other(port_block: int, lab_directory: Path) -> Iterator[SingleServer]:
    """A server that remembers connection attributes; it has other tables than ``mariadb``, and other rows."""
    server = SingleServer(
        lab_directory / "other",
        13316 + 20 * port_block,
        options={"performance-schema": "ON"},
    )
    try:
        server.up()
        server.query("GRANT SELECT ON performance_schema.* TO app@'%'")
        yield server
    finally:
        server.down(purge=True)


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, other: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The first is the primary, the second takes the reads."""
    ask(mariadb.port, "CREATE OR REPLACE TABLE only_there (a INT, b INT)")
    for port, value in ((other.port, 1), (mariadb.port, 2)):
        ask(port, f"CREATE OR REPLACE TABLE unlike AS SELECT {value} AS v")
    directory = tmp_path_factory.mktemp("unlike")
    with running_proxy(directory, {"n1": other.port, "n2": mariadb.port}, extra=STATIC) as proxy:
        proxy.wait_roles(n1="primary", n2="replica")
        yield proxy
        assert_no_internal_error(proxy)


def test_a_clients_attributes_reach_every_server_as_without_the_proxy(other: SingleServer, proxy: Proxy) -> None:
    found = []
    for port in (other.port, proxy.port, proxy.port):  # the third one takes over the connection of the second
        with raw(port) as client:
            client.attributes = TOLD
            client.log_in(database="app")
            client.query("BEGIN")  # on the primary
            found.append(client.rows(ATTRIBUTES))
    assert found[0] == [[b"program", b"till"], [b"shift", b"night"]]
    assert found[1:] == [found[0], found[0]]


def test_a_client_without_attributes_gives_none_to_a_server(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        client.query("BEGIN")
        assert client.rows(ATTRIBUTES) == []


def test_a_statement_that_the_second_server_cannot_prepare_is_its_error(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        assert [client.value("SELECT v FROM unlike") for _ in range(12)][-1] == b"2"  # a young session stays put
        statement, _ = client.prepare("SELECT b FROM only_there WHERE a = ?")
        value = b"\0\1\x03\0\5\0\0\0"
        assert len(client.execute(statement, value)) == 4
        as_ok(client.query("BEGIN")[0])  # on the primary, which lacks the table
        for _ in range(2):
            code, state, text = said(client.execute(statement, value)[0])
            assert (code, state, text) == (1146, "42S02", "Table 'app.only_there' doesn't exist")
        assert client.value("SELECT v FROM unlike") == b"1"
        as_ok(client.query("COMMIT")[0])
        assert len(client.execute(statement, value)) == 4
        client.send(bytes((c.COM_STMT_CLOSE,)) + statement.to_bytes(4, "little"))
        assert client.value("SELECT v FROM unlike") == b"2"


def test_a_transaction_that_another_server_answers_differently_is_rolled_back(proxy: Proxy) -> None:
    with connected(proxy.port) as connection:
        connection.begin()
        assert rows(connection, "SELECT v FROM unlike") == [(1,)]
        proxy.put("/v1/servers/n1/state", {"state": "maintenance"})
        try:
            proxy.wait_roles(n2="primary")
            with pytest.raises(pymysql.err.MySQLError) as raised:
                rows(connection, "SELECT 'go on'")
            assert raised.value.args[0] == 1213
            assert "statement 2 of it was answered differently by n2" in raised.value.args[1]
            assert rows(connection, "SELECT v, @@in_transaction FROM unlike") == [(2, 0)]
        finally:
            proxy.put("/v1/servers/n1/state", {"state": "active"})
            proxy.wait_roles(n1="primary", n2="replica")
    (service,) = proxy.get("/v1/services")
    assert service["replay_mismatches"] == 1
