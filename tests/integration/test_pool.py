"""Connections that sessions leave serve the next ones: like new ones, and only for those whom the server lets in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from pymysql.connections import Connection

from sqlproxy.lab.single import SingleServer
from tests.support.mysql_server import MySQLServer
from tests.support.mysqlclient import connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.waiting import wait_until

# MariaDB does not even initialize FOUND_ROWS() for new connections, so nobody asks for it here.
# What a session may leave behind; each is followed by questions that would show it.
DIRT = (
    "SET @a = 1, @b = 'two'",
    "SET NAMES latin1",
    "SET sql_mode = 'ANSI_QUOTES', time_zone = '+05:00', group_concat_max_len = 4321, autocommit = 0",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET SESSION TRANSACTION READ ONLY",
    "USE sbtest",
    "PREPARE s FROM 'SELECT 5'",
    "COMMIT",
)
WRITES = ("INSERT INTO pool_kept (b) VALUES (1)", "SELECT LAST_INSERT_ID(41)", "SELECT SQL_CALC_FOUND_ROWS 1 LIMIT 0")
PINNING = (
    "CREATE TEMPORARY TABLE pool_gone (a INT)",
    "SELECT GET_LOCK('pool', 0)",
    "LOCK TABLES pool_kept READ",
    "HANDLER pool_kept OPEN",
)
QUESTIONS = (
    "SELECT DATABASE(), CURRENT_USER(), CURRENT_ROLE(), LAST_INSERT_ID(), ROW_COUNT(), @@warning_count",
    "SELECT @a, @b, IS_FREE_LOCK('pool')",
    "EXECUTE s",
    "SELECT * FROM pool_gone",
    "HANDLER pool_kept READ FIRST",
    "SHOW WARNINGS",
)
# What differs between any two connections, or with time.
OWN = {"pseudo_thread_id", "timestamp", "rand_seed1", "rand_seed2", "last_gtid", "gtid_binlog_pos", "gtid_current_pos"}
OWN |= {"pseudo_slave_mode", "error_count", "warning_count", "gtid_executed", "statement_id", "innodb_flush_log"}


# What makes a server refuse an account that it let in before, after which the proxy reads no accounts.
CHANGES = {
    "pooled_1": "ALTER USER pooled_1@'%' IDENTIFIED BY 'two'",
    "pooled_2": "ALTER USER pooled_2@'%' ACCOUNT LOCK",
    "pooled_3": "DROP USER pooled_3@'%'",
    "pooled_4": "REVOKE ALL ON app.* FROM pooled_4@'%'",
}


@pytest.fixture(scope="module", params=["mariadb", "mysql97"])
def server(request: pytest.FixtureRequest) -> SingleServer | MySQLServer:
    found: SingleServer | MySQLServer = request.getfixturevalue(request.param)
    for statement in (
        "CREATE DATABASE IF NOT EXISTS sbtest",
        "GRANT ALL ON sbtest.* TO app@'%'",
        "DROP TABLE IF EXISTS app.pool_kept",
        "CREATE TABLE app.pool_kept (id INT AUTO_INCREMENT PRIMARY KEY, b INT)",
    ):
        found.query(statement)
    for user in CHANGES:
        found.query(f"DROP USER IF EXISTS {user}@'%'")
        found.query(f"CREATE USER {user}@'%' IDENTIFIED BY 'one'")
        found.query(f"GRANT ALL ON app.* TO {user}@'%'")
    return found


@pytest.fixture(scope="module")
def running(server: SingleServer | MySQLServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    extra = '[accounts]\nrefresh = "1h"'
    with running_proxy(tmp_path_factory.mktemp("pool"), {"n1": server.port}, extra=extra) as proxy:
        yield proxy


@pytest.fixture
def proxy(running: Proxy) -> Proxy:
    """With nothing in its pool, as after every change of a server's state."""
    for state in ("maintenance", "active"):
        running.put("/v1/servers/n1/state", {"state": state})
    wait_until(lambda: running.servers()["n1"]["role"] == "primary" and not pool(running)["pooled"], 30, "all is new")
    return running


def pool(proxy: Proxy) -> dict[str, int]:
    [row] = proxy.get("/v1/pools")
    return dict(row)


def wait_pooled(proxy: Proxy, count: int = 1) -> None:
    wait_until(lambda: pool(proxy)["pooled"] == count, 30, f"{count} connections are kept")


def answer(connection: Connection, sql: str) -> object:
    try:
        return rows(connection, sql)
    except pymysql.MySQLError as error:
        return error.args[0]


def state(connection: Connection) -> dict[str, object]:
    """All that a session can see of itself."""
    found: dict[str, object] = {sql: answer(connection, sql) for sql in QUESTIONS}
    found |= dict(rows(connection, "SHOW SESSION VARIABLES"))
    return {name: value for name, value in found.items() if name.lower() not in OWN}


def test_a_connection_taken_over_is_like_a_new_one(server: SingleServer | MySQLServer, proxy: Proxy) -> None:
    with connected(proxy.port, autocommit=None) as first:
        fresh = state(first)
        number = rows(first, "SELECT CONNECTION_ID()")
    wait_pooled(proxy)
    for dirt in (DIRT, WRITES, ("SELECT 1",)):
        with connected(proxy.port, autocommit=None) as connection:
            assert state(connection) == fresh
            assert rows(connection, "SELECT CONNECTION_ID()") == number
            for statement in dirt:
                rows(connection, statement)
        wait_pooled(proxy)
    with connected(proxy.port, autocommit=None) as last:
        assert state(last) == fresh
        assert rows(last, "SELECT CONNECTION_ID()") == number


def test_what_ties_a_session_to_its_connection_ends_with_it(proxy: Proxy) -> None:
    for statement in (*PINNING, "BEGIN", "SET autocommit = 0; SELECT * FROM app.pool_kept"):
        with connected(proxy.port, autocommit=None) as connection:
            for part in statement.split("; "):
                rows(connection, part)
        wait_until(lambda: pool(proxy)["in_use"] == 0, 30, "the connection is given up")
        assert pool(proxy)["pooled"] == 0, statement


def test_prepared_statements_do_not_stay_on_the_server(server: SingleServer | MySQLServer, proxy: Proxy) -> None:
    def prepared() -> int:
        return int(server.query("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'")[0][1])

    with connected(proxy.port) as connection:
        rows(connection, "PREPARE s FROM 'SELECT 5'")
        assert prepared() == 1
    wait_pooled(proxy)
    wait_until(lambda: prepared() == 0, 30, "the statement is closed")


@pytest.mark.parametrize("user", CHANGES)
def test_nobody_gets_in_whom_the_server_refuses(server: SingleServer | MySQLServer, proxy: Proxy, user: str) -> None:
    with connected(proxy.port, user=user, password="one"):
        pass
    wait_pooled(proxy)
    server.query(CHANGES[user])
    with pytest.raises(pymysql.MySQLError) as told, connected(server.port, user=user, password="one"):
        pass
    with pytest.raises(pymysql.MySQLError) as relayed, connected(proxy.port, user=user, password="one"):
        pass
    assert relayed.value.args[0] == told.value.args[0]


def test_other_users_do_not_get_it(proxy: Proxy) -> None:
    numbers = []
    for user, password in (("app", "app"), ("monitor", "monitor")):
        with connected(proxy.port, user=user, password=password, database=None) as connection:
            numbers += rows(connection, "SELECT CONNECTION_ID()")
        wait_pooled(proxy, len(numbers))
    assert numbers[0] != numbers[1]


def test_nothing_is_kept_where_new_connections_run_a_statement(
    server: SingleServer | MySQLServer, proxy: Proxy
) -> None:
    reused = pool(proxy)["reused"]
    server.query("SET GLOBAL init_connect = 'SET @x = 7'")
    try:
        for _ in range(3):
            with connected(proxy.port) as connection:
                assert rows(connection, "SELECT @x") == [(7,)]
            wait_until(lambda: pool(proxy)["in_use"] == 0, 30, "the connection is given up")
        assert (pool(proxy)["pooled"], pool(proxy)["reused"]) == (0, reused)
    finally:
        server.query("SET GLOBAL init_connect = ''")


def test_one_killed_in_the_pool_is_missed_by_nobody(server: SingleServer | MySQLServer, proxy: Proxy) -> None:
    with connected(proxy.port) as connection:
        [[number]] = rows(connection, "SELECT CONNECTION_ID()")
    wait_pooled(proxy)
    server.query(f"KILL {number}")
    wait_pooled(proxy, 0)
    with connected(proxy.port) as connection:
        assert rows(connection, "SELECT CONNECTION_ID()") != [(number,)]


def test_the_pool_has_its_limits(server: SingleServer | MySQLServer, tmp_path: Any) -> None:
    env = {"SQLPROXY_SERVERS__0__PERSISTPOOLMAX": "2", "SQLPROXY_SERVERS__0__PERSISTMAXTIME": "500ms"}
    with running_proxy(tmp_path, {"n1": server.port}, env=env) as proxy:
        with connected(proxy.port):
            pass
        wait_pooled(proxy)
        many = [pymysql.connect(host="127.0.0.1", port=proxy.port, user="app", password="app") for _ in range(4)]
        for connection in many:
            connection.close()
        wait_until(lambda: pool(proxy)["in_use"] == 0, 30, "the connections are given up")
        assert pool(proxy)["pooled"] <= 2
        wait_pooled(proxy, 0)
