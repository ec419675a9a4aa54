"""What servers report of changed session state at the end of OK packets, and taking that out again.

A client that did not negotiate CLIENT_SESSION_TRACK must not see the report, nor the status flag that announces it.

Sources: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html, MariaDB's
``sql/protocol.cc`` (``net_send_ok``) and ``sql/session_tracker.cc``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlproxy.wire import codec
from sqlproxy.wire.constants import HEADER, SERVER_SESSION_STATE_CHANGED
from sqlproxy.wire.packets import server_bytes

SYSTEM_VARIABLES: Final = 0
SCHEMA: Final = 1
STATE_CHANGE: Final = 2
_OK_LENGTH: Final = 7  # of an OK packet at least; an EOF packet has 5


@dataclass(frozen=True, slots=True)
class Change:
    """One reply's report.

    ``schema`` is the new default database (b"" when there is none any more), None when it did not change; ``variables``
    name to value; ``state`` whether anything at all of the session changed.
    """

    schema: bytes | None = None
    variables: dict[bytes, bytes] = field(default_factory=dict)
    state: bool = False


def parse(payloads: Sequence[bytes]) -> Change:
    """The reports in a reply's OK packets together. Raises ServerProtocolError."""
    schema: bytes | None = None
    variables: dict[bytes, bytes] = {}
    state = False
    with server_bytes():
        for payload in payloads:
            for kind, data in _entries(_split(payload)[3]):
                if kind == SCHEMA:
                    schema, _ = codec.read_lenenc_string(data, 0, "schema")
                elif kind == SYSTEM_VARIABLES:
                    variables.update(_variables(data))
                elif kind == STATE_CHANGE:
                    state = True
    return Change(schema, variables, state)


def without_report(data: bytes, marks: Sequence[int], *, only_state_change: bool) -> bytes:
    """``data`` with the packets that begin at ``marks`` rewritten: no report, no flag.

    ``only_state_change``: leave out nothing but the entry that says that something changed. Raises ServerProtocolError.
    """
    parts = []
    done = 0
    with server_bytes():
        for mark in marks:
            end = mark + HEADER + int.from_bytes(data[mark : mark + 3], "little")
            payload = _rewritten(data[mark + HEADER : end], only_state_change)
            parts += [data[done:mark], len(payload).to_bytes(3, "little"), data[mark + 3 : mark + HEADER], payload]
            done = end
    return b"".join((*parts, data[done:]))


def _rewritten(payload: bytes, only_state_change: bool) -> bytes:
    if len(payload) < _OK_LENGTH:  # an EOF packet: only its flag tells
        return payload[:3] + _without_flag(payload[3:5]) + payload[5:]
    head, status, info, report = _split(payload)
    kept = [entry for entry in _entries(report) if only_state_change and entry[0] != STATE_CHANGE]
    text = codec.write_lenenc_string(info) if info or kept else b""
    if not kept:
        return head + _without_flag(status) + payload[len(head) + 2 : len(head) + 4] + text
    entries = b"".join(bytes((kind,)) + codec.write_lenenc_string(data) for kind, data in kept)
    return payload[: len(head) + 4] + text + codec.write_lenenc_string(entries)


def _without_flag(status: bytes) -> bytes:
    return (int.from_bytes(status, "little") & ~SERVER_SESSION_STATE_CHANGED).to_bytes(2, "little")


def _split(payload: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """An OK packet: all before the status flags, the flags, the info text, the report."""
    _, pos = codec.read_lenenc(payload, 1, "affected rows")
    _, pos = codec.read_lenenc(payload, pos, "insert id")
    status, after = codec.read_bytes(payload, pos, 2, "status flags")
    _, after = codec.read_bytes(payload, after, 2, "warning count")
    info = report = b""
    if after < len(payload):
        info, after = codec.read_lenenc_string(payload, after, "info")
    if after < len(payload):
        report, _ = codec.read_lenenc_string(payload, after, "session state")
    return payload[:pos], status, info, report


def _entries(report: bytes) -> Iterator[tuple[int, bytes]]:
    pos = 0
    while pos < len(report):
        kind = report[pos]
        data, pos = codec.read_lenenc_string(report, pos + 1, "session state entry")
        yield kind, data


def _variables(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    pos = 0
    while pos < len(data):
        name, pos = codec.read_lenenc_string(data, pos, "variable name")
        value, pos = codec.read_lenenc_string(data, pos, "variable value")
        yield name, value
