"""When the servers' roles change: which connections a session gives up at once, which as soon as work there ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlproxy.session import losses
from sqlproxy.session.failure import Outcome
from sqlproxy.sql.bits import MODE_SERVERS
from sqlproxy.topology.model import AdminState

if TYPE_CHECKING:
    from sqlproxy.session.session import Session


def on_snapshot(session: Session, lost: dict[str, str]) -> None:
    """Give up connections to servers that are lost; leave those to be left as soon as work there ends."""
    session.state.mode = session.state.mode & ~MODE_SERVERS | session.service.generations
    for server in lost.keys() & session.backends.keys():
        session.backends[server].abort(lost[server])
    if session.service.leaving and not session.busy:
        leave(session, session.service.leaving)


def relieve(session: Session, oldest: int) -> None:
    """Take the command at hand, if sent since tick ``oldest``, from a silent server to where it can go on.

    That is as if the server were lost, so only what a loss costs nothing: no write whose outcome would be unknown.
    """
    suspects = session.service.suspects
    backend = session.running_on
    if backend is None:
        if session._task is not None and not session.in_doubt:  # catching up, replaying, preparing: all begin anew
            for server in suspects.keys() & session.backends.keys():
                if not session.backends[server].tracker.done:
                    session.backends[server].abort(suspects[server])
    elif (
        backend.server in suspects
        and session._sent >= oldest
        and (backend is session._attending or losses.may_leave(session))
    ):
        backend.abort(suspects[backend.server])


def leave(session: Session, servers: frozenset[str]) -> None:
    """Close connections where nothing is open; maintenance moves open transactions by replay."""
    context = session.state.context
    kept = {context.pinned, *(statement.cursor for statement in session.state.statements.values())}
    for server in servers & session.backends.keys() - kept:
        if server == context.transaction:
            view = session.service.snapshot.server(server)
            if view is None or view.state is not AdminState.MAINTENANCE or not session.log.replayable:
                continue
            session._loss = (Outcome.TRANSACTION_LOST, f"server {server} is in maintenance")
        session.give_up(session.backends[server])
