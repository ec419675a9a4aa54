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

from sqlproxy import inherited
from sqlproxy.errors import SqlproxyError
from sqlproxy.session.entry import Entry
from sqlproxy.session.keepalive import keep_alive, watch_paths
from sqlproxy.session.service import Service
from sqlproxy.session.sockets import detect_silence
from sqlproxy.topology.model import Address

log = logging.getLogger("sqlproxy.listener")

_BACKLOG = 1024
_AT_ONCE = 32  # clients taken before others get their turn
_PAUSE = 0.1  # seconds to wait when the process has no file descriptor left
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """The listening sockets of one service. ``open`` first, so that a busy port stops the start; then ``start``."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._owns_paths = True
        self._sockets: list[tuple[Address, socket.socket]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._logins: set[Entry] = set()
        self._accepting: set[socket.socket] = set()

    def open(self) -> None:
        """Bind and listen. Raises SqlproxyError naming service, address and reason."""
        self._sockets = open_all(self.service.name, self.service.config.listen)

    def adopt(self, sockets: Sequence[tuple[Address, socket.socket]], owns_paths: bool = False) -> None:
        """Take over sockets that listen already; paths of unix sockets stay when they are closed, unless owned."""
        self._sockets = list(sockets)
        for _, sock in sockets:
            sock.setblocking(False)
        self._owns_paths = owns_paths

    def start(self) -> None:
        """Begin to accept."""
        for _, sock in self._sockets:
            self._start_accepting(sock)
        for work in (keep_alive(self.service), watch_paths(self.service)):
            task = asyncio.get_running_loop().create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def change(self, addresses: Sequence[Address], added: Sequence[tuple[Address, socket.socket]]) -> None:
        """Listen at these addresses from now on; ``added`` are listening sockets for those that are new."""
        for address, sock in self._sockets:
            if address not in addresses:
                self._stop_accepting(sock)
                self._close(address, sock)
        self._sockets = [(address, sock) for address, sock in self._sockets if address in addresses]
        for address, sock in added:
            self._sockets.append((address, sock))
            self._start_accepting(sock)

    def give_up(self, address: Address) -> socket.socket:
        """Accept no more at this address; its socket, still listening. Raises KeyError when there is none."""
        sock = dict(self._sockets)[address]
        self._stop_accepting(sock)
        self._sockets.remove((address, sock))
        return sock

    @property
    def listening(self) -> list[tuple[Address, socket.socket]]:
        """The sockets, for whoever takes over."""
        return list(self._sockets)

    @property
    def logins(self) -> int:
        """Logins under way."""
        return len(self._logins)

    def release(self) -> None:
        """Accept no more, as another process does now; logins under way go on."""
        self._owns_paths = False
        self.close_sockets()

    async def stop(self) -> None:
        """Accept no more; logins under way are given up."""
        self.close_sockets()
        for task in self._tasks:
            task.cancel()
        logins = [entry.given_up() for entry in tuple(self._logins)]
        await asyncio.gather(*self._tasks, *logins, return_exceptions=True)

    def close_sockets(self) -> None:
        """Close what ``open`` opened, and remove the paths of unix sockets."""
        for address, sock in self._sockets:
            self._stop_accepting(sock)
            self._close(address, sock)
        self._sockets.clear()

    def _close(self, address: Address, sock: socket.socket) -> None:
        sock.close()
        if address.path and self._owns_paths:
            with contextlib.suppress(OSError):
                os.unlink(address.path)

    def _start_accepting(self, listening: socket.socket) -> None:
        self._accepting.add(listening)
        _tune(listening, self.service.config.connection_keepalive)
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _stop_accepting(self, listening: socket.socket) -> None:
        if listening in self._accepting:
            self._accepting.discard(listening)
            asyncio.get_running_loop().remove_reader(listening)

    def _accept(self, listening: socket.socket) -> None:
        """Take clients that wait."""
        for _ in range(_AT_ONCE):
            try:
                sock, peer = listening.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(listening, error)
                return
            sock.setblocking(False)
            Entry(self.service, *_origin_of(peer), self._logins).begin(sock)

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Clients wait until there is room for them; without a pause the loop would turn for nothing else."""
        log.error("no client can be accepted: %s", error.strerror)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        loop.call_later(_PAUSE, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._accepting:
            self._start_accepting(listening)


def _tune(listening: socket.socket, silence: float) -> None:
    """Set what client connections need; those accepted inherit it."""
    if listening.family == socket.AF_UNIX:
        return
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if silence:
        detect_silence(listening, silence)


def _origin_of(peer: object) -> tuple[str, int]:
    """The client's IP address and port, "" and 0 on a unix socket."""
    return (str(peer[0]).removeprefix("::ffff:"), int(peer[1])) if isinstance(peer, tuple) else ("", 0)


def open_all(service: str, addresses: Sequence[Address]) -> list[tuple[Address, socket.socket]]:
    """Listening sockets for a service. Raises SqlproxyError naming service, address and reason; none is open then."""
    opened: list[tuple[Address, socket.socket]] = []
    for address in addresses:
        try:
            opened.append((address, inherited.take(str(address)) or _listen(address)))
        except OSError as error:
            for taken, sock in opened:
                sock.close()
                if taken.path:
                    os.unlink(taken.path)
            raise _refusal(service, address, error) from None
    return opened


def open_shared(service: str, addresses: Sequence[Address], copies: int) -> list[list[tuple[Address, socket.socket]]]:
    """``copies`` sets of listening sockets for one service: one per process, sharing its ports.

    TCP ports by SO_REUSEPORT; a unix socket is the same one in every set. Raises SqlproxyError naming the address.
    """
    sets: list[list[tuple[Address, socket.socket]]] = [[] for _ in range(copies)]
    for address in addresses:
        try:
            shared = _inherit(address, copies) or _open_first(address)
            for _ in range(len(shared), copies):
                shared.append(_another(address, shared[0]))
            for sockets, sock in zip(sets, shared, strict=True):
                sockets.append((address, sock))
        except OSError as error:
            for sockets in sets:
                for _, sock in sockets:
                    sock.close()
            raise _refusal(service, address, error) from None
    return sets


def _inherit(address: Address, most: int) -> list[socket.socket]:
    found = [inherited.take(str(address)) for _ in range(most)]
    return [sock for sock in found if sock is not None]


def _open_first(address: Address) -> list[socket.socket]:
    _listen(address).close()  # found out that nobody else has the port, which SO_REUSEPORT would hide
    return [_listen(address, shared=True)]


def _another(address: Address, first: socket.socket) -> socket.socket:
    """One more for the same clients, with a queue of its own where the first one allows that."""
    shares = not address.path and first.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    return _listen(address, shared=True) if shares else first.dup()


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
