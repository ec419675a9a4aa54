"""What the fast path cannot do for the command at hand is an errand: a task of its own, which may wait for a server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from sqlproxy.errors import NoServerAvailable, SqlproxyError

if TYPE_CHECKING:
    from sqlproxy.session.backend import Backend
    from sqlproxy.session.session import Session

log = logging.getLogger("sqlproxy.session")
T = TypeVar("T")


def start(session: Session, run: Callable[[Session, bytes], Awaitable[None]]) -> None:
    """Run a slow path with the command at hand; all its errands together may wait for ``failover_timeout``."""
    loop = asyncio.get_running_loop()
    if not session.deadline:
        session.deadline = loop.time() + session.service.config.failover_timeout
    session._task = loop.create_task(_guard(session, run))


async def _guard(session: Session, run: Callable[[Session, bytes], Awaitable[None]]) -> None:
    """Run a slow path; whatever goes wrong is answered."""
    try:
        await run(session, session.command_at_hand)
    except SqlproxyError as error:
        session._executing = None
        session._fail(error)
        session.idle()
    except Exception:
        log.exception("session %d: internal error", session.number)
        session.client.close()
    finally:
        if session._task is asyncio.current_task():  # else the next command has begun its own
            session._task = None
            stop_waiting(session)


def wait_for(session: Session, reason: str, write: bool) -> None:
    """The command at hand begins, or goes on, to wait. Raises NoServerAvailable when too many wait already."""
    service = session.service
    if not session.waiting:
        if service.waiting >= service.config.max_waiting:
            raise NoServerAvailable(f"{service.waiting} statements are waiting for a server already: {reason}")
        service.waiting += 1
        service.stats.primary_waits += write
    session.waiting = reason


def stop_waiting(session: Session) -> None:
    """The wait is over, whatever came of it."""
    if session.waiting:
        session.service.waiting -= 1
        session.waiting = ""


def limit_wait(session: Session, seconds: float) -> None:
    """What is waited for from now on, is waited for no longer than this."""
    session.deadline = asyncio.get_running_loop().time() + min(seconds, session.service.config.failover_timeout)


def interrupt(session: Session, error: SqlproxyError | None = None) -> bool:
    """KILL QUERY for a statement that has not reached a server; whether there was one."""
    task = session._task
    if task is None or session.running_on is not None or session.in_doubt:
        return False
    task.cancel()
    session._task = None
    session._fail(error or SqlproxyError("Query execution was interrupted", code=1317, sqlstate="70100"))
    session.idle()
    return True


async def attend(session: Session, backend: Backend, reply: Awaitable[T]) -> T:
    """Await what a backend does for the client, who may KILL it there."""
    session._attending = backend
    session._sent = session.service.ticks
    try:
        return await reply
    finally:
        session._attending = None
