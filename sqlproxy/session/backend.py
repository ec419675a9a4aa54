"""A connection to a server that belongs to one session: commands out, replies in.

On the data path ``send`` writes a command and ``data_received`` follows the reply with a ResponseTracker and hands each
chunk to the session. Slow paths ``await call(...)``, which collects the whole reply instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from sqlproxy.errors import ServerError, ServerLost, ServerProtocolError
from sqlproxy.session.attach import movable_socket
from sqlproxy.session.compressed import CompressedTransport
from sqlproxy.session.ports import Receiver, Writer
from sqlproxy.session.prepared import BackendStatement
from sqlproxy.session.sockets import has_unconfirmed, is_unheard
from sqlproxy.session.stats import ServerStats
from sqlproxy.wire import codec
from sqlproxy.wire.attributes import NONE, with_block
from sqlproxy.wire.checksum import Checksum
from sqlproxy.wire.compression import Algorithm
from sqlproxy.wire.constants import (
    COM_PING,
    COM_QUERY,
    COM_QUIT,
    COM_RESET_CONNECTION,
    COM_STMT_CLOSE,
    HEADER,
    SERVER_STATUS_AUTOCOMMIT,
)
from sqlproxy.wire.definitions import Definitions
from sqlproxy.wire.framing import payload_of
from sqlproxy.wire.packets import parse_err
from sqlproxy.wire.response import QUERY, SINGLE, ResponseTracker
from sqlproxy.wire.session_track import without_report

TRACK = b"SET SESSION session_track_state_change=ON"
_BUFFER_HIGH = 256 * 1024  # bytes waiting for a slow reader before the other side is paused


class Owner:
    """What a backend tells its session; a class rather than a Protocol, for compiled calls."""

    def on_reply(self, backend: Backend, chunk: bytes, done: bool) -> None:
        """A chunk of the reply, and whether it is the last."""
        raise NotImplementedError

    def on_lost(self, backend: Backend, reason: str) -> None:
        """The connection is gone; ``reason`` is a clause such as "connection reset"."""
        raise NotImplementedError

    def asks_for_reports(self) -> bool:
        """The client says by the statement at hand whether it is told that session state has changed."""
        return False

    def on_backend_full(self) -> None:
        """More was written than the server reads."""
        raise NotImplementedError

    def on_backend_drained(self) -> None:
        """The server has read what was written."""
        raise NotImplementedError


class Backend(Receiver):
    """An authenticated connection, and the protocol of its transport: an asyncio.Protocol in all but name, so that it
    can be compiled. ``applied``: history number up to which it is current; ``synced``: how many of the session's
    writes its server is known to have applied; ``deaf``: it was reset, after which MariaDB ignores wsrep_sync_wait
    (THD::init clears wsrep_client_thread, which only a new connection sets)."""

    def __init__(self, server: str, stats: ServerStats, deprecate_eof: bool) -> None:
        self.server = server
        self.stats = stats
        self.tracker = ResponseTracker(deprecate_eof)
        self.tracker.status = SERVER_STATUS_AUTOCOMMIT  # until the first reply says otherwise
        self.owner: Owner | None = None
        self.thread_id = 0
        self.capabilities = 0  # agreed with the server
        self.secure = False  # TLS or a unix socket: passwords may pass in clear
        self.plugin = ""  # and scramble of its greeting, for logging in again
        self.scramble = b""
        self.repeats_scramble = False  # it asks for an answer to the same one at a change of user
        self.applied = 0
        self.synced = 0
        self.deaf = False
        self.idle = (0, 0.0)  # replies awaited so far, and since when (loop time) there was no further one
        self.statements: dict[int, BackendStatement] = {}
        self.closed = False
        self.unread = False  # it broke before its server had read the newest command whole
        self.reason = ""  # why it was given up
        self.filters = False  # reports of changed session state are more than the client shall see
        self.only_state_change = False  # of these, leave out only what the client did not ask for
        self.attributed = False  # its COM_QUERYs begin with query attributes
        self.fill: Definitions | None = None  # for the reply that comes next
        self._kept = b""  # the beginning of a packet that may have to be filtered
        self._transport: asyncio.Transport | None = None
        self._direct: Writer | None = None  # the transport, when it is one that needs no lookup
        self._collected: list[bytes] | None = None  # a reply being collected by ``call``
        self._discards = False  # only the reply's checksum is wanted
        self._waiter: asyncio.Future[bytes] | None = None
        self._packets: asyncio.Queue[bytes | None] | None = asyncio.Queue()  # of a login that awaits them
        self._on_packet: Callable[[bytes | None], None] | None = self._packets.put_nowait  # only while logging in
        self._login_buffer = b""
        self._starting = True  # the login, or an answer that nobody awaits, is not over
        self._prelude: ResponseTracker | None = None

    # -- the data path

    def send(self, command: bytes, kind: int) -> None:
        """Write a whole command (headers included); its reply goes to the owner."""
        self.tracker.begin(kind)
        self.stats.operations += 1
        self.stats.bytes_sent += len(command)
        self._write(command)

    def data_received(self, chunk: bytes) -> None:
        self.stats.bytes_received += len(chunk)
        if self._starting:
            chunk = self._start(chunk)
            if not chunk:
                return
        tracker = self.tracker
        if tracker.done:
            self._unsolicited(chunk)
            return
        try:
            end = tracker.feed(chunk)
        except ServerProtocolError as error:
            self.abort(error.message)
            return
        extra = b""
        if end >= 0:
            self.stats.operations -= 1
            if tracker.error:
                self.stats.errors += 1
            if end < len(chunk):
                chunk, extra = chunk[:end], chunk[end:]
        if self.filters and (tracker.special or self._kept):
            try:
                chunk = self._filtered(chunk)
            except ServerProtocolError as error:
                self.abort(error.message)
                return
            if not chunk and end < 0:
                return
        if self.fill is not None:
            chunk = self._filled(self.fill, chunk, end >= 0)
        if self._collected is not None:
            self._collect(chunk, end >= 0)
        elif self.owner is not None:
            self.owner.on_reply(self, chunk, end >= 0)
        if extra and not self.closed:
            self._unsolicited(extra)

    def _filtered(self, chunk: bytes) -> bytes:
        """The part of a reply that can be passed on now, its packets without reports."""
        tracker = self.tracker
        whole = self._kept + chunk
        ready = len(whole) - tracker.carried
        self._kept = whole[ready:]
        if not tracker.marks or (self.only_state_change and self.owner is not None and self.owner.asks_for_reports()):
            return whole[:ready]
        return without_report(whole[:ready], tracker.marks, only_state_change=self.only_state_change)

    def _filled(self, fill: Definitions, chunk: bytes, done: bool) -> bytes:
        """A chunk of a reply with the definitions that the client does not know."""
        chunk = fill.feed(chunk)
        if done:
            self.fill = None
            if fill.used:
                self.tracker.described = True
                self.tracker.definitions = fill.payloads
        return chunk

    def write(self, data: bytes) -> None:
        """Write bytes that have no reply of their own: an uploaded file, a closed statement, long data."""
        self.stats.bytes_sent += len(data)
        self._write(data)

    def _write(self, data: bytes) -> None:
        if self._direct is not None:
            self._direct.write(data)
        elif self._transport is not None:
            self._transport.write(data)

    # -- slow paths

    async def call(self, payload: bytes, kind: int, timeout: float, block: bytes = NONE) -> bytes:
        """Run a command and collect its reply, headers included; ``block``: the query attributes of a COM_QUERY.

        Raises ServerError when the reply is (or ends in) an ERR packet, ServerLost when the connection breaks or
        the reply takes longer than ``timeout`` seconds.
        """
        self._expect_reply()
        self.send(self._framed(payload, block), kind)
        reply = await self._whole_reply(timeout)
        if self.tracker.error:
            raise last_error(reply)
        return reply

    def track(self) -> None:
        """Let the server report every change of session state; its answer is awaited by nobody and dropped."""
        if self.tracker.tracking:
            self._ask_ahead(bytes((COM_QUERY,)) + TRACK, QUERY)

    def ping(self) -> None:
        """Show the server that this idle connection is in use; one that has not answered the last time is given up."""
        if self._starting:
            self.abort("no answer to a ping")
        elif not self.closed and self.tracker.done:
            self._ask_ahead(bytes((COM_PING,)), SINGLE)

    def reset_ahead(self) -> None:
        """Let the server give up what the session has left there; its answer is awaited by nobody and dropped."""
        self.statements.clear()
        self.deaf = True
        self._ask_ahead(bytes((COM_RESET_CONNECTION,)), SINGLE)

    @property
    def quiet(self) -> bool:
        """Nothing is under way, so another session may have it."""
        return not (self.closed or self._starting) and self.tracker.done

    def _ask_ahead(self, payload: bytes, kind: int) -> None:
        self._prelude = ResponseTracker(self.tracker.deprecate_eof)
        self._prelude.begin(kind)
        self._starting = True
        self._write(self._framed(payload))

    def _framed(self, payload: bytes, block: bytes = NONE) -> bytes:
        """A whole command of our own."""
        command = codec.packet(0, payload)
        return with_block(command, block) if self.attributed and payload[0] == COM_QUERY else command

    def _start(self, chunk: bytes) -> bytes:
        """Take what belongs to the login or to an answer that nobody awaits; what follows that is returned."""
        prelude = self._prelude
        if prelude is None:
            self._login_data(chunk)
            return b""
        try:
            end = prelude.feed(chunk)
        except ServerProtocolError as error:
            self.abort(error.message)
            return b""
        if end < 0:
            return b""
        self._prelude = None
        self._starting = False
        return chunk[end:]

    async def repeat(self, packet: bytes, kind: int, timeout: float, counts: int) -> bytes:
        """Run a whole command again and give the checksum of its reply; an ERR packet is a reply like any other.

        Raises ServerLost as ``call``.
        """
        self._expect_reply()
        self._discards = True
        self.send(packet, kind)
        checksum = Checksum()
        self.tracker.checksum, self.tracker.counts = checksum, counts
        try:
            await self._whole_reply(timeout)
        finally:
            self._discards = False
        return checksum.digest()

    def _expect_reply(self) -> None:
        """The next reply is collected instead of going to the owner. Raises ServerLost on a closed connection."""
        self._check_alive()
        self._collected = []
        self._waiter = asyncio.get_running_loop().create_future()

    async def _whole_reply(self, timeout: float) -> bytes:
        """The reply expected, b"" when it is discarded; giving it up closes the connection."""
        assert self._waiter is not None
        try:
            async with asyncio.timeout(timeout):
                reply = await self._waiter
        except TimeoutError:
            self.abort(f"no answer within {timeout:g}s")
            raise ServerLost(f"server {self.server}: {self.reason}") from None
        except asyncio.CancelledError:
            self.abort("a command was given up before its reply")
            raise
        finally:
            self._collected = self._waiter = None
        self._check_alive()
        return reply

    def _check_alive(self) -> None:
        """A reply may have come, and the connection broken, before whoever waited for it goes on."""
        if self.closed:
            raise ServerLost(f"server {self.server}: {self.reason}")

    def _collect(self, chunk: bytes, done: bool) -> None:
        assert self._collected is not None
        if not self._discards:
            self._collected.append(chunk)
        if done and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(b"".join(self._collected))

    def close_statement(self, number: int) -> None:
        """Forget a statement of the client here and on the server."""
        known = self.statements.pop(number, None)
        if known is not None and not self.closed:
            self.write(codec.packet(0, bytes((COM_STMT_CLOSE,)) + known.number.to_bytes(4, "little")))

    # -- login

    def compress(self, algorithm: Algorithm) -> None:
        """From now on everything is sent and received in compressed frames."""
        assert self._transport is not None
        self._use(
            CompressedTransport(
                self._transport, self, algorithm, lambda error: self.abort(error.message), serving=False
            )
        )

    async def read_packet(self) -> bytes:
        """The next payload while logging in. Raises ServerLost at the end of the stream."""
        assert self._packets is not None
        payload = await self._packets.get()
        if payload is None:
            raise ServerLost(f"server {self.server} closed the connection during login")
        return payload

    def logged_in(self) -> None:
        """From now on commands and replies flow. Raises ServerLost when the connection has broken meanwhile."""
        self._check_alive()
        self._packets = self._on_packet = None
        self._starting = False
        self.stats.connections += 1
        self.stats.connections_total += 1

    def log_in_again(self, on_packet: Callable[[bytes | None], None]) -> None:
        """A change of user follows: ``on_packet`` gets the packets until ``logged_in``, None at their end."""
        self._on_packet = on_packet
        self._starting = True
        self.applied = self.synced = 0
        self.deaf = True
        self.statements.clear()
        self.stats.connections -= 1
        self.stats.connections_total -= 1

    def _login_data(self, chunk: bytes) -> None:
        buffer = self._login_buffer + chunk
        while len(buffer) >= HEADER and self._on_packet is not None:
            end = HEADER + int.from_bytes(buffer[:3], "little")
            if len(buffer) < end:
                break
            payload, buffer = buffer[HEADER:end], buffer[end:]
            self._on_packet(payload)
        self._login_buffer = buffer if self._on_packet is not None else b""
        if buffer and self._on_packet is None and not self.closed:
            self._unsolicited(buffer)

    @property
    def connected(self) -> bool:
        """A transport owns the socket."""
        return self._transport is not None

    # -- between processes

    def obstacle(self) -> str:
        """Why no other process can go on with this connection now; "" when one can."""
        if not self.quiet or self._kept or self._collected is not None:
            return "busy"
        return "" if self.plain_socket is not None else "TLS or compression to a server"

    @property
    def plain_socket(self) -> Any:
        """Its socket; see ``movable_socket``."""
        return movable_socket(self._transport)

    @property
    def is_unheard(self) -> bool:
        """Something on the way has forgotten it: see ``sockets.is_unheard``."""
        return self._transport is not None and is_unheard(self._transport.get_extra_info("socket"))

    def let_go(self) -> None:
        """Another process has it; this one's part of the socket is closed without a word."""
        self.owner = None
        self.reason = "another process has it"
        if self._transport is not None:
            self._transport.abort()
        self._lost()

    def take_over(self) -> None:
        """Go on with a connection that another process had; the socket follows."""
        self._packets = self._on_packet = None
        self._starting = False
        self.stats.connections += 1

    # -- ends

    def _unsolicited(self, chunk: bytes) -> None:
        """A server speaks unasked only to say that it ends the connection (1053, 1927, wait_timeout)."""
        error = parse_err(payload_of(chunk)) if len(chunk) > HEADER and chunk[HEADER] == 0xFF else None
        self.abort(error.message if error else "the server sent bytes that belong to no command")

    def abort(self, reason: str) -> None:
        """Give the connection up at once and tell the owner why."""
        if self.closed:
            return
        self.reason = reason
        if self._transport is not None:
            self._transport.abort()
        self._lost()

    def close(self) -> None:
        """End the connection in good order; the owner is not told."""
        self.owner = None
        if self.closed or self._transport is None:
            return
        if self.tracker.done:
            self._write(codec.packet(0, bytes((COM_QUIT,))))
            self._transport.close()
        else:
            self._transport.abort()
        self.reason = "closed"
        self._lost()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._use(cast(asyncio.Transport, transport))
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=_BUFFER_HIGH)

    def _use(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._direct = transport if isinstance(transport, Writer) else None

    def eof_received(self) -> None:
        """The server has ended the connection, which nothing may be sent on any more; the transport closes itself."""
        if self._transport is not None and not self.closed:
            sock = self._transport.get_extra_info("socket")
            self.unread = self._transport.get_write_buffer_size() > 0 or has_unconfirmed(sock)
            self.reason = "the server closed the connection"
            self._lost()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed:
            self.unread = isinstance(exc, BrokenPipeError)
            self.reason = f"connection lost: {exc}" if exc else "the server closed the connection"
            self._lost()

    def _lost(self) -> None:
        self.closed = True
        if self._on_packet is not None:
            self._on_packet(None)
            return
        self.stats.connections -= 1
        if not self.tracker.done:
            self.stats.operations -= 1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ServerLost(f"server {self.server}: {self.reason}"))
        if self.owner is not None:
            self.stats.losses += 1
            self.owner.on_lost(self, self.reason)

    # -- flow control

    def pause_reading(self) -> None:
        """The client does not keep up."""
        if self._transport is not None and not self.closed:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """The client keeps up again."""
        if self._transport is not None and not self.closed:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        if self.owner is not None:
            self.owner.on_backend_full()

    def resume_writing(self) -> None:
        if self.owner is not None:
            self.owner.on_backend_drained()


def last_error(reply: bytes) -> ServerError:
    """The ERR packet a collected reply ends in."""
    pos = 0
    payload = b""
    while pos + HEADER <= len(reply):
        length = int.from_bytes(reply[pos : pos + 3], "little")
        payload = reply[pos + HEADER : pos + HEADER + length]
        pos += HEADER + length
    return parse_err(payload) or ServerError("the server reported an error without saying which")
