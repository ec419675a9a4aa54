"""What a session does when a statement fails or a server is lost: what ``session.failure`` says of it, carried out."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import ServerLost, SqlproxyError
from sqlproxy.session import dispatch, errand, failure
from sqlproxy.session.backend import Backend
from sqlproxy.session.failure import Outcome
from sqlproxy.session.trace import mark
from sqlproxy.sql.bits import COMMIT, WRITE
from sqlproxy.wire.constants import ER_CONNECTION_KILLED, ER_LOCK_DEADLOCK, HEADER
from sqlproxy.wire.packets import parse_err

if TYPE_CHECKING:
    from sqlproxy.session.session import Session

log = logging.getLogger("sqlproxy.session")

_RERUNS: Final = 2  # times a read whose server was lost is run again: more than one server has to fail in that time


def on_error(session: Session, backend: Backend, reply: bytes) -> bool:
    """An ERR packet is the whole reply; True when it is dealt with and not for the client."""
    error = parse_err(reply[HEADER:])
    text = error.message.encode() if error else b""
    code = backend.tracker.error
    if failure.is_evidence(code, text):
        session.service.evidence(backend.server, f"error {code} from a session")
    if failure.is_conflict(code) and _on_conflict(session, backend, code):
        return True
    outcome = failure.after_error(
        code,
        text,
        session._mask,
        in_transaction=session.state.in_transaction,
        pinned=bool(session.state.pins),
    )
    if outcome is Outcome.FORWARD:
        return False
    session._drop(backend)
    session._current = None
    _resolve(session, outcome, backend.server, text.decode(errors="replace"))
    return True


def _on_conflict(session: Session, backend: Backend, code: int) -> bool:
    """Another transaction went first; True when the statement or its transaction is run again."""
    state = session.state
    outcome = failure.after_conflict(session._mask, in_transaction=state.in_transaction, pinned=bool(state.pins))
    budget = session.service.config.transaction_replay_attempts
    if outcome is Outcome.FORWARD or not session._records or session._conflicts >= budget:
        return False
    if session.service.snapshot.causal != "galera" or (state.in_transaction and not session.log.replayable):
        return False
    session._conflicts += 1
    session._executing = session._current = None
    mark(session, "conflict", **{"sqlproxy.target": backend.server, "error.type": str(code)})
    if state.in_transaction:
        if failure.may_end(code):
            session._drop(backend)  # whatever may still be open there must not be committed by the BEGIN to come
        session._loss = (Outcome.TRANSACTION_LOST, f"a conflict on {backend.server} rolled it back")
    errand.start(session, partial(dispatch.run_after_conflict, backend=backend, code=code))
    return True


def on_lost(session: Session, backend: Backend, reason: str) -> None:
    """A backend broke or was given up."""
    if session.backends.get(backend.server) is backend:
        del session.backends[backend.server]
        session.state.forget_answers(backend.server)
    session.service.evidence(backend.server, reason)
    pinned = session.state.context.pinned == backend.server
    in_transaction = session.state.context.transaction == backend.server
    if backend is not session._current:
        if pinned:
            session._loss = (Outcome.PIN_LOST, f"server {backend.server} was lost ({reason})")
        elif in_transaction:
            outcome = Outcome.UNKNOWN if session._doubtful else Outcome.TRANSACTION_LOST
            session._loss = (outcome, f"server {backend.server} was lost ({reason})")
        return
    session._current = None
    session._held = b""
    session.client.resume_reading()
    forwarded = session._forwarded or session.uploading is not None
    session._losses += 1
    unread = backend.unread
    if in_transaction and session._doubtful:
        session._mask |= COMMIT
        unread = False
    outcome = failure.after_loss(
        session._mask, in_transaction=in_transaction, pinned=pinned, forwarded=forwarded, unread=unread
    )
    _resolve(session, outcome, backend.server, reason)


def _resolve(session: Session, outcome: Outcome, server: str, reason: str) -> None:
    """Act on a failed statement that was already sent."""
    if outcome is Outcome.RUN_AGAIN and session._losses > _RERUNS:
        session._executing = None
        session._fail(ServerLost(f"server {server} was lost ({reason}), as were the {_RERUNS} before it"))
        session.idle()
        return
    if outcome is Outcome.RUN_AGAIN:
        session._executing = None
        session.service.stats.reads_retried += 1
        mark(session, "run again", **{"sqlproxy.target": server, "sqlproxy.reason": reason})
        session.avoid = (session.service.snapshot.number, server, f"server {server}: {reason}")
        errand.start(session, dispatch.run)
        return
    if outcome is Outcome.TRANSACTION_LOST and session.log.replayable:
        session._executing = None
        session._loss = (outcome, f"server {server} was lost ({reason})")
        mark(session, "transaction lost", **{"sqlproxy.target": server, "sqlproxy.reason": reason})
        errand.start(session, dispatch.run)
        return
    if outcome is Outcome.CLOSE:
        log.warning("session %d: server %s was lost in the middle of a reply: %s", session.number, server, reason)
        session.client.close()
        return
    session._executing = None
    tell(session, outcome, f"server {server} was lost ({reason})")


def tell(session: Session, outcome: Outcome, loss: str) -> None:
    """Answer the statement at hand with what became of it."""
    session.log.clear()
    stats = session.service.stats
    if outcome is Outcome.TRANSACTION_GONE:
        session.state.lose_transaction()
        session.client.send_ok(session._command, session.state.status)
    elif outcome is Outcome.TRANSACTION_LOST:
        stats.transactions_lost += 1
        session.state.lose_transaction()
        text = f"The transaction was rolled back because {loss}; try restarting transaction"
        session._fail(SqlproxyError(text, code=ER_LOCK_DEADLOCK, sqlstate="40001"))
    elif outcome in (Outcome.PIN_LOST, Outcome.PIN_LOST_UNKNOWN):
        reason = session.state.context.pin_reason
        text = f"The session ends because {loss} and nothing else has its state: {reason}"
        if outcome is Outcome.PIN_LOST_UNKNOWN:
            stats.outcomes_unknown += 1
            text += "; the outcome of this statement is unknown, it may or may not have been applied"
        session._fail(SqlproxyError(text, code=ER_CONNECTION_KILLED, sqlstate="08S01"))
        session.client.close()
        return
    else:
        stats.outcomes_unknown += 1
        session.state.lose_transaction()
        text = f"The outcome of this statement is unknown, it may or may not have been applied: {loss}"
        session._fail(SqlproxyError(text, code=ER_CONNECTION_KILLED, sqlstate="08007"))
    session.idle()


def may_leave(session: Session) -> bool:
    """Whether the statement sent last can go on elsewhere without its client noticing."""
    state, backend = session.state, session._current
    if backend is None or session._forwarded or session.uploading is not None or state.pins:
        return False
    in_transaction = state.context.transaction == backend.server
    if in_transaction and (session._doubtful or not session.log.replayable or not session.service.snapshot.primary):
        return False
    outcome = failure.after_loss(session._mask, in_transaction=in_transaction, pinned=False, forwarded=False)
    if outcome is Outcome.RUN_AGAIN:
        return session._losses < _RERUNS and not (session._mask & WRITE and not session.service.snapshot.primary)
    return outcome is Outcome.TRANSACTION_LOST
