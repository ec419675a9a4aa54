"""How the admin side listens: a bounded number of clients, none of which can wait for ever."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sqlproxy import inherited
from sqlproxy.door import part
from sqlproxy.errors import SqlproxyError
from sqlproxy.topology.model import Address

log = logging.getLogger("sqlproxy.admin")

_BACKLOG: Final = 128
_PAUSE: Final = 0.1  # seconds before the next try when the process has no file descriptor left
_SEND_MS: Final = 30_000  # a client that takes nothing for so long is given up: TCP_USER_TIMEOUT of tcp(7)


class Port:
    """Accepts clients and has ``serve`` deal with each one's socket, at most ``limit`` at a time.

    Further ones get the bytes ``refusal``. ``purpose`` completes the sentence that a taken address is answered with.
    """

    def __init__(
        self,
        address: Address,
        limit: int,
        serve: Callable[[socket.socket], Awaitable[None]],
        refusal: bytes,
        purpose: str = "",
    ) -> None:
        self.address = address
        self._limit = limit
        self._serve = serve
        self._refusal = refusal
        self._purpose = purpose
        self.listening: socket.socket | None = None  # while it is open, for whoever takes over
        self._accepting: asyncio.Task[None] | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The real port once it is open; 0 on a unix socket."""
        if self.listening is None or self.address.path:
            return self.address.port
        return int(self.listening.getsockname()[1])

    def open(self) -> None:
        """Listen. Raises SqlproxyError, naming the address, when that is not possible."""
        try:
            self.listening = listen(self.address)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise SqlproxyError(f"admin: cannot listen on {self.address}{self._purpose}: {reason}") from None
        if self.address.path:
            os.chmod(self.address.path, 0o600)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self.listening))

    async def close(self) -> None:
        """Accept no more; clients stay."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        if self.listening is not None:
            self.listening.close()
            self.listening = None

    async def end_clients(self) -> None:
        """Cancel what serves them."""
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError as error:
                log.error("no client of the admin side can be accepted: %s", error.strerror)
                await asyncio.sleep(_PAUSE)
                continue
            self._begin(sock)

    def _begin(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if len(self._clients) >= self._limit:
            part(sock, self._refusal)
            return
        if not self.address.path:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SEND_MS)
        task = asyncio.get_running_loop().create_task(self._attend(sock))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _attend(self, sock: socket.socket) -> None:
        try:
            await self._serve(sock)
        except (OSError, TimeoutError, asyncio.CancelledError):
            sock.close()
        except Exception:
            log.exception("internal error on the admin side")
            sock.close()


async def begins_with(sock: socket.socket, first: bytes) -> bool:
    """Whether this is what a client sends first; it can still be read then. False when it closes."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(BlockingIOError):
            return sock.recv(len(first), socket.MSG_PEEK) == first
        came = loop.create_future()
        loop.add_reader(sock, lambda came=came: came.done() or came.set_result(None))  # type: ignore[misc]
        try:
            await came
        finally:
            loop.remove_reader(sock)


def listen(address: Address) -> socket.socket:
    """Bind and listen, or take over what the process before has; a stale path is replaced. Raises OSError."""
    before = inherited.take(str(address))
    if before is not None:
        return before
    if address.path:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(address.path).st_mode):
                os.unlink(address.path)
        family: int = socket.AF_UNIX
        target: Any = address.path
    else:
        family, _, _, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
