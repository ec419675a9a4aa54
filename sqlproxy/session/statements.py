"""COM_STMT_*: prepared statements whose ids the client sees once and every backend has its own of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlproxy.errors import PacketTooLarge, ServerError, ServerLost, SqlproxyError
from sqlproxy.session import guidance, ruling
from sqlproxy.session.acquire import acquire, refuse_evidence
from sqlproxy.session.allowing import check_statement
from sqlproxy.session.backend import Backend
from sqlproxy.session.prepared import (
    LAST_PREPARED,
    LONG_DATA_HEAD,
    BackendStatement,
    PreparedStatement,
    long_data_on,
    packet_on,
    reply_kind,
    statement_id,
    with_id,
)
from sqlproxy.sql.bits import (
    HINT,
    LAST,
    NEXT_TRX,
    READ,
    SESSION,
    TARGETS,
    USERVAR_WRITE,
    WRITE,
)
from sqlproxy.sql.classify import classify
from sqlproxy.wire.constants import (
    COM_INIT_DB,
    COM_STMT_BULK_EXECUTE,
    ER_UNKNOWN_STMT_HANDLER,
    HEADER,
    MARIADB_CLIENT_CACHE_METADATA,
    NATIVE,
)
from sqlproxy.wire.definitions import Definitions, columns_of, digest_of
from sqlproxy.wire.framing import payload_of
from sqlproxy.wire.response import PREPARE, QUERY, ROWS, SINGLE

if TYPE_CHECKING:
    from sqlproxy.session.session import Session
    from sqlproxy.session.state import SessionState


async def prepare(session: Session, command: bytes) -> None:
    """Prepare where the statement would run now; other backends follow when it first runs there."""
    check_statement(session, payload_of(command))
    if session.rules is not None:
        command = ruling.begin(session, command)
    payload = payload_of(command)
    mask = executable_mask(classify(payload, 1, session.state.mode))
    hint = guidance.hinted(session, mask, payload)
    state = session.state
    state.last_prepared = 0
    while True:
        backend = await acquire(session, _preparing(state, mask), hint=hint)
        try:
            reply = await _prepare_on(backend, payload, session.service.config.failover_timeout)
            break
        except ServerError:
            state.answered_by(backend.server)
            raise
        except ServerLost as error:
            _go_elsewhere(session, backend.server, error)  # acquire says what became of a transaction or a pin
    state.answered_by(backend.server)
    state.last_statement += 1
    number = state.last_prepared = state.last_statement
    tracker = backend.tracker
    statement = PreparedStatement(number, payload, mask, tracker.parameters, tracker.columns)
    statement.database = state.database
    statement.hint = hint if mask & HINT else None
    state.statements[number] = statement
    backend.statements[number] = BackendStatement(tracker.statement_id, backend.attributed)
    statement.definitions = digest_of(_definitions(session, backend, reply))
    session.client.write(with_id(reply, number))
    session.idle()


def _preparing(state: SessionState, mask: int) -> int:
    """The classification of preparing a statement: it does nothing yet, so all but where to is left out."""
    target = mask & TARGETS
    return READ if target & LAST and not state.last else target


async def _prepare_on(backend: Backend, payload: bytes, timeout: float) -> bytes:
    """The reply to a COM_STMT_PREPARE. Raises ServerLost when the server is not fit, ServerError about the text."""
    try:
        return await backend.call(payload, PREPARE, timeout)
    except ServerError as error:
        refuse_evidence(backend, error)
        raise


def _go_elsewhere(session: Session, server: str, loss: ServerLost) -> None:
    """Let the next ``acquire`` avoid this server. Raises ``loss`` when the command has had its time."""
    session.avoid = (session.service.snapshot.number, server, loss.message)
    if asyncio.get_running_loop().time() >= session.deadline:
        raise loss


def executable_mask(mask: int) -> int:
    """What a prepared statement is when it runs: session statements have no text to replay, so the primary runs them.

    A SET through the binary protocol changes state on one backend only; the session is pinned by it.
    """
    return mask & ~(TARGETS | NEXT_TRX) | WRITE | USERVAR_WRITE if mask & SESSION else mask


def _find(session: Session, command: bytes, where: str) -> PreparedStatement:
    number = statement_id(command)
    if number == LAST_PREPARED:
        number = session.state.last_prepared
    statement = session.state.statements.get(number)
    if statement is None:
        place = f"mysqld_stmt_{where}" if session.client.plugin == NATIVE else "mysql_stmt_precheck"  # MariaDB, MySQL
        raise SqlproxyError(
            f"Unknown prepared statement handler ({number}) given to {place}", code=ER_UNKNOWN_STMT_HANDLER
        )
    return statement


async def execute(session: Session, command: bytes) -> None:
    """Run a statement where its text belongs, preparing it there first if that backend does not know it."""
    statement = _find(session, command, "execute")
    if statement.overflow:
        statement.reset()
        raise PacketTooLarge("the parameters sent with COM_STMT_SEND_LONG_DATA exceed max_allowed_packet")
    backend, target = await _acquire_prepared(session, statement)
    for payload in statement.long_data:
        backend.write(long_data_on(target, payload))
    packet = execution(backend, statement, target, command, session.block)
    session.executing(statement)
    kind = QUERY if command[HEADER] == COM_STMT_BULK_EXECUTE else reply_kind(command)
    session.stream(backend, packet, kind, statement.mask)


async def _acquire_prepared(session: Session, statement: PreparedStatement) -> tuple[Backend, BackendStatement]:
    """A backend for a statement that has it; one lost under the preparation is replaced."""
    while True:
        ruled = session.ruling.hint if session.ruling is not None else None
        backend = await acquire(session, statement.mask, hint=ruled or statement.hint or session.hints.top())
        try:
            return backend, await ready_on(session, backend, statement)
        except ServerLost as error:
            _go_elsewhere(session, backend.server, error)


async def ready_on(session: Session, backend: Backend, statement: PreparedStatement) -> BackendStatement:
    """A known statement as this backend has it, prepared there if need be. Raises SqlproxyError when it differs there.

    It is prepared anew where the server would leave out definitions that are not the client's newest ones.
    """
    target = backend.statements.get(statement.number)
    if target is not None and 0 <= target.version != statement.version:
        backend.close_statement(statement.number)
        target = None
    return target or await prepare_again(session, backend, statement)


def execution(
    backend: Backend, statement: PreparedStatement, target: BackendStatement, command: bytes, block: bytes
) -> bytes:
    """The packet that executes a statement, which must be sent next; definitions that the client lacks come along."""
    if target.version < 0:
        backend.fill = Definitions(target.definitions)
    return packet_on(statement, target, command, block)


def _definitions(session: Session, backend: Backend, reply: bytes) -> list[bytes]:
    """The columns in a reply to COM_STMT_PREPARE, for clients that keep them."""
    if not session.login.capabilities & MARIADB_CLIENT_CACHE_METADATA:
        return []
    return columns_of(reply, backend.tracker.deprecate_eof)


async def prepare_again(session: Session, backend: Backend, statement: PreparedStatement) -> BackendStatement:
    """Prepare a known statement on a backend that does not have it, in the database it was first prepared in.

    Raises SqlproxyError when it differs there.
    """
    here = session.state.database
    moved = statement.database not in (b"", here)
    if moved:
        await _change_database(session, backend, statement.database)
    try:
        reply = await _prepare_on(backend, statement.payload, session.service.config.connect_timeout)
        parameters = backend.tracker.parameters
        target = BackendStatement(backend.tracker.statement_id, backend.attributed)
        definitions = _definitions(session, backend, reply)
    finally:
        if moved and not backend.closed:
            await _change_database(session, backend, here)
    if parameters != statement.parameters:
        raise SqlproxyError(f"server {backend.server} sees other parameters in this statement; prepare it again")
    backend.statements[statement.number] = target
    target.version = statement.version
    if digest_of(definitions) != statement.definitions:
        target.version, target.definitions = -1, definitions
    return target


async def _change_database(session: Session, backend: Backend, database: bytes) -> None:
    await backend.call(bytes((COM_INIT_DB,)) + database, SINGLE, session.service.config.connect_timeout)


async def fetch(session: Session, command: bytes) -> None:
    """Read on from an open cursor, which only the server that opened it has."""
    statement = _find(session, command, "fetch")
    backend = session.backends.get(statement.cursor)
    target = backend.statements.get(statement.number) if backend is not None else None
    if backend is None or target is None:
        raise SqlproxyError(f"The statement ({statement.number}) has no open cursor", code=1421)
    session.stream(backend, with_id(command, target.number), ROWS, LAST)


async def reset(session: Session, command: bytes) -> None:
    """Forget long data and cursor."""
    statement = _find(session, command, "reset")
    name = statement.cursor
    statement.reset()
    backend = session.backends.get(name)
    target = backend.statements.get(statement.number) if backend is not None else None
    if backend is None or target is None:
        session.client.send_ok(command, session.state.status)
        session.idle()
        return
    session.stream(backend, with_id(command, target.number), SINGLE, LAST)


async def close(session: Session, command: bytes) -> None:
    """Forget a statement everywhere; there is no answer."""
    number = statement_id(command)
    session.state.statements.pop(number, None)
    for backend in session.backends.values():
        backend.close_statement(number)
    session.idle()


async def send_long_data(session: Session, command: bytes) -> None:
    """Keep a parameter's data until the execution; there is no answer, not even an error.

    What is malformed is ignored, as servers do; the execution says when it was too much.
    """
    payload = payload_of(command)
    if len(payload) >= LONG_DATA_HEAD:
        statement = session.state.statements.get(statement_id(command))
        if statement is not None:
            limit = session.service.config.max_allowed_packet
            statement.add_long_data(payload, limit - session.state.others_long_data(statement))
    session.idle()
