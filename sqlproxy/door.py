"""Packets with limits over asyncio's streams: how a client that is not part of the data path is read and answered."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from sqlproxy.errors import PacketTooLarge, ProtocolError
from sqlproxy.wire.codec import packet
from sqlproxy.wire.constants import MAX_PAYLOAD

LOGIN_PACKET = 64 << 10  # bytes; no client needs more before it is trusted
_DRAINED = 16  # times 64 KiB that are read of a client that is refused


class ConnectionGone(Exception):
    """The client closed the connection, or it broke."""


async def greet(sock: socket.socket, greeting: bytes) -> bytes:
    """Send a greeting and read the packet that answers it, not a byte more: what follows may be TLS.

    Raises ConnectionGone, ProtocolError.
    """
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(sock, packet(0, greeting))
        header = await _read(sock, 4)
        size = int.from_bytes(header[:3], "little")
        if size > LOGIN_PACKET or header[3] != 1:
            raise ProtocolError(
                "Got packets out of order" if header[3] != 1 else "Got a login that is too long", code=1156
            )
        return await _read(sock, size)
    except OSError:
        raise ConnectionGone from None


async def _read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not part:
            raise ConnectionGone
        data += part
    return data


def part(sock: socket.socket, words: bytes) -> None:
    """Close a non-blocking socket after its last words; what has come is read, as the words would be lost otherwise."""
    with sock, contextlib.suppress(OSError):
        sock.send(words)
        sock.shutdown(socket.SHUT_WR)
        for _ in range(_DRAINED):
            if not sock.recv(65536):
                return


async def enter(sock: socket.socket, context: ssl.SSLContext | None) -> Packets:
    """The packets that follow the first answer, inside TLS if there is a context. Raises OSError."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=context)
    return Packets(reader, asyncio.StreamWriter(transport, protocol, reader, loop), seq=2)


class Packets:
    """Packets over a stream pair, as mysql-mimic's ``Connection`` expects them of its stream too.

    ``limit``: the longest payload accepted, in bytes; ``seq``: the number of the next packet.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seq: int = 0) -> None:
        self._reader = reader
        self._writer = writer
        self._seq = seq
        self._buffer = bytearray()
        self.limit = LOGIN_PACKET

    async def read(self) -> bytes:
        """The next payload. Raises ConnectionGone, PacketTooLarge and, for a wrong sequence id, ProtocolError."""
        payload = b""
        while True:
            try:
                header = await self._reader.readexactly(4)
                size = int.from_bytes(header[:3], "little")
                if len(payload) + size > self.limit:
                    raise PacketTooLarge("Got a packet bigger than 'max_allowed_packet' bytes")
                if header[3] != self._seq:
                    raise ProtocolError("Got packets out of order", code=1156, sqlstate="08S01")
                self._seq = (self._seq + 1) & 0xFF
                payload += await self._reader.readexactly(size)
            except (asyncio.IncompleteReadError, OSError):
                raise ConnectionGone from None
            if size < MAX_PAYLOAD:
                return payload

    def put(self, payload: bytes) -> None:
        """Queue a payload; ``drain`` sends it."""
        self._buffer += packet(self._seq, payload)
        self._seq = (self._seq + 1 + len(payload) // MAX_PAYLOAD) & 0xFF

    async def write(self, payload: bytes, drain: bool = True) -> None:
        """Queue a payload and, if asked, send what is queued."""
        self.put(payload)
        if drain or len(self._buffer) > 1 << 16:
            await self.drain()

    def write_many(self, payloads: Sequence[bytes]) -> None:
        """Queue payloads."""
        for payload in payloads:
            self.put(payload)

    async def drain(self) -> None:
        """Send what is queued. Raises ConnectionGone."""
        data, self._buffer = self._buffer, bytearray()
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (OSError, RuntimeError):
            raise ConnectionGone from None

    def close(self) -> None:
        """End the connection once all is sent."""
        self._writer.close()

    def reset_seq(self) -> None:
        """The next packet starts a new command."""
        self._seq = 0

    def peer(self) -> str:
        """The client's host as MariaDB names it in ``USER()``."""
        name: Any = self._writer.get_extra_info("peername")
        host = str(name[0]) if isinstance(name, tuple) else "localhost"
        return "localhost" if host in ("127.0.0.1", "::1") else host
