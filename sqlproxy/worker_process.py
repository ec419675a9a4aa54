"""One worker as its supervisor has it: a process that is started again when it ends, its channel, its sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlproxy.channel import Channel
from sqlproxy.config import Settings
from sqlproxy.errors import SqlproxyError
from sqlproxy.reload_needs import Sockets
from sqlproxy.topology.model import Address

if TYPE_CHECKING:
    from sqlproxy.supervisor import Supervisor

_STOP_GRACE = 3.0  # seconds a worker gets beyond drain_timeout before it is killed
_RESTART_PAUSE = 0.5  # seconds before a worker that ended is started again


class WorkerProcess:
    """A worker: its process, its channel, and the sockets it listens on."""

    def __init__(
        self, supervisor: Supervisor, index: int, slot: int, sockets: Sockets, links: Sequence[socket.socket]
    ) -> None:
        self.index = index
        self.slot = slot
        self._links = list(links)  # over which sessions of a process before come, to the first process
        self._supervisor = supervisor
        self._sockets = dict(sockets)
        self._descriptors: socket.socket | None = None  # where further sockets are sent
        self._stopping = False
        self._greeted: Settings | None = None  # with these settings
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()
        self.channel = Channel({})

    def start(self) -> None:
        """Run the process, again whenever it ends, until ``stop``."""
        self._task = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """Let its sessions end, then the process."""
        self._stopping = True
        self.channel.tell("stop")
        if self.ready.is_set():  # else it is yet to be told of them
            self._close_sockets()
        process = self._process
        if process is not None:
            try:
                async with asyncio.timeout(self._supervisor.settings.drain_timeout + _STOP_GRACE):
                    await process.wait()
            except TimeoutError:
                process.kill()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def listening(self) -> list[tuple[Address, socket.socket]]:
        """Its sockets, which are open here too."""
        return [found for listening in self._sockets.values() for found in listening]

    async def retire(self, seconds: float, link: socket.socket) -> None:
        """Have it accept no more, hand over sessions by ``link``, and end with its last one, at most so long."""
        self._stopping = True
        with link:
            self.channel.tell(*(("retire", seconds) if self._sent([link]) else ("stop",)))
        self._close_sockets()
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._process.wait()

    def _sent(self, sockets: Sequence[socket.socket]) -> bool:
        """Give the worker sockets; False when it has not started, or just died."""
        if self._descriptors is None or not self.ready.is_set():
            return False
        try:
            socket.send_fds(self._descriptors, [b"+"], [sock.fileno() for sock in sockets])
        except OSError:
            return False
        return True

    def _close_sockets(self) -> None:
        """Clients that nobody accepts any more would wait, instead of going elsewhere, while they are open here."""
        for _, sock in self.listening:
            sock.close()
        self._sockets.clear()

    async def _keep_running(self) -> None:
        while not self._stopping:
            await self._run()
            if self._stopping:
                return
            self._supervisor.worker_ended(self)
            await asyncio.sleep(_RESTART_PAUSE)

    async def _run(self) -> None:
        here, there = socket.socketpair()
        self._descriptors, receiving = socket.socketpair()
        self.ready.clear()
        numbers = [sock.fileno() for listening in self._sockets.values() for _, sock in listening]
        numbers += [link.fileno() for link in self._links]
        ends = [there.fileno(), receiving.fileno()]
        with there, receiving:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sqlproxy.worker", *map(str, ends), pass_fds=[*ends, *numbers]
            )
        self.channel = Channel(
            {
                "ready": self._is_ready,
                "evidence": self._supervisor.monitor.probe_now,
                "suspect": self._supervisor.monitor.suspect,
                "counters": lambda counters: self._supervisor.counted(self.index, counters),
                "learned": lambda learned: self._supervisor.learned(self.index, learned),
                "rules": lambda counters: self._supervisor.rules_counted(self.index, counters),
                "victim": self._supervisor.victim,
                "end": self._supervisor.end,
            }
        )
        here.setblocking(False)
        await self.channel.connect(here)
        self._greet()
        for link in self._links:
            link.close()
        self._links.clear()
        reading = asyncio.create_task(self.channel.run())
        await self._process.wait()
        await reading
        self._descriptors.close()
        self.ready.clear()

    async def prepare(self, settings: Settings, added: Sockets) -> None:
        """Have the worker get ready for other settings, and for listening on sockets added. Raises SqlproxyError."""
        sockets = [sock for listening in added.values() for _, sock in listening]
        if sockets and not self._sent(sockets):
            raise SqlproxyError(f"worker {self.index} has just ended and is being started again: reload once more")
        addresses = {name: [address for address, _ in listening] for name, listening in added.items()}
        await self.channel.ask("prepare", settings, addresses)

    def keep(self, settings: Settings, added: Sockets) -> None:
        """Keep the sockets that the settings need, for a successor of this process."""
        known = dict([*self.listening, *(pair for listening in added.values() for pair in listening)])
        self._sockets = {
            config.name: [(address, known.pop(address)) for address in config.listen if address in known]
            for config in settings.services
        }
        for sock in known.values():
            sock.close()

    def restart(self) -> None:
        """End the process, which is then started again with the settings there are now."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _is_ready(self, accounts: list[dict[str, object]]) -> None:
        if self._greeted is not self._supervisor.settings:  # they have changed while it started
            self.restart()
            return
        self._supervisor.account_rows = accounts
        self.ready.set()

    def _greet(self) -> None:
        self._supervisor.keeper.flush()  # the worker reads the files
        publisher = self._supervisor.publisher
        sockets = {
            name: [(address, sock.fileno()) for address, sock in listening] for name, listening in self._sockets.items()
        }
        settings = self._greeted = self._supervisor.settings
        links = [link.fileno() for link in self._links]
        self.channel.tell("hello", settings, self.slot, sockets, publisher.snapshot, publisher.fresh_at, links)

    @property
    def exit_code(self) -> int | None:
        """How the process ended."""
        return self._process.returncode if self._process is not None else None

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self._process.pid if self._process is not None else None
