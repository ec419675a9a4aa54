"""Clients on the proxy's unix socket, and what of their connection attributes reaches the servers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from sqlproxy.lab.single import SingleServer
from tests.support.mysql_server import MySQLServer
from tests.support.mysqlclient import rows
from tests.support.proxy import STATIC, Proxy, running_proxy


@pytest.fixture(scope="module")
def path(lab_directory: Path) -> Path:
    """A path short enough for a socket."""
    return lab_directory / "proxy.sock"


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The second service listens on a socket only.

    The account "here" may log in from localhost, where its clients are, and from where the proxy is; "there" from
    nowhere but 127.0.0.1, which is not where clients on a socket are.
    """
    for account in ("here@localhost", "here@127.0.0.1", "there@127.0.0.1"):
        mariadb.query(f"CREATE OR REPLACE USER {account} IDENTIFIED BY '{account.split('@')[0]}'")
        mariadb.query(f"GRANT SELECT ON app.* TO {account}")
    directory = tmp_path_factory.mktemp("unix")
    extra = f'[[services]]\nname = "local"\nlisten = "unix:{path}"\n{STATIC}'
    with running_proxy(directory, {"n1": mariadb.port}, extra=extra) as proxy:
        yield proxy
    mariadb.query("DROP USER here@localhost, here@127.0.0.1, there@127.0.0.1")


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("user", ["app", "here"])
def test_pymysql_logs_in_as_localhost(path: Path, proxy: Proxy, user: str) -> None:
    with pymysql.connect(unix_socket=str(path), user=user, password=user, database="app") as connection:
        assert rows(connection, "SELECT 1 + 1") == [(2,)]
        (row,) = proxy.get("/v1/sessions")
        assert (row["service"], row["user"], row["host"]) == ("local", user, "localhost")


def test_the_command_line_client_logs_in_by_the_socket(path: Path, proxy: Proxy) -> None:
    command = ["mariadb", "--no-defaults", f"--socket={path}", "--user=here", "--password=here", "app"]
    done = subprocess.run([*command, "-Ne", "SELECT 1 + 1; \\s"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "2"
    assert str(path) in done.stdout


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize(("user", "password"), [("here", "wrong"), ("there", "there")])
def test_a_refusal_names_localhost(path: Path, user: str, password: str) -> None:
    with pytest.raises(pymysql.err.OperationalError, match=f"1045.*'{user}'@'localhost'"):
        pymysql.connect(unix_socket=str(path), user=user, password=password)


def test_a_replaced_proxy_takes_over_a_socket_left_behind(mariadb: SingleServer, lab_directory: Path) -> None:
    left = lab_directory / "left.sock"
    directory = lab_directory / "left"
    directory.mkdir()
    extra = f'[[services]]\nname = "local"\nlisten = "unix:{left}"\n{STATIC}'
    with running_proxy(directory, {"n1": mariadb.port}, extra=extra) as proxy:
        proxy.process.kill()
        proxy.process.wait()
    assert left.is_socket()
    with (
        running_proxy(directory, {"n1": mariadb.port}, extra=extra),
        pymysql.connect(unix_socket=str(left), user="app", password="app") as connection,
    ):
        assert rows(connection, "SELECT 1") == [(1,)]
    assert not left.exists()


@pytest.fixture(scope="module")
def watched(port_block: int) -> Iterator[MySQLServer]:
    """A MySQL server that remembers connection attributes."""
    server = MySQLServer(13319 + 20 * port_block, "--performance-schema=ON")
    try:
        server.up()
        server.query("GRANT SELECT ON performance_schema.* TO app@'%'")
        yield server
    finally:
        server.down()


def test_a_clients_attributes_reach_the_server(
    watched: MySQLServer, lab_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = lab_directory / "watched.sock"
    extra = f'[[services]]\nname = "local"\nlisten = "unix:{path}"\n{STATIC}'
    query = "SELECT attr_name, attr_value FROM performance_schema.session_connect_attrs WHERE processlist_id = "
    login = {"user": "app", "password": "app", "program_name": "till"}
    with (
        running_proxy(tmp_path_factory.mktemp("attributes"), {"n1": watched.port}, extra=extra),
        pymysql.connect(unix_socket=str(path), **login) as connection,
    ):
        told = dict(rows(connection, f"{query}CONNECTION_ID()"))
    with pymysql.connect(host="127.0.0.1", port=watched.port, **login) as connection:
        expected = dict(rows(connection, f"{query}CONNECTION_ID()"))
    assert expected["program_name"] == "till"
    assert {name: told.get(name) for name in expected} == expected
