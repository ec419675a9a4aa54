"""Runs a lost transaction again on another server and compares every reply with what the client has seen."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import ServerError, ServerLost, SqlproxyError
from sqlproxy.session import acquire, insert_ids, statements
from sqlproxy.session.backend import Backend
from sqlproxy.session.prepared import long_data_on, packet_on
from sqlproxy.session.tally import Tally
from sqlproxy.sql.bits import BEGIN, BEGIN_READ_ONLY, TARGETS, WRITE
from sqlproxy.wire.attributes import with_block
from sqlproxy.wire.constants import (
    COM_QUERY,
    ER_CONNECTION_KILLED,
    ER_DUP_ENTRY,
    ER_LOCK_DEADLOCK,
    ER_LOCK_WAIT_TIMEOUT,
    ER_OPTION_PREVENTS_STATEMENT,
    ER_READ_ONLY_MODE,
    ER_SERVER_SHUTDOWN,
    ER_UNKNOWN_COM_ERROR,
    HEADER,
)
from sqlproxy.wire.framing import payload_of
from sqlproxy.wire.response import QUERY

if TYPE_CHECKING:
    from sqlproxy.session.recording import Step
    from sqlproxy.session.session import Session

log = logging.getLogger("sqlproxy.session")
_replays: Final = Tally(log)  # conflicts may have many in a second

_OPENS: Final = BEGIN | BEGIN_READ_ONLY
# Space and ordinary comments before a statement's first word; possessive, or hostile comments would take for ever.
LEADING: Final = rb"(?>\s+|/\*(?!!|M!).*?\*/|#[^\n]*\n|--\s[^\n]*\n)*+"
_INSERT: Final = re.compile(LEADING + rb"(insert|replace)\b", re.IGNORECASE | re.DOTALL)
_NOT_SERVING: Final = (
    ER_SERVER_SHUTDOWN,
    ER_UNKNOWN_COM_ERROR,
    ER_OPTION_PREVENTS_STATEMENT,
    ER_READ_ONLY_MODE,
    ER_CONNECTION_KILLED,
)
_TRY_AGAIN: Final = (ER_LOCK_DEADLOCK, ER_LOCK_WAIT_TIMEOUT, *_NOT_SERVING)
# How much of an OK packet a checksum takes in, by the option's name.
COUNTS: Final = {"full": 2, "no_insert_id": 1, "result_only": 0}


class Mismatch(SqlproxyError):
    """A statement was answered differently than before."""


class AlreadyCommitted(SqlproxyError):
    """The transaction needs no replay: it was committed, and ``server`` has it."""

    def __init__(self, server: str) -> None:
        super().__init__(f"server {server} has the transaction already")
        self.server = server


async def replay(session: Session, reason: str, claim: bytes = b"", *, anywhere: bool = True) -> str:
    """Bring the session's lost transaction back on a server; "" when it is there, else why not, in a clause.

    A server lost on the way, or a conflict there, is tried again up to ``transaction_replay_attempts`` times.
    ``claim`` is the text of a statement that the transaction begins with, see ``session.exactly_once``: a duplicate
    key there raises AlreadyCommitted. ``anywhere``: a READ ONLY transaction may go to a replica.
    """
    config = session.service.config
    for _ in range(config.transaction_replay_attempts):
        session.state.lose_transaction()
        try:
            async with asyncio.timeout(config.transaction_replay_timeout):
                await _once(session, claim, anywhere)
        except TimeoutError:
            return f"its replay took longer than {config.transaction_replay_timeout:g}s"
        except Mismatch as error:
            return error.message
        except ServerLost as error:
            session.take_loss()
            reason = error.message
            continue
        except AlreadyCommitted:
            raise
        except SqlproxyError as error:  # also when no server could be had, or none that takes the session's settings
            return f"its replay was refused: {error.message}"
        session.avoid = (-1, "", "")
        session.service.stats.transactions_replayed += 1
        _replays.note(
            f"session {session.number}: transaction replayed on {session.state.context.transaction}: {reason}"
        )
        return ""
    return f"its replay failed {config.transaction_replay_attempts} times: {reason}"


async def _once(session: Session, claim: bytes, anywhere: bool) -> None:
    steps = session.log.steps
    mask = steps[0].mask if anywhere else steps[0].mask & ~TARGETS | WRITE
    backend = await acquire.acquire(session, mask, session.log.position)
    try:
        reads_earlier_id = session.log.insert_id and insert_ids.reads_earlier_id(steps)
        if reads_earlier_id:
            why = "it was set before this transaction"
            await insert_ids.give(backend, session.log.insert_id, why, session.service.config.connect_timeout)
        if session.log.prelude:
            await backend.call(session.log.prelude, QUERY, session.service.config.connect_timeout)
        if claim and not steps[0].mask & _OPENS:
            await _take(session, backend, claim)
        for number, step in enumerate(steps, 1):
            await _repeat(session, backend, step, number)
            if claim and number == 1 and step.mask & _OPENS:
                await _take(session, backend, claim)
    except SqlproxyError:
        session.give_up(backend)
        raise
    backend.applied = session.state.history.position
    session.state.resume_transaction(backend.server, backend.tracker.status)
    if reads_earlier_id or any(step.insert_id for step in steps):
        session.state.hold_insert_id(backend.server, backend.thread_id, session.state.insert_id)


async def _take(session: Session, backend: Backend, claim: bytes) -> None:
    """Write the commit token. Raises AlreadyCommitted, or ServerLost for what is worth another attempt."""
    try:
        await backend.call(bytes((COM_QUERY,)) + claim, QUERY, session.service.config.transaction_replay_timeout)
    except ServerError as error:
        if error.code == ER_DUP_ENTRY:
            raise AlreadyCommitted(backend.server) from None
        if error.code in _TRY_AGAIN:
            raise _again(session, backend.server, error.code) from None
        raise


def _again(session: Session, server: str, code: int) -> ServerLost:
    """A server that does not serve is left alone until the monitor has looked at it, or for a moment."""
    if code in _NOT_SERVING:
        session.service.evidence(server, f"error {code} from a replay")
        session.avoid = (session.service.snapshot.number, server, f"server {server} answered error {code}")
    return ServerLost(f"error {code} on {server}")


async def _repeat(session: Session, backend: Backend, step: Step, number: int) -> None:
    """Run one step and compare. Raises Mismatch, or ServerLost for what is worth another attempt."""
    if step.insert_id:
        await _force_insert_id(session, backend, step)
    packet = await _packet(session, backend, step)
    digest = await backend.repeat(packet, step.kind, session.service.config.transaction_replay_timeout, session.counts)
    if digest == step.digest:
        return
    if backend.tracker.error in _TRY_AGAIN:
        raise _again(session, backend.server, backend.tracker.error)
    session.service.stats.replay_mismatches += 1
    how = f"with error {backend.tracker.error}" if backend.tracker.error else "differently"
    raise Mismatch(f"statement {number} of it was answered {how} by {backend.server}")


async def _packet(session: Session, backend: Backend, step: Step) -> bytes:
    statement = step.statement
    if statement is None:
        text = step.command[HEADER] == COM_QUERY
        return with_block(step.command, step.block) if backend.attributed and text else step.command
    target = await statements.ready_on(session, backend, statement)
    for payload in step.long_data:
        backend.write(long_data_on(target, payload))
    statement.types = step.types
    return packet_on(statement, target, step.command, step.block)


async def _force_insert_id(session: Session, backend: Backend, step: Step) -> None:
    """Galera nodes hand out different ids; the one the client has seen must come again."""
    text = payload_of(step.command) if step.statement is None else step.statement.payload
    if _INSERT.match(text, 1):
        payload = bytes((COM_QUERY,)) + b"SET INSERT_ID=%d" % step.insert_id
        await backend.call(payload, QUERY, session.service.config.connect_timeout)
