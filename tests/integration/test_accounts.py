"""Accounts against a real MariaDB: we pick the account that the server picks, and read its grant tables."""

import asyncio
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiomysql
import pymysql
import pytest

from sqlproxy.accounts import loader
from sqlproxy.accounts.host import Dialect
from sqlproxy.accounts.loader import load
from sqlproxy.accounts.match import find
from sqlproxy.accounts.model import Account, Accounts
from sqlproxy.accounts.registry import AccountRegistry
from sqlproxy.config import AccountsConfig
from sqlproxy.errors import SqlproxyError
from sqlproxy.lab import install
from sqlproxy.lab.certificates import make_certificates
from sqlproxy.lab.server import LabServer
from sqlproxy.topology.model import Address, Server, ServerTLS
from sqlproxy.topology.publisher import Publisher
from sqlproxy.wire.constants import CLIENT_PLUGIN_AUTH, CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION
from sqlproxy.wire.handshake import Greeting

TIMEOUT = 10.0
PLUGINS_SQL = (
    "CREATE USER nat@'%' IDENTIFIED BY 'p1'",
    "CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('p2')",
    "CREATE USER multi@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('p3') OR ed25519 USING PASSWORD('p4')",
    "CREATE USER locked@'%' IDENTIFIED BY 'p5' ACCOUNT LOCK",
    "CREATE USER tls@'%' IDENTIFIED BY 'p6' REQUIRE SSL",
    "CREATE USER spec@'%' IDENTIFIED BY 'p6' REQUIRE SUBJECT '/CN=x' AND CIPHER 'ECDHE-RSA-AES128-GCM-SHA256'",
    "CREATE USER empty@'%'",
    "CREATE USER invalid@'%' IDENTIFIED VIA mysql_native_password USING 'invalid'",
    "CREATE USER expired@'%' IDENTIFIED BY 'p7' PASSWORD EXPIRE",
    "CREATE USER 'ünï'@'%' IDENTIFIED BY 'p8'",
    "CREATE ROLE reader",
    "GRANT reader TO nat@'%'",
    "SET DEFAULT ROLE reader FOR nat@'%'",
)
LOGINS = [
    *(("nat", "p1"), ("nat", "wrong"), ("nat", ""), ("NAT", "p1"), ("multi", "p3"), ("locked", "p5"), ("tls", "p6")),
    *(("empty", ""), ("empty", "x"), ("invalid", ""), ("invalid", "invalid"), ("expired", "p7"), ("ünï", "p8")),
    *(("reader", ""), ("nobody", ""), ("nobody", "x")),
]
HOSTS = [
    *("%", "127.0.0.1", "localhost", "127.0.0.%", "127.%", "127.0.0._", "12_.0.0.1", "127.0.%.1", "%.0.0.1", "%1"),
    *("_27.0.0.1", "127.0.0.0/255.255.255.0", "127.0.0.1/255.255.255.255", "127.0.0.0/255.0.0.0", "127.0.0.0/8"),
    *("local%", "%host", "l_calhost", "localhos_", "127.0.0.1%", r"local\\host", r"l\\_calhost", "%_%", "_" * 9),
    *("%o%o%", "loc%t", "::1", "::%", "10.0.0.1", "_%_"),
]
ANONYMOUS = ["127.0.0._", "localhost", "127.0.%.1", "%", "local%"]


@pytest.fixture(scope="module")
def template(lab_directory: Path) -> Path:
    directory = lab_directory / "accounts"
    install.make_directory(directory)
    install.install_data(directory / "template")
    make_certificates(directory / "tls")
    return directory


@pytest.fixture(scope="module", params=["OFF", "ON"], ids=["resolving names", "skip_name_resolve"])
def server(template: Path, port_block: int, request: pytest.FixtureRequest) -> Iterator[LabServer]:
    directory = template / f"resolve-{request.param}"
    port = 13315 + 20 * port_block
    server = LabServer("accounts", directory, port)
    options = install.server_options(directory, port, tls=True)
    options |= {"skip-name-resolve": request.param, "bind-address": "127.0.0.1,::1"}
    server.install(template / "template", options)
    server.start()
    try:
        server.wait_until(lambda: is_up(server), 30, "up")
        for statement in PLUGINS_SQL:
            server.query(statement)
        yield server
    finally:
        server.shutdown()


def is_up(server: LabServer) -> bool:
    try:
        server.query("SELECT 1")
    except SqlproxyError:
        return False
    return True


def configured(server: LabServer, *, mode: str = "preferred") -> Server:
    tls = ServerTLS(mode=mode, ca=str(server.directory.parent / "tls/ca.pem") if mode.startswith("verify") else "")
    return Server("n1", Address("127.0.0.1", server.port), tls=tls)


async def loaded(server: LabServer) -> Accounts:
    """Read as root over the socket: with ''@localhost about, monitor@% is not monitor any more."""
    return await load(Server("n1", Address(path=str(server.socket))), "root", "", TIMEOUT)


def log_in(server: LabServer, user: str, password: str, ip: str | None, *, tls: bool = False) -> str | None:
    """CURRENT_USER() of a login from ``ip`` (None: over the socket), None if the server refuses it."""
    where = {"unix_socket": str(server.socket)} if ip is None else {"host": ip, "port": server.port}
    context = None
    if tls:
        context = ssl.create_default_context(cafile=str(server.directory.parent / "tls/ca.pem"))
    try:
        connection = pymysql.connect(user=user, password=password, ssl=context, ssl_disabled=not tls, **where)
    except pymysql.OperationalError as error:
        if error.args[0] in (1045, 1698, 4151):
            return None
        raise
    with connection, connection.cursor() as cursor:
        if user == "expired":  # logged in, but may do nothing before it has changed its password
            with pytest.raises(pymysql.OperationalError, match="You must SET PASSWORD"):
                cursor.execute("SELECT CURRENT_USER()")
            return "expired@%"
        cursor.execute("SELECT CURRENT_USER()")
        return str(cursor.fetchone()[0])


def we_admit(account: Account | None, password: str, *, tls: bool) -> str | None:
    """What ``log_in`` gives if the proxy follows the account."""
    if account is None or account.locked or (account.tls and not tls):
        return None
    if not any(method.accepts(password.encode()) for method in account.authentications):
        return None
    return f"{account.user}@{account.host}"


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", None], ids=["tcp", "tcp6", "socket"])
async def test_hosts_are_tried_in_the_servers_order(server: LabServer, ip: str | None) -> None:
    wanted = [("ordered", host) for host in HOSTS] + [("", host) for host in ANONYMOUS]
    for user, host in wanted:
        server.query(f"CREATE USER '{user}'@'{host}' IDENTIFIED BY 'p'")
    picked = []
    try:
        while True:
            # The best of what is left is asked for, then dropped, so that the whole order comes to light.
            theirs = await asyncio.to_thread(log_in, server, "ordered", "p", ip)
            ours = find(await loaded(server), "ordered", ip)
            assert theirs == we_admit(ours, "p", tls=False), picked
            if ours is None:
                break
            picked.append(theirs)
            server.query(f"DROP USER '{ours.user}'@'{escaped(ours.host)}'")
    finally:
        for account in (await loaded(server)).accounts:
            if account.user in ("", "ordered") and not account.is_role:
                server.query(f"DROP USER '{account.user}'@'{escaped(account.host)}'")
    assert len(picked) > len(ANONYMOUS)


def escaped(host: str) -> str:
    return host.replace("\\", "\\\\")


@pytest.mark.parametrize(("user", "password"), LOGINS)
@pytest.mark.parametrize(
    ("ip", "tls"), [("127.0.0.1", False), ("127.0.0.1", True), (None, False)], ids=["tcp", "tls", "socket"]
)
async def test_we_admit_whom_the_server_admits(
    server: LabServer, user: str, password: str, ip: str | None, tls: bool
) -> None:
    account = find(await loaded(server), user.encode(), ip)
    assert we_admit(account, password, tls=tls) == await asyncio.to_thread(log_in, server, user, password, ip, tls=tls)


@pytest.mark.parametrize(("user", "password"), [("ed", "p2"), ("ed", "wrong"), ("ed", ""), ("multi", "p4")])
async def test_we_admit_whom_the_server_admits_with_ed25519(server: LabServer, user: str, password: str) -> None:
    account = find(await loaded(server), user, "127.0.0.1")
    theirs = await asyncio.to_thread(log_in_with_client, server, user, password)
    assert we_admit(account, password, tls=False) == theirs


def log_in_with_client(server: LabServer, user: str, password: str) -> str | None:
    """``log_in`` by the server's own command-line client: PyMySQL has no ed25519 without another library."""
    command = ["mariadb", "--no-defaults", "--host=127.0.0.1", f"--port={server.port}", f"--user={user}"]
    command += [f"--password={password}", "--skip-column-names", "--batch", "--execute=SELECT CURRENT_USER()"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0 or "ERROR 1045" in result.stderr, result.stderr
    return result.stdout.strip() or None


async def test_rows_of_a_real_grant_table_are_read(server: LabServer) -> None:
    accounts = await loaded(server)
    by_user = {account.user: account for account in accounts.accounts if account.host in ("%", "")}
    assert accounts.dialect is Dialect.MARIADB
    assert accounts.source == "n1"
    assert accounts.loaded_at > 0
    assert [method.plugin for method in by_user["multi"].authentications] == ["mysql_native_password", "ed25519"]
    assert by_user["locked"].locked
    assert by_user["tls"].tls == "any"
    assert (by_user["spec"].tls, by_user["spec"].tls_subject) == ("specified", "/CN=x")
    assert by_user["expired"].password_expired
    assert by_user["reader"].is_role
    assert by_user["nat"].default_role == "reader"
    assert not by_user["nat"].password_expired


async def test_a_missing_privilege_is_named_with_the_grant_that_helps(server: LabServer) -> None:
    with pytest.raises(SqlproxyError) as raised:
        await load(configured(server), "nat", "p1", TIMEOUT)
    assert raised.value.message == ("n1: nat@% may not read the grant tables: GRANT SELECT ON mysql.* TO 'nat'@'%'")


async def test_a_wrong_password_is_told_in_the_servers_words(server: LabServer) -> None:
    with pytest.raises(
        SqlproxyError, match=r"^n1: cannot read the grant tables: 1045 Access denied for user 'monitor'"
    ):
        await load(configured(server), "monitor", "wrong", TIMEOUT)


@pytest.mark.parametrize("mode", ["disabled", "preferred", "required", "verify_ca", "verify_identity"])
async def test_grant_tables_are_read_in_every_tls_mode(server: LabServer, mode: str) -> None:
    assert len(await load(configured(server, mode=mode), "monitor", "monitor", TIMEOUT)) > len(PLUGINS_SQL) - 3


async def test_a_certificate_that_cannot_be_verified_is_refused(server: LabServer) -> None:
    strangers = Server("n1", Address("127.0.0.1", server.port), tls=ServerTLS(mode="verify_ca"))
    with pytest.raises(SqlproxyError, match=r"^n1: cannot read the grant tables: .*CERTIFICATE_VERIFY_FAILED"):
        await load(strangers, "monitor", "monitor", TIMEOUT)


async def test_mysql_user_says_the_same_as_global_priv(server: LabServer) -> None:
    """The way for servers without global_priv; MariaDB's view of that name leaves out locks and alternatives."""
    connection = aiomysql.Connection(unix_socket=str(server.socket), user="root", charset="utf8mb4")
    await connection.ping()
    try:
        old = {str(account): account for account in await loader._read_user(connection)}
    finally:
        connection.close()
    new = {str(account): account for account in (await loaded(server)).accounts}
    assert old.keys() == new.keys()
    for name in ("nat", "ed", "tls", "spec", "empty", "invalid", "expired", "ünï"):
        assert old[f"'{name}'@'%'"] == new[f"'{name}'@'%'"]


@pytest.mark.parametrize("mode", ["required", "verify_ca", "verify_identity"])
async def test_nothing_is_said_to_a_server_without_tls_where_tls_is_demanded(mode: str) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        capabilities = CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH
        payload = Greeting(b"8.4.0", 1, b"s" * 20, capabilities, auth_plugin="mysql_clear_password").encode()
        writer.write(len(payload).to_bytes(3, "little") + b"\x00" + payload)
        heard.set_result(await reader.read())
        writer.close()

    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    async with await asyncio.start_server(greet, "127.0.0.1", 0) as pretender:
        address = Address("127.0.0.1", pretender.sockets[0].getsockname()[1])
        with pytest.raises(SqlproxyError, match=r"^n1: the server offers no TLS$"):
            await load(Server("n1", address, tls=ServerTLS(mode=mode)), "monitor", "monitor", TIMEOUT)
        assert await heard == b""


async def test_a_server_that_never_answers_costs_the_timeout_and_no_more() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    gone = asyncio.Event()
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(SqlproxyError, match=r"^n1: the grant tables could not be read within 0\.1 s$"):
            await load(Server("n1", Address("127.0.0.1", port)), "monitor", "monitor", 0.1)
        await gone.wait()


async def test_a_new_user_is_found_after_a_refresh(server: LabServer) -> None:
    clock = iter(range(0, 1000, 2))
    registry = AccountRegistry(
        *(AccountsConfig(), "monitor", "monitor", Publisher(), [configured(server)]), clock=lambda: float(next(clock))
    )
    await registry.start()
    try:
        assert registry.find("late", "127.0.0.1") is None
        server.query("CREATE USER late@'%' IDENTIFIED BY 'p'")
        assert await registry.refresh("unknown user")
        assert registry.find("late", "127.0.0.1") == registry.find(b"late", None)
    finally:
        server.query("DROP USER late@'%'")
        await registry.stop()
