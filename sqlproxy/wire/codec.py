"""The primitives of the protocol: length-encoded integers and strings, fixed integers, packet frames.

Every reader takes ``(data, pos, field)`` and gives ``(value, position after it)``; truncated or impossible data
raises ``ProtocolError`` naming the field and the offset. Work is bounded by the length of ``data``.

Source: MySQL source documentation, "Protocol Basics: Data Types" and "MySQL Packets"
(https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html).
"""

from sqlproxy.errors import ProtocolError
from sqlproxy.wire.constants import MAX_PAYLOAD


def truncated(field: str, pos: int) -> ProtocolError:
    """The error for a field that runs past the end of the data."""
    return ProtocolError(f"malformed packet: {field} at offset {pos} is truncated")


def read_uint(data: bytes, pos: int, size: int, field: str = "integer") -> tuple[int, int]:
    """A little-endian unsigned integer of ``size`` bytes."""
    end = pos + size
    if end > len(data):
        raise truncated(field, pos)
    return int.from_bytes(data[pos:end], "little"), end


def read_lenenc(data: bytes, pos: int, field: str = "length") -> tuple[int, int]:
    """A length-encoded integer; 0xFB (NULL in rows) and 0xFF (an error) are no integers and are refused."""
    if pos >= len(data):
        raise truncated(field, pos)
    first = data[pos]
    if first < 0xFB:
        return first, pos + 1
    if first == 0xFC:
        return read_uint(data, pos + 1, 2, field)
    if first == 0xFD:
        return read_uint(data, pos + 1, 3, field)
    if first == 0xFE:
        return read_uint(data, pos + 1, 8, field)
    raise ProtocolError(f"malformed packet: {field} at offset {pos} starts with 0x{first:02X}: no length")


def write_lenenc(n: int) -> bytes:
    """A length-encoded integer, 0 <= n < 2**64, in its shortest form."""
    if n < 0xFB:
        return n.to_bytes(1, "little")
    if n < 0x10000:
        return b"\xfc" + n.to_bytes(2, "little")
    if n < 0x1000000:
        return b"\xfd" + n.to_bytes(3, "little")
    return b"\xfe" + n.to_bytes(8, "little")


def read_bytes(data: bytes, pos: int, size: int, field: str = "string") -> tuple[bytes, int]:
    """Exactly ``size`` bytes."""
    if size > len(data) - pos:
        raise truncated(field, pos)
    end = pos + size
    return data[pos:end], end


def read_lenenc_string(data: bytes, pos: int, field: str = "string") -> tuple[bytes, int]:
    """A string after its length-encoded length."""
    size, start = read_lenenc(data, pos, field)
    if size > len(data) - start:
        raise truncated(field, pos)
    end = start + size
    return data[start:end], end


def write_lenenc_string(value: bytes) -> bytes:
    """A string after its length-encoded length."""
    return write_lenenc(len(value)) + value


def read_null_string(data: bytes, pos: int, field: str = "string") -> tuple[bytes, int]:
    """A NUL-terminated string, without its NUL; the position is after the NUL."""
    end = data.find(b"\x00", pos)
    if end < 0:
        raise ProtocolError(f"malformed packet: {field} at offset {pos} has no terminating NUL")
    return data[pos:end], end + 1


def packet(seq: int, payload: bytes) -> bytes:
    """``payload`` framed from sequence id ``seq`` on (taken modulo 256), as many packets as it needs.

    A payload of 2**24 - 1 bytes or more continues in further packets; an exact multiple ends in an empty one.
    """
    if len(payload) < MAX_PAYLOAD:
        return len(payload).to_bytes(3, "little") + bytes((seq & 0xFF,)) + payload
    frames = []
    for start in range(0, len(payload) + 1, MAX_PAYLOAD):
        chunk = payload[start : start + MAX_PAYLOAD]
        frames.append(len(chunk).to_bytes(3, "little") + bytes((seq & 0xFF,)) + chunk)
        seq += 1
    return b"".join(frames)
