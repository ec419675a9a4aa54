"""A client's connection: commands in and replies out.

Until a login is decided its bytes are kept for ``session.entry``, packet by packet. Afterwards ``data_received`` hands
whole commands to the session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from sqlproxy.accounts.certificate import NOTHING
from sqlproxy.errors import PacketTooLarge, ProtocolError, SqlproxyError
from sqlproxy.session import login
from sqlproxy.session.attach import movable_socket
from sqlproxy.session.compressed import CompressedTransport
from sqlproxy.session.ports import Receiver, Writer
from sqlproxy.session.skipping import Skipping
from sqlproxy.wire import codec
from sqlproxy.wire.compression import chosen
from sqlproxy.wire.constants import ER_SERVER_SHUTDOWN, HEADER, MAX_PAYLOAD, NATIVE
from sqlproxy.wire.framing import ER_NET_PACKETS_OUT_OF_ORDER, PacketReader
from sqlproxy.wire.packets import err_packet, ok_packet

if TYPE_CHECKING:
    from sqlproxy.session.service import Service
    from sqlproxy.session.session import Session

log = logging.getLogger("sqlproxy.client")

LOGIN_PACKET_LIMIT: Final = 1 << 17  # user, database and connection attributes need 64 KiB and a little
_BUFFER_HIGH: Final = 256 * 1024  # bytes waiting for a slow client before its backend is paused
_BACKLOG_HIGH: Final = 64 * 1024  # bytes of further commands held while one runs


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
        self.shown = NOTHING  # by TLS
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
        self._reader = PacketReader(LOGIN_PACKET_LIMIT)
        self._arrived: Callable[[], None] | None = None  # while logging in: more has come, or nothing more will
        self.login_buffer = bytearray()
        self._backlog = bytearray()  # what came while a command ran
        self._pumping = False
        self._paused: set[str] = set()
        self._full = False  # the client does not read: it gets no more work done until it does

    # -- between processes

    def obstacle(self, why: str) -> str:
        """Why no other process can go on with this connection now, "" when one can; ``why`` it may be paused."""
        if self.tls or isinstance(self._transport, CompressedTransport):
            return "TLS" if self.tls else "compression"
        transport = self._transport
        if self.closing or self._arrived is not None or transport is None or self._paused - {why} or self._full:
            return "busy"
        return (
            "" if transport.get_protocol() is cast(object, self) and movable_socket(transport) is not None else "busy"
        )

    @property
    def plain_socket(self) -> Any:
        """Its socket; see ``movable_socket``."""
        return movable_socket(self._transport)

    @property
    def buffered(self) -> int:
        """Bytes of commands that have not come whole, or were not begun."""
        return self._reader.buffered + len(self._backlog)

    @property
    def pending(self) -> bytes:
        """These bytes."""
        return self._reader.pending + bytes(self._backlog)

    def let_go(self) -> None:
        """Another process has it; this one's part of the socket is closed without a word."""
        session, self.session = self.session, None
        if session is not None and self.service.registry.sessions.pop(session.number, None) is not None:
            self.service.stats.sessions -= 1
        self.abort()

    def take_over(self, session: Session) -> None:
        """Go on with a session that another process had; the socket follows."""
        self.session = session
        self.service.registry.sessions[session.number] = session
        self.service.stats.sessions += 1
        self._reader.limit = self.service.config.max_allowed_packet

    # -- login

    def await_login(self, arrived: Callable[[], None]) -> None:
        """Until the session begins, what comes is kept; ``arrived`` is called for more of it, and for the end."""
        self._arrived = arrived

    def agree(self, capabilities: int, zstd_level: int) -> None:
        """What both sides can do."""
        self.capabilities = capabilities
        self._zstd_level = zstd_level

    async def read_packet(self) -> bytes:
        """The next payload of a change of user. Raises EOFError at the end of the stream."""
        while (payload := self.login_packet()) is None:
            if self.closing:
                raise EOFError("closed during login")
            arrived = asyncio.Event()
            self._arrived = arrived.set
            await arrived.wait()
        return payload

    def login_packet(self) -> bytes | None:
        """The next payload of the login if it has come whole; what comes after it may be a command already.

        Raises EOFError for one that is too long.
        """
        buffer = self.login_buffer
        length = int.from_bytes(buffer[:3], "little")
        if len(buffer) < HEADER or len(buffer) < HEADER + length <= HEADER + LOGIN_PACKET_LIMIT:
            return None
        if length > LOGIN_PACKET_LIMIT:
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

    def begin(self, session: Session) -> None:
        """The login has succeeded."""
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
        early = bytes(self.login_buffer)
        self.login_buffer.clear()
        self._end_of_login()
        if early:
            compressed.data_received(early)

    def _end_of_login(self) -> None:
        self._arrived = None
        self._backlog += self.login_buffer
        self.login_buffer.clear()
        self.resume_reading("login")
        self.next_command()

    async def change_user(self, payload: bytes) -> None:
        """COM_CHANGE_USER: authenticate anew, then begin the session anew.

        When it is refused, MySQL ends the connection; MariaDB goes on in the name of before, with a new session.
        """
        session = self.session
        assert session is not None
        self._arrived = _keep
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
        buffer = self.login_buffer
        buffer += chunk
        if len(buffer) > 2 * LOGIN_PACKET_LIMIT:
            self.pause_reading("login")
        if self._arrived is not None:
            self._arrived()

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
            self._arrived()
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


def _keep() -> None:
    """Somebody is going to ask for what has come."""


def _reply_seq(command: bytes) -> int:
    """The sequence id that follows the last packet of a command."""
    return (len(command) // (HEADER + MAX_PAYLOAD) + 1) & 0xFF
