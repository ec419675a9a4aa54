"""The door of a simulated node: the proxy's own handshake in front of mysql-mimic.

mysql-mimic by itself lets a failed login into the command phase and hangs on a user name without NUL. So none of its
login code runs: nothing but ``login`` turns a connection into a session, and it raises unless the password was proved.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping

from sqlproxy.door import Packets
from sqlproxy.errors import AccessDenied
from sqlproxy.wire import native_password
from sqlproxy.wire.auth import Kind, Method
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
LOGIN_SECONDS = 10.0


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
