"""Puts a plain connected socket in the hands of its protocol: in a lane where there is one, else in a transport.

``session.lane`` is compiled only, and for Linux; with a ring it sends to many sockets by one call where the system lets
it. ``SQLPROXY_SOCKETS`` is the best that may be used: ``ring``, ``lane`` or ``transports``.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, Final

from sqlproxy.session.compressed import CompressedTransport
from sqlproxy.session.sockets import RawSocket, Stage

try:
    from sqlproxy.session.lane import Socket, lane_of, ring_refused
except ImportError:
    _COMPILED = False
else:
    _COMPILED = True

RING: Final = "ring"
LANE: Final = "lane"
TRANSPORTS: Final = "transports"


def best(wanted: str) -> tuple[str, str]:
    """What serves sockets here when this is the best that may be, and why nothing better does ("": nothing is)."""
    if wanted == TRANSPORTS:
        return TRANSPORTS, "SQLPROXY_SOCKETS=transports"
    if not _COMPILED:
        return TRANSPORTS, "there is no compiled core"
    if wanted == LANE:
        return LANE, "SQLPROXY_SOCKETS=lane"
    refused = ring_refused()
    return (LANE, refused) if refused else (RING, "")


USED, _WHY = best(os.environ.get("SQLPROXY_SOCKETS", RING))


def described() -> str:
    """What serves sockets in this process, for the log."""
    what = {RING: "the ring: epoll, and io_uring for sends", LANE: "the lane: epoll", TRANSPORTS: "the event loop"}
    return f"{what[USED]} ({_WHY})" if _WHY else what[USED]


def receive(sock: socket.socket, protocol: asyncio.Protocol, at_most: int) -> Stage:
    """From now on ``protocol`` gets what comes in, of a socket that another transport may take over.

    ``at_most``: bytes to take in at once, 0 for any number. What it is told of is a lane's socket, which may stay, or a
    ``RawSocket``, which must not.
    """
    if USED == TRANSPORTS:
        return RawSocket(sock, protocol, at_most)
    return lane_of(asyncio.get_running_loop(), USED == RING).adopt(sock, protocol, at_most)


async def attach(sock: socket.socket, protocol: asyncio.Protocol) -> None:
    """From now on ``protocol`` gets what comes in, and owns the socket by the transport it is told of."""
    loop = asyncio.get_running_loop()
    if USED == TRANSPORTS:
        await loop.create_connection(lambda: protocol, sock=sock)
    else:
        lane_of(loop, USED == RING).adopt(sock, protocol)


def movable_socket(transport: Any) -> Any:
    """The socket of a transport that, paused, holds no byte on its way; None for others (TLS, compression)."""
    if isinstance(transport, CompressedTransport) or transport is None or transport.get_write_buffer_size():
        return None
    plain = USED != TRANSPORTS and isinstance(transport, Socket)
    if not plain and type(transport).__module__.partition(".")[0] not in ("asyncio", "uvloop"):
        return None
    return transport.get_extra_info("socket") if transport.get_extra_info("ssl_object") is None else None
