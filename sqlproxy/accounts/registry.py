"""The accounts in use: kept fresh from the servers' grant tables, or fixed by the configuration."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from sqlproxy.accounts import loader, match, static
from sqlproxy.accounts.decoy import Decoys
from sqlproxy.accounts.model import Account, Accounts
from sqlproxy.accounts.remembered import FastHashes, Remembered
from sqlproxy.config import AccountsConfig
from sqlproxy.errors import SqlproxyError
from sqlproxy.topology.model import Server, Snapshot
from sqlproxy.topology.publisher import Publisher
from sqlproxy.wire.auth import Credentials

LOAD_TIMEOUT = 5.0  # seconds for one server
_FOUND_KEPT = 4096  # users and hosts whose account is remembered
MIN_INTERVAL = 1.0  # seconds between two loads, whoever asks …
LOGIN_INTERVAL = 0.25  # … but for a login that failed: its account may have been created since

Load = Callable[[Server, str, str, float], Awaitable[Accounts]]

log = logging.getLogger(__name__)


class AccountRegistry:
    """Answers who may log in, from the newest set of accounts that could be read.

    ``accounts`` is that set (empty before the first success), ``error`` why the last reading failed, "" if it did
    not. ``fast_hashes`` is what clients have proved. ``on_change`` is called when other accounts
    are in force. ``load`` and ``clock`` (monotonic seconds) are for tests.
    """

    def __init__(
        self,
        config: AccountsConfig,
        monitor_user: str,
        monitor_password: str,
        publisher: Publisher,
        servers: Sequence[Server],
        *,
        load: Load = loader.load,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.accounts = Accounts()
        self.error = ""
        self.fast_hashes = FastHashes()
        self._found: dict[tuple[str | bytes, str | None, str | None], Account | None] = {}  # user and host looked up
        self._found_in = self.accounts
        self.on_change: Callable[[], None] = lambda: None
        self._publisher = publisher
        self._use(config, monitor_user, monitor_password, servers)
        self._load = load
        self._clock = clock
        self._decoys = Decoys()
        self._started_at = float("-inf")  # when the newest loading began
        self._reading = False  # a loading has begun to read
        self._loading: asyncio.Task[bool] | None = None
        self._timer: asyncio.Task[None] | None = None

    def _use(self, config: AccountsConfig, monitor_user: str, monitor_password: str, servers: Sequence[Server]) -> None:
        self._config = config
        self._user = config.user or monitor_user
        self._password = config.password.get_secret_value() if config.user else monitor_password
        self._servers = tuple(servers)

    async def configure(
        self, config: AccountsConfig, monitor_user: str, monitor_password: str, servers: Sequence[Server]
    ) -> None:
        """Another configuration from now on. The accounts in use stay until others have been read."""
        await self.stop()
        self._use(config, monitor_user, monitor_password, servers)
        self._started_at = float("-inf")
        if config.source == "static":
            self.accounts, self.error = static.from_config(config.users), ""
            self.fast_hashes.retain(self.accounts.accounts)
            return
        self._timer = asyncio.create_task(self._refresh_for_ever(), name="accounts refresh")

    async def start(self) -> None:
        """Load once, then again every ``refresh`` seconds. Servers that cannot be read now do not prevent the start."""
        if self._config.source == "static":
            self.accounts = static.from_config(self._config.users)
            return
        await self.refresh("start")
        self._timer = asyncio.create_task(self._refresh_for_ever(), name="accounts refresh")

    async def stop(self) -> None:
        """End the timer and what is being loaded."""
        for task in (self._timer, self._loading):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._timer = self._loading = None

    async def refresh(self, reason: str, *, anew: bool = False) -> bool:
        """Read the accounts again; True if a set was read since the call.

        Callers that come while a loading runs share its result; within a second of the last one nothing is done.
        ``anew``: the loading must begin after the call, for which it waits a moment if need be. ``reason`` is for the
        log.
        """
        if self._config.source == "static":
            return False
        under_way = self._reading
        if self._loading is None or self._loading.done():
            pause = self._started_at + (LOGIN_INTERVAL if anew else MIN_INTERVAL) - self._clock()
            if pause > 0 and not anew:
                return False
            self._loading = asyncio.create_task(self._load_after(pause, reason), name="accounts load")
        # Shielded: a client that goes away must not end the loading that others wait for.
        done = await asyncio.shield(self._loading)
        return await self.refresh(reason, anew=True) if anew and under_way else done

    async def _load_after(self, pause: float, reason: str) -> bool:
        if pause > 0:
            await asyncio.sleep(pause)
        self._started_at = self._clock()
        self._reading = True
        try:
            return await self._reload(reason)
        finally:
            self._reading = False

    def find(self, user: str | bytes, host_ip: str | None, host_name: str | None = None) -> Account | None:
        """See ``match.find``."""
        if self._found_in is not self.accounts or len(self._found) >= _FOUND_KEPT:
            self._found, self._found_in = {}, self.accounts
        key = user, host_ip, host_name
        if key not in self._found:
            self._found[key] = match.find(self.accounts, user, host_ip, host_name)
        return self._found[key]

    def decoy(self, user: str | bytes) -> Account:
        """An account for a user that does not exist, which nobody can log in to but which answers like a real one."""
        return self._decoys.account(user, self.accounts.plugins())

    def remember(self, account: Account, credentials: Credentials) -> None:
        """Keep the cleartext password a client has proved; see ``remembered``."""
        self.fast_hashes.remember(account, credentials)

    def remembered(self, account: Account) -> Remembered | None:
        """What is known of the account's password."""
        return self.fast_hashes.remembered(account)

    async def _refresh_for_ever(self) -> None:
        while True:
            if self.accounts.loaded_at and not self._config.refresh:
                return
            await asyncio.sleep(max(self._config.refresh, MIN_INTERVAL) if self.accounts.loaded_at else MIN_INTERVAL)
            await self.refresh("timer")

    async def _reload(self, reason: str) -> bool:
        errors = []
        for server in order(self._servers, self._publisher.snapshot):
            try:
                accounts = await self._load(server, self._user, self._password, LOAD_TIMEOUT)
            except SqlproxyError as error:
                errors.append(error.message)
                continue
            self._accept(static.supplement(accounts, self._config.users), reason)
            return True
        self._failed("; ".join(errors) or "no server is in a state to be asked")
        return False

    def _accept(self, accounts: Accounts, reason: str) -> None:
        if self.error:
            self._publisher.event("accounts", accounts.source, f"the accounts are read again from {accounts.source}")
        if accounts != self.accounts:
            log.info("%d accounts read from %s (%s)", len(accounts), accounts.source, reason)
            self.fast_hashes.retain(accounts.accounts)
            self.accounts = accounts
            self.on_change()
        self.accounts, self.error = accounts, ""

    def _failed(self, error: str) -> None:
        if not self.error:  # once, not at every refresh
            kept = f"those of {self.accounts.source} stay in force" if self.accounts.loaded_at else "nobody can log in"
            log.warning("the accounts cannot be read, %s: %s", kept, error)
            self._publisher.event("accounts", "", f"the accounts cannot be read, {kept}: {error}")
        self.error = error


def order(servers: Sequence[Server], snapshot: Snapshot) -> list[Server]:
    """Whom to ask: the primary, then the replicas; before the first snapshot everybody, as configured."""
    if not snapshot.number:
        return list(servers)
    usable = {view.name for view in snapshot.servers if view.usable}
    return sorted((s for s in servers if s.name in usable), key=lambda server: server.name != snapshot.primary)
