"""Result sets and parameters of the embedded nodes: SQLite's values to and from the protocol's types."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from mysql_mimic.results import ResultColumn
from mysql_mimic.types import ColumnType

from sqlproxy.errors import ProtocolError
from sqlproxy.lab.embedded_store import Rows
from sqlproxy.wire import codec
from sqlproxy.wire.constants import UTF8MB4_GENERAL_CI

_BINARY = 63  # the collation of what is not text
_INTEGERS = ("tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year", "bool", "boolean")
_TYPES: dict[str, ColumnType] = {
    **dict.fromkeys(_INTEGERS, ColumnType.LONGLONG),
    **dict.fromkeys(("float", "double", "real"), ColumnType.DOUBLE),
    **dict.fromkeys(("decimal", "numeric"), ColumnType.NEWDECIMAL),
    **dict.fromkeys(("blob", "tinyblob", "mediumblob", "longblob", "binary", "varbinary"), ColumnType.BLOB),
    "date": ColumnType.DATE,
    "datetime": ColumnType.DATETIME,
    "timestamp": ColumnType.TIMESTAMP,
    "time": ColumnType.TIME,
}
_TEXT_TYPES = (ColumnType.VAR_STRING,)


def result_columns(result: Rows) -> list[ResultColumn]:
    """mysql-mimic's columns: the declared type where it is known, else what the first value that is not NULL is."""
    columns = []
    for number, (name, declared) in enumerate(zip(result.names, result.types, strict=True)):
        base = declared.partition("(")[0].partition(" ")[0]
        type_ = _TYPES.get(base)
        if type_ is None:
            value = next((row[number] for row in result.rows if row[number] is not None), None)
            type_ = ColumnType.VAR_STRING if base else _type_of(value)
        columns.append(_decimal_column(name, declared) if type_ is ColumnType.NEWDECIMAL else ResultColumn(name, type_))
    return columns


def _decimal_column(name: str, declared: str) -> ResultColumn:
    """SQLite keeps decimals as floats; they are printed with the declared number of decimals."""
    scale = int(declared.partition(",")[2].partition(")")[0] or 0)

    def text(_: ResultColumn, value: Any) -> bytes:
        return f"{value:.{scale}f}".encode() if isinstance(value, int | float) else str(value).encode()

    def binary(column: ResultColumn, value: Any) -> bytes:
        return codec.write_lenenc_string(text(column, value))

    return ResultColumn(name, ColumnType.NEWDECIMAL, text_encoder=text, binary_encoder=binary)


def _type_of(value: Any) -> ColumnType:
    if isinstance(value, int):
        return ColumnType.LONGLONG
    if isinstance(value, float):
        return ColumnType.DOUBLE
    return ColumnType.BLOB if isinstance(value, bytes) else ColumnType.VAR_STRING


def column_definition(column: ResultColumn, database: str, table: str, default: bytes | None = None) -> bytes:
    """A ColumnDefinition41; ``default`` only for COM_FIELD_LIST."""
    text = column.type in _TEXT_TYPES
    collation = UTF8MB4_GENERAL_CI if text else _BINARY
    names = ("def", database, table, table, column.name, column.name)
    flags = 0x80 if column.type is ColumnType.BLOB else 0 if text else 0x8000  # BINARY or NUM
    decimals = 31 if column.type is ColumnType.DOUBLE else 0
    fixed = struct.pack("<HIBHBxx", collation, 1024 if text else 255, column.type, flags, decimals)
    start = b"".join(codec.write_lenenc_string(name.encode()) for name in names)
    return start + b"\x0c" + fixed + (b"" if default is None else codec.write_lenenc_string(default))


def text_row(row: Sequence[Any], columns: Sequence[ResultColumn]) -> bytes:
    """A row of the text protocol."""
    return b"".join(
        b"\xfb" if value is None else codec.write_lenenc_string(column.text_encode(shown(value, column.type)))
        for value, column in zip(row, columns, strict=True)
    )


def shown(value: Any, type_: ColumnType) -> Any:
    """A value as MySQL prints it: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value


def binary_values(row: Sequence[Any], columns: Sequence[ResultColumn]) -> list[Any]:
    """A row's values in the Python types that mysql-mimic's binary encoders want."""
    return [None if value is None else _typed(value, column.type) for value, column in zip(row, columns, strict=True)]


def _typed(value: Any, type_: ColumnType) -> Any:
    try:
        if type_ is ColumnType.LONGLONG:
            return int(value)
        if type_ is ColumnType.DOUBLE:
            return float(value)
        if type_ in (ColumnType.DATE, ColumnType.DATETIME, ColumnType.TIMESTAMP):
            return datetime.fromisoformat(str(value))
        if type_ is ColumnType.TIME:
            hours, minutes, seconds = str(value).split(":")
            return timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))
    except ValueError:
        return None
    return shown(value, type_)


def read_types(payload: bytes, pos: int, count: int) -> tuple[list[int], int]:
    """The types of the parameters of a COM_STMT_EXECUTE: type in the low byte, 0x8000 for unsigned."""
    raw, pos = codec.read_bytes(payload, pos, 2 * count, "parameter types")
    return list(struct.unpack(f"<{count}H", raw)), pos


def read_parameters(
    payload: bytes, pos: int, types: Sequence[int], nulls: bytes, long_data: Mapping[int, bytearray]
) -> Iterator[Any]:
    """The values of a COM_STMT_EXECUTE; ``long_data`` are those sent before it. Raises ProtocolError."""
    for number, type_ in enumerate(types):
        if number in long_data:
            yield text_or_bytes(bytes(long_data[number]), ColumnType.BLOB)
            continue
        if nulls[number // 8] >> number % 8 & 1:
            yield None
            continue
        value, pos = _read_value(payload, pos, type_)
        yield value


_FIXED = {ColumnType.TINY: 1, ColumnType.BOOL: 1, ColumnType.SHORT: 2, ColumnType.YEAR: 2, ColumnType.LONG: 4}
_FIXED |= {ColumnType.INT24: 4, ColumnType.LONGLONG: 8, ColumnType.FLOAT: 4, ColumnType.DOUBLE: 8}
_BLOBS = (ColumnType.TINY_BLOB, ColumnType.MEDIUM_BLOB, ColumnType.LONG_BLOB, ColumnType.BLOB, ColumnType.BIT)


def _read_value(payload: bytes, pos: int, declared: int) -> tuple[Any, int]:
    type_ = declared & 0xFF
    if type_ == ColumnType.NULL:
        return None, pos
    if type_ in _FIXED:
        raw, pos = codec.read_bytes(payload, pos, _FIXED[ColumnType(type_)], "parameter")
        if type_ in (ColumnType.FLOAT, ColumnType.DOUBLE):
            return struct.unpack("<f" if type_ == ColumnType.FLOAT else "<d", raw)[0], pos
        return int.from_bytes(raw, "little", signed=not declared & 0x8000), pos
    raw, pos = codec.read_lenenc_string(payload, pos, "parameter")
    if type_ in (ColumnType.DATE, ColumnType.DATETIME, ColumnType.TIMESTAMP):
        return _read_datetime(raw, type_), pos
    if type_ == ColumnType.TIME:
        return _read_time(raw), pos
    return text_or_bytes(raw, type_), pos


def text_or_bytes(raw: bytes, type_: int) -> str | bytes:
    """A string parameter: text unless it is a blob that is no UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        if type_ in _BLOBS or type_ in (ColumnType.VAR_STRING, ColumnType.STRING):
            return raw
        raise ProtocolError("a parameter is not valid UTF-8", code=1300) from None


def _read_datetime(raw: bytes, type_: int) -> str:
    if len(raw) not in (0, 4, 7, 11):
        raise ProtocolError(f"malformed packet: a date of {len(raw)} bytes")
    year, month, day, hour, minute, second, micro = struct.unpack("<HBBBBBI", raw.ljust(11, b"\0"))
    try:
        moment = datetime(year, month, day, hour, minute, second, micro)
    except ValueError:
        return "0000-00-00" if type_ == ColumnType.DATE else "0000-00-00 00:00:00"
    return date.isoformat(moment) if type_ == ColumnType.DATE else moment.isoformat(" ")


def _read_time(raw: bytes) -> str:
    if len(raw) not in (0, 8, 12):
        raise ProtocolError(f"malformed packet: a time of {len(raw)} bytes")
    negative, days, hours, minutes, seconds, micro = struct.unpack("<BIBBBI", raw.ljust(12, b"\0"))
    fraction = f".{micro:06d}" if micro else ""
    return f"{'-' if negative else ''}{days * 24 + hours:02d}:{minutes:02d}:{seconds:02d}{fraction}"
