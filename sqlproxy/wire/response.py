"""Follows a server's reply packet by packet, just far enough to know where it ends and what its status flags say.

The bytes themselves are not touched: the same chunk that was fed here goes on to the client. Only the headers, the
first byte of each packet, and the head of OK, EOF and ERR packets are read.

Sources: MySQL source documentation, "Text Resultset", "COM_STMT_PREPARE Response", "OK_Packet", "EOF_Packet"
(https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset.html); MariaDB's
"Result Set Packets" for definitions that are left out, as MySQL does in the same place;
MariaDB's ``Materialized_cursor::send_result_set_metadata`` for cursors, whose reply ends without rows; MySQL's
``Protocol_binary::send_parameters`` for OUT parameters; MariaDB's ``net_send_progress_packet``.
"""

from typing import Final

from sqlproxy.errors import ServerProtocolError
from sqlproxy.wire.checksum import Checksum
from sqlproxy.wire.codec import read_lenenc
from sqlproxy.wire.constants import (
    HEADER,
    MAX_PAYLOAD,
    SERVER_MORE_RESULTS_EXISTS,
    SERVER_PS_OUT_PARAMS,
    SERVER_SESSION_STATE_CHANGED,
    SERVER_STATUS_CURSOR_EXISTS,
)

# What is awaited: chosen by the command
QUERY: Final = 0  # OK, ERR, LOCAL INFILE request, or one or more result sets
PREPARE: Final = 1  # COM_STMT_PREPARE
ROWS: Final = 2  # COM_STMT_FETCH, COM_FIELD_LIST: packets up to an EOF
SINGLE: Final = 3  # one OK, EOF or ERR
TEXT: Final = 4  # COM_STATISTICS: one packet of text
CURSOR: Final = 5  # COM_STMT_EXECUTE that asks for a cursor: as QUERY, but a result set may end before its rows

# The same and others as variables that the compiled form reads without a lookup (declared in the .pxd)
_QUERY: Final = QUERY
_PREPARE: Final = PREPARE
_ROWS_ONLY: Final = ROWS
_SINGLE: Final = SINGLE
_TEXT: Final = TEXT
_CURSOR: Final = CURSOR
_HEADER: Final = HEADER
_MAX: Final = MAX_PAYLOAD
_MORE_RESULTS: Final = SERVER_MORE_RESULTS_EXISTS
_OUT_PARAMS: Final = SERVER_PS_OUT_PARAMS
_CURSOR_EXISTS: Final = SERVER_STATUS_CURSOR_EXISTS
_STATE_CHANGED: Final = SERVER_SESSION_STATE_CHANGED

# Where in the reply we are
_FIRST: Final = 0
_COLUMNS: Final = 1
_COLUMNS_EOF: Final = 2
_ROWS: Final = 3
_PARAMETERS: Final = 4
_PARAMETERS_EOF: Final = 5
_DONE: Final = 6
_UPLOAD: Final = 7

_HEAD: Final = 23  # bytes of an OK packet that hold all up to its warnings, at most
_MOST: Final = 1 << 40  # affected rows that are believed
_PREPARED: Final = 12  # bytes of the answer to a PREPARE before the byte that says whether definitions follow
_OK_LENGTH: Final = 7  # of an OK packet at least; an EOF packet has 5
_PROGRESS: Final = 0xFFFF  # the code of an ERR packet in which MariaDB reports progress; the reply goes on


class ResponseTracker:
    """One per backend connection; ``begin`` for each command, then ``feed`` until it says the reply has ended.

    After that: ``status`` the last status flags seen, ``error`` the code of an ERR packet that ended the reply or 0,
    ``first`` the first byte of the reply, ``rows`` the number of packets counted as rows, ``affected`` the affected
    rows of all OK packets; for PREPARE also ``statement_id``, ``columns`` and ``parameters``. ``upload`` is True while
    the server waits for a local file.

    ``optional``: one of METADATA_MAY_LACK was negotiated. ``described`` is then True when the reply had definitions;
    with ``keeps``, set after ``begin``, they are in ``definitions``.

    ``checksum``, when set after ``begin``, is fed with everything in the reply that another server
    would answer alike: definitions, rows, errors, affected rows and insert ids, but no status flags or warning counts.
    ``insert_id`` is then the id in the last OK packet.

    ``tracking``: CLIENT_SESSION_TRACK was negotiated. ``changed`` is then True when the reply's status flags announced
    changed session state, and ``changes`` holds the OK packets that report it. For whoever takes the reports out:
    ``marks`` are the offsets of packets with that flag, counted from the first byte not judged by the calls before,
    ``carried`` is the number of bytes at the chunk's end not judged yet, ``special`` says that either is not empty.
    """

    def __init__(self, deprecate_eof: bool) -> None:
        self.deprecate_eof = deprecate_eof
        self.optional = False
        self.described = False
        self.keeps = False
        self.definitions: list[bytes] = []
        self.done = True  # no reply is awaited
        self.status = 0
        self.error = 0
        self.first = -1
        self.rows = 0
        self.affected = 0
        self.statement_id = 0
        self.columns = 0
        self.parameters = 0
        self.upload = False
        self.checksum: Checksum | None = None
        self.counts = 2  # of an OK packet the checksum takes in: 2 affected rows and insert id, 1 no insert id, 0 none
        self.insert_id = 0
        self.begun = 0  # replies awaited so far
        self.tracking = False
        self.changed = False
        self.changes: list[bytes] = []
        self.marks: list[int] = []
        self.carried = 0
        self.special = False
        self._kind = QUERY
        self._state = _DONE
        self._left = 0  # definitions still to come
        self._skip = 0  # payload bytes of the packet at hand still to come
        self._continued = False  # the next packet continues the one before
        self._last = False  # the packet being skipped ends the reply
        self._bare = False  # no definitions come
        self._out_params = False  # this result set holds OUT parameters; an OK follows it whatever its end says
        self._volatile = False  # the packet being skipped is left out of the checksum
        self._carry = b""

    def begin(self, kind: int) -> None:
        """A command was sent whose reply is of ``kind``."""
        self.begun += 1
        self.done = False
        self.error = 0
        self.first = -1
        self.rows = 0
        self.affected = 0
        self.insert_id = 0
        self.upload = False
        self._bare = False
        if self.optional:
            self.described = self.keeps = False
            self.definitions = []
        self.checksum = None
        if self.changed:
            self.changed = False
            self.changes = []
        self._volatile = False
        self._kind = kind
        self._state = _ROWS if kind == _ROWS_ONLY else _FIRST
        self._skip = 0
        self._continued = False
        self._last = False
        self._out_params = False
        self._carry = b""

    def resume_upload(self) -> None:
        """The client's file was sent; the server's OK or ERR is awaited."""
        self.upload = False
        self._state = _FIRST

    def feed(self, chunk: bytes) -> int:
        """The offset in ``chunk`` just past the reply's end, or -1 when it goes on beyond this chunk.

        Raises ServerProtocolError for bytes that cannot be a reply.
        """
        carried = 0
        if self._carry:
            carried = len(self._carry)
            chunk = self._carry + chunk
            self._carry = b""
        if self.special:
            self.marks = []
            self.special = False
        end = self._walk(chunk)
        self.carried = len(self._carry)
        if self.carried or self.marks:
            self.special = True
        return end - carried if end >= 0 else -1

    def _walk(self, chunk: bytes) -> int:
        size = len(chunk)
        pos = 0
        mark = 0  # what the checksum has not seen yet begins here
        while True:
            if self._skip:
                step = self._skip if self._skip < size - pos else size - pos
                self._skip -= step
                pos += step
                if self._skip:
                    self._hash(chunk, mark, pos)
                    return -1
            if self._volatile:
                self._volatile = False
                mark = pos
            if self._last and not self._continued:
                self._last = False
                self._state = _DONE
                self.done = True
                self._hash(chunk, mark, pos)
                return pos
            if self._state == _ROWS and not self._continued and self.first >= 0:
                pos = self._whole_rows(chunk, pos, size)
            elif self._state == _DONE:
                raise ServerProtocolError("the server sent bytes that belong to no reply")
            # a header alone decides nothing, unless the packet is a continuation or empty
            if size - pos < _HEADER or (size - pos == _HEADER and not self._is_plain(chunk, pos)):
                self._hash(chunk, mark, pos)
                self._carry = chunk[pos:]
                return -1
            length = chunk[pos] | chunk[pos + 1] << 8 | chunk[pos + 2] << 16
            if not self._continued and not self._packet(chunk, pos + _HEADER, length, size):
                self._hash(chunk, mark, pos)
                self._carry = chunk[pos:]
                return -1
            if self._volatile and self.checksum is not None:
                self._leave_out(chunk, mark, pos, length)
            self._continued = length == _MAX
            pos += _HEADER
            self._skip = length

    def _hash(self, chunk: bytes, mark: int, end: int) -> None:
        """Feed the checksum with a stretch of the reply, unless it lies in a packet that is left out."""
        if self.checksum is not None and not self._volatile and end > mark:
            self.checksum.update(chunk[mark:end])

    def _whole_rows(self, chunk: bytes, pos: int, size: int) -> int:
        """The position after the rows that lie whole in ``chunk`` and need no second look; a short cut of ``_walk``."""
        while size - pos > _HEADER:
            length = chunk[pos] | chunk[pos + 1] << 8 | chunk[pos + 2] << 16
            start = pos + _HEADER
            if length == 0 or length == _MAX or size - start < length or chunk[start] >= 0xFE:
                break
            self.rows += 1
            pos = start + length
        return pos

    def _is_plain(self, chunk: bytes, pos: int) -> bool:
        """Whether the packet whose header lies at ``pos`` needs no look at its first byte."""
        return self._continued or (chunk[pos] | chunk[pos + 1] | chunk[pos + 2]) == 0

    def _packet(self, chunk: bytes, start: int, length: int, size: int) -> bool:
        """Act on a packet by its first bytes; False when more of them are needed."""
        if length == 0:
            if self._kind != _TEXT:
                raise ServerProtocolError("the server sent an empty packet where a reply was due")
            self._last = True
            return True
        head = chunk[start]
        if self._state == _ROWS:
            if head < 0xFE:
                if self.first < 0:
                    self.first = head
                self.rows += 1
                return True
            return self._row_or_end(chunk, start, length, size, head)
        if self._state == _COLUMNS or self._state == _PARAMETERS:
            return self._definition(chunk, start, length, size, head)
        if self._state == _FIRST:
            return self._first_packet(chunk, start, length, size, head)
        if self._state == _UPLOAD:
            raise ServerProtocolError("the server spoke while it was to read a local file")
        return self._definitions_end(chunk, start, length, size, head)

    def _first_packet(self, chunk: bytes, start: int, length: int, size: int, head: int) -> bool:
        if head == 0xFF:
            return self._err(chunk, start, length, size)
        if self._kind == _PREPARE:
            return self._prepared(chunk, start, length, size, head)
        if self._kind == _TEXT:
            self.first = head
            self._last = True
            return True
        if head == 0x00:
            return self._ok(chunk, start, length, size)
        if self._kind == _SINGLE:
            if head != 0xFE:
                raise ServerProtocolError(f"the server answered with packet 0x{head:02X} where OK or ERR was due")
            return self._eof(chunk, start, length, size)
        if head == 0xFB:
            self._note_first(head)
            self.upload = True
            self._state = _UPLOAD
            return True
        return self._column_count(chunk, start, length, size, head)

    def _note_first(self, head: int) -> None:
        if self.first < 0:
            self.first = head

    def _column_count(self, chunk: bytes, start: int, length: int, size: int, head: int) -> bool:
        number = 3 if head == 0xFC else 1
        if length != number + self.optional or head > 0xFC:
            raise ServerProtocolError(
                f"the server announced a result set in a way unknown here: 0x{head:02X} in {length} bytes"
            )
        if size - start < length:
            return False
        count = head
        if head == 0xFC:
            count = chunk[start + 1] | chunk[start + 2] << 8
        if count == 0:
            raise ServerProtocolError("the server announced a result set without columns")
        self._note_first(head)
        self._left = count
        self._state = _COLUMNS
        if self.optional:
            if chunk[start + number]:
                self.described = True
            else:
                self._state = _ROWS if self.deprecate_eof else _COLUMNS_EOF
        return True

    def _definition(self, chunk: bytes, start: int, length: int, size: int, head: int) -> bool:
        if head == 0xFF:
            return self._err(chunk, start, length, size)
        if self.keeps:
            if size - start < length:
                return False
            self.definitions.append(chunk[start : start + length])
        self._left -= 1
        if self._left:
            return True
        if not self.deprecate_eof:
            self._state = _COLUMNS_EOF if self._state == _COLUMNS else _PARAMETERS_EOF
        else:
            self._after_definitions()
        return True

    def _after_definitions(self) -> None:
        """All definitions of one list have come (and their EOF, if any)."""
        if self._kind != _PREPARE:
            self._state = _ROWS
        elif (self._state == _PARAMETERS or self._state == _PARAMETERS_EOF) and self.columns:
            self._left = self.columns
            self._state = _COLUMNS_EOF if self._bare else _COLUMNS
        else:
            self._last = True

    def _definitions_end(self, chunk: bytes, start: int, length: int, size: int, head: int) -> bool:
        if head == 0xFF:
            return self._err(chunk, start, length, size)
        if head != 0xFE or length > 8:
            raise ServerProtocolError("the server sent no EOF after the column definitions")
        if length < 5:
            raise ServerProtocolError("the server sent an EOF packet without status flags")
        if size - start < 5:
            return False
        self.status = chunk[start + 3] | chunk[start + 4] << 8
        if self.status & _STATE_CHANGED and self.tracking:
            self.marks.append(start - _HEADER)
        self._volatile = True
        # A procedure's own cursors set the flag too, even for what follows the CALL in a text query; but a cursor for
        # the client comes alone.
        if self._kind == _CURSOR and self.status & (_CURSOR_EXISTS | _MORE_RESULTS) == _CURSOR_EXISTS:
            self._last = True
            return True
        self._out_params = self.status & _OUT_PARAMS != 0
        self._after_definitions()
        return True

    def _row_or_end(self, chunk: bytes, start: int, length: int, size: int, head: int) -> bool:
        if head == 0xFF:
            return self._err(chunk, start, length, size)
        if self.deprecate_eof:
            if length < _MAX:
                return self._ok(chunk, start, length, size)
        elif length < 9:
            return self._eof(chunk, start, length, size)
        self._note_first(head)
        self.rows += 1
        return True

    def _prepared(self, chunk: bytes, start: int, length: int, size: int, head: int) -> bool:
        if head != 0 or length < 9:
            raise ServerProtocolError("the server answered COM_STMT_PREPARE with something else than a statement")
        flagged = self.optional and length > _PREPARED  # by MySQL only
        if size - start < (_PREPARED + 1 if flagged else 9):
            return False
        self.first = 0
        self.statement_id = (
            chunk[start + 1] | chunk[start + 2] << 8 | chunk[start + 3] << 16 | chunk[start + 4] << 24
        ) & 0xFFFFFFFF
        self.columns = chunk[start + 5] | chunk[start + 6] << 8
        self.parameters = chunk[start + 7] | chunk[start + 8] << 8
        self._bare = flagged and not chunk[start + _PREPARED]
        if self._bare:
            self._state = _PARAMETERS_EOF if self.parameters else _COLUMNS_EOF
            self._last = self.deprecate_eof or not (self.parameters or self.columns)
        elif self.parameters:
            self._left = self.parameters
            self._state = _PARAMETERS
        elif self.columns:
            self._left = self.columns
            self._state = _COLUMNS
        else:
            self._last = True
        return True

    def _err(self, chunk: bytes, start: int, length: int, size: int) -> bool:
        if length < 3:
            raise ServerProtocolError("the server sent an ERR packet without a code")
        if size - start < 3:
            return False
        code = chunk[start + 1] | chunk[start + 2] << 8
        if code == _PROGRESS:
            return True
        self._note_first(0xFF)
        self.error = code
        self._last = True
        return True

    def _ok(self, chunk: bytes, start: int, length: int, size: int) -> bool:
        needed = length if length < _HEAD else _HEAD
        if size - start < needed:
            return False
        pos = self._after_lenenc(chunk, start + 1, start + length)
        inserted = pos
        pos = self._after_lenenc(chunk, pos, start + length)
        if pos + 2 > start + length:
            raise ServerProtocolError("the server sent an OK packet without status flags")
        status = chunk[pos] | chunk[pos + 1] << 8
        if status & _STATE_CHANGED and self.tracking and size - start < length:
            return False
        if chunk[start] == 0:
            self.affected += chunk[start + 1] if inserted == start + 2 else min(read_lenenc(chunk, start + 1)[0], _MOST)
            self.insert_id = chunk[inserted] if pos == inserted + 1 else read_lenenc(chunk, inserted)[0]
        if status & _STATE_CHANGED and self.tracking:
            self.changes.append(chunk[start : start + length])
            self.marks.append(start - _HEADER)
            self.changed = True
        self._end_of_result(chunk[start], status)
        return True

    def _eof(self, chunk: bytes, start: int, length: int, size: int) -> bool:
        if length < 5:
            raise ServerProtocolError("the server sent an EOF packet without status flags")
        if size - start < 5:
            return False
        status = chunk[start + 3] | chunk[start + 4] << 8
        if status & _STATE_CHANGED and self.tracking:
            self.marks.append(start - _HEADER)
            self.changed = True
        self._end_of_result(chunk[start], status)
        return True

    def _leave_out(self, chunk: bytes, mark: int, pos: int, length: int) -> None:
        """Hash what came before the packet at ``pos``; of an OK packet only affected rows and insert id count."""
        if self.checksum is None:
            return
        if pos > mark:
            self.checksum.update(chunk[mark:pos])
        if length >= _OK_LENGTH and (chunk[pos + _HEADER] == 0 or self.deprecate_eof):
            affected = pos + _HEADER + 1
            inserted = self._after_lenenc(chunk, affected, pos + _HEADER + length)
            if self.counts > 1:
                inserted = self._after_lenenc(chunk, inserted, pos + _HEADER + length)
            if self.counts:
                self.checksum.update(chunk[affected:inserted])

    def _end_of_result(self, head: int, status: int) -> None:
        self._note_first(head)
        self._volatile = True
        self.status = status
        if (status & _MORE_RESULTS or self._out_params) and (self._kind == _QUERY or self._kind == _CURSOR):
            self._out_params = False
            self._state = _FIRST
        else:
            self._last = True

    def _after_lenenc(self, chunk: bytes, pos: int, end: int) -> int:
        """The position after a length-encoded integer. Raises ServerProtocolError past ``end`` or when it is none."""
        if pos >= end:
            raise ServerProtocolError("the server sent a truncated OK packet")
        head = chunk[pos]
        if head < 0xFB:
            return pos + 1
        if head == 0xFC:
            return pos + 3
        if head == 0xFD:
            return pos + 4
        if head != 0xFE:
            raise ServerProtocolError(f"the server sent an OK packet with 0x{head:02X} where a number was due")
        return pos + 9
