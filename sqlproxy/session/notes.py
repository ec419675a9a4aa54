"""What a session takes in of statements it has executed, and of those whose replies were not streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlproxy.session.insert_ids import id_after
from sqlproxy.session.prepared import PreparedStatement, describe
from sqlproxy.sql.bits import SESSION, WRITE
from sqlproxy.wire.constants import MARIADB_CLIENT_CACHE_METADATA, SERVER_STATUS_CURSOR_EXISTS
from sqlproxy.wire.definitions import digest_of
from sqlproxy.wire.framing import payload_of

if TYPE_CHECKING:
    from sqlproxy.session.backend import Backend
    from sqlproxy.session.session import Session


def note(session: Session, backend: Backend, mask: int, failed: bool) -> None:
    """The command at hand, whose reply was collected."""
    session._mask = mask
    session._size = 0
    statement = session.prepared_at_hand()
    if statement is not None and backend.tracker.described:
        note_definitions(session, backend, statement)
    session.service.ledger.enter(session, backend, statement, failed)
    note_as(session, backend, mask, payload_of(session.command_at_hand), failed)
    if not failed:
        note_insert_id(session, backend, mask)


def note_as(session: Session, backend: Backend, mask: int, payload: bytes, failed: bool = False) -> None:
    """A statement in the words of another that does the same on any server."""
    session.state.completed(backend.server, mask, backend.tracker.status, failed, payload)
    backend.applied = session.state.history.position


def note_on(session: Session, server: str, mask: int) -> None:
    """The command at hand, which turns out to have succeeded; its effects are on ``server``."""
    state = session.state
    state.completed(server, mask, state.status, False, payload_of(session.command_at_hand))


def note_insert_id(session: Session, backend: Backend, mask: int) -> None:
    """The command at hand, a success, may have changed LAST_INSERT_ID()."""
    if not mask & (WRITE | SESSION):
        return
    insert_id = id_after(mask, session.text_at_hand, backend.tracker.insert_id)
    if insert_id:
        session.state.hold_insert_id(backend.server, backend.thread_id, insert_id)


def note_definitions(session: Session, backend: Backend, statement: PreparedStatement) -> None:
    """The reply to an execution had definitions: what MariaDB leaves out from now on, unless it opened a cursor."""
    target = backend.statements.get(statement.number)
    if target is None or not session.login.capabilities & MARIADB_CLIENT_CACHE_METADATA:
        return
    if not backend.tracker.status & SERVER_STATUS_CURSOR_EXISTS:
        describe(statement, target, digest_of(backend.tracker.definitions))
