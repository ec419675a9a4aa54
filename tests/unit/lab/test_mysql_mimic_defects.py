"""What mysql-mimic does wrong as released: the reasons why it is used only behind our own handshake.

A test that fails after an upgrade means that the defect is gone, and with it a piece of our workaround.
"""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from typing import Any

import pytest
from mysql_mimic.auth import IdentityProvider, NativePasswordAuthPlugin, User
from mysql_mimic.charset import CharacterSet, Collation
from mysql_mimic.connection import Connection
from mysql_mimic.control import LocalControl
from mysql_mimic.packets import parse_com_stmt_execute
from mysql_mimic.prepared import PreparedStatement
from mysql_mimic.results import ResultColumn
from mysql_mimic.session import BaseSession, Session
from mysql_mimic.stream import MysqlStream
from mysql_mimic.types import Capabilities, ColumnType

from sqlproxy.wire import native_password
from sqlproxy.wire.codec import packet
from sqlproxy.wire.constants import NATIVE
from sqlproxy.wire.handshake import HandshakeResponse

CAPABILITIES = 1 << 9 | 1 << 15 | 1 << 19 | 1


class Wire:
    """The writer's half of a connection: keeps what is written."""

    def __init__(self) -> None:
        self.sent = bytearray()

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None:
        return None

    def payloads(self) -> list[bytes]:
        found, pos = [], 0
        while pos < len(self.sent):
            size = int.from_bytes(self.sent[pos : pos + 3], "little")
            found.append(bytes(self.sent[pos + 4 : pos + 4 + size]))
            pos += 4 + size
        return found


class OneUser(IdentityProvider):  # type: ignore[misc]
    """Knows ``app`` with the password ``app``."""

    def get_plugins(self) -> list[Any]:
        return [NativePasswordAuthPlugin()]

    async def get_user(self, username: str) -> Any:
        stored = native_password.stored_hash(b"app").removeprefix("*").lower()
        return User(name="app", auth_string=stored, auth_plugin=NATIVE) if username == "app" else None


class Secret(Session):  # type: ignore[misc]
    """Has something to hide."""

    async def query(self, expression: Any, sql: str, attrs: dict[str, str]) -> Any:
        return [("secret",)], ["a"]


def connection(session: Any, *packets: bytes) -> tuple[Any, Wire]:
    reader, wire = asyncio.StreamReader(), Wire()
    reader.feed_data(b"".join(packets))
    reader.feed_eof()
    return Connection(MysqlStream(reader, wire), session, LocalControl(server_id=1), OneUser()), wire


def login(user: bytes) -> bytes:
    return packet(1, HandshakeResponse(CAPABILITIES, user, b"\x11" * 20, plugin=NATIVE).encode())


@pytest.mark.parametrize("user", [b"app", b"nobody"])
async def test_1_a_failed_login_goes_on_into_the_command_phase(user: bytes) -> None:
    mimic, wire = connection(Secret(), login(user), packet(0, b"\x03SELECT a FROM t"))
    await mimic.start()
    payloads = wire.payloads()
    assert payloads[1][:1] == b"\xff"
    assert b"\x06secret" in payloads


def test_2_a_string_without_nul_hangs_for_ever() -> None:
    code = "import io; from mysql_mimic.types import read_str_null; read_str_null(io.BytesIO(b'app'))"
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", code], timeout=2, check=False, capture_output=True)


async def test_3_a_header_cut_in_two_is_an_error() -> None:
    reader = asyncio.StreamReader()
    stream = MysqlStream(reader, Wire())
    reader.feed_data(b"\x01\x00")
    asyncio.get_running_loop().call_soon(reader.feed_data, b"\x00\x00\x0e")
    with pytest.raises(Exception, match="unpack requires a buffer of 4 bytes"):
        await stream.read()


def test_4_the_collation_0_of_a_client_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 is not a valid Collation"):
        Collation(0)


async def test_5_prepare_sends_an_eof_that_deprecate_eof_forbids() -> None:
    mimic, wire = connection(BaseSession(), b"")
    mimic.session.variables = Session().variables
    mimic.capabilities = Capabilities(CAPABILITIES | 1 << 24)
    await mimic.handle_stmt_prepare(b"SELECT ?")
    assert wire.payloads()[-1] == b"\xfe\0\0\0\0"


async def test_6_status_flags_never_tell_autocommit_or_a_transaction() -> None:
    mimic, wire = connection(Session(), b"")
    mimic.capabilities = Capabilities(CAPABILITIES)
    for sql in (b"SET autocommit = 1", b"BEGIN"):
        await mimic.handle_query(sql)
    assert wire.payloads() == [b"\0\0\0\0\0\0\0"] * 2


def test_7_string_parameters_are_pasted_into_the_sql_unquoted() -> None:
    statement = PreparedStatement(stmt_id=1, sql="SELECT ?", num_params=1)
    value = b"' OR '1'='1"
    data = b"\x01\0\0\0\0\x01\0\0\0\0\x01\xfd\0" + bytes((len(value),)) + value
    capabilities = Capabilities(CAPABILITIES)
    executed = parse_com_stmt_execute(capabilities, CharacterSet.utf8mb4, data, lambda _: statement)
    assert executed.sql == "SELECT '' OR '1'='1'"


def test_8_the_binary_protocol_makes_every_tinyint_0_or_1() -> None:
    assert ResultColumn("a", ColumnType.TINY).binary_encode(5) == b"\x01"


def test_9_the_stream_cannot_be_extended() -> None:
    with pytest.raises(TypeError, match="interpreted classes cannot inherit from compiled"):
        type("Stream", (MysqlStream,), {})(io.BytesIO(), Wire())
