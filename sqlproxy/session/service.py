"""What the sessions of one service share: servers, router, newest snapshot, counters, keys."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from sqlproxy.accounts.registry import AccountRegistry
from sqlproxy.accounts.throttle import Throttle
from sqlproxy.config import ServiceConfig
from sqlproxy.errors import ServerLost
from sqlproxy.routing.allow_list import AllowList
from sqlproxy.routing.base import Router
from sqlproxy.routing.readconn import ReadConn
from sqlproxy.routing.readwritesplit import ReadWriteSplit
from sqlproxy.routing.rules import RuleBook
from sqlproxy.session import guidance, leaving
from sqlproxy.session.answers import Answers
from sqlproxy.session.backend import Backend
from sqlproxy.session.conflicts import ConflictCounters
from sqlproxy.session.connect import Login
from sqlproxy.session.deadlines import Deadlines
from sqlproxy.session.ledger import Ledger
from sqlproxy.session.mirror import Mirrors
from sqlproxy.session.pool import Pool
from sqlproxy.session.registry import Registry
from sqlproxy.session.stats import ServerStats, ServiceStats
from sqlproxy.session.trace import Tracing
from sqlproxy.sql.generations import generations_of
from sqlproxy.topology.model import Role, Server, Snapshot
from sqlproxy.topology.publisher import Publisher
from sqlproxy.wire.compression import COMPRESSION
from sqlproxy.wire.constants import (
    CACHING_SHA2,
    CLIENT_CONNECT_ATTRS,
    CLIENT_CONNECT_WITH_DB,
    CLIENT_DEPRECATE_EOF,
    CLIENT_FOUND_ROWS,
    CLIENT_IGNORE_SIGPIPE,
    CLIENT_IGNORE_SPACE,
    CLIENT_INTERACTIVE,
    CLIENT_LOCAL_FILES,
    CLIENT_LONG_FLAG,
    CLIENT_LONG_PASSWORD,
    CLIENT_MULTI_RESULTS,
    CLIENT_MULTI_STATEMENTS,
    CLIENT_NO_SCHEMA,
    CLIENT_ODBC,
    CLIENT_PLUGIN_AUTH,
    CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
    CLIENT_PROTOCOL_41,
    CLIENT_PS_MULTI_RESULTS,
    CLIENT_QUERY_ATTRIBUTES,
    CLIENT_RESERVED,
    CLIENT_SECURE_CONNECTION,
    CLIENT_SESSION_TRACK,
    CLIENT_SSL,
    CLIENT_TRANSACTIONS,
    MARIADB_CLIENT_EXTENDED_METADATA,
    MARIADB_CLIENT_PROGRESS,
    MARIADB_CLIENT_STMT_BULK_OPERATIONS,
    METADATA_MAY_LACK,
    NATIVE,
)
from sqlproxy.wire.handshake import GreetingForm, split
from sqlproxy.wire.rsa import RSAKey

# What the proxy can relay.
RELAYED: Final = (
    CLIENT_FOUND_ROWS
    | CLIENT_LONG_FLAG
    | CLIENT_CONNECT_WITH_DB
    | CLIENT_NO_SCHEMA
    | CLIENT_ODBC
    | CLIENT_LOCAL_FILES
    | CLIENT_IGNORE_SPACE
    | CLIENT_INTERACTIVE
    | CLIENT_IGNORE_SIGPIPE
    | CLIENT_MULTI_STATEMENTS
    | CLIENT_MULTI_RESULTS
    | CLIENT_PS_MULTI_RESULTS
    | CLIENT_QUERY_ATTRIBUTES
    | CLIENT_SESSION_TRACK
    | CLIENT_DEPRECATE_EOF
    | MARIADB_CLIENT_PROGRESS
    | MARIADB_CLIENT_STMT_BULK_OPERATIONS
    | MARIADB_CLIENT_EXTENDED_METADATA
    | METADATA_MAY_LACK
)
# What the proxy itself does, whatever the servers can.
_OWN: Final = (
    CLIENT_LONG_PASSWORD
    | CLIENT_PROTOCOL_41
    | CLIENT_TRANSACTIONS
    | CLIENT_RESERVED
    | CLIENT_SECURE_CONNECTION
    | CLIENT_PLUGIN_AUTH
    | CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
    | CLIENT_CONNECT_ATTRS
)
_WORTH_NOTING: Final = 0.002  # seconds
_PAUSES_KEPT: Final = 10_000
_OPENED_AT_ONCE: Final = 64


class Service:
    """One service at run time. ``evidence(server, why)`` asks the monitor to look at a server at once."""

    def __init__(
        self,
        config: ServiceConfig,
        servers: Sequence[Server],
        publisher: Publisher,
        accounts: AccountRegistry,
        throttle: Throttle,
        registry: Registry,
        evidence: Callable[[str, str], None],
        stale_after: float,
        tls: ssl.SSLContext | None,
        rsa_key: RSAKey | None,
        workers: int = 0,
    ) -> None:
        self.config = config
        self.name = config.name
        self.router: str = config.router  # its kind, for people
        self.servers: Mapping[str, Server] = {server.name: server for server in servers}
        self.server_stats = {server.name: ServerStats() for server in servers}
        self.stats = ServiceStats()
        self.ledger = Ledger(config)
        self.accounts = accounts
        self.throttle = throttle
        self.registry = registry
        self.evidence = evidence
        self.tls = tls
        self.rsa_key = rsa_key
        self.rules: RuleBook | None = None
        self.read_only = False
        self.answers: Answers | None = None
        self.allow_list: AllowList | None = None
        self.tracing: Tracing | None = None
        self.mirrors = Mirrors()
        self.conflicts: dict[str, ConflictCounters] = {}  # by server
        self.snapshot = Snapshot(0, 0.0)
        self._offered, self._offered_of = (b"", 0, 0), self.snapshot
        self._greeting: GreetingForm | None = None
        self._greeting_of: object = None
        self.deadlines = Deadlines()  # of logins
        self.generations = generations_of(())  # of its servers, for reading statements
        self._stale_after = stale_after
        self._publisher = publisher
        self._changed = asyncio.Event()
        self._pauses: deque[tuple[float, float]] = deque(maxlen=_PAUSES_KEPT)
        self.leaving: frozenset[str] = frozenset()  # alive, but no place for new work
        self.waiting = 0  # statements waiting for a server now
        self.ticks = 0  # a clock that costs statements nothing: looks of the SilenceWatch
        self.suspects: dict[str, str] = {}  # servers that are silent, and the reason
        # After a failover every session wants a connection to the same server: they get it some at a time, in order.
        self.openings = {server.name: asyncio.Semaphore(_OPENED_AT_ONCE) for server in servers}
        self._copies = max(workers, 1)  # of this service, which share what is kept for later
        self.pools = self._make_pools(servers)
        self._openings: dict[asyncio.Timeout, str] = {}  # connections being opened, to the servers named
        self._choose_router()
        self._unsubscribe = publisher.subscribe(self._on_snapshot)
        self._on_snapshot(publisher.snapshot, publisher.snapshot)

    def configure(
        self, config: ServiceConfig, servers: Sequence[Server], stale_after: float, tls: ssl.SSLContext | None
    ) -> None:
        """Another configuration from now on; connections to servers it no longer has are given up."""
        gone = self.servers.keys() - {server.name for server in servers}
        self.config, self.router, self.tls, self._stale_after = config, config.router, tls, stale_after
        for server in servers:
            self.server_stats.setdefault(server.name, ServerStats())
            self.openings.setdefault(server.name, asyncio.Semaphore(_OPENED_AT_ONCE))
        self.servers = {server.name: server for server in servers}
        self.clear_pools()
        self.pools = self._make_pools(servers)
        self.ledger.configure(config)
        self._choose_router()
        self._on_snapshot(self._publisher.snapshot, self._publisher.snapshot)
        for session in [s for s in self.registry.sessions.values() if s.service is self]:
            for name in gone & session.backends.keys():
                session.backends[name].abort(f"server {name} was removed from the configuration")
        for name in gone:  # by now nobody balances by them; connections that end keep counting in their own
            del self.server_stats[name], self.openings[name]

    def close(self) -> None:
        """Stop listening to snapshots; close what no session uses."""
        self._unsubscribe()
        self.clear_pools()

    def _make_pools(self, servers: Sequence[Server]) -> dict[str, Pool]:
        return {
            server.name: Pool(
                server, self.server_stats[server.name], -(-server.persistpoolmax // self._copies), self.evidence
            )
            for server in servers
        }

    def clear_pools(self) -> None:
        """Close the connections that no session uses."""
        for pool in self.pools.values():
            pool.clear()

    def _choose_router(self) -> None:
        self.routing = self.make_router()
        self.splitter = self.routing if isinstance(self.routing, ReadWriteSplit) else None  # reads have a short way

    def govern(
        self, rules: RuleBook | None, read_only: bool, answers: Answers | None, allow_list: AllowList | None = None
    ) -> None:
        """Other rules from now on, or none; ``answers`` is where those with ``cache`` keep them."""
        self.rules, self.read_only, self.answers, self.allow_list = rules, read_only, answers, allow_list
        for session in [s for s in self.registry.sessions.values() if s.service is self]:
            guidance.follow_rules(session)

    def trace(self, tracing: Tracing | None) -> None:
        """Have sessions trace their statements, or no longer."""
        self.tracing = tracing
        for session in [s for s in self.registry.sessions.values() if s.service is self]:
            guidance.follow_rules(session)

    def make_router(self) -> Router:
        """A router of this service's kind; sessions share one, slow paths make their own."""
        return router_for(self.config)

    @property
    def listen(self) -> list[str]:
        """The addresses, as text."""
        return [str(address) for address in self.config.listen]

    def keep(self, backend: Backend, login: Login, touched: bool) -> bool:
        """Take in a connection that a session leaves, for the next one; False when it is not wanted."""
        view = self.snapshot.server(backend.server)
        return view is not None and view.readable and self.pools[backend.server].keep(backend, login, touched)

    def is_stale(self) -> bool:
        """Nobody has judged the servers lately: what is called primary may no longer be."""
        return asyncio.get_running_loop().time() - self._publisher.fresh_at > self._stale_after

    async def changed(self, timeout: float) -> bool:
        """Wait for the next snapshot, at most ``timeout`` seconds; whether one came."""
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def while_usable(self, server: str) -> AsyncIterator[None]:
        """Give up what is awaited inside, as ServerLost, when a snapshot takes the server out of use.

        A server that dies may still accept connections, which it never greets.
        """
        try:
            async with asyncio.timeout(None) as limit:
                self._openings[limit] = server
                try:
                    yield
                finally:
                    self._openings.pop(limit, None)
        except TimeoutError:
            view = self.snapshot.server(server)
            raise ServerLost(f"server {server} went out of use: {view.reason if view else 'not configured'}") from None

    @property
    def unknown_shapes(self) -> dict[str, int]:
        """The most frequent statements that were not understood, without literals, and their counts."""
        return self.ledger.unknown.top()

    def note_pause(self, seconds: float) -> None:
        """A statement waited so long before it was sent to a server."""
        if seconds >= _WORTH_NOTING:
            self._pauses.append((time.monotonic(), seconds))

    def longest_pause(self, within: float = 60.0) -> float:
        """The longest such wait, in seconds, that ended within the last so many seconds; 0.0 if there was none."""
        since = time.monotonic() - within
        return max((seconds for ended, seconds in self._pauses if ended >= since), default=0.0)

    def _on_snapshot(self, snapshot: Snapshot, previous: Snapshot) -> None:
        self.snapshot = self._restrict(snapshot)
        for name, pool in self.pools.items():
            view, before = self.snapshot.server(name), previous.server(name)
            if view is None or before is None or (view.role, view.state) != (before.role, before.state):
                pool.clear()
        self.generations = generations_of(view.version for view in self.snapshot.servers if view.version)
        event, self._changed = self._changed, asyncio.Event()
        event.set()
        unusable = {view.name for view in self.snapshot.servers if not view.usable}
        lost = {view.name: view.reason for view in self.snapshot.servers if view.lost}
        self.suspects = {view.name: view.reason for view in self.snapshot.servers if view.role is Role.SUSPECT}
        self.leaving = frozenset(
            v.name for v in self.snapshot.servers if not v.readable and not v.lost and v.name not in self.suspects
        )
        for name in unusable & self.pools.keys():
            self.pools[name].out_of_use(f"server {name} went out of use")
        for limit in [limit for limit, server in self._openings.items() if server in unusable]:
            del self._openings[limit]
            limit.reschedule(asyncio.get_running_loop().time())
        for session in [s for s in self.registry.sessions.values() if s.service is self]:
            leaving.on_snapshot(session, lost)

    def opening(self, server: str) -> int:
        """Connections being opened to a server now."""
        return sum(name == server for name in self._openings.values()) + len(self.pools[server].joining)

    def relieve(self, oldest: int) -> None:
        """Have what was sent to silent servers since tick ``oldest`` go on elsewhere, as far as it can."""
        if not self.suspects or not any(view.readable for view in self.snapshot.servers):
            return
        for session in [s for s in self.registry.sessions.values() if s.service is self]:
            leaving.relieve(session, oldest)

    def _restrict(self, snapshot: Snapshot) -> Snapshot:
        """Only this service's servers."""
        if all(view.name in self.servers for view in snapshot.servers):
            return snapshot
        return snapshot.only(self.servers.keys())

    def offer(self) -> tuple[bytes, int, int]:
        """What clients are greeted with: version, capabilities and collation, as the servers have them.

        The lowest version, and only what all reachable servers can do, so that a session may use any of them.
        """
        if self._offered_of is not self.snapshot:
            self._offered, self._offered_of = self._offer(), self.snapshot
        return self._offered

    def greeting(self) -> GreetingForm | None:
        """How clients are greeted; None before any server has been reached."""
        key = self.offer(), self.tls, self.config.compression
        if key != self._greeting_of:
            self._greeting, self._greeting_of = self._make_greeting(), key
        return self._greeting

    def _make_greeting(self) -> GreetingForm | None:
        version, capabilities, collation = self.offer()
        if not version:
            return None
        if self.tls is not None:
            capabilities |= CLIENT_SSL
        for name in self.config.compression:
            capabilities |= COMPRESSION[name]
        plugin = NATIVE if b"mariadb" in version.lower() else CACHING_SHA2
        low, high = split(capabilities)
        return GreetingForm(version, low, high, collation, plugin)

    def _offer(self) -> tuple[bytes, int, int]:
        views = [view for view in self.snapshot.servers if view.version]
        if not views:
            return b"", 0, 0
        oldest = min(views, key=lambda view: version_key(view.version))
        capabilities = RELAYED
        for view in views:
            if view.usable or not any(v.usable for v in views):
                capabilities &= view.capabilities
        return oldest.version.encode(), capabilities | _OWN, oldest.collation


def router_for(config: ServiceConfig) -> Router:
    """A router of the kind a service is configured with."""
    if config.router == "readconn":
        return ReadConn(config.role)
    return ReadWriteSplit(config.primary_accepts_reads)


def version_key(version: str) -> tuple[int, ...]:
    """For ordering "5.5.5-10.11.2-MariaDB" and "9.4.0": the numbers that count."""
    numbers = version.removeprefix("5.5.5-").split("-")[0].split(".")
    return tuple(int(part) if part.isdigit() else 0 for part in numbers)
