"""A client on its way in: greeting, PROXY header, TLS, login, first server; packet by packet, without a task.

``arrived`` is called when more has come. Whatever need not be awaited happens within that call: the proof of the
password, and a change of user on a connection of the pool, whose answer comes by callback. TLS, accounts that may be
out of date and connections to be opened are awaited by a task.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from sqlproxy.accounts.certificate import Shown
from sqlproxy.errors import NoServerAvailable, ProtocolError, ServerLost, SqlproxyError
from sqlproxy.session import login
from sqlproxy.session.acquire import first_pool, join
from sqlproxy.session.attach import attach, receive
from sqlproxy.session.backend import Backend
from sqlproxy.session.client import LOGIN_PACKET_LIMIT, Client
from sqlproxy.session.relogin import Relogin
from sqlproxy.session.session import Session
from sqlproxy.session.sockets import RawSocket, Stage, close_quietly
from sqlproxy.wire import codec, proxy_protocol
from sqlproxy.wire.constants import ER_SECURE_TRANSPORT_REQUIRED, HEADER
from sqlproxy.wire.handshake import SSL_REQUEST, HandshakeResponse, is_ssl_request, new_scramble
from sqlproxy.wire.packets import err_packet

if TYPE_CHECKING:
    from sqlproxy.session.service import Service

log = logging.getLogger("sqlproxy.client")

_GOODBYE: Final = 0.5  # seconds a client gets to answer the end of TLS: an idle one never does
_TLS_AT: Final = HEADER + SSL_REQUEST  # bytes before which TLS cannot begin, and after which it may
_NEW, _GREETED, _PROVING, _AWAITING, _OVER = range(5)


class Entry:
    """One client's login. ``entries`` holds it as long as it is under way."""

    def __init__(self, service: Service, address: str, port: int, entries: set[Entry]) -> None:
        self.service = service
        self.client = Client(service, address)
        self.client.port = port
        self._number = service.registry.next_id()
        self._state = _NEW
        self._balanced = False  # the client's address may be told by a PROXY protocol header
        self._header: bytes | None = b""  # what has come of that; None: there is none, or no more
        self._intruder = ""  # who sent a header without being allowed to
        self._offered = 0  # capabilities
        self._stage: Stage | None = None  # the transport, as long as another one may take its place
        self._bare: socket.socket | None = None  # on its way from one transport to another
        self._proof: login.Proof | None = None
        self._session: Session | None = None
        self._relogin: Relogin | None = None
        self._task: asyncio.Task[None] | None = None
        self._entries = entries

    def begin(self, sock: socket.socket) -> None:
        """Greet, or refuse."""
        service, client = self.service, self.client
        self._entries.add(self)
        service.deadlines.add(self, service.config.login_timeout)
        client.await_login(self.arrived)
        try:
            self._stage = receive(sock, cast(asyncio.Protocol, client), _TLS_AT if service.tls else 0)
        except OSError as error:
            close_quietly(sock)
            self._failed(error)
        else:
            self._guarded(self._greet)

    def arrived(self) -> None:
        """More has come from the client, or nothing more will."""
        if self.client.closing:
            self._lost("closed during login")
        elif self._state < _AWAITING:
            self._guarded(self._advance)

    def expire(self) -> None:
        """Time is up."""
        client = self.client
        self.service.stats.client_errors += 1
        log.info("client %s: no login within %gs", client.host, self.service.config.login_timeout)
        self.give_up()

    def give_up(self) -> None:
        """End it at once, whatever it waits for."""
        self._end()
        if self._session is not None:
            self._session.close()
        self.client.abort()

    async def given_up(self) -> None:
        """End it, and wait for what was under way."""
        task = self._task
        self.give_up()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, SqlproxyError):
            self._refuse(error)
        elif isinstance(error, OSError | EOFError):
            self._lost(str(error))
        else:
            log.error("client %s: internal error during login", self.client.host, exc_info=error)
            self.give_up()

    # -- from the greeting to the handshake response

    def _greet(self) -> None:
        service, client = self.service, self.client
        self._balanced = login.may_announce(service, client.address)
        if not self._balanced:
            login.check_admission(service, client.address)
        form = service.greeting()
        if form is None:
            raise NoServerAvailable("No server has been reached yet, so there is nothing to log in to")
        client.scramble, client.plugin = new_scramble(), form.plugin
        self._offered = form.capabilities
        client.write(form.packet(self._number, client.scramble))
        self._state = _GREETED

    def _advance(self) -> None:
        client = self.client
        while self._state < _AWAITING:
            if self._header is not None and not self._announced(self._header):
                return
            if self._proof is None and not client.tls:
                self._look_ahead()
            payload = client.login_packet()
            if payload is None:
                return
            if self._proof is None:
                self._first(payload)
            else:
                self._proceed(self._proof.receive(payload))

    def _announced(self, header: bytes) -> bool:
        """Take in a PROXY protocol header, if there is one; False when more of it must come."""
        buffer = self.client.login_buffer
        if not header:
            if len(buffer) < proxy_protocol.PEEK:
                self._stop_before_tls()
                return False
            if not proxy_protocol.is_header(bytes(buffer[: proxy_protocol.PEEK])):
                self._header = None
                return True
            header = bytes(buffer[: proxy_protocol.PEEK])
            del buffer[: proxy_protocol.PEEK]
        while wanted := proxy_protocol.missing(header):
            header += bytes(buffer[:wanted])
            del buffer[:wanted]
            if proxy_protocol.missing(header) and not buffer:
                self._header = header
                return False
        self._header = None
        self._believe(proxy_protocol.parse(header))
        return True

    def _believe(self, told: proxy_protocol.Announced) -> None:
        client = self.client
        if not self._balanced:
            self._intruder = client.host
        elif told.address:
            client.address = client.host = told.address
            client.port = told.port
            client.secure = False

    def _look_ahead(self) -> None:
        """Before it is known whether TLS begins, take in no byte of it. Raises ProtocolError for what is too long."""
        buffer = self.client.login_buffer
        size = len(buffer)
        length = int.from_bytes(buffer[:3], "little") if size >= HEADER else 0
        if length > LOGIN_PACKET_LIMIT:
            raise ProtocolError(f"malformed packet: a login of {length} bytes")
        self._stop_before_tls()

    def _stop_before_tls(self) -> None:
        size = len(self.client.login_buffer)
        if self.service.tls is not None:
            self._receive_at_most(_TLS_AT - size if size < _TLS_AT else 0)

    def _receive_at_most(self, size: int) -> None:
        if self._stage is not None:
            self._stage.receive_at_most(size)

    def _first(self, payload: bytes) -> None:
        service, client = self.service, self.client
        if self._intruder:
            raise ProtocolError(
                f"a PROXY protocol header came from {self._intruder}, which proxy_protocol_networks does not list"
            )
        if self._balanced and not client.tls:
            login.check_admission(service, client.address)
        if is_ssl_request(payload) and not client.tls:
            if service.tls is None:
                raise ProtocolError("the client asks for TLS, which this service does not offer")
            if client.login_buffer:  # it would pass for what came inside
                raise ProtocolError("malformed packet: bytes in clear follow the request for TLS")
            self._bare = self._detached()  # at once: by the time a task runs, bytes of TLS may have come
            self._await(self._encrypt)
            return
        self._receive_at_most(0)
        response = HandshakeResponse.parse(payload)
        if service.config.tls.mode == "required" and not client.secure:
            raise SqlproxyError(
                "Connections using insecure transport are prohibited: this service requires TLS",
                code=ER_SECURE_TRANSPORT_REQUIRED,
            )
        client.agree(response.all_capabilities & self._offered, response.zstd_level)
        self._proof = login.Proof(client, response)
        if isinstance(self._stage, RawSocket):
            self._bare = self._detached()
            self._await(self._attach)
        else:
            self._proceed(self._proof.start())

    async def _encrypt(self) -> None:
        """Only now the loop gets the socket: TLS begins with its next byte."""
        client = self.client
        protocol = cast(asyncio.Protocol, client)
        assert self._bare is not None
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: protocol, self._bare, ssl=self.service.tls, ssl_shutdown_timeout=_GOODBYE
        )
        self._bare = None
        client.secure = client.tls = True
        client.shown = _shown(transport.get_extra_info("ssl_object"))
        self._state = _GREETED

    async def _attach(self) -> None:
        assert self._proof is not None
        assert self._bare is not None
        await attach(self._bare, cast(asyncio.Protocol, self.client))
        self._bare = None
        self._state = _PROVING
        self._proceed(self._proof.start())

    def _detached(self) -> socket.socket:
        stage, self._stage = self._stage, None
        assert stage is not None
        return stage.detach()

    # -- from the proof to the first command

    def _proceed(self, outcome: login.Outcome) -> None:
        self._state = _PROVING
        if outcome is login.Outcome.DOUBT:
            self._await(self._ask_again)
        elif outcome is login.Outcome.PROVED:
            self._open()

    async def _ask_again(self) -> None:
        assert self._proof is not None
        self._proceed(await self._proof.ask_again())

    def _open(self) -> None:
        """A connection in the client's name, so that the servers have the last word; at once if the pool has one."""
        proof = self._proof
        assert proof is not None
        assert proof.login is not None
        self._state = _AWAITING
        self._session = session = Session(self.service, self.client, self._number, proof.login, proof.charset)
        pool = first_pool(session)
        backend = pool.take(proof.login) if pool is not None else None
        if pool is None or backend is None:
            self._await(partial(self._open_slowly, session))
            return
        self._relogin = Relogin(pool, backend, proof.login, self._reopened)
        self._relogin.start(self.service.deadlines, self.service.config.connect_timeout)

    def _reopened(self, relogin: Relogin) -> None:
        self._relogin = None
        self._guarded(partial(self._join, relogin.taken))

    def _join(self, backend: Backend | None) -> None:
        session = self._session
        assert session is not None
        if backend is not None:
            with suppress(ServerLost):
                join(session, backend)
                self._succeed(session)
                return
        self._await(partial(self._open_slowly, session))

    async def _open_slowly(self, session: Session) -> None:
        await login.open_first(session)
        self._succeed(session)

    def _succeed(self, session: Session) -> None:
        login.check_room(self.service)  # others may have come in since the greeting
        self._end()
        self.client.begin(session)

    # -- waiting, and ends

    def _await(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have a task do what must be awaited; what the client sends meanwhile is kept."""
        self._state = _AWAITING
        self._task = asyncio.get_running_loop().create_task(self._work(work))

    async def _work(self, work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.current_task()
        try:
            await work()
        except Exception as error:
            self._failed(error)
        finally:
            if self._task is task:
                self._task = None
        if self._state < _AWAITING:
            self.arrived()

    def _lost(self, why: str) -> None:
        if self._state != _OVER:
            self.service.stats.client_errors += 1
            log.debug("client %s: connection lost during login: %s", self.client.host, why)
            self.give_up()

    def _refuse(self, error: SqlproxyError) -> None:
        """Tell the client why it may not log in, and close."""
        if self._state == _OVER:
            return
        service, client = self.service, self.client
        if isinstance(error, ProtocolError):
            service.stats.client_errors += 1
        else:
            service.stats.logins_failed += 1
        log.info("client %s: login refused: %s", client.host, error.message)
        if self._state == _NEW:
            # in place of the greeting there is no SQLSTATE: the client could not tell it from text
            client.write(codec.packet(0, b"\xff" + error.code.to_bytes(2, "little") + error.message.encode()[:512]))
        else:
            client.send_packet(err_packet(error.code, error.sqlstate, error.message))
        self._end()
        if self._session is not None:
            self._session.close()
        client.close()

    def _end(self) -> None:
        """It is over, one way or the other: nobody waits any more."""
        self._state = _OVER
        self._entries.discard(self)
        self.service.deadlines.discard(self)
        relogin, self._relogin = self._relogin, None
        if relogin is not None:
            relogin.give_up()
        task, self._task = self._task, None
        if task is None or task is asyncio.current_task():
            close_quietly(self._bare)
        else:  # which may have given the socket to the loop
            task.add_done_callback(lambda _: close_quietly(self._bare))
            task.cancel()


def _shown(tls: ssl.SSLObject) -> Shown:
    """What a client has shown in its TLS handshake."""
    cipher = tls.cipher()
    return Shown(cipher[0] if cipher else "", tls.getpeercert(binary_form=True) or b"")
