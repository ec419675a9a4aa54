"""LAST_INSERT_ID(): which connection of a session has it, what it is, and how another one comes by it.

Servers keep it by connection. While that lives it is asked; when it is gone, the id in the newest OK packet that had
one is what LAST_INSERT_ID() would say (https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html),
unless a statement has changed it without a word.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import SqlproxyError
from sqlproxy.sql.bits import CALL, EXECUTE_TEXT, LAST_INSERT_ID, MULTI, SESSION, UNKNOWN, UNSAFE_FUNCTION
from sqlproxy.wire.constants import COM_QUERY
from sqlproxy.wire.response import QUERY
from sqlproxy.wire.result_set import text_rows

if TYPE_CHECKING:
    from sqlproxy.session.backend import Backend
    from sqlproxy.session.recording import Step
    from sqlproxy.session.session import Session

UNKNOWN_ID: Final = -1
_QUESTION: Final = bytes((COM_QUERY,)) + b"SELECT LAST_INSERT_ID()"
_UNSEEN: Final = CALL | EXECUTE_TEXT | UNSAFE_FUNCTION | UNKNOWN | MULTI  # may insert, and answer with rows
_CALLS: Final = CALL | UNSAFE_FUNCTION
TOUCHES: Final = _UNSEEN | LAST_INSERT_ID | SESSION  # what else than an id or rows in the reply makes ``id_after`` ask
NEEDS: Final = _UNSEEN | LAST_INSERT_ID  # facts of a write that may read the id, or leave it as it is on its connection
# LAST_INSERT_ID(expression), an assignment to the variable, which has two names, or an INSERT answered with rows.
_SETS: Final = re.compile(rb"last_insert_id\s*(?:\(\s*[^)\s]|:?=)|identity\s*:?=|\breturning\b", re.IGNORECASE)
# Words without which several statements in one text, or what is executed by text, leave it alone.
_WRITES: Final = re.compile(rb"insert|replace|update|load|call|execute\s+(?!immediate\b)|concat|@", re.IGNORECASE)
# LAST_INSERT_ID() without an expression, or the variable.
_READS: Final = re.compile(rb"last_insert_id(?!\s*\(\s*[^)\s/])|identity", re.IGNORECASE)


def id_after(mask: int, payload: bytes, reported: int) -> int:
    """What LAST_INSERT_ID() is after a statement (a payload) whose OK packet had the id ``reported``.

    0: what it was before; UNKNOWN_ID: that cannot be told.
    """
    if reported:
        return reported
    if mask & _UNSEEN:
        return UNKNOWN_ID if mask & _CALLS or _WRITES.search(payload) else 0
    return UNKNOWN_ID if _SETS.search(payload) else 0


async def bring(session: Session, backend: Backend, mask: int, limit: float) -> None:
    """Have a connection say the session's LAST_INSERT_ID() for the command at hand.

    Raises SqlproxyError when that reads it and nobody knows it any more.
    """
    state = session.state
    if state.has_insert_id(backend.server, backend.thread_id):
        return
    reads = mask & LAST_INSERT_ID and _READS.search(session.text_at_hand)
    if not reads and not mask & _UNSEEN:
        return
    server, thread = state.insert_holder
    holder = session.backends.get(server)
    found = state.insert_id
    if holder is not None and holder.thread_id == thread and not holder.closed:
        with contextlib.suppress(SqlproxyError):  # else there is what its packets have told
            found = int(text_rows(await holder.call(_QUESTION, QUERY, limit))[0][0])
    if found == UNKNOWN_ID and not reads:
        return
    await give(backend, found, f"the connection to {server} that had it was lost", limit)
    state.insert_holder, state.insert_id = (backend.server, backend.thread_id), found


async def give(backend: Backend, insert_id: int, why: str, limit: float) -> None:
    """Set LAST_INSERT_ID() on a connection. Raises SqlproxyError, saying ``why``, for UNKNOWN_ID."""
    if insert_id == UNKNOWN_ID:
        raise SqlproxyError(f"LAST_INSERT_ID() is not known: {why}")
    await backend.call(bytes((COM_QUERY,)) + b"SET last_insert_id=%d" % insert_id, QUERY, limit)


def reads_earlier_id(steps: list[Step]) -> bool:
    """Whether a transaction reads the LAST_INSERT_ID() of before it began."""
    for step in steps:
        if step.mask & LAST_INSERT_ID:
            return True
        if step.insert_id:
            return False
    return False
