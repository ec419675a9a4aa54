"""Query attributes through the proxy, with a real MySQL behind: they arrive, and only the text decides the routing."""

from __future__ import annotations

import json
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mysql.connector
import pytest

from sqlproxy.lab.single import SingleServer
from sqlproxy.wire.constants import CLIENT_QUERY_ATTRIBUTES, COM_QUERY, COM_STMT_EXECUTE, COM_STMT_SEND_LONG_DATA
from tests.support.mysql_server import MySQLServer
from tests.support.proxy import Proxy, running_proxy
from tests.support.rawclient import DEPRECATE_EOF, RawClient, said
from tests.support.twice import served_twice

TRACE = "SELECT mysql_query_attribute_string('trace')"
CAPABILITIES = DEPRECATE_EOF | CLIENT_QUERY_ATTRIBUTES


@pytest.fixture(scope="module")
def server(mysql97: MySQLServer) -> Iterator[MySQLServer]:
    mysql97.query("INSTALL COMPONENT 'file://component_query_attributes'")
    mysql97.query("CREATE TABLE app.traced (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(50), trace VARCHAR(50))")
    yield mysql97
    mysql97.query("UNINSTALL COMPONENT 'file://component_query_attributes'")
    mysql97.query("DROP TABLE app.traced")


@pytest.fixture(scope="module")
def proxy(server: MySQLServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The same server under two names: the first is the primary, the second takes the reads."""
    directory = tmp_path_factory.mktemp("attributes")
    with served_twice(directory, server.port) as proxy:
        yield proxy


def connect(port: int) -> Any:
    return mysql.connector.connect(
        host="127.0.0.1", port=port, user="app", password="app", database="app", use_pure=True, autocommit=True
    )


@pytest.fixture
def connection(proxy: Proxy) -> Iterator[Any]:
    made = connect(proxy.port)
    yield made
    made.close()


def traced(connection: Any, sql: str, *arguments: object, trace: object, prepared: bool = False) -> list[Any]:
    """Rows of a statement that carries an attribute."""
    cursor = connection.cursor(prepared=prepared)
    cursor.add_attribute("trace", trace)
    cursor.execute(sql, arguments)
    found = cursor.fetchall() if cursor.with_rows else []
    cursor.clear_attributes()
    cursor.close()
    return list(found)


def put_state(proxy: Proxy, server: str, state: str) -> None:
    url = f"http://127.0.0.1:{proxy.admin_port}/v1/servers/{server}/state"
    body = json.dumps({"state": state}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="PUT")
    urllib.request.urlopen(request, timeout=5).close()


@pytest.mark.parametrize("trace", ["00-4bf92f", "", 17, -3, 2.5, "ü" * 300])
def test_an_attribute_arrives_with_a_text(connection: Any, server: MySQLServer, trace: object) -> None:
    direct = connect(server.port)
    assert traced(connection, TRACE, trace=trace) == traced(direct, TRACE, trace=trace)
    assert traced(connection, "SELECT 1", trace=trace) == [(1,)]
    direct.close()


def test_statements_without_attributes_are_none_the_worse(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(TRACE)
    assert cursor.fetchall() == [(None,)]
    cursor.execute("SELECT LENGTH(%s)", ("x" * (17 << 20),))
    assert cursor.fetchall() == [(17 << 20,)]
    cursor.close()


@pytest.mark.parametrize("arguments", [(), (5,), ("a", None, 3.5, b"bytes")])
def test_an_attribute_arrives_with_a_prepared_statement(connection: Any, arguments: tuple[object, ...]) -> None:
    marks = "".join(", ?" for _ in arguments)
    sql = f"SELECT mysql_query_attribute_string('trace'){marks}"
    cursor = connection.cursor(prepared=True)
    for trace in ("first", "second"):
        cursor.add_attribute("trace", trace)
        cursor.execute(sql, arguments)
        [row] = cursor.fetchall()
        assert row[0] == trace
        assert len(row) == 1 + len(arguments)
        cursor.clear_attributes()
    cursor.close()


def statements(proxy: Proxy, server: str, kind: str) -> int:
    """How many statements of a kind a server has had."""
    with urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin_port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    [line] = [
        line
        for line in lines
        if line.startswith("sqlproxy_server_statements_total") and f'server="{server}"' in line and f'="{kind}"' in line
    ]
    return round(float(line.split()[-1]))


def test_reads_are_spread_and_writes_go_to_the_primary(connection: Any, proxy: Proxy) -> None:
    insert = "INSERT INTO traced (v, trace) VALUES (%s, mysql_query_attribute_string('trace'))"
    reads, writes = statements(proxy, "n2", "read"), statements(proxy, "n1", "write")
    for number in range(3):
        traced(connection, insert, number, trace=f"t{number}")
        sql = "SELECT trace FROM traced ORDER BY id DESC LIMIT 1"
        assert traced(connection, sql, trace="x") == [(f"t{number}",)]
    assert statements(proxy, "n2", "read") >= reads + 3
    assert statements(proxy, "n1", "write") >= writes + 3
    assert statements(proxy, "n2", "write") == 0


def test_a_replayed_transaction_brings_its_attributes(connection: Any, proxy: Proxy, server: MySQLServer) -> None:
    insert = "INSERT INTO traced (v, trace) VALUES ('replayed', mysql_query_attribute_string('trace'))"
    prepared = "INSERT INTO traced (v, trace) VALUES (?, mysql_query_attribute_string('trace'))"
    traced(connection, "START TRANSACTION", trace="begin")
    traced(connection, insert, trace="text")
    traced(connection, prepared, "replayed", trace="binary", prepared=True)
    put_state(proxy, "n1", "maintenance")
    try:
        traced(connection, "COMMIT", trace="end")
        found = server.query("SELECT trace FROM app.traced WHERE v = 'replayed' ORDER BY id")
        assert found == [("text",), ("binary",)]
    finally:
        put_state(proxy, "n1", "active")
        proxy.wait_roles(n1="primary", n2="replica")


def test_hints_and_settings_are_understood(connection: Any, proxy: Proxy) -> None:
    traced(connection, "SET @x = 'set with an attribute'", trace="x")
    traced(connection, "SET SESSION group_concat_max_len = 4321", trace="x")
    for place, server in (("primary", "n1"), ("replica", "n2")):
        before = statements(proxy, server, "read")
        sql = f"/* sqlproxy: {place} */ SELECT @x, @@group_concat_max_len"
        assert traced(connection, sql, trace=place) == [("set with an attribute", 4321)]
        assert statements(proxy, server, "read") > before


# -- packets no driver sends


def raw_client(port: int) -> RawClient:
    client = RawClient(port, CAPABILITIES)
    client.start_tls()
    client.log_in(database="app")
    return client


MALFORMED = {
    "nothing": b"",
    "no number of sets": b"\x00",
    "no set": b"\x00\x00",
    "two sets": b"\x00\x02",
    "no types": b"\x01\x01\x00\x00\x03abc",
    "null without types": b"\x01\x01\x01\x00",
    "more than possible": b"\xfd\x00\x00\x01\x01",
    "not a number": b"\xfb\x01",
}


@pytest.mark.parametrize("block", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_block_is_refused_as_the_server_does(proxy: Proxy, server: MySQLServer, block: bytes) -> None:
    answers = []
    for port in (server.port, proxy.port):
        client = raw_client(port)
        answers.append(said(client.command(bytes((COM_QUERY,)) + block)))
        assert client.value(b"\x00\x01SELECT 5") == b"5"  # the connection goes on
        client.close()
    assert answers[0] == answers[1]


ONE = b"\x01\x00\x01\xfe\x00\x00\x02hi"  # of one parameter, no attributes
BOTH = b"\x02\x00\x01\xfe\x00\x00\xfe\x00\x05trace\x02hi\x03abc"
EXECUTIONS = {
    "a parameter": [(8, ONE)],
    "a parameter, not announced": [(0, ONE)],
    "an attribute, then none": [(8, BOTH), (8, ONE), (0, b"\x01\x00\x00\x02ho")],
    "an attribute that is null": [(8, b"\x02\x02\x01\xfe\x00\x00\xfe\x00\x05trace\x02hi")],
    "types only once": [(8, BOTH), (8, b"\x02\x02\x00\x02ho"), (8, b"\x01\x00\x00\x03hey")],
    "an attribute without its type": [(8, BOTH), (8, b"\x02\x00\x00\x02hi\x03abc"), (8, ONE)],
    "too few": [(8, b"\x00")],
    "nothing": [(8, b""), (0, b"")],
    "a null parameter": [(8, b"\x02\x01\x01\x06\x00\x00\xfe\x00\x05trace\x03abc")],
    "a number and a date": [(8, b"\x02\x00\x01\x08\x00\x00\x0a\x00\x05trace\5\0\0\0\0\0\0\0\x04\xe9\x07\x01\x01")],
}


@pytest.mark.parametrize("steps", EXECUTIONS.values(), ids=EXECUTIONS)
def test_executions_are_answered_as_by_the_server(
    proxy: Proxy, server: MySQLServer, steps: list[tuple[int, bytes]]
) -> None:
    answers = []
    for port in (server.port, proxy.port):
        client = raw_client(port)
        statement, _ = client.prepare(f"{TRACE}, ?")
        for flags, arguments in steps:
            answers.append((port == proxy.port, client.execute(statement, arguments, cursor=flags)))
        client.close()
    assert [reply for through, reply in answers if through] == [reply for through, reply in answers if not through]


def test_a_long_parameter_may_be_sent_ahead_of_an_attribute(proxy: Proxy) -> None:
    client = raw_client(proxy.port)
    statement, _ = client.prepare(f"{TRACE}, ?")
    number = statement.to_bytes(4, "little")
    client.send(bytes((COM_STMT_SEND_LONG_DATA,)) + number + b"\0\0" + b"long " * 3)
    client.send(bytes((COM_STMT_EXECUTE,)) + number + b"\x08\1\0\0\0" + BOTH.replace(b"\x02hi", b""))
    assert b"\x03abc\x0flong long long " in client.read_reply()[-2]
    client.close()


def test_a_cursor_may_be_asked_for(proxy: Proxy) -> None:
    client = raw_client(proxy.port)
    statement, _ = client.prepare(f"{TRACE}, ? FROM information_schema.character_sets")
    reply = client.execute(statement, BOTH, cursor=8 | 1)
    assert reply[-1][0] == 0xFE
    client.send(b"\x1c" + statement.to_bytes(4, "little") + b"\x02\0\0\0")
    assert b"\x03abc\x02hi" in client.read_rows()[0]
    client.close()


def test_mariadb_offers_none(mariadb: SingleServer, tmp_path: Path) -> None:
    with running_proxy(tmp_path, {"n1": mariadb.port}) as proxy:
        connection = connect(proxy.port)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the driver says that the server has no attributes
            assert traced(connection, "SELECT 1", trace="x") == [(1,)]
        connection.close()
