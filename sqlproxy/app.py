"""The composition root of one process: monitor, engine and admin, built from the settings."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlproxy import inherited
from sqlproxy.allow_files import Keeper
from sqlproxy.config import ServiceConfig, Settings
from sqlproxy.engine import Engine
from sqlproxy.pace import Pace
from sqlproxy.routing.allow_list import Entry, Unlisted
from sqlproxy.routing.base import Load, RouteContext
from sqlproxy.routing.explain import explained
from sqlproxy.routing.hints import HintStack
from sqlproxy.routing.rules import RuleBook
from sqlproxy.session.digests import Figures
from sqlproxy.session.registry import Registry
from sqlproxy.session.service import Service, router_for
from sqlproxy.sql.bits import WRITE
from sqlproxy.sql.classify import classify
from sqlproxy.sql.generations import generations_of
from sqlproxy.steering import Steered
from sqlproxy.topology.model import Snapshot
from sqlproxy.upgrade import Estate

log = logging.getLogger("sqlproxy.app")

FIRST_SNAPSHOT = 3.0  # seconds to wait for every server's first report before clients are let in


class App(Steered):
    """One running proxy process. ``start`` raises SqlproxyError when a port is taken or a file cannot be used."""

    def __init__(self, settings: Settings, path: Path | None = None) -> None:
        super().__init__(settings, path)
        (self._slot,) = inherited.free_slots(1)
        registry = Registry(self._slot)
        self.engine = Engine(settings, self.publisher, self.monitor.probe_now, self.monitor.suspect, registry)
        self.keeper = Keeper(settings, self.engine.take_learned)
        self._make_ports(self)

    @property
    def services(self) -> Sequence[Service]:
        """The running services."""
        return self.engine.services

    async def start(self) -> None:
        """Open every port, look at the servers once, then let clients in."""
        try:
            self.engine.open()
            await self._open_ports()
            await self.monitor.start()
            await self.monitor.first_snapshot(FIRST_SNAPSHOT)
            await self.engine.start()
            self.keeper.start()
            self.engine.receive(inherited.links())
        except BaseException:
            await self.stop()
            raise
        self._follow_file(self)
        for service in self.services:
            log.info("service %s listens on %s", service.name, ", ".join(service.listen))

    async def estate(self) -> Estate:
        """What a process gets that takes over."""
        listening = {str(address): [sock] for address, sock in self.engine.listening} | self._admin_sockets()
        return Estate(listening, sorted(self.engine.registry.slots()), self._slot, 1)

    async def retire(self, seconds: float, links: Sequence[socket.socket]) -> None:
        """Another process has taken over: hand over the sessions there are, or serve them until they end, so long."""
        await self._close_ports()
        await self.engine.retire(seconds, *links)
        await self.keeper.stop()

    async def stop(self) -> None:
        """Accept no more, let what runs end, then stop everything."""
        await self._leave_file()
        await self.engine.stop()
        await self.keeper.stop()
        await self._close_ports()
        await self.monitor.stop()

    # -- what the admin side sees and does

    async def sessions(self) -> list[dict[str, object]]:
        """One row per client session."""
        return await self.engine.sessions()

    @property
    def pace(self) -> Pace:
        """What operators ask for shares this process with the sessions."""
        return self.engine.pace

    async def digests(self) -> list[Figures]:
        """The statement digests of all services."""
        return [row async for rows in self.engine.digest_slices() for row in rows]

    async def clear_digests(self) -> None:
        """Begin the statement statistics anew."""
        self.engine.clear_digests()

    async def prepare(self, settings: Settings) -> None:
        """See ``reloading.Proxy``."""
        self._listed = self.keeper.read(settings)
        self._prepare_ports(settings.admin)
        self.engine.prepare(settings)

    async def commit(self) -> None:
        """See ``reloading.Proxy``."""
        self.keeper.use(self.settings, self._listed)
        await self.engine.commit()
        self._configure_ports(self.settings.admin)

    async def discard(self) -> None:
        """See ``reloading.Proxy``."""
        self.engine.discard()

    async def read_accounts(self) -> int | None:
        """See ``reloading.Proxy``."""
        return await self.engine.refresh_accounts("reload")

    async def kill_session(self, session_id: int) -> bool:
        """False when there is no such session."""
        return self.engine.kill_session(session_id)

    def rule_counters(self) -> dict[str, dict[str, int]]:
        """What every rule did so far, by name."""
        return self.engine.rule_counters()

    async def unlisted(self) -> list[Unlisted]:
        """What was run and is not on the allow list of its service."""
        return self.engine.unlisted()

    async def allow(self, service: str, entries: Sequence[Entry]) -> None:
        """Have a service's allow list have these too. Raises SqlproxyError when its file cannot be written."""
        await self.keeper.add(service, entries)
        self.engine.allow({service: entries})

    def accounts(self) -> list[dict[str, object]]:
        """Who may log in; never how."""
        return self.engine.account_rows()

    def explain(self, sql: bytes, in_transaction: bool) -> dict[str, object]:
        """Where the first service would send a statement of a fresh session, and why."""
        service = self.services[0]
        loads, snapshot = service.server_stats, self.publisher.snapshot
        return explain_route(service.config, snapshot, loads, sql, in_transaction, self.settings)


def explain_route(
    config: ServiceConfig,
    snapshot: Snapshot,
    loads: Mapping[str, Load],
    sql: bytes,
    in_transaction: bool,
    settings: Settings | None = None,
) -> dict[str, object]:
    """Where a service would send a statement of a fresh session, and every rule that decides it.

    Rules of ``settings`` that depend on user, database or address are named, but not followed.
    """
    if config.servers:
        snapshot = snapshot.only(config.servers)
    mode = generations_of(view.version for view in snapshot.servers if view.version)
    verdict, found = RuleBook(settings.rules if settings is not None else ()).explained(config.name, sql, mode)
    sql = sql if verdict.text is None else verdict.text
    mask = classify(sql, 0, mode)
    if mask & WRITE and (config.read_only or (settings is not None and settings.read_only)):
        found.append("read_only = true: what may write is refused")
    answer = explained(
        router_for(config),
        config.router == "readwritesplit",
        mask,
        sql,
        mode,
        RouteContext(transaction=snapshot.primary or "") if in_transaction else RouteContext(),
        snapshot,
        loads,
        hint=verdict.route.hint if verdict.route is not None else HintStack().take(0, mask, sql, 0, 0),
        primary_accepts_reads=config.primary_accepts_reads,
        found=found,
    )
    return {"service": config.name, **answer}
