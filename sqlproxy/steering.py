"""A running proxy as operators reach it, wherever its sessions are: admin ports, monitor, configuration."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path

from sqlproxy import tls
from sqlproxy.admin.http import AdminServer
from sqlproxy.admin.sql import SqlAdmin
from sqlproxy.admin.view import Runtime
from sqlproxy.allow_files import Keeper
from sqlproxy.config import AdminConfig, Settings
from sqlproxy.monitor.loop import Monitor
from sqlproxy.reloading import Proxy, Reloading
from sqlproxy.routing.allow_list import Entry
from sqlproxy.topology.model import AdminState
from sqlproxy.topology.publisher import Publisher


class Steered:
    """What a proxy in one process and one with workers have in common; they add what depends on the sessions."""

    settled = 0.1  # see ``reloading.Proxy``

    def __init__(self, settings: Settings, path: Path | None) -> None:
        self.settings = settings
        self.started_at = time.time()
        self.publisher = Publisher()
        self.monitor = Monitor(
            [server.server() for server in settings.servers],
            settings.monitor,
            self.publisher,
            purge_tokens=settings.exactly_once,
        )
        self._path = path
        self._reloading: Reloading | None = None  # once started
        self._started = asyncio.Event()
        self._admin: AdminServer | None = None
        self._sql: SqlAdmin | None = None
        self.keeper: Keeper  # of the allow lists' files
        self._listed: dict[str, set[Entry]] = {}  # what they have, as a reload has read them
        self._admin_tls: ssl.SSLContext | None = None
        self._next_tls: ssl.SSLContext | None = None  # once a reload takes effect

    def _make_ports(self, runtime: Runtime) -> None:
        """The admin ports that the settings ask for, not yet open."""
        config = self.settings.admin
        self._admin_tls = tls.server_context("admin.tls", config.tls)
        self._admin = AdminServer(runtime, config, self._admin_tls) if config.listen is not None else None
        self._sql = SqlAdmin(runtime, config, self._admin_tls) if config.sql_listen is not None else None

    @property
    def _ports(self) -> list[AdminServer | SqlAdmin]:
        return [port for port in (self._admin, self._sql) if port is not None]

    async def _open_ports(self) -> None:
        for port in self._ports:
            await port.start()

    async def _close_ports(self) -> None:
        for port in self._ports:
            await port.stop()

    def _prepare_ports(self, config: AdminConfig) -> None:
        """Read the certificate again; one made at start stays. Raises ConfigError."""
        kept = tls.is_self_signed(config.tls) and tls.is_self_signed(self.settings.admin.tls)
        self._next_tls = self._admin_tls if kept else tls.server_context("admin.tls", config.tls)

    def _configure_ports(self, config: AdminConfig) -> None:
        self._admin_tls = self._next_tls
        for port in self._ports:
            port.configure(config, self._admin_tls)

    def _admin_sockets(self) -> dict[str, list[socket.socket]]:
        """The listening sockets of the admin ports by address."""
        config = self.settings.admin
        pairs = ((config.listen, self._admin), (config.sql_listen, self._sql))
        return {str(address): [port.listening] for address, port in pairs if port is not None and port.listening}

    def _follow_file(self, proxy: Proxy) -> None:
        """From now on the configuration can be reloaded."""
        self._reloading = Reloading(proxy, self._path)
        self._started.set()

    async def _leave_file(self) -> None:
        if self._reloading is not None:
            await self._reloading.stop()

    # -- what the admin side does

    def allowed(self) -> dict[str, set[Entry]]:
        """What the allow lists have, by service."""
        return self.keeper.entries

    @property
    def admin_url(self) -> str:
        """Where the dashboard is; "" when the admin side is off."""
        return self._admin.url if self._admin is not None else ""

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
        """Use the file as it is now; what changed, as sentences. Raises SqlproxyError when nothing was changed.

        A proxy that is still starting is reloaded as soon as it has started.
        """
        await self._started.wait()
        assert self._reloading is not None
        return await self._reloading.reload()
