"""Which statements of a session need a closer look: those under hints of the client or rules of the operator."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from sqlproxy.routing.hints import Hint
from sqlproxy.sql.bits import EXECUTE_TEXT, HINT, KILL, TARGETS, WRITE

if TYPE_CHECKING:
    from sqlproxy.session.session import Session

log = logging.getLogger("sqlproxy.session")

_SLOW: Final = KILL | EXECUTE_TEXT | HINT  # facts that need more than forwarding


def hinted(session: Session, mask: int, payload: bytes) -> Hint | None:
    """The hint that the command at hand (a payload with a text) carries or has from an open block."""
    hint = session.hints.take(session.statements, mask, payload, 1, session.state.mode)
    follow_hints(session)
    return hint


def follow_hints(session: Session) -> None:
    """Take the slow path for everything while a block of hints is open or rules may concern the session."""
    session._always_slow = _SLOW | (WRITE if session.exactly_once or session.service.read_only else 0)
    session._always_slow |= TARGETS if session.hints.active else 0
    session._slow = session._always_slow | (
        TARGETS if session.rules is not None or session.allow_list is not None else 0
    )


def follow_rules(session: Session) -> None:
    """Find the rules that may concern this session."""
    book, user = session.service.rules, session.login.credentials.username.decode(errors="replace")
    session.rules = book.candidates(session.service.name, user, session.client.address) if book is not None else None
    session.allow_list, session.tracing = session.service.allow_list, session.service.tracing
    follow_hints(session)


def ignore_hint(session: Session, hint: Hint, reason: str) -> None:
    """Count a hint that cannot be followed; the session's first one is logged."""
    session.service.stats.hints_ignored += 1
    if not session.hints.told:
        session.hints.told = True
        log.info("session %d: a hint (%s) is ignored: %s", session.number, hint, reason)
