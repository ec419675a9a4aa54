"""The admin side over the MySQL protocol, with real drivers and clients."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mysql.connector
import pymysql
import pytest

from tests.support.embedded import embedded_cluster
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.waiting import wait_until

Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Runs a test's body in a thread beside a cluster and a proxy whose SQL admin side listens."""
    async with embedded_cluster() as cluster:
        ports = {name: address.port for name, address in cluster.addresses.items()}

        @contextmanager
        def proxy(extra: str, workers: int) -> Iterator[tuple[Proxy, int]]:
            port = free_port()
            env = {"SQLPROXY_WORKERS": str(workers)}
            with running_proxy(tmp_path, ports, extra=f'sql_listen = "127.0.0.1:{port}"\n{extra}', env=env) as running:
                yield running, port

        def run(body: Callable[[Proxy, int], None], extra: str, workers: int) -> None:
            with proxy(extra, workers) as (running, port):
                body(running, port)

        async def go(body: Callable[[Proxy, int], None], extra: str = "", workers: int = 0) -> None:
            await asyncio.to_thread(run, body, extra, workers)

        yield go


@pytest.mark.parametrize("workers", [0, 2])
async def test_drivers_read_and_steer(start: Start, workers: int) -> None:
    def body(proxy: Proxy, port: int) -> None:
        for number in range(3):
            ask(proxy.port, f"SELECT {number} + 1")
        with connected(port, database="sqlproxy") as admin, connected(proxy.port):
            assert rows(admin, "SELECT name FROM servers WHERE role = 'primary'") == [(proxy.primary,)]
            assert rows(admin, "SELECT SUM(count) FROM digests WHERE statement = %s", "SELECT ? + ?") == [(3,)]
            alone = [("app", "idle")]  # once those before are gone
            wait_until(lambda: rows(admin, "SELECT user, state FROM sessions") == alone, 30, "the session is listed")
            wait_until(lambda: rows(admin, "SELECT SUM(in_use) FROM pools") == [(1,)], 30, "the connection is counted")
            assert ("target", proxy.primary) in rows(admin, "EXPLAIN ROUTE DELETE FROM t")
            rows(admin, "SET SERVER n3 = 'drain'")
            proxy.wait_roles(n3="replica")
            assert proxy.servers()["n3"]["state"] == "drain"
            rows(admin, "RESET DIGESTS")
            with pytest.raises(pymysql.MySQLError) as caught:
                rows(admin, "SELECT * FROM nowhere")
            assert caught.value.args[0] == 1146
        assert "(SQL) put server n3 in state drain" in proxy.log

    await start(body, workers=workers)


async def test_prepared_statements_are_typed(start: Start) -> None:
    def body(proxy: Proxy, port: int) -> None:
        options = {"host": "127.0.0.1", "port": port, "user": "x", "password": "", "ssl_disabled": True}
        with mysql.connector.connect(use_pure=True, **options) as connection:
            cursor = connection.cursor(prepared=True)
            for name in ("n1", "n2"):
                cursor.execute("SELECT name, weight, latency_ms > %s, zone FROM servers WHERE name = %s", (-1.5, name))
                assert cursor.fetchall() == [(name, 1, 1, "")]

    await start(body)


async def test_nobody_gets_in_without_the_credentials(start: Start) -> None:
    def body(proxy: Proxy, port: int) -> None:
        for user, password in (("operator", "secret-1"), ("anybody", "token-2")):
            assert ask(port, "SELECT 1", user=user, password=password, database=None) == [(1,)]
        for user, password in (("operator", "wrong"), ("operator", ""), ("", ""), ("other", "secret-1")):
            with pytest.raises(pymysql.MySQLError) as caught:
                ask(port, "SELECT 1", user=user, password=password, database=None)
            assert caught.value.args[0] == 1045
        assert "secret-1" not in proxy.log

    await start(body, extra='user = "operator"\npassword = "secret-1"\ntoken = "token-2"\n')


async def test_the_mysql_client_completes_and_shows(start: Start) -> None:
    def body(proxy: Proxy, port: int) -> None:
        command = ["mysql", "--skip-ssl", "--auto-rehash", "-h127.0.0.1", f"-P{port}", "-uroot", "sqlproxy"]
        done = subprocess.run([*command, "-e", "SHOW TABLES; SHOW SERVERS"], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        assert "digests" in done.stdout
        assert "127.0.0.1" in done.stdout

    await start(body)


async def test_bytes_that_are_no_login_end_one_connection_only(start: Start) -> None:
    def body(proxy: Proxy, port: int) -> None:
        with connected(port, database=None) as other:
            for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64, b"\xff" * 64, b"\x05\x00\x00\x01hello"):
                with socket.create_connection(("127.0.0.1", port), timeout=15) as raw:
                    assert raw.recv(4)
                    raw.sendall(garbage)
                    raw.shutdown(socket.SHUT_WR)
                    while raw.recv(4096):
                        pass
            assert rows(other, "SELECT 1") == [(1,)]
        assert "internal error" not in proxy.log

    await start(body)
