"""Pings connections to servers that a session has not used for a while, so that ``wait_timeout`` does not end them.

As MaxScale's ``connection_keepalive``: https://mariadb.com/docs/maxscale (service settings). A session that only reads
leaves its connection to the primary idle for as long as it lives.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from sqlproxy.session.backend import Backend

if TYPE_CHECKING:
    from sqlproxy.session.service import Service

_SWITCHED_OFF: Final = 10.0  # seconds until the configuration is looked at again


async def keep_alive(service: Service) -> None:
    """Look at every session of a service from time to time, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        limit = service.config.connection_keepalive
        await asyncio.sleep(limit / 4 or _SWITCHED_OFF)
        if not limit:
            continue
        now = loop.time()
        for session in tuple(service.registry.sessions.values()):
            if session.service is service:
                for backend in tuple(session.backends.values()):
                    if is_due(backend, now, limit):
                        backend.ping()


def is_due(backend: Backend, now: float, limit: float) -> bool:
    """Whether a connection was idle for ``limit`` seconds up to ``now``; such times are counted anew from here on."""
    count, since = backend.idle
    used = backend.tracker.begun
    if used != count or not since or not backend.tracker.done:
        backend.idle = (used, now)
        return False
    if now - since < limit * 0.75:  # looked at only four times in that period
        return False
    backend.idle = (used, now)
    return True
