"""What strangers can send to the SQL admin port: each is refused in one sentence or let go, nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sqlproxy import tls
from sqlproxy.admin import sql
from sqlproxy.admin.sql import MAX_PACKET, SqlAdmin
from sqlproxy.config import AdminConfig, ServiceTLSConfig
from sqlproxy.errors import ServerError
from sqlproxy.topology.model import Address
from sqlproxy.wire import constants as c
from sqlproxy.wire.codec import packet
from sqlproxy.wire.handshake import Greeting, HandshakeResponse
from sqlproxy.wire.packets import parse_err
from tests.support.waiting import wait_until_async

from .conftest import Runtime

LOGIN = HandshakeResponse(
    capabilities=c.CLIENT_PROTOCOL_41 | c.CLIENT_SECURE_CONNECTION, username=b"x", auth_response=b""
)


@asynccontextmanager
async def listening(runtime: Runtime, mode: str = "disabled") -> AsyncIterator[int]:
    config = ServiceTLSConfig(mode=mode)  # type: ignore[arg-type]
    admin = AdminConfig(sql_listen=Address(host="127.0.0.1"), tls=config)
    server = SqlAdmin(runtime, admin, tls.server_context("admin.tls", config))
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop()


class Raw:
    """A client of bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def read(self) -> bytes:
        size = int.from_bytes((await asyncio.wait_for(self._reader.readexactly(4), 20))[:3], "little")
        return await asyncio.wait_for(self._reader.readexactly(size), 20)

    async def error(self) -> tuple[int, str]:
        found = parse_err(await self.read())
        assert found is not None
        return found.code, found.message

    async def closed(self) -> bool:
        return not await asyncio.wait_for(self._reader.read(), 20)


@asynccontextmanager
async def client(port: int, log_in: bool = True) -> AsyncIterator[Raw]:
    raw = Raw(*await asyncio.open_connection("127.0.0.1", port))
    try:
        Greeting.parse(await raw.read())
        if log_in:
            raw.writer.write(packet(1, LOGIN.encode()))
            assert (await raw.read())[0] == 0
        yield raw
    finally:
        raw.writer.close()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ((MAX_PACKET + 1).to_bytes(3, "little") + b"\0", (1153, "Got a packet bigger than 'max_allowed_packet' bytes")),
        (packet(7, b"\x0e"), (1156, "Got packets out of order")),
    ],
)
async def test_malformed_packets_end_the_connection_with_a_sentence(
    runtime: Runtime, data: bytes, error: tuple[int, str]
) -> None:
    async with listening(runtime) as port, client(port) as raw:
        raw.writer.write(data)
        assert await raw.error() == error
        assert await raw.closed()


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", 1047),
        (b"\x99junk", 1047),
        (b"\x12\0\0\0\0", 1047),  # COM_BINLOG_DUMP
        (b"\x17\1\0", 1835),
        (b"\x17\1\0\0\0\0\1\0\0\0", 1243),
        (b"\x03\xff\xfe\xfd", 1064),
        (b"\x03SELECT " + b"(" * 60_000, 1064),
        (b"\x03SELECT " + b"1+" * 30_000 + b"1", 1064),
        (b"\x03SELECT " + b"1+" * 100_000 + b"1", 1153),
        (b"\x03SELECT * FROM servers, servers, servers WHERE \0", 1064),
    ],
)
async def test_what_is_not_understood_is_refused_and_the_next_command_runs(
    runtime: Runtime, payload: bytes, code: int
) -> None:
    async with listening(runtime) as port, client(port) as raw:
        raw.writer.write(packet(0, payload))
        found, text = await raw.error()
        assert found == code, text
        assert text
        assert "\n" not in text
        raw.writer.write(packet(0, b"\x0e"))
        assert (await raw.read())[0] == 0


@pytest.mark.parametrize("sent", [b"", b"\x20", b"\x20\0\0\1", packet(1, LOGIN.encode())[:-3]])
async def test_a_login_that_does_not_come_ends_the_connection(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(sql, "LOGIN_SECONDS", 0.1)
    async with listening(runtime) as port, client(port, log_in=False) as raw:
        raw.writer.write(sent)
        assert await raw.closed()


async def test_a_login_that_is_too_long_is_refused_before_it_has_come(runtime: Runtime) -> None:
    async with listening(runtime) as port, client(port, log_in=False) as raw:
        raw.writer.write(b"\xff\xff\xff\1")
        assert (await raw.error())[1] == "Got a login that is too long"
        assert await raw.closed()


async def test_clients_beyond_the_limit_are_told_so_and_room_is_used_again(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "MAX_CLIENTS", 2)
    async with listening(runtime) as port:
        async with client(port), client(port):
            raw = Raw(*await asyncio.open_connection("127.0.0.1", port))
            assert await raw.error() == (1040, "Too many connections")
            raw.writer.close()

        async def served() -> bool:
            try:
                async with client(port):
                    return True
            except (ServerError, OSError, EOFError):
                return False

        await wait_until_async(served, message="there is room again")


async def test_clients_in_clear_are_refused_where_tls_is_required(runtime: Runtime) -> None:
    async with listening(runtime, "required") as port, client(port, log_in=False) as raw:
        raw.writer.write(packet(1, LOGIN.encode()))
        code, text = await raw.error()
        assert code == c.ER_SECURE_TRANSPORT_REQUIRED
        assert text == "Connections using insecure transport are prohibited: the admin side requires TLS"
        assert await raw.closed()
