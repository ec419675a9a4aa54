"""COM_STMT_BULK_EXECUTE on its way to a backend, and progress reports on their way to the client."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sqlproxy.errors import ProtocolError
from sqlproxy.session.prepared import BackendStatement, PreparedStatement, bulk_on, packet_on
from sqlproxy.sql.bits import WRITE
from sqlproxy.wire import codec
from sqlproxy.wire import constants as c
from sqlproxy.wire.framing import payload_of
from tests.support.fakes import Bench, command, ok, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]
TYPES = b"\x03\x00\x03\x00"
ROWS = b"\x00\x01\x00\x00\x00\x00\x02\x00\x00\x00"
REPORT = codec.packet(1, b"\xff\xff\xff\x01\x01\x02\x10\x00\x00\x04copy")


def statement() -> PreparedStatement:
    return PreparedStatement(7, b"\x16INSERT INTO t VALUES (?, ?)", WRITE, 2, 0)


def bulk(types: bytes, flags: int = 0) -> bytes:
    return command(
        c.COM_STMT_BULK_EXECUTE, b"\x07\0\0\0" + (flags | (128 if types else 0)).to_bytes(2, "little") + types + ROWS
    )


def test_a_backend_that_was_not_told_the_types_is_told_them() -> None:
    known, first, second = statement(), BackendStatement(1), BackendStatement(2)
    expected = lambda number: b"\xfa" + bytes((number,)) + b"\0\0\0\x80\0" + TYPES + ROWS  # noqa: E731
    assert payload_of(bulk_on(known, first, bulk(TYPES))) == expected(1)
    assert payload_of(bulk_on(known, second, bulk(b""))) == expected(2)
    assert known.types == first.types == second.types == TYPES


def test_other_flags_stay() -> None:
    assert payload_of(packet_on(statement(), BackendStatement(1), bulk(TYPES, 64)))[5:7] == b"\xc0\0"


@pytest.mark.parametrize("body", [b"\x07\0\0\0", b"\x07\0\0\0\x80\0\x03"])
def test_a_bulk_command_that_is_too_short_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        bulk_on(statement(), BackendStatement(1), command(c.COM_STMT_BULK_EXECUTE, body))


@virtual
@pytest.mark.parametrize("body", [b"", b"\x07\0"])
async def test_a_bulk_command_that_names_no_statement_is_answered(bench: MakeBench, body: bytes) -> None:
    client = bench().client()
    answer = await client.run(command(c.COM_STMT_BULK_EXECUTE, body))
    assert b"a statement command without a statement id" in answer
    assert await client.ask("SELECT 1")


@virtual
async def test_a_report_of_progress_is_passed_on_at_once(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet["n1"].script = lambda connection, payload: REPORT
    assert await client.ask("ALTER TABLE t ADD COLUMN b INT") == REPORT
    assert client.session.busy
    client.session.backends["n1"].data_received(ok(seq=2))
    await settle()
    assert client.take() == ok(seq=2)
    assert not client.session.busy
