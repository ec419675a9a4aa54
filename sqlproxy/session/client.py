"""A client's connection: greeting, TLS, login, then commands in and replies out.

Until a login is decided its bytes are read packet by packet, the first one straight from the socket so that TLS can
begin at any byte. Afterwards ``data_received`` hands whole commands to the session.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from sqlproxy.errors import NoServerAvailable, PacketTooLarge, ProtocolError, SqlproxyError
from sqlproxy.session import login
from sqlproxy.session.attach import attach
from sqlproxy.session.compressed import CompressedTransport
from sqlproxy.session.ports import Receiver, Writer
from sqlproxy.session.skipping import Skipping
from sqlproxy.session.sockets import close_quietly, read_exactly, send
from sqlproxy.wire import codec, proxy_protocol
from sqlproxy.wire.compression import COMPRESSION, chosen
from sqlproxy.wire.constants import (
    CACHING_SHA2,
    CLIENT_SSL,
    ER_SECURE_TRANSPORT_REQUIRED,
    ER_SERVER_SHUTDOWN,
    HEADER,
    MAX_PAYLOAD,
    NATIVE,
)
from sqlproxy.wire.framing import ER_NET_PACKETS_OUT_OF_ORDER, PacketReader
from sqlproxy.wire.handshake import Greeting, HandshakeResponse, is_ssl_request, new_scramble, split
from sqlproxy.wire.packets import err_packet, ok_packet

if TYPE_CHECKING:
    from sqlproxy.session.service import Service
    from sqlproxy.session.session import Session

log = logging.getLogger("sqlproxy.client")

_LOGIN_PACKET_LIMIT: Final = 1 << 17  # user, database and connection attributes need 64 KiB and a little
_BUFFER_HIGH: Final = 256 * 1024  # bytes waiting for a slow client before its backend is paused
_GOODBYE: Final = 0.5  # seconds a client gets to answer the end of TLS: an idle one never does
_BACKLOG_HIGH: Final = 64 * 1024  # bytes of further commands held while one runs


async def serve(service: Service, sock: socket.socket, address: str) -> None:
    """Log a new client in and let its session begin; errors are answered, counted and logged, never raised.

    ``address`` is the client's IP address, "" on a unix socket.
    """
    client = Client(service, address)
    try:
        async with asyncio.timeout(service.config.login_timeout):
            await client.log_in(sock)
    except TimeoutError:
        service.stats.client_errors += 1
        log.info("client %s: no login within %gs", client.host, service.config.login_timeout)
        client.abort()
    except SqlproxyError as error:
        _refuse(service, client, error)
        await client.refuse(sock, error)
    except (OSError, EOFError) as error:
        service.stats.client_errors += 1
        log.debug("client %s: connection lost during login: %s", client.host, error)
        client.abort()
    except Exception:
        log.exception("client %s: internal error during login", client.host)
        client.abort()
    finally:
        if not client.connected:
            close_quietly(sock)


def _refuse(service: Service, client: Client, error: SqlproxyError) -> None:
    if isinstance(error, ProtocolError):
        service.stats.client_errors += 1
    else:
        service.stats.logins_failed += 1
    log.info("client %s: login refused: %s", client.host, error.message)


class Client(Receiver):
    """One client, the protocol of its transport: an asyncio.Protocol in all but name, so that it can be compiled.

    ``host`` is its address for people ("localhost" on a unix socket).
    """

    def __init__(self, service: Service, address: str) -> None:
        self.service = service
        self.address = address
        self.host = address or "localhost"
        self.port = 0  # on its own host, for servers that want to know; 0: not known
        self.secure = not address  # TLS or a unix socket: passwords may pass in clear
        self.tls = False
        self.closing = False
        self.capabilities = 0
        self.scramble = b""
        self.plugin = NATIVE  # named by our greeting
        self.session: Session | None = None
        self._zstd_level = 0  # of compression, as the client wishes
        self.failed_changes = 0  # of its user
        self._seq = 0  # of the newest packet while logging in
        self._transport: asyncio.Transport | None = None
        self._direct: Writer | None = None  # the transport, when it is one that needs no lookup
        self._reader = PacketReader(_LOGIN_PACKET_LIMIT)
        self._arrived: asyncio.Event | None = None  # while logging in: more has come, or nothing more will
        self._login_buffer = bytearray()
        self._backlog = bytearray()  # what came while a command ran
        self._pumping = False
        self._paused: set[str] = set()
        self._full = False  # the client does not read: it gets no more work done until it does

    @property
    def connected(self) -> bool:
        """A transport owns the socket."""
        return self._transport is not None

    # -- login

    async def log_in(self, sock: socket.socket) -> None:
        """From the greeting to the OK packet. Raises SqlproxyError with what the client shall read."""
        service = self.service
        loop = asyncio.get_running_loop()
        protocol = cast(asyncio.Protocol, self)
        number = service.registry.next_id()
        balanced = login.may_announce(service, self.address)
        if not balanced:
            login.check_admission(service, self.address)
        greeting = self._greeting(number)
        await send(sock, codec.packet(0, greeting.encode()))
        self._arrived = asyncio.Event()
        payload = await self._first_packet(sock, await self._announced(sock, balanced))
        if balanced:
            login.check_admission(service, self.address)
        if is_ssl_request(payload):
            if service.tls is None:
                raise ProtocolError("the client asks for TLS, which this service does not offer")
            await loop.connect_accepted_socket(lambda: protocol, sock, ssl=service.tls, ssl_shutdown_timeout=_GOODBYE)
            self.secure = self.tls = True
            payload = await self.read_packet()
        else:
            await attach(sock, protocol)
        response = HandshakeResponse.parse(payload)
        if service.config.tls.mode == "required" and not self.secure:
            raise SqlproxyError(
                "Connections using insecure transport are prohibited: this service requires TLS",
                code=ER_SECURE_TRANSPORT_REQUIRED,
            )
        self.capabilities = response.all_capabilities & greeting.all_capabilities
        self._zstd_level = response.zstd_level
        session = await login.begin_session(self, response, number)
        if self.closing:
            session.close()
            raise EOFError("closed during login")
        self._begin(session)

    def _greeting(self, number: int) -> Greeting:
        version, capabilities, collation = self.service.offer()
        if not version:
            raise NoServerAvailable("No server has been reached yet, so there is nothing to log in to")
        if self.service.tls is not None:
            capabilities |= CLIENT_SSL
        for name in self.service.config.compression:
            capabilities |= COMPRESSION[name]
        self.scramble = new_scramble()
        self.plugin = NATIVE if b"mariadb" in version.lower() else CACHING_SHA2
        low, high = split(capabilities)
        return Greeting(version, number, self.scramble, low, high, collation, auth_plugin=self.plugin)

    async def _announced(self, sock: socket.socket, allowed: bool) -> bytes:
        """Take in a PROXY protocol header, if there is one; the first bytes after it."""
        start = await self._read(sock, HEADER)
        with suppress(OSError, TypeError, IndexError):  # a unix socket's peer has no port
            self.port = sock.getpeername()[1]
        if not proxy_protocol.is_header(start):
            return start
        while wanted := proxy_protocol.missing(start):
            start += await self._read(sock, wanted)
        client = proxy_protocol.parse(start)
        if not allowed:
            # a login left unread would cost the client the reason
            await self._first_packet(sock, await self._read(sock, HEADER))
            raise ProtocolError(
                f"a PROXY protocol header came from {self.host}, which proxy_protocol_networks does not list"
            )
        if client.address:
            self.address = self.host = client.address
            self.port = client.port
            self.secure = False
        return await self._read(sock, HEADER)

    async def _read(self, sock: socket.socket, size: int) -> bytes:
        data = await read_exactly(sock, size)
        if data is None:
            raise EOFError("closed before login")
        return data

    async def _first_packet(self, sock: socket.socket, header: bytes) -> bytes:
        length = int.from_bytes(header[:3], "little")
        if length > _LOGIN_PACKET_LIMIT:
            raise ProtocolError(f"malformed packet: a login of {length} bytes")
        self._seq = header[3]
        payload = await read_exactly(sock, length)
        if payload is None:
            raise EOFError("closed during login")
        return payload

    async def read_packet(self) -> bytes:
        """The next payload while logging in. Raises EOFError at the end of the stream."""
        assert self._arrived is not None
        while (payload := self._login_packet()) is None:
            if self.closing:
                raise EOFError("closed during login")
            self._arrived.clear()
            await self._arrived.wait()
        return payload

    def _login_packet(self) -> bytes | None:
        """The next payload of the login if it has come whole; what comes after it may be a command already."""
        buffer = self._login_buffer
        length = int.from_bytes(buffer[:3], "little")
        if len(buffer) < HEADER or len(buffer) < HEADER + length <= HEADER + _LOGIN_PACKET_LIMIT:
            return None
        if length > _LOGIN_PACKET_LIMIT:
            raise EOFError(f"a packet of {length} bytes during login")
        self._seq = buffer[3]
        payload = bytes(buffer[HEADER : HEADER + length])
        del buffer[: HEADER + length]
        self.resume_reading("login")
        return payload

    def send_packet(self, payload: bytes) -> None:
        """The next packet of the login."""
        self._seq = (self._seq + 1) & 0xFF
        self.write(codec.packet(self._seq, payload))

    def _begin(self, session: Session) -> None:
        self.session = session
        self.service.registry.sessions[session.number] = session
        self.service.stats.sessions += 1
        self.service.stats.sessions_total += 1
        self._reader.limit = self.service.config.max_allowed_packet
        self.send_packet(ok_packet(session.state.status))
        algorithm = chosen(self.capabilities, self._zstd_level)
        if algorithm is None or self._transport is None:
            self._end_of_login()
            return
        compressed = CompressedTransport(self._transport, self, algorithm, self._protocol_error, serving=True)
        self._use(compressed)
        early = bytes(self._login_buffer)
        self._login_buffer.clear()
        self._end_of_login()
        if early:
            compressed.data_received(early)

    def _end_of_login(self) -> None:
        self._arrived = None
        self._backlog += self._login_buffer
        self._login_buffer.clear()
        self.resume_reading("login")
        self.next_command()

    async def change_user(self, payload: bytes) -> None:
        """COM_CHANGE_USER: authenticate anew, then begin the session anew.

        When it is refused, MySQL ends the connection; MariaDB goes on in the name of before, with a new session.
        """
        session = self.session
        assert session is not None
        self._arrived = asyncio.Event()
        self._seq = 0
        before = replace(session.login, database=session.state.database)
        try:
            async with asyncio.timeout(self.service.config.login_timeout):
                await login.change_user(self, session, payload)
        except asyncio.CancelledError:
            self.close()  # killed half way between two users
            raise
        except (SqlproxyError, TimeoutError, EOFError) as error:
            message = error if isinstance(error, SqlproxyError) else SqlproxyError("login timed out")
            self.send_packet(err_packet(message.code, message.sqlstate, message.message))
            self.service.stats.logins_failed += 1
            if message is not error or self.plugin != NATIVE or self.closing:
                self.close()
                return
            self.failed_changes += 1
            login.restore(session, before)
        else:
            self.send_packet(ok_packet(session.state.status))
        session.idle()
        self._end_of_login()

    async def refuse(self, sock: socket.socket, error: SqlproxyError) -> None:
        """Tell a client why it may not log in, and close."""
        packet = codec.packet(self._seq + 1, err_packet(error.code, error.sqlstate, error.message))
        if self._arrived is None:
            # in place of the greeting there is no SQLSTATE: the client could not tell it from text
            packet = codec.packet(0, b"\xff" + error.code.to_bytes(2, "little") + error.message.encode()[:512])
        if self._transport is not None:
            self.write(packet)
            self.close()
            return
        try:
            async with asyncio.timeout(1.0):
                await asyncio.get_running_loop().sock_sendall(sock, packet)
        except (OSError, TimeoutError):
            return

    # -- commands

    def data_received(self, chunk: bytes) -> None:
        session = self.session
        if self._arrived is not None or session is None:
            self._login_data(chunk)
        elif session.uploading is not None:
            session.upload(chunk)
        elif session.busy or self._full or self._backlog or self._reader.held:
            self._backlog += chunk
            if session.busy or self._full:
                if len(self._backlog) > _BACKLOG_HIGH:
                    self.pause_reading("backlog")
            else:
                self.next_command()
        else:
            try:
                command = self._reader.feed(chunk)
                if command is not None:
                    session.command(command)
                    if self._reader.held:
                        self.next_command()
            except ProtocolError as error:
                self._protocol_error(error)

    def next_command(self) -> None:
        """Go on with what came while a command ran; called when the session is idle."""
        session = self.session
        if self._pumping or session is None:
            return
        if not (self._backlog or self._paused or self._reader.held):
            return  # the ordinary case: nothing came
        self._pumping = True
        try:
            while not session.busy and not self.closing and not self._full:
                command = self._next()
                if command is None:
                    break
                session.command(command)
        except ProtocolError as error:
            self._protocol_error(error)
        finally:
            self._pumping = False
        if not self._backlog:
            self.resume_reading("backlog")

    def _next(self) -> bytes | None:
        """The next whole command; the backlog is cut up only when all before it is done, so that it stays bounded."""
        command = self._reader.next()
        if command is None and self._backlog:
            chunk = bytes(self._backlog)
            self._backlog.clear()
            command = self._reader.feed(chunk)
        return command

    def take_rest(self) -> bytes:
        """What came after the command at hand: the beginning of an uploaded file."""
        rest = self._reader.take_rest() + bytes(self._backlog)
        self._backlog.clear()
        self.resume_reading("backlog")
        return rest

    def put_back(self, chunk: bytes) -> None:
        """What came after an uploaded file: the next command."""
        self._backlog += chunk

    def _protocol_error(self, error: ProtocolError) -> None:
        self.service.stats.client_errors += 1
        log.warning("client %s: %s", self.host, error.message)
        if isinstance(error, PacketTooLarge) and self._transport is not None:
            self._transport.set_protocol(Skipping(self, error, self._reader.take_rest()))
            return
        seq = self._reader.due if error.code == ER_NET_PACKETS_OUT_OF_ORDER else 1
        self.write(codec.packet(seq, err_packet(error.code, error.sqlstate, error.message)))
        self.close()

    def _login_data(self, chunk: bytes) -> None:
        buffer = self._login_buffer
        buffer += chunk
        if len(buffer) > 2 * _LOGIN_PACKET_LIMIT:
            self.pause_reading("login")
        if self._arrived is not None:
            self._arrived.set()

    # -- answers of our own

    def write(self, data: bytes) -> None:
        """Bytes for the client."""
        if self._direct is not None:
            self._direct.write(data)
        elif self._transport is not None:
            self._transport.write(data)

    def send_ok(self, command: bytes, status: int) -> None:
        """OK as the whole answer to a command."""
        self.write(codec.packet(_reply_seq(command), ok_packet(status)))

    def send_error(self, command: bytes, error: SqlproxyError) -> None:
        """ERR as the whole answer to a command."""
        self.write(codec.packet(_reply_seq(command), err_packet(error.code, error.sqlstate, error.message)))

    # -- flow control

    def pause_reading(self, why: str = "server") -> None:
        """Take no more from the client until all who asked for it have called ``resume_reading``."""
        if not self._paused and self._transport is not None and not self.closing:
            self._transport.pause_reading()
        self._paused.add(why)

    def resume_reading(self, why: str = "server") -> None:
        """See ``pause_reading``."""
        if why in self._paused:
            self._paused.discard(why)
            if not self._paused and self._transport is not None and not self.closing:
                self._transport.resume_reading()

    def pause_writing(self) -> None:
        self._full = True
        if self.session is not None:
            self.session.pause_replies()

    def resume_writing(self) -> None:
        self._full = False
        if self.session is not None:
            self.session.resume_replies()
            self.next_command()

    # -- ends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._use(cast(asyncio.Transport, transport))
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=_BUFFER_HIGH)

    def _use(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._direct = transport if isinstance(transport, Writer) else None

    def eof_received(self) -> None:
        """The transport closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        if self._arrived is not None:
            self._arrived.set()
        session = self.session
        if session is not None and self.service.registry.sessions.pop(session.number, None) is not None:
            self.service.stats.sessions -= 1
            session.close()

    def close(self) -> None:
        """End the connection after what was written."""
        self.closing = True
        if self._transport is not None:
            self._transport.close()

    def say_goodbye(self) -> None:
        """End an idle connection at a shutdown: the next statement reads a retryable error, and has not been run."""
        self.write(codec.packet(1, err_packet(ER_SERVER_SHUTDOWN, "08S01", "The proxy shuts down; connect again")))
        self.close()

    def abort(self) -> None:
        """End the connection at once."""
        self.closing = True
        if self._transport is not None:
            self._transport.abort()


def _reply_seq(command: bytes) -> int:
    """The sequence id that follows the last packet of a command."""
    return (len(command) // (HEADER + MAX_PAYLOAD) + 1) & 0xFF
