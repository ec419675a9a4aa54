"""Applies a changed configuration to a proxy that runs: everything is prepared first, then nothing can fail.

Servers that are removed, or get another address, are drained before they go. Sessions are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sqlproxy.config import COMMAND_LINE, Settings, load
from sqlproxy.errors import SqlproxyError
from sqlproxy.logs import configure
from sqlproxy.monitor.loop import Monitor
from sqlproxy.reload import Plan, plan
from sqlproxy.session.stats import ServerStats
from sqlproxy.topology.model import AdminState
from sqlproxy.topology.publisher import Publisher

log = logging.getLogger("sqlproxy.app")

_LOOK_EVERY = 0.1  # seconds between two looks at a draining server
_MOVE = 1.0  # seconds for open transactions to move when the draining has taken too long


class Counted(Protocol):
    """A service, as far as draining needs it."""

    @property
    def server_stats(self) -> Mapping[str, ServerStats]: ...


class Proxy(Protocol):
    """What is reloaded: one process, or a supervisor with its workers."""

    settings: Settings
    publisher: Publisher
    monitor: Monitor
    settled: float  # seconds after which the counters show what was going on when a draining began

    @property
    def services(self) -> Sequence[Counted]: ...

    async def prepare(self, settings: Settings) -> None:
        """Open and read what the settings need. Raises SqlproxyError when that is not possible."""

    async def commit(self) -> None:
        """Use what was prepared; cannot fail."""

    async def discard(self) -> None:
        """Close what was prepared."""

    async def read_accounts(self) -> int | None:
        """Read the accounts again: how many there are, None when nothing was read."""


class Reloading:
    """The reloads of one proxy, one at a time. ``path`` None: there is no file, only accounts are read again."""

    def __init__(self, proxy: Proxy, path: Path | None) -> None:
        self._proxy = proxy
        self._path = path
        self._lock = asyncio.Lock()
        self._draining: asyncio.Task[None] | None = None
        self._before: dict[str, AdminState] = {}  # what operators want of the servers that are leaving

    async def reload(self) -> list[str]:
        """Read the file again; what changed and what needs a restart, as sentences.

        Raises SqlproxyError when the file cannot be used; nothing is changed then.
        """
        async with self._lock:
            try:
                changes = await self._reload(self._path) if self._path is not None else []
            except SqlproxyError as error:
                self._proxy.publisher.event("reload", "", f"a reload was refused, nothing was changed: {error.message}")
                raise
            if changes:
                self._proxy.publisher.event("reload", "", f"the configuration was reloaded: {'; '.join(changes)}")
            accounts = await self._proxy.read_accounts()
            if accounts is not None:
                changes.append(f"accounts: {accounts} read again")
            return changes

    async def stop(self) -> None:
        """Drain no longer."""
        if self._draining is not None:
            self._draining.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._draining

    async def _reload(self, path: Path) -> list[str]:
        running = self._proxy.settings
        wanted = await asyncio.to_thread(load, path)
        if running.origins.get("workers") == COMMAND_LINE:
            wanted = wanted.with_workers(running.workers)
        found = plan(running, wanted)
        await self._use(found.meanwhile(running))
        self._drain(found)
        return list(found.changes)

    async def _use(self, settings: Settings) -> None:
        proxy = self._proxy
        try:
            await proxy.prepare(settings)
        except BaseException:
            await proxy.discard()
            raise
        proxy.settings = settings
        configure(settings.log.format, settings.log.level)
        await proxy.commit()
        await proxy.monitor.reconfigure(
            [server.server() for server in settings.servers], settings.monitor, purge_tokens=settings.exactly_once
        )

    def _drain(self, found: Plan) -> None:
        """Begin to drain what leaves, and take back what shall stay after all."""
        monitor = self._proxy.monitor
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None
        for name in [name for name in self._before if name not in found.leaving]:
            monitor.set_state(name, self._before.pop(name))
        for name in found.leaving:
            self._before.setdefault(name, monitor.states[name])
            if monitor.states[name] is AdminState.ACTIVE:
                monitor.set_state(name, AdminState.DRAIN)
        if found.leaving:
            self._draining = asyncio.create_task(self._finish(found), name="servers that leave")

    async def _finish(self, found: Plan) -> None:
        """Wait until nothing is left on the servers that leave, then let them go."""
        proxy = self._proxy
        await asyncio.sleep(proxy.settled)
        if not await self._emptied(found.leaving, proxy.settings.drain_timeout):
            for name in found.leaving:
                proxy.monitor.set_state(name, AdminState.MAINTENANCE)
            await self._emptied(found.leaving, _MOVE)
        async with self._lock:
            try:
                await self._use(found.settings)
            except SqlproxyError as error:
                log.error("reload: %s cannot be let go: %s", ", ".join(found.leaving), error.message)
                return
            for name in found.leaving:
                state = self._before.pop(name)
                if name in proxy.monitor.states:  # at another address now
                    proxy.monitor.set_state(name, state)
        proxy.publisher.event("reload", "", f"{', '.join(found.leaving)}: drained and gone as the configuration says")

    async def _emptied(self, names: Sequence[str], seconds: float) -> bool:
        for _ in range(1 + round(seconds / _LOOK_EVERY)):
            if not any(self._connections(name) for name in names):
                return True
            await asyncio.sleep(_LOOK_EVERY)
        return False

    def _connections(self, name: str) -> int:
        found = [service.server_stats.get(name) for service in self._proxy.services]
        return sum(stats.connections for stats in found if stats is not None)
