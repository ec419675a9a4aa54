"""The commands of the protocol, off the fast path: one async function for each that needs more than forwarding."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import ServerLost, SqlproxyError
from sqlproxy.routing.explain import as_rows, explained
from sqlproxy.routing.hints import Target, asks_to_explain
from sqlproxy.routing.rules import Verdict
from sqlproxy.session import conflicts, exactly_once, guidance, killing, ruling, statements, tokens, variables
from sqlproxy.session.acquire import LossTold, acquire
from sqlproxy.session.allowing import check_command, check_statement
from sqlproxy.session.backend import Backend
from sqlproxy.session.prepared import statement_id
from sqlproxy.sql.bits import (
    COMMIT,
    EXECUTE_TEXT,
    HINT,
    KILL,
    LAST,
    LITERAL_ONLY,
    READ,
    SESSION,
    TARGETS,
    UNKNOWN,
    USE_DB,
    USERVAR_WRITE,
    WRITE,
)
from sqlproxy.sql.classify import classify
from sqlproxy.wire import constants as c
from sqlproxy.wire.constants import HEADER
from sqlproxy.wire.framing import payload_of
from sqlproxy.wire.response import QUERY, ROWS, SINGLE, TEXT
from sqlproxy.wire.result_set import text_result

if TYPE_CHECKING:
    from sqlproxy.session.session import Session

CONFLICT_PAUSE: Final = 0.02  # seconds at most
_REPLICATION: Final = {
    c.COM_BINLOG_DUMP: "COM_BINLOG_DUMP",
    c.COM_BINLOG_DUMP_GTID: "COM_BINLOG_DUMP_GTID",
    c.COM_REGISTER_SLAVE: "COM_REGISTER_SLAVE",
    c.COM_TABLE_DUMP: "COM_TABLE_DUMP",
    c.COM_CONNECT_OUT: "COM_CONNECT_OUT",
    c.COM_CLONE: "COM_CLONE",
}


async def run(session: Session, command: bytes) -> None:
    """Run one command. Raises SqlproxyError, which becomes the client's answer."""
    code = command[HEADER]
    handler = _HANDLERS.get(code)
    try:
        check_command(session, code)
        if handler is None:
            raise _refusal(code)
        await handler(session, command)
    except LossTold:
        return
    except ServerLost as error:
        _lost_while_collecting(session, error)


async def run_after_conflict(session: Session, command: bytes, backend: Backend, code: int) -> None:
    """Run a command again after error ``code``, a little later so that the other transaction gets through."""
    alone = not session.state.in_transaction
    committing = bool(session._mask & COMMIT)
    kind = await conflicts.conflict_of(session, backend, code, committing=committing, alone=alone)
    if session._loss is not None:
        session._loss = (session._loss[0], f"a conflict on {backend.server} rolled it back: {conflicts.WORDS[kind]}")
    await asyncio.sleep(random.uniform(0.001, CONFLICT_PAUSE))
    await run(session, command)


def _lost_while_collecting(session: Session, error: ServerLost) -> None:
    """The server went away under a command whose reply was not for the client as it stood."""
    loss = session.take_loss()
    if loss is None:
        raise error
    session.tell_loss(loss)


def _refusal(code: int) -> SqlproxyError:
    if code in _REPLICATION:
        return SqlproxyError(
            f"{_REPLICATION[code]} is not relayed: connect the replica to a server directly",
            code=c.ER_NOT_SUPPORTED_YET,
            sqlstate="42000",
        )
    if code == c.COM_SHUTDOWN:
        return SqlproxyError(
            "COM_SHUTDOWN is not relayed: shut a server down by connecting to it directly",
            code=c.ER_NOT_SUPPORTED_YET,
            sqlstate="42000",
        )
    return SqlproxyError("Unknown command", code=c.ER_UNKNOWN_COM_ERROR, sqlstate="08S01")


async def _query(session: Session, command: bytes) -> None:
    payload = payload_of(command)
    mode = session.state.mode
    mask = classify(payload, 1, mode)
    if mask & HINT and asks_to_explain(payload, 1, mode):
        _explain(session, mask, payload)
        return
    check_statement(session, payload)
    if session.rules is not None:
        command = ruling.begin(session, command)
        payload = payload_of(command)
        mask = classify(payload, 1, mode)
    if mask & KILL and await killing.kill_statement(session, command, payload):
        return
    if mask & EXECUTE_TEXT:
        body = session.state.text_statement(payload)
        mask = mask & ~TARGETS | (WRITE | UNKNOWN if body is None else body)
    hint = guidance.hinted(session, mask, payload)
    if session.ruling is not None:
        if ruling.answer_from_cache(session, mask, payload):
            return
        ruling.mirror(session, mask, payload)
        hint = session.ruling.hint or hint
    to_primary = hint is None or (bool(hint.rule) and hint.target is Target.PRIMARY)  # where a token goes anyway
    if session.exactly_once and to_primary and tokens.applies(session.state, mask, payload):
        await exactly_once.run(
            session, mask, lambda backend: backend.call(payload, QUERY, exactly_once.NO_LIMIT, session.block)
        )
        return
    backend = await acquire(session, mask, hint=hint)
    if mask & LAST and mask & USERVAR_WRITE and variables.may_keep_answer(session.state):
        await variables.keep_answer(session, backend, payload, mask)
        return
    session.stream(backend, command, QUERY, mask)


def _explain(session: Session, mask: int, payload: bytes) -> None:
    """Answer where the statement would go from this session as it is, instead of running it."""
    service, state, client = session.service, session.state, session.client
    verdict = session.rules.match(payload[1:], state.database, state.mode) if session.rules is not None else Verdict()
    answer = explained(
        service.make_router(),
        service.router == "readwritesplit",
        mask & ~HINT,
        payload[1:],
        state.mode,
        state.context,
        service.snapshot,
        service.server_stats,
        hint=verdict.route.hint if verdict.route is not None else guidance.hinted(session, mask, payload),
        found=verdict.sentences,
        primary_accepts_reads=service.config.primary_accepts_reads,
        pins=list(state.pins.values()),
    )
    rows = as_rows({"service": service.name, **answer})
    client.write(text_result(("what", "explanation"), rows, 1, state.status, client.capabilities))
    session.idle()


def _rule_prepared(session: Session, command: bytes) -> None:
    """Raises SqlproxyError when a rule or the allow list refuses the execution."""
    if session.rules is None and session.allow_list is None:
        return
    statement = session.state.statements.get(statement_id(command))
    if statement is not None:
        check_statement(session, statement.payload)
        ruling.begin_prepared(session, statement.payload)


async def _bulk_execute(session: Session, command: bytes) -> None:
    _rule_prepared(session, command)
    await statements.execute(session, command)


async def _execute(session: Session, command: bytes) -> None:
    _rule_prepared(session, command)
    if not (session.exactly_once and await exactly_once.run_prepared(session, command)):
        await statements.execute(session, command)


def _forward(mask: int, kind: int) -> Callable[[Session, bytes], Awaitable[None]]:
    async def forward(session: Session, command: bytes) -> None:
        session.stream(await acquire(session, mask), command, kind, mask)

    return forward


async def _ping(session: Session, command: bytes) -> None:
    """To the server used last, whose warnings may be asked for afterwards."""
    mask = LAST if session.state.last else READ
    session.stream(await acquire(session, mask), command, SINGLE, mask)


async def _reset_connection(session: Session, command: bytes) -> None:
    """Every backend is reset, and is then in the session's database; one that cannot be is dropped."""
    session.take_loss()
    limit = session.service.config.connect_timeout
    for backend in tuple(session.backends.values()):
        try:
            await backend.call(bytes((c.COM_RESET_CONNECTION,)), SINGLE, limit)
            if not _is_current(session, backend):
                await backend.call(bytes((c.COM_INIT_DB,)) + session.state.database, SINGLE, limit)
            backend.deaf = True
            backend.track()
        except SqlproxyError:
            backend.close()
            session.backends.pop(backend.server, None)
        backend.statements.clear()
    session.take_loss()
    session.state.reset()
    session.log.clear()
    session.hints.clear()
    guidance.follow_hints(session)
    for backend in session.backends.values():
        backend.applied = session.state.history.position
    session.client.send_ok(command, session.state.status)
    session.idle()


def _is_current(session: Session, backend: Backend) -> bool:
    """Whether a backend has been told of every change of the session's database."""
    state = session.state
    alone = bool(state.pins) and backend.server != state.context.pinned
    return backend.applied == state.history.position and not alone


async def _change_user(session: Session, command: bytes) -> None:
    """A new login on the same connection: nothing of the old session is kept, whether it succeeds or not."""
    session.take_loss()
    await session.client.change_user(payload_of(command))


_HANDLERS: Final[dict[int, Callable[[Session, bytes], Awaitable[None]]]] = {
    c.COM_QUERY: _query,
    c.COM_INIT_DB: _forward(SESSION | USE_DB | LITERAL_ONLY, SINGLE),
    c.COM_SET_OPTION: _forward(SESSION | LITERAL_ONLY, SINGLE),
    c.COM_PING: _ping,
    c.COM_STATISTICS: _forward(READ, TEXT),
    c.COM_FIELD_LIST: _forward(READ, ROWS),
    c.COM_PROCESS_INFO: _forward(WRITE, QUERY),
    c.COM_DEBUG: _forward(WRITE, SINGLE),
    c.COM_REFRESH: _forward(WRITE, SINGLE),
    c.COM_CREATE_DB: _forward(WRITE, SINGLE),
    c.COM_DROP_DB: _forward(WRITE, SINGLE),
    c.COM_RESET_CONNECTION: _reset_connection,
    c.COM_CHANGE_USER: _change_user,
    c.COM_PROCESS_KILL: killing.process_kill,
    c.COM_STMT_PREPARE: statements.prepare,
    c.COM_STMT_EXECUTE: _execute,
    c.COM_STMT_BULK_EXECUTE: _bulk_execute,
    c.COM_STMT_FETCH: statements.fetch,
    c.COM_STMT_RESET: statements.reset,
    c.COM_STMT_CLOSE: statements.close,
    c.COM_STMT_SEND_LONG_DATA: statements.send_long_data,
}
