"""KILL with the ids that clients see: translated to the connections the session has on the servers.

The servers themselves decide whether the user may: the KILL runs in the name of the session that asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlproxy.errors import ProtocolError, SqlproxyError
from sqlproxy.session.acquire import acquire, backend_for
from sqlproxy.session.backend import Backend
from sqlproxy.sql.bits import WRITE
from sqlproxy.sql.extract import kill_target
from sqlproxy.wire.constants import COM_QUERY
from sqlproxy.wire.framing import payload_of
from sqlproxy.wire.response import QUERY, SINGLE

if TYPE_CHECKING:
    from sqlproxy.session.session import Session

ER_KILL_DENIED = 1095


async def kill_statement(session: Session, command: bytes, payload: bytes) -> bool:
    """Act on KILL with an id of ours; False when the id is a server's own."""
    found = kill_target(payload, 1, session.state.mode)
    if found is None or found[0] not in session.service.registry.sessions:
        return False
    await _kill(session, command, session.service.registry.sessions[found[0]], query_only=found[1])
    return True


async def process_kill(session: Session, command: bytes) -> None:
    """COM_PROCESS_KILL, the same as KILL CONNECTION."""
    payload = payload_of(command)
    if len(payload) < 5:
        raise ProtocolError("malformed packet: COM_PROCESS_KILL without an id")
    number = int.from_bytes(payload[1:5], "little")
    victim = session.service.registry.sessions.get(number)
    if victim is None:
        session.stream(await acquire(session, WRITE), command, SINGLE, WRITE)
        return
    await _kill(session, command, victim, query_only=False)


async def _kill(session: Session, command: bytes, victim: Session, *, query_only: bool) -> None:
    running = victim.running_on
    targets = [running] if running is not None else []
    if not query_only and not targets:
        targets = list(victim.backends.values())[:1]
    if not targets and not _same_user(session, victim):
        raise SqlproxyError(f"You are not owner of thread {victim.number}", code=ER_KILL_DENIED)
    for backend in targets:
        await _kill_on_server(session, backend, query_only)
    if query_only and not targets:
        victim.interrupt()
    if not query_only and victim is not session:
        victim.client.close()
    session.client.send_ok(command, session.state.status)
    if victim is session and not query_only:
        session.client.close()
    else:
        session.idle()


async def _kill_on_server(session: Session, target: Backend, query_only: bool) -> None:
    """Raises ServerError with the server's words when the user may not."""
    own = await backend_for(session, target.server)
    if own is target:
        return  # the session kills itself, and asks for it between two statements
    text = b"KILL %s %d" % (b"QUERY" if query_only else b"CONNECTION", target.thread_id)
    await own.call(bytes((COM_QUERY,)) + text, QUERY, session.service.config.connect_timeout)


def _same_user(session: Session, victim: Session) -> bool:
    return session.login.credentials.username == victim.login.credentials.username
