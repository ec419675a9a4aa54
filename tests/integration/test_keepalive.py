"""A server's wait_timeout and the connections a session holds: kept alive by pings, reopened when ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlproxy.lab.single import SingleServer
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import running_proxy
from tests.support.waiting import wait_until


@pytest.fixture
def impatient(mariadb: SingleServer) -> Iterator[SingleServer]:
    """A server that ends connections after a second without a command."""
    [(before,)] = mariadb.query("SELECT @@GLOBAL.wait_timeout")
    mariadb.query("SET GLOBAL wait_timeout = 1")
    yield mariadb
    mariadb.query(f"SET GLOBAL wait_timeout = {before}")


def threads(server: SingleServer) -> set[int]:
    """The connections of the account that clients use."""
    return {row[0] for row in server.query("SELECT id FROM information_schema.processlist WHERE user = 'app'")}


def test_an_idle_connection_outlives_the_servers_patience(impatient: SingleServer, tmp_path: Path) -> None:
    with (
        running_proxy(tmp_path, {"n1": impatient.port}, service='connection_keepalive = "400ms"') as proxy,
        connected(proxy.port) as connection,
    ):
        [(before,)] = rows(connection, "SELECT CONNECTION_ID()")
        began = time.monotonic()
        wait_until(lambda: before in threads(impatient) and time.monotonic() - began > 2.5, 30, "pings keep it alive")
        assert rows(connection, "SELECT CONNECTION_ID()") == [(before,)]


def test_a_connection_that_the_server_ended_is_opened_again_with_all_its_state(
    impatient: SingleServer, tmp_path: Path
) -> None:
    ask(impatient.port, "CREATE OR REPLACE TABLE patience (id INT PRIMARY KEY)")
    with (
        running_proxy(tmp_path, {"n1": impatient.port}, service='connection_keepalive = "0s"') as proxy,
        connected(proxy.port) as connection,
    ):
        rows(connection, "SET @a = 5, time_zone = '+05:00'")
        for number in (1, 2):
            wait_until(lambda: not threads(impatient), 30, "the server has ended the connection")
            rows(connection, "INSERT INTO patience VALUES (%s)", number)
            assert rows(connection, "SELECT @a, @@time_zone, DATABASE()") == [(5, "+05:00", "app")]
    assert ask(impatient.port, "SELECT id FROM patience") == [(1,), (2,)]
