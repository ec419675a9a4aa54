"""Finds a backend for a statement, whatever it takes: waiting for a primary, connecting, replaying, catching up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import NoServerAvailable, ServerError, ServerLost, SqlproxyError
from sqlproxy.routing.base import Decision, Router
from sqlproxy.routing.causal import PREAMBLE, PREAMBLE_TO_ASK, needs_sync
from sqlproxy.routing.hints import MAY_WRITE, Hint, redirect
from sqlproxy.session import errand, insert_ids, reports, variables
from sqlproxy.session.backend import Backend
from sqlproxy.session.connect import Login, connect
from sqlproxy.session.failure import Outcome, is_evidence, only_rolls_back
from sqlproxy.session.guidance import ignore_hint
from sqlproxy.session.history import is_replayable
from sqlproxy.session.insert_ids import NEEDS
from sqlproxy.session.pool import Pool, reuse
from sqlproxy.session.state import EFFECTS
from sqlproxy.session.stats import ServerStats
from sqlproxy.session.trace import step
from sqlproxy.session.transaction import chains, leaves, outgrows_replica
from sqlproxy.sql.bits import FOUND_ROWS, LAST, MULTI, READ, ROLLBACK, SESSION, SHOW, WRITE, XA
from sqlproxy.wire.constants import (
    COM_QUERY,
    ER_CON_COUNT_ERROR,
    ER_TOO_MANY_USER_CONNECTIONS,
    ER_USER_LIMIT_REACHED,
    SERVER_STATUS_AUTOCOMMIT,
)
from sqlproxy.wire.framing import payload_of
from sqlproxy.wire.response import QUERY, SINGLE

if TYPE_CHECKING:
    from sqlproxy.session.session import Session

# Also when the connections counted are idle ones of ours: of the server, of a user, of a user's hour.
_TOO_MANY: Final = (ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED)
RETRY: Final = 0.25  # seconds before a server that failed is tried again without a new snapshot


class LossTold(SqlproxyError):
    """The statement was answered with what became of the transaction or the pin before it; nothing is left to do."""


async def acquire(session: Session, mask: int, position: int | None = None, hint: Hint | None = None) -> Backend:
    """A backend that may take a statement of classification ``mask`` now, current in every respect.

    A transaction that was lost is replayed first. ``position``: replay the session's history only up to there, for
    the replay of a transaction. ``hint``: where the client wants it to go.

    Raises NoServerAvailable after ``failover_timeout``, LossTold when the session's transaction or pinned state was
    lost, ServerError when a server refuses the login.
    """
    if position is None:
        session.check_writable(mask)
        if mask & LAST and not mask & SHOW:
            _refuse_lost_answer(session, mask)
    failed = _Failed(session, hint)
    while True:
        await _settle_loss(session, mask)
        if position is None:
            await _leave_transaction(session, mask)
            if session.misplaced(mask) and not await variables.unpin(session):
                reason = f"server {session.state.context.pinned} is no longer the primary"
                session.tell_loss((Outcome.PIN_LOST, reason))
                raise LossTold(reason)
        decision = failed.route(mask)
        refused = _why_not(session, mask, decision)
        if not refused:
            _drop_deaf(session, decision.server, mask)
            try:
                backend = await backend_for(session, decision.server)
                await _make_current(session, backend, position, mask)
            except ServerLost as error:
                failed.add(decision.server, error.message)
                continue
            except ServerError as error:
                if not decision.read or error.code != ER_CON_COUNT_ERROR or failed.is_last(decision.server):
                    raise
                failed.add(decision.server, error.message)
                continue
            if not backend.closed:  # it may have broken just after its newest reply
                if session.trace is not None:
                    session.trace.goes_to(decision.server, decision.reason)
                return backend
            continue
        await _wait(session, mask, failed.reason or refused)
        failed.forget()


def _refuse_lost_answer(session: Session, mask: int) -> None:
    """Raises SqlproxyError for what no connection can tell any more; SHOW WARNINGS then finds none."""
    state = session.state
    if not state.begun or session.statements == 1:  # nothing has been asked before
        return
    if mask & FOUND_ROWS and not state.found:
        raise SqlproxyError("FOUND_ROWS() is not known: the connection with the newest SELECT was lost")
    if not mask & FOUND_ROWS and not state.last:
        raise SqlproxyError("What the statement before this one has left behind is not known: its connection was lost")


class _Failed:
    """The servers that failed this statement under the snapshot at hand."""

    def __init__(self, session: Session, hint: Hint | None) -> None:
        self._session = session
        self._hint = hint if session.service.config.router == "readwritesplit" else None
        self._told = False  # that the hint is ignored
        self._router: Router | None = None  # of our own, for what only we leave out
        self._number, server, self.reason = session.avoid
        self._names = {server} if server else set[str]()

    def route(self, mask: int) -> Decision:
        """As the service's router, without the servers that failed."""
        service = self._session.service
        snapshot = service.snapshot
        if snapshot.number != self._number:
            self._names.clear()
            self.reason = ""
            self._number = snapshot.number
        router = service.routing
        if self._names:
            snapshot = snapshot.only(service.servers.keys() - self._names)
            router = self._router = self._router or service.make_router()
        context = self._session.state.context_for(mask)
        decision = router.route(mask, context, snapshot, service.server_stats)
        if decision.read and not self._names and decision.server not in self._session.backends:
            decision = replace(decision, server=self._session.stay(decision.server))
        if self._hint is None:
            return decision
        decision, ignored = redirect(self._hint, decision, mask, context, snapshot, service.server_stats)
        if ignored and not self._told:
            self._told = True
            self._ignore(self._hint, ignored, mask)
        return decision

    def _ignore(self, hint: Hint, reason: str, mask: int) -> None:
        """A hint that is not followed is no error, but an operator's rule must not take a write to a replica."""
        ruling = self._session.ruling
        if not hint.rule or ruling is None:
            ignore_hint(self._session, hint, reason)
            return
        ruling.ignored()
        if reason is MAY_WRITE and mask & WRITE and self._session.state.context.autocommit:
            raise SqlproxyError(f"The rule {hint.rule} sends this statement to {hint}, but {reason}", code=1148)

    def add(self, server: str, reason: str) -> None:
        """This server failed."""
        self._names.add(server)
        self.reason = reason
        self._session.service.evidence(server, reason)

    def is_last(self, server: str) -> bool:
        """No other usable server is left to try."""
        views = self._session.service.snapshot.servers
        return not any(view.usable and view.name != server and view.name not in self._names for view in views)

    def forget(self) -> None:
        """Time has passed: all may be tried again."""
        self._names.clear()


async def kill_query(session: Session, backend: Backend) -> None:
    """End what a backend runs, over a connection of its own. Raises SqlproxyError when that cannot be done."""
    service, limit = session.service, session.service.config.connect_timeout
    server = service.servers.get(backend.server)
    if server is None:
        raise ServerLost(f"server {backend.server} is no longer configured")
    own = await connect(server, ServerStats(), replace(session.login, database=b""), limit)
    try:
        await own.call(bytes((COM_QUERY,)) + b"KILL QUERY %d" % backend.thread_id, QUERY, limit)
    finally:
        own.close()


async def _settle_loss(session: Session, mask: int) -> None:
    """Make good what was lost since the last statement. Raises LossTold when that cannot be done."""
    loss = session.take_loss()
    if loss is None:
        return
    outcome, reason = loss
    if outcome is Outcome.TRANSACTION_LOST:
        if only_rolls_back(mask):
            outcome = Outcome.TRANSACTION_GONE
        else:
            refused = await session.replay(reason, anywhere=not _outgrows_replica(session, mask))
            if not refused:
                return
            reason = f"{reason}, and {refused}"
    session.tell_loss((outcome, reason))
    raise LossTold(reason)


async def _leave_transaction(session: Session, mask: int) -> None:
    """End a transaction on a server that is not the primary before a statement that would go on writing there.

    A READ ONLY transaction on a replica is brought to the primary for what its replica should not run: a CALL, what is
    not understood, and what would tie the session to the replica. What follows it by AND CHAIN is READ ONLY, too, and
    stays. Statements that commit implicitly have it committed where it is, ROLLBACK AND CHAIN has it rolled back. By
    replay it is moved to the new primary for several statements in one text, the first of which may belong to it, and
    for XA, which is refused while it is open.
    """
    state = session.state
    server = state.context.transaction
    if not server or server == session.service.snapshot.primary:
        return
    backend = session.backends.get(server)
    if backend is None:
        return
    if state.in_read_only_transaction and session.log.replayable and _outgrows_replica(session, mask):
        session.move_transaction(backend)
        await _settle_loss(session, mask)
        return
    if not leaves(mask) or (state.in_read_only_transaction and chains(mask)):
        return
    if mask & (MULTI | XA) and not state.in_read_only_transaction:
        if session.log.replayable:
            session.move_transaction(backend)
            await _settle_loss(session, mask)
        return
    session.in_doubt = True
    try:
        end = b"ROLLBACK" if mask & ROLLBACK else b"COMMIT"  # ROLLBACK AND CHAIN
        await backend.call(bytes((COM_QUERY,)) + end, QUERY, session.service.config.connect_timeout)
    except ServerLost as error:
        session.take_loss()  # the transaction may be committed: it must not be replayed
        session.tell_loss((Outcome.UNKNOWN, error.message))
        raise LossTold(error.message) from None
    finally:
        session.in_doubt = False
        state.lose_transaction()
        session.log.clear()


def _outgrows_replica(session: Session, mask: int) -> bool:
    """As ``outgrows_replica``, also for session statements whose effect is not the same on every server."""
    if outgrows_replica(mask):
        return True
    if mask & MULTI:
        return bool(mask & EFFECTS)
    return bool(mask & SESSION) and not is_replayable(mask, payload_of(session.command_at_hand), session.state.mode)


def _why_not(session: Session, mask: int, decision: Decision) -> str:
    """Why a decision cannot be acted upon now; "" when it can."""
    if not decision.server:
        return decision.reason
    if mask & WRITE and session.service.is_stale():
        return "the newest view of the servers is too old to write by"
    return ""


async def _wait(session: Session, mask: int, reason: str) -> None:
    """Wait for a change. Raises NoServerAvailable at the session's deadline."""
    left = session.deadline - asyncio.get_running_loop().time()
    if left <= 0:
        timeout = session.service.config.failover_timeout
        raise NoServerAvailable(f"No server took this statement within {timeout:g}s: {reason}")
    errand.wait_for(session, reason, bool(mask & WRITE))
    with step(session, "wait for a server", **{"sqlproxy.reason": reason}):
        await session.service.changed(min(left, RETRY))


async def backend_for(session: Session, name: str) -> Backend:
    """The session's connection to a server, opened if need be. Raises as ``connect``."""
    backend = session.backends.get(name)
    if backend is not None and not backend.closed:
        return backend
    service = session.service
    server, stats = service.servers[name], service.server_stats[name]
    pool = service.pools[name]
    if server.max_connections and stats.connections - len(pool) >= server.max_connections:
        raise ServerError(f"server {name} has its max_connections = {server.max_connections}", code=ER_CON_COUNT_ERROR)
    login = session.login
    current = replace(login, database=session.state.database)
    with step(session, "connect", **{"sqlproxy.target": name}):
        async with service.while_usable(name), service.openings[name]:
            fresh = _must_catch_up(session, name, 0)
            backend = await _opened(pool, current, service.config.connect_timeout, fresh=fresh)
    join(session, backend)
    return backend


def join(session: Session, backend: Backend) -> None:
    """Make a connection just opened the session's. Raises ServerLost when its server left use meanwhile."""
    name = backend.server
    view = session.service.snapshot.server(name)
    if view is None or not view.usable:
        backend.close()
        raise ServerLost(f"server {name} is out of use: {view.reason if view else 'no longer configured'}")
    if not session.state.begun:
        session.state.begin(backend.tracker.status, name)
    backend.owner = session
    reports.show(session, backend)
    session.backends[name] = backend


def first_pool(session: Session) -> Pool | None:
    """Where a new session may find a connection for its reads; None when it takes more than that to get one."""
    service = session.service
    name = service.routing.route(READ, session.state.context, service.snapshot, service.server_stats).server
    pool = service.pools.get(name)
    if pool is None or not len(pool):
        return None
    limit = pool.server.max_connections
    full = limit and pool.stats.connections - len(pool) >= limit
    return None if full or _must_catch_up(session, name, 0) else pool


async def _opened(pool: Pool, login: Login, timeout: float, *, fresh: bool) -> Backend:
    """One that another session left, unless it must be ``fresh``, else a new one, for which idle ones make room.

    Raises as ``connect``.
    """
    backend = None if fresh else await reuse(pool, login, timeout)
    if backend is not None:
        return backend
    limit = pool.server.max_connections
    if limit and pool.stats.connections >= limit:
        pool.evict()
    try:
        return await connect(pool.server, pool.stats, login, timeout)
    except ServerError as error:
        if error.code not in _TOO_MANY or not pool.evict():
            raise
        pool.clear()
        return await connect(pool.server, pool.stats, login, timeout)


async def _make_current(session: Session, backend: Backend, position: int | None, mask: int) -> None:
    """Replay what the backend has missed and let its server catch up. Raises ServerLost when it cannot."""
    state = session.state
    limit = session.service.config.connect_timeout
    target = state.history.position if position is None else position
    for entry in state.history.since(backend.applied):
        if entry.number > target:
            break
        try:
            await backend.call(entry.payload, QUERY if entry.payload[0] == COM_QUERY else SINGLE, limit)
        except ServerError as error:
            refuse_evidence(backend, error)
            if not entry.may_fail:
                backend.abort("it differs from the server the session began on")
                raise SqlproxyError(
                    f"server {backend.server} does not accept a setting of this session: {error.message}",
                    code=error.code,
                    sqlstate=error.sqlstate,
                ) from None
        backend.applied = entry.number
    backend.applied = max(backend.applied, target)
    differs = (backend.tracker.status ^ state.status) & SERVER_STATUS_AUTOCOMMIT
    if differs and position is None and not state.in_transaction:
        await _align_autocommit(backend, state.status, limit)
    await _catch_up(session, backend, mask)
    if mask & WRITE and mask & NEEDS:
        await insert_ids.bring(session, backend, mask, limit)
    if state.next_transaction and backend.server != state.context.last:
        await backend.call(state.next_transaction, QUERY, limit)


async def _align_autocommit(backend: Backend, status: int, limit: float) -> None:
    """Servers may differ in their global autocommit, or an init_connect may set it; the session's first one decides."""
    value = b"1" if status & SERVER_STATUS_AUTOCOMMIT else b"0"
    await backend.call(bytes((COM_QUERY,)) + b"SET autocommit=" + value, QUERY, limit)


def refuse_evidence(backend: Backend, error: ServerError) -> None:
    """Raises ServerLost for an error that says something about the server (not ready, shutting down), not the text."""
    if is_evidence(error.code, error.message.encode()):
        backend.abort(error.message)
        raise ServerLost(f"server {backend.server}: {error.message}") from None


async def _catch_up(session: Session, backend: Backend, mask: int) -> None:
    state, service = session.state, session.service
    written = state.written
    if not _must_catch_up(session, backend.server, backend.synced):
        return
    try:
        # A server that stops applying leaves use, and never answers.
        with step(session, "catch up", **{"sqlproxy.target": backend.server}):
            async with service.while_usable(backend.server):
                preamble = bytes((COM_QUERY,)) + (PREAMBLE_TO_ASK if mask & LAST else PREAMBLE)
                await backend.call(preamble, QUERY, service.config.causal_reads_timeout)
    except ServerError as error:
        raise ServerLost(f"server {backend.server} has not applied this session's writes: {error.message}") from None
    backend.synced = written


def _must_catch_up(session: Session, server: str, synced: int) -> bool:
    """Whether a read on a server has to wait there for the session's writes; it is known to have ``synced`` of them."""
    state, service = session.state, session.service
    config, causal = service.config.causal_reads, service.snapshot.causal
    return not state.in_transaction and needs_sync(config, causal, state.written, synced, server == state.written_on)


def _drop_deaf(session: Session, server: str, mask: int) -> None:
    """Give up a connection that cannot wait for the session's writes as the next statement must."""
    backend = session.backends.get(server)
    if backend is None or not backend.deaf or mask & LAST or not _must_catch_up(session, server, backend.synced):
        return
    tied = {session.state.context.pinned, *(statement.cursor for statement in session.state.statements.values())}
    if server not in tied:
        session.give_up(backend)
