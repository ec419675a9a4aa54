"""What the admin side sees of the running proxy, and the JSON rows it shows of it.

`Runtime` is all that HTTP, SQL and metrics know of the proxy. The functions are pure: a runtime in, JSON-able values
out. Times are seconds since the epoch, durations seconds; secrets never leave this module.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Protocol

from sqlproxy import __version__
from sqlproxy.config import ServerConfig, Settings
from sqlproxy.origins import key_of, leaves
from sqlproxy.pace import Pace
from sqlproxy.routing.allow_list import Entry, Unlisted
from sqlproxy.routing.rules import RuleStats, describe
from sqlproxy.session.digests import Figures
from sqlproxy.session.stats import ServerStats, ServiceStats
from sqlproxy.topology.model import Address, AdminState, Role, ServerView, Snapshot
from sqlproxy.topology.publisher import Publisher

Row = dict[str, object]

HIDDEN = "***"
_SECRET_KEYS = frozenset({"password", "password_hash", "token"})
_ACCOUNT_KEYS = ("user", "host", "plugin", "locked", "tls")
_NOT_PROBED = "not probed yet"


class ServiceHandle(Protocol):
    """A running service; ``listen`` are addresses as text, ``server_stats`` is by server name."""

    @property
    def name(self) -> str: ...
    @property
    def router(self) -> str: ...
    @property
    def listen(self) -> Sequence[str]: ...
    @property
    def waiting(self) -> int: ...
    @property
    def stats(self) -> ServiceStats: ...
    @property
    def server_stats(self) -> Mapping[str, ServerStats]: ...
    @property
    def unknown_shapes(self) -> Mapping[str, int]: ...

    def longest_pause(self, within: float = 60.0) -> float:
        """Seconds the longest wait of a statement lasted that ended within the last so many seconds."""


class Runtime(Protocol):
    """The running proxy."""

    @property
    def settings(self) -> Settings: ...
    @property
    def publisher(self) -> Publisher: ...
    @property
    def started_at(self) -> float: ...
    @property
    def services(self) -> Sequence[ServiceHandle]: ...
    @property
    def pace(self) -> Pace: ...

    async def sessions(self) -> list[Row]:
        """One row per client: id, service, user, host, database, primary, replica, state, in_transaction, pins,
        statements, since (wall clock), idle_seconds."""

    async def digests(self) -> list[Figures]:
        """The rows of all processes, not merged."""

    async def clear_digests(self) -> None:
        """Begin the statement statistics anew."""

    def set_server_state(self, name: str, state: AdminState) -> None:
        """Raises KeyError when there is no such server."""

    def notify(self, source: str, detail: str) -> None:
        """A pushed view change: probe every server at once."""

    async def switchover(self, name: str | None) -> str:
        """The new primary's name. Raises SqlproxyError with the reason when it cannot be done."""

    async def reload(self) -> list[str]:
        """What changed, as sentences. Raises ConfigError."""

    async def kill_session(self, session_id: int) -> bool:
        """False when there is no such session."""

    def rule_counters(self) -> Mapping[str, Mapping[str, int]]:
        """What every rule did so far, by name."""

    def allowed(self) -> Mapping[str, Collection[Entry]]:
        """What the allow lists have, by service; services without one are left out."""

    async def unlisted(self) -> list[Unlisted]:
        """What was run in any process and is not on the allow list of its service."""

    async def allow(self, service: str, entries: Sequence[Entry]) -> None:
        """Have a service's allow list have these too. Raises SqlproxyError when its file cannot be written."""

    def accounts(self) -> list[Row]:
        """user, host, plugin, locked, tls."""

    def explain(self, sql: bytes, in_transaction: bool) -> Row:
        """target, server, rules (sentences)."""


def servers(runtime: Runtime) -> list[Row]:
    """One row per configured server, in the order of the file, with what all services do on it."""
    snapshot = runtime.publisher.snapshot
    return [_server(config, snapshot, _totals(runtime, config.name)) for config in runtime.settings.servers]


def _server(config: ServerConfig, snapshot: Snapshot, totals: Mapping[str, int]) -> Row:
    seen = snapshot.server(config.name) or ServerView(config.name, Role.UNKNOWN, AdminState.ACTIVE, _NOT_PROBED)
    return {
        "name": config.name,
        "address": str(config.address),
        "role": seen.role.value,
        "state": seen.state.value,
        "reason": seen.reason,
        "primary": snapshot.primary == config.name,
        "weight": config.weight,
        "priority": config.priority,
        "zone": config.zone,
        "version": plain_version(seen.version),
        "latency_ms": round(seen.latency * 1000, 3),
        "lag": seen.lag,
        **totals,
        "figures": dict(seen.figures),
    }


def plain_version(version: str) -> str:
    """A server's version without the 5.5.5- that MariaDB puts before it for old replicas."""
    return version.removeprefix("5.5.5-")


def _totals(runtime: Runtime, server: str) -> dict[str, int]:
    total: Counter[str] = Counter(dict.fromkeys(ServerStats.__slots__, 0))
    for service in runtime.services:
        if server in service.server_stats:
            total.update(service.server_stats[server].as_dict())
    return dict(total)


def services(runtime: Runtime) -> list[Row]:
    """One row per service: its counters, under ``servers`` those of each of its servers, under ``unknown`` what was not
    understood most often, without literals.
    """
    return [
        {
            "name": service.name,
            "router": service.router,
            "listen": [str(address) for address in service.listen],
            "waiting": service.waiting,
            "longest_pause_ms": round(service.longest_pause() * 1000, 1),
            **service.stats.as_dict(),
            "unknown": [{"statement": text, "count": count} for text, count in service.unknown_shapes.items()],
            "servers": {name: stats.as_dict() for name, stats in service.server_stats.items()},
        }
        for service in runtime.services
    ]


def pools(runtime: Runtime) -> list[Row]:
    """One row per service and server: connections in use and kept for the next sessions, how often those served, and
    what opening connections took.
    """
    configs = {server.name: server for server in runtime.settings.servers}
    return [
        {
            "service": service.name,
            "server": name,
            "in_use": stats.connections - stats.pooled,
            "pooled": stats.pooled,
            "working": stats.operations,
            "max_connections": configs[name].max_connections,
            "persistpoolmax": configs[name].persistpoolmax,
            "persistmaxtime": configs[name].persistmaxtime,
            "opened": stats.connections_total,
            "reused": stats.reused,
            "refused": stats.connect_errors,
            "lost": stats.losses,
            "connect_avg_ms": round(stats.connects.total / max(stats.connects.count, 1) * 1000, 3),
            "connect_p95_ms": round(stats.connects.quantile(0.95) * 1000, 3),
        }
        for service in runtime.services
        for name, stats in service.server_stats.items()
    ]


async def sessions(runtime: Runtime) -> list[Row]:
    """One row per client session."""
    return [dict(row) for row in await runtime.sessions()]


def age(runtime: Runtime, now: float | None = None) -> float | None:
    """Seconds since the servers were last judged, or None before the first time; ``now`` is monotonic."""
    fresh_at = runtime.publisher.fresh_at
    if not runtime.publisher.snapshot.number:
        return None
    return max(0.0, (time.monotonic() if now is None else now) - fresh_at)


def monitor(runtime: Runtime) -> Row:
    """The newest verdict as a whole."""
    snapshot, config = runtime.publisher.snapshot, runtime.settings.monitor
    seconds = age(runtime)
    return {
        "topology": config.topology,
        "interval": config.interval,
        "timeout": config.timeout,
        "snapshot": snapshot.number,
        "age": None if seconds is None else round(seconds, 3),
        "stale": is_stale(runtime),
        "primary": snapshot.primary,
        "alarms": list(snapshot.alarms),
        "causal": snapshot.causal,
        "version": __version__,
        "started_at": runtime.started_at,
        "uptime": round(max(0.0, time.time() - runtime.started_at), 3),
    }


def is_stale(runtime: Runtime) -> bool:
    """Whether the newest verdict is missing or older than ``monitor.stale_after``."""
    seconds = age(runtime)
    return seconds is None or seconds > runtime.settings.monitor.stale_after


def events(runtime: Runtime, after: int = 0) -> list[Row]:
    """What changed, oldest first; only events numbered above ``after``."""
    return [
        {"number": e.number, "time": e.time, "kind": e.kind, "server": e.server, "text": e.text}
        for e in tuple(runtime.publisher.events)
        if e.number > after
    ]


def rules(runtime: Runtime) -> list[Row]:
    """One row per rule, in their order: its keys, what it does in words, its counters."""
    counters = runtime.rule_counters()
    rows = []
    for config in runtime.settings.rules:
        given = {key: plain(getattr(config, key), key) for key in type(config).model_fields if getattr(config, key)}
        known = counters.get(config.name) or RuleStats().as_dict()
        rows.append({**given, "dry_run": config.dry_run, "stop": config.stop, "does": describe(config), **known})
    return rows


def accounts(runtime: Runtime) -> list[Row]:
    """Who may log in: user, host, plugin, locked, tls. Anything else an account carries is left out."""
    return [{key: row.get(key) for key in _ACCOUNT_KEYS} for row in runtime.accounts()]


def config(runtime: Runtime) -> Row:
    """The effective configuration; every secret reads ``***``. ``origins``: by key where its value came from."""
    settings = runtime.settings
    values = {name: plain(getattr(settings, name), name) for name in type(settings).model_fields}
    keys = [key_of(location) for location in leaves(settings)]
    return values | {"origins": {key: settings.origins.get(key, "default") for key in keys}}


def plain(value: object, key: str = "") -> object:
    """A configuration value as JSON-able data: sections become dictionaries, addresses text, secrets ``***``."""
    if value is None or (isinstance(value, bool | int | float) and key not in _SECRET_KEYS):
        return value
    if key in _SECRET_KEYS or hasattr(value, "get_secret_value"):
        return HIDDEN
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(k): plain(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    fields = getattr(type(value), "model_fields", None)
    if fields is not None and not isinstance(value, Address):
        return {name: plain(getattr(value, name), name) for name in fields}
    return str(value)


def ready(runtime: Runtime, role: str) -> tuple[bool, str]:
    """Whether statements of ``role`` ("primary": writes, "replica": reads) find a server, and why (not)."""
    snapshot = runtime.publisher.snapshot
    if is_stale(runtime):
        return False, "the servers have not been judged recently"
    if role == "replica":
        names = [view.name for view in snapshot.servers if view.role is Role.REPLICA and view.readable]
        return bool(names), f"reads go to {', '.join(names)}" if names else "no replica takes reads"
    view = snapshot.server(snapshot.primary) if snapshot.primary else None
    if view is None or view.role is not Role.PRIMARY:
        return False, "; ".join(["there is no primary", *snapshot.alarms])
    if view.state is not AdminState.ACTIVE:
        return False, f"the primary {view.name} is in state {view.state.value}"
    return True, f"writes go to {view.name}"
