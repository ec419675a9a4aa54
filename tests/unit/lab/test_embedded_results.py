import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mysql_mimic.packets import make_binary_resultrow
from mysql_mimic.types import ColumnType

from sqlproxy.errors import ProtocolError
from sqlproxy.lab.embedded_results import (
    binary_values,
    column_definition,
    read_parameters,
    read_types,
    result_columns,
    text_row,
)
from sqlproxy.lab.embedded_store import Rows
from sqlproxy.wire import codec

VAR_STRING, LONGLONG, DATETIME, TIME = ColumnType.VAR_STRING, ColumnType.LONGLONG, ColumnType.DATETIME, ColumnType.TIME


def rows(values: list[Any], declared: str = "") -> Rows:
    return Rows(("a",), (declared,), [(value,) for value in values])


@pytest.mark.parametrize(
    ("values", "declared", "expected"),
    [
        ([1], "", LONGLONG),
        ([None, 1.5], "", ColumnType.DOUBLE),
        ([b"x"], "", ColumnType.BLOB),
        ([None], "", VAR_STRING),
        ([], "int(11) unsigned", LONGLONG),
        ([], "datetime", DATETIME),
        ([1], "varchar(9)", VAR_STRING),
        ([], "varbinary(9)", ColumnType.BLOB),
    ],
)
def test_column_types_are_declared_or_inferred(values: list[Any], declared: str, expected: ColumnType) -> None:
    assert result_columns(rows(values, declared))[0].type is expected


@pytest.mark.parametrize(
    ("value", "declared", "expected"),
    [(1.0, "", b"1"), (1.25, "", b"1.25"), (1.5, "decimal(10,2)", b"1.50"), ("é", "", "é".encode()), (2, "int", b"2")],
)
def test_text_is_printed_as_mysql_does(value: Any, declared: str, expected: bytes) -> None:
    result = rows([value], declared)
    assert text_row(result.rows[0], result_columns(result)) == codec.write_lenenc_string(expected)


@pytest.mark.parametrize(
    ("value", "declared", "expected"),
    [
        (5, "tinyint(1)", struct.pack("<q", 5)),
        ("2024-02-29 01:02:03", "datetime", b"\x07" + struct.pack("<HBBBBB", 2024, 2, 29, 1, 2, 3)),
        ("2024-02-29", "date", b"\x04" + struct.pack("<HBB", 2024, 2, 29)),
        (1.5, "decimal(10,2)", b"\x041.50"),
    ],
)
def test_binary_values_have_the_declared_type(value: Any, declared: str, expected: bytes) -> None:
    result = rows([value], declared)
    columns = result_columns(result)
    assert make_binary_resultrow(binary_values(result.rows[0], columns), columns) == b"\0\0" + expected


def test_what_does_not_fit_its_declared_type_is_null_in_the_binary_protocol() -> None:
    assert binary_values(("abc",), result_columns(rows(["abc"], "int"))) == [None]


def test_a_column_definition_names_table_and_type() -> None:
    definition = column_definition(result_columns(rows([1]))[0], "app", "t")
    assert definition == b"\x03def\x03app\x01t\x01t\x01a\x01a\x0c" + struct.pack("<HIBHBH", 63, 255, 8, 0x8000, 0, 0)


def test_parameters_of_every_kind() -> None:
    types = [
        LONGLONG,
        LONGLONG | 0x8000,
        ColumnType.TINY,
        ColumnType.DOUBLE,
        VAR_STRING,
        DATETIME,
        TIME,
        ColumnType.NULL,
    ]
    payload = struct.pack("<qQbd", -1, 2**63, -5, 0.5) + b"\x02hi" + b"\x04" + struct.pack("<HBB", 2024, 1, 2)
    payload += b"\x08" + struct.pack("<BIBBB", 1, 1, 2, 3, 4)
    expected = [-1, 2**63, -5, 0.5, "hi", "2024-01-02 00:00:00", "-26:03:04", None]
    assert list(read_parameters(payload, 0, types, b"\0", {})) == expected


def test_null_bits_and_long_data_take_no_bytes() -> None:
    found = read_parameters(b"\x01x", 0, [VAR_STRING] * 3, b"\x01", {1: bytearray(b"long")})
    assert list(found) == [None, "long", "x"]


@given(st.binary(max_size=60), st.lists(st.integers(0, 0xFFFF), max_size=5))
def test_any_parameters_are_read_or_refused(payload: bytes, types: list[int]) -> None:
    try:
        values = list(read_parameters(payload, 0, types, bytes(8), {}))
    except ProtocolError:
        return
    assert len(values) == len(types)


def test_truncated_types_are_refused() -> None:
    with pytest.raises(ProtocolError):
        read_types(b"\x08", 0, 1)
