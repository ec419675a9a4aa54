"""One server asked for its facts over a kept connection. The only monitor file that knows aiomysql.

aiomysql has no read timeout, so everything runs under one deadline; it falls back to plaintext when a server offers
no TLS and answers a request for the clear password on any line, so both are refused here before anything secret is
sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any

import aiomysql

from sqlproxy.config import MonitorConfig
from sqlproxy.errors import SqlproxyError
from sqlproxy.monitor.base import Flavour
from sqlproxy.topology.model import NodeReport, Server, ServerTLS
from sqlproxy.wire import constants
from sqlproxy.wire.handshake import Greeting

ER_ACCESS_DENIED, ER_UNKNOWN_SYSTEM_VARIABLE, CR_CONN_HOST_ERROR, CR_SERVER_LOST = 1045, 1193, 2003, 2013
PROGRAM_NAME = "sqlproxy monitor"
# Errors of a server that is alive and well but does not let the monitor in, or ask: too many connections (1040, 1203,
# 1226), wrong user, password or host (1044, 1045, 1129, 1130, 1698), grants (1142, 1143, 1227, 1370), expired password
# (1820, 1862) and locked account (3118, 4151). https://mariadb.com/docs/server/reference/error-codes
REFUSALS = frozenset({1040, 1044, 1045, 1129, 1130, 1142, 1143, 1203, 1226, 1227, 1370, 1698, 1820, 1862, 3118, 4151})


_TCPI_UNACKED = struct.Struct("24xI")  # of struct tcp_info, linux/tcp.h: segments sent and not acknowledged
_HELD_UP = 1.25  # times the timeout: a deadline noticed that late says nothing about the server
REOPEN_SHARE = 0.3  # of the timeout, for the greeting on a new connection after a kept one was dropped


class ProbeError(SqlproxyError):
    """Why a server cannot be probed; the text completes "n1 is down: …"."""


class _Connection(aiomysql.Connection):  # type: ignore[misc]
    """An aiomysql connection that keeps secrets off plaintext lines where TLS is asked for."""

    def __init__(self, *, tls_required: bool, on_greeting: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._tls_required = tls_required
        self._on_greeting = on_greeting
        self._greeted = b""

    async def _read_packet(self, *arguments: Any) -> Any:
        packet = await super()._read_packet(*arguments)
        if not self._greeted:
            self._greeted = packet.get_all_data()
            self._on_greeting()
        return packet

    async def _get_server_information(self) -> None:
        await super()._get_server_information()
        self.server_capabilities = Greeting.parse(self._greeted).all_capabilities
        offered = bool(self.server_capabilities & constants.CLIENT_SSL)
        if self._tls_required and not offered:
            raise ProbeError("the server offers no TLS, which its tls mode requires")
        self._refuse_clear(self._server_auth_plugin, self._secure or (offered and self._ssl_context is not None))

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        self._refuse_clear(plugin_name.decode("latin1"), self._secure)
        return await super()._process_auth(plugin_name, auth_packet)

    @staticmethod
    def _refuse_clear(plugin: str, secure: bool) -> None:
        if plugin == "mysql_clear_password" and not secure:
            raise ProbeError("the server asks for the password in clear on a connection without TLS")

    async def open(self) -> None:
        """Connect, log in and check that the line is encrypted if it has to be."""
        await self.ping()
        if self._tls_required and self._writer.get_extra_info("ssl_object") is None:
            raise ProbeError("the connection is not encrypted, which its tls mode requires")

    async def rows(self, sql: str) -> dict[str, str]:
        """The (name, value) rows of a statement, names in lower case."""
        await self.query(sql)
        return {str(name).lower(): "" if value is None else str(value) for name, value in self._result.rows or ()}

    def unacknowledged(self) -> bool:
        """Whether the other end's kernel has not confirmed what was sent; False where that cannot be known."""
        sock = self._writer.get_extra_info("socket") if self._writer is not None else None
        if sock is None or sock.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
            return False
        info: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCPI_UNACKED.size)
        return len(info) == _TCPI_UNACKED.size and _TCPI_UNACKED.unpack(info)[0] > 0

    def drop(self) -> None:
        """Close without a word: a hung server would keep a polite goodbye waiting."""
        if self._writer is not None:
            self._writer.transport.abort()
        self.close()


class Probe:
    """Asks one server. ``report`` is meant to be called by one task, again and again."""

    def __init__(
        self, server: Server, settings: MonitorConfig, flavour: Flavour, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._server = server
        self._settings = settings
        self._flavour = flavour
        self._now = now
        self._tls: ssl.SSLContext | None = None
        self._connection: _Connection | None = None

    async def report(self) -> NodeReport:
        """The server's facts, or the reason why there are none, within the configured timeout."""
        error = ""
        started = self._now()
        try:
            return await self._asked_once()
        except TimeoutError:
            error = f"no answer within {self._settings.timeout:g}s"
        except Exception as failure:  # whatever a server sends, the answer is a report
            error = self._explain(failure)
            if isinstance(failure, aiomysql.MySQLError) and failure.args[:1] and failure.args[0] in REFUSALS:
                return NodeReport(self._server.name, self._now(), refusal=error)
        if self._now() - started > _HELD_UP * self._settings.timeout:  # this process was stopped, not the server
            return await self._second_chance(error)
        return NodeReport(self._server.name, self._now(), error)

    def unreachable(self) -> bool:
        """Whether the network, not the server, keeps the answer: what was asked has not been received there."""
        return self._connection is not None and self._connection.unacknowledged()

    def close(self) -> None:
        """Drop the kept connection; the next report opens another."""
        if self._connection is not None:
            self._connection.drop()
            self._connection = None

    async def _second_chance(self, error: str) -> NodeReport:
        try:
            return await self._asked_once()
        except Exception as failure:
            text = error if isinstance(failure, TimeoutError) else self._explain(failure)
            return NodeReport(self._server.name, self._now(), text)

    async def _asked_once(self) -> NodeReport:
        done = False
        try:
            async with asyncio.timeout(self._settings.timeout):
                report = await self._ask_kept_or_fresh()
            done = True
            return report
        finally:
            if not done:  # failed or cancelled: the connection may hold half an answer
                self.close()

    async def _ask_kept_or_fresh(self) -> NodeReport:
        """A kept connection may have died unnoticed (server restarted, KILL): that is no verdict on the server."""
        if self._connection is not None:
            try:
                return await self._ask(self._connection)
            except Exception:
                self.close()
                return await self._ask_again()
        return await self._ask(await self._open(_nothing))

    async def _ask_again(self) -> NodeReport:
        """A server that drops its connections and greets no new one is shutting down: no need to wait in full."""
        limit = asyncio.timeout(self._settings.timeout * REOPEN_SHARE)
        try:
            async with limit:
                return await self._ask(await self._open(lambda: limit.reschedule(None)))
        except TimeoutError:
            if not limit.expired():
                raise
            raise ProbeError("it dropped the connection and greets no new one") from None

    async def _open(self, on_greeting: Callable[[], None]) -> _Connection:
        server, settings = self._server, self._settings
        mode = server.tls.mode
        connection = self._connection = _Connection(
            tls_required=mode not in ("disabled", "preferred"),
            on_greeting=on_greeting,
            host=server.address.host,
            port=server.address.port,
            unix_socket=server.address.path or None,
            user=settings.user,
            password=settings.password.get_secret_value(),
            autocommit=True,
            ssl=self._context(mode),
            program_name=PROGRAM_NAME,
        )
        await connection.open()
        for statement in self._flavour.SETUP:
            try:
                await connection.query(statement)
            except aiomysql.MySQLError as error:
                if error.args[:1] != (ER_UNKNOWN_SYSTEM_VARIABLE,):
                    raise
        return connection

    def _context(self, mode: str) -> ssl.SSLContext | None:
        if mode == "disabled" or (mode == "preferred" and self._server.address.path):
            return None
        if self._tls is None:
            try:
                self._tls = tls_context(self._server.tls)
            except OSError as error:  # ssl.SSLError is one
                files = ", ".join(filter(None, (self._server.tls.ca, self._server.tls.cert, self._server.tls.key)))
                raise ProbeError(f"its tls files {files} cannot be used: {error.strerror or error}") from error
        return self._tls

    async def _ask(self, connection: _Connection) -> NodeReport:
        facts: dict[str, str] = {}
        latency = 0.0
        for query in self._flavour.QUERIES:
            asked = self._now()
            facts.update(await connection.rows(query))
            latency = latency or self._now() - asked
        return NodeReport(
            server=self._server.name,
            at=self._now(),
            latency=latency,
            version=connection.server_version,
            capabilities=connection.server_capabilities,
            collation=connection.server_language,
            facts=facts,
        )

    def _explain(self, failure: Exception) -> str:
        """A sentence for "n1 is down: …" that names user and server where they are the matter."""
        cause = failure.__cause__ if failure.args[:1] == (CR_CONN_HOST_ERROR,) else failure
        if isinstance(cause, ssl.SSLError):
            return f"TLS with {self._server.address} failed: {cause.reason or cause}"
        if isinstance(cause, OSError):
            return os.strerror(cause.errno).lower() if cause.errno else str(cause)
        if isinstance(failure, SqlproxyError):
            return failure.message
        if isinstance(failure, aiomysql.MySQLError):
            return self._explain_answer(failure)
        return f"the answer could not be understood: {type(failure).__name__}: {failure}"

    def _explain_answer(self, failure: aiomysql.MySQLError) -> str:
        code = failure.args[0] if failure.args else 0
        text = failure.args[1] if len(failure.args) > 1 else str(failure)
        name, user = self._server.name, self._settings.user
        if code == CR_SERVER_LOST:
            return "connection lost"
        if code == ER_ACCESS_DENIED:
            return f"{name} refuses the monitor user {user!r}: {text}"
        return f"{name} answers the monitor user {user!r} with error {code}: {text}"


def _nothing() -> None:
    """What a greeting changes, as a rule."""


def tls_context(tls: ServerTLS) -> ssl.SSLContext:
    """The client side of a ServerTLS. Raises OSError or ssl.SSLError when its files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.mode == "verify_identity"
    if tls.mode not in ("verify_ca", "verify_identity"):
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca:
        context.load_verify_locations(tls.ca)
    else:
        context.load_default_certs()
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key or None)
    return context
