"""What carries the sessions of one process: accounts, services, listeners. It knows the servers by snapshots only."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence

from sqlproxy import tls
from sqlproxy.accounts.registry import AccountRegistry
from sqlproxy.accounts.throttle import Throttle
from sqlproxy.config import ServiceConfig, Settings
from sqlproxy.listener import Listener
from sqlproxy.session.registry import Registry
from sqlproxy.session.service import Service
from sqlproxy.topology.model import Address
from sqlproxy.topology.publisher import Publisher
from sqlproxy.wire.rsa import RSAKey

log = logging.getLogger("sqlproxy.app")

Sockets = Mapping[str, Sequence[tuple[Address, socket.socket]]]  # by service


class Engine:
    """Everything between the listening sockets and the servers.

    ``evidence(server, why)`` asks the monitor, wherever it runs, to look at a server at once. ``registry`` hands out
    the ids that clients see.
    """

    def __init__(
        self, settings: Settings, publisher: Publisher, evidence: Callable[[str, str], None], registry: Registry
    ) -> None:
        self.settings = settings
        self.publisher = publisher
        self.registry = registry
        self._evidence = evidence
        self._servers = [server.server() for server in settings.servers]
        monitor_password = settings.monitor.password.get_secret_value()
        self.accounts = AccountRegistry(
            settings.accounts, settings.monitor.user, monitor_password, publisher, self._servers
        )
        self._throttle = Throttle(settings.accounts.max_failures, settings.accounts.block_for)
        self._rsa_key = RSAKey.generate()
        self.services = [self._service(config) for config in settings.services]
        self._listeners = [Listener(service) for service in self.services]

    def _service(self, config: ServiceConfig) -> Service:
        wanted = config.servers or [server.name for server in self._servers]
        return Service(
            config,
            [server for server in self._servers if server.name in wanted],
            self.publisher,
            self.accounts,
            self._throttle,
            self.registry,
            self._evidence,
            self.settings.monitor.stale_after,
            tls.server_context(config.name, config.tls),
            self._rsa_key,
        )

    def open(self, sockets: Sockets | None = None) -> None:
        """Bind every port, or take over sockets that listen already. Raises SqlproxyError for a port that is taken."""
        for listener in self._listeners:
            if sockets is None:
                listener.open()
            else:
                listener.adopt(sockets[listener.service.name])

    async def start(self) -> None:
        """Read the accounts, then let clients in."""
        await self.accounts.start()
        for listener in self._listeners:
            listener.start()

    async def stop(self) -> None:
        """Accept no more, let what runs end, then stop."""
        for listener in self._listeners:
            await listener.stop()
        await self._drain()
        await self.accounts.stop()
        for service in self.services:
            service.close()

    async def _drain(self) -> None:
        """Close sessions as they come between transactions; what is left after a while is cut off."""
        deadline = time.monotonic() + self.settings.drain_timeout
        while self.registry.sessions and time.monotonic() < deadline:
            for session in tuple(self.registry.sessions.values()):
                if not session.busy and not session.state.in_transaction:
                    session.client.say_goodbye()
            await asyncio.sleep(0.01)
        for session in tuple(self.registry.sessions.values()):
            session.client.abort()
        await asyncio.sleep(0)

    def sessions(self) -> list[dict[str, object]]:
        """One row per client session."""
        return [session.describe() for session in self.registry.sessions.values()]

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
        """Read the accounts again; how many there are, None when nothing was read."""
        return len(self.accounts.accounts) if await self.accounts.refresh(reason) else None
