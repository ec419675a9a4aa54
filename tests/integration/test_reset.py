"""COM_RESET_CONNECTION and COM_CHANGE_USER through the proxy leave what they leave on a direct connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sqlproxy.errors import ServerError
from sqlproxy.lab.single import SingleServer
from sqlproxy.wire.constants import COM_INIT_DB, COM_RESET_CONNECTION
from tests.support.mysql_server import MySQLServer
from tests.support.mysqlclient import connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.rawclient import DEPRECATE_EOF, RawClient, logged_in

How = Callable[[RawClient], None]
# What a session does, and what it asks afterwards.
CASES = {
    "user variable": ("SET @a = 1", "SELECT @a"),
    "session variable": ("SET group_concat_max_len = 4321", "SELECT @@group_concat_max_len"),
    "several variables": ("SET time_zone = '+05:00', @b = 2, sql_mode = ''", "SELECT @@time_zone, @b, @@sql_mode"),
    "sql mode": ("SET sql_mode = 'ANSI_QUOTES'", 'SELECT "x"'),
    "backslashes": ("SET sql_mode = 'NO_BACKSLASH_ESCAPES'", r"SELECT 'a\\b'"),
    "charset": ("SET NAMES latin1", "SELECT @@character_set_client, @@character_set_results, @@collation_connection"),
    "multi-byte charset": ("SET NAMES gbk", "SELECT @@character_set_client"),
    "database": ("USE sbtest", "SELECT DATABASE()"),
    "autocommit": ("SET autocommit = 0", "SELECT @@autocommit"),
    "isolation": ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT @@tx_isolation"),
    "isolation of the next transaction": ("SET TRANSACTION READ ONLY", "INSERT INTO reset_kept VALUES (2)"),
    "temporary table": ("CREATE TEMPORARY TABLE reset_gone (a INT)", "SELECT * FROM reset_gone"),
    "text statement": ("PREPARE s FROM 'SELECT 5'", "EXECUTE s"),
    "transaction": ("BEGIN; INSERT INTO reset_kept VALUES (3)", "SELECT id FROM reset_kept WHERE id = 3"),
    "transaction of autocommit": (
        "SET autocommit = 0; INSERT INTO reset_kept VALUES (4)",
        "SELECT COUNT(*) FROM reset_kept",
    ),
    "read-only transaction": ("START TRANSACTION READ ONLY", "INSERT INTO reset_kept VALUES (5)"),
    "user lock": ("SELECT GET_LOCK('reset', 0)", "SELECT IS_FREE_LOCK('reset')"),
    "locked tables": ("LOCK TABLES reset_kept READ", "INSERT INTO reset_kept VALUES (6)"),
    "handler": ("HANDLER reset_kept OPEN", "HANDLER reset_kept READ FIRST"),
    "last insert id": ("SELECT LAST_INSERT_ID(41)", "SELECT LAST_INSERT_ID()"),
    "insert id": ("SET insert_id = 77", "SELECT @@insert_id"),
    "warnings": ("SELECT 1/0", "SHOW WARNINGS"),
    "a variable of a procedure": ("CALL reset_loud()", "SELECT @z"),
}


@pytest.fixture(scope="module", params=["mariadb", "mysql97"])
def ports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Proxy]]:
    server: SingleServer | MySQLServer = request.getfixturevalue(request.param)
    for statement in (
        "CREATE DATABASE IF NOT EXISTS sbtest",
        "GRANT ALL ON sbtest.* TO app@'%'",
        "DROP USER IF EXISTS reset_other@'%'",
        "CREATE USER reset_other@'%' IDENTIFIED BY 'two'",
        "GRANT ALL ON app.* TO reset_other@'%'",
        "GRANT ALL ON sbtest.* TO reset_other@'%'",
    ):
        server.query(statement)
    with connected(server.port) as connection:
        for statement in (
            "DROP TABLE IF EXISTS reset_kept",
            "DROP PROCEDURE IF EXISTS reset_loud",
            "CREATE TABLE reset_kept (id INT PRIMARY KEY)",
            "INSERT INTO reset_kept VALUES (1)",
            "CREATE PROCEDURE reset_loud() SET @z = 5",
        ):
            rows(connection, statement)
    with running_proxy(tmp_path_factory.mktemp("reset"), {"n1": server.port}) as proxy:
        yield server.port, proxy


def reset(client: RawClient) -> None:
    client.ok(bytes((COM_RESET_CONNECTION,)))


def change_user(client: RawClient) -> None:
    client.change_user("reset_other", "two", "app", plugin=client.greeting.auth_plugin)


def answer(client: RawClient, sql: str) -> object:
    """Rows, or the error's code."""
    if b"MariaDB" not in client.greeting.server_version:
        sql = sql.replace("@@tx_isolation", "@@transaction_isolation")
    try:
        return client.rows(sql)
    except ServerError as error:
        return error.code


def observed(port: int, case: str, how: How) -> list[object]:
    """Everything that a client can tell of one case on one port."""
    setup, question = CASES[case]
    with connected(port) as connection:
        rows(connection, "DELETE FROM reset_kept WHERE id > 1")
    with logged_in(port, DEPRECATE_EOF) as client, connected(port) as other:
        for statement in setup.split("; "):
            client.query(statement)
        how(client)
        seen = [answer(client, question), rows(other, "SELECT id FROM reset_kept ORDER BY id")]
        seen += [answer(client, "SELECT CURRENT_USER(), DATABASE()"), client.command(b"\x0e")]
        return seen


@pytest.mark.parametrize("how", [reset, change_user])
@pytest.mark.parametrize("case", CASES)
def test_what_is_left_is_what_a_server_leaves(ports: tuple[int, Proxy], case: str, how: How) -> None:
    direct, proxy = ports
    assert observed(proxy.port, case, how) == observed(direct, case, how)


@pytest.mark.parametrize("how", [reset, change_user])
def test_binary_statements_are_gone(ports: tuple[int, Proxy], how: How) -> None:
    found = []
    for port in (ports[0], ports[1].port):
        with logged_in(port, DEPRECATE_EOF) as client:
            statement, _ = client.prepare("SELECT 1")
            how(client)
            [packet] = client.execute(statement)
            found.append(packet[:9])
    assert found[0] == found[1]


@pytest.mark.parametrize("how", [reset, change_user])
def test_pins_end(ports: tuple[int, Proxy], how: How) -> None:
    _, proxy = ports
    with logged_in(proxy.port, DEPRECATE_EOF) as client:
        for statement in (
            "CREATE TEMPORARY TABLE reset_gone (a INT)",
            "SELECT GET_LOCK('reset', 0)",
            "CALL reset_loud()",
        ):
            client.query(statement)
        assert len(proxy.get("/v1/sessions")[0]["pins"]) == 3
        how(client)
        assert proxy.get("/v1/sessions")[0]["pins"] == []


def test_a_database_chosen_later_outlives_a_reset(ports: tuple[int, Proxy]) -> None:
    direct, proxy = ports
    found = []
    for port in (direct, proxy.port):
        with logged_in(port, DEPRECATE_EOF) as client:
            client.ok(bytes((COM_INIT_DB,)) + b"sbtest")
            reset(client)
            found.append(client.value("SELECT DATABASE()"))
    assert found == [b"sbtest", b"sbtest"]
