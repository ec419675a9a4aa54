"""Several processes on one set of ports: one monitor and one admin side here, N workers that carry the sessions.

Workers are told every numbered Snapshot and tell what they count; a worker that dies is started again with the same
listening sockets, so that no connection attempt is refused meanwhile. One that hears nothing of the monitor for too
long stops writing by itself.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlproxy import inherited
from sqlproxy.allow_files import Keeper, Learned
from sqlproxy.app import FIRST_SNAPSHOT, explain_route
from sqlproxy.channel import ChannelClosed
from sqlproxy.config import ServiceConfig, Settings
from sqlproxy.errors import SqlproxyError
from sqlproxy.fleet import Counters, FleetService, Report, sum_of
from sqlproxy.listener import open_shared
from sqlproxy.pace import Pace, Shared
from sqlproxy.reload_needs import Sockets, new_addresses, servers_of
from sqlproxy.routing.allow_list import Entry, Unlisted
from sqlproxy.session.digests import Figures
from sqlproxy.session.registry import Victim
from sqlproxy.steering import Steered
from sqlproxy.topology.model import Address, Snapshot
from sqlproxy.upgrade import Estate
from sqlproxy.worker_process import WorkerProcess

log = logging.getLogger("sqlproxy.supervisor")

_CONFIRM_EVERY = 0.25  # seconds
_START_TIMEOUT = 15.0  # seconds for a worker to read the accounts and listen

Opened = dict[str, list[list[tuple[Address, socket.socket]]]]  # by service, for each worker


class Supervisor(Steered):
    """The whole proxy as the admin side sees it, with its sessions in workers."""

    settled = 1.5  # workers report every half second

    def __init__(self, settings: Settings, path: Path | None = None) -> None:
        super().__init__(settings, path)
        self.services = [FleetService(config, _names(config, settings)) for config in settings.services]
        self.pace = Pace(share=0)  # the sessions have processes of their own
        self._asking = Shared()  # listings that workers are making now, by name
        self._rules: dict[int, Counters] = {}  # by worker
        self._left_rules: Counters = {}  # by those that have ended
        self._prepared: tuple[Settings, Opened, list[WorkerProcess]] | None = None
        self._workers: list[WorkerProcess] = []
        self.account_rows: list[dict[str, object]] = []  # as the worker saw them that read them last
        self._confirming: asyncio.Task[None] | None = None
        self._unsubscribe = self.publisher.subscribe(self._tell_snapshot)
        self._learned: dict[str, list[Entry]] = {}  # by allow lists in workers, for the keeper
        self.keeper = Keeper(settings, self._take_learned)
        self._make_ports(self)

    async def start(self) -> None:
        """Open every port, look at the servers once, then start the workers. Raises SqlproxyError."""
        count = self.settings.workers
        shared = {config.name: open_shared(config.name, config.listen, count) for config in self.settings.services}
        links = inherited.links()
        self._workers = [
            WorkerProcess(self, index, slot, {name: sets[index] for name, sets in shared.items()}, links[index::count])
            for index, slot in enumerate(inherited.free_slots(count))
        ]
        try:
            await self._open_ports()
            await self.monitor.start()
            await self.monitor.first_snapshot(FIRST_SNAPSHOT)
            self._confirming = asyncio.create_task(self._confirm())
            for worker in self._workers:
                worker.start()
            await self._all_ready()
            self.keeper.start()
        except BaseException:
            await self.stop()
            raise
        self._follow_file(self)
        for service in self.services:
            log.info("service %s listens on %s in %d workers", service.name, ", ".join(service.listen), count)

    async def _all_ready(self) -> None:
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await asyncio.gather(*(worker.ready.wait() for worker in self._workers))
        except TimeoutError:
            raise SqlproxyError(f"not all workers have started within {_START_TIMEOUT:g}s") from None

    async def estate(self) -> Estate:
        """What a process gets that takes over: also the listening sockets of all workers."""
        slots = {worker.slot for worker in self._workers}
        for found in await self._ask_all("slots"):
            slots |= set(found) if isinstance(found, list) else set()
        return Estate(self._listening(), sorted(slots), self._workers[-1].slot, len(self._workers))

    def _listening(self) -> dict[str, list[socket.socket]]:
        found: dict[str, list[socket.socket]] = {}
        for worker in self._workers:
            for address, sock in worker.listening:
                found.setdefault(str(address), []).append(sock)
        return found | self._admin_sockets()

    async def retire(self, seconds: float, links: Sequence[socket.socket]) -> None:
        """Another process has taken over: have the workers hand over their sessions, or serve them until they end."""
        await self._close_ports()
        ways = zip(self._workers, links, strict=True)
        await asyncio.gather(*(worker.retire(seconds, link) for worker, link in ways))
        await self.keeper.stop()

    async def stop(self) -> None:
        """Let the workers' sessions end, then stop everything."""
        await self._leave_file()
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        if self._confirming is not None:
            self._confirming.cancel()
        await self.keeper.stop()
        await self._close_ports()
        await self.monitor.stop()
        self._unsubscribe()

    # -- what workers say

    def counted(self, index: int, counters: Mapping[str, Report]) -> None:
        """A worker's counters."""
        for service in self.services:
            if service.name in counters:
                service.report(index, counters[service.name])

    def rules_counted(self, index: int, counters: Counters) -> None:
        """A worker's counters of rules."""
        self._rules[index] = counters

    def learned(self, index: int, learned: Learned) -> None:
        """What a worker's allow lists have learned: for their files, and for the other workers."""
        for service, entries in learned.items():
            self._learned.setdefault(service, []).extend(entries)
        self._tell_allowed(learned, index)

    def _take_learned(self) -> dict[str, list[Entry]]:
        learned, self._learned = self._learned, {}
        return learned

    def _tell_allowed(self, entries: Learned, but: int = -1) -> None:
        for worker in self._workers:
            if worker.index != but:
                worker.channel.tell("allow", entries)

    def worker_ended(self, worker: WorkerProcess) -> None:
        """A worker ended by itself: its sessions are lost, nothing else."""
        code = worker.exit_code
        how = f"by signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
        text = f"worker {worker.index} ended {how}; it is started again"
        log.error(text)
        self.publisher.event("worker", "", text)
        for service in self.services:
            service.forget(worker.index)
        self._left_rules = sum_of([self._left_rules, self._rules.pop(worker.index, {})])

    async def victim(self, number: int) -> Victim | None:
        """The session with this id in any worker, for KILL."""
        for found in await self._ask_all("victim", number):
            if isinstance(found, Victim):
                return found
        return None

    def end(self, number: int, query_only: bool) -> None:
        """End a session in whatever worker it lives."""
        for worker in self._workers:
            if worker.ready.is_set():
                worker.channel.tell("end", number, query_only)

    def _tell_snapshot(self, snapshot: Snapshot, previous: Snapshot) -> None:
        for worker in self._workers:
            worker.channel.tell("snapshot", snapshot)

    async def _confirm(self) -> None:
        while True:
            await asyncio.sleep(_CONFIRM_EVERY)
            for worker in self._workers:
                worker.channel.tell("confirm", self.publisher.fresh_at)

    async def _ask_all(self, name: str, *arguments: object) -> list[object]:
        """The answers of all workers that give one."""
        asked = [worker.channel.ask(name, *arguments) for worker in self._workers if worker.ready.is_set()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, ChannelClosed):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    # -- what the admin side sees and does

    async def sessions(self) -> list[dict[str, object]]:
        """One row per client session of any worker."""
        return await self._rows_of_all("sessions")

    async def digests(self) -> list[Figures]:
        """The statement digests of all workers."""
        return await self._rows_of_all("digests")

    async def clear_digests(self) -> None:
        """Begin the statement statistics anew."""
        await self._ask_all("clear_digests")

    async def unlisted(self) -> list[Unlisted]:
        """What was run in any worker and is not on the allow list of its service."""
        answers = await self._ask_all("unlisted")
        return [row for answer in answers if isinstance(answer, list) for row in answer]

    async def allow(self, service: str, entries: Sequence[Entry]) -> None:
        """Have a service's allow list have these too. Raises SqlproxyError when its file cannot be written."""
        await self.keeper.add(service, entries)
        self._tell_allowed({service: entries})

    async def _rows_of_all(self, name: str) -> list[Any]:
        """What workers give in pickled slices; whoever asks while they are being asked gets the same answer."""
        return list(await self._asking.get(name, lambda: self._ask_rows(name)))

    async def _ask_rows(self, name: str) -> list[Any]:
        answers = [answer for answer in await self._ask_all(name) if isinstance(answer, list)]
        return [row for answer in answers for part in answer for row in pickle.loads(part)]

    async def prepare(self, settings: Settings) -> None:
        """See ``reloading.Proxy``: open what is new here, and have every worker get ready."""
        self._listed = self.keeper.read(settings)
        self._prepare_ports(settings.admin)
        count = len(self._workers)
        opened: Opened = {}
        running = [worker for worker in self._workers if worker.ready.is_set()]
        self._prepared = settings, opened, running
        for name, addresses in new_addresses(self.settings, settings).items():
            opened[name] = open_shared(name, addresses, count)
        await asyncio.gather(*(worker.prepare(settings, _share(opened, worker.index)) for worker in running))

    async def commit(self) -> None:
        """See ``reloading.Proxy``: a worker that ends just now comes back with the new settings."""
        if self._prepared is None:
            return
        (settings, opened, prepared), self._prepared = self._prepared, None
        self.keeper.use(settings, self._listed)
        running = {service.name: service for service in self.services}
        self.services = []
        for config in settings.services:
            service = running.get(config.name) or FleetService(config, ())
            service.configure(config, _names(config, settings))
            self.services.append(service)
        for worker in self._workers:
            worker.keep(settings, _share(opened, worker.index))
            if worker.ready.is_set() and worker not in prepared:  # it started meanwhile
                worker.restart()
        self._configure_ports(settings.admin)
        await self._ask_all("commit")

    async def discard(self) -> None:
        """See ``reloading.Proxy``."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            for sets in prepared[1].values():
                for _, sock in (pair for listening in sets for pair in listening):
                    sock.close()
            await self._ask_all("discard")

    async def read_accounts(self) -> int | None:
        """See ``reloading.Proxy``."""
        for rows in await self._ask_all("refresh", "reload"):
            if isinstance(rows, list):
                self.account_rows = rows
                return len(rows)
        return None

    async def kill_session(self, session_id: int) -> bool:
        """False when no worker has such a session."""
        return any(await self._ask_all("kill", session_id))

    def rule_counters(self) -> dict[str, dict[str, int]]:
        """What every rule did so far in all workers, by name."""
        return sum_of([self._left_rules, *self._rules.values()])

    def accounts(self) -> list[dict[str, object]]:
        """Who may log in; never how. As of the start or the last reload."""
        return self.account_rows

    def explain(self, sql: bytes, in_transaction: bool) -> dict[str, object]:
        """Where the first service would send a statement of a fresh session, and why."""
        loads = self.services[0].server_stats
        settings, snapshot = self.settings, self.publisher.snapshot
        return explain_route(settings.services[0], snapshot, loads, sql, in_transaction, settings)


def _names(config: ServiceConfig, settings: Settings) -> list[str]:
    return [server.name for server in servers_of(config, [server.server() for server in settings.servers])]


def _share(opened: Opened, worker: int) -> Sockets:
    """A worker's part of newly opened sockets."""
    return {name: sets[worker] for name, sets in opened.items()}
