"""Nobody gets past the door of an embedded node without a password, and no bytes stop it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest

from sqlproxy.lab.embedded import EmbeddedCluster
from sqlproxy.wire.codec import packet
from tests.support.embedded import (
    embedded_cluster,
    greets,
    in_thread,
    port_of,
)


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    async with embedded_cluster() as embedded:
        yield embedded


async def _exchange(port: int, *payloads: bytes) -> bytes:
    """What a node answers to raw packets after its greeting, until it closes or says nothing for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readexactly(int.from_bytes((await reader.readexactly(4))[:3], "little"))
    for payload in payloads:
        writer.write(payload)
    answer = b""
    while chunk := await asyncio.wait_for(reader.read(65536), 5):
        answer += chunk
    writer.close()
    await writer.wait_closed()
    return answer


def _login(user: bytes, auth: bytes) -> bytes:
    capabilities = 1 << 9 | 1 << 15 | 1 << 19 | 1
    head = struct.pack("<IIB23x", capabilities, 1 << 24, 45)
    return packet(1, head + user + b"\0" + bytes((len(auth),)) + auth + b"mysql_native_password\0")


@pytest.mark.parametrize("user", [b"app", b"nobody"])
async def test_after_a_failed_login_no_query_is_answered(cluster: EmbeddedCluster, user: bytes) -> None:
    query = packet(0, b"\x03SELECT text FROM app.greetings")
    answer = await _exchange(port_of(cluster, "n1"), _login(user, b"\x11" * 20), query, query)
    assert answer[4:7] == b"\xff" + (1045).to_bytes(2, "little")
    assert b"Access denied for user '" + user + b"'@'localhost' (using password: YES)" in answer
    assert b"Hello" not in answer


async def test_a_user_name_without_nul_is_refused_and_the_cluster_lives(cluster: EmbeddedCluster) -> None:
    head = struct.pack("<IIB23x", 1 << 9 | 1 << 15, 1 << 24, 45)
    answer = await asyncio.wait_for(_exchange(port_of(cluster, "n1"), packet(1, head + b"app")), 20)
    assert answer[4] == 0xFF
    assert b"user name" in answer
    with_database = await in_thread(lambda: greets(cluster))
    assert with_database == [(1,)]


@pytest.mark.parametrize(
    "junk",
    [b"", b"\xff" * 4, packet(1, b""), packet(5, b"x" * 40), packet(1, b"\xff" * 200), b"\xff\xff\xff\x01" + b"a" * 99],
)
async def test_junk_before_the_login_is_refused(cluster: EmbeddedCluster, junk: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(cluster, "n1"))
    await reader.readexactly(int.from_bytes((await reader.readexactly(4))[:3], "little"))
    writer.write(junk)
    writer.write_eof()
    rest = await asyncio.wait_for(reader.read(), 20)
    assert rest[4:5] in (b"", b"\xff")
    writer.close()
    await writer.wait_closed()
    assert await in_thread(lambda: greets(cluster)) == [(1,)]


async def test_commands_cut_into_single_bytes_are_understood(cluster: EmbeddedCluster) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(cluster, "n1"))
    await reader.readexactly(int.from_bytes((await reader.readexactly(4))[:3], "little"))
    for byte in _login(b"root", b"") + packet(0, b"\x0e") + packet(0, b"\x01"):
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(0)
    answer = await asyncio.wait_for(reader.read(), 20)
    assert answer[4] == 0
    assert answer.endswith(b"\x07\0\0\x01\0\0\0\x02\0\0\0")
    writer.close()
    await writer.wait_closed()


async def test_prepare_tells_parameters_and_columns(cluster: EmbeddedCluster) -> None:
    statements = (b"SELECT id, text FROM app.greetings WHERE id = ?", b"SHOW DATABASES", b"DELETE FROM app.greetings")
    prepares = [packet(0, b"\x16" + statement) for statement in statements]
    answer = await _exchange(port_of(cluster, "n1"), _login(b"root", b""), *prepares, packet(0, b"\x01"))
    answer = answer[11:]  # after the OK of the login
    found = []
    while answer:
        size = int.from_bytes(answer[:3], "little")
        if answer[3] == 1 and size == 12:
            found.append(struct.unpack("<BIHHxH", answer[4:16])[1:4])
        answer = answer[4 + size :]
    assert found == [(1, 2, 1), (2, 1, 0), (3, 0, 0)]


async def test_odd_commands_are_answered_with_errors_and_nothing_is_logged(
    cluster: EmbeddedCluster, caplog: pytest.LogCaptureFixture
) -> None:
    odd = [
        b"\x03",
        b"\x03set @a=6KD:p0C",
        b"\x03\xff\xfe",
        b"\x63",
        b"\x1c\1\0\0\0\1\0\0\0",
        b"\x17\x09\0\0\0",
        b"\x04t\0",
    ]
    commands = [packet(0, payload) for payload in odd]
    answer = await _exchange(port_of(cluster, "n1"), _login(b"root", b""), *commands, packet(0, b"\x01"))
    answer, codes = answer[11:], []
    while answer:
        assert answer[4] == 0xFF
        codes.append(int.from_bytes(answer[5:7], "little"))
        answer = answer[4 + int.from_bytes(answer[:3], "little") :]
    assert codes == [1065, 1064, 1300, 1047, 1047, 1243, 1046]
    assert caplog.records == []
