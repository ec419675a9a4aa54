"""Connections that sessions leave when their clients go, for the next session of the same user.

As MaxScale's ``persistpoolmax`` and ``persistmaxtime``: https://mariadb.com/docs/maxscale (server settings). Whoever
takes a connection over logs in on it by COM_CHANGE_USER, in the name and with the proof of the client at hand: the
server decides anew who gets in, and gives the session the state of a new connection. docs/design/pool.md says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlproxy.errors import SqlproxyError
from sqlproxy.session.backend import Backend, Owner
from sqlproxy.session.connect import PER_LEG, Login
from sqlproxy.session.relogin import Relogin
from sqlproxy.session.stats import ServerStats
from sqlproxy.topology.model import Server
from sqlproxy.wire.constants import COM_QUERY, HEADER
from sqlproxy.wire.response import QUERY

log = logging.getLogger("sqlproxy.pool")

_INIT_CONNECT: Final = bytes((COM_QUERY,)) + b"SELECT @@global.init_connect"
_ASK_EVERY: Final = 1.0  # seconds between two looks at a server's init_connect
_ASK_TIMEOUT: Final = 2.0  # seconds for its answer

Key = tuple[bytes, int, bool, bool]


@dataclass(frozen=True, slots=True)
class _Idle:
    backend: Backend
    key: Key
    since: float  # loop time


class Pool(Owner):
    """The idle connections of one service to one server, the newest last.

    ``lost(server, why)`` is told when one breaks. ``limit``: how many are kept.
    """

    def __init__(self, server: Server, stats: ServerStats, limit: int, lost: Callable[[str, str], None]) -> None:
        self.server = server
        self.limit = 0 if server.proxy_protocol else limit  # such a server has been told who the first client is
        self.stats = stats
        self._told_lost = lost
        self._idle: list[_Idle] = []
        self._timer: asyncio.TimerHandle | None = None
        self._plain: bool | None = None  # no init_connect there, whose effects a change of user would lack
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._cleared = 0  # times
        self.joining: set[Relogin] = set()  # on their way to a session that waits for nothing else

    def __len__(self) -> int:
        return len(self._idle)

    def keep(self, backend: Backend, login: Login, touched: bool) -> bool:
        """Take in what a session leaves, logged in as ``login``; False when it is not wanted.

        ``touched``: the session may have left something that a server should not hold on to until the next one comes
        (prepared statements, user locks): it is reset at once.
        """
        if not self.limit or not backend.quiet:
            return False
        now = asyncio.get_running_loop().time()
        if now - self._asked_at > _ASK_EVERY and self._asking is None:
            backend.owner = self
            self._asking = asyncio.get_running_loop().create_task(self._ask(backend, login, touched))
            return True
        if not self._plain:
            return False
        self._store(backend, login, touched)
        return True

    def _store(self, backend: Backend, login: Login, touched: bool) -> None:
        backend.owner = self
        if touched:
            backend.reset_ahead()
        while len(self._idle) >= self.limit:
            self.evict()
        loop = asyncio.get_running_loop()
        self._idle.append(_Idle(backend, _key(login), loop.time()))
        self.stats.pooled += 1
        if self._timer is None:
            self._timer = loop.call_later(self.server.persistmaxtime, self._expire)

    async def _ask(self, backend: Backend, login: Login, touched: bool) -> None:
        """Look for an ``init_connect``, which a server runs for new connections only."""
        cleared = self._cleared
        try:
            self._plain = not last_value(await backend.call(_INIT_CONNECT, QUERY, _ASK_TIMEOUT))
            self._asked_at = asyncio.get_running_loop().time()
        except SqlproxyError as error:
            log.info("server %s: a connection is not kept: %s", self.server.name, error.message)
            backend.close()
            return
        finally:
            self._asking = None
        if self._plain and backend.quiet and cleared == self._cleared:
            self._store(backend, login, touched)
            return
        backend.close()
        if not self._plain:
            self.clear()

    def take(self, login: Login) -> Backend | None:
        """The connection of this user used last; nobody has logged in on it yet."""
        key = _key(login)
        for place in range(len(self._idle) - 1, -1, -1):
            idle = self._idle[place]
            if idle.key == key and idle.backend.quiet:
                del self._idle[place]
                self.stats.pooled -= 1
                idle.backend.owner = None
                return idle.backend
        return None

    def evict(self) -> bool:
        """Close the connection idle for longest; False when there is none."""
        if not self._idle:
            return False
        self.stats.pooled -= 1
        self._idle.pop(0).backend.close()
        return True

    def clear(self) -> None:
        """Close all of them: the server or the accounts have changed."""
        while self.evict():
            pass
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._asked_at = float("-inf")
        self._plain = None
        self._cleared += 1

    def out_of_use(self, reason: str) -> None:
        """The server has left use: what is under way there is given up."""
        for relogin in tuple(self.joining):
            relogin.lose(reason)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self.server.persistmaxtime
        while self._idle and self._idle[0].since <= oldest:
            self.evict()
        self._timer = loop.call_at(self._idle[0].since + self.server.persistmaxtime, self._expire) if self else None

    # -- as the owner of its connections

    def on_reply(self, backend: Backend, chunk: bytes, done: bool) -> None:
        """What nobody asked for."""

    def on_lost(self, backend: Backend, reason: str) -> None:
        """A server, or somebody's KILL, has ended an idle connection."""
        for place, idle in enumerate(self._idle):
            if idle.backend is backend:
                del self._idle[place]
                self.stats.pooled -= 1
                break
        self._told_lost(backend.server, reason)

    def on_backend_full(self) -> None:
        """Nothing is sent but a reset."""

    def on_backend_drained(self) -> None:
        """See ``on_backend_full``."""


def _key(login: Login) -> Key:
    """What two sessions must have in common; what a change of user does not set anew."""
    return login.credentials.username, login.capabilities & ~PER_LEG, login.tls, bool(login.attrs)


async def reuse(pool: Pool, login: Login, timeout: float) -> Backend | None:
    """A connection of the pool, logged in as ``login`` and like a new one; None when there is none that lets it in.

    The server's refusal is not told: it is asked again by a new connection, which has the last word.
    """
    while (backend := pool.take(login)) is not None:
        over: asyncio.Future[Relogin] = asyncio.get_running_loop().create_future()
        relogin = Relogin(pool, backend, login, partial(_tell, over))
        relogin.start()
        try:
            async with asyncio.timeout(timeout):
                await over
        except TimeoutError:
            relogin.give_up()
            pool.clear()
            continue
        except BaseException:
            relogin.give_up()
            raise
        if relogin.taken is not None or relogin.refused:
            return relogin.taken
    return None


def _tell(over: asyncio.Future[Relogin], relogin: Relogin) -> None:
    """It is over; nobody may wait for that any more, if it took too long."""
    if not over.done():
        over.set_result(relogin)


def last_value(reply: bytes) -> bytes:
    """The only value of the only row of a collected reply; b"" for an empty or missing one."""
    payloads = []
    pos = 0
    while pos + HEADER <= len(reply):
        end = pos + HEADER + int.from_bytes(reply[pos : pos + 3], "little")
        payloads.append(reply[pos + HEADER : end])
        pos = end
    bare = len(payloads) == 3 and payloads[0] == b"\x01\x00"  # a client has asked for results without definitions
    row = payloads[-2] if bare or len(payloads) > 3 else b""  # count, column, (EOF), row, end
    return b"" if not row or row[0] in (0xFB, 0xFE) else row[1:]
