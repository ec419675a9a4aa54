"""What ``sqlproxy top`` shows: rates between two looks at the admin API's rows, and the order of the sessions. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlproxy.output import Row, clock, number

_COUNTED: Final = ("reads", "writes", "errors")
EVENTS: Final = 6
STATEMENTS: Final = 6  # digests

_ORDERS: Final[Mapping[str, Callable[[Row], object]]] = {
    "busy first": lambda row: (row.get("state") == "idle", -number(row.get("statements/s"))),
    "pinned first": lambda row: (not row.get("pins"), row.get("state") == "idle"),
    "longest idle first": lambda row: -number(row.get("idle_seconds")),
    "most statements first": lambda row: -number(row.get("statements")),
}
ORDERS: Final = tuple(_ORDERS)


@dataclass(frozen=True)
class Look:
    """What the admin API answered at one moment."""

    monitor: Row
    services: Sequence[Row]
    servers: Sequence[Row]
    sessions: Sequence[Row]
    digests: Sequence[Row]
    events: Sequence[Row]
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Section:
    """One table of the screen."""

    name: str
    columns: tuple[str, ...]
    rows: list[Row]


def sections(now: Look, before: Look, order: str = ORDERS[0]) -> list[Section]:
    """All tables, from top to bottom; sessions are sorted, not yet cut to what fits."""
    seconds = max(now.at - before.at, 1e-3)
    sessions = session_rows(now.sessions, before.sessions, seconds, order)
    events: list[Row] = [{**row, "time": clock(row.get("time"))} for row in now.events[-EVENTS:]]
    return [
        _section("services", service_rows(now.services, before.services, seconds)),
        _section("servers", server_rows(now.servers, before.servers, seconds)),
        _section("statements", [{key: row.get(key) for key in _STATEMENT} for row in now.digests[:STATEMENTS]]),
        Section("sessions", _SESSION, sessions),
        Section("events", ("time", "kind", "server", "text"), events),
    ]


_SESSION: Final = ("id", "user", "host", "database", "state", "primary", "replica", "statements/s", "pins")
_STATEMENT: Final = ("statement", "user", "server", "count", "errors", "avg_ms", "p95_ms", "total_ms")


def _section(name: str, rows: list[Row]) -> Section:
    return Section(name, tuple(rows[0]) if rows else (), rows)


def headline(look: Look) -> str:
    """The proxy in one line."""
    monitor = look.monitor
    words = [
        f"sqlproxy {monitor.get('version', '')}".strip(),
        f"{monitor.get('topology')}, primary {monitor.get('primary') or 'none'}",
        f"up {_duration(number(monitor.get('uptime')))}",
        f"{len(look.sessions)} sessions",
    ]
    return " · ".join(words + (["the servers have not been judged recently"] if monitor.get("stale") else []))


def _duration(seconds: float) -> str:
    days, hours, minutes = int(seconds // 86400), int(seconds // 3600 % 24), int(seconds // 60 % 60)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _rate(row: Row, old: Row, key: str, seconds: float) -> str:
    return f"{(number(row.get(key)) - number(old.get(key))) / seconds:.0f}"


def server_rows(rows: Sequence[Row], before: Sequence[Row], seconds: float) -> list[Row]:
    """Servers with statements a second since the look before, ``seconds`` ago."""
    known = {row.get("name"): row for row in before}
    shown: list[Row] = []
    for row in rows:
        old, figures = known.get(row.get("name"), row), row.get("figures")
        facts = figures if isinstance(figures, dict) else {}
        rates = {f"{key}/s": _rate(row, old, key, seconds) for key in _COUNTED}
        state = {key: row.get(key) for key in ("name", "role", "state", "connections", "operations")}
        galera = {"queue": facts.get("local_recv_queue"), "flow control": facts.get("flow_control_paused_ns")}
        more = {"lag": row.get("lag"), **galera, "latency ms": row.get("latency_ms"), "reason": row.get("reason")}
        shown.append({**state, **rates, **more})
    return shown


def service_rows(rows: Sequence[Row], before: Sequence[Row], seconds: float) -> list[Row]:
    """Services with statements a second since the look before."""
    known = {row.get("name"): row for row in before}
    return [
        {
            **{key: row.get(key) for key in ("name", "sessions", "waiting", "longest_pause_ms")},
            "statements/s": _rate(row, known.get(row.get("name"), row), "statements", seconds),
        }
        for row in rows
    ]


def session_rows(rows: Sequence[Row], before: Sequence[Row], seconds: float, order: str) -> list[Row]:
    """Sessions with statements a second since the look before, in one of ``ORDERS``."""
    known = {row.get("id"): row for row in before}
    found: list[Row] = [
        {**row, "statements/s": int(_rate(row, known.get(row.get("id"), row), "statements", seconds))} for row in rows
    ]
    return sorted(found, key=_ORDERS[order])  # type: ignore[arg-type]
