"""Four drivers of different make see through the proxy what they see on the server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import aiomysql
import mysql.connector
import pymysql
import pytest

from sqlproxy.lab.single import SingleServer
from tests.support.mysqlclient import ask, connected
from tests.support.proxy import Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error

KINDS = (
    "CREATE OR REPLACE TABLE drivers (id INT PRIMARY KEY, b BIGINT UNSIGNED, d DECIMAL(20,6), f DOUBLE,"
    " s VARCHAR(50) CHARACTER SET utf8mb4, x BLOB, day DATE, at DATETIME(6), t TIME(3), j JSON, n INT)",
    "INSERT INTO drivers VALUES (1, 18446744073709551615, 1.5, 1e300, 'naïve 🐬', x'00ff27', '2026-02-28',"
    " '2026-02-28 23:59:59.999999', '-838:59:58.999', '{\"a\": [1]}', NULL), (2, 0, 0, 0, '', '', '0001-01-01',"
    " '1000-01-01', '0:0:0', 'null', 7)",
)
QUERIES = (
    "SELECT * FROM drivers ORDER BY id",
    "SELECT * FROM drivers WHERE id > 100",
    "SELECT NULL, '', 'é', -1.5, 1 = 1",
    "SELECT seq, REPEAT('x', seq) FROM seq_1_to_300",
)
WRONG = ("SELECT 1 FROM", "SELECT * FROM missing", "INSERT INTO drivers (id) VALUES (1)", "USE missing")

Outcome = tuple[Any, ...]


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    for statement in KINDS:
        ask(mariadb.port, statement)
    with running_proxy(tmp_path_factory.mktemp("drivers"), {"n1": mariadb.port}) as proxy:
        yield proxy
        assert_no_internal_error(proxy)


def by_pymysql(port: int, sql: str) -> Outcome:
    with connected(port) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(sql)
        except pymysql.MySQLError as error:
            return type(error).__name__, *error.args
        return cursor.description, list(cursor.fetchall())


def by_connector(port: int, sql: str, **options: bool) -> Outcome:
    with mysql.connector.connect(
        host="127.0.0.1", port=port, user="app", password="app", database="app", use_pure=True, autocommit=True
    ) as connection:
        cursor = connection.cursor(**options)
        try:
            cursor.execute(sql)
            return cursor.description, cursor.fetchall(), cursor.warnings
        except mysql.connector.Error as error:
            return type(error).__name__, error.errno, error.sqlstate, error.msg


def by_prepared(port: int, sql: str) -> Outcome:
    return by_connector(port, sql, prepared=True)


def by_raw(port: int, sql: str) -> Outcome:
    return by_connector(port, sql, raw=True)


def by_command_line(port: int, sql: str) -> Outcome:
    command = ["mariadb", "--no-defaults", "--host=127.0.0.1", f"--port={port}", "--user=app", "--password=app"]
    command += ["--table", "--show-warnings", "app", f"--execute={sql}"]
    result = subprocess.run(command, capture_output=True, check=False)
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize("sql", [*QUERIES, *WRONG, "SELECT 1/0"])
@pytest.mark.parametrize("run", [by_pymysql, by_connector, by_prepared, by_raw, by_command_line])
def test_a_driver_sees_what_it_sees_on_the_server(
    mariadb: SingleServer, proxy: Proxy, run: Callable[[int, str], Outcome], sql: str
) -> None:
    assert run(proxy.port, sql) == run(mariadb.port, sql)


async def by_aiomysql(port: int, sql: str) -> Outcome:
    connection = await aiomysql.connect(host="127.0.0.1", port=port, user="app", password="app", db="app")
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(sql)
            return cursor.description, await cursor.fetchall()
    except pymysql.MySQLError as error:
        return type(error).__name__, *error.args
    finally:
        connection.close()


@pytest.mark.parametrize("sql", [*QUERIES, *WRONG])
async def test_aiomysql_sees_what_it_sees_on_the_server(mariadb: SingleServer, proxy: Proxy, sql: str) -> None:
    assert await by_aiomysql(proxy.port, sql) == await by_aiomysql(mariadb.port, sql)


def test_parameters_of_every_kind_come_back_from_prepared_statements(mariadb: SingleServer, proxy: Proxy) -> None:
    values = (1, -1, 2**63, 1.5, "é 🐬", b"\0\xff'", None, "x" * 100_000)
    seen = []
    for port in (mariadb.port, proxy.port):
        with mysql.connector.connect(
            host="127.0.0.1", port=port, user="app", password="app", database="app", use_pure=True
        ) as connection:
            cursor = connection.cursor(prepared=True)
            for _ in range(2):  # the second time without a new COM_STMT_PREPARE
                cursor.execute("SELECT " + ", ".join(["?"] * len(values)), values)
                seen.append(cursor.fetchall())
    assert all(rows == seen[0] for rows in seen)
    assert len(seen[0][0]) == len(values)


def test_a_driver_keeps_its_transaction_and_its_counts(proxy: Proxy) -> None:
    with connected(proxy.port, autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE TABLE counted_by_driver (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
        assert cursor.executemany("INSERT INTO counted_by_driver (v) VALUES (%s)", [(1,), (2,), (3,)]) == 3
        assert cursor.lastrowid == 1
        connection.rollback()
        cursor.execute("SELECT COUNT(*) FROM counted_by_driver")
        assert cursor.fetchall() == ((0,),)
        cursor.execute("INSERT INTO counted_by_driver (v) VALUES (9)")
        connection.commit()
        assert cursor.lastrowid == 4
    assert ask(proxy.port, "SELECT v FROM counted_by_driver") == [(9,)]


def test_a_drivers_unbuffered_cursor_reads_row_by_row(proxy: Proxy) -> None:
    with connected(proxy.port) as connection, connection.cursor(pymysql.cursors.SSCursor) as cursor:
        cursor.execute("SELECT seq FROM seq_1_to_100000")
        assert sum(row[0] for row in cursor) == 5_000_050_000
