"""Every way to prove a password: towards the proxy, and by the proxy towards MariaDB."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import mysql.connector
import pytest

from sqlproxy.errors import ServerError
from sqlproxy.lab.single import SingleServer
from sqlproxy.wire.constants import CACHING_SHA2, CLEAR, CLIENT_PLUGIN_AUTH, NATIVE
from tests.support.proxy import Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error
from tests.support.rawclient import BASE, RawClient, logged_in, raw

ACCOUNTS = (
    "CREATE OR REPLACE USER nat@'%' IDENTIFIED BY 'native pw'",
    "CREATE OR REPLACE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('ed pw')",
    "CREATE OR REPLACE USER edknown@'%' IDENTIFIED VIA ed25519 USING PASSWORD('ed known')",
    "CREATE OR REPLACE USER either@'%' IDENTIFIED VIA ed25519 USING PASSWORD('one')"
    " OR mysql_native_password USING PASSWORD('two')",
    "CREATE OR REPLACE USER nopw@'%'",
    "CREATE OR REPLACE USER 'ünï'@'%' IDENTIFIED BY 'pässwörd ✓'",
)
KNOWN = '[[accounts.users]]\nname = "edknown"\npassword = "ed known"'
STATIC = """[accounts]
source = "static"
max_failures = 0
users = [{ name = "nat", password = "native pw" }, { name = "nopw", password = "" }]"""


@pytest.fixture(scope="module")
def accounts(mariadb: SingleServer) -> SingleServer:
    for statement in ACCOUNTS:
        mariadb.query(statement)
    return mariadb


@pytest.fixture(scope="module")
def proxy(accounts: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    extra = f"[accounts]\nmax_failures = 0\n{KNOWN}"
    with running_proxy(tmp_path_factory.mktemp("methods"), {"n1": accounts.port}, extra=extra) as proxy:
        yield proxy
        assert_no_internal_error(proxy)
        assert_no_password(proxy)


@pytest.fixture(scope="module")
def static(accounts: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_proxy(tmp_path_factory.mktemp("static"), {"n1": accounts.port}, extra=STATIC) as proxy:
        yield proxy
        assert_no_internal_error(proxy)
        assert_no_password(proxy)


def assert_no_password(proxy: Proxy) -> None:
    for secret in ("native pw", "ed pw", "ed known", "pässwörd"):
        assert secret not in proxy.log


def who(client: RawClient) -> bytes | None:
    return client.value("SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)")


def command_line(port: int, user: str, password: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The server's own command-line client, which knows client_ed25519."""
    command = ["mariadb", "--no-defaults", "--host=127.0.0.1", f"--port={port}", f"--user={user}"]
    command += [f"--password={password}", "--batch", "--skip-column-names", *arguments]
    return subprocess.run([*command, "--execute=SELECT CURRENT_USER()"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("plugin", [NATIVE, CACHING_SHA2, "client_ed25519", "no_such_plugin"])
def test_a_native_account_is_reached_from_any_plugin(proxy: Proxy, plugin: str) -> None:
    """A client that begins with another plugin is switched to the account's."""
    with raw(proxy.port) as client:
        client.log_in("nat", "native pw", plugin=plugin, preset=b"x" * 20 if plugin != NATIVE else None)
        assert who(client) == b"nat"
        assert ("<fe" in client.shape) == (plugin != NATIVE)


def test_a_client_from_before_plugins_gets_in_with_the_native_one(proxy: Proxy) -> None:
    with logged_in(proxy.port, BASE & ~CLIENT_PLUGIN_AUTH, "nat", "native pw", None) as client:
        assert who(client) == b"nat"


@pytest.mark.parametrize("plugin", [NATIVE, CACHING_SHA2])
def test_an_empty_password_is_one_by_any_plugin(proxy: Proxy, static: Proxy, plugin: str) -> None:
    for port in (proxy.port, static.port):
        with raw(port) as client:
            client.log_in("nopw", "", plugin=plugin)
            assert who(client) == b"nopw"


def test_names_and_passwords_are_unicode(proxy: Proxy) -> None:
    with logged_in(proxy.port, BASE, "ünï", "pässwörd ✓", None) as client:
        assert who(client) == "ünï".encode()


def test_clear_passwords_are_taken_over_tls_only(proxy: Proxy) -> None:
    with raw(proxy.port) as client:
        client.start_tls()
        client.log_in("nat", "native pw", plugin=CLEAR, preset=b"native pw\0")
        assert who(client) == b"nat"
        assert client.shape == [">10", "<00"]
    with raw(proxy.port) as client:
        client.start_tls()
        with pytest.raises(ServerError, match="Access denied"):
            client.log_in("nat", "wrong", plugin=CLEAR, preset=b"wrong\0")
    with raw(proxy.port) as client:
        client.log_in("nat", "native pw", plugin=CLEAR, preset=b"native pw\0")
        assert "<fe" in client.shape  # without TLS it is switched to a plugin that does not show the password


@pytest.mark.parametrize("tls", ["--skip-ssl", "--ssl"])
def test_an_ed25519_account_whose_password_is_configured_proves_it_by_ed25519(proxy: Proxy, tls: str) -> None:
    result = command_line(proxy.port, "edknown", "ed known", tls)
    assert (result.stdout, result.stderr) == ("edknown@%\n", "")
    assert "ERROR 1045 (28000)" in command_line(proxy.port, "edknown", "wrong", tls).stderr


def test_an_ed25519_account_whose_password_is_not_configured_is_asked_for_it(proxy: Proxy) -> None:
    """An ed25519 signature opens no server; caching_sha2_password gives the proxy the password over TLS or RSA."""
    for tls in ("--ssl", "--skip-ssl"):
        result = command_line(proxy.port, "ed", "ed pw", tls)
        assert (result.stdout, result.stderr) == ("ed@%\n", "")
        assert "ERROR 1045 (28000)" in command_line(proxy.port, "ed", "wrong", tls).stderr


def test_after_the_first_login_the_password_is_remembered_and_ed25519_serves(proxy: Proxy) -> None:
    for _ in range(2):
        with raw(proxy.port) as client:
            client.log_in("ed", "ed pw")
            assert who(client) == b"ed"


@pytest.mark.parametrize("password", ["one", "two"])
def test_either_of_two_methods_is_enough(proxy: Proxy, password: str) -> None:
    with raw(proxy.port) as client:
        client.log_in("either", password)
        assert who(client) == b"either"


# -- caching_sha2_password with static accounts, whose passwords are known


def test_caching_sha2_is_fast_when_the_password_is_known(static: Proxy) -> None:
    with raw(static.port) as client:
        client.log_in("nat", "native pw", plugin=CACHING_SHA2)
        assert client.shape == [">32", "<01", "<00"]
        assert who(client) == b"nat"


@pytest.mark.parametrize("tls", [True, False], ids=["over TLS", "by RSA"])
def test_a_wrong_password_is_refused_after_the_full_exchange(static: Proxy, tls: bool) -> None:
    with raw(static.port) as client:
        if tls:
            client.start_tls()
        with pytest.raises(ServerError, match=r"Access denied for user 'nat'@'.*' \(using password: YES\)"):
            client.log_in("nat", "wrong", plugin=CACHING_SHA2)
        full = [">6"] if tls else [">1", "<01", ">256"]
        assert client.shape[: 2 + len(full)] == [">32", "<01", *full]  # then come the other methods


def test_a_driver_of_another_make_logs_in_to_both(proxy: Proxy, static: Proxy) -> None:
    for port in (proxy.port, static.port):
        for disabled in (True, False):
            with mysql.connector.connect(
                host="127.0.0.1", port=port, user="nat", password="native pw", ssl_disabled=disabled, use_pure=True
            ) as connection:
                assert connection.is_connected()
