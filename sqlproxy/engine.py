"""What carries the sessions of one process: accounts, services, listeners. It knows the servers by snapshots only."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sqlproxy import tls
from sqlproxy.accounts.registry import AccountRegistry
from sqlproxy.accounts.throttle import Throttle
from sqlproxy.config import ServiceConfig, Settings
from sqlproxy.handover import Arrival, Departure
from sqlproxy.listener import Listener, open_all
from sqlproxy.pace import Pace
from sqlproxy.reload_needs import Prepared, Sockets, allow_lists, moved_addresses, new_addresses, servers_of
from sqlproxy.routing.allow_list import AllowList, Entry, Unlisted
from sqlproxy.routing.rules import RuleBook
from sqlproxy.session import overview
from sqlproxy.session.answers import Answers
from sqlproxy.session.connect import forget_tls_files
from sqlproxy.session.digests import Figures
from sqlproxy.session.registry import Registry
from sqlproxy.session.service import Service
from sqlproxy.session.session import Session
from sqlproxy.session.silence import SilenceWatch
from sqlproxy.session.stats import ServiceStats
from sqlproxy.session.trace import Tracing
from sqlproxy.topology.model import Address
from sqlproxy.topology.publisher import Publisher
from sqlproxy.wire.rsa import RSAKey

if TYPE_CHECKING:
    from sqlproxy.otel import Exporter

log = logging.getLogger("sqlproxy.app")

_ARRIVAL_GRACE = 1.0  # seconds for sessions that were promised to a process that ends
_LOOK_EVERY = 0.1  # seconds between two looks whether sessions have ended


class Engine:
    """Everything between the listening sockets and the servers.

    ``evidence(server, why)`` asks the monitor, wherever it runs, to look at a server at once, ``suspect`` also to find
    out soon whether it is silent. ``registry`` hands out the ids that clients see.
    """

    def __init__(
        self,
        settings: Settings,
        publisher: Publisher,
        evidence: Callable[[str, str], None],
        suspect: Callable[[str, str], None],
        registry: Registry,
    ) -> None:
        self.settings = settings
        self.publisher = publisher
        self.registry = registry
        self.pace = Pace()
        self._evidence = evidence
        self._suspect = suspect
        self._watching: asyncio.Task[None] | None = None  # for silent servers
        self._servers = [server.server() for server in settings.servers]
        monitor_password = settings.monitor.password.get_secret_value()
        self.accounts = AccountRegistry(
            settings.accounts, settings.monitor.user, monitor_password, publisher, self._servers
        )
        self._throttle = Throttle(settings.accounts.max_failures, settings.accounts.block_for)
        self._rsa_key = RSAKey.generate()
        self._owns_paths = True  # of unix sockets; workers leave them to their supervisor
        self._prepared: Prepared | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._arrivals: dict[Arrival, asyncio.Task[None]] = {}
        contexts = tls.contexts(settings)
        self.services = [self._service(config, contexts[config.name]) for config in settings.services]
        self.accounts.on_change = self._accounts_changed
        self._listeners = {service.name: Listener(service) for service in self.services}
        self._book = RuleBook(())
        self._govern(allow_lists(settings))
        self._exporter: Exporter | None = None
        self._trace()

    def _service(self, config: ServiceConfig, context: ssl.SSLContext | None) -> Service:
        return Service(
            config,
            servers_of(config, self._servers),
            self.publisher,
            self.accounts,
            self._throttle,
            self.registry,
            self._evidence,
            self.settings.monitor.stale_after,
            context,
            self._rsa_key,
            self.settings.workers,
        )

    def _accounts_changed(self) -> None:
        for service in self.services:
            service.clear_pools()

    def open(self, sockets: Sockets | None = None) -> None:
        """Bind every port, or take over sockets that listen already. Raises SqlproxyError for a port that is taken."""
        self._owns_paths = sockets is None
        for name, listener in self._listeners.items():
            if sockets is None:
                listener.open()
            else:
                listener.adopt(sockets[name])

    async def start(self) -> None:
        """Read the accounts, then let clients in."""
        await self.accounts.start()
        self._watch_silence()
        for listener in self._listeners.values():
            listener.start()

    def receive(self, links: Sequence[socket.socket]) -> None:
        """Take over sessions that come this way from the process before."""
        for link in links:
            arrival = Arrival(link, lambda: {service.name: service for service in self.services})
            self._arrivals[arrival] = asyncio.create_task(arrival.run(), name="sessions of the process before")

    async def _end_arrivals(self) -> None:
        for arrival in self._arrivals:
            arrival.take_no_more()
        if self._arrivals:
            _, late = await asyncio.wait(self._arrivals.values(), timeout=_ARRIVAL_GRACE)
            for task in late:
                task.cancel()
        self._arrivals.clear()

    async def stop(self) -> None:
        """Accept no more, let what runs end, then stop."""
        await self._end_arrivals()
        for listener in self._listeners.values():
            await listener.stop()
        await self._drain(lambda session: True)
        for task in tuple(self._retiring):
            await task
        if self._watching is not None:
            self._watching.cancel()
        await self.accounts.stop()
        for service in self.services:
            service.close()
        await self._stop_tracing()

    def _watch_silence(self) -> None:
        """Begin, or begin anew, to look out for servers that hang."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        monitor = self.settings.monitor
        if monitor.suspect_after:
            watch = SilenceWatch(lambda: self.services, monitor.suspect_after, monitor.timeout, self._suspect)
            self._watching = asyncio.create_task(watch.run(), name="watch for silent servers")

    @property
    def listening(self) -> list[tuple[Address, socket.socket]]:
        """All listening sockets, for whoever takes over."""
        return [found for listener in self._listeners.values() for found in listener.listening]

    async def retire(self, seconds: float, link: socket.socket | None = None) -> None:
        """Accept no more, as another process does now, and wait for the sessions to end, at most so long.

        ``link``: where those go that can be handed over.
        """
        for listener in self._listeners.values():
            listener.release()
        await self._end_arrivals()
        if link is None:
            await self._until_empty(seconds)
            return
        departure = Departure(link, self.registry)
        leaving = asyncio.create_task(departure.run(), name="sessions for the next process")
        try:
            await self._until_empty(seconds)
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            log.info("upgrade: %s", departure.summary())

    async def _until_empty(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.registry.sessions and not any(listener.logins for listener in self._listeners.values()):
                return
            await asyncio.sleep(_LOOK_EVERY)

    async def _drain(self, which: Callable[[Session], bool]) -> None:
        """Close sessions as they come between transactions; what is left after a while is cut off."""
        deadline = time.monotonic() + self.settings.drain_timeout
        while (left := self._sessions(which)) and time.monotonic() < deadline:
            for session in left:
                if not (session.busy or session.state.in_transaction or session.client.closing):
                    session.client.say_goodbye()
            await asyncio.sleep(0.01)
        for session in self._sessions(which):
            session.client.abort()
        await asyncio.sleep(0)

    def _sessions(self, which: Callable[[Session], bool]) -> list[Session]:
        return [session for session in self.registry.sessions.values() if which(session)]

    # -- a changed configuration

    def prepare(self, settings: Settings, sockets: Sockets | None = None) -> None:
        """Read certificates and open ports that settings need, or take over their sockets. Raises SqlproxyError."""
        self.discard()
        made_at_start = [service for service in self.services if tls.is_self_signed(service.config.tls)]
        contexts = tls.contexts(settings, kept={service.name: service.tls for service in made_at_start})
        opened: dict[str, list[tuple[Address, socket.socket]]] = {}
        self._prepared = Prepared(settings, contexts, opened, allow_lists(settings))
        for name, addresses in new_addresses(self.settings, settings).items():
            opened[name] = open_all(name, addresses) if sockets is None else list(sockets[name])

    def discard(self) -> None:
        """Close what was prepared and not used."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            for opened in prepared.sockets.values():
                for address, sock in opened:
                    sock.close()
                    if address.path:
                        with contextlib.suppress(OSError):
                            os.unlink(address.path)

    async def commit(self) -> None:
        """Use what was prepared from now on; sessions of services that are gone end like those at a shutdown."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        settings, before = prepared.settings, self.settings
        self.settings = settings
        self._servers = [server.server() for server in settings.servers]
        forget_tls_files()
        self._throttle.configure(settings.accounts.max_failures, settings.accounts.block_for)
        await self._commit_accounts(before)
        running = {service.name: service for service in self.services}
        self.services = [
            self._changed(running.pop(config.name), config, prepared.contexts[config.name])
            if config.name in running
            else self._service(config, prepared.contexts[config.name])
            for config in settings.services
        ]
        self._govern(prepared.allow_lists)
        await self._trace_again(before)
        moved = self._hand_over(before)
        for service in running.values():
            self._retire(service)
        self._watch_silence()
        for service in self.services:
            name = service.name
            await self._listen(service, [*prepared.sockets.get(name, ()), *moved.get(name, ())])

    def _hand_over(self, before: Settings) -> Sockets:
        """What services take over from others, which accept no more there; clients wait meanwhile."""
        owners = {address: config.name for config in before.services for address in config.listen}
        return {
            name: [(address, self._listeners[owners[address]].give_up(address)) for address in addresses]
            for name, addresses in moved_addresses(before, self.settings).items()
        }

    def _govern(self, allow_lists: Mapping[str, AllowList]) -> None:
        """Have all sessions follow the rules and lists there are now; those of the same name go on counting."""
        settings, before = self.settings, self._book
        self._book = RuleBook(settings.rules)
        self._book.take_over(before)
        caches = any(rule.cache for rule in settings.rules)
        for service in self.services:
            answers = Answers(settings.rule_cache_size) if caches else None
            before_it, allowed = service.allow_list, allow_lists.get(service.name)
            if before_it is not None and allowed is not None:
                allowed.take_over(before_it)
            service.govern(self._book, settings.read_only or service.config.read_only, answers, allowed)

    # -- tracing

    def _trace(self) -> None:
        """Have statements traced, if they shall be."""
        config = self.settings.tracing
        tracing = None
        if config.endpoint:
            from sqlproxy.otel import Exporter  # an extra

            self._exporter = Exporter(config, self._stats_of)
            tracing = Tracing(config.ratio, self._exporter.export)
        for service in self.services:
            service.trace(tracing)

    async def _trace_again(self, before: Settings) -> None:
        """Follow a changed configuration, with services that are new."""
        tracing = next((service.tracing for service in self.services if service.tracing is not None), None)
        if before.tracing != self.settings.tracing:
            await self._stop_tracing()
            self._trace()
            return
        for service in self.services:
            service.trace(tracing)

    async def _stop_tracing(self) -> None:
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            await exporter.stop()

    def _stats_of(self, name: str) -> ServiceStats:
        """A service's counters; those of none for one that is gone."""
        return next((service.stats for service in self.services if service.name == name), ServiceStats())

    # -- allow lists

    def take_learned(self) -> dict[str, list[Entry]]:
        """What allow lists have learned since this was asked, by service."""
        learned = {name: allowed.take_learned() for name, allowed in self._allow_lists.items()}
        return {name: entries for name, entries in learned.items() if entries}

    def allow(self, entries: Mapping[str, Sequence[Entry]]) -> None:
        """Have the allow lists of services have these too."""
        for name, allowed in self._allow_lists.items():
            allowed.add(entries.get(name, ()))

    def unlisted(self) -> list[Unlisted]:
        """What was run and is not on the allow list of its service."""
        return [row for allowed in self._allow_lists.values() for row in allowed.unlisted()]

    @property
    def _allow_lists(self) -> dict[str, AllowList]:
        return {service.name: service.allow_list for service in self.services if service.allow_list is not None}

    def rule_counters(self) -> dict[str, dict[str, int]]:
        """What every rule did so far, by name."""
        return self._book.counters()

    async def _commit_accounts(self, before: Settings) -> None:
        settings = self.settings
        if (before.accounts, before.monitor, before.servers) != (settings.accounts, settings.monitor, settings.servers):
            password = settings.monitor.password.get_secret_value()
            await self.accounts.configure(settings.accounts, settings.monitor.user, password, self._servers)

    def _changed(self, service: Service, config: ServiceConfig, context: ssl.SSLContext | None) -> Service:
        service.configure(config, servers_of(config, self._servers), self.settings.monitor.stale_after, context)
        return service

    async def _listen(self, service: Service, sockets: Sequence[tuple[Address, socket.socket]]) -> None:
        listener = self._listeners.get(service.name)
        if listener is not None:
            await listener.change(service.config.listen, sockets)
            return
        listener = self._listeners[service.name] = Listener(service)
        listener.adopt(sockets, owns_paths=self._owns_paths)
        listener.start()

    def _retire(self, service: Service) -> None:
        task = asyncio.create_task(self._end_service(service, self._listeners.pop(service.name)))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _end_service(self, service: Service, listener: Listener) -> None:
        await listener.stop()
        await self._drain(lambda session: session.service is service)
        service.close()

    async def sessions(self) -> list[dict[str, object]]:
        """One row per client session; see ``session_slices``."""
        return [row async for rows in self.session_slices() for row in rows]

    def session_slices(self) -> AsyncIterator[list[dict[str, object]]]:
        """One row per client session that there is at first, a few at a time."""
        return self.pace.slices(list(self.registry.sessions.values()), overview.row)

    def digest_slices(self) -> AsyncIterator[list[Figures]]:
        """The statement digests of all services, a few at a time."""
        figures = itertools.chain.from_iterable(
            service.ledger.digests.figures(service.name) for service in self.services
        )
        return self.pace.slices(figures, lambda row: row)

    def clear_digests(self) -> None:
        """Begin the statement statistics anew."""
        for service in self.services:
            service.ledger.digests.clear()

    def kill_session(self, session_id: int) -> bool:
        """Close a client's connection; False when there is no such session here."""
        session = self.registry.sessions.get(session_id)
        if session is None:
            return False
        session.client.close()
        return True

    def account_rows(self) -> list[dict[str, object]]:
        """Who may log in; never how."""
        return [
            {
                "user": account.user,
                "host": account.host,
                "plugin": ", ".join(method.plugin for method in account.authentications),
                "locked": account.locked,
                "tls": account.tls,
            }
            for account in self.accounts.accounts.accounts
            if not account.is_role
        ]

    async def refresh_accounts(self, reason: str) -> int | None:
        """Read the accounts again, however lately they were; how many there are, None when nothing was read."""
        return len(self.accounts.accounts) if await self.accounts.refresh(reason, anew=True) else None
