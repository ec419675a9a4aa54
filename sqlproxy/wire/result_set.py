"""Small result sets of the text protocol: those of our own making, as payloads, and those we ask a server for.

Source: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset.html and
MariaDB's "Result Set Packets" for extended metadata.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from sqlproxy.wire import codec
from sqlproxy.wire.constants import (
    CLIENT_DEPRECATE_EOF,
    EOF,
    HEADER,
    MARIADB_CLIENT_EXTENDED_METADATA,
    METADATA_MAY_LACK,
    UTF8MB4_GENERAL_CI,
)
from sqlproxy.wire.packets import eof_packet, ok_packet, server_bytes

LONGLONG: Final = 8
DOUBLE: Final = 5
VAR_STRING: Final = 253
_BINARY: Final = 63  # the collation of numbers
_NUMBER: Final = 0x8000  # NUM_FLAG
_LONGEST: Final = 4096  # what columns are announced with, in bytes
_EOF_SIZE: Final = 5  # of the packet that ends the definitions without CLIENT_DEPRECATE_EOF

Value = str | int | float | None


def column_definition(name: str, kind: int = VAR_STRING, table: str = "", extended: bool = False) -> bytes:
    """A ColumnDefinition41; ``extended``: MARIADB_CLIENT_EXTENDED_METADATA was agreed."""
    names = ("def", "", table, table, name, name)
    start = b"".join(codec.write_lenenc_string(part.encode("utf-8", "replace")) for part in names)
    text = kind == VAR_STRING
    collation, flags = (UTF8MB4_GENERAL_CI, 0) if text else (_BINARY, _NUMBER)
    fixed = struct.pack("<HIBHBxx", collation, _LONGEST if text else 22, kind, flags, 31 if kind == DOUBLE else 0)
    return start + (b"\x00" if extended else b"") + b"\x0c" + fixed


def text_row(values: Iterable[Value]) -> bytes:
    """A row of the text protocol."""
    return b"".join(b"\xfb" if value is None else codec.write_lenenc_string(shown(value)) for value in values)


def shown(value: str | int | float) -> bytes:
    """A value as text: whole numbers without a point."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return str(value).encode("utf-8", "replace")


def end(status: int, deprecate_eof: bool) -> bytes:
    """The end of the rows."""
    return ok_packet(status, header=EOF) if deprecate_eof else eof_packet(status)


def text_result(
    names: Sequence[str], rows: Iterable[Sequence[Value]], seq: int, status: int, capabilities: int
) -> bytes:
    """A whole result set of text columns in frames, the first with sequence id ``seq``.

    ``capabilities``: as agreed with the client; always with definitions.
    """
    deprecate_eof = bool(capabilities & CLIENT_DEPRECATE_EOF)
    extended = bool(capabilities & MARIADB_CLIENT_EXTENDED_METADATA)
    count = codec.write_lenenc(len(names)) + (b"\x01" if capabilities & METADATA_MAY_LACK else b"")
    payloads = [count, *(column_definition(name, extended=extended) for name in names)]
    if not deprecate_eof:
        payloads.append(eof_packet(status))
    payloads += [text_row(row) for row in rows]
    payloads.append(end(status, deprecate_eof))
    return b"".join(codec.packet((seq + number) & 0xFF, payload) for number, payload in enumerate(payloads))


def text_rows(reply: bytes) -> list[tuple[bytes, ...]]:
    """The rows of a collected result set (headers included) of less than 251 columns; NULL reads as b"".

    Raises ServerProtocolError when it is none.
    """
    payloads = []
    pos = 0
    while pos < len(reply):
        end_at = pos + HEADER + int.from_bytes(reply[pos : pos + 3], "little")
        payloads.append(reply[pos + HEADER : end_at])
        pos = end_at
    with server_bytes():
        count, pos = codec.read_lenenc(payloads[0], 0, "column count")
        described = payloads[0][pos:] != b"\x00"  # see METADATA_MAY_LACK
        rows = payloads[1 + count * described : -1]
        if rows and rows[0][:1] == bytes((EOF,)) and len(rows[0]) == _EOF_SIZE:
            del rows[0]
        return [_values(row, count) for row in rows]


def _values(row: bytes, count: int) -> tuple[bytes, ...]:
    values = []
    pos = 0
    for _ in range(count):
        if row[pos : pos + 1] == b"\xfb":
            value, pos = b"", pos + 1
        else:
            value, pos = codec.read_lenenc_string(row, pos, "value")
        values.append(value)
    return tuple(values)
