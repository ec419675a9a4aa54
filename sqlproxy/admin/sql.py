"""The admin side over the MySQL protocol: the door, the login and the commands of a client. See ``sql_statements``.

It is written on the proxy's own handshake and packets. Clients are few and what they read is short, so ordinary streams
will do; all work goes through the runtime's Pace.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import logging
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from sqlproxy.accounts.throttle import Throttle
from sqlproxy.admin.ports import Port
from sqlproxy.admin.sql_statements import VERSION, Answer, Done, Statements, count_parameters, refusal
from sqlproxy.admin.sql_tables import Result
from sqlproxy.admin.view import Runtime
from sqlproxy.config import AdminConfig
from sqlproxy.door import ConnectionGone, Packets, enter, greet, part
from sqlproxy.errors import AccessDenied, PacketTooLarge, ProtocolError, ServerError, SqlproxyError
from sqlproxy.wire import codec, native_password, sha2_password
from sqlproxy.wire import constants as c
from sqlproxy.wire.auth import Kind, Method
from sqlproxy.wire.handshake import Greeting, HandshakeResponse, is_ssl_request, new_scramble
from sqlproxy.wire.packets import eof_packet, err_packet, ok_packet
from sqlproxy.wire.result_set import DOUBLE, LONGLONG, VAR_STRING, Value, column_definition, end, shown, text_row
from sqlproxy.wire.server_auth import ServerAuth

log = logging.getLogger("sqlproxy.admin")

MAX_CLIENTS: Final = 64
THREADS: Final = 2  # queries that run at one time
MAX_PACKET: Final = 1 << 20
MAX_STATEMENTS: Final = 1000  # prepared by one client
OVERHEAD: Final = 0.0003  # seconds that a statement costs beside what it asks for
LOGIN_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 28800.0
_FAILURES, _BLOCKED = 10, 60.0  # failed logins from one host before it is blocked, and for how many seconds
_STATUS: Final = c.SERVER_STATUS_AUTOCOMMIT
_CAPABILITIES: Final = (
    c.CLIENT_LONG_PASSWORD
    | c.CLIENT_LONG_FLAG
    | c.CLIENT_CONNECT_WITH_DB
    | c.CLIENT_PROTOCOL_41
    | c.CLIENT_INTERACTIVE
    | c.CLIENT_IGNORE_SPACE
    | c.CLIENT_TRANSACTIONS
    | c.CLIENT_SECURE_CONNECTION
    | c.CLIENT_MULTI_RESULTS
    | c.CLIENT_PS_MULTI_RESULTS
    | c.CLIENT_PLUGIN_AUTH
    | c.CLIENT_CONNECT_ATTRS
    | c.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
    | c.CLIENT_DEPRECATE_EOF
)


class Credentials:
    """Who may log in: the admin side's user and password, its token as anybody's password, everybody when neither is
    configured, which is so on loopback only."""

    def __init__(self, config: AdminConfig) -> None:
        self._user = config.user
        self._password = config.password.get_secret_value()
        self._token = config.token.get_secret_value()
        self.open = not (self._token or (self._user and self._password))

    def secrets_of(self, user: str) -> list[str]:
        """What may be this user's password."""
        own = [self._password] if self._user and hmac.compare_digest(user.encode(), self._user.encode()) else []
        return [secret for secret in (*own, self._token) if secret]


class SqlAdmin:
    """Listens at ``config.sql_listen``; raises ValueError when that is switched off."""

    def __init__(self, runtime: Runtime, config: AdminConfig, tls: ssl.SSLContext | None = None) -> None:
        if config.sql_listen is None:
            raise ValueError("the SQL admin side is switched off")
        self._runtime = runtime
        refusal = err_packet(1040, "08004", "Too many connections")
        self._port = Port(config.sql_listen, MAX_CLIENTS, self._serve, codec.packet(0, refusal), " for SQL")
        self._throttle = Throttle(_FAILURES, _BLOCKED)
        self._numbers = itertools.count(1)
        self._threads = asyncio.Semaphore(THREADS)
        self.configure(config, tls)

    def configure(self, config: AdminConfig, tls: ssl.SSLContext | None = None) -> None:
        """Other credentials and certificates from now on; the address stays."""
        self._credentials = Credentials(config)
        self._tls = tls
        self._tls_only = config.tls.mode == "required" and not self._port.address.path

    @property
    def port(self) -> int:
        """The real port once it listens; 0 on a unix socket."""
        return self._port.port

    @property
    def listening(self) -> socket.socket | None:
        """The socket while it listens, for whoever takes over."""
        return self._port.listening

    async def start(self) -> None:
        """Listen. Raises SqlproxyError, naming the address, when that is not possible."""
        self._port.open()

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self._port.close()
        await self._port.end_clients()

    async def _serve(self, sock: socket.socket) -> None:
        packets: Packets | None = None
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                scramble = new_scramble()
                payload = await greet(sock, self._greeting(scramble))
                encrypted = self._tls is not None and is_ssl_request(payload)
                packets = await enter(sock, self._tls if encrypted else None)
                request = HandshakeResponse.parse(await packets.read() if encrypted else payload)
                await self._admit(packets, request, scramble, encrypted)
            await self._converse(packets, request)
        except SqlproxyError as error:
            await _last_words(packets, sock, error)
        except ConnectionGone:
            pass
        finally:
            packets.close() if packets is not None else sock.close()

    def _greeting(self, scramble: bytes) -> bytes:
        capabilities = _CAPABILITIES | (c.CLIENT_SSL if self._tls is not None else 0)
        number = next(self._numbers) & 0xFFFFFFFF
        return Greeting(VERSION.encode(), number, scramble, capabilities, status=_STATUS).encode()

    async def _converse(self, packets: Packets, request: HandshakeResponse) -> None:
        name = request.username.decode("utf-8", "replace")
        await packets.write(ok_packet(_STATUS))
        packets.limit = MAX_PACKET
        who = f"{name or 'anonymous'} from {packets.peer()} (SQL)"
        statements = Statements(self._runtime, who, self._threads)
        await Connection(packets, statements, self._runtime, request.capabilities).run()

    async def _admit(self, packets: Packets, request: HandshakeResponse, scramble: bytes, encrypted: bool) -> None:
        host = packets.peer()
        if self._throttle.blocked(host, time.monotonic()):
            raise SqlproxyError(f"Host '{host}' is blocked because of many connection errors", code=1129)
        if self._tls_only and not encrypted:
            text = "Connections using insecure transport are prohibited: the admin side requires TLS"
            raise SqlproxyError(text, code=c.ER_SECURE_TRANSPORT_REQUIRED)
        if not self._credentials.open and not await self._proves(packets, request, scramble):
            self._throttle.failed(host, time.monotonic())
            log.warning("SQL admin: a login of %r from %s was refused", request.username, host)
            using = "YES" if request.auth_response else "NO"
            name = request.username.decode("utf-8", "replace")
            raise AccessDenied(f"Access denied for user '{name}'@'{host}' (using password: {using})")
        self._throttle.succeeded(host)

    async def _proves(self, packets: Packets, request: HandshakeResponse, scramble: bytes) -> bool:
        known = [
            secret.encode() for secret in self._credentials.secrets_of(request.username.decode("utf-8", "replace"))
        ]
        methods = [Method(c.NATIVE, native_password.stored_hash(secret).encode()) for secret in known]
        cached = sha2_password.double(known[0]) if known else None
        auth = ServerAuth(request, scramble, methods, cached_sha256=cached)
        step = auth.start()
        while step.kind in (Kind.SEND, Kind.WAIT):
            if step.kind is Kind.SEND:
                await packets.write(step.payload)
            step = auth.receive(await packets.read())
        if step.kind is Kind.OK and step.payload:
            await packets.write(step.payload)
        return step.kind is Kind.OK


async def _last_words(packets: Packets | None, sock: socket.socket, error: SqlproxyError) -> None:
    """What the client reads before the end; without packets it is refused for its first one."""
    payload = err_packet(error.code, error.sqlstate, error.message)
    with contextlib.suppress(ConnectionGone, OSError):
        if packets is not None:
            await packets.write(payload)
        else:
            part(sock, codec.packet(2, payload))


class Connection:
    """The command phase of one client."""

    def __init__(self, packets: Packets, statements: Statements, runtime: Runtime, capabilities: int) -> None:
        self._packets = packets
        self._statements = statements
        self._runtime = runtime
        self._deprecate_eof = bool(capabilities & c.CLIENT_DEPRECATE_EOF)
        self._prepared: dict[int, tuple[str, int]] = {}  # text and number of parameters
        self._types: dict[int, list[int]] = {}
        self._numbers = itertools.count(1)
        self._handlers: dict[int, Callable[[bytes], Awaitable[None]]] = {
            c.COM_QUERY: self._query,
            c.COM_STMT_PREPARE: self._prepare,
            c.COM_STMT_EXECUTE: self._execute,
            c.COM_STMT_CLOSE: self._close,
            c.COM_STMT_RESET: self._fine,
            c.COM_FIELD_LIST: self._fields,
            c.COM_STATISTICS: self._statistics,
            c.COM_SET_OPTION: self._eof,
            c.COM_PING: self._fine,
            c.COM_INIT_DB: self._fine,
            c.COM_RESET_CONNECTION: self._fine,
        }

    async def run(self) -> None:
        """Answer commands until COM_QUIT. Raises ConnectionGone, and errors that end the connection."""
        while True:
            self._packets.reset_seq()
            async with asyncio.timeout(IDLE_SECONDS):
                payload = await self._packets.read()
            if payload[:1] == bytes((c.COM_QUIT,)):
                return
            self._runtime.pace.spent(OVERHEAD)
            await self._runtime.pace.turn()
            await self._command(payload)

    async def _command(self, payload: bytes) -> None:
        handler = self._handlers.get(payload[0] if payload else -1)
        try:
            if handler is None:
                raise ServerError("Unknown command", code=c.ER_UNKNOWN_COM_ERROR, sqlstate="08S01")
            await handler(payload[1:])
        except (ConnectionGone, PacketTooLarge):
            raise
        except Exception as error:
            if not isinstance(error, SqlproxyError):
                log.exception("the SQL admin side failed on a statement")
            told = refusal(error)
            await self._packets.write(err_packet(told.code, told.sqlstate, told.message))

    async def _fine(self, data: bytes) -> None:
        await self._packets.write(ok_packet(_STATUS))

    async def _eof(self, data: bytes) -> None:
        await self._packets.write(eof_packet(_STATUS))

    async def _statistics(self, data: bytes) -> None:
        uptime = int(time.time() - self._runtime.started_at)
        await self._packets.write(f"Uptime: {uptime}  sqlproxy admin".encode())

    async def _query(self, data: bytes) -> None:
        await self._answer(await self._statements.execute(_decode(data)), binary=False)

    async def _fields(self, data: bytes) -> None:
        name = _decode(data.partition(b"\x00")[0])
        names = await self._statements.describe(f'SELECT * FROM "{name}"')
        for column in names:
            self._packets.put(column_definition(column, VAR_STRING, name) + b"\xfb")
        await self._packets.write(end(_STATUS, self._deprecate_eof))

    # -- prepared statements

    async def _prepare(self, data: bytes) -> None:
        text = _decode(data)
        if len(self._prepared) >= MAX_STATEMENTS:
            raise ServerError("Can't create more than max_prepared_stmt_count statements", code=1461, sqlstate="42000")
        count, names = count_parameters(text), await self._statements.describe(text)
        number = next(self._numbers)
        self._prepared[number] = (text, count)
        self._packets.put(struct.pack("<BIHHxH", 0, number, len(names), count, 0))
        for group in (["?"] * count, names):
            for name in group:
                self._packets.put(column_definition(name))
            if group and not self._deprecate_eof:
                self._packets.put(eof_packet(_STATUS))
        await self._packets.drain()

    async def _execute(self, data: bytes) -> None:
        number, _ = codec.read_uint(data, 0, 4, "statement id")
        if number not in self._prepared:
            raise ServerError(f"Unknown prepared statement handler ({number})", code=c.ER_UNKNOWN_STMT_HANDLER)
        text, count = self._prepared[number]
        parameters = list(self._parameters(number, data, count)) if count else []
        await self._answer(await self._statements.execute(text, parameters), binary=True)

    def _parameters(self, number: int, data: bytes, count: int) -> Iterator[Value]:
        nulls, pos = codec.read_bytes(data, 9, (count + 7) // 8, "null bitmap")
        bound, pos = codec.read_uint(data, pos, 1, "new-params-bound flag")
        if bound:
            raw, pos = codec.read_bytes(data, pos, 2 * count, "parameter types")
            self._types[number] = list(struct.unpack(f"<{count}H", raw))
        types = self._types.get(number)
        if types is None:
            raise ProtocolError("the first execution of a statement carries no parameter types")
        for place, kind in enumerate(types):
            if nulls[place // 8] >> place % 8 & 1:
                yield None
            else:
                value, pos = _parameter(data, pos, kind)
                yield value

    async def _close(self, data: bytes) -> None:
        number, _ = codec.read_uint(data, 0, 4, "statement id")
        self._prepared.pop(number, None)
        self._types.pop(number, None)

    # -- answers

    async def _answer(self, answer: Answer, binary: bool) -> None:
        if isinstance(answer, Done):
            await self._packets.write(ok_packet(_STATUS, answer.affected))
            return
        kinds = [_kind(answer, place) for place in range(len(answer.names))]
        self._packets.put(codec.write_lenenc(len(kinds)))
        for name, kind in zip(answer.names, kinds, strict=True):
            self._packets.put(column_definition(name, kind))
        if not self._deprecate_eof:
            self._packets.put(eof_packet(_STATUS))

        def encode(row: Sequence[Value]) -> bytes:
            return _binary_row(row, kinds) if binary else text_row(row)

        async for payloads in self._runtime.pace.slices(answer.rows, encode):
            self._packets.write_many(payloads)
            await self._packets.drain()
        await self._packets.write(end(_STATUS, self._deprecate_eof))


def _kind(answer: Result, place: int) -> int:
    """The protocol's type of a column by its values."""
    types = {type(row[place]) for row in answer.rows if row[place] is not None}
    if not types or types - {int, float}:
        return VAR_STRING
    small = all(-(1 << 63) <= (row[place] or 0) < 1 << 63 for row in answer.rows)  # type: ignore[operator]
    return LONGLONG if types == {int} and small else DOUBLE if small else VAR_STRING


def _binary_row(row: Sequence[Value], kinds: Sequence[int]) -> bytes:
    """A row of the binary protocol."""
    nulls = bytearray((len(kinds) + 9) // 8)
    parts = []
    for place, (value, kind) in enumerate(zip(row, kinds, strict=True)):
        if value is None:
            nulls[(place + 2) // 8] |= 1 << (place + 2) % 8
        elif kind == LONGLONG:
            parts.append(struct.pack("<q", value))
        elif kind == DOUBLE:
            parts.append(struct.pack("<d", value))
        else:
            parts.append(codec.write_lenenc_string(shown(value)))
    return b"\x00" + bytes(nulls) + b"".join(parts)


_INTEGERS: Final = {1: 1, 2: 2, 3: 4, 8: 8, 9: 4, 13: 2}  # bytes by type
_STRINGS: Final = frozenset({0, 15, 16, 246, 247, 248, 249, 250, 251, 252, 253, 254})


def _parameter(data: bytes, pos: int, declared: int) -> tuple[Value, int]:
    kind = declared & 0xFF
    if kind in _INTEGERS:
        raw, pos = codec.read_bytes(data, pos, _INTEGERS[kind], "parameter")
        return int.from_bytes(raw, "little", signed=not declared & 0x8000), pos
    if kind in (4, 5):
        raw, pos = codec.read_bytes(data, pos, 4 if kind == 4 else 8, "parameter")
        return float(struct.unpack("<f" if kind == 4 else "<d", raw)[0]), pos
    if kind == 6:
        return None, pos
    if kind not in _STRINGS:
        raise ProtocolError(f"a parameter of type {kind} is not understood here: send text or a number")
    raw, pos = codec.read_lenenc_string(data, pos, "parameter")
    return raw.decode("utf-8", "replace"), pos


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace")
