"""The compressed protocol: the stream of packets, cut anew into frames that may be compressed, by zlib or by zstd.

A frame has a 7-byte header: 3 bytes length as sent, 1 byte sequence id, 3 bytes length before compression (0: sent as
it is). Frames have sequence ids of their own: a command begins with 0, its reply goes on from there.

Source: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_compression_packet.html and MySQL's
``sql-common/net_serv.cc``. When client and server have both kinds in common, it is zlib.
"""

from __future__ import annotations

import zlib
from typing import Final, Protocol

from sqlproxy.errors import ProtocolError
from sqlproxy.wire.constants import CLIENT_COMPRESS, CLIENT_ZSTD_COMPRESSION_ALGORITHM, HEADER, MAX_PAYLOAD
from sqlproxy.wire.zstd import Zstd

FRAME_HEADER: Final = 7
THRESHOLD: Final = 50  # bytes below which compression is not worth it, as in the servers
_THOROUGH: Final = 1 << 16  # bytes up to which the better level costs no noticeable pause
_LEVEL, _FAST_LEVEL = 6, 1
# The capability that asks for each, by the name it has in the configuration.
COMPRESSION: Final = {"zlib": CLIENT_COMPRESS, "zstd": CLIENT_ZSTD_COMPRESSION_ALGORITHM}


class Algorithm(Protocol):
    """How the body of a frame is compressed."""

    def compress(self, data: bytes, fast: bool) -> bytes: ...

    def expand(self, body: bytes, size: int) -> bytes: ...


class Zlib:
    """CLIENT_COMPRESS."""

    def compress(self, data: bytes, fast: bool) -> bytes:
        """``fast``: rather soon than small."""
        return zlib.compress(data, _FAST_LEVEL if fast else _LEVEL)

    def expand(self, body: bytes, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises ProtocolError for anything else, before more memory is used than that."""
        inflater = zlib.decompressobj()
        try:
            data = inflater.decompress(body, size + 1)
        except zlib.error:
            raise ProtocolError("malformed packet: a compressed frame that cannot be decompressed") from None
        if len(data) != size or not inflater.eof:
            raise ProtocolError(
                f"malformed packet: a compressed frame that does not hold the {size} bytes it announces"
            )
        return data


def chosen(capabilities: int, level: int) -> Algorithm | None:
    """What was agreed on; ``level`` is for zstd."""
    if capabilities & CLIENT_COMPRESS:
        return Zlib()
    return Zstd(level) if capabilities & CLIENT_ZSTD_COMPRESSION_ALGORITHM else None


class CompressedStream:
    """Both directions of one connection, as seen from one side.

    ``serving``: the peer is a client, so that what is encoded are replies; otherwise they are commands. Invariant: what
    one side encodes the other decodes to the same bytes, however the frames are cut on the way.
    """

    def __init__(self, algorithm: Algorithm, *, serving: bool) -> None:
        self._algorithm = algorithm
        self._serving = serving
        self._seq = 0  # of the next frame sent
        self._spoken = False  # something was sent since the peer spoke last
        self._outgoing = _PacketFollower()
        self._incoming = bytearray()
        self._held = bytearray()  # the beginning of a packet of a reply

    def encode(self, data: bytes) -> bytes:
        """Frames for the next bytes of the stream; a command or a reply begins a call of its own.

        Replies are framed in whole packets, as servers do: MySQL Connector/Python loses its way in packets that
        lie in more than two frames.
        """
        if self._begins(data):
            self._seq = int(self._serving)
        end = self._outgoing.follow(data)
        self._spoken = True
        if self._serving:
            data = self._whole_packets(data, end)
        return b"".join(self._frame(data[at : at + MAX_PAYLOAD]) for at in range(0, len(data), MAX_PAYLOAD))

    def _whole_packets(self, data: bytes, end: int) -> bytes:
        """What can be sent now, ``end`` being where the last packet ends in ``data``; the rest is kept."""
        if end < 0:
            self._held += data
            if len(self._held) < MAX_PAYLOAD:
                return b""
            end, data = 0, b""
        ready = bytes(self._held) + data[:end]
        self._held[:] = data[end:]
        return ready

    def _begins(self, data: bytes) -> bool:
        """Whether these bytes begin a command, or the reply to a command that waited behind another."""
        if len(data) < HEADER or not self._outgoing.at_boundary:
            return False
        seq, before = data[3], self._outgoing.seq
        if self._serving:
            return self._spoken and seq == 1 and before != 0
        return seq == 0 and before != 0xFF

    def _frame(self, part: bytes) -> bytes:
        body, size = part, 0
        if len(part) >= THRESHOLD:
            body = self._algorithm.compress(part, len(part) > _THOROUGH)
            size = len(part)
            if len(body) >= size:
                body, size = part, 0
        header = len(body).to_bytes(3, "little") + bytes((self._seq,)) + size.to_bytes(3, "little")
        self._seq = (self._seq + 1) & 0xFF
        return header + body

    def decode(self, chunk: bytes) -> bytes:
        """The bytes of the stream that became complete with this chunk. Raises ProtocolError."""
        buffer = self._incoming
        buffer += chunk
        parts = []
        while len(buffer) >= FRAME_HEADER:
            end = FRAME_HEADER + int.from_bytes(buffer[:3], "little")
            if len(buffer) < end:
                break
            self._seq = (buffer[3] + 1) & 0xFF
            self._spoken = False
            body, size = bytes(buffer[FRAME_HEADER:end]), int.from_bytes(buffer[4:7], "little")
            parts.append(self._algorithm.expand(body, size) if size else body)
            del buffer[:end]
        return b"".join(parts)


class _PacketFollower:
    """Knows where packets begin in a stream; ``seq`` is the sequence id of the newest, -1 before the first."""

    def __init__(self) -> None:
        self.seq = -1
        self._left = 0
        self._header = bytearray()

    @property
    def at_boundary(self) -> bool:
        return not self._left and not self._header

    def follow(self, data: bytes) -> int:
        """Go on by ``data``; the offset past the last packet that ends in it, -1 when none does."""
        pos, size, end = 0, len(data), -1
        while pos < size:
            if self._left:
                step = min(self._left, size - pos)
                self._left -= step
            else:
                step = min(HEADER - len(self._header), size - pos)
                self._header += data[pos : pos + step]
                if len(self._header) == HEADER:
                    self._left = int.from_bytes(self._header[:3], "little")
                    self.seq = self._header[3]
                    self._header.clear()
            pos += step
            if self.at_boundary:
                end = pos
        return end
