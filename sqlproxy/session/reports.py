"""What a session does when a server says that session state has changed: follow it, or stay where that state is."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlproxy.errors import ServerProtocolError, SqlproxyError
from sqlproxy.session import errand
from sqlproxy.session.backend import Backend
from sqlproxy.session.state import sets_reports
from sqlproxy.sql.bits import CALL
from sqlproxy.wire.constants import CLIENT_MULTI_STATEMENTS, COM_SET_OPTION
from sqlproxy.wire.framing import payload_of
from sqlproxy.wire.response import SINGLE
from sqlproxy.wire.session_track import Change, parse

if TYPE_CHECKING:
    from sqlproxy.session.session import Session

log = logging.getLogger("sqlproxy.session")


def take(session: Session, backend: Backend, text: bytes) -> None:
    """The server says that session state changed; what ``text``, a payload, does not explain pins the session."""
    try:
        reports = backend.tracker.changes
        change = parse(reports) if reports else Change(state=True)  # an EOF packet cannot say what changed
    except ServerProtocolError as error:
        log.warning("session %d: server %s: %s", session.number, backend.server, error.message)
        session.give_up(backend)
        return
    if not session.state.tracked(session._mask, text, change):
        _unexplained(session, backend, change)


async def ask(session: Session, command: bytes, backend: Backend) -> None:
    """Learn what a statement has changed although it failed: an ERR packet does not say, any later answer does.

    Asked by a command that leaves warnings and ROW_COUNT() alone: the option in force is set again. The client has its
    reply already; what the loss of the connection means is told to the next statement.
    """
    multi = session.login.capabilities & CLIENT_MULTI_STATEMENTS
    option = bytes((COM_SET_OPTION, not multi, 0))
    for entry in session.state.history.entries:
        option = entry.payload if entry.payload[0] == COM_SET_OPTION else option
    with suppress(SqlproxyError):
        await errand.attend(session, backend, backend.call(option, SINGLE, session.service.config.connect_timeout))
        session.state.completed(backend.server, 0, backend.tracker.status, False, b"")
        if backend.tracker.changed:
            take(session, backend, payload_of(command))
        backend.applied = session.state.history.position
    session.idle()


def _unexplained(session: Session, backend: Backend, change: Change) -> None:
    session.service.stats.unexplained_changes += 1
    cause = "a stored procedure" if session._mask & CALL else "a statement whose text does not show it"
    names = b", ".join(sorted(change.variables)).decode(errors="replace")
    reason = f"session state{f' ({names})' if names else ''} changed on {backend.server} by {cause}"
    if backend.server == session.service.snapshot.primary:
        session.state.pin("tracker", reason, backend.server)
    elif not session.state.in_transaction:  # a replica must not become where writes go: nobody shall have that state
        log.info("session %d: %s, which is given up", session.number, reason)
        session.give_up(backend)


def asked_for(session: Session) -> bool:
    """Whether the statement at hand says if the client is told that session state has changed; followed if so."""
    if not sets_reports(session.text_at_hand, session.state.mode):
        return False
    session.sees_state_changes = True
    for backend in session.backends.values():
        show(session, backend)
    return True


def show(session: Session, backend: Backend) -> None:
    """A client that tracks session state and asked for these reports gets them."""
    if backend.only_state_change and session.sees_state_changes:
        backend.filters = False
