"""What the project wants of itself: a limit for each figure that matters, and whether this run kept it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.loads import Load
from benchmarks.micro.cases import STATEMENT
from benchmarks.report import Figure, Row

OURS = "sqlproxy"
WORKERS = "sqlproxy-2"
SESSION_KIB = 16  # of resident memory, for an idle session with one connection to a server
CONNECTS = 3000  # connections a second, each logged in, used once and ended
_SAME = 1.05  # what counts as unchanged
_BIG = ("result-1MB", "result-100MB")
_COSTS = {"text-64": 0.95, "text-8": 1.0}  # CPU against HAProxy's
_TAIL = 1.25  # p99 against HAProxy's
_STATEMENTS = {"60 B SELECT": 0.5, "2 KB SELECT": 3.0, "2 KB INSERT": 3.0}  # µs of classification and digest


@dataclass(frozen=True)
class Bar:
    """One limit. ``most``: the value must not be above it; otherwise it must not be below."""

    what: str
    value: float
    limit: float
    most: bool
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the limit was kept."""
        return self.value <= self.limit if self.most else self.value >= self.limit


def bars(tables: Sequence[tuple[Load, Sequence[Row]]], extras: Mapping[str, Any]) -> list[Bar]:
    """Every limit that this run has a value for."""
    found = {load.name: {row.target: row for row in table} for load, table in tables}
    return [*_point_selects(found), *_results(found), *_rest(found, extras)]


Found = Mapping[str, Mapping[str, Row]]


def _point_selects(found: Found) -> Iterator[Bar]:
    for name, limit in _COSTS.items():
        if row := _ours(found, name):
            mode, count = name.split("-")
            what = f"point select, {mode}, {count} connections"
            yield from _against(f"{what}: CPU per query, HAProxy = 1", row.ratio, limit, most=True)
            yield from _against(f"{what}: p99, HAProxy = 1", row.tail, _TAIL, most=True)


def _results(found: Found) -> Iterator[Bar]:
    for name in _BIG:
        if row := _ours(found, name):
            what = f"results of {name.removeprefix('result-')}"
            yield from _against(f"{what}: MB/s, HAProxy = 1", row.speed, 1.0, most=False)
            yield from _against(f"{what}: CPU per GB, HAProxy = 1", row.ratio, 1.0, most=True)


def _rest(found: Found, extras: Mapping[str, Any]) -> Iterator[Bar]:
    if row := _ours(found, "connect"):
        yield Bar("connect, query, quit", row.rate.median, CONNECTS, False, "/s")
    if figures := extras.get("memory", {}).get(OURS):
        yield Bar(
            "idle session with one server connection", figures["bytes_per_session"] / 1024, SESSION_KIB, True, "KiB"
        )
    for text, limit in _STATEMENTS.items():
        if nanoseconds := extras.get("statements", {}).get(f"{STATEMENT}, {text}"):
            yield Bar(f"{STATEMENT}, {text}", nanoseconds / 1000, limit, True, "µs")
    table = found.get("text-64", {})
    one, two = table.get(OURS), table.get(WORKERS)
    if one and two and one.ratio and two.ratio:
        what = "point select, text, 64 connections: CPU per query with two workers, one process = 1"
        yield Bar(what, two.ratio.median / one.ratio.median, _SAME, True)


def _ours(found: Found, name: str) -> Row | None:
    return found.get(name, {}).get(OURS)


def _against(what: str, figure: Figure | None, limit: float, *, most: bool) -> Iterator[Bar]:
    if figure is not None:
        yield Bar(what, figure.median, limit, most)
