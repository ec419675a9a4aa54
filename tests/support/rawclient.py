"""A client of raw packets: logs in like any other, then sends and reads exactly what a test says.

Replies are followed packet by packet here, without the proxy's own trackers, so that the two can be compared.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sqlproxy.errors import ServerError
from sqlproxy.wire import codec
from sqlproxy.wire.auth import Credentials, Kind
from sqlproxy.wire.client_auth import ClientAuth
from sqlproxy.wire.constants import (
    CLIENT_CONNECT_ATTRS,
    CLIENT_CONNECT_WITH_DB,
    CLIENT_DEPRECATE_EOF,
    CLIENT_FOUND_ROWS,
    CLIENT_LOCAL_FILES,
    CLIENT_LONG_FLAG,
    CLIENT_LONG_PASSWORD,
    CLIENT_MULTI_RESULTS,
    CLIENT_MULTI_STATEMENTS,
    CLIENT_PLUGIN_AUTH,
    CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
    CLIENT_PROTOCOL_41,
    CLIENT_PS_MULTI_RESULTS,
    CLIENT_SECURE_CONNECTION,
    CLIENT_SESSION_TRACK,
    CLIENT_SSL,
    CLIENT_TRANSACTIONS,
    COM_CHANGE_USER,
    COM_QUERY,
    COM_STMT_EXECUTE,
    COM_STMT_PREPARE,
    HEADER,
    MAX_PAYLOAD,
    METADATA_MAY_LACK,
    SERVER_MORE_RESULTS_EXISTS,
    SERVER_STATUS_CURSOR_EXISTS,
)
from sqlproxy.wire.handshake import ChangeUser, Greeting, HandshakeResponse, split
from sqlproxy.wire.packets import Ok, parse_err, parse_ok

BASE = (
    CLIENT_LONG_PASSWORD
    | CLIENT_LONG_FLAG
    | CLIENT_PROTOCOL_41
    | CLIENT_TRANSACTIONS
    | CLIENT_SECURE_CONNECTION
    | CLIENT_MULTI_STATEMENTS
    | CLIENT_MULTI_RESULTS
    | CLIENT_PS_MULTI_RESULTS
    | CLIENT_PLUGIN_AUTH
    | CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
)
DEPRECATE_EOF = BASE | CLIENT_DEPRECATE_EOF
TRACKING = DEPRECATE_EOF | CLIENT_SESSION_TRACK
FOUND_ROWS = BASE | CLIENT_FOUND_ROWS
LOCAL_FILES = BASE | CLIENT_LOCAL_FILES
CURSOR_READ_ONLY = 1


class RawClient:
    """A TCP connection to 127.0.0.1, greeted but not logged in.

    ``greeting`` is what the server said, ``seq`` the sequence id of the newest packet in either direction; ``shape``
    the first bytes of all packets of the login after the greeting, "<" from the server and ">" to it.
    """

    def __init__(self, port: int, capabilities: int = BASE, *, timeout: float = 10.0) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.capabilities = capabilities  # MariaDB's above the first 32 bits
        self.attributes = b""  # of the connection, names and values length-encoded
        self.seq = 0
        self.shape: list[str] = []
        self._tls = False
        try:
            self.greeting = Greeting.parse(self.read())
        except BaseException:
            self.close()
            raise

    # -- packets

    def send(self, payload: bytes, seq: int = 0) -> None:
        """One payload, cut into packets from sequence id ``seq`` on."""
        self.seq = seq + len(payload) // MAX_PAYLOAD
        self.socket.sendall(codec.packet(seq, payload))

    def send_next(self, payload: bytes) -> None:
        """One payload that goes on with the exchange."""
        self.send(payload, self.seq + 1)

    def read(self) -> bytes:
        """One payload, joined from its packets. Raises EOFError at the end of the stream."""
        parts = []
        while True:
            header = self.read_exactly(HEADER)
            self.seq = header[3]
            parts.append(self.read_exactly(int.from_bytes(header[:3], "little")))
            if len(parts[-1]) < MAX_PAYLOAD:
                return b"".join(parts)

    def read_exactly(self, size: int) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self.socket.recv_into(view)
            if not count:
                raise EOFError("the connection was closed")
            view = view[count:]
        return bytes(data)

    def is_closed(self) -> bool:
        """Whether the other side ends the connection, reading and dropping what still comes."""
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.socket.close()

    # -- login

    def start_tls(self, context: ssl.SSLContext | None = None) -> None:
        """Ask for TLS, without verifying the certificate unless ``context`` does."""
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self.capabilities |= CLIENT_SSL
        low, high = split(self.capabilities)
        self.send(HandshakeResponse(low, b"", mariadb_capabilities=high).head(), 1)
        self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self._tls = True

    def response(
        self,
        user: str = "app",
        password: str = "app",
        database: str | None = None,
        plugin: str = "",
        auth: ClientAuth | None = None,
    ) -> HandshakeResponse:
        """The handshake response that would log in; ``plugin`` instead of the one the greeting names."""
        auth = auth or self._auth(user, password)
        plugin, answer = auth.response(plugin or self.greeting.auth_plugin, self.greeting.scramble)
        capabilities = self.capabilities | (0 if database is None else CLIENT_CONNECT_WITH_DB)
        low, high = split(capabilities | (CLIENT_CONNECT_ATTRS if self.attributes else 0))
        name = None if database is None else database.encode()
        return HandshakeResponse(low, user.encode(), answer, name, plugin, self.attributes, mariadb_capabilities=high)

    def log_in(
        self,
        user: str = "app",
        password: str = "app",
        database: str | None = None,
        plugin: str = "",
        preset: bytes | None = None,
    ) -> Ok:
        """From the greeting to the OK packet; ``preset`` is the auth response to send instead of the right one.

        Raises ServerError with the refusal.
        """
        auth = self._auth(user, password)
        response = self.response(user, password, database, plugin, auth)
        if preset is not None:
            response = replace(response, auth_response=preset, plugin=plugin)
        self.send(response.encode(), self.seq + 1)
        self.shape.append(f">{len(response.auth_response)}")
        return self._authenticate(auth)

    def change_user(self, user: str, password: str, database: str = "", plugin: str = "mysql_native_password") -> Ok:
        """COM_CHANGE_USER with an empty auth response, as C clients send it. Raises ServerError with the refusal."""
        request = ChangeUser(self.capabilities, user.encode(), b"", database.encode(), plugin=plugin)
        assert request.encode()[0] == COM_CHANGE_USER
        self.send(request.encode())
        auth = self._auth(user, password)
        auth.response(plugin, self.greeting.scramble)
        return self._authenticate(auth)

    def _auth(self, user: str, password: str) -> ClientAuth:
        return ClientAuth(Credentials(user.encode(), password.encode()), server="test", secure=self._tls)

    def _authenticate(self, auth: ClientAuth) -> Ok:
        while True:
            packet = self.read()
            self.shape.append(f"<{packet[0]:02x}")
            step = auth.receive(packet)
            if step.kind is Kind.OK:
                return parse_ok(packet, self.capabilities)
            if step.kind is Kind.SEND:
                self.shape.append(f">{len(step.payload)}")
                self.send_next(step.payload)

    # -- commands

    def command(self, payload: bytes) -> bytes:
        """Send a command; the first packet of its reply."""
        self.send(payload)
        return self.read()

    def ok(self, payload: bytes) -> Ok:
        """Send a command that is answered by one OK packet. Raises ServerError for an ERR packet."""
        return as_ok(self.command(payload), self.capabilities)

    def query(self, sql: str | bytes) -> list[bytes]:
        """All packets of the reply to a COM_QUERY, up to its end or to the request for a local file."""
        text = sql.encode() if isinstance(sql, str) else sql
        self.send(bytes((COM_QUERY,)) + text)
        return self.read_reply()

    def rows(self, sql: str | bytes) -> list[list[bytes | None]]:
        """The rows of the first result of a text query. Raises ServerError."""
        packets = self.query(sql)
        if packets[0][0] == 0xFF:
            raise as_error(packets[0])
        first = 1 + self._definitions_after(packets[0]) + (0 if self.capabilities & CLIENT_DEPRECATE_EOF else 1)
        return [values(packet) for packet in packets[first:-1]]

    def value(self, sql: str | bytes) -> bytes | None:
        """The only value of a query."""
        return self.rows(sql)[0][0]

    def prepare(self, sql: str) -> tuple[int, list[bytes]]:
        """A prepared statement's id and all packets of the reply. Raises ServerError."""
        first = self.command(bytes((COM_STMT_PREPARE,)) + sql.encode())
        if first[0] == 0xFF:
            raise as_error(first)
        columns, parameters = int.from_bytes(first[5:7], "little"), int.from_bytes(first[7:9], "little")
        eofs = 0 if self.capabilities & CLIENT_DEPRECATE_EOF else bool(columns) + bool(parameters)
        if first[12:] == b"\x00":  # MySQL's word that no definitions follow
            columns = parameters = 0
        return int.from_bytes(first[1:5], "little"), [first, *(self.read() for _ in range(columns + parameters + eofs))]

    def execute(self, statement: int, arguments: bytes = b"", *, cursor: int = 0) -> list[bytes]:
        """All packets of the reply; ``arguments`` are what follows the iteration count."""
        head = bytes((COM_STMT_EXECUTE,)) + statement.to_bytes(4, "little") + bytes((cursor,)) + b"\1\0\0\0"
        self.send(head + arguments)
        return self.read_reply()

    def read_reply(self) -> list[bytes]:
        """The packets of one reply with all its result sets."""
        return list(self._reply())

    def read_rows(self) -> list[bytes]:
        """Packets up to and with the EOF (or ERR) that ends them, as COM_STMT_FETCH and COM_FIELD_LIST send."""
        return list(self._rows())

    def _reply(self) -> Iterator[bytes]:
        while True:
            first = self.read()
            yield first
            if first[0] in (0xFF, 0xFB):
                return
            status = parse_ok(first, self.capabilities).status if first[0] == 0 else None
            if status is None:
                last = b""
                for last in self._result_set(self._definitions_after(first)):
                    yield last
                status = self._status_of(last)
            if not status & SERVER_MORE_RESULTS_EXISTS:
                return

    def _definitions_after(self, first: bytes) -> int:
        """How many follow the packet that begins a result set."""
        count, pos = codec.read_lenenc(first, 0)
        return 0 if self.capabilities & METADATA_MAY_LACK and first[pos:] == b"\x00" else count

    def _result_set(self, columns: int) -> Iterator[bytes]:
        for _ in range(columns):
            yield self.read()
        if not self.capabilities & CLIENT_DEPRECATE_EOF:
            eof = self.read()
            yield eof
            if self._status_of(eof) & (SERVER_STATUS_CURSOR_EXISTS | SERVER_MORE_RESULTS_EXISTS) == (
                SERVER_STATUS_CURSOR_EXISTS
            ):
                return
        yield from self._rows()

    def _rows(self) -> Iterator[bytes]:
        while True:
            packet = self.read()
            yield packet
            if packet[0] == 0xFF or (packet[0] == 0xFE and len(packet) < MAX_PAYLOAD and self._ends(packet)):
                return

    def _ends(self, packet: bytes) -> bool:
        """0xFE also begins a row whose first value has 16 MiB or more."""
        return bool(self.capabilities & CLIENT_DEPRECATE_EOF) or len(packet) < 9

    def _status_of(self, end: bytes) -> int:
        if end[:1] == b"\xff":
            return 0
        if self.capabilities & CLIENT_DEPRECATE_EOF:
            return parse_ok(end, self.capabilities).status
        return int.from_bytes(end[3:5], "little")


def values(row: bytes) -> list[bytes | None]:
    """The values of a text row."""
    found: list[bytes | None] = []
    pos = 0
    while pos < len(row):
        if row[pos] == 0xFB:
            found.append(None)
            pos += 1
        else:
            value, pos = codec.read_lenenc_string(row, pos)
            found.append(value)
    return found


def as_error(packet: bytes) -> ServerError:
    """The error in an ERR packet, which this must be."""
    assert packet[:1] == b"\xff", packet[:80]
    error = parse_err(packet)
    assert error is not None
    return error


def as_ok(packet: bytes, capabilities: int = BASE) -> Ok:
    """The OK packet; raises the error if it is an ERR packet."""
    if packet[:1] == b"\xff":
        raise as_error(packet)
    return parse_ok(packet, capabilities)


def said(packet: bytes) -> tuple[int, str, str]:
    """Code, SQLSTATE and text of an ERR packet."""
    error = as_error(packet)
    return error.code, error.sqlstate, error.message


def refusal(port: int, user: str = "app", password: str = "app", **options: object) -> tuple[int, str, str]:
    """What a login is refused with: code, SQLSTATE, text."""
    with raw(port) as client:
        try:
            client.log_in(user, password, **options)  # type: ignore[arg-type]
        except ServerError as error:
            return error.code, error.sqlstate, error.message
    raise AssertionError(f"{user} was let in")


@contextmanager
def raw(port: int, capabilities: int = BASE, **options: float) -> Iterator[RawClient]:
    """A greeted connection, closed at the end."""
    client = RawClient(port, capabilities, **options)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def logged_in(
    port: int, capabilities: int = BASE, user: str = "app", password: str = "app", database: str | None = "app"
) -> Iterator[RawClient]:
    """A connection that has logged in."""
    with raw(port, capabilities) as client:
        client.log_in(user, password, database)
        yield client


def on_both(ports: Sequence[int], sql: str, capabilities: int = BASE) -> list[list[bytes]]:
    """The replies to one statement on fresh connections to several ports."""
    replies = []
    for port in ports:
        with logged_in(port, capabilities) as client:
            replies.append(client.query(sql))
    return replies
