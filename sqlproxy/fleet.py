"""The counters of several workers as those of one service. A worker that ends leaves its totals behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlproxy.config import ServiceConfig
from sqlproxy.session.shapes import Shapes
from sqlproxy.session.stats import ServerStats, ServiceStats

# What a worker has now, and does not leave behind.
_GAUGES = frozenset({"sessions", "connections", "operations", "pooled"})

Counters = Mapping[str, Mapping[str, int]]  # of rules, by name
Report = Mapping[
    str, Any
]  # "stats", "servers", "times", "waiting", "longest_pause", "unknown", as a worker reports them


class FleetService:
    """One service over all workers, as the admin side sees services."""

    def __init__(self, config: ServiceConfig, servers: Sequence[str]) -> None:
        self.name = config.name
        self.router: str = config.router
        self.listen = [str(address) for address in config.listen]
        self._servers = servers
        self._reports: dict[int, Report] = {}
        self._left = ServiceStats()
        self._left_unknown = Shapes()
        self._left_servers = {name: ServerStats() for name in servers}

    def configure(self, config: ServiceConfig, servers: Sequence[str]) -> None:
        """Another configuration from now on; totals stay."""
        self.router, self._servers = config.router, servers
        self.listen = [str(address) for address in config.listen]

    def report(self, worker: int, report: Report) -> None:
        """Take in a worker's newest counters."""
        self._reports[worker] = report

    def forget(self, worker: int) -> None:
        """The worker has ended: its totals stay, what it had open does not."""
        report = self._reports.pop(worker, None)
        if report is None:
            return
        _add(self._left, report["stats"], gauges=False)
        self._left_unknown.merge(report["unknown"])
        for name, stats in report["servers"].items():
            _add(self._left_servers.setdefault(name, ServerStats()), stats, gauges=False)
            self._left_servers[name].add_durations(report["times"].get(name, {}))

    @property
    def stats(self) -> ServiceStats:
        """The sum over all workers."""
        total = ServiceStats()
        _add(total, self._left.as_dict())
        for report in self._reports.values():
            _add(total, report["stats"])
        return total

    @property
    def server_stats(self) -> dict[str, ServerStats]:
        """The sums by server."""
        totals = {name: ServerStats() for name in self._servers}
        for name, total in totals.items():
            if name in self._left_servers:
                _add(total, self._left_servers[name].as_dict())
                total.add_durations(self._left_servers[name].durations())
            for report in self._reports.values():
                _add(total, report["servers"].get(name, {}))
                total.add_durations(report["times"].get(name, {}))
        return totals

    @property
    def unknown_shapes(self) -> dict[str, int]:
        """The most frequent of what each worker shows."""
        total = Shapes()
        total.merge(self._left_unknown.top())
        for report in self._reports.values():
            total.merge(report["unknown"])
        return total.top()

    @property
    def waiting(self) -> int:
        """Statements waiting for a server."""
        return sum(report["waiting"] for report in self._reports.values())

    def longest_pause(self, within: float = 60.0) -> float:
        """The longest wait of a statement in the last minute, in seconds."""
        return max((report["longest_pause"] for report in self._reports.values()), default=0.0)


def _add(total: ServiceStats | ServerStats, counters: Mapping[str, int], gauges: bool = True) -> None:
    for name, value in counters.items():
        if gauges or name not in _GAUGES:
            setattr(total, name, getattr(total, name) + value)


def sum_of(reports: Sequence[Counters]) -> dict[str, dict[str, int]]:
    """The counters of rules in several workers, added up."""
    total: dict[str, dict[str, int]] = {}
    for report in reports:
        for rule, counters in report.items():
            sums = total.setdefault(rule, {})
            for name, value in counters.items():
                sums[name] = sums.get(name, 0) + value
    return total
