"""A session as operators see it."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlproxy.session.session import Session


def row(session: Session) -> dict[str, object]:
    """One row for operators."""
    context = session.state.context
    written_on = session.service.snapshot.primary
    state = "waiting" if session.waiting else "active" if session.busy else "idle"
    return {
        "id": session.number,
        "service": session.service.name,
        "user": session.login.credentials.username.decode(errors="replace"),
        "host": session.client.host,
        "database": session.state.database.decode(errors="replace"),
        "primary": written_on if written_on in session.backends else None,
        "replica": next((name for name in session.backends if name != written_on), None),
        "state": state,
        "waiting_for": session.waiting,
        "in_transaction": bool(context.transaction),
        "pins": list(session.state.pins.values()),
        "statements": session.statements,
        "since": session.started,
        "idle_seconds": 0.0 if session.busy else round(monotonic() - session.active_at, 3),
    }
