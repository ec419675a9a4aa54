"""Takes a session between two statements out of this process, and takes one in that another process had.

The process before asks for the ``obstacle``, ``hold``s a session, ``pack``s it and sends the parcel with the sockets;
when the other one has said yes and ``pack`` still says the same, it ``let_go``es, else it ``resume``s. The other one
asks for the ``refusal``, makes the session with ``unpack`` and, once it has it, goes on with it by ``adopt``.
docs/design/upgrade.md.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from sqlproxy.routing.hints import Hint, Target
from sqlproxy.session import guidance, leaving
from sqlproxy.session.attach import attach
from sqlproxy.session.backend import Backend
from sqlproxy.session.client import Client
from sqlproxy.session.connect import Login
from sqlproxy.session.history import Entry
from sqlproxy.session.parcel import (
    BackendParcel,
    ClientParcel,
    EntryParcel,
    HintParcel,
    LoginParcel,
    Parcel,
    StatementParcel,
    StateParcel,
    TargetParcel,
)
from sqlproxy.session.prepared import BackendStatement, PreparedStatement
from sqlproxy.session.session import Session
from sqlproxy.session.state import SessionState
from sqlproxy.sql.bits import MODE_SERVERS
from sqlproxy.wire.auth import Credentials

if TYPE_CHECKING:
    import asyncio

    from sqlproxy.session.service import Service

_TOO_LONG: Final = 32 * 1024  # bytes of a command half sent, with which a session stays until it has come whole
_WHY: Final = "moving"


def obstacle(session: Session) -> str:
    """Why no other process can go on with the session now; "" when one can."""
    if session.busy or session.running_on is not None or session.unsettled:
        return "busy"
    if session.state.in_transaction:
        return "in a transaction"
    if session.state.pins:
        return "pinned to a server"
    statements = session.state.statements.values()
    if any(statement.cursor or statement.long_data_size for statement in statements):
        return "an open cursor or data sent ahead"
    if found := session.client.obstacle(_WHY):
        return found
    if session.client.buffered > _TOO_LONG:
        return "busy"
    return next(filter(None, (backend.obstacle() for backend in session.backends.values())), "")


def hold(session: Session) -> None:
    """Read nothing for this session until ``resume``, so that the parcel stays true."""
    session.client.pause_reading(_WHY)
    for backend in session.backends.values():
        backend.pause_reading()


def resume(session: Session) -> None:
    """Go on with it here."""
    for backend in session.backends.values():
        backend.resume_reading()
    session.client.resume_reading(_WHY)


def let_go(session: Session) -> None:
    """Another process has it: forget it here, without a word to client or servers."""
    session.service.mirrors.forget(session.number)
    for backend in session.backends.values():
        backend.let_go()
    session.backends.clear()
    session.client.let_go()


# -- packing


def sockets_of(session: Session) -> list[Any]:
    """The sockets that go with the parcel: the client's, then those of the backends in the parcel's order."""
    return [session.client.plain_socket, *(backend.plain_socket for backend in session.backends.values())]


def pack(session: Session) -> Parcel:
    """The session as it is now."""
    told, blocks, named = session.hints.kept
    return Parcel(
        session.number,
        session.service.name,
        session.started,
        session.active_at,
        session.statements,
        session.sees_state_changes,
        session.seen_written,
        session.wrote_at,
        told,
        tuple(map(_pack_hint, blocks)),
        tuple((name, _pack_hint(hint)) for name, hint in named.items()),
        _pack_login(session.login),
        _pack_client(session.client),
        _pack_state(session.state),
        tuple(_pack_backend(backend, session.service) for backend in session.backends.values()),
    )


def _pack_hint(hint: Hint) -> HintParcel:
    return HintParcel(hint.target.value, hint.server, float(hint.lag), hint.rule)


def _pack_login(login: Login) -> LoginParcel:
    known = login.credentials
    return LoginParcel(
        known.username,
        known.cleartext,
        known.sha1_stage1,
        known.sha256_stage1,
        login.capabilities,
        login.collation,
        login.database,
        login.attrs,
        login.client,
        login.tls,
    )


def _pack_client(client: Client) -> ClientParcel:
    return ClientParcel(
        client.address,
        client.host,
        client.port,
        client.secure,
        client.capabilities,
        client.scramble,
        client.plugin,
        client.failed_changes,
        client.pending,
    )


def _pack_state(state: SessionState) -> StateParcel:
    return StateParcel(
        state.database,
        state.found,
        state.insert_id,
        state.insert_holder,
        state.last,
        state.mode,
        state.begun,
        state.status,
        state.history.position,
        tuple(map(_pack_entry, state.history.entries)),
        state.next_transaction,
        state.written,
        state.written_on,
        tuple(map(_pack_statement, state.statements.values())),
        state.last_statement,
        state.last_prepared,
        tuple(state.text_statements.items()),
    )


def _pack_entry(entry: Entry) -> EntryParcel:
    return EntryParcel(entry.number, entry.key, entry.payload, entry.literal, entry.may_fail, entry.textual)


def _pack_statement(statement: PreparedStatement) -> StatementParcel:
    return StatementParcel(
        statement.number,
        statement.payload,
        statement.mask,
        statement.parameters,
        statement.columns,
        statement.types,
        statement.key,
        statement.database,
        _pack_hint(statement.hint) if statement.hint is not None else None,
        statement.definitions,
        statement.version,
    )


def _pack_backend(backend: Backend, service: Service) -> BackendParcel:
    known = backend.statements.items()
    return BackendParcel(
        backend.server,
        str(service.servers[backend.server].address) if backend.server in service.servers else "",
        backend.thread_id,
        backend.capabilities,
        backend.secure,
        backend.plugin,
        backend.scramble,
        backend.repeats_scramble,
        backend.applied,
        backend.synced,
        backend.deaf,
        backend.filters,
        backend.only_state_change,
        backend.attributed,
        backend.tracker.deprecate_eof,
        backend.tracker.tracking,
        backend.tracker.optional,
        backend.tracker.status,
        tuple((number, _pack_target(there)) for number, there in known),
    )


def _pack_target(there: BackendStatement) -> TargetParcel:
    return TargetParcel(there.number, there.types, there.attributed, there.version, tuple(there.definitions))


# -- taking in


def refusal(services: Mapping[str, Service], parcel: Parcel) -> str:
    """Why this process cannot go on with a session; "" when it can."""
    service = services.get(parcel.service)
    if service is None:
        return f"there is no service {parcel.service}"
    if parcel.number in service.registry.sessions:
        return f"session {parcel.number} is here already"
    if service.config.tls.mode == "required" and not parcel.client.secure:
        return f"service {service.name} requires TLS"
    for backend in parcel.backends:
        server, view = service.servers.get(backend.server), service.snapshot.server(backend.server)
        if server is None or str(server.address) != backend.address:
            return f"server {backend.server} is not at {backend.address}"
        if view is None or view.lost:
            return f"server {backend.server} is down"
    return ""


def unpack(service: Service, parcel: Parcel) -> Session:
    """The session, not yet one of this process's. Raises ValueError for what this version does not know."""
    session = Session(service, _client(service, parcel.client), parcel.number, _login(parcel.login), 0)
    _restore(session, parcel)
    return session


async def adopt(session: Session, pending: bytes, sockets: Sequence[socket.socket]) -> None:
    """Go on with a session whose sockets (see ``sockets_of``) are this process's now. Raises OSError; see ``drop``."""
    session.client.take_over(session)
    guidance.follow_rules(session)  # those of now: it was not one of the service's sessions when they were told
    backends = tuple(session.backends.values())
    for backend in backends:
        backend.take_over()
    for backend, sock in zip(backends, sockets[1:], strict=True):
        await attach(sock, cast("asyncio.Protocol", backend))
    await attach(sockets[0], cast("asyncio.Protocol", session.client))
    leaving.on_snapshot(session, {view.name: view.reason for view in session.service.snapshot.servers if view.lost})
    if pending:
        session.client.data_received(pending)


def drop(session: Session, sockets: Sequence[socket.socket]) -> None:
    """End a session that ``adopt`` could not go on with, whatever it had begun; its client may connect again."""
    for backend in tuple(session.backends.values()):
        backend.abort("the session could not be taken over")
    session.client.abort()
    session.client.connection_lost(None)
    for sock in sockets:
        sock.close()


def _client(service: Service, parcel: ClientParcel) -> Client:
    client = Client(service, parcel.address)
    client.host, client.port, client.secure = parcel.host, parcel.port, parcel.secure
    client.capabilities, client.failed_changes = parcel.capabilities, parcel.failed_changes
    client.scramble, client.plugin = parcel.scramble, parcel.plugin
    return client


def _login(parcel: LoginParcel) -> Login:
    credentials = Credentials(parcel.username, parcel.cleartext, parcel.sha1_stage1, parcel.sha256_stage1)
    return Login(
        credentials,
        parcel.capabilities,
        parcel.collation,
        parcel.database,
        parcel.attrs,
        parcel.client,
        parcel.tls,
    )


def _restore(session: Session, parcel: Parcel) -> None:
    session.started, session.active_at, session.statements = parcel.started, parcel.active_at, parcel.statements
    session.sees_state_changes = parcel.sees_state_changes
    session.seen_written, session.wrote_at = parcel.seen_written, parcel.wrote_at
    names = {name: _hint(hint) for name, hint in parcel.hint_names}
    session.hints.restore(parcel.hints_told, [_hint(hint) for hint in parcel.hint_blocks], names)
    _restore_state(session.state, parcel.state, session.service.generations)
    guidance.follow_hints(session)
    for packed in parcel.backends:
        backend = _backend(session.service, packed)
        backend.owner = session
        session.backends[backend.server] = backend


def _restore_state(state: SessionState, parcel: StateParcel, generations: int) -> None:
    state.next_transaction = parcel.next_transaction
    state.written, state.written_on = parcel.written, parcel.written_on
    state.last_statement, state.last_prepared = parcel.last_statement, parcel.last_prepared
    state.text_statements = dict(parcel.text_statements)
    state.statements = {statement.number: _statement(statement) for statement in parcel.statements}
    entries = (Entry(e.number, e.key, e.payload, e.literal, e.may_fail, e.textual) for e in parcel.history)
    state.history.entries, state.history.position = list(entries), parcel.position
    state.begin(parcel.status, parcel.last)
    state.begun = parcel.begun
    state.database, state.found = parcel.database, parcel.found
    state.insert_id, state.insert_holder = parcel.insert_id, parcel.insert_holder
    state.mode = parcel.mode & ~MODE_SERVERS | generations


def _hint(parcel: HintParcel) -> Hint:
    return Hint(Target(parcel.target), parcel.server, parcel.lag, parcel.rule)


def _statement(parcel: StatementParcel) -> PreparedStatement:
    statement = PreparedStatement(parcel.number, parcel.payload, parcel.mask, parcel.parameters, parcel.columns)
    statement.types, statement.key, statement.database = parcel.types, parcel.key, parcel.database
    statement.hint = _hint(parcel.hint) if parcel.hint is not None else None
    statement.definitions, statement.version = parcel.definitions, parcel.version
    return statement


def _backend(service: Service, parcel: BackendParcel) -> Backend:
    backend = Backend(parcel.server, service.server_stats[parcel.server], parcel.deprecate_eof)
    backend.thread_id, backend.capabilities, backend.secure = parcel.thread_id, parcel.capabilities, parcel.secure
    backend.plugin, backend.scramble = parcel.plugin, parcel.scramble
    backend.repeats_scramble, backend.deaf = parcel.repeats_scramble, parcel.deaf
    backend.applied, backend.synced = parcel.applied, parcel.synced
    backend.filters, backend.only_state_change = parcel.filters, parcel.only_state_change
    backend.attributed = parcel.attributed
    backend.tracker.tracking, backend.tracker.status = parcel.tracking, parcel.status
    backend.tracker.optional = parcel.optional
    for number, packed in parcel.statements:
        backend.statements[number] = _target(packed)
    return backend


def _target(parcel: TargetParcel) -> BackendStatement:
    target = BackendStatement(parcel.number, parcel.attributed)
    target.types, target.version, target.definitions = parcel.types, parcel.version, list(parcel.definitions)
    return target
