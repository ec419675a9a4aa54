"""Accepts clients on TCP and unix sockets and hands each to its service."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Sequence

from sqlproxy.config import ServiceConfig
from sqlproxy.errors import SqlproxyError
from sqlproxy.session import client
from sqlproxy.session.keepalive import keep_alive
from sqlproxy.session.service import Service
from sqlproxy.topology.model import Address

log = logging.getLogger("sqlproxy.listener")

_BACKLOG = 1024
_PAUSE = 0.1  # seconds to wait when the process has no file descriptor left
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """The listening sockets of one service. ``open`` first, so that a busy port stops the start; then ``start``."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._owns_paths = True
        self._sockets: list[tuple[Address, socket.socket]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Bind and listen. Raises SqlproxyError naming service, address and reason."""
        for address in self.service.config.listen:
            try:
                self._sockets.append((address, _listen(address)))
            except OSError as error:
                self.close_sockets()
                raise _refusal(self.service.name, address, error) from None

    def adopt(self, sockets: Sequence[tuple[Address, socket.socket]]) -> None:
        """Take over sockets that listen already; paths of unix sockets stay when they are closed."""
        self._sockets = list(sockets)
        self._owns_paths = False

    def start(self) -> None:
        """Begin to accept."""
        for _, sock in self._sockets:
            self._spawn(self._accept(sock))
        if self.service.config.connection_keepalive:
            self._spawn(keep_alive(self.service))

    async def stop(self) -> None:
        """Accept no more; logins under way are given up."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.close_sockets()

    def close_sockets(self) -> None:
        """Close what ``open`` opened, and remove the paths of unix sockets."""
        for address, sock in self._sockets:
            sock.close()
            if address.path and self._owns_paths:
                with contextlib.suppress(OSError):
                    os.unlink(address.path)
        self._sockets.clear()

    def _spawn(self, work: asyncio._CoroutineLike[None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue
                log.error("no client can be accepted: %s", error.strerror)
                await asyncio.sleep(_PAUSE)
                continue
            sock.setblocking(False)
            self._spawn(client.serve(self.service, sock, _tune(sock, peer)))


def _tune(sock: socket.socket, peer: object) -> str:
    """Set what client connections need; the client's IP address, "" on a unix socket."""
    if sock.family == socket.AF_UNIX or not isinstance(peer, tuple):
        return ""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return str(peer[0]).removeprefix("::ffff:")


def open_shared(config: ServiceConfig, copies: int) -> list[list[tuple[Address, socket.socket]]]:
    """``copies`` sets of listening sockets for one service: one per process, sharing its ports.

    TCP ports by SO_REUSEPORT; a unix socket is the same one in every set. Raises SqlproxyError naming the address.
    """
    sets: list[list[tuple[Address, socket.socket]]] = [[] for _ in range(copies)]
    for address in config.listen:
        try:
            first = _listen(address)
            first.close()  # found out that nobody else has the port, which SO_REUSEPORT would hide
            shared = [_listen(address, shared=True)]
            for _ in range(1, copies):
                shared.append(shared[0].dup() if address.path else _listen(address, shared=True))
            for sockets, sock in zip(sets, shared, strict=True):
                sockets.append((address, sock))
        except OSError as error:
            raise _refusal(config.name, address, error) from None
    return sets


def _refusal(service: str, address: Address, error: OSError) -> SqlproxyError:
    reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return SqlproxyError(f"service {service} cannot listen on {address}: {reason}")


def _listen(address: Address, shared: bool = False) -> socket.socket:
    if address.path:
        return _listen_unix(address.path)
    family, kind, protocol, _, target = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(target)
        return _listening(sock)
    except OSError:
        sock.close()
        raise


def _listen_unix(path: str) -> socket.socket:
    """Bind a path; one left behind by a process that is gone is taken over."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode) and not _answers(path):
            os.unlink(path)
        sock.bind(path)
        os.chmod(path, 0o777)  # as servers do: the login decides who gets in
        return _listening(sock)
    except OSError:
        sock.close()
        raise


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def _listening(sock: socket.socket) -> socket.socket:
    sock.listen(_BACKLOG)
    sock.setblocking(False)
    return sock
