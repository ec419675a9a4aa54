"""Packets that are continued by further ones, in both directions, and the limit on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pymysql
import pytest

from sqlproxy.lab.single import SingleServer
from sqlproxy.wire import codec
from sqlproxy.wire import constants as c
from sqlproxy.wire.packets import parse_ok
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error
from tests.support.rawclient import BASE, DEPRECATE_EOF, RawClient, as_ok, logged_in, said, values

MIB = 1 << 20
MAX = (1 << 24) - 1
LONG_BLOB = b"\xfb\0"  # parameter type and its unsigned flag


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    ask(mariadb.port, "CREATE OR REPLACE TABLE blobs (id INT PRIMARY KEY, data LONGBLOB) ENGINE=MyISAM")
    before = mariadb.query("SELECT @@max_allowed_packet")[0][0]
    mariadb.query(f"SET GLOBAL max_allowed_packet = {128 * MIB}")
    directory = tmp_path_factory.mktemp("large")
    # a statement of 40 MiB occupies a small machine for longer than a server may be silent by default
    patient = {"SQLPROXY_MONITOR__TIMEOUT": "10s", "SQLPROXY_MONITOR__STALE_AFTER": "30s"}
    limit = 'max_allowed_packet = "64MiB"'
    with running_proxy(directory, {"n1": mariadb.port}, service=limit, env=patient) as proxy:
        yield proxy
        assert_no_internal_error(proxy)
    mariadb.query(f"SET GLOBAL max_allowed_packet = {before}")
    ask(mariadb.port, "DROP TABLE blobs")


def blob(size: int) -> bytes:
    """Bytes that show a shift by any number, and need no escaping."""
    unit = b"".join(b"%07d," % i for i in range(131_071))
    return (unit * (size // len(unit) + 1))[:size]


@pytest.mark.parametrize("size", [20 * MIB, 40 * MIB])
def test_a_blob_beyond_16_mib_goes_there_and_back_by_a_driver(proxy: Proxy, size: int) -> None:
    data = blob(size)
    with connected(proxy.port, max_allowed_packet=64 * MIB) as connection:
        rows(connection, "REPLACE INTO blobs VALUES (1, %s)", data.decode())
        assert rows(connection, "SELECT MD5(data) FROM blobs") == [(hashlib.md5(data).hexdigest(),)]
        [(returned,)] = rows(connection, "SELECT data FROM blobs WHERE id = 1")
        assert returned == data
        assert rows(connection, "SELECT 'next'") == [("next",)]


@pytest.mark.parametrize("size", [MAX - 1, MAX, MAX + 1, 2 * MAX - 1, 2 * MAX, 2 * MAX + 1])
def test_a_command_around_a_multiple_of_a_packets_size_arrives_whole(proxy: Proxy, size: int) -> None:
    with logged_in(proxy.port) as client:
        head, tail = b"SELECT MD5('", b"'), 'end'"
        data = blob(size - 1 - len(head) - len(tail))  # with the command byte
        assert client.rows(head + data + tail) == [[hashlib.md5(data).hexdigest().encode(), b"end"]]
        assert client.value("SELECT 'next'") == b"next"


@pytest.mark.parametrize("capabilities", [BASE, DEPRECATE_EOF], ids=["eof", "deprecate eof"])
@pytest.mark.parametrize("size", [MAX - 9, MAX - 5, MAX - 4, MAX - 3, 2 * MAX - 10, 2 * MAX - 9, 2 * MAX - 8])
def test_a_row_around_a_multiple_of_a_packets_size_arrives_whole(proxy: Proxy, capabilities: int, size: int) -> None:
    with logged_in(proxy.port, capabilities) as client:
        packets = client.query(f"SELECT REPEAT('x', {size})")
        [row] = [packet for packet in packets if len(packet) > size]
        assert values(row) == [b"x" * size]
        assert client.value("SELECT 'next'") == b"next"


def long_data(statement: int, parameter: int, data: bytes) -> bytes:
    head = bytes((c.COM_STMT_SEND_LONG_DATA,)) + statement.to_bytes(4, "little") + parameter.to_bytes(2, "little")
    return head + data


def insert(client: RawClient, statement: int) -> bytes:
    """Execute INSERT … VALUES (?, ?) with number 2 and the long data sent before."""
    return client.execute(statement, b"\0\1" + b"\x03\0" + LONG_BLOB + (2).to_bytes(4, "little"))[0]


@pytest.mark.parametrize("pieces", [[0], [1], [100, 0, 100], [1 * MIB] * 20, [MAX - 7, 5], [MAX, MAX]])
def test_long_data_in_pieces_becomes_one_parameter(proxy: Proxy, pieces: list[int]) -> None:
    data = blob(sum(pieces))
    with logged_in(proxy.port) as client:
        client.query("DELETE FROM blobs WHERE id = 2")
        number, _ = client.prepare("INSERT INTO blobs VALUES (?, ?)")
        pos = 0
        for size in pieces:
            client.send(long_data(number, 1, data[pos : pos + size]))
            pos += size
        as_ok(insert(client, number))
        expected = [[str(len(data)).encode(), hashlib.md5(data).hexdigest().encode()]]
        assert client.rows("SELECT LENGTH(data), MD5(data) FROM blobs WHERE id = 2") == expected


def test_long_data_is_used_once(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        client.query("DELETE FROM blobs WHERE id = 2")
        number, _ = client.prepare("REPLACE INTO blobs VALUES (?, ?)")
        client.send(long_data(number, 1, b"first"))
        as_ok(insert(client, number))
        arguments = b"\0\1" + b"\x03\0" + LONG_BLOB + (2).to_bytes(4, "little") + codec.write_lenenc_string(b"second")
        as_ok(client.execute(number, arguments)[0])
        assert client.value("SELECT data FROM blobs WHERE id = 2") == b"second"


def test_a_reset_forgets_long_data(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        number, _ = client.prepare("REPLACE INTO blobs VALUES (?, ?)")
        client.send(long_data(number, 1, b"forgotten"))
        client.ok(bytes((c.COM_STMT_RESET,)) + number.to_bytes(4, "little"))
        arguments = b"\0\1" + b"\x03\0" + LONG_BLOB + (2).to_bytes(4, "little") + codec.write_lenenc_string(b"kept")
        as_ok(client.execute(number, arguments)[0])
        assert client.value("SELECT data FROM blobs WHERE id = 2") == b"kept"


def test_long_data_for_an_unknown_statement_is_not_answered(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        client.send(long_data(4711, 0, b"x"))
        assert client.value("SELECT 'next'") == b"next"


def test_too_much_long_data_is_told_at_the_execution(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        number, _ = client.prepare("REPLACE INTO blobs VALUES (?, ?)")
        for _ in range(5):
            client.send(long_data(number, 1, b"x" * 15 * MIB))
        assert client.value("SELECT 'no answer so far'") == b"no answer so far"
        assert said(insert(client, number))[0] == c.ER_NET_PACKET_TOO_LARGE
        client.send(long_data(number, 1, b"fits"))
        as_ok(insert(client, number))


def test_malformed_long_data_is_not_answered(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        for size in range(7):
            client.send(long_data(1, 0, b"")[: size or 1])
        assert client.value("SELECT 'next'") == b"next"


def test_a_command_beyond_the_proxys_limit_is_error_1153(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        client.send(bytes((c.COM_QUERY,)) + b"x" * 80 * MIB)
        sent = client.seq
        code, sqlstate, text = said(client.read())
        assert (code, sqlstate) == (c.ER_NET_PACKET_TOO_LARGE, "08S01")
        assert "max_allowed_packet (67108864)" in text
        assert client.seq == sent + 1
        assert client.is_closed()


def test_a_driver_can_read_error_1153(proxy: Proxy) -> None:
    with (
        connected(proxy.port, max_allowed_packet=256 * MIB) as connection,
        pytest.raises(pymysql.MySQLError, match=r"1153, .*max_allowed_packet"),
    ):
        rows(connection, f"SELECT '{'x' * 80 * MIB}'")


def test_a_command_beyond_the_servers_limit_is_told_and_not_run_twice(mariadb: SingleServer, proxy: Proxy) -> None:
    mariadb.query(f"SET GLOBAL max_allowed_packet = {2 * MIB}")
    proxy.post("/v1/reload", {})  # the connections of clients that left are for the old limit
    try:
        with logged_in(proxy.port) as client:
            reply = client.query(b"REPLACE INTO blobs VALUES (9, '" + b"x" * 3 * MIB + b"')")
            code, _, text = said(reply[0])
            # The server says so and closes; when it resets the connection before its words are read, they are lost.
            assert code == c.ER_NET_PACKET_TOO_LARGE or (code == c.ER_CONNECTION_KILLED and "is unknown" in text)
    finally:
        mariadb.query(f"SET GLOBAL max_allowed_packet = {128 * MIB}")
    with logged_in(proxy.port) as client:
        assert client.rows("SELECT * FROM blobs WHERE id = 9") == []
        assert parse_ok(client.query("DO 1")[0]).status & c.SERVER_STATUS_AUTOCOMMIT
