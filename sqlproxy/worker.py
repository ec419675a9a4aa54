"""A worker process: an engine that is told of the servers by the supervisor and tells it what it counts.

Started as ``python -m sqlproxy.worker FD FD`` with two inherited sockets: for messages, and for the listening sockets
that a changed configuration adds. When the supervisor is gone the worker lets its
sessions end and follows.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sqlproxy.channel import Channel
from sqlproxy.config import Settings
from sqlproxy.engine import Engine
from sqlproxy.errors import SqlproxyError
from sqlproxy.logs import configure
from sqlproxy.loops import keep_what_is_loaded, run_loop
from sqlproxy.routing.allow_list import Entry
from sqlproxy.session.registry import Registry, Victim, describe
from sqlproxy.topology.model import Address, Snapshot
from sqlproxy.topology.publisher import Publisher

log = logging.getLogger("sqlproxy.worker")

_REPORT_EVERY = 0.5  # seconds between two reports of counters


class Worker:
    """The other end of the supervisor's channel."""

    def __init__(self, descriptors: socket.socket) -> None:
        self._descriptors = descriptors  # where further listening sockets come in
        self.publisher = Publisher()
        self.engine: Engine | None = None
        self._done = asyncio.Event()
        self.channel = Channel(
            {
                "hello": self.hello,
                "snapshot": self._snapshot,
                "confirm": self.publisher.confirm,
                "sessions": lambda: _packed(self._engine.session_slices()),
                "digests": lambda: _packed(self._engine.digest_slices()),
                "clear_digests": lambda: self._engine.clear_digests(),
                "unlisted": lambda: self._engine.unlisted(),
                "allow": self._allow,
                "kill": lambda number: self._engine.kill_session(number),
                "victim": self._victim,
                "end": lambda number, query_only: self._engine.registry.end(number, query_only),
                "refresh": self._refresh,
                "prepare": self._prepare,
                "commit": self._commit,
                "discard": lambda: self._engine.discard(),
                "slots": lambda: sorted(self._engine.registry.slots()),
                "stop": self._done.set,
                "retire": self._retire,
            }
        )

    async def run(self, sock: socket.socket) -> int:
        """Serve until told to stop, or until the supervisor is gone."""
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGUSR2,
        ):  # meant for the supervisor, which tells us
            asyncio.get_running_loop().add_signal_handler(number, lambda: None)
        sock.setblocking(False)
        await self.channel.connect(sock)
        reading = asyncio.create_task(self.channel.run())
        reading.add_done_callback(lambda task: self._done.set())
        reporting = asyncio.create_task(self._report())
        await self._done.wait()
        reporting.cancel()
        if self.engine is not None:
            await self.engine.stop()
            self._tell_counters()
        self.channel.close()
        reading.cancel()
        return 0

    @property
    def _engine(self) -> Engine:
        if self.engine is None:
            raise SqlproxyError("the worker has not started yet")
        return self.engine

    async def hello(
        self,
        settings: Settings,
        index: int,
        sockets: Mapping[str, Sequence[tuple[Address, int]]],
        snapshot: Snapshot,
        fresh_at: float,
        links: Sequence[int],
    ) -> None:
        """The first message: what to run, on which inherited sockets, knowing what of the servers."""
        configure(settings.log.format, settings.log.level)
        if snapshot.number:
            self.publisher.publish(snapshot)
            self.publisher.confirm(fresh_at)
        registry = Registry(index)
        registry.others = self
        self.engine = Engine(settings, self.publisher, self._evidence, self._suspect, registry)
        self.engine.open(
            {
                name: [(address, socket.socket(fileno=number)) for address, number in listening]
                for name, listening in sockets.items()
            }
        )
        await self.engine.start()
        self.engine.receive([socket.socket(fileno=number) for number in links])
        keep_what_is_loaded()
        self.channel.tell("ready", self.engine.account_rows())

    def _prepare(self, settings: Settings, added: Mapping[str, Sequence[Address]]) -> None:
        """Get ready for a changed configuration; the sockets of the addresses added have been sent before."""
        count = sum(map(len, added.values()))
        _, numbers, _, _ = socket.recv_fds(self._descriptors, 1, count) if count else (b"", [], 0, None)
        received = [socket.socket(fileno=number) for number in numbers]
        for sock in received:
            sock.setblocking(False)
        found = iter(received)
        self._engine.prepare(
            settings, {name: [(address, next(found)) for address in addresses] for name, addresses in added.items()}
        )

    async def _commit(self) -> None:
        """Use what was prepared."""
        await self._engine.commit()
        configure(self._engine.settings.log.format, self._engine.settings.log.level)

    async def _retire(self, seconds: float) -> None:
        """Another process has taken over; where sessions go has been sent before."""
        _, numbers, _, _ = socket.recv_fds(self._descriptors, 1, 1)
        await self._engine.retire(seconds, *(socket.socket(fileno=number) for number in numbers))
        self._done.set()

    async def _refresh(self, reason: str) -> list[dict[str, object]] | None:
        """Read the accounts again; their rows, None when nothing was read."""
        return self._engine.account_rows() if await self._engine.refresh_accounts(reason) is not None else None

    def _allow(self, entries: Mapping[str, Sequence[Entry]]) -> None:
        """Entries for the allow lists; an engine to come reads them from the files."""
        if self.engine is not None:
            self.engine.allow(entries)

    def _evidence(self, server: str, why: str) -> None:
        self.channel.tell("evidence", server, why)

    def _suspect(self, server: str, why: str) -> None:
        self.channel.tell("suspect", server, why)

    def _snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.number > self.publisher.snapshot.number:
            self.publisher.publish(snapshot)

    def _victim(self, number: int) -> Victim | None:
        session = self._engine.registry.sessions.get(number)
        return describe(session) if session is not None else None

    async def victim(self, number: int) -> Victim | None:
        """A session of another worker; see ``registry.Others``."""
        found: Victim | None = await self.channel.ask("victim", number)
        return found

    def end(self, number: int, query_only: bool) -> None:
        """See ``registry.Others``."""
        self.channel.tell("end", number, query_only)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY)
            self._tell_counters()

    def _tell_counters(self) -> None:
        if self.engine is None:
            return
        learned = self.engine.take_learned()
        if learned:
            self.channel.tell("learned", learned)
        self.channel.tell("rules", self.engine.rule_counters())
        self.channel.tell(
            "counters",
            {
                service.name: {
                    "stats": service.stats.as_dict(),
                    "servers": {name: stats.as_dict() for name, stats in service.server_stats.items()},
                    "times": {name: stats.durations() for name, stats in service.server_stats.items()},
                    "waiting": service.waiting,
                    "unknown": service.unknown_shapes,
                    "longest_pause": service.longest_pause(),
                }
                for service in self.engine.services
            },
        )


async def _packed(slices: AsyncIterator[list[Any]]) -> list[bytes]:
    """Rows for the supervisor, pickled slice by slice so that the sessions have their turn in between."""
    return [pickle.dumps(rows) async for rows in slices]


async def _main(sock: socket.socket, descriptors: socket.socket) -> int:
    return await Worker(descriptors).run(sock)


if __name__ == "__main__":
    sys.exit(run_loop(_main(*(socket.socket(fileno=int(number)) for number in sys.argv[1:3]))))
