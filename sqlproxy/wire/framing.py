"""Cuts a client's byte stream into whole commands, and finds the end of an uploaded file.

A command is one packet, or several when its payload reaches 2**24 - 1 bytes; every packet has a 4-byte header
(3 bytes length, 1 byte sequence id, counted from 0 in each command).

Source: MySQL source documentation, "MySQL Packets"
(https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html).
"""

from typing import Final

from sqlproxy.errors import PacketTooLarge, ProtocolError
from sqlproxy.wire.constants import HEADER, MAX_PAYLOAD

ER_NET_PACKETS_OUT_OF_ORDER: Final = 1156

# Variables that the compiled form reads without a lookup (declared in the .pxd)
_HEADER: Final = HEADER
_MAX: Final = MAX_PAYLOAD


class PacketReader:
    """Collects chunks and gives back whole commands, headers included, as they came.

    ``limit`` is the largest payload in bytes of one command. Invariant: fed whole, byte by byte or at random cuts,
    the same commands come out.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = False  # bytes wait here
        self._buffer = bytearray()
        self._scanned = 0  # where the next header to look at begins
        self._seq = 0  # the sequence id it must carry
        self._payload = 0  # bytes of payload in the packets before it

    def feed(self, chunk: bytes) -> bytes | None:
        """Take a chunk; the first whole command, or None while it is incomplete.

        Raises ProtocolError for packets out of order or empty, PacketTooLarge beyond the limit.
        """
        size = len(chunk)
        if (
            not self._buffer
            and size > _HEADER
            and chunk[3] == 0
            and (chunk[0] | chunk[1] << 8 | chunk[2] << 16) == size - _HEADER
            and size - _HEADER < _MAX
            and size - _HEADER <= self.limit
        ):
            return chunk  # the ordinary case: one chunk is one command
        self._buffer += chunk
        self.held = len(self._buffer) > 0
        return self.next()

    def next(self) -> bytes | None:
        """The next whole command among what was fed, or None. Raises as ``feed``."""
        buffer = self._buffer
        while len(buffer) - self._scanned >= _HEADER:
            length = self._check_header()
            end = self._scanned + _HEADER + length
            if len(buffer) < end:
                return None
            if length < _MAX:
                return self._take(end)
            self._scanned = end
            self._seq = (self._seq + 1) & 0xFF
            self._payload += length
        return None

    def _check_header(self) -> int:
        """The length in the header at hand. Raises as ``feed``."""
        start = self._scanned
        length = self._buffer[start] | self._buffer[start + 1] << 8 | self._buffer[start + 2] << 16
        seq = self._buffer[start + 3]
        if seq != self._seq:
            raise ProtocolError("Got packets out of order", code=ER_NET_PACKETS_OUT_OF_ORDER, sqlstate="08S01")
        if length + self._payload == 0:
            raise ProtocolError("malformed packet: a command without a single byte")
        if length + self._payload > self.limit:
            raise PacketTooLarge(
                f"a command of {length + self._payload} bytes or more is larger than max_allowed_packet ({self.limit})"
            )
        return length

    def _take(self, end: int) -> bytes:
        if end == len(self._buffer):  # one copy less: commands may have many MiB
            return self.take_rest()
        command = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._scanned = self._seq = self._payload = 0
        return command

    def take_rest(self) -> bytes:
        """Everything fed and not yet given back; the reader is empty afterwards."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self.held = False
        self._scanned = self._seq = self._payload = 0
        return rest

    @property
    def due(self) -> int:
        """The sequence id that the next packet must carry; servers answer with it when another comes."""
        return self._seq

    @property
    def pending(self) -> bytes:
        """Everything fed and not yet given back."""
        return bytes(self._buffer)

    @property
    def buffered(self) -> int:
        """Bytes waiting here."""
        return len(self._buffer)


class UploadReader:
    """Follows the packets of a LOAD DATA LOCAL upload, which ends with an empty packet.

    An empty packet after one of 2**24 - 1 bytes does not end it: the server joins the two.
    """

    def __init__(self) -> None:
        self._header = bytearray()
        self._remaining = 0
        self._continued = False  # the next packet continues the one before

    def feed(self, chunk: bytes) -> int:
        """The offset just past the upload's end in ``chunk``, or -1 when all of it belongs to the upload."""
        pos = 0
        size = len(chunk)
        while pos < size:
            if self._remaining:
                step = min(self._remaining, size - pos)
                self._remaining -= step
                pos += step
                continue
            take = min(_HEADER - len(self._header), size - pos)
            self._header += chunk[pos : pos + take]
            pos += take
            if len(self._header) == _HEADER and self._ends():
                return pos
        return -1

    def _ends(self) -> bool:
        """Act on a whole header; True if it is the empty packet at the end."""
        length = self._header[0] | self._header[1] << 8 | self._header[2] << 16
        self._header.clear()
        ends = length == 0 and not self._continued
        self._continued = length == _MAX
        self._remaining = length
        return ends


def payload_of(command: bytes) -> bytes:
    """The payload of a whole command, joined where it came in several packets."""
    if len(command) < _HEADER + _MAX:
        return command[_HEADER:]
    parts = []
    pos = 0
    while pos < len(command):
        length = int.from_bytes(command[pos : pos + 3], "little")
        parts.append(command[pos + _HEADER : pos + _HEADER + length])
        pos += _HEADER + length
    return b"".join(parts)
