"""Compressed connections on either leg, and on both: what arrives is what was sent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import mysql.connector
import pytest
from mysql.connector.abstracts import MySQLConnectionAbstract

from sqlproxy.lab.single import SingleServer
from tests.support.mysql_server import MySQLServer
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error


@pytest.fixture(scope="module", params=["", "zlib"], ids=["client leg", "both legs"])
def proxy(
    request: pytest.FixtureRequest, mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    ask(mariadb.port, "CREATE OR REPLACE TABLE squeezed (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT)")
    env = {"SQLPROXY_SERVERS__0__COMPRESSION": request.param}
    directory = tmp_path_factory.mktemp("compressed")
    with running_proxy(directory, {"n1": mariadb.port}, service='max_allowed_packet = "2MiB"', env=env) as proxy:
        yield proxy
        assert_no_internal_error(proxy)


@pytest.fixture
def connection(proxy: Proxy) -> Iterator[MySQLConnectionAbstract]:
    made = mysql.connector.connect(
        host="127.0.0.1",
        port=proxy.port,
        user="app",
        password="app",
        database="app",
        compress=True,
        use_pure=True,
        allow_local_infile=True,
        autocommit=True,
    )
    yield made
    made.close()


def run(connection: MySQLConnectionAbstract, sql: str, *arguments: object) -> list[tuple[object, ...]]:
    cursor = connection.cursor()
    cursor.execute(sql, arguments)
    found = cursor.fetchall() if cursor.with_rows else []
    cursor.close()
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("size", [0, 10, 60, 1 << 14, 1 << 20])
def test_values_of_any_size_pass(connection: MySQLConnectionAbstract, size: int) -> None:
    assert run(connection, "SELECT %s", "x" * size) == [("x" * size,)]
    assert run(connection, "SELECT REPEAT('y', %s)", size) == [("y" * size,)]


def test_many_rows_and_commands_pass(connection: MySQLConnectionAbstract) -> None:
    sql = "SELECT seq, REPEAT(seq, 20) FROM seq_1_to_20000"
    assert run(connection, sql)[-1] == (20000, "20000" * 20)
    for number in range(300):
        assert run(connection, "SELECT %s", number) == [(number,)]


def test_prepared_statements_pass(connection: MySQLConnectionAbstract) -> None:
    cursor = connection.cursor(prepared=True)
    for value in ("a", "b" * 100_000):
        cursor.execute("SELECT %s", (value,))
        assert cursor.fetchall() == [(value,)]
    cursor.close()


def test_a_local_file_passes(connection: MySQLConnectionAbstract, mariadb: SingleServer, tmp_path: Path) -> None:
    mariadb.query("SET GLOBAL local_infile = ON")
    path = tmp_path / "lines"
    path.write_text("".join(f"line {number}\n" for number in range(50_000)))
    run(connection, "DELETE FROM squeezed")
    run(connection, f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE squeezed (v)")
    assert run(connection, "SELECT COUNT(*), MAX(v) FROM squeezed") == [(50_000, "line 9999")]


def test_errors_are_read(connection: MySQLConnectionAbstract) -> None:
    with pytest.raises(mysql.connector.Error, match="doesn't exist"):
        run(connection, "SELECT * FROM no_such_table")
    with pytest.raises(mysql.connector.Error, match="max_allowed_packet"):
        run(connection, "SELECT %s", "x" * (3 << 20))


def mariadb_client(port: int, statement: str) -> str:
    """What MariaDB's command-line client prints, asked to compress."""
    login = ["-h127.0.0.1", f"-P{port}", "-uapp", "-papp", "--skip-ssl", "--max-allowed-packet=64M"]
    command = ["mariadb", "--no-defaults", "--compress", *login, "-e", statement]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_mariadbs_client_speaks_compressed(proxy: Proxy) -> None:
    assert "Compressed" in mariadb_client(proxy.port, r"\s")
    row = mariadb_client(proxy.port, "SELECT REPEAT('y', 9000000), REPEAT('z', 9000000)")
    assert f"{'y' * 9_000_000}\t{'z' * 9_000_000}\n" in row


def test_mysqls_client_speaks_compressed(proxy: Proxy, mysql97: MySQLServer) -> None:
    done = mysql97.client(
        f"--port={proxy.port}",
        "--user=app",
        "--password=app",
        "--compression-algorithms=zlib",
        "-e",
        "SELECT REPEAT('z', 99999)",
    )
    assert "z" * 99_999 in done.stdout, done.stderr


def test_the_servers_leg_is_compressed_as_configured(proxy: Proxy, request: pytest.FixtureRequest) -> None:
    both = "both legs" in request.node.name
    with connected(proxy.port) as plain:
        assert rows(plain, "SHOW STATUS LIKE 'Compression'") == [("Compression", "ON" if both else "OFF")]


def test_a_service_may_offer_none(mariadb: SingleServer, tmp_path: Path) -> None:
    with running_proxy(tmp_path, {"n1": mariadb.port}, service="compression = []") as proxy:
        assert "Compressed" not in mariadb_client(proxy.port, r"\s")


@pytest.fixture(scope="module", params=["", "zstd"], ids=["client leg", "both legs"])
def zstd_proxy(
    request: pytest.FixtureRequest, mysql97: MySQLServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    env = {"SQLPROXY_SERVERS__0__COMPRESSION": request.param, "SQLPROXY_SERVERS__0__TLS__MODE": "required"}
    directory = tmp_path_factory.mktemp("zstd")
    service = 'compression = ["zlib", "zstd"]'
    with running_proxy(directory, {"n1": mysql97.port}, service=service, env=env) as proxy:
        yield proxy
        assert_no_internal_error(proxy)


@pytest.mark.parametrize("level", [1, 3, 22])
def test_zstd_passes_at_any_level(zstd_proxy: Proxy, mysql97: MySQLServer, level: int) -> None:
    options = ["--compression-algorithms=zstd", f"--zstd-compression-level={level}", "--max-allowed-packet=64M"]
    login = [f"--port={zstd_proxy.port}", "--user=app", "--password=app"]
    long = "x" * 100_000
    done = mysql97.client(*login, *options, "-e", f"SELECT REPEAT('y', 9000000), REPEAT('z', 9000000), '{long}'")
    assert f"{'y' * 9_000_000}\t{'z' * 9_000_000}\t{long}\n" in done.stdout, done.stderr


def test_the_servers_leg_speaks_zstd_as_configured(
    zstd_proxy: Proxy, mysql97: MySQLServer, request: pytest.FixtureRequest
) -> None:
    both = "both legs" in request.node.name
    with connected(zstd_proxy.port) as plain:
        found = dict(rows(plain, "SHOW STATUS LIKE 'Compression%'"))
    assert found["Compression_algorithm"] == ("zstd" if both else "")
    assert (found["Compression_level"] == "3") == both


def test_zlib_goes_before_zstd(zstd_proxy: Proxy, mysql97: MySQLServer) -> None:
    options = ["--compression-algorithms=zstd,zlib,uncompressed", "-e", "SELECT REPEAT('z', 99999)"]
    done = mysql97.client(f"--port={zstd_proxy.port}", "--user=app", "--password=app", *options)
    assert "z" * 99_999 in done.stdout, done.stderr
