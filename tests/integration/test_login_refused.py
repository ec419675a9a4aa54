"""Whom the servers would refuse is refused alike: same code, same words, same exchange of packets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from sqlproxy.errors import ServerError
from sqlproxy.lab.single import SingleServer
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error
from tests.support.rawclient import logged_in, raw, refusal
from tests.support.waiting import wait_until

ACCOUNTS = (
    "CREATE OR REPLACE USER elsewhere@'10.1.2.3' IDENTIFIED BY 'pw'",
    "CREATE OR REPLACE USER locked@'%' IDENTIFIED BY 'pw' ACCOUNT LOCK",
    "CREATE OR REPLACE USER tlsonly@'%' IDENTIFIED BY 'pw' REQUIRE SSL",
    "CREATE OR REPLACE USER certified@'%' IDENTIFIED BY 'pw' REQUIRE X509",
    "CREATE OR REPLACE USER nothing@'%' IDENTIFIED BY 'pw'",
    "CREATE OR REPLACE USER nopw@'%'",
    "CREATE OR REPLACE USER broken@'%' IDENTIFIED VIA mysql_native_password USING 'invalid'",
    "CREATE OR REPLACE USER signs@'%' IDENTIFIED VIA ed25519 USING PASSWORD('pw')",
    "CREATE OR REPLACE ROLE some_role",
    "CREATE DATABASE IF NOT EXISTS private",
)
STRANGERS = ("nobody", "n" * 200)
REFUSED = [
    ("app", "wrong", "app"),
    ("app", "", "app"),
    ("app", "APP", None),
    ("nobody", "pw", None),
    ("nobody", "", None),
    ("", "", None),
    ("", "x", None),
    ("APP", "app", None),
    ("elsewhere", "pw", None),
    ("elsewhere", "wrong", None),
    ("locked", "pw", None),
    ("locked", "wrong", None),
    ("tlsonly", "pw", None),
    ("certified", "pw", None),
    ("broken", "pw", None),
    ("broken", "", None),
    ("some_role", "", None),
    ("nopw", "x", None),
    ("nothing", "pw", "private"),
    ("nothing", "pw", "no_such_database"),
    ("app", "app", "private"),
    ("app", "app", "no_such_database"),
    ("n" * 80, "pw", None),
    ("n" * 200, "", None),
    ("na'me", "pw", None),
    ("näme ✓", "pw", None),
]


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    for statement in ACCOUNTS:
        mariadb.query(statement)
    extra = "[accounts]\nmax_failures = 0"
    with running_proxy(tmp_path_factory.mktemp("refused"), {"n1": mariadb.port}, extra=extra) as proxy:
        yield proxy
        assert_no_internal_error(proxy)


@pytest.mark.parametrize(("user", "password", "database"), REFUSED)
def test_a_refusal_has_the_servers_words(
    mariadb: SingleServer, proxy: Proxy, user: str, password: str, database: str | None
) -> None:
    expected = refusal(mariadb.port, user, password, database=database)
    found = refusal(proxy.port, user, password, database=database)
    if user in STRANGERS and not password:
        # Both answer a stranger like some account; clients of an ed25519 account sign an empty password too.
        expected, found = ((*refused[:2], refused[2].replace("YES", "NO")) for refused in (expected, found))
    assert found == expected


def shape(port: int, user: str, password: str, plugin: str = "") -> list[str]:
    with raw(port) as client:
        with pytest.raises(ServerError):
            client.log_in(user, password, plugin=plugin)
        return client.shape


@pytest.mark.parametrize("plugin", ["mysql_native_password", "caching_sha2_password"])
@pytest.mark.parametrize("user", ["nobody", "elsewhere", "somebody", "locked"])
def test_the_exchange_does_not_tell_who_exists(proxy: Proxy, user: str, plugin: str) -> None:
    """An unknown user is answered like an account of one of the plugins in use, and every time alike."""
    known = [shape(proxy.port, account, "wrong", plugin) for account in ("app", "signs")]
    assert shape(proxy.port, user, "wrong", plugin) in known
    assert shape(proxy.port, user, "wrong", plugin) == shape(proxy.port, user, "other", plugin)


def test_an_account_made_a_moment_ago_works_at_once(mariadb: SingleServer, proxy: Proxy) -> None:
    wait_until(lambda: refusal(proxy.port, "momentary")[0] == 1045)
    mariadb.query("CREATE OR REPLACE USER momentary@'%' IDENTIFIED BY 'first'")
    wait_until(lambda: admits(proxy.port, "momentary", "first"), 30, "the new account works")
    mariadb.query("SET PASSWORD FOR momentary@'%' = PASSWORD('second')")
    wait_until(lambda: admits(proxy.port, "momentary", "second"), 30, "the new password works")
    assert refusal(proxy.port, "momentary", "first")[0] == 1045
    mariadb.query("DROP USER momentary@'%'")
    expected = refusal(mariadb.port, "momentary", "second")
    assert refusal(proxy.port, "momentary", "second") == expected


def test_a_new_account_works_on_its_first_login(mariadb: SingleServer, proxy: Proxy) -> None:
    """The accounts were read more than a second ago, which is how often a failed login makes them be read again."""
    for attempt in range(3):
        mariadb.query(f"CREATE OR REPLACE USER fresh{attempt}@'%' IDENTIFIED BY 'pw'")
    wait_until(lambda: admits(proxy.port, "fresh0", "pw"), 30, "the first new account works")
    assert admits(proxy.port, "fresh1", "pw")
    assert admits(proxy.port, "fresh2", "pw")


def admits(port: int, user: str, password: str) -> bool:
    try:
        return ask(port, "SELECT 1", user=user, password=password, database=None) == [(1,)]
    except pymysql.OperationalError as error:
        if error.args[0] != 1045:
            raise
        return False


def test_revoked_rights_count_at_once_for_new_statements(mariadb: SingleServer, proxy: Proxy) -> None:
    mariadb.query("CREATE TABLE IF NOT EXISTS private.t (id INT)")
    mariadb.query("GRANT SELECT ON private.t TO nothing@'%'")
    with connected(proxy.port, "nothing", "pw", None) as connection:
        assert rows(connection, "SELECT COUNT(*) FROM private.t") == [(0,)]
        mariadb.query("REVOKE SELECT ON private.t FROM nothing@'%'")
        with pytest.raises(pymysql.OperationalError, match=r"1142, .*SELECT command denied"):
            rows(connection, "SELECT COUNT(*) FROM private.t")


def test_who_has_no_password_gets_in_without(proxy: Proxy) -> None:
    with logged_in(proxy.port, user="nopw", password="", database=None) as client:
        assert client.value("SELECT CURRENT_USER()") == b"nopw@%"


STATIC = """[accounts]
source = "static"
block_for = "1500ms"
users = [{ name = "app", password = "app" }, { name = "away", password = "pw", hosts = ["10.0.0.0/8"] }]"""


def test_ten_failures_in_a_row_block_the_host_for_a_while(mariadb: SingleServer, tmp_path: Path) -> None:
    with running_proxy(tmp_path, {"n1": mariadb.port}, extra=STATIC) as proxy:
        for _ in range(9):
            assert refusal(proxy.port, "app", "wrong")[0] == 1045
        assert admits(proxy.port, "app", "app")  # which counts the failures from nought again
        for _ in range(10):
            assert refusal(proxy.port, "app", "wrong")[0] == 1045
        with pytest.raises(ServerError, match=r"^Host '.+' is blocked because of many connection errors") as raised:
            raw(proxy.port).__enter__()
        assert raised.value.code == 1129
        wait_until(lambda: unblocked(proxy.port), 30, "the host is let in again")
        assert_no_internal_error(proxy)


def unblocked(port: int) -> bool:
    try:
        with logged_in(port) as client:
            return client.value("SELECT 1") == b"1"
    except ServerError as error:
        if error.code != 1129:
            raise
        return False


def test_static_accounts_are_bound_to_their_hosts(mariadb: SingleServer, tmp_path: Path) -> None:
    with running_proxy(tmp_path, {"n1": mariadb.port}, extra=STATIC) as proxy:
        assert refusal(proxy.port, "away", "pw")[0] == 1045
        assert refusal(proxy.port, "monitor", "monitor")[0] == 1045
        assert admits(proxy.port, "app", "app")
