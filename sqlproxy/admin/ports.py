"""The sockets that the admin side listens on."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import Any, Final

from sqlproxy import inherited
from sqlproxy.topology.model import Address

_BACKLOG: Final = 128


def listen(address: Address) -> socket.socket:
    """Bind and listen, or take over what the process before has; a stale path is replaced. Raises OSError."""
    before = inherited.take(str(address))
    if before is not None:
        return before
    if address.path:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(address.path).st_mode):
                os.unlink(address.path)
        family: int = socket.AF_UNIX
        target: Any = address.path
    else:
        family, _, _, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
