"""The door of a simulated node: packets with limits, and the proxy's own handshake in front of mysql-mimic.

mysql-mimic by itself lets a failed login into the command phase and hangs on a user name without NUL. So none of its
login code runs: nothing but ``login`` turns a connection into a session, and it raises unless the password was proved.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlproxy.errors import AccessDenied, PacketTooLarge, ProtocolError
from sqlproxy.wire import native_password
from sqlproxy.wire.auth import Kind, Method
from sqlproxy.wire.codec import packet
from sqlproxy.wire.constants import (
    CLIENT_CONNECT_ATTRS,
    CLIENT_CONNECT_WITH_DB,
    CLIENT_DEPRECATE_EOF,
    CLIENT_FOUND_ROWS,
    CLIENT_IGNORE_SPACE,
    CLIENT_INTERACTIVE,
    CLIENT_LONG_FLAG,
    CLIENT_LONG_PASSWORD,
    CLIENT_MULTI_RESULTS,
    CLIENT_PLUGIN_AUTH,
    CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
    CLIENT_PROTOCOL_41,
    CLIENT_PS_MULTI_RESULTS,
    CLIENT_SECURE_CONNECTION,
    CLIENT_TRANSACTIONS,
    MAX_PAYLOAD,
    NATIVE,
    SERVER_STATUS_AUTOCOMMIT,
)
from sqlproxy.wire.handshake import SCRAMBLE_LENGTH, ChangeUser, Greeting, HandshakeResponse
from sqlproxy.wire.server_auth import ServerAuth

CAPABILITIES = (
    CLIENT_LONG_PASSWORD
    | CLIENT_FOUND_ROWS  # UPDATE counts the rows it matched
    | CLIENT_LONG_FLAG
    | CLIENT_CONNECT_WITH_DB
    | CLIENT_PROTOCOL_41
    | CLIENT_INTERACTIVE
    | CLIENT_IGNORE_SPACE
    | CLIENT_TRANSACTIONS
    | CLIENT_SECURE_CONNECTION
    | CLIENT_MULTI_RESULTS
    | CLIENT_PS_MULTI_RESULTS
    | CLIENT_PLUGIN_AUTH
    | CLIENT_CONNECT_ATTRS
    | CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
    | CLIENT_DEPRECATE_EOF
)
LOGIN_PACKET = 64 << 10  # bytes; no client needs more before it is trusted
LOGIN_SECONDS = 10.0


class ConnectionGone(Exception):
    """The client closed the connection, or it broke."""


class Packets:
    """Packets over a stream pair, as mysql-mimic's ``Connection`` expects them of its stream.

    ``limit``: the longest payload accepted, in bytes. mysql-mimic's own class is compiled and cannot be extended.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._seq = 0
        self._buffer = bytearray()
        self.limit = LOGIN_PACKET

    async def read(self) -> bytes:
        """The next payload. Raises ConnectionGone, PacketTooLarge and, for a wrong sequence id, ProtocolError."""
        payload = b""
        while True:
            try:
                header = await self._reader.readexactly(4)
                size = int.from_bytes(header[:3], "little")
                if len(payload) + size > self.limit:
                    raise PacketTooLarge("Got a packet bigger than 'max_allowed_packet' bytes")
                if header[3] != self._seq:
                    raise ProtocolError("Got packets out of order", code=1156, sqlstate="08S01")
                self._seq = (self._seq + 1) & 0xFF
                payload += await self._reader.readexactly(size)
            except (asyncio.IncompleteReadError, OSError):
                raise ConnectionGone from None
            if size < MAX_PAYLOAD:
                return payload

    def put(self, payload: bytes) -> None:
        """Queue a payload; ``drain`` sends it."""
        self._buffer += packet(self._seq, payload)
        self._seq = (self._seq + 1 + len(payload) // MAX_PAYLOAD) & 0xFF

    async def write(self, payload: bytes, drain: bool = True) -> None:
        """Queue a payload and, if asked, send what is queued."""
        self.put(payload)
        if drain or len(self._buffer) > 1 << 16:
            await self.drain()

    def write_many(self, payloads: Sequence[bytes]) -> None:
        """Queue payloads."""
        for payload in payloads:
            self.put(payload)

    async def drain(self) -> None:
        """Send what is queued. Raises ConnectionGone."""
        data, self._buffer = self._buffer, bytearray()
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (OSError, RuntimeError):
            raise ConnectionGone from None

    def reset_seq(self) -> None:
        """The next packet starts a new command."""
        self._seq = 0

    def peer(self) -> str:
        """The client's host as MariaDB names it in ``USER()``."""
        name: Any = self._writer.get_extra_info("peername")
        host = str(name[0]) if isinstance(name, tuple) else "localhost"
        return "localhost" if host in ("127.0.0.1", "::1") else host


async def login(packets: Packets, connection_id: int, version: str, users: Mapping[str, str]) -> HandshakeResponse:
    """Greet a client and make it prove its password; its request. Raises AccessDenied, ProtocolError, ConnectionGone.

    ``users``: name to password. The caller sends the OK packet.
    """
    scramble = _scramble()
    greeting = Greeting(version.encode(), connection_id, scramble, CAPABILITIES, status=SERVER_STATUS_AUTOCOMMIT)
    async with asyncio.timeout(LOGIN_SECONDS):
        await packets.write(greeting.encode())
        request = HandshakeResponse.parse(await packets.read())
        await _prove(packets, request, scramble, users)
    return request


async def change_user(packets: Packets, payload: bytes, capabilities: int, users: Mapping[str, str]) -> ChangeUser:
    """COM_CHANGE_USER, with the same proof as a login; ``payload`` begins with the command byte."""
    request = ChangeUser.parse(payload, capabilities)
    async with asyncio.timeout(LOGIN_SECONDS):
        await _prove(packets, request, _scramble(), users)
    return request


def _scramble() -> bytes:
    """20 random bytes, none of them NUL, which would end a C client's string."""
    return bytes(secrets.randbelow(127) + 1 for _ in range(SCRAMBLE_LENGTH))


async def _prove(
    packets: Packets, request: HandshakeResponse | ChangeUser, scramble: bytes, users: Mapping[str, str]
) -> None:
    name = request.username.decode("utf-8", "replace")
    methods = []
    if name in users:
        methods = [Method(NATIVE, native_password.stored_hash(users[name].encode()).encode())]
    auth = ServerAuth(request, scramble, methods)
    step = auth.start()
    while step.kind in (Kind.SEND, Kind.WAIT):
        if step.kind is Kind.SEND:
            await packets.write(step.payload)
        step = auth.receive(await packets.read())
    if step.kind is not Kind.OK:
        using = "YES" if request.auth_response else "NO"
        raise AccessDenied(f"Access denied for user '{name}'@'{packets.peer()}' (using password: {using})")
