"""Servers, clients and transports without sockets, for driving real sessions.

A ``FakeServer`` understands just enough SQL to keep transactions, settings and a table of integers; what it runs it
writes down. Replies come in the next round of the event loop, in chunks of ``Fleet.chunk`` bytes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sqlproxy.config import ServiceConfig
from sqlproxy.errors import ServerError, ServerLost
from sqlproxy.session import acquire as acquire_module
from sqlproxy.session.backend import Backend
from sqlproxy.session.client import Client
from sqlproxy.session.connect import Login
from sqlproxy.session.service import Registry, Service
from sqlproxy.session.session import Session
from sqlproxy.session.stats import ServerStats
from sqlproxy.topology.model import Address, AdminState, Role, Server, ServerView, Snapshot
from sqlproxy.topology.publisher import Publisher
from sqlproxy.wire import codec
from sqlproxy.wire import constants as c
from sqlproxy.wire.auth import Credentials
from sqlproxy.wire.constants import HEADER
from sqlproxy.wire.framing import PacketReader, payload_of
from sqlproxy.wire.packets import err_packet, ok_packet

AUTOCOMMIT = c.SERVER_STATUS_AUTOCOMMIT
IN_TRANS = c.SERVER_STATUS_IN_TRANS
CAPABILITIES = 0xFFFFFFFF & ~(c.CLIENT_SSL | c.CLIENT_QUERY_ATTRIBUTES | c.METADATA_MAY_LACK)


class FakeTransport(asyncio.Transport):
    """Keeps what is written; ``protocol.connection_lost`` follows a close in the next round, as with real ones."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.written = bytearray()
        self.reading = True
        self.closing = False
        self.aborted = False
        self.waiting = 0  # bytes that the peer has not taken

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()


# -- what servers answer


def ok(status: int = AUTOCOMMIT, seq: int = 1, affected: int = 0) -> bytes:
    return codec.packet(seq, ok_packet(status, affected))


def err(code: int, text: str, sqlstate: str = "HY000", seq: int = 1) -> bytes:
    return codec.packet(seq, err_packet(code, sqlstate, text))


def rows(*values: bytes, status: int = AUTOCOMMIT) -> bytes:
    """A result set of one column, its end an OK packet (CLIENT_DEPRECATE_EOF)."""
    column = b"".join(codec.write_lenenc_string(part) for part in (b"def", b"", b"", b"", b"v", b"v"))
    column += b"\x0c\x2d\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00"
    payloads = [b"\x01", column, *(codec.write_lenenc_string(value) for value in values)]
    payloads.append(ok_packet(status, header=c.EOF))
    return b"".join(codec.packet(seq, payload) for seq, payload in enumerate(payloads, 1))


def prepared(number: int, parameters: int = 0, columns: int = 0) -> bytes:
    head = b"\x00" + number.to_bytes(4, "little") + columns.to_bytes(2, "little") + parameters.to_bytes(2, "little")
    definitions = [b"\x03def"] * (parameters + columns)
    return b"".join(codec.packet(seq, payload) for seq, payload in enumerate([head + b"\0\0\0", *definitions], 1))


# -- what clients send


def command(code: int, body: bytes = b"") -> bytes:
    return codec.packet(0, bytes((code,)) + body)


def query(text: str | bytes) -> bytes:
    return command(c.COM_QUERY, text.encode() if isinstance(text, str) else text)


def packets(data: bytes) -> list[bytes]:
    """The payloads in a stream of small packets."""
    found = []
    pos = 0
    while pos < len(data):
        end = pos + HEADER + int.from_bytes(data[pos : pos + 3], "little")
        found.append(data[pos + HEADER : end])
        pos = end
    return found


# -- servers


@dataclass
class Connection:
    """One connection as a server sees it."""

    server: FakeServer
    backend: Backend
    transport: ServerTransport
    database: bytes
    settings: dict[str, str] = field(default_factory=dict)
    autocommit: bool = True
    open: bool = False  # a transaction
    read_only: bool = False  # the one that is open or comes next
    pending: list[int] = field(default_factory=list)  # values written by the open transaction
    statements: dict[int, bytes] = field(default_factory=dict)

    def lose(self, reason: str = "connection reset", *, unread: bool = False) -> None:
        """It breaks, perhaps with a command that was not read; an open transaction is rolled back."""
        if self.transport.closing:
            return
        self.server.roll_back(self)
        self.transport.closing = True
        self.backend.connection_lost(BrokenPipeError(reason) if unread else ConnectionResetError(reason))

    @property
    def status(self) -> int:
        read_only = c.SERVER_STATUS_IN_TRANS_READONLY if self.open and self.read_only else 0
        return (AUTOCOMMIT if self.autocommit else 0) | (IN_TRANS if self.open else 0) | read_only


class ServerTransport(FakeTransport):
    """The server's end of a backend: cuts what comes into commands."""

    def __init__(self, server: FakeServer, backend: Backend) -> None:
        super().__init__(backend)
        self.server = server
        self.connection: Connection | None = None
        self.uploading = False
        self._reader = PacketReader(1 << 30)

    def write(self, data: Any) -> None:
        super().write(data)
        if self.uploading or self.closing or self.connection is None:
            return
        if data[HEADER] == c.COM_CHANGE_USER or data[3]:  # packets of a login, which count on
            for payload in packets(bytes(data)):
                self.server.received(self.connection, payload)
            return
        found = self._reader.feed(bytes(data))
        while found is not None:
            self.server.received(self.connection, payload_of(found))
            found = self._reader.next()

    def send(self, data: bytes) -> None:
        """Let the proxy receive this soon, in chunks."""
        size = self.server.fleet.chunk or len(data)
        loop = asyncio.get_running_loop()
        for start in range(0, len(data), size):
            loop.call_soon(self._deliver, data[start : start + size])

    def _deliver(self, chunk: bytes) -> None:
        if not self.closing:
            self.protocol.data_received(chunk)


Script = Callable[[Connection, bytes], "bytes | None"]


class FakeServer:
    """``script(connection, payload)`` may answer first: bytes, b"" for silence, None for the ordinary answer."""

    def __init__(self, name: str, fleet: Fleet) -> None:
        self.name = name
        self.fleet = fleet
        self.up = True
        self.refusal: ServerError | None = None
        self.script: Script | None = None
        self.init_connect = b""
        self.connections: list[Connection] = []
        self.log: list[bytes] = []  # payloads of all commands, as they came
        self.logins: list[Login] = []

    @property
    def texts(self) -> list[str]:
        """The texts of the COM_QUERYs."""
        return [payload[1:].decode() for payload in self.log if payload[0] == c.COM_QUERY]

    @property
    def live(self) -> list[Connection]:
        return [connection for connection in self.connections if not connection.transport.closing]

    def received(self, connection: Connection, payload: bytes) -> None:
        self.log.append(payload)
        answer = self.script(connection, payload) if self.script is not None else None
        if answer is None:
            answer = self.run(connection, payload)
        if answer:
            connection.transport.send(answer)

    def run(self, connection: Connection, payload: bytes) -> bytes:
        code, body = payload[0], payload[1:]
        if code == c.COM_QUERY:
            return self._query(connection, body.decode("latin1"))
        if code == c.COM_STMT_PREPARE:
            self.fleet.prepared += 1
            connection.statements[self.fleet.prepared] = body
            return prepared(self.fleet.prepared, body.count(b"?"), 1 if body.lower().startswith(b"select") else 0)
        if code == c.COM_STMT_EXECUTE:
            text = connection.statements.get(int.from_bytes(body[:4], "little"))
            return err(1243, "Unknown prepared statement") if text is None else self._query(connection, text.decode())
        if code == c.COM_STMT_CLOSE:
            connection.statements.pop(int.from_bytes(body[:4], "little"), None)
            return b""
        if code == c.COM_INIT_DB:
            connection.database = body
        if code in (c.COM_RESET_CONNECTION, c.COM_CHANGE_USER):
            connection.settings.clear()
            connection.statements.clear()
            self.roll_back(connection)
            connection.autocommit = True
        if code in (c.COM_QUIT, c.COM_STMT_SEND_LONG_DATA):
            return b""
        return ok(connection.status)

    def _query(self, connection: Connection, text: str) -> bytes:
        words = text.lower().rstrip("; ").split()
        self.fleet.ran(connection, text)
        if words[:1] == ["insert"]:
            self._insert(connection, int(re.findall(r"\d+", text)[0]))
        elif words[:1] == ["begin"] or words[:2] == ["start", "transaction"]:
            self._commit(connection)
            connection.open = True
            connection.read_only = words[-2:] == ["read", "only"]
        elif words[:1] == ["commit"]:
            self._commit(connection)
        elif words[:1] == ["rollback"]:
            self.roll_back(connection)
        elif words[:1] == ["use"]:
            connection.database = words[1].encode()
        elif words[:1] == ["set"] and words[1] != "statement":
            self._set(connection, text[4:])
        elif "init_connect" in text:
            return rows(self.init_connect)
        elif words[:1] == ["select"]:
            if not connection.autocommit:
                connection.open = True
            return rows(self.name.encode(), status=connection.status)
        return ok(connection.status)

    def _set(self, connection: Connection, text: str) -> None:
        for assignment in text.split(","):
            name, _, value = assignment.partition("=")
            if name.strip().lower() == "autocommit":
                connection.autocommit = value.strip() == "1"
                if connection.autocommit:
                    self._commit(connection)
            else:
                connection.settings[name.strip().lower()] = value.strip()

    def _insert(self, connection: Connection, value: int) -> None:
        connection.pending.append(value)
        if not connection.autocommit:
            connection.open = True
        if not connection.open:
            self._commit(connection)

    def _commit(self, connection: Connection) -> None:
        self.fleet.committed += connection.pending
        connection.pending.clear()
        connection.open = False

    def roll_back(self, connection: Connection) -> None:
        """What the open transaction has written is gone."""
        connection.pending.clear()
        connection.open = False

    def lose(self, reason: str = "connection reset", *, unread: bool = False) -> None:
        """Every connection breaks, perhaps with a command that was not read; open transactions are rolled back."""
        for connection in self.live:
            connection.lose(reason, unread=unread)

    def kill(self) -> None:
        """The process dies; nobody connects until ``up`` again."""
        self.up = False
        self.lose()


class Fleet:
    """All servers, and what was committed in their common table. ``ran`` hears of every statement executed."""

    def __init__(self, *names: str) -> None:
        self.servers = {name: FakeServer(name, self) for name in names}
        self.committed: list[int] = []
        self.prepared = 100
        self.threads = 0
        self.chunk = 0
        self.ran: Callable[[Connection, str], None] = lambda connection, text: None

    def __getitem__(self, name: str) -> FakeServer:
        return self.servers[name]

    async def connect(self, server: Server, stats: ServerStats, login: Login, timeout: float) -> Backend:
        """In place of ``session.connect.connect``."""
        await asyncio.sleep(0)
        fake = self.servers[server.name]
        if fake.refusal is not None:
            raise fake.refusal
        if not fake.up:
            stats.connect_errors += 1
            raise ServerLost(f"server {server.name} at {server.address} cannot be reached: Connection refused")
        return self.backend(fake, stats, login)

    def backend(self, fake: FakeServer, stats: ServerStats, login: Login) -> Backend:
        backend = Backend(fake.name, stats, True)
        transport = ServerTransport(fake, backend)
        transport.connection = Connection(fake, backend, transport, login.database)
        backend.connection_made(transport)
        backend.tracker.status = c.SERVER_STATUS_AUTOCOMMIT  # as the login's OK packet says
        backend.capabilities, backend.plugin, backend.scramble = CAPABILITIES, c.NATIVE, b"x" * 20
        backend.logged_in()
        self.threads += 1
        backend.thread_id = self.threads
        fake.connections.append(transport.connection)
        fake.logins.append(login)
        return backend


# -- the whole


class Bench:
    """A service with a fleet of servers behind it; made within a running loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str, pooled: int = 0, **config: Any) -> None:
        names = names or ("n1", "n2", "n3")
        self.fleet = Fleet(*names)
        monkeypatch.setattr(acquire_module, "connect", self.fleet.connect)
        self.publisher = Publisher()
        self.registry = Registry()
        self.evidence: list[tuple[str, str]] = []
        self.servers = [
            Server(name, Address("127.0.0.1", 3306), persistpoolmax=pooled, persistmaxtime=10.0) for name in names
        ]
        self.roles = {name: Role.PRIMARY if name == names[0] else Role.REPLICA for name in names}
        self.states = dict.fromkeys(names, AdminState.ACTIVE)
        self.version = ""  # of all servers; with one, clients are greeted
        nothing: Any = None
        self.service = Service(
            ServiceConfig(name="app", listen=["127.0.0.1:4006"], **config),  # type: ignore[arg-type]
            self.servers,
            self.publisher,
            nothing,
            nothing,
            self.registry,
            lambda server, why: self.evidence.append((server, why)),
            float("inf"),
            None,
            None,
        )
        self.publish()

    def publish(self, causal: str = "galera", **roles: Role) -> None:
        """A new snapshot with these roles changed."""
        self.roles.update(roles)
        views = tuple(
            ServerView(
                name,
                role,
                self.states[name],
                f"{name} is {role}",
                version=self.version,
                capabilities=CAPABILITIES if self.version else 0,
            )
            for name, role in self.roles.items()
        )
        primary = next((view.name for view in views if view.role is Role.PRIMARY), None)
        at = asyncio.get_running_loop().time()
        self.publisher.publish(Snapshot(self.publisher.snapshot.number + 1, at, views, primary, (), causal))

    def client(self, user: bytes = b"app", database: bytes = b"") -> FakeClient:
        """A logged-in client and its session, without a backend yet."""
        return FakeClient(self, user, database)

    def counters(self) -> tuple[int, int]:
        """Operations under way and connections open, of all servers."""
        stats = self.service.server_stats.values()
        return sum(stat.operations for stat in stats), sum(stat.connections for stat in stats)

    def open_connections(self) -> int:
        return sum(len(server.live) for server in self.fleet.servers.values())


class FakeClient:
    """The far end of a client connection."""

    def __init__(self, bench: Bench, user: bytes, database: bytes) -> None:
        self.client = Client(bench.service, "127.0.0.1")
        self.client.capabilities = CAPABILITIES
        self.transport = FakeTransport(self.client)
        self.client.connection_made(self.transport)
        number = bench.registry.next_id()
        login = Login(Credentials(user, b"secret"), CAPABILITIES, 45, database)
        self.session = Session(bench.service, self.client, number, login, False)
        self.client.session = self.session
        self.client._reader.limit = bench.service.config.max_allowed_packet
        bench.registry.sessions[number] = self.session
        bench.service.stats.sessions += 1

    def send(self, data: bytes) -> None:
        self.transport.protocol.data_received(data)

    def take(self) -> bytes:
        """What has come since the last look."""
        data = bytes(self.transport.written)
        self.transport.written.clear()
        return data

    async def ask(self, text: str | bytes) -> bytes:
        """One query and all that is answered."""
        return await self.run(query(text))

    async def run(self, data: bytes) -> bytes:
        self.send(data)
        await settle()
        return self.take()

    async def where(self, text: str = "SELECT 1") -> str:
        """The name of the server that answers a SELECT."""
        return packets(await self.ask(text))[2][1:].decode()

    def hang_up(self) -> None:
        self.transport.close()


async def settle(seconds: float = 0.001) -> None:
    """Let everything happen that is due within so many (virtual) seconds."""
    await asyncio.sleep(seconds)


def error_in(reply: bytes) -> tuple[int, str]:
    """Code and text of a reply that is one ERR packet."""
    payload = packets(reply)[0]
    assert payload[0] == c.ERR, payload
    return int.from_bytes(payload[1:3], "little"), payload[9:].decode()


def is_ok(reply: bytes) -> bool:
    """The reply is one OK packet."""
    found = packets(reply)
    return len(found) == 1 and found[0][:1] == b"\x00"
