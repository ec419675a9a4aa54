"""Reads a server's grant tables; the only file of accounts that talks to a server."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from typing import Any

import aiomysql

from sqlproxy.accounts import rows
from sqlproxy.accounts.host import Dialect
from sqlproxy.accounts.model import Account, Accounts
from sqlproxy.errors import SqlproxyError
from sqlproxy.topology.model import Server
from sqlproxy.wire.constants import CLIENT_SSL

_NO_PRIVILEGE = (1044, 1142, 1143)
_GLOBAL_PRIV_SINCE = (10, 4)


class _Connection(aiomysql.Connection):  # type: ignore[misc]
    """A connection that logs in to a server without TLS only where that is allowed.

    The driver alone would go on in plaintext, and hand the password to whoever pretends to be such a server.
    """

    tls_demanded = False

    async def _request_authentication(self) -> None:
        if self.tls_demanded and not self.server_capabilities & CLIENT_SSL:
            raise SqlproxyError("the server offers no TLS")
        await super()._request_authentication()

    def drop(self) -> None:
        """Close without a word: a polite goodbye over TLS would wait for the server's."""
        if self._writer is not None:
            self._writer.transport.abort()
        self.close()


async def load(server: Server, user: str, password: str, seconds: float) -> Accounts:
    """All accounts of ``server``, read as ``user`` within ``seconds``.

    Needs SELECT on the tables of ``mysql``. Raises SqlproxyError, one sentence naming server and reason.
    """
    connection = _connection(server, user, password)
    try:
        async with asyncio.timeout(seconds):
            await connection.ping()  # connects
            if connection.tls_demanded and connection._writer.get_extra_info("ssl_object") is None:
                raise SqlproxyError("the connection has no TLS")
            return await _read(server.name, connection)
    except SqlproxyError as error:
        raise SqlproxyError(f"{server.name}: {error.message}") from None
    except TimeoutError:
        raise SqlproxyError(f"{server.name}: the grant tables could not be read within {seconds:g} s") from None
    except aiomysql.MySQLError as error:
        raise SqlproxyError(f"{server.name}: cannot read the grant tables: {_text(error)}") from None
    except Exception as error:  # the driver raises just about anything for bytes that are no MySQL
        raise SqlproxyError(f"{server.name}: cannot read the grant tables: {type(error).__name__}: {error}") from None
    finally:
        connection.drop()


def _connection(server: Server, user: str, password: str) -> Any:
    """A connection not yet opened; opening it ourselves leaves nothing behind when that is cancelled."""
    connection = _Connection(
        host=server.address.host,
        port=server.address.port,
        unix_socket=server.address.path or None,
        user=user,
        password=password.encode().decode("latin-1"),  # the driver encodes it as latin-1; servers expect UTF-8
        charset="utf8mb4",
        autocommit=True,
        ssl=_ssl_context(server),
    )
    connection.tls_demanded = server.tls.mode not in ("disabled", "preferred") and not server.address.path
    return connection


def _ssl_context(server: Server) -> ssl.SSLContext | None:
    """The context for the server's TLS mode; None for none, and on unix sockets, which are as good."""
    tls = server.tls
    if tls.mode == "disabled" or server.address.path:
        return None
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key or None)
    except OSError as error:
        raise SqlproxyError(f"{server.name}: the TLS files cannot be used: {error}") from None
    context.check_hostname = tls.mode == "verify_identity"
    if tls.mode not in ("verify_ca", "verify_identity"):
        context.verify_mode = ssl.CERT_NONE
    return context


async def _read(server_name: str, connection: Any) -> Accounts:
    facts = await _rows(connection, "SELECT VERSION(), CURRENT_USER(), @@skip_name_resolve")
    version, current_user, skip_name_resolve = facts[0]
    dialect = Dialect.MARIADB if "mariadb" in version.lower() else Dialect.MYSQL
    try:
        if dialect is Dialect.MARIADB and _number(version) >= _GLOBAL_PRIV_SINCE:
            accounts = await _read_global_priv(connection)
        else:
            accounts = await _read_user(connection)
    except aiomysql.MySQLError as error:
        if error.args[0] not in _NO_PRIVILEGE:
            raise
        account = "@".join(f"'{part}'" for part in current_user.rsplit("@", 1))
        raise SqlproxyError(
            f"{current_user} may not read the grant tables: GRANT SELECT ON mysql.* TO {account}"
        ) from None
    return Accounts(accounts, server_name, time.time(), dialect, bool(skip_name_resolve))


async def _read_global_priv(connection: Any) -> tuple[Account, ...]:
    now, lifetime = (await _rows(connection, "SELECT UNIX_TIMESTAMP(), @@default_password_lifetime"))[0]
    found = await _rows(connection, "SELECT Host, User, Priv FROM mysql.global_priv ORDER BY User, Host")
    return tuple(rows.from_global_priv(host, user, priv, now, lifetime) for host, user, priv in found)


async def _read_user(connection: Any) -> tuple[Account, ...]:
    present = {row[0] for row in await _rows(connection, "SHOW COLUMNS FROM mysql.user")}
    plain = [name for name in rows.USER_COLUMNS if name in present]
    in_hex = [name for name in rows.USER_HEX_COLUMNS if name in present]
    selected = ", ".join([f"`{name}`" for name in plain] + [f"HEX(`{name}`)" for name in in_hex])
    found = await _rows(connection, f"SELECT {selected} FROM mysql.user ORDER BY User, Host")
    return tuple(rows.from_user(dict(zip(plain + in_hex, row, strict=True))) for row in found)


async def _rows(connection: Any, statement: str) -> tuple[tuple[Any, ...], ...]:
    async with connection.cursor() as cursor:
        await cursor.execute(statement)
        return tuple(await cursor.fetchall())


def _number(version: str) -> tuple[int, ...]:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _text(error: Exception) -> str:
    """The server's code and text, or the driver's, with what lies behind it (a refused connection, TLS)."""
    text = " ".join(str(part) for part in error.args) or type(error).__name__
    return f"{text} ({error.__cause__})" if error.__cause__ else text
