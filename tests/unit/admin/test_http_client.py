"""What strangers can send to the HTTP admin port: each is refused in words or let go, nobody waits for ever."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sqlproxy import tls
from sqlproxy.admin import http, http_client
from sqlproxy.admin.http import MAX_BODY, AdminServer
from sqlproxy.config import AdminConfig, ServiceTLSConfig
from sqlproxy.topology.model import Address
from tests.support.waiting import wait_until_async

from .conftest import Runtime

HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"
STATE = b"PUT /v1/servers/n1/state HTTP/1.1\r\n" + HEAD
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def listening(runtime: Runtime, mode: str = "disabled") -> AsyncIterator[AdminServer]:
    config = ServiceTLSConfig(mode=mode)  # type: ignore[arg-type]
    admin = AdminConfig(listen=Address(host="127.0.0.1"), tls=config)
    server = AdminServer(runtime, admin, tls.server_context("admin.tls", config))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def port(server: AdminServer) -> int:
    return int(server.url.rpartition(":")[2])


async def said(server: AdminServer, data: bytes, context: ssl.SSLContext | None = None) -> tuple[int, Any]:
    """Status and JSON of the answer to bytes; the connection is closed by the other side."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port(server), ssl=context)
    try:
        writer.write(data)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("data", "status", "error"),
    [
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HEAD, 431, "a line of more than 8190 bytes"),
        (b"GET /health HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431, "a line of more than 8190 bytes"),
        (b"\xff\xfe\x00nonsense\r\n\r\n", 400, "not well-formed HTTP"),
        (b"GET /health HTTP/9.9\r\n\r\n", 400, "not well-formed HTTP"),
        (b"GET /health HTTP/1.1\r\nno header\r\n\r\n", 400, "not well-formed HTTP"),
        (STATE + b"Content-Length: -5\r\n\r\n", 400, "not well-formed HTTP"),
        (STATE + b"Content-Length: 5\r\n" + CHUNKED, 400, "not well-formed HTTP"),
        (STATE + b"Content-Length: 2000000\r\nConnection: close\r\n\r\n" + b" " * 2_000_000, 413, f"{MAX_BODY} bytes"),
        (STATE + b"Content-Length: 9\r\nConnection: close\r\n\r\n{not json", 400, "the body is not JSON"),
        (STATE + b"Content-Length: 3\r\nConnection: close\r\n\r\n[1]", 400, "the body is not a JSON object"),
        (STATE + b"Content-Length: 2\r\nConnection: close\r\n\r\n\xff\xfe", 400, "the body is not JSON"),
        (STATE + b"Content-Length: 60000\r\nConnection: close\r\n\r\n" + b"[" * 60_000, 400, "the body is not JSON"),
        (b"GET /v1/servers/%zz%ff%00 HTTP/1.1\r\nConnection: close\r\n" + HEAD + b"\r\n", 404, "no server named"),
        (b"GET /v1/explain?sql=%ff%fe%zz HTTP/1.1\r\nConnection: close\r\n" + HEAD + b"\r\n", 200, ""),
        (b"PATCH /v1/servers HTTP/1.1\r\nConnection: close\r\n" + HEAD + b"\r\n", 405, "PATCH is not possible"),
    ],
)
async def test_what_cannot_be_served_is_refused_in_words(
    runtime: Runtime, data: bytes, status: int, error: str
) -> None:
    async with listening(runtime) as server:
        found, body = await asyncio.wait_for(said(server, data), 20)
    assert found == status, body
    if error:
        assert error in body["error"]
        assert "hint" in body


@pytest.mark.parametrize("sent", [b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: localhost\r\n"])
async def test_a_head_that_does_not_come_ends_the_connection(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_client, "HEAD_SECONDS", 0.05)
    async with listening(runtime) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port(server))
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()


async def test_a_client_that_says_nothing_where_tls_is_possible_is_let_go(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.05)
    async with listening(runtime, "preferred") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port(server))
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()


async def test_a_body_that_does_not_come_is_refused(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(http_client, "LINGER_SECONDS", 0.05)
    async with listening(runtime) as server:
        status, body = await asyncio.wait_for(said(server, STATE + b"Content-Length: 9\r\n\r\n{"), 20)
        assert (status, body["error"]) == (408, "the body did not come within 0.05 s")
        assert not runtime.asked


async def test_clients_beyond_the_limit_are_told_so_and_room_is_used_again(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_CLIENTS", 2)
    health = b"GET /health HTTP/1.1\r\nConnection: close\r\n" + HEAD + b"\r\n"
    async with listening(runtime) as server:
        idle = [await asyncio.open_connection("127.0.0.1", port(server)) for _ in range(2)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port(server))
        assert b" 503 " in await reader.readline()
        writer.close()
        idle[0][1].close()

        async def served() -> bool:
            try:
                return (await said(server, health))[0] == 200
            except (ConnectionError, IndexError):
                return False  # what refused it was faster than its question

        await wait_until_async(served, message="there is room again")
        idle[1][1].close()


async def test_http_and_https_share_the_port_where_clients_may_choose(runtime: Runtime) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    health = b"GET /health HTTP/1.1\r\nConnection: close\r\n" + HEAD + b"\r\n"
    async with listening(runtime, "preferred") as server:
        assert await said(server, health) == (200, {"status": "alive"})
        assert await said(server, health, context) == (200, {"status": "alive"})
        assert server.url.startswith("http:")
    async with listening(runtime, "required") as server:
        status, body = await said(server, health)
        assert (status, body) == (403, {"error": "this port speaks HTTPS only", "hint": "ask https://… instead"})
        assert await said(server, health, context) == (200, {"status": "alive"})
        assert server.url.startswith("https:")
    async with listening(runtime) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await said(server, health, context)
