"""What comes of statements that the service's allow list does not have: refused, or only counted and logged."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import SqlproxyError
from sqlproxy.routing.allow_list import AllowList, digest_of
from sqlproxy.session.ruling import ER_NOT_ALLOWED
from sqlproxy.wire import constants as c

if TYPE_CHECKING:
    from sqlproxy.session.session import Session

log = logging.getLogger("sqlproxy.allow")

# Commands that do what a statement does, without one: they stand on the list by their names.
COMMANDS: Final = {
    c.COM_CREATE_DB: b"COM_CREATE_DB",
    c.COM_DROP_DB: b"COM_DROP_DB",
    c.COM_REFRESH: b"COM_REFRESH",
    c.COM_DEBUG: b"COM_DEBUG",
    c.COM_PROCESS_INFO: b"COM_PROCESS_INFO",
}


def check_statement(session: Session, payload: bytes) -> None:
    """The statement in a payload may run. Raises SqlproxyError with 1148 when it may not."""
    allowed = session.allow_list
    if allowed is not None and session.cleared != session.statements:
        _judge(session, allowed, allowed.missing(payload, 1, session.state.mode, session.user))


def check_command(session: Session, code: int) -> None:
    """The same for a command without a statement."""
    allowed = session.allow_list
    if allowed is not None and code in COMMANDS:
        _judge(session, allowed, allowed.missing_of([COMMANDS[code]], session.user))


def _judge(session: Session, allowed: AllowList, missing: list[bytes]) -> None:
    stats = session.service.stats
    for shape in missing:
        if allowed.note(shape, session.user):
            _tell(session, allowed, shape)
    if missing and allowed.enforces:
        stats.unlisted_refused += 1
        raise SqlproxyError(_refusal(session, missing[0]), code=ER_NOT_ALLOWED, sqlstate="42000")
    stats.unlisted_passed += bool(missing)
    session.cleared = session.statements


def _refusal(session: Session, shape: bytes) -> str:
    name, user = session.service.name, session.user.decode("utf-8", "replace")
    if not shape:
        return f"This statement is not understood, so the allow list of the service {name} cannot have it"
    return f"This statement, {digest_of(shape)}, is not on the allow list of the service {name} for the user {user!r}"


def _tell(session: Session, allowed: AllowList, shape: bytes) -> None:
    """The first of its kind is logged, as far as lines are not too many."""
    dropped = session.service.ledger.log.unlisted.take()
    if dropped < 0:
        return
    log.warning(
        "service %s: not on the allow list, %s: %s %s, user %s%s",
        allowed.service,
        "refused" if allowed.enforces else "not refused",
        digest_of(shape) or "a statement that is not understood",
        shape.decode("utf-8", "replace"),
        session.user.decode("utf-8", "replace"),
        f" ({dropped} others were not logged)" if dropped else "",
    )
