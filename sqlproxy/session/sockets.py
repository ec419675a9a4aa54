"""Reads exact byte counts from a raw socket, before a transport owns it.

A login may switch to TLS after any byte, so nothing may be read beyond the packet at hand until that is decided.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket


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


async def send(sock: socket.socket, data: bytes) -> None:
    """All of it. Raises OSError."""
    try:
        sent = sock.send(data)  # most often there is room
    except (BlockingIOError, InterruptedError):
        sent = 0
    if sent < len(data):
        await asyncio.get_running_loop().sock_sendall(sock, data[sent:])


def detect_silence(sock: socket.socket, after: float) -> None:
    """Let the system find out, after so many seconds without a byte, whether a TCP peer is still there."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, min(max(round(after), 1), 32767))


def close_quietly(sock: socket.socket | None) -> None:
    """Close a socket, whatever state it is in."""
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.close()
