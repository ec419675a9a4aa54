"""Statement digests as rows for people: merged over processes, ordered, cut. Times are in milliseconds there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from sqlproxy.admin.commands import CommandError
from sqlproxy.admin.view import Row
from sqlproxy.session.digests import Figures
from sqlproxy.session.histogram import Histogram

LIMIT: Final = 100
MOST: Final = 100_000
PERCENTILE: Final = 0.95

_ORDERS: Final[dict[str, Callable[[Figures], float]]] = {
    "total": lambda f: f.times.total,
    "count": lambda f: f.times.count,
    "errors": lambda f: f.errors,
    "rows": lambda f: f.rows,
    "bytes": lambda f: f.size,
    "avg": lambda f: f.times.total / max(f.times.count, 1),
    "p95": lambda f: f.times.quantile(PERCENTILE),
    "max": lambda f: f.slowest,
    "last_seen": lambda f: f.last,
}
ORDERS: Final = ", ".join(_ORDERS)
_BY: Final[dict[str, Callable[[Figures], tuple[object, ...]]]] = {
    "all": lambda f: (f.service, f.number, f.statement, f.user, f.server),
    "statement": lambda f: (f.service, f.number, f.statement),
    "user": lambda f: (f.service, f.user),
    "server": lambda f: (f.service, f.server),
}
BY: Final = ", ".join(_BY)


def merged(figures: Iterable[Figures], by: str = "all") -> list[Figures]:
    """Rows that agree in what ``by`` names (``BY``) added up; what they differ in is "" there."""
    key = _BY[by]
    found: dict[tuple[object, ...], Figures] = {}
    for row in figures:
        other = found.get(key(row))
        if other is None:
            times = Histogram()
            times.merge(row.times.state())
            found[key(row)] = _blanked(replace(row, times=times), by)
        else:
            other.absorb(row)
    return list(found.values())


def _blanked(row: Figures, by: str) -> Figures:
    if by in ("user", "server"):
        row.statement, row.number = "", 0
    if by in ("statement", "server"):
        row.user = ""
    if by in ("statement", "user"):
        row.server = ""
    return row


def select(figures: Iterable[Figures], order: str = "", limit: str = "", by: str = "") -> list[Figures]:
    """The first rows, the greatest first. Raises CommandError for an order, a limit or a grouping there is none."""
    wanted, group = order or "total", by or "all"
    if wanted not in _ORDERS:
        raise CommandError(400, f"{order!r} is no order", f"digests can be ordered by {ORDERS}")
    if group not in _BY:
        raise CommandError(400, f"digests cannot be added up by {by!r}", f"they can by {BY}")
    if limit and not (limit.isascii() and limit.isdigit() and 0 < int(limit[:7]) <= MOST):
        raise CommandError(400, f"limit: {limit!r} is not a number from 1 to {MOST}", "")
    rows = sorted(merged(figures, group), key=_ORDERS[wanted], reverse=True)
    return rows[: int(limit) if limit else LIMIT]


def row(figures: Figures) -> Row:
    """One row, JSON-able."""
    count = figures.times.count
    return {
        "service": figures.service,
        "digest": f"{figures.number:016x}",
        "statement": figures.statement,
        "user": figures.user,
        "server": figures.server,
        "understood": figures.known,
        "count": count,
        "errors": figures.errors,
        "rows": figures.rows,
        "bytes": figures.size,
        "total_ms": _ms(figures.times.total),
        "min_ms": _ms(figures.fastest),
        "avg_ms": _ms(figures.times.total / count if count else 0.0),
        "p95_ms": _ms(min(figures.times.quantile(PERCENTILE), figures.slowest)),
        "max_ms": _ms(figures.slowest),
        "first_seen": round(figures.first, 3),
        "last_seen": round(figures.last, 3),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
