"""A MySQL 9.x server for tests: installed by ``.ci/install-mysql`` in a directory of its own, run there with chroot."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.support.waiting import wait_until

ROOT = Path(os.environ.get("SQLPROXY_MYSQL_ROOT", "/var/lib/sqlproxy-mysql"))
ACCOUNTS_SQL = (
    "CREATE DATABASE app",
    "CREATE USER app@'%' IDENTIFIED BY 'app'",
    "GRANT ALL ON app.* TO app@'%'",
    "CREATE USER monitor@'%' IDENTIFIED BY 'monitor'",
    "GRANT PROCESS, REPLICATION CLIENT ON *.* TO monitor@'%'",
    "GRANT SELECT ON mysql.* TO monitor@'%'",
)
_START_SECONDS = 60.0  # of a slow machine; three are usual
_OPTIONS = (
    "--user=root",
    "--bind-address=127.0.0.1",
    "--mysqlx=OFF",
    "--skip-log-bin",
    "--skip-name-resolve",
    "--secure-file-priv=",
    "--innodb-buffer-pool-size=32M",
    "--innodb-redo-log-capacity=16M",
    "--performance-schema=OFF",
    "--local-infile=ON",
)


class MySQLServer:
    """One server on 127.0.0.1:``port``, with TLS and the accounts ``app`` and ``monitor`` (caching_sha2_password).

    ``options`` are its arguments besides the usual ones.
    """

    def __init__(self, port: int, *options: str) -> None:
        self.port = port
        self._options = options
        self._directory = Path(tempfile.mkdtemp(prefix="tests-", dir=ROOT / "srv"))
        self._inside = Path("/srv") / self._directory.name
        self._log = self._directory / "error.log"
        self._process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Make the data directory, start, and create the accounts."""
        data = f"--datadir={self._inside}/data"
        made = subprocess.run(self._command("--initialize-insecure", data), capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        with self._log.open("wb") as log:
            place = (f"--socket={self._inside}/s", f"--pid-file={self._inside}/pid", f"--port={self.port}")
            self._process = subprocess.Popen(self._command(data, *place), stdout=log, stderr=log)
        wait_until(self._answers, _START_SECONDS, "the MySQL server answers")
        for statement in ACCOUNTS_SQL:
            self.query(statement)

    def down(self) -> None:
        """End the server and remove its data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._directory)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of one statement, asked as root over the socket."""
        with (
            pymysql.connect(unix_socket=str(self._directory / "s"), user="root", autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql)
            return list(cursor.fetchall())

    def client(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run MySQL's own command-line client."""
        command = ["chroot", str(ROOT), "/usr/bin/mysql", "--no-defaults", "--host=127.0.0.1", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def _command(self, *arguments: str) -> list[str]:
        return ["chroot", str(ROOT), "/usr/sbin/mysqld", "--no-defaults", *_OPTIONS, *self._options, *arguments]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.connect(str(self._directory / "s"))
            return True
        return False


@pytest.fixture(scope="session")
def mysql97(port_block: int) -> Iterator[MySQLServer]:
    """One MySQL 9.x server; a machine without it fails the tests, it does not skip them."""
    if not (ROOT / "usr/sbin/mysqld").exists():
        pytest.fail("The tests need a MySQL server. As root: .ci/install-mysql")
    server = MySQLServer(13318 + 20 * port_block)
    try:
        server.up()
        yield server
    finally:
        server.down()
