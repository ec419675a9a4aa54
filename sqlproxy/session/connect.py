"""Opens a connection to a server in the name of a client: TCP or unix socket, TLS, login."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlproxy.errors import ServerError, ServerLost, SqlproxyError
from sqlproxy.session.attach import attach
from sqlproxy.session.backend import Backend
from sqlproxy.session.sockets import close_quietly, detect_lost_path, read_exactly
from sqlproxy.session.stats import ServerStats
from sqlproxy.topology.model import Server, ServerTLS
from sqlproxy.wire import codec, proxy_protocol
from sqlproxy.wire.auth import Credentials, Kind
from sqlproxy.wire.client_auth import ClientAuth
from sqlproxy.wire.compression import COMPRESSION, chosen
from sqlproxy.wire.constants import (
    CLIENT_COMPRESS,
    CLIENT_CONNECT_ATTRS,
    CLIENT_CONNECT_WITH_DB,
    CLIENT_DEPRECATE_EOF,
    CLIENT_LONG_PASSWORD,
    CLIENT_PLUGIN_AUTH,
    CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
    CLIENT_PROTOCOL_41,
    CLIENT_QUERY_ATTRIBUTES,
    CLIENT_SECURE_CONNECTION,
    CLIENT_SESSION_TRACK,
    CLIENT_SSL,
    CLIENT_TRANSACTIONS,
    CLIENT_ZSTD_COMPRESSION_ALGORITHM,
    HEADER,
    MARIADB_CLIENT_EXTENDED_METADATA,
    MARIADB_CLIENT_STMT_BULK_OPERATIONS,
    METADATA_MAY_LACK,
)
from sqlproxy.wire.handshake import Greeting, HandshakeResponse, split
from sqlproxy.wire.packets import parse_ok
from sqlproxy.wire.zstd import DEFAULT_LEVEL

# These change what replies look like, so both legs must have them alike.
MUST_AGREE: Final = (
    CLIENT_DEPRECATE_EOF
    | CLIENT_SESSION_TRACK  # reports a client did not ask for are taken out
    | MARIADB_CLIENT_STMT_BULK_OPERATIONS
    | MARIADB_CLIENT_EXTENDED_METADATA
    | METADATA_MAY_LACK
)
_ALWAYS: Final = (
    CLIENT_LONG_PASSWORD | CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH | CLIENT_TRANSACTIONS
)
PER_LEG: Final = (
    CLIENT_SSL
    | CLIENT_COMPRESS
    | CLIENT_ZSTD_COMPRESSION_ALGORITHM
    | CLIENT_CONNECT_WITH_DB
    | CLIENT_CONNECT_ATTRS
    | CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
)


@dataclass(frozen=True, slots=True)
class Login:
    """In whose name, and how, a session's connections are opened."""

    credentials: Credentials
    capabilities: int  # agreed with the client
    collation: int
    database: bytes = b""
    attrs: bytes = b""
    client: tuple[str, int] | None = None  # its IP address and port, None on a unix socket
    tls: bool = False  # the account may log in to servers with TLS only


async def connect(server: Server, stats: ServerStats, login: Login, timeout: float) -> Backend:
    """An authenticated connection.

    Raises ServerLost when the server cannot be reached or answers too late, ServerError with its own words when it
    refuses the login, another SqlproxyError when proxy and server do not fit together.
    """
    backend = Backend(server.name, stats, bool(login.capabilities & CLIENT_DEPRECATE_EOF))
    sock: socket.socket | None = None
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            sock = await _open(server)
            if server.proxy_protocol:
                await _announce(sock, login)
            await _log_in(server, backend, sock, login)
            backend.track()
        stats.connects.add(time.monotonic() - began)
    except (OSError, TimeoutError, SqlproxyError, asyncio.CancelledError) as error:
        stats.connect_errors += 1
        _discard(backend, sock)
        raise _translated(server, error, timeout) from None
    return backend


def _discard(backend: Backend, sock: socket.socket | None) -> None:
    if not backend.connected:
        close_quietly(sock)
    backend.abort("login given up")


def _translated(server: Server, error: BaseException, timeout: float) -> BaseException:
    if isinstance(error, SqlproxyError | asyncio.CancelledError):
        return error
    if isinstance(error, TimeoutError):
        return ServerLost(f"server {server.name} did not let the session in within {timeout:g}s")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ServerLost(f"server {server.name} at {server.address} cannot be reached: {reason}")


async def _open(server: Server) -> socket.socket:
    loop = asyncio.get_running_loop()
    address = server.address
    if address.path:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        target: Any = address.path
    else:
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, target = found[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        detect_lost_path(sock)
    sock.setblocking(False)
    try:
        await loop.sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


async def _announce(sock: socket.socket, login: Login) -> None:
    """Tell the server who the client is, before anything else."""
    peer = sock.getpeername()
    on_tcp = sock.family != socket.AF_UNIX
    header = proxy_protocol.encode(login.client if on_tcp else None, peer[:2] if on_tcp else ("127.0.0.1", 0))
    await asyncio.get_running_loop().sock_sendall(sock, header)


async def _log_in(server: Server, backend: Backend, sock: socket.socket, login: Login) -> None:
    loop = asyncio.get_running_loop()
    seq, payload = await _first_packet(server, sock)
    greeting = Greeting.parse(payload)
    protocol = cast(asyncio.Protocol, backend)  # which it is in all but name
    capabilities = _capabilities(server, greeting, login)
    backend.tracker.tracking = backend.filters = bool(capabilities & CLIENT_SESSION_TRACK)
    backend.tracker.optional = bool(capabilities & METADATA_MAY_LACK)
    backend.only_state_change = bool(login.capabilities & CLIENT_SESSION_TRACK)
    backend.attributed = bool(capabilities & CLIENT_QUERY_ATTRIBUTES)
    backend.thread_id = greeting.connection_id
    context = _tls_context(server, greeting, login.tls)
    if context is not None:
        seq += 1
        capabilities |= CLIENT_SSL
        low, high = split(capabilities)
        head = HandshakeResponse(low, b"", collation=login.collation, mariadb_capabilities=high).head()
        await loop.sock_sendall(sock, codec.packet(seq, head))
        await loop.create_connection(lambda: protocol, sock=sock, ssl=context, server_hostname=server.address.host)
    else:
        await attach(sock, protocol)
    secure = context is not None or bool(server.address.path)
    auth = ClientAuth(login.credentials, server=server.name, secure=secure)
    plugin, answer = auth.response(greeting.auth_plugin, greeting.scramble)
    low, high = split(capabilities)
    response = HandshakeResponse(
        low,
        login.credentials.username,
        answer,
        login.database or None,
        plugin,
        login.attrs,
        collation=login.collation,
        mariadb_capabilities=high,
        zstd_level=DEFAULT_LEVEL,
    )
    backend.write(codec.packet(seq + 1, response.encode()))
    backend.capabilities, backend.secure = capabilities, secure
    backend.plugin, backend.scramble = greeting.auth_plugin, greeting.scramble
    await finish_login(backend, auth, seq + 1)
    algorithm = chosen(capabilities, DEFAULT_LEVEL)
    if algorithm is not None:
        backend.compress(algorithm)


async def finish_login(backend: Backend, auth: ClientAuth, seq: int) -> None:
    """What follows the proxy's packet number ``seq``, up to the server's OK. Raises ServerError when it refuses."""
    while True:
        step = auth.receive(await backend.read_packet())
        seq += 1
        if step.kind is Kind.OK:
            backend.tracker.status = parse_ok(step.payload).status
            backend.logged_in()
            return
        if step.kind is Kind.SEND:
            seq += 1
            backend.write(codec.packet(seq, step.payload))


async def _first_packet(server: Server, sock: socket.socket) -> tuple[int, bytes]:
    header = await read_exactly(sock, HEADER)
    if header is not None:
        payload = await read_exactly(sock, int.from_bytes(header[:3], "little"))
        if payload is not None:
            return header[3], payload
    raise ServerLost(f"server {server.name} closed the connection before greeting")


def _capabilities(server: Server, greeting: Greeting, login: Login) -> int:
    offered = greeting.all_capabilities
    missing = login.capabilities & MUST_AGREE & ~offered
    if missing:
        raise ServerError(f"server {server.name} lacks protocol capabilities 0x{missing:x} that the client was offered")
    capabilities = (login.capabilities & ~PER_LEG | _ALWAYS) & offered
    capabilities |= greeting.capabilities & (CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA | CLIENT_SESSION_TRACK)
    capabilities |= greeting.capabilities & COMPRESSION.get(server.compression, 0)
    if login.database:
        capabilities |= CLIENT_CONNECT_WITH_DB
    if login.attrs:
        capabilities |= greeting.capabilities & CLIENT_CONNECT_ATTRS
    return capabilities


def _tls_context(server: Server, greeting: Greeting, demanded: bool) -> ssl.SSLContext | None:
    mode = server.tls.mode
    spared = mode == "preferred" and server.address.is_local and not demanded
    if mode == "disabled" or server.address.path or spared:
        return None
    if not greeting.capabilities & CLIENT_SSL:
        if mode == "preferred":
            return None
        raise ServerError(f"server {server.name} offers no TLS, which its tls.mode = {mode!r} requires")
    return _context(server.tls)


def _context(tls: ServerTLS) -> ssl.SSLContext:
    context = _CONTEXTS.get(tls)
    if context is None:
        context = _CONTEXTS[tls] = make_context(tls)
    return context


_CONTEXTS: dict[ServerTLS, ssl.SSLContext] = {}


def forget_tls_files() -> None:
    """Read certificates and keys again when they are needed next."""
    _CONTEXTS.clear()


def make_context(tls: ServerTLS) -> ssl.SSLContext:
    """The client side's TLS context. Raises ServerError when a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.mode == "verify_identity"
    context.verify_mode = ssl.CERT_REQUIRED if tls.mode.startswith("verify_") else ssl.CERT_NONE
    try:
        if tls.ca:
            context.load_verify_locations(tls.ca)
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key or None)
    except (OSError, ssl.SSLError) as error:
        raise ServerError(f"tls: {tls.ca or tls.cert} cannot be used: {error}") from None
    return context
