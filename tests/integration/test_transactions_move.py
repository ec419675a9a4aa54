"""A transaction that is not on the primary ends before anything that would go on writing there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pymysql
import pytest
from pymysql.constants import CLIENT

from sqlproxy.lab.galera import GaleraLab
from tests.support.cluster import servers_of
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.waiting import wait_until


@pytest.fixture
def proxy(healthy_galera: GaleraLab, tmp_path: Path) -> Iterator[Proxy]:
    with running_proxy(tmp_path, servers_of(healthy_galera)) as proxy:
        yield proxy


def primary_port(proxy: Proxy, galera: GaleraLab) -> int:
    return servers_of(galera)[proxy.primary or ""]


def test_begin_after_a_read_only_transaction_goes_to_the_primary(proxy: Proxy, healthy_galera: GaleraLab) -> None:
    port = primary_port(proxy, healthy_galera)
    with connected(proxy.port) as connection:
        rows(connection, "START TRANSACTION READ ONLY")
        ((replica,),) = rows(connection, "SELECT @@port")
        assert replica != port
        rows(connection, "START TRANSACTION")
        assert rows(connection, "SELECT @@port") == [(port,)]
        rows(connection, "ROLLBACK")


def test_ddl_after_a_read_only_transaction_goes_to_the_primary(proxy: Proxy, healthy_galera: GaleraLab) -> None:
    with connected(proxy.port) as connection:
        rows(connection, "START TRANSACTION READ ONLY")
        rows(connection, "SELECT @@port")
        rows(connection, "CREATE OR REPLACE TABLE moved (id INT PRIMARY KEY)")
        writes = {name: row["writes"] for name, row in proxy.servers().items()}
        assert [name for name, count in writes.items() if count] == [proxy.primary]
        rows(connection, "DROP TABLE moved")


def test_a_new_transaction_leaves_the_old_primary(proxy: Proxy, healthy_galera: GaleraLab) -> None:
    ask(proxy.port, "CREATE OR REPLACE TABLE moved (id INT PRIMARY KEY)")
    with connected(proxy.port) as connection:
        rows(connection, "BEGIN")
        rows(connection, "INSERT INTO moved VALUES (1)")
        ((before,),) = rows(connection, "SELECT @@port")
        proxy.post("/v1/switchover", {})
        rows(connection, "BEGIN")  # commits the first, wherever that is done
        ((after,),) = rows(connection, "SELECT @@port")
        assert after == primary_port(proxy, healthy_galera) != before
        rows(connection, "ROLLBACK")
    assert ask(proxy.port, "SELECT id FROM moved") == [(1,)]
    ask(proxy.port, "DROP TABLE moved")


def test_several_writes_in_one_text_survive_the_primary(proxy: Proxy, healthy_galera: GaleraLab) -> None:
    """They wait for a row when it dies: neither they nor what came before are committed, and all of it runs again."""
    port, primary = primary_port(proxy, healthy_galera), proxy.primary or ""
    ask(proxy.port, "CREATE OR REPLACE TABLE moved (id INT PRIMARY KEY, times INT)")
    ask(proxy.port, "INSERT INTO moved VALUES (1, 0)")
    waits = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'UPDATE moved%'"
    with (
        connected(proxy.port, client_flag=CLIENT.MULTI_STATEMENTS, read_timeout=90) as connection,
        connected(port) as other,
        ThreadPoolExecutor() as threads,
    ):
        rows(connection, "BEGIN")
        rows(connection, "INSERT INTO moved VALUES (2, 0)")
        rows(other, "BEGIN")
        rows(other, "UPDATE moved SET times = 9 WHERE id = 1")
        both = threads.submit(rows, connection, "UPDATE moved SET times = times + 1; INSERT INTO moved VALUES (3, 0)")
        wait_until(lambda: healthy_galera.node(primary).query(waits), 20, "the update waits")
        healthy_galera.kill(primary)
        assert both.result(60) == []
        assert proxy.primary != primary
        rows(connection, "COMMIT")
    assert ask(proxy.port, "SELECT id, times FROM moved ORDER BY id") == [(1, 1), (2, 1), (3, 0)]
    ask(proxy.port, "DROP TABLE moved")


def test_servers_own_autocommit_is_the_sessions(proxy: Proxy, healthy_galera: GaleraLab) -> None:
    for server in servers_of(healthy_galera).values():
        ask(server, "SET GLOBAL autocommit=0", user="root", password="", database=None)
    try:
        with connected(proxy.port, autocommit=None) as connection:
            assert rows(connection, "SELECT @@autocommit, @@port") == [(0, primary_port(proxy, healthy_galera))]
            rows(connection, "ROLLBACK")
    finally:
        for server in servers_of(healthy_galera).values():
            ask(server, "SET GLOBAL autocommit=1", user="root", password="", database=None)


def test_a_pinned_session_writes_nowhere_but_on_the_primary(proxy: Proxy, healthy_galera: GaleraLab) -> None:
    ask(proxy.port, "CREATE OR REPLACE TABLE moved (id INT PRIMARY KEY)")
    with connected(proxy.port) as connection:
        rows(connection, "CREATE TEMPORARY TABLE mine (id INT)")
        proxy.post("/v1/switchover", {})
        assert rows(connection, "SELECT COUNT(*) FROM mine") == [(0,)]
        with pytest.raises(pymysql.MySQLError, match="is no longer the primary and nothing else has its state"):
            rows(connection, "INSERT INTO moved VALUES (1)")
    assert ask(proxy.port, "SELECT COUNT(*) FROM moved") == [(0,)]
    ask(proxy.port, "DROP TABLE moved")


def test_a_history_that_is_too_long_pins_to_the_primary(healthy_galera: GaleraLab, tmp_path: Path) -> None:
    with (
        running_proxy(tmp_path, servers_of(healthy_galera), service="max_session_history = 5") as proxy,
        connected(proxy.port) as connection,
    ):
        port = primary_port(proxy, healthy_galera)
        assert rows(connection, "SELECT @@port") != [(port,)]
        for number in range(8):
            rows(connection, f"SET @v{number} = {number}")
        assert rows(connection, "SELECT @@port, @v0, @v7") == [(port, 0, 7)]
        ((pin,),) = [row["pins"] for row in proxy.get("/v1/sessions")]
        assert pin.startswith("more than 5 session statements")
