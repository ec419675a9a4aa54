"""Prometheus metrics, made from the data path's plain integers at the moment they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from sqlproxy import __version__
from sqlproxy.admin import view
from sqlproxy.admin.view import Runtime
from sqlproxy.errors import Fault
from sqlproxy.session.stats import ServerStats
from sqlproxy.topology.model import AdminState, Role, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# attribute of ServerStats → metric name, help
_SERVER_GAUGES = {
    "connections": ("sqlproxy_server_connections", "Connections a service has open to a server."),
    "pooled": ("sqlproxy_server_pooled_connections", "Of these, connections that no session uses now."),
    "operations": ("sqlproxy_server_operations", "Statements a server is working on for a service."),
}
_SERVER_COUNTERS = {
    "connections_total": ("sqlproxy_server_connections", "Connections a service opened to a server."),
    "reused": ("sqlproxy_server_reused_connections", "Connections that a session took over from another."),
    "connect_errors": ("sqlproxy_server_connect_errors", "Connections to a server that could not be opened."),
    "losses": ("sqlproxy_server_losses", "Connections to a server that broke."),
    "errors": ("sqlproxy_server_errors", "Errors a server answered."),
    "bytes_sent": ("sqlproxy_server_sent_bytes", "Bytes sent to a server."),
    "bytes_received": ("sqlproxy_server_received_bytes", "Bytes received from a server."),
}
# attribute of ServiceStats → metric name, help
_SERVICE_COUNTERS = {
    "sessions_total": ("sqlproxy_service_sessions", "Client sessions accepted."),
    "logins_failed": ("sqlproxy_service_logins_failed", "Logins refused."),
    "client_errors": ("sqlproxy_service_client_errors", "Protocol errors and login time-outs of clients."),
    "statements": ("sqlproxy_service_statements", "Statements clients sent."),
    "unknown_statements": ("sqlproxy_service_unknown_statements", "Statements not understood, sent to the primary."),
    "spans": ("sqlproxy_service_spans", "Spans of statements that were traced."),
    "spans_dropped": ("sqlproxy_service_spans_dropped", "Spans dropped because too many waited for the collector."),
    "spans_failed": ("sqlproxy_service_spans_failed", "Spans that the collector did not take."),
    "unlisted_refused": (
        "sqlproxy_service_unlisted_refused",
        "Statements refused because they are not on the allow list.",
    ),
    "unlisted_passed": (
        "sqlproxy_service_unlisted_passed",
        "Statements that are not on the allow list and were run, as its mode is detect.",
    ),
    "reads_retried": (
        "sqlproxy_service_reads_retried",
        "Reads, and statements that no server had run, run again on another server.",
    ),
    "primary_waits": ("sqlproxy_service_primary_waits", "Statements that had to wait for a primary."),
    "outcomes_decided": ("sqlproxy_service_outcomes_decided", "Commits without a reply that a commit token decided."),
    "outcomes_unknown": ("sqlproxy_service_outcomes_unknown", "Writes whose outcome the client was told is unknown."),
    "transactions_replayed": ("sqlproxy_service_transactions_replayed", "Transactions brought back on another server."),
    "replay_mismatches": ("sqlproxy_service_replay_mismatches", "Replays given up because an answer differed."),
    "hints_ignored": ("sqlproxy_service_hints_ignored", "Routing hints that could not be followed."),
    "unexplained_changes": (
        "sqlproxy_service_unexplained_changes",
        "Changes of session state that servers reported and the statement's text did not show.",
    ),
    "conflicts_retried": (
        "sqlproxy_service_conflicts_retried",
        "Statements and transactions run again after error 1213 or 1020.",
    ),
    "conflicts_certification": (
        "sqlproxy_service_conflicts_certification",
        "Of these, lost to a transaction that another server had certified first.",
    ),
    "conflicts_brute_force": (
        "sqlproxy_service_conflicts_brute_force",
        "Of these, open transactions whose locks a replicated transaction took.",
    ),
    "conflicts_deadlock": ("sqlproxy_service_conflicts_deadlock", "Of these, deadlocks of two sessions of one server."),
    "conflicts_snapshot": ("sqlproxy_service_conflicts_snapshot", "Of these, error 1020: a row read has changed."),
    "transactions_lost": ("sqlproxy_service_transactions_lost", "Open transactions lost with their server."),
}


class Metrics:
    """The registry of one runtime; `text` renders it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._primary = runtime.publisher.snapshot.primary
        self._primary_changes = 0
        self._unsubscribe = runtime.publisher.subscribe(self._count)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def close(self) -> None:
        """Stop listening to the publisher; closing twice is harmless."""
        unsubscribe, self._unsubscribe = self._unsubscribe, lambda: None
        unsubscribe()

    def text(self) -> bytes:
        """The exposition of all metrics; its type is `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead of time: every name comes from `collect`."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics of the proxy."""
        yield _gauge("sqlproxy_up", "1 while the proxy runs.", 1)
        yield _info()
        yield from self._monitor()
        yield from _servers(self._runtime)
        yield from _server_stats(self._runtime)
        yield from _services(self._runtime)
        yield _rules(self._runtime)

    def _count(self, new: Snapshot, previous: Snapshot) -> None:
        """A change is another primary than the last one there was; the first one ever is none."""
        if new.primary is not None and new.primary != self._primary:
            self._primary_changes += self._primary is not None
            self._primary = new.primary

    def _monitor(self) -> Iterator[Metric]:
        publisher = self._runtime.publisher
        yield _gauge("sqlproxy_snapshot_number", "Number of the newest verdict.", publisher.snapshot.number)
        seconds = view.age(self._runtime)
        if seconds is not None:
            yield _gauge("sqlproxy_snapshot_age_seconds", "Time since the servers were last judged.", seconds)
        yield _gauge("sqlproxy_alarms", "Alarms the monitor raises now.", len(publisher.snapshot.alarms))
        changes = CounterMetricFamily("sqlproxy_primary_changes", "Times another server became the primary.")
        changes.add_metric([], self._primary_changes)
        yield changes
        start = "sqlproxy_start_time_seconds"
        yield _gauge(start, "When the proxy started, since the epoch.", self._runtime.started_at)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _info() -> Metric:
    info = GaugeMetricFamily("sqlproxy_build_info", "The version that runs.", labels=["version"])
    info.add_metric([__version__], 1)
    return info


def _servers(runtime: Runtime) -> Iterator[Metric]:
    role = GaugeMetricFamily("sqlproxy_server_role", "1 for the role a server has.", labels=["server", "role"])
    state = GaugeMetricFamily("sqlproxy_server_state", "1 for the state operators want.", labels=["server", "state"])
    latency = GaugeMetricFamily("sqlproxy_server_latency_seconds", "Duration of the last probe.", labels=["server"])
    for row in view.servers(runtime):
        name = str(row["name"])
        for known in Role:
            role.add_metric([name, known.value], row["role"] == known.value)
        for wanted in AdminState:
            state.add_metric([name, wanted.value], row["state"] == wanted.value)
        seen = runtime.publisher.snapshot.server(name)
        if seen is not None:
            latency.add_metric([name], seen.latency)
    yield from (role, state, latency)


def _server_stats(runtime: Runtime) -> Iterator[Metric]:
    labels = ["service", "server"]
    rows = [([s.name, server], stats) for s in runtime.services for server, stats in s.server_stats.items()]
    for key, (name, text) in _SERVER_GAUGES.items():
        gauge = GaugeMetricFamily(name, text, labels=labels)
        for values, stats in rows:
            gauge.add_metric(values, getattr(stats, key))
        yield gauge
    for key, (name, text) in _SERVER_COUNTERS.items():
        counter = CounterMetricFamily(name, text, labels=labels)
        for values, stats in rows:
            counter.add_metric(values, getattr(stats, key))
        yield counter
    statements = CounterMetricFamily("sqlproxy_server_statements", "Statements a server ran.", labels=[*labels, "kind"])
    for values, stats in rows:
        statements.add_metric([*values, "read"], stats.reads)
        statements.add_metric([*values, "write"], stats.writes)
    yield statements
    yield from _durations(rows)


def _durations(rows: Sequence[tuple[list[str], ServerStats]]) -> Iterator[Metric]:
    labels = ["service", "server"]
    text = "How long statements took, from the client's last byte to the reply's last."
    took = HistogramMetricFamily("sqlproxy_server_statement_seconds", text, labels=[*labels, "kind"])
    text = "How long opening a connection to a server took, login included."
    connects = HistogramMetricFamily("sqlproxy_server_connect_seconds", text, labels=labels)
    for values, stats in rows:
        for kind, histogram in stats.histograms().items():
            family, place = (connects, values) if kind == "connect" else (took, [*values, kind])
            buckets = [(f"{bound:g}", count) for bound, count in histogram.below_octaves()]
            family.add_metric(place, [*buckets, ("+Inf", histogram.count)], histogram.total)
    yield from (took, connects)


def _rules(runtime: Runtime) -> Metric:
    counter = CounterMetricFamily(
        "sqlproxy_rule_statements", "Statements a rule matched, and what came of it.", labels=["rule", "effect"]
    )
    counters = runtime.rule_counters()
    for config in runtime.settings.rules:
        for effect, value in counters.get(config.name, {}).items():
            counter.add_metric([config.name, effect], value)
    return counter


def _services(runtime: Runtime) -> Iterator[Metric]:
    now = GaugeMetricFamily("sqlproxy_service_sessions", "Client sessions open now.", labels=["service"])
    for service in runtime.services:
        now.add_metric([service.name], service.stats.sessions)
    yield now
    for key, (name, text) in _SERVICE_COUNTERS.items():
        counter = CounterMetricFamily(name, text, labels=["service"])
        for service in runtime.services:
            counter.add_metric([service.name], getattr(service.stats, key))
        yield counter
    text = "Errors the proxy answered itself, by whose fault they are; sqlproxy_server_errors counts the servers' own."
    faults = CounterMetricFamily("sqlproxy_service_errors", text, labels=["service", "fault"])
    for service in runtime.services:
        for fault in Fault:
            faults.add_metric([service.name, fault.value], getattr(service.stats, f"faults_{fault.value}"))
    yield faults
