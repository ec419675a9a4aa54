"""The small packets of every phase: OK, EOF, ERR, AuthSwitchRequest, AuthMoreData. Payloads only, no frames.

What servers send is refused with ``ServerProtocolError``, never with another exception.
Sources: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_response_packets.html and
https://mariadb.com/kb/en/connection/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlproxy.errors import ProtocolError, ServerError, ServerProtocolError
from sqlproxy.wire import codec
from sqlproxy.wire.constants import (
    AUTH_MORE_DATA,
    AUTH_SWITCH,
    CLIENT_SESSION_TRACK,
    EOF,
    ERR,
    OK,
    SERVER_SESSION_STATE_CHANGED,
)

_PROGRESS = 0xFFFF  # MariaDB: an ERR packet with this code reports progress of a long statement
OLD_PASSWORD = "mysql_old_password"


@dataclass(frozen=True, slots=True)
class Ok:
    """An OK packet; ``info`` is the text for people, ``session_state`` the raw session-tracking block."""

    affected: int
    insert_id: int
    status: int
    warnings: int
    info: bytes = b""
    session_state: bytes = b""


class _ServerBytes:
    """See ``server_bytes``; one for all, as it keeps nothing."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ProtocolError) and not isinstance(error, ServerProtocolError):
            raise ServerProtocolError(error.message) from None


_SERVER_BYTES: Final = _ServerBytes()


def server_bytes() -> _ServerBytes:
    """Blame the server for the ``ProtocolError`` s of a parser that runs inside."""
    return _SERVER_BYTES


def ok_packet(
    status: int, affected: int = 0, insert_id: int = 0, warnings: int = 0, info: bytes = b"", *, header: int = OK
) -> bytes:
    """An OK packet for CLIENT_PROTOCOL_41 without session state; ``header=EOF`` ends a result set.

    ``info`` is sent length-encoded whether or not CLIENT_SESSION_TRACK was negotiated, as the servers do.
    """
    counts = codec.write_lenenc(affected) + codec.write_lenenc(insert_id)
    flags = status.to_bytes(2, "little") + min(warnings, 0xFFFF).to_bytes(2, "little")
    return bytes((header,)) + counts + flags + (codec.write_lenenc_string(info) if info else b"")


def eof_packet(status: int, warnings: int = 0) -> bytes:
    """An EOF packet for CLIENT_PROTOCOL_41."""
    return bytes((EOF,)) + min(warnings, 0xFFFF).to_bytes(2, "little") + status.to_bytes(2, "little")


def err_packet(code: int, sqlstate: str, message: str) -> bytes:
    """An ERR packet for CLIENT_PROTOCOL_41; ``message`` is cut at 512 bytes as the servers do."""
    text = message.encode("utf-8", "replace")[:512].decode("utf-8", "ignore").encode()
    state = sqlstate.encode("ascii", "replace").ljust(5, b"0")[:5]
    return bytes((ERR,)) + code.to_bytes(2, "little") + b"#" + state + text


def is_err(payload: bytes) -> bool:
    """Whether a server's reply starts an ERR packet (or one of MariaDB's progress reports)."""
    return payload[:1] == bytes((ERR,))


def parse_err(payload: bytes) -> ServerError | None:
    """The error in an ERR packet; None if it is MariaDB's progress report, after which the reply goes on.

    Before the handshake (too many connections, blocked hosts) servers send no SQLSTATE; "HY000" stands in.
    """
    with server_bytes():
        if not is_err(payload):
            raise ProtocolError("malformed packet: an ERR packet must start with 0xFF")
        code, pos = codec.read_uint(payload, 1, 2, "error code")
    if code == _PROGRESS:
        return None
    sqlstate = "HY000"
    if payload[pos : pos + 1] == b"#" and len(payload) >= pos + 6:
        sqlstate = payload[pos + 1 : pos + 6].decode("ascii", "replace")
        pos += 6
    return ServerError(payload[pos:].decode("utf-8", "replace"), code=code, sqlstate=sqlstate)


def parse_ok(payload: bytes, capabilities: int = CLIENT_SESSION_TRACK) -> Ok:
    """An OK packet, also in its 0xFE form that ends result sets; ``capabilities`` as negotiated with the server."""
    with server_bytes():
        if payload[:1] not in (b"\x00", b"\xfe"):
            raise ProtocolError("malformed packet: an OK packet must start with 0x00 or 0xFE")
        affected, pos = codec.read_lenenc(payload, 1, "affected rows")
        insert_id, pos = codec.read_lenenc(payload, pos, "insert id")
        status, pos = codec.read_uint(payload, pos, 2, "status flags")
        warnings, pos = codec.read_uint(payload, pos, 2, "warning count")
        info, state = _ok_tail(payload, pos, status, capabilities)
    return Ok(affected, insert_id, status, warnings, info, state)


def _ok_tail(payload: bytes, pos: int, status: int, capabilities: int) -> tuple[bytes, bytes]:
    """Info text and session state; servers leave either out when there is none."""
    if pos == len(payload):
        return b"", b""
    if not capabilities & CLIENT_SESSION_TRACK and payload[pos] != len(payload) - pos - 1:
        return payload[pos:], b""  # as documented; the servers themselves send a length here too
    info, pos = codec.read_lenenc_string(payload, pos, "info")
    if not status & SERVER_SESSION_STATE_CHANGED or pos == len(payload):
        return info, b""
    return info, codec.read_lenenc_string(payload, pos, "session state")[0]


def auth_switch_packet(plugin: str, data: bytes) -> bytes:
    """An AuthSwitchRequest: go on with ``plugin``, whose first message from the server is ``data``."""
    return bytes((AUTH_SWITCH,)) + plugin.encode("latin-1") + b"\x00" + data


def parse_auth_switch(payload: bytes) -> tuple[str, bytes]:
    """Plugin and data of an AuthSwitchRequest; the bare 0xFE of old servers names ``mysql_old_password``."""
    with server_bytes():
        if payload[:1] != bytes((AUTH_SWITCH,)):
            raise ProtocolError("malformed packet: an AuthSwitchRequest must start with 0xFE")
        if len(payload) == 1:
            return OLD_PASSWORD, b""
        plugin, pos = codec.read_null_string(payload, 1, "authentication plugin")
    return plugin.decode("latin-1"), payload[pos:]


def auth_more_data_packet(data: bytes) -> bytes:
    """An AuthMoreData packet: the next message of the plugin that is running."""
    return bytes((AUTH_MORE_DATA,)) + data


def parse_auth_more_data(payload: bytes) -> bytes:
    """The plugin's message in an AuthMoreData packet."""
    if payload[:1] != bytes((AUTH_MORE_DATA,)):
        raise ServerProtocolError("malformed packet: an AuthMoreData packet must start with 0x01")
    return payload[1:]
