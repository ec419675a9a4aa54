"""Column definitions that a server leaves out, because it has told them before, put back where a client needs them.

MariaDB's CACHE_METADATA: a byte after the number of columns says whether definitions follow. A server compares those of
a prepared statement with the ones it sent last for it, in the answer to COM_STMT_PREPARE or to an execution.

Sources: MariaDB's "Result Set Packets" (https://mariadb.com/kb/en/result-set-packets/) and
``should_send_column_info`` in its ``sql/protocol.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from sqlproxy.wire import codec
from sqlproxy.wire.constants import ERR, HEADER, LOCAL_INFILE, OK

_PROGRESS: Final = b"\xff\xff\xff"  # begins MariaDB's report on a long statement, which its reply follows
_COUNT: Final = 4  # bytes of a packet with the number of columns, at most


def columns_of(reply: bytes, deprecate_eof: bool) -> list[bytes]:
    """The definitions of the columns in a whole reply to COM_STMT_PREPARE, headers included; payloads, in order."""
    payloads = []
    pos = 0
    while pos < len(reply):
        end = pos + HEADER + int.from_bytes(reply[pos : pos + 3], "little")
        payloads.append(reply[pos + HEADER : end])
        pos = end
    columns, parameters = (int.from_bytes(payloads[0][at : at + 2], "little") for at in (5, 7))
    first = 1 + parameters + bool(parameters and not deprecate_eof)
    return payloads[first : first + columns]


def digest_of(definitions: Sequence[bytes]) -> bytes:
    """What is equal for equal definitions; b"" for none."""
    if not definitions:
        return b""
    digest = blake2b(digest_size=16)
    for definition in definitions:
        digest.update(codec.write_lenenc_string(definition))
    return digest.digest()


class Definitions:
    """Puts definitions into the first result set of a reply if it has none; everything after counts on from there.

    ``used``: it has. Invariant: cut the reply anywhere, and the same bytes come out.
    """

    def __init__(self, payloads: list[bytes]) -> None:
        self.used = False
        self.payloads = payloads
        self._begun = False  # the first packet of the reply has come
        self._left = 0  # bytes of the packet at hand, which pass as they are
        self._head = b""  # the beginning of a packet not yet known

    def feed(self, chunk: bytes) -> bytes:
        """What goes to the client of the reply so far."""
        if self._begun and not self.used:
            return chunk
        data, self._head = self._head + chunk, b""
        parts = []
        pos = 0
        while pos < len(data):
            if self._left:
                step = min(self._left, len(data) - pos)
                parts.append(data[pos : pos + step])
                self._left -= step
                pos += step
                continue
            length = int.from_bytes(data[pos : pos + 3], "little")
            if len(data) - pos < HEADER + (0 if self._begun else min(length, _COUNT)):
                self._head = data[pos:]
                break
            start = pos + HEADER
            if self._begun:
                parts.append(data[pos : pos + 3] + bytes((data[pos + 3] + len(self.payloads) & 0xFF,)))
                self._left = length
                pos = start
            elif self._lacks(data[start : start + min(length, _COUNT)]):
                parts.append(self._filled(data[pos:start], data[start : start + length]))
                self._begun = self.used = True
                pos = start + length
            elif data[start : start + 3] == _PROGRESS:
                parts.append(data[pos:start])
                self._left = length
                pos = start
            else:
                self._begun = True
                return b"".join((*parts, data[pos:]))
        return b"".join(parts)

    def _lacks(self, payload: bytes) -> bool:
        """Whether a packet announces a result set without definitions."""
        return payload[:1] not in (bytes((OK,)), bytes((ERR,)), bytes((LOCAL_INFILE,))) and payload[-1:] == b"\x00"

    def _filled(self, header: bytes, count: bytes) -> bytes:
        seq = header[3]
        packets = [header, count[:-1], b"\x01"]
        packets += [codec.packet((seq + at) & 0xFF, payload) for at, payload in enumerate(self.payloads, 1)]
        return b"".join(packets)
