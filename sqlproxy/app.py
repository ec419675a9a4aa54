"""The composition root: builds monitor, accounts, services, listeners and admin from the settings, and runs them."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from sqlproxy import tls
from sqlproxy.accounts.registry import AccountRegistry
from sqlproxy.accounts.throttle import Throttle
from sqlproxy.admin.http import AdminServer
from sqlproxy.config import ServiceConfig, Settings, load
from sqlproxy.errors import ConfigError
from sqlproxy.listener import Listener
from sqlproxy.monitor.loop import Monitor
from sqlproxy.routing.base import RouteContext
from sqlproxy.routing.hints import HintStack, redirect
from sqlproxy.session.service import Registry, Service
from sqlproxy.sql.bits import describe
from sqlproxy.sql.classify import classify, explain
from sqlproxy.topology.model import AdminState
from sqlproxy.topology.publisher import Publisher
from sqlproxy.wire.rsa import RSAKey

log = logging.getLogger("sqlproxy.app")

_FIRST_SNAPSHOT = 3.0  # seconds to wait for every server's first report before clients are let in
_DRAIN = 5.0  # seconds that statements and transactions get to end at a shutdown


class App:
    """One running proxy process. ``start`` raises SqlproxyError when a port is taken or a file cannot be used."""

    def __init__(self, settings: Settings, path: Path | None = None) -> None:
        if settings.workers > 1:
            raise ConfigError(f"workers: {settings.workers} processes are not supported by this version, use 0 or 1")
        self.settings = settings
        self.started_at = time.time()
        self.publisher = Publisher()
        self.registry = Registry()
        self._path = path
        servers = [server.server() for server in settings.servers]
        self.monitor = Monitor(servers, settings.monitor, self.publisher)
        monitor_password = settings.monitor.password.get_secret_value()
        self.account_registry = AccountRegistry(
            settings.accounts, settings.monitor.user, monitor_password, self.publisher, servers
        )
        self._throttle = Throttle(settings.accounts.max_failures, settings.accounts.block_for)
        self._rsa_key = RSAKey.generate()
        self.services = [self._service(config) for config in settings.services]
        self._listeners = [Listener(service) for service in self.services]
        self._admin = AdminServer(self, settings.admin) if settings.admin.listen is not None else None

    def _service(self, config: ServiceConfig) -> Service:
        wanted = config.servers or [server.name for server in self.settings.servers]
        return Service(
            config,
            [server.server() for server in self.settings.servers if server.name in wanted],
            self.publisher,
            self.account_registry,
            self._throttle,
            self.registry,
            self.monitor.probe_now,
            self.settings.monitor.stale_after,
            tls.server_context(config.name, config.tls),
            self._rsa_key,
        )

    @property
    def admin_url(self) -> str:
        """Where the dashboard is; "" when the admin side is off."""
        return self._admin.url if self._admin is not None else ""

    async def start(self) -> None:
        """Open every port, look at the servers once, then let clients in."""
        try:
            for listener in self._listeners:
                listener.open()
            if self._admin is not None:
                await self._admin.start()
            await self.monitor.start()
            await self.monitor.first_snapshot(_FIRST_SNAPSHOT)
            await self.account_registry.start()
        except BaseException:
            await self.stop()
            raise
        for listener in self._listeners:
            listener.start()
        for service in self.services:
            log.info("service %s listens on %s", service.name, ", ".join(service.listen))

    async def stop(self) -> None:
        """Accept no more, let what runs end, then stop everything."""
        for listener in self._listeners:
            await listener.stop()
        await self._drain()
        if self._admin is not None:
            await self._admin.stop()
        await self.account_registry.stop()
        await self.monitor.stop()
        for service in self.services:
            service.close()

    async def _drain(self) -> None:
        """Close sessions as they come between transactions; what is left after a while is cut off."""
        deadline = time.monotonic() + _DRAIN
        while self.registry.sessions and time.monotonic() < deadline:
            for session in tuple(self.registry.sessions.values()):
                if not session.busy and not session.state.in_transaction:
                    session.client.close()
            await asyncio.sleep(0.01)
        for session in tuple(self.registry.sessions.values()):
            session.client.abort()
        await asyncio.sleep(0)

    # -- what the admin side sees and does

    def sessions(self) -> list[dict[str, object]]:
        """One row per client session."""
        return [session.describe() for session in self.registry.sessions.values()]

    def set_server_state(self, name: str, state: AdminState) -> None:
        """Raises KeyError when there is no such server."""
        self.monitor.set_state(name, state)

    def notify(self, source: str, detail: str) -> None:
        """A pushed view change: probe every server at once."""
        self.monitor.notify(source, detail)

    async def switchover(self, name: str | None) -> str:
        """The new primary's name. Raises SqlproxyError with the reason when it cannot be done."""
        return self.monitor.switchover(name)

    async def reload(self) -> list[str]:
        """Read the file and the accounts again; what changed, as sentences. Raises ConfigError."""
        changed = []
        if self._path is not None:
            fresh = load(self._path)
            for key in type(fresh).model_fields:
                if getattr(fresh, key) != getattr(self.settings, key):
                    changed.append(f"{key}: the change in {self._path} takes effect at the next start")
        if await self.account_registry.refresh("reload"):
            changed.append(f"accounts: {len(self.account_registry.accounts)} read again")
        return changed

    def kill_session(self, session_id: int) -> bool:
        """False when there is no such session."""
        session = self.registry.sessions.get(session_id)
        if session is None:
            return False
        session.client.close()
        return True

    def accounts(self) -> list[dict[str, object]]:
        """Who may log in; never how."""
        return [
            {
                "user": account.user,
                "host": account.host,
                "plugin": ", ".join(method.plugin for method in account.authentications),
                "locked": account.locked,
                "tls": account.tls,
            }
            for account in self.account_registry.accounts.accounts
            if not account.is_role
        ]

    def explain(self, sql: bytes, in_transaction: bool) -> dict[str, object]:
        """Where the first service would send a statement of a fresh session, and why."""
        service = self.services[0]
        mask = classify(sql)
        context = RouteContext(transaction=service.snapshot.primary or "") if in_transaction else RouteContext()
        decision = service.make_router().route(mask, context, service.snapshot, service.server_stats)
        rules = explain(sql)
        hint = HintStack().take(0, mask, sql, 0, 0)
        if hint is not None and service.router == "readwritesplit":
            decision, ignored = redirect(hint, decision, mask, context, service.snapshot, service.server_stats)
            rules.append(f"the hint ({hint}) is {f'ignored: {ignored}' if ignored else 'followed'}")
        return {
            "service": service.name,
            "server": decision.server or None,
            "reason": decision.reason,
            "classification": describe(mask),
            "rules": rules,
        }
