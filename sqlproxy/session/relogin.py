"""A change of user on a connection of the pool: packets in, packets out, its end told by a call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlproxy.errors import ServerLost, SqlproxyError
from sqlproxy.session.backend import Backend
from sqlproxy.session.connect import Login
from sqlproxy.session.deadlines import Deadlines
from sqlproxy.wire import codec
from sqlproxy.wire.auth import Kind
from sqlproxy.wire.client_auth import ClientAuth
from sqlproxy.wire.handshake import ChangeUser
from sqlproxy.wire.packets import auth_switch_packet, parse_ok

if TYPE_CHECKING:
    from sqlproxy.session.pool import Pool

log = logging.getLogger("sqlproxy.pool")


class Relogin:
    """``taken`` is the connection, logged in as ``login``, once it is; ``refused``: the server does not want that.

    ``told`` is called at the end, unless it was given up.
    """

    def __init__(self, pool: Pool, backend: Backend, login: Login, told: Callable[[Relogin], None]) -> None:
        self.taken: Backend | None = None
        self.refused = False
        self._pool = pool
        self._backend = backend
        self._login = login
        self._told: Callable[[Relogin], None] | None = told
        self._auth = ClientAuth(login.credentials, server=backend.server, secure=backend.secure)
        self._plugin = ""
        self._seq = 0  # of our newest packet
        self._foreseen = False  # the question that comes next has been answered already
        self._deadlines: Deadlines | None = None

    def start(self, deadlines: Deadlines | None = None, timeout: float = 0.0) -> None:
        """Ask the server; with ``deadlines`` it is given up after so many seconds, or when the server leaves use."""
        if deadlines is not None:
            self._deadlines = deadlines
            deadlines.add(self, timeout)
            self._pool.joining.add(self)
        try:
            self._ask()
        except SqlproxyError as error:
            self._fail(error)

    def _ask(self) -> None:
        backend, login = self._backend, self._login
        self._plugin, answer = self._auth.response(backend.plugin, backend.scramble)
        request = ChangeUser(
            backend.capabilities,
            login.credentials.username,
            answer,
            login.database,
            login.collation,
            self._plugin,
            login.attrs,
        )
        packet = codec.packet(0, request.encode())
        backend.log_in_again(self._receive)
        if backend.repeats_scramble:  # its question is known, so the answer goes along
            self._foreseen = True
            self._seq = 2
            packet += codec.packet(2, answer)
        backend.write(packet)

    def _receive(self, payload: bytes | None) -> None:
        """A packet of the server, or the end of the connection."""
        if self._told is None:
            return
        try:
            if payload is None:
                raise ServerLost(f"server {self._backend.server} closed the connection during login")
            self._take(payload)
        except SqlproxyError as error:
            self._fail(error)

    def _take(self, payload: bytes) -> None:
        backend = self._backend
        if self._foreseen:
            self._foreseen = False
            if payload != auth_switch_packet(self._plugin, backend.scramble + b"\x00"):
                raise ServerLost(f"server {backend.server} asks for something else than it did before")
            return
        step = self._auth.receive(payload)
        self._seq += 1
        if step.kind is Kind.SEND:
            self._seq += 1
            backend.write(codec.packet(self._seq, step.payload))
        elif step.kind is Kind.OK:
            backend.tracker.status = parse_ok(step.payload).status
            backend.logged_in()
            backend.repeats_scramble = backend.repeats_scramble or self._auth.repeated
            backend.filters = backend.tracker.tracking
            backend.track()
            backend.stats.reused += 1
            self.taken = backend
            self._finish()

    def _fail(self, error: SqlproxyError) -> None:
        if isinstance(error, ServerLost):
            self._give_back("it had broken in the pool")
            return
        log.info("server %s: a change of user was refused: %s", self._backend.server, error.message)
        self.refused = True
        self._give_back("a change of user was refused")

    def expire(self) -> None:
        """The server does not answer: so much for the others in the pool, too."""
        self._pool.clear()
        self._give_back("no answer to a change of user in time")

    def lose(self, reason: str) -> None:
        """The server is out of use."""
        self._give_back(reason)

    def give_up(self) -> None:
        """Nobody wants it any more."""
        self._told = None
        self._give_back("login given up")

    def _give_back(self, reason: str) -> None:
        told, self._told = self._told, None  # the connection's end is no news
        self._backend.abort(reason)
        self._told = told
        self._finish()

    def _finish(self) -> None:
        if self._deadlines is not None:
            self._deadlines.discard(self)
            self._pool.joining.discard(self)
        told, self._told = self._told, None
        if told is not None:
            told(self)
