"""Query attributes (CLIENT_QUERY_ATTRIBUTES): values that travel with a statement and are no part of its text.

The one place that knows where they lie. A client that has negotiated them puts a block before the text of every
COM_QUERY, and names among the parameters of every COM_STMT_EXECUTE. Here a command is brought into the form that it
has without the capability, which is what the rest of the proxy reads and what servers without it understand; and back
again. An attribute block is kept as it stands in a COM_QUERY; ``NONE`` is the one without attributes.

Sources: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query.html, …_com_stmt_execute.html, and
``parse_query_bind_params`` in MySQL's ``sql/protocol_classic.cc``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlproxy.errors import ProtocolError
from sqlproxy.wire import codec
from sqlproxy.wire.constants import HEADER, MAX_PAYLOAD
from sqlproxy.wire.framing import payload_of

NONE: Final = b"\x00\x01"  # no attributes, in one set of values
ER_WRONG_ARGUMENTS: Final = 1210
_TEXT: Final = HEADER + 1  # offset of a COM_QUERY's text
_FLAGS: Final = 5  # offset in a COM_STMT_EXECUTE's payload
_BITMAP: Final = 10
_COUNT_FLAG: Final = 8  # PARAMETER_COUNT_AVAILABLE: the count is there although the statement has no parameters
_MOST: Final = 65535  # parameters, as in the server
# Sizes of values by type; all others have their length before them.
_SIZES: Final = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 0, 8: 8}


def _malformed() -> ProtocolError:
    return ProtocolError("Malformed communication packet.")  # the server's own words


def block_length(command: bytes) -> int:
    """The length of the block in a whole COM_QUERY, headers included. Raises ProtocolError."""
    if command[_TEXT : _TEXT + 2] == NONE:
        return 2
    payload = payload_of(command)
    try:
        return _after_block(payload, 1) - 1
    except ProtocolError:
        raise _malformed() from None


def without_block(command: bytes, length: int) -> bytes:
    """A COM_QUERY without the first ``length`` bytes of what follows its command byte."""
    size = len(command) - HEADER - length
    if size >= MAX_PAYLOAD - length:
        payload = payload_of(command)
        return codec.packet(0, payload[:1] + payload[1 + length :])
    return size.to_bytes(3, "little") + command[3:_TEXT] + command[_TEXT + length :]


def with_block(command: bytes, block: bytes) -> bytes:
    """A COM_QUERY with its block put back."""
    size = len(command) - HEADER + len(block)
    if size >= MAX_PAYLOAD:
        payload = payload_of(command)
        return codec.packet(0, payload[:1] + block + payload[1:])
    return size.to_bytes(3, "little") + command[3:_TEXT] + block + command[_TEXT:]


def value_of(block: bytes, name: bytes) -> bytes | None:
    """The value of the attribute of this name in a block, if it is text. The block has been read before."""
    count, pos = codec.read_lenenc(block, 0, "attribute count")
    if not count:
        return None
    _, pos = codec.read_lenenc(block, pos, "number of attribute sets")
    nulls, _, described, pos = _description(block, pos, count)
    for number, part in enumerate(described):
        if nulls >> number & 1:
            continue
        size = _SIZES.get(part[0])
        if size is None:
            value, pos = codec.read_lenenc_string(block, pos, "value")
            if codec.read_lenenc_string(part, 2, "name")[0] == name:
                return value
        else:
            pos += size
    return None


def cut_execute(command: bytes, parameters: int, long_data: Collection[int] = ()) -> tuple[bytes, bytes]:
    """A COM_STMT_EXECUTE as it is without the capability, and its attributes as a block.

    ``parameters`` is how many the statement has, ``long_data`` the numbers of those that were sent ahead and have no
    value here. Raises ProtocolError.
    """
    payload = payload_of(command)
    counted = len(payload) > _FLAGS and payload[_FLAGS] & _COUNT_FLAG
    if not parameters and not counted:
        return command, NONE
    try:
        return _cut(payload, parameters, long_data)
    except ProtocolError as error:
        if error.code == ER_WRONG_ARGUMENTS:
            raise
        raise _malformed() from None


def _cut(payload: bytes, parameters: int, long_data: Collection[int]) -> tuple[bytes, bytes]:
    count, start = codec.read_lenenc(payload, _BITMAP, "parameter count")
    if count < parameters:
        raise ProtocolError("Incorrect arguments to COM_STMT_EXECUTE", code=ER_WRONG_ARGUMENTS)
    head = payload[:_FLAGS] + bytes((payload[_FLAGS] & ~_COUNT_FLAG,)) + payload[_FLAGS + 1 : _BITMAP]
    if not count:
        return codec.packet(0, head), NONE
    nulls, told, described, pos = _description(payload, start, count)
    sent = b"".join(part[:2] for part in described[:parameters])
    end, block = len(payload), NONE
    if count > parameters and told:
        end = _after_values(payload, pos, nulls, sent, long_data)
        block = _block(nulls >> parameters, described[parameters:], payload[end:])
    elif nulls >> parameters != (1 << count - parameters) - 1:
        raise ProtocolError("malformed packet: attributes without types")
    if parameters:
        bits = nulls & ((1 << parameters) - 1)
        head += bits.to_bytes((parameters + 7) // 8, "little") + (b"\x01" + sent if told else b"\x00")
    return codec.packet(0, head + payload[pos:end]), block


def _block(nulls: int, described: list[bytes], values: bytes) -> bytes:
    count = len(described)
    bits = nulls.to_bytes((count + 7) // 8, "little")
    return codec.write_lenenc(count) + b"\x01" + bits + b"\x01" + b"".join(described) + values


def execute_with(command: bytes, parameters: int, types: bytes, block: bytes) -> bytes:
    """A COM_STMT_EXECUTE, as it is without the capability, for a server that has it.

    ``types`` are those of the statement's parameters, two bytes each, should the command not tell them.
    """
    if not parameters and block == NONE:
        return command
    payload = payload_of(command)
    count, start = codec.read_lenenc(block, 0, "attribute count")
    nulls, described, values = 0, b"", b""
    if count:
        nulls, _, parts, pos = _description(block, start + 1, count)
        described, values = b"".join(parts), block[pos:]
    bits, told, rest = 0, False, payload[_BITMAP:]
    if parameters:
        flag = _BITMAP + (parameters + 7) // 8
        bits, told, rest = int.from_bytes(payload[_BITMAP:flag], "little"), payload[flag] == 1, payload[flag + 1 :]
        if told:
            types, rest = rest[: 2 * parameters], rest[2 * parameters :]
    told = told or bool(count)
    total = parameters + count
    head = payload[:_FLAGS] + bytes((payload[_FLAGS] | (_COUNT_FLAG if count else 0),)) + payload[_FLAGS + 1 : _BITMAP]
    head += codec.write_lenenc(total) + (bits | nulls << parameters).to_bytes((total + 7) // 8, "little")
    if told:
        names = b"".join(types[at : at + 2] + b"\x00" for at in range(0, 2 * parameters, 2))
        return codec.packet(0, head + b"\x01" + names + described + rest + values)
    return codec.packet(0, head + b"\x00" + rest)


def _after_block(payload: bytes, pos: int) -> int:
    """The position after a COM_QUERY's block. Raises ProtocolError."""
    count, pos = codec.read_lenenc(payload, pos, "attribute count")
    sets, pos = codec.read_lenenc(payload, pos, "number of attribute sets")
    if sets != 1:
        raise ProtocolError("malformed packet: more than one set of attributes")
    if not count:
        return pos
    nulls, told, described, pos = _description(payload, pos, count)
    if not told:
        raise ProtocolError("malformed packet: attributes without types")
    return _after_values(payload, pos, nulls, b"".join(part[:2] for part in described), ())


def _description(payload: bytes, pos: int, count: int) -> tuple[int, bool, list[bytes], int]:
    """Null bits, whether types are there, types and names of each value (else b""), the position of the values."""
    if count > _MOST:
        raise ProtocolError(f"malformed packet: {count} parameters")
    bits, pos = codec.read_bytes(payload, pos, (count + 7) // 8, "null bitmap")
    told, pos = codec.read_uint(payload, pos, 1, "types flag")
    nulls = int.from_bytes(bits, "little") & ((1 << count) - 1)
    described = [b""] * count
    if told:
        for number in range(count):
            _, end = codec.read_bytes(payload, pos, 2, "type")
            _, end = codec.read_lenenc_string(payload, end, "name")
            described[number] = payload[pos:end]
            pos = end
    return nulls, bool(told), described, pos


def _after_values(payload: bytes, pos: int, nulls: int, types: bytes, left_out: Collection[int]) -> int:
    """The position after the values of these types."""
    for number in range(len(types) // 2):
        if nulls >> number & 1 or number in left_out:
            continue
        size = _SIZES.get(types[2 * number])
        if size is None:
            _, pos = codec.read_lenenc_string(payload, pos, "value")
        else:
            _, pos = codec.read_bytes(payload, pos, size, "value")
    return pos
