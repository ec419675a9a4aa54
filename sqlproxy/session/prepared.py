"""Prepared statements of a session: one id for the client, one per backend.

The client keeps the id it was given. Before a backend's first execution the statement is prepared there; ids, and the
parameter types that clients send only once, are put into the packets on the way.

Source: MySQL source documentation, "COM_STMT_EXECUTE"
(https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_execute.html).
"""

from __future__ import annotations

from sqlproxy.errors import ProtocolError
from sqlproxy.routing.hints import Hint
from sqlproxy.wire import codec
from sqlproxy.wire.attributes import NONE, execute_with
from sqlproxy.wire.constants import COM_STMT_BULK_EXECUTE, HEADER
from sqlproxy.wire.framing import payload_of
from sqlproxy.wire.response import CURSOR, QUERY

LAST_PREPARED = 0xFFFFFFFF  # MariaDB: the statement prepared last
_ID = 1  # offset of the id in a payload
_AFTER_ID = 5
_BITMAP = 10  # id, flags (1), iteration count (4)
_BULK_HEAD = 7  # command, id, flags
_SEND_TYPES = 128
LONG_DATA_HEAD = 7  # command, id, parameter number


class PreparedStatement:
    """What is known of one statement of one client.

    ``mask`` is the classification of its text; ``database`` the default database it was prepared in;
    ``types`` the newest parameter types (two bytes each), once sent;
    ``long_data`` the COM_STMT_SEND_LONG_DATA payloads for the next execution, ``overflow`` that they were too many,
    ``cursor`` the server that holds an open cursor.

    For clients that keep column definitions (MariaDB's CACHE_METADATA): ``version`` counts how often the client was
    told new ones, ``definitions`` is a digest of the newest, b"" when they are not known.
    """

    __slots__ = (
        "columns",
        "cursor",
        "database",
        "definitions",
        "hint",
        "key",
        "long_data",
        "long_data_size",
        "mask",
        "number",
        "overflow",
        "parameters",
        "payload",
        "types",
        "version",
    )

    def __init__(self, number: int, payload: bytes, mask: int, parameters: int, columns: int) -> None:
        self.number = number
        self.payload = payload
        self.mask = mask
        self.parameters = parameters
        self.columns = columns
        self.types = b""
        self.key = 0  # of its shape, once it has been run
        self.long_data: list[bytes] = []
        self.long_data_size = 0
        self.overflow = False
        self.cursor = ""
        self.database = b""
        self.hint: Hint | None = None  # in its text, for every execution
        self.definitions = b""
        self.version = 0

    def add_long_data(self, payload: bytes, limit: int) -> None:
        """Keep a COM_STMT_SEND_LONG_DATA payload until the execution; beyond ``limit`` bytes nothing is kept."""
        self.long_data_size += len(payload)
        self.overflow = self.overflow or self.long_data_size > limit
        if self.overflow:
            self.long_data.clear()
        else:
            self.long_data.append(payload)

    @property
    def sent_ahead(self) -> set[int]:
        """The numbers of the parameters that have long data."""
        return {int.from_bytes(payload[_AFTER_ID:LONG_DATA_HEAD], "little") for payload in self.long_data}

    def reset(self) -> None:
        """Forget long data and cursor, as COM_STMT_RESET does."""
        self.long_data.clear()
        self.long_data_size = 0
        self.overflow = False
        self.cursor = ""


class BackendStatement:
    """The same statement on one backend: its id there and the types that backend was told.

    ``attributed``: executions carry query attributes there, be it none. ``version``: of the definitions that this
    server has told last and leaves out, as the client knows them; -1 when the client knows others, then they are in
    ``definitions``.
    """

    __slots__ = ("attributed", "definitions", "number", "types", "version")

    def __init__(self, number: int, attributed: bool = False) -> None:
        self.number = number
        self.types = b""
        self.attributed = attributed
        self.definitions: list[bytes] = []
        self.version = 0


def describe(statement: PreparedStatement, target: BackendStatement, digest: bytes) -> None:
    """The client was told definitions, which this server leaves out from now on; ``digest``: b"" if not known."""
    statement.version += 1
    statement.definitions = digest
    target.version = statement.version
    target.definitions = []


def names_statement(command: bytes) -> bool:
    """Whether a COM_STMT_* command (headers included) is long enough to have a statement's id."""
    return len(command) >= HEADER + _AFTER_ID


def statement_id(command: bytes) -> int:
    """The id in a COM_STMT_* command (headers included). Raises ProtocolError when it is too short."""
    if not names_statement(command):
        raise ProtocolError("malformed packet: a statement command without a statement id")
    start = HEADER + _ID
    low = command[start] | command[start + 1] << 8
    return low | (command[start + 2] | command[start + 3] << 8) << 16


def reply_kind(command: bytes) -> int:
    """How a COM_STMT_EXECUTE is answered: its flags byte may ask for a cursor, whose reply ends without rows."""
    return CURSOR if len(command) > HEADER + _AFTER_ID and command[HEADER + _AFTER_ID] else QUERY


def with_id(command: bytes, number: int) -> bytes:
    """The command for another statement id; the sequence of packets stays as it was."""
    if statement_id(command) == number:
        return command
    return command[: HEADER + _ID] + number.to_bytes(4, "little") + command[HEADER + _AFTER_ID :]


def execute_on(statement: PreparedStatement, target: BackendStatement, command: bytes, block: bytes = NONE) -> bytes:
    """The COM_STMT_EXECUTE for a backend: its id, the types if it has not been told them, query attributes if it takes
    them.

    Notes the types on both sides. Raises ProtocolError for a packet too short for its parameters.
    """
    command = _execute_on(statement, target, command)
    return execute_with(command, statement.parameters, statement.types, block) if target.attributed else command


def _execute_on(statement: PreparedStatement, target: BackendStatement, command: bytes) -> bytes:
    if not statement.parameters:
        return with_id(command, target.number)
    flag = HEADER + _BITMAP + (statement.parameters + 7) // 8
    if len(command) <= flag:
        raise ProtocolError("malformed packet: COM_STMT_EXECUTE without its parameters")
    if command[flag]:
        _note_types(statement, target, command, flag)
    elif target.types != statement.types:
        return _with_types(statement, target, payload_of(command))
    return with_id(command, target.number)


def _note_types(statement: PreparedStatement, target: BackendStatement, command: bytes, flag: int) -> None:
    types = command[flag + 1 : flag + 1 + 2 * statement.parameters]
    if len(types) < 2 * statement.parameters:
        raise ProtocolError("malformed packet: COM_STMT_EXECUTE without its parameter types")
    if types != statement.types:
        statement.types = types
    target.types = statement.types


def _with_types(statement: PreparedStatement, target: BackendStatement, payload: bytes) -> bytes:
    """The same execution with the types put in."""
    flag = _BITMAP + (statement.parameters + 7) // 8
    target.types = statement.types
    whole = (
        payload[:_ID]
        + target.number.to_bytes(4, "little")
        + payload[_AFTER_ID:flag]
        + b"\x01"
        + statement.types
        + payload[flag + 1 :]
    )
    return codec.packet(0, whole)


def bulk_on(statement: PreparedStatement, target: BackendStatement, command: bytes) -> bytes:
    """The COM_STMT_BULK_EXECUTE for a backend, as ``execute_on``: 2 bytes of flags, types if these say so, rows."""
    payload = payload_of(command)
    flags = int.from_bytes(payload[_AFTER_ID:_BULK_HEAD], "little")
    size = 2 * statement.parameters
    if len(payload) < _BULK_HEAD + (size if flags & _SEND_TYPES else 0):
        raise ProtocolError("malformed packet: COM_STMT_BULK_EXECUTE without its parameters")
    types, rows = statement.types, payload[_BULK_HEAD:]
    if flags & _SEND_TYPES:
        types, rows = rows[:size], rows[size:]
    statement.types = target.types = types
    head = payload[:_ID] + target.number.to_bytes(4, "little") + (flags | _SEND_TYPES).to_bytes(2, "little")
    return codec.packet(0, head + types + rows)


def packet_on(statement: PreparedStatement, target: BackendStatement, command: bytes, block: bytes = NONE) -> bytes:
    """The packet that executes a statement on a backend, whichever of the two commands it is."""
    if command[HEADER] == COM_STMT_BULK_EXECUTE:
        return bulk_on(statement, target, command)
    return execute_on(statement, target, command, block)


def long_data_on(target: BackendStatement, payload: bytes) -> bytes:
    """A kept COM_STMT_SEND_LONG_DATA for a backend."""
    return codec.packet(0, payload[:_ID] + target.number.to_bytes(4, "little") + payload[_AFTER_ID:])
