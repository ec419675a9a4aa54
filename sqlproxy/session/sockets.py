"""Sockets before a transport owns them.

A login may switch to TLS after any byte, so nothing may be read beyond the packet at hand until that is decided.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from array import array
from typing import Any, Final, Protocol

_READ: Final = 65536  # bytes received at once
_IDLE, _BETWEEN, _PROBES = 5, 2, 3  # seconds of silence, between two questions of the system's, and how many of these
LOST_AFTER: Final = _IDLE + _BETWEEN * _PROBES
# Of struct tcp_info, linux/tcp.h: segments sent and not confirmed, and milliseconds since the newest confirmation.
_TCP_INFO: Final = struct.Struct("24xI28xI")


class Stage(Protocol):
    """A transport that another one may replace, because TLS begins."""

    def receive_at_most(self, size: int) -> None:
        """Take in no more bytes than that at once; 0: any number."""

    def detach(self) -> socket.socket:
        """The socket, for another transport. Raises OSError when what was written is still on its way."""
        ...


async def read_exactly(sock: socket.socket, size: int) -> bytes | None:
    """``size`` bytes, or None when the peer closes before. Raises OSError."""
    loop = asyncio.get_running_loop()
    parts: list[bytes] = []
    while size:
        try:
            part = sock.recv(size)  # most of it has come already
        except (BlockingIOError, InterruptedError):
            part = await loop.sock_recv(sock, size)
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class RawSocket:
    """A connected socket that the event loop only watches: as a transport, but for few bytes."""

    def __init__(self, sock: socket.socket, protocol: asyncio.Protocol, at_most: int) -> None:
        self._sock: socket.socket | None = sock
        self._protocol = protocol
        self._at_most = at_most
        self._loop = asyncio.get_running_loop()
        self._reading = False
        protocol.connection_made(self)  # type: ignore[arg-type]
        self.resume_reading()

    def receive_at_most(self, size: int) -> None:
        """See ``Stage``."""
        self._at_most = size

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is kept here."""

    def write(self, data: bytes) -> None:
        """Send; a peer that has not even room for the few bytes of a greeting is given up."""
        if self._sock is None:
            return
        try:
            sent = self._sock.send(data)
        except OSError as error:
            self._end(error)
            return
        if sent < len(data):
            self._end(BlockingIOError("the client does not read"))

    def _receive(self) -> None:
        if self._sock is None:
            return
        try:
            chunk = self._sock.recv(self._at_most or _READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if chunk:
            self._protocol.data_received(chunk)
        else:
            self._end(None)

    def pause_reading(self) -> None:
        """Receive nothing until ``resume_reading``."""
        if self._reading and self._sock is not None:
            self._loop.remove_reader(self._sock)
        self._reading = False

    def resume_reading(self) -> None:
        """Receive again."""
        if not self._reading and self._sock is not None:
            self._loop.add_reader(self._sock, self._receive)
            self._reading = True

    def detach(self) -> socket.socket:
        """See ``Stage``."""
        self.pause_reading()
        sock, self._sock = self._sock, None
        if sock is None:
            raise OSError("the connection is closed")
        return sock

    def close(self) -> None:
        """End; what was written has been sent."""
        self._end(None)

    def abort(self) -> None:
        """See ``close``."""
        self._end(None)

    def _end(self, reason: Exception | None) -> None:
        if self._sock is not None:
            self.detach().close()
            self._loop.call_soon(self._protocol.connection_lost, reason)


def detect_silence(sock: socket.socket, after: float) -> None:
    """Let the system find out, after so many seconds without a byte, whether a TCP peer is still there."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, min(max(round(after), 1), 32767))


def detect_lost_path(sock: socket.socket) -> None:
    """Let the system find out within ``LOST_AFTER`` seconds that a server's end of an idle TCP connection is gone.

    A firewall or NAT on the way may forget a connection without a word, while a reply is on its way; the server is
    well, so nothing else would end the wait. The system's own defaults are two hours.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _BETWEEN)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)


def is_unheard(sock: Any) -> bool:
    """Whether the peer's system has confirmed nothing for ``LOST_AFTER`` seconds, though it was sent something.

    With bytes on their way TCP asks for no sign of life but sends them again, for a quarter of an hour. A peer that
    only does not read confirms that it is there. False where this cannot be known.
    """
    if sock is None or sock.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
        return False
    info = b""
    with contextlib.suppress(OSError, ValueError):  # closed
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    if len(info) < _TCP_INFO.size:
        return False
    unconfirmed, heard = _TCP_INFO.unpack(info)
    return bool(unconfirmed and heard >= LOST_AFTER * 1000)


def has_unconfirmed(sock: Any) -> bool:
    """Whether there are bytes that were written and not confirmed by the peer's system.

    At the end of the peer's stream it says that the peer never read them: the segment that ends a stream confirms all
    that had come until then (RFC 9293, 3.10.7.4), and a system keeps what comes later from a program that has closed
    its end. False where this cannot be known, as on unix sockets.
    """
    if sock is None or sock.family == socket.AF_UNIX:
        return False
    count = array("i", [0])
    with contextlib.suppress(OSError, ValueError):  # closed
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    return count[0] > 0


def close_quietly(sock: socket.socket | None) -> None:
    """Close a socket, whatever state it is in."""
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.close()
