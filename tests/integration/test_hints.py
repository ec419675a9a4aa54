"""Hints against a real cluster: the server that answers is the one a comment names, and writes stay on the primary."""

from __future__ import annotations

from collections.abc import Iterator

import mysql.connector
import pymysql
import pytest

from sqlproxy.lab.galera import GaleraLab
from tests.support.cluster import name_of, servers_of, wait_settled
from tests.support.mysqlclient import connected, rows
from tests.support.proxy import Proxy, running_proxy


@pytest.fixture(scope="module")
def proxy(galera: GaleraLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    galera.up()
    with running_proxy(tmp_path_factory.mktemp("hints"), servers_of(galera)) as running:
        wait_settled(running)
        yield running


@pytest.fixture
def session(proxy: Proxy) -> Iterator[pymysql.connections.Connection]:
    with connected(proxy.port) as connection:
        yield connection


def where(galera: GaleraLab, session: pymysql.connections.Connection, hint: str) -> str:
    return name_of(galera, rows(session, f"SELECT @@port {hint}")[0][0])


def test_a_comment_names_the_server(proxy: Proxy, galera: GaleraLab, session: pymysql.connections.Connection) -> None:
    primary = proxy.primary
    assert where(galera, session, "-- maxscale route to master") == primary
    assert where(galera, session, "/* sqlproxy: primary */") == primary
    assert where(galera, session, "# maxscale route to slave") != primary
    for name in galera.nodes:
        assert where(galera, session, f"/* maxscale route to server {name} */") == name
        assert where(galera, session, "/* sqlproxy: last */") == name


def test_a_block_holds_until_its_end(proxy: Proxy, galera: GaleraLab, session: pymysql.connections.Connection) -> None:
    replica = next(name for name in galera.nodes if name != proxy.primary)
    where(galera, session, f"-- maxscale mine prepare route to server {replica}")
    assert where(galera, session, "-- maxscale mine begin") == replica
    assert {where(galera, session, "") for _ in range(4)} == {replica}
    assert where(galera, session, "-- maxscale begin route to master") == proxy.primary
    assert where(galera, session, "-- maxscale end") == replica


def test_writes_and_transactions_stay_on_the_primary(
    proxy: Proxy, galera: GaleraLab, session: pymysql.connections.Connection
) -> None:
    rows(session, "CREATE TABLE IF NOT EXISTS hinted (port INT)")
    rows(session, "INSERT INTO hinted VALUES (@@port) -- maxscale route to slave")
    found = rows(session, "SELECT port FROM hinted -- maxscale route to slave")[-1][0]
    assert name_of(galera, found) == proxy.primary
    rows(session, "BEGIN")
    rows(session, "INSERT INTO hinted VALUES (0)")
    assert where(galera, session, "-- maxscale route to slave") == proxy.primary
    rows(session, "ROLLBACK")


def test_a_binary_prepared_statement_keeps_its_hint(proxy: Proxy, galera: GaleraLab) -> None:
    with mysql.connector.connect(
        host="127.0.0.1", port=proxy.port, user="app", password="app", use_pure=True
    ) as connection:
        cursor = connection.cursor(prepared=True)
        for _ in range(3):
            cursor.execute("SELECT @@port /* maxscale route to master */")
            assert name_of(galera, cursor.fetchall()[0][0]) == proxy.primary


def test_explain_says_what_becomes_of_a_hint(proxy: Proxy) -> None:
    replica = next(name for name in proxy.servers() if name != proxy.primary)
    answer = proxy.get(f"/v1/explain?sql=SELECT+1+/*sqlproxy:server={replica}*/")
    assert (answer["server"], answer["rules"][-1]) == (replica, f"the hint (server {replica}) is followed")
    answer = proxy.get(f"/v1/explain?sql=DELETE+FROM+t+/*sqlproxy:server={replica}*/")
    assert answer["server"] == proxy.primary
    assert "is ignored: the statement may write" in answer["rules"][-1]
