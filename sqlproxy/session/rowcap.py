"""Lets so many rows of a reply pass and no more. Pure: chunks of any size in, whole beginnings out.

Result sets of the text and the binary protocol look alike here:
https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response.html.
"""

from __future__ import annotations

from typing import Final

from sqlproxy.wire.constants import EOF, ERR, HEADER, MAX_PAYLOAD, OK

_START, _DEFINITIONS, _DEFINITIONS_EOF, _ROWS = range(4)
_LOCAL_INFILE: Final = 0xFB
_EOF_LENGTH: Final = 9  # an EOF packet is shorter
_DECIDES: Final = 4  # bytes of a payload that tell what a packet is, or how many columns there are


class RowCap:
    """Of each result set ``rows`` may pass. After one too many ``over`` is true and nothing passes any more.

    ``sequence`` is then the sequence id for the packet in place of the first row that did not.
    """

    def __init__(self, rows: int) -> None:
        self.over = False
        self.sequence = 0
        self._rows = rows
        self._seen = 0
        self._state = _START
        self._definitions = 0
        self._left = 0  # bytes of the packet at hand, which passes
        self._continues = False  # the next packet belongs to the one before
        self._head = b""  # the beginning of a packet not yet known

    def feed(self, chunk: bytes, deprecate_eof: bool, optional: bool = False) -> bytes:
        """What of the reply so far may pass; ``optional``: definitions may lack, see METADATA_MAY_LACK."""
        if self.over:
            return b""
        data, self._head = self._head + chunk, b""
        position = 0
        while position < len(data):
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
                position += step
                continue
            length = int.from_bytes(data[position : position + 3], "little")
            known = position + HEADER + min(length, _DECIDES)
            if len(data) < min(known, position + HEADER + _DECIDES) or len(data) - position < HEADER:
                break
            if not self._passes(data[position + HEADER : known], length, deprecate_eof, optional):
                self.over, self.sequence = True, data[position + 3]
                return data[:position]
            self._left = HEADER + length
        self._head = data[position:]
        return data[:position]

    def _passes(self, head: bytes, length: int, deprecate_eof: bool, optional: bool) -> bool:
        """Note a packet that begins; False for a row too many."""
        continues, self._continues = self._continues, length == MAX_PAYLOAD
        if continues:
            return True
        first = head[0] if head else OK
        if self._state == _START:
            if first not in (OK, ERR, EOF, _LOCAL_INFILE):
                self._definitions = int.from_bytes(head[1:3], "little") if first == 0xFC else first
                self._state, self._seen = _DEFINITIONS, 0
                if optional and not head[-1]:
                    self._state = _ROWS if deprecate_eof else _DEFINITIONS_EOF
        elif self._state == _DEFINITIONS:
            self._definitions -= 1
            if not self._definitions:
                self._state = _ROWS if deprecate_eof else _DEFINITIONS_EOF
        elif self._state == _DEFINITIONS_EOF:
            self._state = _ROWS
        elif first == ERR or (first == EOF and length < (MAX_PAYLOAD if deprecate_eof else _EOF_LENGTH)):
            self._state = _START
        else:
            self._seen += 1
            return self._seen <= self._rows
        return True
