"""Pings connections to servers that a session has not used for a while, so that ``wait_timeout`` does not end them;
gives up those on which a server cannot be heard.

As MaxScale's ``connection_keepalive``: https://mariadb.com/docs/maxscale (service settings). A session that only reads
leaves its connection to the primary idle for as long as it lives.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from sqlproxy.session.backend import Backend
from sqlproxy.session.sockets import LOST_AFTER

if TYPE_CHECKING:
    from sqlproxy.session.service import Service

_SWITCHED_OFF: Final = 10.0  # seconds until the configuration is looked at again
_LOOK_EVERY: Final = 2.0  # seconds between two looks at statements that take long


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


async def watch_paths(service: Service) -> None:
    """Give up connections whose server cannot be heard while a statement waits there, until cancelled."""
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        before = time.monotonic() - LOST_AFTER
        for session in tuple(service.registry.sessions.values()):
            if session.service is service and session.busy and session.active_at <= before:
                for backend in tuple(session.backends.values()):
                    if not backend.tracker.done and backend.is_unheard:
                        backend.abort(f"nothing was heard of it for {LOST_AFTER:g}s")


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
