"""Ids and parameter types on their way from a client to the backends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.errors import ProtocolError
from sqlproxy.session.prepared import (
    BackendStatement,
    PreparedStatement,
    execute_on,
    long_data_on,
    reply_kind,
    statement_id,
    with_id,
)
from sqlproxy.wire import codec
from sqlproxy.wire.constants import COM_STMT_EXECUTE, COM_STMT_SEND_LONG_DATA, MAX_PAYLOAD
from sqlproxy.wire.framing import payload_of
from sqlproxy.wire.response import CURSOR, QUERY

LONG = b"\x08\x00"


def execute(number: int, parameters: int, types: bytes | None, values: bytes = b"", flags: int = 0) -> bytes:
    """A COM_STMT_EXECUTE; ``types`` None: not sent this time."""
    body = number.to_bytes(4, "little") + bytes((flags,)) + (1).to_bytes(4, "little")
    if parameters:
        body += bytes((parameters + 7) // 8) + (b"\x00" if types is None else b"\x01" + types) + values
    return codec.packet(0, bytes((COM_STMT_EXECUTE,)) + body)


def statement(parameters: int) -> PreparedStatement:
    return PreparedStatement(1, b"\x16SELECT ?", 0, parameters, 1)


def test_only_the_id_changes_when_types_come_along() -> None:
    known, target = statement(1), BackendStatement(99)
    assert execute_on(known, target, execute(1, 1, LONG, b"v")) == execute(99, 1, LONG, b"v")
    assert known.types == target.types == LONG


def test_types_sent_once_are_put_in_for_a_backend_that_has_not_heard_them() -> None:
    known, first, second = statement(1), BackendStatement(5), BackendStatement(6)
    execute_on(known, first, execute(1, 1, LONG, b"v"))
    assert execute_on(known, first, execute(1, 1, None, b"w")) == execute(5, 1, None, b"w")
    assert execute_on(known, second, execute(1, 1, None, b"w")) == execute(6, 1, LONG, b"w")
    assert execute_on(known, second, execute(1, 1, None, b"x")) == execute(6, 1, None, b"x")


def test_changed_types_are_told_to_all() -> None:
    known, first, second = statement(1), BackendStatement(5), BackendStatement(6)
    execute_on(known, first, execute(1, 1, LONG, b"v"))
    execute_on(known, second, execute(1, 1, b"\xfe\x00", b"v"))
    assert execute_on(known, first, execute(1, 1, None, b"w")) == execute(5, 1, b"\xfe\x00", b"w")


@given(st.integers(0, 40), st.booleans(), st.binary(max_size=20))
def test_any_number_of_parameters_has_its_types_where_they_belong(count: int, again: bool, values: bytes) -> None:
    known, target = statement(count), BackendStatement(9)
    types = LONG * count
    execute_on(known, BackendStatement(8), execute(1, count, types, values))
    command = execute(1, count, None if again else types, values)
    assert execute_on(known, target, command) == execute(9, count, types, values)


def test_a_packet_that_grows_beyond_its_limit_is_cut_anew() -> None:
    known, target = statement(1), BackendStatement(9)
    execute_on(known, BackendStatement(8), execute(1, 1, LONG))
    values = bytes(MAX_PAYLOAD - 12)  # with the types it takes two packets
    found = execute_on(known, target, execute(1, 1, None, values))
    assert payload_of(found) == payload_of(execute(9, 1, LONG, values))
    assert found == codec.packet(0, payload_of(found))


def test_a_long_command_keeps_its_packets_when_only_the_id_changes() -> None:
    values = bytes(MAX_PAYLOAD + 5)
    assert execute_on(statement(1), BackendStatement(9), execute(1, 1, LONG, values)) == execute(9, 1, LONG, values)


@pytest.mark.parametrize("size", range(5, 15))
def test_a_command_cut_short_is_refused(size: int) -> None:
    whole = payload_of(execute(1, 2, LONG * 2))
    assert len(whole) == 16
    with pytest.raises(ProtocolError, match="COM_STMT_EXECUTE without its parameter"):
        execute_on(statement(2), BackendStatement(9), codec.packet(0, whole[:size]))


@pytest.mark.parametrize("size", range(1, 5))
def test_a_command_without_an_id_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError, match="without a statement id"):
        statement_id(codec.packet(0, b"\x17\x01\x00\x00\x00"[:size]))


def test_a_cursor_is_seen_in_the_flags() -> None:
    assert reply_kind(execute(1, 0, None)) == QUERY
    assert reply_kind(execute(1, 0, None, flags=1)) == CURSOR
    assert reply_kind(codec.packet(0, b"\x17\x01\x00\x00\x00")) == QUERY


def test_ids_are_replaced_and_nothing_else() -> None:
    command = codec.packet(0, b"\x1a\x01\x00\x00\x00rest")
    assert with_id(command, 0x01020304) == codec.packet(0, b"\x1a\x04\x03\x02\x01rest")


def test_long_data_is_kept_up_to_the_limit_and_counted_beyond() -> None:
    known = statement(1)
    payload = bytes((COM_STMT_SEND_LONG_DATA,)) + b"\x01\x00\x00\x00" + b"\x00\x00" + b"abc"
    for _ in range(5):
        known.add_long_data(payload, 20)
    assert known.long_data_size == 5 * len(payload)
    assert len(known.long_data) < 5
    assert payload_of(long_data_on(BackendStatement(9), payload)) == b"\x18\x09\x00\x00\x00\x00\x00abc"
    known.reset()
    assert (known.long_data, known.long_data_size, known.cursor) == ([], 0, "")
