"""Plain integer counters of the data path; the admin side reads them, nothing locks them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlproxy.routing.base import Load
from sqlproxy.session.histogram import Histogram, State


class Durations(Load):
    """How long things took with one server: statements from the client's last byte to the reply's, connecting."""

    __slots__ = ("connects", "read_times", "write_times")

    def __init__(self) -> None:
        super().__init__()
        self.read_times = Histogram()
        self.write_times = Histogram()
        self.connects = Histogram()

    def histograms(self) -> dict[str, Histogram]:
        """Kind to histogram: statements that read, statements that write, and connecting."""
        return {"read": self.read_times, "write": self.write_times, "connect": self.connects}

    def durations(self) -> dict[str, State]:
        """The same for another process."""
        return {kind: histogram.state() for kind, histogram in self.histograms().items()}

    def add_durations(self, durations: Mapping[str, State]) -> None:
        """Add another's ``durations``."""
        for kind, histogram in self.histograms().items():
            if kind in durations:
                histogram.merge(durations[kind])


class ServerStats(Durations):
    """What one service set in motion on one server.

    ``operations`` is the number of statements the server is working on now; reads are balanced by it.
    """

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "connect_errors",
        "connections",
        "connections_total",
        "errors",
        "losses",
        "operations",
        "pooled",
        "reads",
        "reused",
        "writes",
    )

    def __init__(self) -> None:
        super().__init__()
        self.connections = 0  # open now
        self.connections_total = 0
        self.pooled = 0  # of those open, without a session now
        self.reused = 0  # connections that a session took over from another
        self.connect_errors = 0
        self.losses = 0  # connections that broke
        self.writes = 0
        self.errors = 0  # ERR packets answered
        self.bytes_sent = 0  # to the server
        self.bytes_received = 0  # from the server

    def as_dict(self) -> dict[str, int]:
        """Name to value, for the admin side."""
        return {name: getattr(self, name) for name in self.__slots__}


class ServiceStats:
    """What one service did for its clients."""

    __slots__ = (
        "client_errors",
        "conflicts_brute_force",
        "conflicts_certification",
        "conflicts_deadlock",
        "conflicts_retried",
        "conflicts_snapshot",
        "faults_client",
        "faults_proxy",
        "faults_server",
        "hints_ignored",
        "logins_failed",
        "outcomes_decided",
        "outcomes_unknown",
        "primary_waits",
        "reads_retried",
        "replay_mismatches",
        "sessions",
        "sessions_total",
        "spans",
        "spans_dropped",
        "spans_failed",
        "statements",
        "transactions_lost",
        "transactions_replayed",
        "unexplained_changes",
        "unknown_statements",
        "unlisted_passed",
        "unlisted_refused",
    )

    def __init__(self) -> None:
        self.sessions = 0  # open now
        self.sessions_total = 0
        self.logins_failed = 0
        self.client_errors = 0  # protocol errors, time-outs at login
        self.statements = 0
        self.unknown_statements = 0  # not understood, so sent to the primary
        self.unlisted_passed = 0  # statements that the allow list does not have, only counted
        self.unlisted_refused = 0
        self.spans = 0  # of statements that were traced
        self.spans_dropped = 0  # because too many waited to be sent
        self.spans_failed = 0  # that the collector did not take
        self.reads_retried = 0
        self.primary_waits = 0  # statements that had to wait for a primary
        self.outcomes_decided = 0  # would have been unknown but for their commit token
        self.outcomes_unknown = 0
        self.transactions_lost = 0
        self.transactions_replayed = 0
        self.replay_mismatches = 0
        self.conflicts_retried = 0  # statements and transactions run again after error 1213 or 1020; of these:
        self.conflicts_certification = 0  # another server's transaction was certified first
        self.conflicts_brute_force = 0  # an applier took the locks of an open transaction
        self.conflicts_deadlock = 0  # two sessions of one server waited for each other
        self.conflicts_snapshot = 0  # error 1020: a row that was read has changed
        self.hints_ignored = 0
        self.faults_client = 0  # errors the proxy answered itself, by whose fault they are
        self.faults_proxy = 0
        self.faults_server = 0
        self.unexplained_changes = 0  # of session state, reported by servers

    def as_dict(self) -> dict[str, int]:
        """Name to value, for the admin side."""
        return {name: getattr(self, name) for name in self.__slots__}
