"""KILL with the ids that clients see: translated to the connections the session has on the servers.

The servers themselves decide whether the user may: the KILL runs in the name of the session that asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlproxy.errors import ProtocolError, SqlproxyError
from sqlproxy.session.acquire import acquire, backend_for
from sqlproxy.session.registry import Victim
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
    victim = await session.service.registry.victim(found[0]) if found is not None else None
    if found is None or victim is None:
        return False
    await _kill(session, command, victim, query_only=found[1])
    return True


async def process_kill(session: Session, command: bytes) -> None:
    """COM_PROCESS_KILL, the same as KILL CONNECTION."""
    payload = payload_of(command)
    if len(payload) < 5:
        raise ProtocolError("malformed packet: COM_PROCESS_KILL without an id")
    victim = await session.service.registry.victim(int.from_bytes(payload[1:5], "little"))
    if victim is None:
        session.stream(await acquire(session, WRITE), command, SINGLE, WRITE)
        return
    await _kill(session, command, victim, query_only=False)


async def _kill(session: Session, command: bytes, victim: Victim, *, query_only: bool) -> None:
    targets = victim.targets if victim.running or not query_only else ()
    if not targets and victim.user != session.login.credentials.username:
        raise SqlproxyError(f"You are not owner of thread {victim.number}", code=ER_KILL_DENIED)
    for server, thread_id in targets:
        await _kill_on_server(session, server, thread_id, query_only)
    itself = victim.number == session.number
    if not itself:
        session.service.registry.end(victim.number, query_only)
    session.client.send_ok(command, session.state.status)
    if itself and not query_only:
        session.client.close()
    else:
        session.idle()


async def _kill_on_server(session: Session, server: str, thread_id: int, query_only: bool) -> None:
    """Raises ServerError with the server's words when the user may not."""
    own = await backend_for(session, server)
    if own.thread_id == thread_id:
        return  # the session kills itself, and asks for it between two statements
    text = b"KILL %s %d" % (b"QUERY" if query_only else b"CONNECTION", thread_id)
    await own.call(bytes((COM_QUERY,)) + text, QUERY, session.service.config.connect_timeout)
