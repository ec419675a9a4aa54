"""SIGTERM: idle clients are told, what has begun ends in peace, nobody else gets in."""

from __future__ import annotations

import select
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pymysql
import pytest
from pymysql.connections import Connection

from sqlproxy.lab.single import SingleServer
from tests.support.mysqlclient import connected, rows
from tests.support.proxy import running_proxy
from tests.support.waiting import wait_until

BLOCKED = "UPDATE parting SET times = times + 1 WHERE id = 1"


def has_news(connection: Connection) -> bool:
    return bool(select.select([connection._sock], [], [], 0)[0])  # type: ignore[attr-defined]


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("workers", [0, 2], ids=["one process", "two workers"])
def test_what_has_begun_ends_in_peace(mariadb: SingleServer, tmp_path: Path, workers: int) -> None:
    """A transaction that is open and a statement that waits for its lock are both done, and acknowledged."""
    mariadb.query("CREATE OR REPLACE TABLE app.parting (id INT PRIMARY KEY, times INT)")
    mariadb.query("INSERT INTO app.parting VALUES (1, 0)")
    env = {"SQLPROXY_WORKERS": str(workers), "SQLPROXY_DRAIN_TIMEOUT": "60s"}
    with (
        running_proxy(tmp_path, {"n1": mariadb.port}, env=env) as proxy,
        connected(proxy.port) as idle,
        connected(proxy.port, read_timeout=120) as writer,
        connected(proxy.port, read_timeout=120) as blocked,
        ThreadPoolExecutor() as threads,
    ):
        rows(writer, "BEGIN")
        rows(writer, "UPDATE parting SET times = times + 10 WHERE id = 1")
        update = threads.submit(rows, blocked, BLOCKED)
        question = f"SELECT 1 FROM information_schema.processlist WHERE info = '{BLOCKED}'"
        wait_until(lambda: mariadb.query(question), 20, "the second update waits")
        proxy.process.send_signal(signal.SIGTERM)
        wait_until(lambda: has_news(idle), 20, "the idle client is told")
        with pytest.raises(pymysql.OperationalError, match="The proxy shuts down; connect again"):
            rows(idle, "SELECT 1")
        wait_until(lambda: is_refused(proxy.port), 20, "no client gets in")
        rows(writer, "INSERT INTO parting VALUES (2, 5)")
        assert not update.done()
        rows(writer, "COMMIT")
        assert update.result(20) == []
        assert proxy.process.wait(20) == 0
        wait_until(lambda: has_news(writer), 20, "the writer is told")
        with pytest.raises(pymysql.OperationalError, match="The proxy shuts down; connect again"):
            rows(writer, "SELECT 1")
    assert mariadb.query("SELECT times FROM app.parting ORDER BY id") == [(11,), (5,)]
