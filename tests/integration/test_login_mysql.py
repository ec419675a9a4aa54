"""caching_sha2_password with a real MySQL 9.x behind the proxy: fast, full over TLS, full with RSA, on both legs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mysql.connector
import pymysql
import pytest

from sqlproxy.errors import ServerError
from tests.support.mysql_server import MySQLServer
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import STATIC, Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error
from tests.support.rawclient import BASE, DEPRECATE_EOF, TRACKING, logged_in, on_both, raw, refusal
from tests.support.waiting import wait_until

FULL_TLS = [">32", "<01", ">9", "<00"]  # more data: full authentication, the password, OK
FULL_RSA = [">32", "<01", ">1", "<01", ">256", "<00"]  # a request for the key, the key, the encrypted password
FAST = [">32", "<01", "<00"]
PASSWORD = "sha2 pwd"


@pytest.fixture(scope="module")
def server(mysql97: MySQLServer) -> MySQLServer:
    for name in ("cold", "other"):
        mysql97.query(f"CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'")
        mysql97.query(f"GRANT ALL ON app.* TO {name}@'%'")
    mysql97.query("CREATE USER nopw@'%' IDENTIFIED BY ''")
    mysql97.query("CREATE USER locked@'%' IDENTIFIED BY 'pw' ACCOUNT LOCK")
    mysql97.query("CREATE USER tlsonly@'%' IDENTIFIED BY 'pw' REQUIRE SSL")
    return mysql97


@contextmanager
def fresh_proxy(server: MySQLServer, directory: Path, tls: str = "required") -> Iterator[Proxy]:
    """A proxy that has seen no password yet; ``tls`` is the mode towards the server."""
    extra = f"{STATIC}\n[accounts]\nmax_failures = 0"
    env = {"SQLPROXY_SERVERS__0__TLS__MODE": tls}
    with running_proxy(directory, {"n1": server.port}, extra=extra, env=env) as proxy:
        yield proxy
        assert_no_internal_error(proxy)
        assert PASSWORD not in proxy.log


@pytest.fixture(scope="module")
def proxy(server: MySQLServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with fresh_proxy(server, tmp_path_factory.mktemp("mysql")) as proxy:
        yield proxy


def log_in(port: int, user: str = "cold", *, tls: bool = False) -> list[str]:
    """The exchange of a login that must succeed."""
    with raw(port) as client:
        if tls:
            client.start_tls()
        client.log_in(user, PASSWORD)
        assert client.value("SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)") == user.encode()
        return client.shape


def empty_cache(server: MySQLServer) -> None:
    server.query("FLUSH PRIVILEGES")


@pytest.mark.parametrize("to_server", ["required", "disabled"], ids=["server by TLS", "server by RSA"])
@pytest.mark.parametrize("tls", [True, False], ids=["client by TLS", "client by RSA"])
def test_the_first_login_is_full_and_the_next_are_fast(
    server: MySQLServer, tmp_path: Path, tls: bool, to_server: str
) -> None:
    with fresh_proxy(server, tmp_path, to_server) as proxy:
        empty_cache(server)
        assert log_in(proxy.port, tls=tls) == (FULL_TLS if tls else FULL_RSA)
        assert log_in(proxy.port, tls=tls) == FAST
        empty_cache(server)  # cold on the server only: the proxy gives the password in the client's name
        assert log_in(proxy.port, tls=tls) == FAST


def test_a_warm_server_does_not_make_the_proxy_warm(server: MySQLServer, tmp_path: Path) -> None:
    log_in(server.port, tls=True)
    assert log_in(server.port) == FAST
    with fresh_proxy(server, tmp_path) as proxy:
        assert log_in(proxy.port, tls=True) == FULL_TLS
        assert log_in(proxy.port) == FAST


def test_a_changed_password_is_asked_for_anew(server: MySQLServer, proxy: Proxy) -> None:
    log_in(proxy.port, "other", tls=True)
    server.query("ALTER USER other@'%' IDENTIFIED BY 'changed!'")
    assert refusal(proxy.port, "other", PASSWORD)[0] == 1045
    wait_until(lambda: admits(proxy.port, "other", "changed!"), 30, "the new password is accepted")
    assert refusal(proxy.port, "other", PASSWORD)[0] == 1045
    server.query(f"ALTER USER other@'%' IDENTIFIED BY '{PASSWORD}'")


def admits(port: int, user: str, password: str) -> bool:
    with raw(port) as client:
        try:
            client.log_in(user, password)
        except ServerError as error:
            if error.code != 1045:
                raise
            return False
    return True


@pytest.mark.parametrize(
    ("user", "password", "database"),
    [
        ("app", "wrong", "app"),
        ("app", "", None),
        ("nobody", "x", None),
        ("nobody", "", None),
        ("locked", "wrong", None),
        ("nopw", "x", None),
        ("app", "app", "no_such_database"),
        ("app", "app", "mysql"),
        ("tlsonly", "pw", None),
    ],
)
def test_a_refusal_has_the_servers_words(
    server: MySQLServer, proxy: Proxy, user: str, password: str, database: str | None
) -> None:
    expected = refusal(server.port, user, password, database=database)
    assert refusal(proxy.port, user, password, database=database) == expected


def test_a_locked_account_is_refused_with_a_right_password(server: MySQLServer, proxy: Proxy) -> None:
    for port in (server.port, proxy.port):
        with raw(port) as client, pytest.raises(ServerError, match="locked"):
            client.log_in("locked", "pw")


def test_an_empty_password_is_no_obstacle(proxy: Proxy) -> None:
    with logged_in(proxy.port, BASE, "nopw", "", None) as client:
        assert client.value("SELECT 1") == b"1"


def test_change_user_authenticates_anew(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        client.change_user("cold", PASSWORD, "app", "caching_sha2_password")
        assert client.value("SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)") == b"cold"


def test_a_refused_change_of_user_ends_the_connection(server: MySQLServer, proxy: Proxy) -> None:
    answers = []
    for port in (server.port, proxy.port):
        with raw(port) as client:
            client.start_tls()
            client.log_in()
            with pytest.raises(ServerError) as raised:
                client.change_user("cold", "wrong", "app", "caching_sha2_password")
            answers.append(raised.value.message)
            assert client.is_closed()
    assert answers[0] == answers[1]


def test_mysqls_own_client_logs_in(server: MySQLServer, proxy: Proxy) -> None:
    empty_cache(server)
    for option in ("--ssl-mode=REQUIRED", "--ssl-mode=DISABLED", "--get-server-public-key"):
        result = server.client(
            f"--port={proxy.port}", "--user=app", "--password=app", option, "--batch", "--execute=SELECT 'in'"
        )
        assert "in\nin\n" in result.stdout, result.stderr


def test_drivers_log_in(proxy: Proxy) -> None:
    assert ask(proxy.port, "SELECT 1") == [(1,)]
    with mysql.connector.connect(
        host="127.0.0.1", port=proxy.port, user="app", password="app", database="app", use_pure=True
    ) as connection:
        cursor = connection.cursor(prepared=True)
        cursor.execute("SELECT ?, ?", (1, "é"))
        assert cursor.fetchall() == [(1, "é")]
    with connected(proxy.port) as session:
        rows(session, "CREATE TABLE IF NOT EXISTS kept (id INT PRIMARY KEY, j JSON)")
        rows(session, "REPLACE INTO kept VALUES (1, '{\"a\": 1}')")
        assert rows(session, "SELECT * FROM kept") == [(1, '{"a": 1}')]
        with pytest.raises(pymysql.ProgrammingError, match="1146"):
            rows(session, "SELECT * FROM missing")


@pytest.mark.parametrize("capabilities", [BASE, DEPRECATE_EOF, TRACKING], ids=["eof", "deprecate eof", "track"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT NULL, '', 'é', -1.5",
        "SELECT 1; SELECT 2",
        "SELECT * FROM information_schema.collations ORDER BY 1",
        "SELECT 1 FROM",
        "SET NAMES latin1",
        "BEGIN",
        "USE app",
        "SET @x = 1",
    ],
)
def test_a_reply_is_the_servers_own(server: MySQLServer, proxy: Proxy, capabilities: int, sql: str) -> None:
    direct, relayed = on_both((server.port, proxy.port), sql, capabilities)
    assert relayed == direct


def test_the_greeting_is_the_servers(server: MySQLServer, proxy: Proxy) -> None:
    with raw(server.port) as direct, raw(proxy.port) as client:
        assert client.greeting.server_version == direct.greeting.server_version
        assert client.greeting.collation == direct.greeting.collation
        assert client.greeting.auth_plugin == "caching_sha2_password"
