"""User variables whose values only one server knows, written down so that every server can have them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import SqlproxyError
from sqlproxy.session import notes
from sqlproxy.sql.bits import LITERAL_ONLY, SESSION
from sqlproxy.sql.extract import user_variables_set
from sqlproxy.wire.constants import COM_QUERY
from sqlproxy.wire.response import QUERY
from sqlproxy.wire.result_set import text_rows

if TYPE_CHECKING:
    from sqlproxy.session.backend import Backend
    from sqlproxy.session.session import Session
    from sqlproxy.session.state import SessionState

_LONGEST: Final = 4096  # bytes of a user variable that is made known to other servers


def may_keep_answer(state: SessionState) -> bool:
    """Whether what is set from an answer must be known elsewhere, too: nothing ties the session to one server."""
    return not state.pins and (not state.in_transaction or state.in_read_only_transaction)


async def keep_answer(session: Session, backend: Backend, payload: bytes, mask: int) -> None:
    """Run ``SET @n = FOUND_ROWS()``, GET DIAGNOSTICS and their like where the answer is, and make ``@n`` known to all
    servers; where it is binary and no number, the session is pinned there."""
    limit = session.service.config.failover_timeout
    reply = await backend.call(payload, QUERY, limit, session.block)
    names = user_variables_set(payload, 1, session.state.mode)
    literal = await _as_literal(backend, names, limit)
    if literal:
        await backend.call(literal, QUERY, limit)  # also for ROW_COUNT(), which is 0 after a SET
        notes.note_as(session, backend, SESSION | LITERAL_ONLY, literal)
    else:
        notes.note(session, backend, mask, failed=False)
    session.client.write(reply)
    session.idle()


async def _as_literal(backend: Backend, names: Iterable[str], limit: float) -> bytes:
    """A SET of user variables to what they are now; b"" when that cannot be written down, or none are named."""
    values = []
    for name in names:
        question = (
            f"SELECT LENGTH(@{name}), @{name} REGEXP '^-?[0-9]+$', HEX(LEFT(@{name}, {_LONGEST})), "
            f"CHARSET(@{name}), COLLATION(@{name})"
        )
        reply = await backend.call(bytes((COM_QUERY,)) + question.encode(), QUERY, limit)
        value = _written(*text_rows(reply)[-1])
        if not value:
            return b""
        values.append(b"@%s=%s" % (name.encode(), value))
    return bytes((COM_QUERY,)) + b"SET " + b",".join(values) if values else b""


def _written(length: bytes, number: bytes, digits: bytes, charset: bytes, collation: bytes) -> bytes:
    """The literal for a user variable's value; b"" for what is long, or binary and no number."""
    if not length:
        return b"NULL"
    if int(length) > _LONGEST:
        return b""
    if charset != b"binary":
        return b"CONVERT(X'%s' USING %s) COLLATE %s" % (digits, charset, collation)
    return bytes.fromhex(digits.decode()) if number == b"1" else b""


async def unpin(session: Session) -> bool:
    """Have all servers know those that tie the session to one, if nothing else does; False when that cannot be had."""
    state = session.state
    backend = session.backends.get(state.context.pinned)
    if backend is None or not state.is_pinned_by_variables:
        return False
    try:
        literal = await _as_literal(backend, sorted(state.named), session.service.config.connect_timeout)
    except SqlproxyError:
        session.take_loss()
        return False
    if literal:
        state.unpin_variables()
        notes.note_as(session, backend, SESSION | LITERAL_ONLY, literal)
    return bool(literal)
