"""Puts a plain connected socket in the hands of its protocol: in a lane where there is one, else in a transport.

``session.lane`` is compiled only, and for Linux; ``SQLPROXY_SOCKETS=transports`` does without it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final

from sqlproxy.session.sockets import RawSocket, Stage

try:
    from sqlproxy.session.lane import lane_of
except ImportError:
    _COMPILED = False
else:
    _COMPILED = True

DIRECT: Final = _COMPILED and os.environ.get("SQLPROXY_SOCKETS") != "transports"


def receive(sock: socket.socket, protocol: asyncio.Protocol, at_most: int) -> Stage:
    """From now on ``protocol`` gets what comes in, of a socket that another transport may take over.

    ``at_most``: bytes to take in at once, 0 for any number. What it is told of is a lane's socket, which may stay, or a
    ``RawSocket``, which must not.
    """
    if DIRECT:
        return lane_of(asyncio.get_running_loop()).adopt(sock, protocol, at_most)
    return RawSocket(sock, protocol, at_most)


async def attach(sock: socket.socket, protocol: asyncio.Protocol) -> None:
    """From now on ``protocol`` gets what comes in, and owns the socket by the transport it is told of."""
    loop = asyncio.get_running_loop()
    if DIRECT:
        lane_of(loop).adopt(sock, protocol)
    else:
        await loop.create_connection(lambda: protocol, sock=sock)
