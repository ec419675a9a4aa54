"""Copies of reads for another server, whose answers nobody sees: to try a version out, or to warm its caches.

Only statements known to read are copied, outside transactions, so that nothing is ever written a second time or in
another place. A copy waits for nothing and nobody waits for it: a mirror that does not keep up gets fewer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import SqlproxyError
from sqlproxy.routing.rules import Rule
from sqlproxy.session.backend import Backend
from sqlproxy.session.connect import connect
from sqlproxy.session.stats import ServerStats
from sqlproxy.topology.model import Server
from sqlproxy.units import parse_address
from sqlproxy.wire import codec
from sqlproxy.wire.attributes import NONE, with_block
from sqlproxy.wire.constants import COM_INIT_DB
from sqlproxy.wire.response import QUERY, SINGLE

if TYPE_CHECKING:
    from sqlproxy.session.session import Session

log = logging.getLogger("sqlproxy.session")

_QUEUE: Final = 32  # copies of one session that wait
_LIMIT: Final = 60.0  # seconds for one copy
_PAUSE: Final = 1.0  # seconds after a failure


class Mirrors:
    """The mirrors of a service's sessions: a connection for each session and target, opened for its first copy."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], _Mirror] = {}
        self.stats = ServerStats()  # apart from the servers' own, which reads are balanced by

    def offer(self, session: Session, rule: Rule, payload: bytes) -> None:
        """Have a query copied, unless its mirror is behind or down."""
        target = rule.config.mirror
        server = session.service.servers.get(target)
        if server is None and ":" in target:
            server = Server(target, parse_address(target))
        view = session.service.snapshot.server(target)
        if server is None or (view is not None and not view.usable):
            rule.stats.unmirrored += 1
            return
        key = (session.number, target)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Mirror(server, session, self.stats)
        known.offer(rule, session.state.database, payload)

    def forget(self, number: int) -> None:
        """A session has ended."""
        for key in [key for key in self._known if key[0] == number]:
            self._known.pop(key).close()


class _Mirror:
    """One session's copies to one server, one after the other."""

    def __init__(self, server: Server, session: Session, stats: ServerStats) -> None:
        self._server = server
        self._session = session
        self._stats = stats
        self._queue: deque[tuple[Rule, bytes, bytes]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._backend: Backend | None = None
        self._database = b""

    def offer(self, rule: Rule, database: bytes, payload: bytes) -> None:
        if len(self._queue) >= _QUEUE:
            rule.stats.unmirrored += 1
            return
        self._queue.append((rule, database, payload))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    async def _run(self) -> None:
        try:
            while self._queue:
                rule, database, payload = self._queue[0]
                try:
                    await self._copy(database, payload)
                    rule.stats.mirrored += 1
                    self._queue.popleft()
                except SqlproxyError as error:
                    log.debug("a copy for %s failed: %s", self._server.name, error.message)
                    await self._give_up()
        finally:
            self._task = None

    async def _copy(self, database: bytes, payload: bytes) -> None:
        limit = self._session.service.config.connect_timeout
        backend = self._backend
        if backend is None or backend.closed:
            login = replace(self._session.login, database=database)
            backend = self._backend = await connect(self._server, self._stats, login, limit)
            self._database = database
        if database != self._database:
            await backend.call(bytes((COM_INIT_DB,)) + database, SINGLE, limit)
            self._database = database
        packet = codec.packet(0, payload)
        await backend.repeat(with_block(packet, NONE) if backend.attributed else packet, QUERY, _LIMIT, 0)

    async def _give_up(self) -> None:
        """Nothing of what waits is copied; a little later the next one may be."""
        for rule, _, _ in self._queue:
            rule.stats.unmirrored += 1
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()
        self._queue.clear()
        await asyncio.sleep(_PAUSE)
